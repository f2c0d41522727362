"""Grafana's provisioning, as far as it can be known without its server."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from functions.exporter.metrics import METRICS
from infra.grafana.queries import BUILT_IN, OVERVIEW, panel_queries

PROVISIONING = OVERVIEW.parents[1]
DASHBOARD: dict[str, Any] = json.loads(OVERVIEW.read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
VARIABLES: list[dict[str, Any]] = DASHBOARD["templating"]["list"]
# cAdvisor's and kube-state-metrics' series that the product relies on anyway.
INPUTS = {
    "container_cpu_usage_seconds_total",
    "container_memory_working_set_bytes",
    "kube_pod_container_resource_requests",
}
DATASOURCE = {"type": "prometheus", "uid": "prometheus"}

each_panel = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))


def test_the_datasource_is_the_one_that_the_dashboard_names() -> None:
    [source] = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert {"type": source["type"], "uid": source["uid"]} == DATASOURCE
    assert source["isDefault"] is True
    assert source["url"] == "$PROMETHEUS_URL"


def test_the_rate_interval_is_four_of_the_datasources_scrapes() -> None:
    [source] = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    scrape = int(source["jsonData"]["timeInterval"].removesuffix("s"))
    assert f"{4 * scrape // 60}m" == BUILT_IN["__rate_interval"]


def test_the_folder_of_dashboards_is_read_by_itself() -> None:
    [provider] = yaml.safe_load((PROVISIONING / "dashboards" / "kubefinops.yml").read_text())["providers"]
    assert provider["type"] == "file"
    assert Path(provider["options"]["path"]).name == OVERVIEW.parent.name


def test_the_dashboard_says_who_it_is() -> None:
    assert DASHBOARD["uid"] == "kubefinops-overview"
    assert DASHBOARD["title"]
    assert DASHBOARD["description"]
    assert DASHBOARD["schemaVersion"] >= 39
    assert "id" not in DASHBOARD, "an id is given by the server"


@each_panel
def test_every_panel_explains_itself_and_has_a_unit_a_source_and_queries(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert len(panel["description"]) > 20
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == DATASOURCE
    assert panel["targets"]
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)
    for target in panel["targets"]:
        assert target["datasource"] == DATASOURCE
        assert target["expr"].count("(") == target["expr"].count(")")
        assert target["instant"] != target["range"]


@each_panel
def test_a_graph_asks_for_a_range_and_everything_else_for_now(panel: dict[str, Any]) -> None:
    assert all(target["range"] is (panel["type"] == "timeseries") for target in panel["targets"])


def test_panels_lie_beside_each_other_within_the_grid() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    places = [panel["gridPos"] for panel in PANELS]
    for place in places:
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, f"{one} and {other} overlap"


def test_the_overview_shows_what_it_promises() -> None:
    shown = {name for _, expression in panel_queries() for name in _metrics(expression)}
    assert shown >= INPUTS
    ours = {metric.name for metric in METRICS}
    assert shown - INPUTS <= ours
    assert ours - shown == {
        "kubefinops_oldest_unsent_event_age_seconds",  # for the alert
        "kubefinops_exporter_scrapes_total",  # for whoever looks for why figures are missing
    }


def test_every_variable_is_used_and_starts_with_a_choice() -> None:
    text = OVERVIEW.read_text()
    assert [variable["name"] for variable in VARIABLES] == ["cluster", "namespace", "window"]
    for variable in VARIABLES:
        assert f"${variable['name']}" in text
        assert variable["current"]["value"]
        if variable["type"] == "query":
            assert variable["datasource"] == DATASOURCE


def test_queries_are_filled_in_as_grafana_would() -> None:
    queries = panel_queries()
    assert len(queries) == sum(len(panel["targets"]) for panel in PANELS)
    assert not [expression for _, expression in queries if "$" in expression]
    assert (
        "Waste left a month",
        'sum by (currency) (kubefinops_waste_monthly{cluster=~".*",namespace=~".*"})',
    ) in queries


def test_a_variable_that_is_not_defined_is_named_with_its_panel(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    panels = [{"title": "CPU", "targets": [{"expr": "up[$nowhere]"}]}]
    path.write_text(json.dumps({"templating": {"list": []}, "panels": panels}))
    with pytest.raises(ValueError, match=r"panel 'CPU': \$nowhere"):
        panel_queries(path)


def _metrics(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:kubefinops|container|kube)_[a-z_]+", expression))
