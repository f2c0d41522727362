"""What is seen when the last scrape failed: Prometheus takes all that it told for gone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from functions.recommender.reading import discover, read
from infra.emulator.servers.ports import LOOPBACK
from infra.emulator.servers.prometheus import ScrapeJob
from shared.adapters.prometheus import HttpPrometheus
from shared.contracts.prometheus import Series
from tests.servers import prometheus_server
from tests.waiting import until

POD = 'namespace="shop",pod="web-5d9f-x"'
TOLD = f"""\
kube_pod_owner{{{POD},owner_kind="ReplicaSet",owner_name="web-5d9f",owner_is_controller="true"}} 1
kube_replicaset_owner{{namespace="shop",replicaset="web-5d9f",owner_kind="Deployment",owner_name="web"}} 1
kube_deployment_spec_replicas{{namespace="shop",deployment="web"}} 3
kube_pod_container_info{{{POD},container="web",image="web"}} 1
kube_pod_container_resource_requests{{{POD},container="web",resource="cpu"}} 0.5
"""


class Exporter:
    """Tells the same at each scrape, until it fails."""

    def __init__(self) -> None:
        self.status = 200
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fails = exporter.status != 200 and self.path != "/other"
                self.send_response(exporter.status if fails else 200)
                self.end_headers()
                self.wfile.write((other(TOLD) if self.path == "/other" else TOLD).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.address = f"{LOOPBACK}:{self.server.server_port}"


def other(text: str) -> str:
    """The same of another Deployment."""
    return text.replace("web", "api")


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    exporter = Exporter()
    thread = threading.Thread(target=exporter.server.serve_forever, args=(0.05,))
    thread.start()
    yield exporter
    exporter.server.shutdown()
    thread.join()
    exporter.server.server_close()


def test_a_scan_right_after_a_failed_scrape_sees_what_the_one_before_told(exporter: Exporter) -> None:
    job = ScrapeJob("kube-state-metrics", [exporter.address], path="/metrics", interval=0.2)
    with prometheus_server(None, [job]) as server:
        prometheus = HttpPrometheus(server.address)

        def now() -> datetime:
            return datetime.now(UTC)

        until(lambda: bool(discover(prometheus, "local", now())), within=15)
        exporter.status = 503
        until(lambda: not prometheus.query("kube_pod_owner", now()), within=15)

        [found] = discover(prometheus, "local", now())
        reading = read(prometheus, "local", now(), history=timedelta(days=1), oom_days=1)

    assert found.subject == "shop/Deployment/web"
    [observed] = reading.workloads
    assert (observed.workload, observed.replicas) == (found, 3)
    assert [(one.name, one.current.cpu_request_m) for one in observed.containers] == [("web", 500)]


def test_a_scrape_that_fails_between_two_questions_leaves_no_request_out(exporter: Exporter) -> None:
    class Between(HttpPrometheus):
        """After the first question about pods the scrape fails, before the one about requests."""

        def query(self, promql: str, at: datetime, timeout: float | None = None) -> list[Series]:
            rows = super().query(promql, at, timeout)
            if "kube_pod_owner" in promql and exporter.status == 200:
                exporter.status = 503
                until(lambda: not super(Between, self).query("kube_pod_owner", at), within=15)
            return rows

    job = ScrapeJob("kube-state-metrics", [exporter.address], path="/metrics", interval=0.2)
    with prometheus_server(None, [job]) as server:
        until(lambda: bool(discover(HttpPrometheus(server.address), "local", datetime.now(UTC))), within=15)
        # Of a moment that is to come, so that the failure lies before it.
        at = datetime.now(UTC) + timedelta(seconds=10)
        reading = read(Between(server.address), "local", at, history=timedelta(days=1), oom_days=1)
    assert exporter.status == 503
    [observed] = reading.workloads
    assert [(one.name, one.current.cpu_request_m) for one in observed.containers] == [("web", 500)]


def test_the_state_is_asked_for_once_though_a_target_be_down_that_tells_of_no_pods(
    exporter: Exporter,
) -> None:
    jobs = [
        ScrapeJob("kube-state-metrics", [exporter.address], path="/metrics", interval=0.2),
        ScrapeJob("pods", ["127.0.0.1:1"], path="/metrics", interval=0.2),
    ]
    with prometheus_server(None, jobs) as server:
        prometheus = HttpPrometheus(server.address)
        until(lambda: bool(discover(prometheus, "local", datetime.now(UTC))), within=15)
        until(lambda: bool(prometheus.query("up == 0", datetime.now(UTC))), within=15)
        reading = read(prometheus, "local", datetime.now(UTC), history=timedelta(days=1), oom_days=1)
    assert [asked.name for asked in reading.asked if asked.name.startswith("state")] == ["state"] * 2


def test_of_two_shards_of_kube_state_metrics_the_one_that_failed_is_told_by_its_scrape_before(
    exporter: Exporter,
) -> None:
    jobs = [
        ScrapeJob("one", [exporter.address], path="/metrics", interval=0.2),
        ScrapeJob("other", [exporter.address], path="/other", interval=0.2),
    ]
    with prometheus_server(None, jobs) as server:
        prometheus = HttpPrometheus(str(server.address))
        until(lambda: len(discover(prometheus, "local", datetime.now(UTC))) == 2, within=15)
        exporter.status = 503
        until(lambda: len(prometheus.query("kube_pod_owner", datetime.now(UTC))) == 1, within=15)
        reading = read(prometheus, "local", datetime.now(UTC), history=timedelta(days=1), oom_days=1)
    assert {
        each.workload.name: [one.current.cpu_request_m for one in each.containers]
        for each in reading.workloads
    } == {"api": [500], "web": [500]}
