"""What Prometheus is told: the pages that it scrapes, and the history before them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from infra.standins.cluster import cadvisor, history, kube_state
from infra.standins.cluster.cluster import Cluster
from infra.standins.cluster.metrics import exposition
from infra.standins.scenario import Node, Profile, Scenario, Usage

_NOW = 1_790_000_000.0
_MIB = 1024**2
_HOUR = 3600.0
Series = dict[tuple[tuple[str, str], ...], float]


def _workload(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    container = {
        "name": "app",
        "image": f"registry.example/{name}:1",
        "resources": {
            "requests": {"cpu": "250m", "memory": "128Mi"},
            "limits": {"cpu": "300m", "memory": "256Mi"},
        },
    }
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    selector = {"matchLabels": {"app": name}}
    version = "batch/v1" if kind == "CronJob" else "apps/v1"
    body = {"selector": selector, "template": template, **spec}
    if kind == "CronJob":
        body = {"schedule": "0 * * * *", "jobTemplate": {"spec": {"template": template}}}
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop"},
        "spec": body,
    }


def _scenario(**more: Any) -> Scenario:
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "maxReplicas": 5,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
                },
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": "hits"},
                        "target": {"type": "AverageValue", "averageValue": "1k"},
                    },
                },
            ],
        },
    }
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "compute", "namespace": "shop"},
        "spec": {"hard": {"requests.memory": "8Gi"}},
    }
    limits = {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "smallest", "namespace": "shop"},
        "spec": {"limits": [{"type": "Container", "min": {"memory": "8Mi"}}]},
    }
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    web = {"cpu_cores": 0.4, "memory_bytes": 100 * _MIB, "days": 0.5, "noise": 0.0}
    dying = {"memory_spikes_per_day": 40, "memory_spike_bytes": 200 * _MIB, "memory_spike_seconds": 60}
    profiles = {
        ("Deployment", "web"): Profile.model_validate(web),
        ("StatefulSet", "db"): Profile.model_validate({**web, **dying}),
        ("CronJob", "report"): Profile.model_validate({**web, "cpu_cores": 0.1}),
    }
    usage = [
        Usage(namespace="shop", kind=kind, name=name, container="app", profile=profile)
        for (kind, name), profile in profiles.items()
    ]
    usage[0] = usage[0].model_copy(update={"redeployed": [_NOW - 3 * _HOUR]})
    objects = [
        namespace,
        _workload("Deployment", "web", replicas=2),
        _workload("StatefulSet", "db", replicas=1),
        _workload("CronJob", "report"),
        autoscaler,
        quota,
        limits,
    ]
    nodes = [Node(name="node-1", cpu=8, memory_bytes=32 * 1024 * _MIB)]
    return Scenario.model_validate(
        {"now": _NOW, "seed": 3, "nodes": nodes, "objects": objects, "usage": usage, **more}
    )


def _pages(cluster: Cluster) -> dict[str, Series]:
    """Samples by metric, then by labels."""
    found: dict[str, Series] = {}
    text = exposition(cadvisor.rows(cluster), cadvisor.SOURCE) + exposition(
        kube_state.rows(cluster), kube_state.SOURCE
    )
    for family in parse(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {}), "a series twice in one scrape"
            found[sample.name][labels] = sample.value
    return found


def _find(series: Series, **wanted: str) -> Iterator[tuple[dict[str, str], float]]:
    for labels, value in series.items():
        if wanted.items() <= dict(labels).items():
            yield dict(labels), value


def test_cadvisor_has_container_pod_and_sandbox_series_with_its_labels() -> None:
    pages = _pages(Cluster(_scenario()))
    pod = next(labels["pod"] for labels, _ in _find(pages[cadvisor.CPU], container="app", namespace="shop"))
    by_container = {labels["container"]: labels for labels, _ in _find(pages[cadvisor.CPU], pod=pod)}
    assert set(by_container) == {"app", "", "POD"}
    assert set(by_container["app"]) == {
        *("container", "cpu", "id", "image", "name", "namespace", "pod"),
        *("instance", "job"),
    }
    assert by_container["app"]["id"].endswith(by_container["app"]["name"])
    ((_, of_app),) = _find(pages[cadvisor.MEMORY], pod=pod, container="app")
    ((_, of_pod),) = _find(pages[cadvisor.MEMORY], pod=pod, container="")
    assert of_pod > of_app


def test_counters_go_on_in_live_time() -> None:
    cluster = Cluster(_scenario())
    before = _pages(cluster)[cadvisor.CPU]
    cluster.advance(_NOW + 30)
    after = _pages(cluster)[cadvisor.CPU]
    used = [after[key] - value for key, value in before.items() if dict(key)["container"] == "app"]
    assert len(used) == 3
    assert all(0 < seconds <= 30 * 0.3 + 1e-9 for seconds in used)


def test_a_container_at_its_cpu_limit_is_shown_as_throttled() -> None:
    pages = _pages(Cluster(_scenario()))
    for labels, throttled in _find(pages[cadvisor.THROTTLED], namespace="shop"):
        key = tuple(sorted(labels.items()))
        assert throttled == pytest.approx(pages[cadvisor.PERIODS][key], rel=0.01)


def test_kube_state_metrics_tells_owners_requests_and_autoscalers() -> None:
    pages = _pages(Cluster(_scenario()))
    owners = {labels["owner_kind"] for labels, _ in _find(pages["kube_pod_owner"])}
    assert owners == {"ReplicaSet", "StatefulSet", "Job"}
    ((owner, _),) = _find(pages["kube_replicaset_owner"])
    assert (owner["owner_kind"], owner["owner_name"], owner["owner_is_controller"]) == (
        "Deployment",
        "web",
        "true",
    )
    ((_, cpu),) = _find(
        pages["kube_pod_container_resource_requests"], pod="db-0", resource="cpu", unit="core"
    )
    ((_, memory),) = _find(
        pages["kube_pod_container_resource_limits"], pod="db-0", resource="memory", unit="byte"
    )
    assert (cpu, memory) == (0.25, 256 * _MIB)
    ((info, _),) = _find(pages["kube_horizontalpodautoscaler_info"])
    assert (info["scaletargetref_kind"], info["scaletargetref_name"]) == ("Deployment", "web")
    targets = {
        (labels["metric_name"], labels["metric_target_type"]): value
        for labels, value in _find(pages["kube_horizontalpodautoscaler_spec_target_metric"])
    }
    assert targets == {("cpu", "utilization"): 70, ("hits", "average"): 1000}
    ((_, unavailable),) = _find(
        pages["kube_deployment_spec_strategy_rollingupdate_max_unavailable"], deployment="web"
    )
    assert unavailable == 0  # a quarter of two, rounded down
    ((_, hard),) = _find(pages["kube_resourcequota"], resource="requests.memory", type="hard")
    assert hard == 8 * 1024 * _MIB
    ((_, least),) = _find(pages["kube_limitrange"], constraint="min", resource="memory", type="Container")
    assert least == 8 * _MIB
    ((_, cores),) = _find(pages["kube_node_status_allocatable"], resource="cpu", unit="core")
    assert cores == 8
    ((job, _), *_) = _find(pages["kube_job_owner"])
    assert (job["owner_kind"], job["owner_name"]) == ("CronJob", "report")
    ((cron_job, _),) = _find(pages["kube_cronjob_info"])
    assert cron_job["cronjob"] == "report"


def test_an_oom_kill_is_told_as_restart_and_last_reason_and_begins_a_new_control_group() -> None:
    cluster = Cluster(_scenario())
    pages = _pages(cluster)
    ((_, restarts),) = _find(pages[kube_state.RESTARTS], pod="db-0")
    assert restarts > 0
    ((reason, value),) = _find(pages[kube_state.LAST_REASON], pod="db-0")
    assert (reason["reason"], value) == ("OOMKilled", 1)
    ((info, _),) = _find(pages["kube_pod_container_info"], pod="db-0")
    ((cgroup, _),) = _find(pages[cadvisor.CPU], pod="db-0", container="app")
    assert info["container_id"] == f"containerd://{cgroup['name']}"


# --- history


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("history") / "history.om"
    samples = history.write(Cluster(_scenario(), lived=False), out)
    text = out.read_text()
    assert sum(not line.startswith("#") for line in text.splitlines()) == samples
    return text


@pytest.fixture(scope="module")
def past(written: str) -> dict[str, dict[tuple[tuple[str, str], ...], list[tuple[float, float]]]]:
    """Metric -> labels -> (time, value), as a parser of OpenMetrics reads it."""
    found: dict[str, dict[tuple[tuple[str, str], ...], list[tuple[float, float]]]] = {}
    for family in parse_openmetrics(written):  # type: ignore[no-untyped-call]
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            series = found.setdefault(sample.name, {}).setdefault(labels, [])
            series.append((float(sample.timestamp), sample.value))
    return found


Past = dict[str, dict[tuple[tuple[str, str], ...], list[tuple[float, float]]]]


def test_the_history_ends_now_and_is_as_long_as_the_trace(past: Past) -> None:
    times = [t for series in past[cadvisor.MEMORY].values() for t, _ in series]
    assert max(times) == _NOW
    assert min(times) == pytest.approx(_NOW - 12 * _HOUR, abs=120)


def test_every_series_is_in_time_order_and_counters_never_fall(past: Past) -> None:
    for name, by_labels in past.items():
        for series in by_labels.values():
            times = [t for t, _ in series]
            assert times == sorted(set(times))
            if name.endswith("_total"):
                values = [value for _, value in series]
                assert values == sorted(values)


def test_a_counter_goes_on_live_where_the_history_ended(past: Past) -> None:
    pages = _pages(Cluster(_scenario()))
    compared = 0
    for name in (cadvisor.CPU, cadvisor.PERIODS, cadvisor.THROTTLED, kube_state.RESTARTS):
        for labels, value in pages[name].items():
            if dict(labels)["container"] != "app" or dict(labels)["pod"].startswith("report"):
                continue
            t, last = past[name][labels][-1]
            assert t == _NOW
            assert last == pytest.approx(value, abs=1e-3)
            compared += 1
    assert compared == 12


def test_pods_that_are_gone_have_owners_and_usage_at_their_time(past: Past) -> None:
    pods: dict[str, set[float]] = {}
    for labels, series in past[cadvisor.MEMORY].items():
        if dict(labels)["pod"].startswith("web-"):
            pods.setdefault(dict(labels)["pod"], set()).update(t for t, _ in series)
    gone = {pod for pod, times in pods.items() if max(times) < _NOW}
    assert len(gone) == 2
    assert all(max(pods[pod]) <= _NOW - 3 * _HOUR for pod in gone)
    for pod in gone:
        ((labels, series),) = [each for each in past["kube_pod_owner"].items() if dict(each[0])["pod"] == pod]
        told = [t for t, _ in series]
        assert max(later - earlier for earlier, later in pairwise(told)) <= 240
        ((_, owner),) = [
            (each, dict(each)["owner_name"])
            for each in past["kube_replicaset_owner"]
            if dict(each)["replicaset"] == dict(labels)["owner_name"]
        ]
        assert owner == "web"


def test_a_cron_job_s_earlier_runs_are_in_the_history(past: Past) -> None:
    jobs = {dict(labels)["job_name"] for labels in past["kube_job_owner"]}
    assert len(jobs) == 12
    pods = {
        dict(labels)["pod"] for labels in past[cadvisor.MEMORY] if dict(labels)["pod"].startswith("report-")
    }
    assert {pod.rpartition("-")[0] for pod in pods} == jobs


def test_usage_is_what_the_limits_let_through(past: Past) -> None:
    for labels, series in past[cadvisor.CPU].items():
        if dict(labels)["pod"].startswith("web-"):
            rates = [(b - a) / (v - u) for (u, a), (v, b) in pairwise(series)]
            assert max(rates) <= 0.3 + 1e-3


def test_the_same_scenario_gives_the_same_history(written: str, tmp_path: Path) -> None:
    history.write(Cluster(_scenario(), lived=False), tmp_path / "again.om")
    assert (tmp_path / "again.om").read_text() == written


def test_a_cluster_that_lived_while_its_history_was_written_can_be_kept_and_goes_on_alike(
    tmp_path: Path,
) -> None:
    lived = Cluster(_scenario(), lived=False)
    history.write(lived, tmp_path / "history.om")
    kept, fresh = pickle.loads(pickle.dumps(lived)), Cluster(_scenario())
    for later in (0.0, 1.0, 100.0):
        for cluster in (kept, fresh):
            cluster.advance(_NOW + later)
        assert _pages(kept) == _pages(fresh)
