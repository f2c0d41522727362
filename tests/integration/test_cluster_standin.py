"""The cluster stand-in as a process: what Argo CD and Prometheus meet."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families as parse

from infra.standins.scenario import Node, Profile, Scenario, Usage, dump

_MIB = 1024**2
_SSA = {"Content-Type": "application/apply-patch+yaml"}
_APPLY = {"fieldManager": "argocd-controller", "force": "true"}
_WEB = "/apis/apps/v1/namespaces/shop/deployments/web"


def _web(cpu: str = "200m", **more: Any) -> dict[str, Any]:
    container = {"name": "app", "image": "app:1", "resources": {"requests": {"cpu": cpu}, **more}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
        },
    }


def _scenario() -> Scenario:
    profile = Profile(cpu_cores=0.1, memory_bytes=50 * _MIB, days=0.1, noise=0)
    usage = Usage(namespace="shop", kind="Deployment", name="web", container="app", profile=profile)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    node = Node(name="node-1", cpu=8, memory_bytes=32 * 1024 * _MIB)
    return Scenario(
        now=float(int(time.time())),
        startup_seconds=0.3,
        nodes=[node],
        objects=[namespace, _web()],
        usage=[usage],
    )


class _Process:
    """The stand-in on a port of its own choice."""

    def __init__(self, scenario: Path, host: str = "127.0.0.1") -> None:
        command = [sys.executable, "-m", "infra.standins.cluster", "--port", "0", "--scenario", str(scenario)]
        command += ["--host", host]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith(f"ready http://{host}:"), line
        self.url = line.split()[1]
        self.session = requests.Session()
        self.session.trust_env = False

    def get(self, path: str) -> Any:
        answer = self.session.get(self.url + path, timeout=5)
        answer.raise_for_status()
        return answer.json()

    def page(self, path: str) -> dict[tuple[str, str], float]:
        """Samples by metric and pod, of the container `app`."""
        text = self.session.get(self.url + path, timeout=5).text
        return {
            (sample.name, sample.labels["pod"]): sample.value
            for family in parse(text)
            for sample in family.samples
            if sample.labels.get("container") == "app" and "resource" not in sample.labels
        }

    def apply(self, body: dict[str, Any]) -> requests.Response:
        return self.session.patch(
            self.url + _WEB, params=_APPLY, data=json.dumps(body), headers=_SSA, timeout=5
        )

    def end(self, number: int = signal.SIGTERM) -> int:
        self.session.close()
        self._process.send_signal(number)
        try:
            return self._process.wait(timeout=10)
        finally:
            self._process.kill()
            assert self._process.stdout is not None
            self._process.stdout.close()


def _until(condition: Callable[[], bool], within: float = 15.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cluster") / "scenario.json"
    dump(_scenario(), path)
    return path


@pytest.fixture
def cluster(scenario: Path) -> Iterator[_Process]:
    process = _Process(scenario)
    yield process
    process.end()


def test_an_applied_change_rolls_out_and_the_metrics_follow(cluster: _Process) -> None:
    before = {each["metadata"]["name"] for each in cluster.get("/api/v1/namespaces/shop/pods")["items"]}
    answer = cluster.apply(_web("50m"))
    assert answer.status_code == 200
    assert answer.json()["metadata"]["generation"] == 2

    def rolled_out() -> bool:
        status = cluster.get(_WEB)["status"]
        return bool(
            status["observedGeneration"] == 2
            and status["replicas"] == status.get("updatedReplicas") == status.get("availableReplicas") == 2
        )

    _until(rolled_out)
    after = {each["metadata"]["name"] for each in cluster.get("/api/v1/namespaces/shop/pods")["items"]}
    assert before.isdisjoint(after)
    ready = cluster.page("/metrics/kube-state-metrics")
    assert {pod for name, pod in ready if name == "kube_pod_container_status_ready"} == after
    assert {pod for _, pod in cluster.page("/metrics/cadvisor")} == after


def test_counters_rise_between_scrapes_by_what_the_trace_says(cluster: _Process) -> None:
    name = "container_cpu_usage_seconds_total"
    first, at = cluster.page("/metrics/cadvisor"), time.time()
    _until(lambda: time.time() > at + 1)
    second, later = cluster.page("/metrics/cadvisor"), time.time()
    for key, value in first.items():
        if key[0] == name:
            assert second[key] - value == pytest.approx(0.1 * (later - at), rel=0.2)


def test_errors_are_status_objects(cluster: _Process) -> None:
    refused = cluster.apply(_web("2", limits={"cpu": "1"}))
    assert (refused.status_code, refused.json()["reason"]) == (422, "Invalid")
    assert cluster.apply({"kind": "Deployment"}).json()["reason"] == "BadRequest"
    missing = cluster.session.get(f"{cluster.url}/apis/apps/v1/namespaces/shop/deployments/none", timeout=5)
    assert missing.status_code == 404
    assert missing.json()["message"] == 'deployments.apps "none" not found'
    assert missing.json()["kind"] == "Status"
    unknown = cluster.session.get(f"{cluster.url}/apis/example.io/v1/things", timeout=5)
    assert unknown.json()["message"] == "the server could not find the requested resource"
    broken = cluster.session.patch(cluster.url + _WEB, params=_APPLY, data="{", headers=_SSA, timeout=5)
    assert broken.status_code == 400


def test_lists_can_be_narrowed_by_labels_and_discovery_names_the_kinds(cluster: _Process) -> None:
    assert len(cluster.get("/api/v1/pods?labelSelector=app=web")["items"]) == 2
    assert cluster.get("/api/v1/pods?labelSelector=app!=web")["items"] == []
    kinds = {each["kind"]: each["name"] for each in cluster.get("/apis/apps/v1")["resources"]}
    assert kinds["StatefulSet"] == "statefulsets"
    assert cluster.get("/apis/apps/v1/deployments")["kind"] == "DeploymentList"


def test_what_is_deleted_is_gone_with_its_pods(cluster: _Process) -> None:
    assert cluster.session.delete(cluster.url + _WEB, timeout=5).status_code == 200
    assert cluster.get("/api/v1/namespaces/shop/pods")["items"] == []
    assert cluster.session.delete(cluster.url + _WEB, timeout=5).status_code == 404


def test_the_process_goes_on_where_the_written_history_ends(scenario: Path, tmp_path: Path) -> None:
    out = tmp_path / "history.om"
    command = [sys.executable, "-m", "infra.standins.cluster", "history"]
    subprocess.run(
        [*command, "--scenario", str(scenario), "--out", str(out)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    last: dict[str, float] = {}
    for line in out.read_text().splitlines():
        if line.startswith("container_cpu_usage_seconds_total{"):
            series, _, rest = line.rpartition("} ")
            last[f"{series}}}"] = float(rest.split()[0])
    assert len(last) == 2
    process = _Process(scenario)
    try:
        page = process.session.get(f"{process.url}/metrics/cadvisor", timeout=5).text
    finally:
        process.end()
    live = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    for series, value in last.items():
        assert 0 <= float(live[series]) - value < 0.1 * 120


def test_it_listens_on_the_address_that_is_named(scenario: Path) -> None:
    process = _Process(scenario, "127.0.0.2")
    try:
        assert process.session.get(f"{process.url}/metrics/cadvisor", timeout=5).ok
    finally:
        process.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_when_told_to(scenario: Path, number: int) -> None:
    assert _Process(scenario).end(number) == 0


def test_a_bad_scenario_is_one_line_and_exit_code_two(tmp_path: Path) -> None:
    path = tmp_path / "scenario.json"
    path.write_text('{"now": "soon", "nodes": []}')
    command = [sys.executable, "-m", "infra.standins.cluster", "--scenario", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"scenario {path}: now: " in done.stderr
