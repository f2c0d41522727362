"""`make run` with a Prometheus that somebody named: it has to know workloads."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from infra.emulator import run as run_module
from infra.emulator.run import require_workloads, run
from infra.emulator.servers.errors import SetupError, StartError
from infra.emulator.servers.prometheus import prometheus_server as chosen
from infra.emulator.stack import Options, Stack
from tests.servers import prometheus_server


def asked(stack: Stack) -> None:
    """What Stack.start does about a given Prometheus, and no more."""
    work = stack.options.work
    stack.servers["prometheus"] = chosen(os.environ, work, work)
    stack.servers["prometheus"].start()


def test_a_run_whose_prometheus_knows_no_workload_ends_before_its_scan_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "ROOT", tmp_path)
    monkeypatch.setattr(Stack, "start", asked)
    with prometheus_server() as prometheus:
        monkeypatch.setenv("PROMETHEUS_URL", prometheus.address)
        with pytest.raises(StartError) as raised:
            run(None, 7)
    line = str(raised.value)
    assert line.startswith(f"PROMETHEUS_URL: Prometheus at {prometheus.address} has no kube_pod_owner series")
    assert "\n" not in line
    assert not isinstance(raised.value, SetupError)  # which would be status 2


def test_one_that_knows_workloads_is_scanned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = tmp_path / "history.om"
    labels = 'namespace="n",pod="p",owner_kind="ReplicaSet",owner_name="r"'
    history.write_text(
        f"# TYPE kube_pod_owner gauge\nkube_pod_owner{{{labels}}} 1 {int(time.time()) - 30}\n# EOF\n"
    )
    with prometheus_server(history) as prometheus:
        monkeypatch.setenv("PROMETHEUS_URL", prometheus.address)
        stack = Stack(Options(work=tmp_path), os.environ, say=print)
        asked(stack)
        require_workloads(stack)
