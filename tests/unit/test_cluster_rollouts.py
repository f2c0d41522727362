"""A cluster in which a change of a manifest becomes new pods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra.standins.cluster.cluster import ARGO_CD, Cluster
from infra.standins.cluster.jobs import occurrences, parse_schedule
from infra.standins.cluster.kinds import BY_NAME
from infra.standins.cluster.pods import Pod
from infra.standins.scenario import Node, Profile, Scenario, Usage

_NOW = 1_790_000_000.0
_MIB = 1024**2
Body = dict[str, Any]


def _workload(kind: str = "Deployment", name: str = "web", cpu: str = "100m", **spec: Any) -> Body:
    container = {"name": "app", "image": "app:1", "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
            **spec,
        },
    }


def _scenario(*objects: Body, **more: Any) -> Scenario:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    nodes = [Node(name=name, cpu=4, memory_bytes=16 * 1024 * _MIB) for name in ("node-1", "node-2")]
    return Scenario.model_validate({"now": _NOW, "nodes": nodes, "objects": [namespace, *objects], **more})


def _apply(cluster: Cluster, body: Body) -> Body:
    kind = BY_NAME[body["apiVersion"], body["kind"]]
    return cluster.apply(kind, "shop", body["metadata"]["name"], body, ARGO_CD)[0]


def _shown(cluster: Cluster, kind: str = "Deployment", name: str = "web") -> Body:
    version = {"Pod": "v1", "Job": "batch/v1", "ResourceQuota": "v1"}.get(kind, "apps/v1")
    return cluster.get(BY_NAME[version, kind], "shop", name)


def _condition(body: Body, kind: str) -> Body:
    return next((each for each in body["status"]["conditions"] if each["type"] == kind), {})


def _pods(cluster: Cluster) -> list[Pod]:
    return sorted(cluster.pods.values(), key=lambda pod: pod.name)


def _step(cluster: Cluster, seconds: float, watch: Callable[[], None] = lambda: None) -> None:
    """Lives on in small steps, and looks after each."""
    end = cluster.now + seconds
    while cluster.now < end:
        cluster.advance(cluster.now + 0.25)
        watch()


def test_a_scenario_begins_with_what_it_says_running_and_ready() -> None:
    cluster = Cluster(_scenario(_workload(replicas=3), usage=[_usage()]))
    status = _shown(cluster)["status"]
    assert (status["replicas"], status["readyReplicas"], status["observedGeneration"]) == (3, 3, 1)
    assert _condition(_shown(cluster), "Progressing")["reason"] == "NewReplicaSetAvailable"


def _usage(**more: Any) -> Usage:
    profile = Profile(cpu_cores=0.05, memory_bytes=32 * _MIB, days=0.1)
    return Usage.model_validate(
        {
            "namespace": "shop",
            "kind": "Deployment",
            "name": "web",
            "container": "app",
            "profile": profile,
            **more,
        }
    )


def test_a_changed_template_replaces_pods_without_losing_availability() -> None:
    cluster = Cluster(_scenario(_workload(replicas=4), usage=[_usage()]))
    old = {pod.name for pod in _pods(cluster)}
    _apply(cluster, _workload(replicas=4, cpu="50m"))
    assert _condition(_shown(cluster), "Progressing")["reason"] == "ReplicaSetUpdated"
    available, most = [], []

    def watch() -> None:
        status = _shown(cluster)["status"]
        available.append(status.get("availableReplicas", 0))
        most.append(status["replicas"])

    _step(cluster, 10, watch)
    status = _shown(cluster)["status"]
    assert status["updatedReplicas"] == status["availableReplicas"] == status["replicas"] == 4
    assert status["observedGeneration"] == 2
    assert min(available) >= 3  # maxUnavailable 25 %
    assert max(most) <= 5  # maxSurge 25 %
    assert old.isdisjoint(pod.name for pod in _pods(cluster))
    assert {str(pod.requested("cpu")) for pod in _pods(cluster)} == {"0.050"}


def test_pods_are_named_by_deployment_template_and_five_characters_the_same_in_every_run() -> None:
    names = [[pod.name for pod in _pods(Cluster(_scenario(_workload(replicas=2))))] for _ in range(2)]
    assert names[0] == names[1]
    replica_set = _pods(Cluster(_scenario(_workload(replicas=2))))[0].owner.name
    assert all(name.startswith(f"{replica_set}-") and len(name) == len(replica_set) + 6 for name in names[0])


def test_going_back_to_an_old_template_uses_its_replica_set_again() -> None:
    cluster = Cluster(_scenario(_workload()))
    first = _pods(cluster)[0].owner
    _apply(cluster, _workload(cpu="50m"))
    _step(cluster, 5)
    _apply(cluster, _workload())
    _step(cluster, 5)
    assert {pod.owner for pod in _pods(cluster)} == {first}
    assert _shown(cluster)["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"


def test_recreate_ends_the_old_pods_before_it_starts_new_ones() -> None:
    cluster = Cluster(_scenario(_workload(replicas=2, strategy={"type": "Recreate"})))
    _apply(cluster, _workload(replicas=2, cpu="50m", strategy={"type": "Recreate"}))
    assert len({pod.revision for pod in _pods(cluster)}) == 1
    assert "availableReplicas" not in _shown(cluster)["status"]


def test_a_quota_without_room_keeps_the_new_pods_from_coming_up() -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "compute", "namespace": "shop"},
        "spec": {"hard": {"requests.cpu": "300m"}},
    }
    deployment = _workload(replicas=2, progressDeadlineSeconds=5)
    cluster = Cluster(_scenario(deployment, quota))
    _apply(cluster, _workload(replicas=2, cpu="150m", progressDeadlineSeconds=5))
    failure = _condition(_shown(cluster), "ReplicaFailure")
    assert failure["reason"] == "FailedCreate"
    assert failure["message"].endswith(
        "is forbidden: exceeded quota: compute, requested: requests.cpu=150m, used: requests.cpu=200m, "
        "limited: requests.cpu=300m"
    )
    _step(cluster, 8)
    progressing = _condition(_shown(cluster), "Progressing")
    assert (progressing["status"], progressing["reason"]) == ("False", "ProgressDeadlineExceeded")
    assert _shown(cluster)["status"]["readyReplicas"] == 2  # the old ones still serve
    assert _shown(cluster, "ResourceQuota", "compute")["status"]["used"] == {"requests.cpu": "200m"}


def test_a_limit_range_refuses_what_is_too_large_and_fills_in_what_is_missing() -> None:
    limit_range = {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "sizes", "namespace": "shop"},
        "spec": {
            "limits": [{"type": "Container", "max": {"cpu": "500m"}, "defaultRequest": {"memory": "32Mi"}}]
        },
    }
    cluster = Cluster(_scenario(_workload(), limit_range))
    assert _pods(cluster)[0].spec["containers"][0]["resources"] == {
        "limits": {"cpu": "500m"},
        "requests": {"cpu": "100m", "memory": "64Mi"},
    }
    large = _workload()
    large["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1"}}
    _apply(cluster, large)
    told = _condition(_shown(cluster), "ReplicaFailure")["message"]
    assert "maximum cpu usage per Container is 500m, but limit is 1" in told


def test_a_limit_range_refuses_a_pod_whose_limits_are_far_above_its_requests() -> None:
    limit_range = {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "sizes", "namespace": "shop"},
        "spec": {"limits": [{"type": "Pod", "maxLimitRequestRatio": {"cpu": "4"}}]},
    }
    wide = _workload()
    resources = {"limits": {"cpu": "1"}, "requests": {"cpu": "200m"}}
    wide["spec"]["template"]["spec"]["containers"][0]["resources"] = resources
    cluster = Cluster(_scenario(wide, limit_range))
    told = _condition(_shown(cluster), "ReplicaFailure")["message"]
    assert "cpu max limit to request ratio per Pod is 4, but provided ratio is 5" in told


def test_a_pod_that_no_node_has_room_for_waits_until_there_is() -> None:
    cluster = Cluster(_scenario(_workload("Deployment", "big", cpu="3", replicas=3)))
    waiting = [pod for pod in _pods(cluster) if not pod.node]
    assert [pod.phase(cluster.now) for pod in waiting] == ["Pending"]
    _apply(cluster, _workload("Deployment", "big", cpu="3", replicas=2))
    _step(cluster, 3)
    assert all(pod.ready(cluster.now) for pod in _pods(cluster))


def test_a_stateful_set_is_updated_from_the_last_pod_down_one_at_a_time() -> None:
    cluster = Cluster(_scenario(_workload("StatefulSet", "db", replicas=3)))
    _step(cluster, 6)
    _apply(cluster, _workload("StatefulSet", "db", replicas=3, cpu="50m"))
    updated: list[str] = []
    least = []

    def watch() -> None:
        revision = _shown(cluster, "StatefulSet", "db")["status"]["updateRevision"]
        updated.extend(
            pod.name for pod in _pods(cluster) if pod.revision == revision and pod.name not in updated
        )
        least.append(_shown(cluster, "StatefulSet", "db")["status"].get("readyReplicas", 0))

    watch()
    _step(cluster, 10, watch)
    assert updated == ["db-2", "db-1", "db-0"]
    assert min(least) == 2
    status = _shown(cluster, "StatefulSet", "db")["status"]
    assert status["currentRevision"] == status["updateRevision"]
    assert status["updatedReplicas"] == status["readyReplicas"] == 3


def test_a_daemon_set_has_a_pod_on_every_node_and_replaces_them_in_turn() -> None:
    cluster = Cluster(_scenario(_workload("DaemonSet", "agent")))
    _step(cluster, 3)
    assert sorted(pod.node for pod in _pods(cluster)) == ["node-1", "node-2"]
    _apply(cluster, _workload("DaemonSet", "agent", cpu="50m"))
    assert _shown(cluster, "DaemonSet", "agent")["status"]["updatedNumberScheduled"] == 1
    _step(cluster, 6)
    status = _shown(cluster, "DaemonSet", "agent")["status"]
    assert status["updatedNumberScheduled"] == status["numberAvailable"] == 2


def test_a_container_that_is_killed_makes_its_deployment_unavailable() -> None:
    deployment = _workload()
    deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] = {"memory": "64Mi"}
    cluster = Cluster(_scenario(deployment, usage=[_usage()]))
    smaller = _workload()
    smaller["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"memory": "10Mi"}}
    _apply(cluster, {**smaller, "spec": {**smaller["spec"], "strategy": {"type": "Recreate"}}})
    _step(cluster, 30)
    pod = _pods(cluster)[0].manifest(cluster.now)
    (container,) = pod["status"]["containerStatuses"]
    assert container["restartCount"] > 1
    assert container["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert _condition(_shown(cluster), "Available")["status"] == "False"


def test_a_cron_job_has_run_before_and_runs_when_it_is_due() -> None:
    cron_job = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "report", "namespace": "shop"},
        "spec": {
            "schedule": "*/30 * * * *",
            "jobTemplate": {"spec": {"template": _workload()["spec"]["template"]}},
        },
    }
    usage = _usage(kind="CronJob", name="report", profile=Profile(cpu_cores=0.1, memory_bytes=_MIB, days=0.2))
    cluster = Cluster(_scenario(cron_job, usage=[usage]))
    before = _pods(cluster)
    assert [pod.phase(_NOW) for pod in before] == ["Succeeded"] * 3
    cluster.advance(_NOW + 1100)  # due at the half hour, 1000 s from now
    running = [pod for pod in _pods(cluster) if pod not in before]
    assert len(running) == 1
    assert running[0].owner.kind == "Job"
    cluster.advance(_NOW + 1500)
    assert _shown(cluster, "Job", running[0].owner.name)["status"]["succeeded"] == 1
    assert len(cluster.objects("Job")) == 3


def test_a_deleted_deployment_takes_its_pods_with_it() -> None:
    cluster = Cluster(_scenario(_workload(replicas=2)))
    cluster.delete(BY_NAME["apps/v1", "Deployment"], "shop", "web")
    assert cluster.pods == {}
    assert cluster.replica_sets == {}


def test_a_deleted_pod_comes_back_under_another_name() -> None:
    cluster = Cluster(_scenario(_workload(replicas=1)))
    (pod,) = _pods(cluster)
    cluster.delete(BY_NAME["v1", "Pod"], "shop", pod.name)
    assert [other.name == pod.name for other in _pods(cluster)] == [False]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("*/30 * * * *", ["00:30", "01:00", "01:30", "02:00"]),
        ("5 1 * * *", ["01:05"]),
        ("0,10 0-1 * * *", ["00:10", "01:00", "01:10"]),
    ],
)
def test_a_schedule_names_its_times(schedule: str, expected: list[str]) -> None:
    midnight = _NOW - _NOW % 86400
    found = occurrences(schedule, midnight, midnight + 7200)
    assert [f"{int(t % 86400 // 3600):02}:{int(t % 3600 // 60):02}" for t in found] == expected


@pytest.mark.parametrize("schedule", ["* * * *", "61 * * * *", "* * * * mon", "*/0 * * * *", "5-1 * * * *"])
def test_a_schedule_that_cron_does_not_know_is_refused(schedule: str) -> None:
    with pytest.raises(ValueError, match="cron"):
        parse_schedule(schedule)
