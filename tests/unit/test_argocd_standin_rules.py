"""The stand-in of Argo CD judges differences, health and sync windows as Argo CD does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.standins.argocd.diff import IgnoreRuleError, differs, keep_live, predict, without_ignored
from infra.standins.argocd.health import health_of, worst
from infra.standins.argocd.windows import active, can_sync, matching, parse_duration

Object = dict[str, Any]


def deployment(*containers: Object, **spec: Any) -> Object:
    template = {"spec": {"containers": list(containers)}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"template": template, **spec},
    }


def app(cpu: str, **fields: Any) -> Object:
    return {"name": "app", "resources": {"requests": {"cpu": cpu}}, **fields}


# Differences


@pytest.mark.parametrize(
    ("wanted", "lives"), [("1000m", "1"), ("0.5", "500m"), ("1e3", "1k"), ("250m", "0.25")]
)
def test_equal_quantities_are_no_difference(wanted: str, lives: str) -> None:
    live = deployment(app(lives))
    assert not differs(predict(None, deployment(app(wanted)), live), live)


def test_what_the_cluster_adds_is_no_difference_and_what_it_changes_is() -> None:
    target = deployment(app("1", env=[{"name": "A", "value": "1"}]), replicas=2)
    injected = app(
        "1", env=[{"name": "B", "value": "2"}, {"name": "A", "value": "1"}], imagePullPolicy="Always"
    )
    live = {**deployment({"name": "sidecar"}, injected, replicas=2, paused=False), "status": {"replicas": 2}}
    assert not differs(predict(None, target, live), live)
    live["spec"]["replicas"] = 3
    assert differs(predict(None, target, live), live)


def test_nulls_and_empty_values_of_a_manifest_are_no_difference() -> None:
    live = deployment({"name": "app"})
    assert not differs(predict(None, deployment({"name": "app", "resources": {}, "env": None}), live), live)


def test_what_was_applied_and_is_wanted_no_longer_is_a_difference_in_maps_and_lists() -> None:
    before, live = deployment(app("1"), {"name": "old"}), deployment(app("1"), {"name": "old"})
    predicted = predict(before, deployment(app("1")), live)
    assert [container["name"] for container in predicted["spec"]["template"]["spec"]["containers"]] == ["app"]
    predicted = predict(before, deployment({"name": "app"}, {"name": "old"}), live)
    assert predicted["spec"]["template"]["spec"]["containers"][0] == {"name": "app"}


def test_the_tracking_annotation_alone_is_no_difference() -> None:
    live = deployment(app("1"))
    target = deployment(app("1"))
    target["metadata"]["annotations"] = {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/web"}
    assert not differs(predict(None, target, live), live)
    target["metadata"]["annotations"]["note"] = "x"
    assert differs(predict(None, target, live), live)


@pytest.mark.parametrize(
    ("rule", "rest"),
    [
        ({"jsonPointers": ["/spec/template/spec/containers/0/resources"]}, {"name": "app", "env": []}),
        ({"jqPathExpressions": [".spec.template.spec.containers[].resources.requests"]}, None),
        ({"jsonPointers": ["/spec/template/spec/containers/0/resources"], "name": "other"}, {}),
    ],
)
def test_ignored_fields_are_left_out_where_the_rule_is_meant(rule: Object, rest: Object | None) -> None:
    live = deployment(app("1", env=[]))
    left = without_ignored(live, [{"group": "apps", "kind": "Deployment", **rule}])
    [container] = left["spec"]["template"]["spec"]["containers"]
    if rest == {}:
        assert left is live
    else:
        assert container == (rest or {"name": "app", "resources": {}, "env": []})
        assert live == deployment(app("1", env=[]))


def test_pointers_may_name_keys_with_slashes() -> None:
    live = deployment()
    live["metadata"]["annotations"] = {"a/b": "1", "c~d": "2", "e": "3"}
    pointers = ["/metadata/annotations/a~1b", "/metadata/annotations/c~0d"]
    left = without_ignored(live, [{"group": "*", "kind": "*", "jsonPointers": pointers}])
    assert left["metadata"]["annotations"] == {"e": "3"}


def test_a_sync_that_respects_ignored_fields_keeps_them_as_they_live() -> None:
    rule = {"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas", "/spec/paused"]}
    kept = keep_live(deployment(replicas=2, paused=True), deployment(replicas=7), [rule])
    assert kept["spec"]["replicas"] == 7
    assert "paused" not in kept["spec"]


@pytest.mark.parametrize(
    "rule",
    [
        {"jqPathExpressions": ['.spec.containers[] | select(.name == "x")']},
        {"managedFieldsManagers": ["kube-controller-manager"]},
    ],
)
def test_a_rule_that_cannot_be_followed_is_said(rule: Object) -> None:
    with pytest.raises(IgnoreRuleError):
        without_ignored(deployment(), [{"group": "apps", "kind": "Deployment", **rule}])


# Health


def live_object(kind: str, group: str = "apps", spec: Object | None = None, **status: Any) -> Object:
    return {
        "apiVersion": f"{group}/v1" if group else "v1",
        "kind": kind,
        "metadata": {"name": "x", "generation": 2},
        "spec": spec or {},
        "status": status,
    }


OBSERVED: Object = {"observedGeneration": 2}
# Argo Rollouts write the generation as text.
CANARY: Object = {"replicas": 2, "strategy": {"canary": {}}}
ROLLED: Object = {
    "observedGeneration": "2",
    "currentPodHash": "b",
    "stableRS": "b",
    "replicas": 2,
    "updatedReplicas": 2,
    "availableReplicas": 2,
}
ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}


@pytest.mark.parametrize(
    ("live", "status"),
    [
        (live_object("Deployment", spec={"paused": True}), "Suspended"),
        (live_object("Deployment", spec={"replicas": 2}, observedGeneration=1), "Progressing"),
        (live_object("Deployment", spec={"replicas": 2}, updatedReplicas=1, **OBSERVED), "Progressing"),
        (
            live_object("Deployment", spec={"replicas": 2}, replicas=3, updatedReplicas=2, **OBSERVED),
            "Progressing",
        ),
        (
            live_object(
                "Deployment",
                spec={"replicas": 2},
                replicas=2,
                updatedReplicas=2,
                availableReplicas=1,
                **OBSERVED,
            ),
            "Progressing",
        ),
        (live_object("Deployment", spec={"replicas": 0}, **OBSERVED), "Healthy"),
        (live_object("StatefulSet", spec={"replicas": 1}), "Progressing"),
        (live_object("StatefulSet", spec={"replicas": 2}, readyReplicas=1, **OBSERVED), "Progressing"),
        (
            live_object(
                "StatefulSet",
                spec={"replicas": 1},
                readyReplicas=1,
                currentRevision="a",
                updateRevision="b",
                **OBSERVED,
            ),
            "Progressing",
        ),
        (
            live_object(
                "StatefulSet",
                spec={"replicas": 2, "updateStrategy": ROLLING},
                readyReplicas=2,
                updatedReplicas=0,
                **OBSERVED,
            ),
            "Progressing",
        ),
        (
            live_object(
                "StatefulSet",
                spec={"replicas": 2, "updateStrategy": ROLLING},
                readyReplicas=2,
                updatedReplicas=1,
                **OBSERVED,
            ),
            "Healthy",
        ),
        (
            live_object(
                "StatefulSet",
                spec={"replicas": 1, "updateStrategy": {"type": "OnDelete"}},
                readyReplicas=1,
                **OBSERVED,
            ),
            "Healthy",
        ),
        (
            live_object("DaemonSet", desiredNumberScheduled=2, updatedNumberScheduled=1, **OBSERVED),
            "Progressing",
        ),
        (
            live_object(
                "DaemonSet",
                desiredNumberScheduled=2,
                updatedNumberScheduled=2,
                numberAvailable=1,
                **OBSERVED,
            ),
            "Progressing",
        ),
        (
            live_object(
                "DaemonSet",
                desiredNumberScheduled=2,
                updatedNumberScheduled=2,
                numberAvailable=2,
                **OBSERVED,
            ),
            "Healthy",
        ),
        (live_object("Rollout", "argoproj.io", CANARY), "Progressing"),
        (live_object("Rollout", "argoproj.io", CANARY, **ROLLED), "Healthy"),
        (live_object("Rollout", "argoproj.io", CANARY, **{**ROLLED, "stableRS": "a"}), "Progressing"),
        (live_object("Rollout", "argoproj.io", CANARY, **{**ROLLED, "replicas": 3}), "Progressing"),
        (live_object("Rollout", "argoproj.io", CANARY, **{**ROLLED, "updatedReplicas": 1}), "Progressing"),
        (live_object("Rollout", "argoproj.io", CANARY, **{**ROLLED, "availableReplicas": 1}), "Progressing"),
        (
            live_object("Rollout", "argoproj.io", CANARY, **{**ROLLED, "observedGeneration": "1"}),
            "Progressing",
        ),
        (
            live_object("Rollout", "argoproj.io", CANARY, **ROLLED, pauseConditions=[{"reason": "Step"}]),
            "Suspended",
        ),
        (
            live_object(
                "Rollout",
                "argoproj.io",
                CANARY,
                **ROLLED,
                conditions=[{"type": "Progressing", "reason": "RolloutAborted", "message": "m"}],
            ),
            "Degraded",
        ),
        (
            live_object("Rollout", "argoproj.io", {"replicas": 2, "strategy": {"blueGreen": {}}}, **ROLLED),
            "Progressing",
        ),
        (
            live_object(
                "Rollout",
                "argoproj.io",
                {"replicas": 2, "strategy": {"blueGreen": {}}},
                **ROLLED,
                blueGreen={"activeSelector": "b"},
            ),
            "Healthy",
        ),
        (live_object("Job", "batch"), "Progressing"),
        (live_object("Job", "batch", conditions=[{"type": "Complete", "status": "True"}]), "Healthy"),
        (live_object("Job", "batch", conditions=[{"type": "Failed", "status": "True"}]), "Degraded"),
        (live_object("Job", "batch", conditions=[{"type": "Suspended", "status": "True"}]), "Suspended"),
        (live_object("Pod", "", phase="Pending"), "Progressing"),
        (live_object("Pod", "", phase="Running"), "Progressing"),
        (
            live_object("Pod", "", phase="Running", conditions=[{"type": "Ready", "status": "True"}]),
            "Healthy",
        ),
        (
            live_object(
                "Pod",
                "",
                phase="Running",
                containerStatuses=[{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}],
            ),
            "Degraded",
        ),
        (
            live_object("Pod", "", phase="Running", containerStatuses=[{"lastState": {"terminated": {}}}]),
            "Progressing",
        ),
        (live_object("Pod", "", phase="Failed"), "Degraded"),
        (live_object("Service", "", spec={"type": "ClusterIP"}), "Healthy"),
        (live_object("Service", "", spec={"type": "LoadBalancer"}), "Progressing"),
        (live_object("PersistentVolumeClaim", "", phase="Lost"), "Degraded"),
        (live_object("HorizontalPodAutoscaler", "autoscaling"), "Progressing"),
        (
            live_object(
                "HorizontalPodAutoscaler",
                "autoscaling",
                conditions=[{"type": "ScalingActive", "reason": "FailedGetResourceMetric"}],
            ),
            "Degraded",
        ),
    ],
)
def test_health_follows_argo_cds_rules(live: Object, status: str) -> None:
    health = health_of(live)
    assert health is not None
    assert health.status == status


def test_a_kind_without_a_rule_has_no_health() -> None:
    assert health_of(live_object("ConfigMap", "")) is None


def test_what_is_being_deleted_is_progressing() -> None:
    leaving = live_object("ConfigMap", "")
    leaving["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    assert health_of(leaving) is not None


def test_the_worst_health_counts() -> None:
    assert worst(["Healthy", "Suspended"]) == "Suspended"
    assert worst(["Progressing", "Degraded", "Healthy"]) == "Degraded"
    assert worst([]) == "Healthy"


# Sync windows

MONDAY_NOON = datetime(2026, 11, 23, 12, 0, 30, tzinfo=UTC)


def window(kind: str, schedule: str, duration: str = "1h", **fields: Any) -> Object:
    return {"kind": kind, "schedule": schedule, "duration": duration, **fields}


@pytest.mark.parametrize(
    ("windows", "automatic", "manual"),
    [
        ([], True, True),
        ([window("deny", "0 12 * * *")], False, False),
        ([window("deny", "0 12 * * *", manualSync=True)], False, True),
        ([window("deny", "0 12 * * tue")], True, True),
        ([window("allow", "0 12 * * *")], True, True),
        ([window("allow", "0 13 * * *")], False, False),
        ([window("allow", "0 13 * * *", manualSync=True)], False, True),
        ([window("allow", "0 12 * * *"), window("deny", "30 11 * * 1-5")], False, False),
        ([window("deny", "0 13 * * *", timeZone="Europe/Berlin")], False, False),
        ([window("deny", "59 11 * * *", "61s")], True, True),
    ],
)
def test_windows_allow_and_deny_as_argo_cds_do(
    windows: list[Object], *, automatic: bool, manual: bool
) -> None:
    assert can_sync(windows, MONDAY_NOON, manual=False) is automatic
    assert can_sync(windows, MONDAY_NOON, manual=True) is manual


@pytest.mark.parametrize(
    ("schedule", "opens"),
    [
        ("* * * * *", True),
        ("*/5 12 * * *", True),
        ("1-10/3 12 * * *", False),
        ("0 12 24 * mon", True),
        ("0 12 24 * *", False),
        ("0 12 * nov,dec *", True),
    ],
)
def test_schedules_are_read_as_cron_does(schedule: str, *, opens: bool) -> None:
    assert bool(active([window("deny", schedule, "1m")], MONDAY_NOON)) is opens


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("* * * *", "expected 5 fields, found 4"),
        ("61 * * * *", "'61' is not within 0-59"),
        ("5-1 * * * *", "'5-1' is not within 0-59"),
        ("noon * * * *", "noon"),
    ],
)
def test_a_wrong_schedule_is_said(schedule: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        active([window("deny", schedule)], MONDAY_NOON)


@pytest.mark.parametrize(
    ("fields", "meant"),
    [
        ({"applications": ["sh*"]}, True),
        ({"applications": ["other"]}, False),
        ({"namespaces": ["prod"]}, True),
        ({"clusters": ["in-cluster"], "namespaces": ["none"]}, True),
        ({"clusters": ["in-cluster"], "namespaces": ["none"], "andOperator": True}, False),
        ({}, False),
    ],
)
def test_a_window_is_meant_for_what_it_names(fields: Object, *, meant: bool) -> None:
    destination = {"name": "in-cluster", "namespace": "prod"}
    application = {"metadata": {"name": "shop"}, "spec": {"destination": destination}}
    assert bool(matching([window("deny", "* * * * *", **fields)], application)) is meant


def test_durations_are_gos() -> None:
    assert parse_duration("1h30m") == timedelta(minutes=90)
    assert parse_duration("5") == timedelta(seconds=5)
    with pytest.raises(ValueError, match="cannot parse duration"):
        parse_duration("5 minutes")
