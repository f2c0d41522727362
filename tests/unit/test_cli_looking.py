"""What scan, propose and doctor take from their options, and what from the environment."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from functions.recommender.reading import read
from functions.recommender.report import Entry, entry
from functions.recommender.settings import RecommenderSettings
from functions.recommender.sizing import size
from functions.recommender.whose import Whose
from infra.cli.looking import (
    NothingFound,
    _notes,
    _unmeasured,
    asked,
    look,
    matching,
    see,
    sizing_settings,
)
from shared.adapters.prometheus import HttpPrometheus
from shared.contracts.errors import BadSetting
from shared.contracts.prometheus import Series
from shared.runtime.settings import PrometheusSettings
from tests.fakes.prometheus import FakePrometheus, deployment

ADDRESS = "http://localhost:9090"


def test_labels_come_from_the_option_and_else_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_LABELS", "cluster=us")
    monkeypatch.setenv("PROMETHEUS_TENANT", "team-a")
    settings = sizing_settings(ADDRESS)
    assert (settings.prometheus_labels, settings.prometheus_tenant) == ('cluster="us"', "team-a")
    settings = sizing_settings(ADDRESS, ["cluster=eu", 'env="a, b"'])
    assert settings.prometheus_labels == 'cluster="eu", env="a, b"'


def test_what_is_wrong_is_told_by_the_name_that_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadSetting, match=r"^--label: 'eu' is not labels"):
        asked(PrometheusSettings, ADDRESS, ["eu"])
    with pytest.raises(BadSetting, match=r"^--prometheus: must be an address.*; --label: 'eu' is not labels"):
        asked(PrometheusSettings, "localhost", ["eu"])
    with pytest.raises(BadSetting, match=r"^--prometheus: must be an address.*; --provider: must be one of"):
        sizing_settings("localhost", strategy="balanced", provider="nobody")
    with pytest.raises(BadSetting, match=r"^--prices: /nowhere: no such file"):
        sizing_settings(ADDRESS, prices=Path("/nowhere"))
    monkeypatch.setenv("PROMETHEUS_LABELS", "eu")
    with pytest.raises(BadSetting, match=r"^setting PROMETHEUS_LABELS: 'eu' is not labels"):
        asked(PrometheusSettings, ADDRESS)


def test_a_cluster_is_called_by_the_label_that_chooses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBEFINOPS_CLUSTER", raising=False)
    assert sizing_settings(ADDRESS, ["team=web", "cluster=eu-1"]).cluster == "eu-1"
    assert sizing_settings(ADDRESS, ["k8s_cluster_name=eu-2"]).cluster == "eu-2"
    assert {sizing_settings(ADDRESS, [each]).cluster for each in ("team=web", "cluster=a b")} == {"local"}
    monkeypatch.setenv("KUBEFINOPS_CLUSTER", "ours")
    assert sizing_settings(ADDRESS, ["cluster=eu-1"]).cluster == "ours"


@pytest.mark.parametrize("namespaces", [[], ["nowhere"]])
def test_where_nothing_is_found_is_told_without_the_password_in_its_address(
    namespaces: Collection[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = FakePrometheus(*([deployment("shop", "web")] if namespaces else []))
    monkeypatch.setattr(HttpPrometheus, "query", lambda _, *given: nobody.query(*given))
    with pytest.raises(NothingFound, match=r" at http://h:9090[:;]") as caught:
        look(sizing_settings("http://me:s3cret@h:9090"), namespaces, datetime(2026, 11, 20, tzinfo=UTC))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("namespaces", [[], ["shop"]])
def test_where_nothing_is_found_the_label_that_was_asked_for_is_told(
    namespaces: Collection[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a label that no series has, not the series are to blame."""
    nobody = FakePrometheus()
    monkeypatch.setattr(HttpPrometheus, "query", lambda _, *given: nobody.query(*given))
    settings = sizing_settings("http://h:9090", ["cluster=eu-1"])
    with pytest.raises(NothingFound, match=r'^no .* with cluster="eu-1" at http://h:9090[:;]') as caught:
        look(settings, namespaces, datetime(2026, 11, 20, tzinfo=UTC))
    assert ("`kubefinops doctor`" in str(caught.value)) == (not namespaces)


def entries_without(metric: str, **pod: Any) -> list[Entry]:
    class Lacking(FakePrometheus):
        def _rows(self, promql: str, at: datetime) -> list[Series]:
            return [each for each in super()._rows(promql, at) if each.labels.get("__name__") != metric]

    server, settings = Lacking(deployment("shop", "web", **pod)), RecommenderSettings.read({})
    at, fortnight = datetime(2026, 11, 20, tzinfo=UTC), timedelta(days=14)
    found = read(server, "local", at, history=fortnight, oom_days=7).workloads
    return [entry(each, size(each, settings.rules), settings.price_list.base) for each in found]


def test_where_nothing_tells_whose_replica_sets_are_it_is_said_that_no_deployment_is_sized() -> None:
    found = entries_without("kube_replicaset_owner")
    assert {each.workload.kind: each.decision for each in found} == {
        "Deployment": "skipped",
        "ReplicaSet": "skipped",
    }
    assert _unmeasured(found, Whose()) is None
    (note,) = _notes(found, Whose(), None, None)
    assert note.startswith("no Deployment is sized, as nothing tells whose ReplicaSets are")
    assert list(_notes(entries_without("nothing"), Whose(), None, None)) == []
    # One that was made by hand is no Deployment's.
    by_hand = [each for each in found if each.workload.kind == "ReplicaSet"]
    assert list(_notes(by_hand, Whose(), None, None)) == []


def test_where_nothing_tells_of_limits_that_throttle_it_is_said_what_a_guaranteed_pod_is_taken_for() -> None:
    metric, limits = "kube_pod_container_resource_limits", {"cpu": 1.0, "memory": float(2**30)}
    throttled = entries_without(metric, limits=limits, throttled=0.0)
    assert [each.qos for each in throttled] == ["Burstable"]
    (note,) = _notes(throttled, Whose(), None, None)
    assert note.startswith(f"no limit is told of any container ({metric}), though some have one")
    assert list(_notes(entries_without("nothing", limits=limits, throttled=0.0), Whose(), None, None)) == []
    assert list(_notes(entries_without("nothing", limits={}), Whose(), None, None)) == []


def test_where_nothing_tells_whose_pods_are_cadvisor_is_not_blamed() -> None:
    why = _unmeasured(entries_without("kube_pod_owner"), Whose())
    assert why is not None
    assert ": nothing tells of pods that are theirs (kube_pod_owner); `kubefinops doctor` tells more" in why


def test_where_nothing_is_of_a_kind_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakePrometheus(deployment("shop", "web"))
    monkeypatch.setattr(HttpPrometheus, "query", lambda _, *given: server.query(*given))
    monkeypatch.setattr(HttpPrometheus, "query_range", lambda _, *given: server.query_range(*given))
    monkeypatch.setattr(HttpPrometheus, "series", lambda _, *given: server.series(*given))
    settings = sizing_settings("http://h:9090")
    at = datetime(2026, 11, 20, tzinfo=UTC)
    (web,) = see(settings, [], at, kinds=["Deployment"]).entries
    assert web.workload.name == "web"
    with pytest.raises(NothingFound, match=r"^no Job or CronJob in namespace shop at http://h:9090:"):
        see(settings, ["shop"], at, kinds=["Job", "CronJob"])


def test_a_namespace_with_a_pattern_is_asked_for_once_and_a_name_is_not() -> None:
    server = FakePrometheus(deployment("shop", "web"), deployment("shop-2", "web"), deployment("pay", "web"))
    at, by_namespace = datetime(2026, 11, 20, tzinfo=UTC), "count by (namespace) (kube_pod_owner{})"
    assert matching(["pay", "shop*"], server, at, "", "here") == ["pay", "shop", "shop-2"]
    assert server.asked == [by_namespace]
    assert matching(["nowhere", "pay"], server, at, "", "here") == ["nowhere", "pay"]
    assert matching([], server, at, "", "here") == []
    assert server.asked == [by_namespace]
    with pytest.raises(NothingFound, match=r"^no namespace team-\? at here; seen: pay, shop, shop-2$"):
        matching(["shop", "team-?"], server, at, "", "here")
