"""Every panel's query on a real Prometheus that holds the series which the overview is about."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from functions.exporter.handler import ExporterHandler
from infra.grafana.queries import panel_queries
from tests.servers import prometheus_server
from tests.unit.test_exporter import FULL, FakeFigures

STEP = 15
POD = 'namespace="shop",pod="checkout-1",container="app"'


def history(path: Path) -> Path:
    """Fifteen minutes, up to now: one container, and the exporter's own exposition."""
    exposed = ExporterHandler(FakeFigures(FULL), "local").metrics().body.decode().splitlines()
    figures = [line for line in exposed if line and not line.startswith("#")]
    now = int(time.time())
    lines: list[str] = []
    for count, moment in enumerate(range(now - 900, now + 1, STEP)):
        lines += [
            f"container_cpu_usage_seconds_total{{{POD}}} {count * STEP * 0.25} {moment}",
            f"container_memory_working_set_bytes{{{POD}}} 1e8 {moment}",
            f'kube_pod_container_resource_requests{{{POD},resource="cpu"}} 1 {moment}',
            f'kube_pod_container_resource_requests{{{POD},resource="memory"}} 2e8 {moment}',
            *(f"{figure} {moment}" for figure in figures),
        ]
    path.write_text("\n".join([*lines, "# EOF", ""]))
    return path


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prometheus_server(history(tmp_path_factory.mktemp("history") / "history.om")) as server:
        yield str(server.address)


@pytest.mark.parametrize(("panel", "expression"), panel_queries())
def test_the_panel_has_data(prometheus: str, panel: str, expression: str) -> None:
    answer = requests.get(f"{prometheus}/api/v1/query", params={"query": expression}, timeout=10).json()
    assert answer["status"] == "success", f"{panel}: {answer.get('error')}"
    assert answer["data"]["result"], f"{panel}: no data for {expression}"
    assert all(series["value"][1] != "NaN" for series in answer["data"]["result"])


def test_the_cpu_panel_shows_what_is_used(prometheus: str) -> None:
    [_, (_, expression)] = [query for query in panel_queries() if query[0].startswith("CPU")]
    answer = requests.get(f"{prometheus}/api/v1/query", params={"query": expression}, timeout=10).json()
    [series] = answer["data"]["result"]
    assert series["metric"] == {"namespace": "shop"}
    assert float(series["value"][1]) == pytest.approx(0.25)
