"""`make run` with a Prometheus that somebody named: it has to know workloads."""

from __future__ import annotations

import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.emulator import run as run_module
from infra.emulator.run import require_workloads, run
from infra.emulator.servers.errors import SetupError, StartError, UnreachableError
from infra.emulator.servers.prometheus import prometheus_server as chosen
from infra.emulator.stack import Options, Stack, Usage
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
    monkeypatch.setattr(run_module, "SCRAPED_WITHIN_SECONDS", 0.5)
    monkeypatch.setattr(Stack, "start", asked)
    with prometheus_server() as prometheus:
        monkeypatch.setenv("PROMETHEUS_URL", prometheus.address)
        with pytest.raises(StartError) as raised:
            run(Usage())
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


def test_one_that_wants_a_token_and_a_tenant_is_asked_with_them(tmp_path: Path) -> None:
    told: list[tuple[str | None, str | None]] = []

    class Guarded(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer({"resultType": "vector", "result": []})

        def do_GET(self) -> None:
            self._answer({"version": "3.1.0"})

        def _answer(self, data: dict[str, object]) -> None:
            told.append((self.headers["Authorization"], self.headers["X-Scope-OrgID"]))
            allowed = told[-1] == ("Bearer sesame", "shop")
            self.send_response(200 if allowed else 401)
            self.end_headers()
            self.wfile.write(json.dumps({"status": "success", "data": data}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        url = f"http://127.0.0.1:{server.server_port}"
        given = {"PROMETHEUS_URL": url, "PROMETHEUS_TOKEN": "sesame", "PROMETHEUS_TENANT": "shop"}
        prometheus = chosen(given, tmp_path, tmp_path)
        prometheus.start()
        assert prometheus.version == "Prometheus 3.1.0"
        with pytest.raises(UnreachableError, match=r"^PROMETHEUS_URL: .*401.*PROMETHEUS_TOKEN"):
            chosen({"PROMETHEUS_URL": url}, tmp_path, tmp_path).start()
        server.shutdown()
    assert set(told) == {("Bearer sesame", "shop"), (None, None)}
