"""Is a live object well? The rules of Argo CD's gitops-engine, package `health`, and its own for Rollouts.

Source of the rules: github.com/argoproj/argo-cd, gitops-engine/pkg/health. A kind without a rule has no
health (None) and does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Live = dict[str, Any]

HEALTHY, SUSPENDED, PROGRESSING = "Healthy", "Suspended", "Progressing"
MISSING, DEGRADED, UNKNOWN = "Missing", "Degraded", "Unknown"

_FROM_BEST_TO_WORST = (HEALTHY, SUSPENDED, PROGRESSING, MISSING, DEGRADED, UNKNOWN)


@dataclass(frozen=True)
class Health:
    status: str
    message: str = ""


def worst(statuses: Iterable[str]) -> str:
    """The worst of them; Healthy when there is none."""
    return max(statuses, key=_FROM_BEST_TO_WORST.index, default=HEALTHY)


def health_of(live: Live) -> Health | None:
    """The health of a live object, or None for a kind that has none."""
    if live.get("metadata", {}).get("deletionTimestamp"):
        return Health(PROGRESSING, "Pending deletion")
    group = live.get("apiVersion", "").rpartition("/")[0]
    rule = _RULES.get((group, live.get("kind", "")))
    return rule(live) if rule else None


def _count(holder: dict[str, Any], field: str) -> int:
    return int(holder.get(field) or 0)


def _not_observed(live: Live) -> bool:
    return _count(live["metadata"], "generation") > _count(live.get("status") or {}, "observedGeneration")


def _condition(live: Live, kind: str) -> dict[str, Any]:
    conditions: list[dict[str, Any]] = (live.get("status") or {}).get("conditions") or []
    return next((condition for condition in conditions if condition.get("type") == kind), {})


def _deployment(live: Live) -> Health:  # noqa: PLR0911 - one return for each rule, in Argo CD's order
    spec, status = live.get("spec") or {}, live.get("status") or {}
    updated, available = _count(status, "updatedReplicas"), _count(status, "availableReplicas")
    if spec.get("paused"):
        return Health(SUSPENDED, "Deployment is paused")
    waiting = "Waiting for rollout to finish: "
    if _not_observed(live):
        return Health(PROGRESSING, waiting + "observed deployment generation less than desired generation")
    if _condition(live, "Progressing").get("reason") == "ProgressDeadlineExceeded":
        return Health(DEGRADED, f'Deployment "{live["metadata"]["name"]}" exceeded its progress deadline')
    if spec.get("replicas") is not None and updated < spec["replicas"]:
        text = f"{updated} out of {spec['replicas']} new replicas have been updated..."
        return Health(PROGRESSING, waiting + text)
    if _count(status, "replicas") > updated:
        text = f"{_count(status, 'replicas') - updated} old replicas are pending termination..."
        return Health(PROGRESSING, waiting + text)
    if available < updated:
        return Health(PROGRESSING, waiting + f"{available} of {updated} updated replicas are available...")
    return Health(HEALTHY)


def _stateful_set(live: Live) -> Health:  # noqa: PLR0911 - likewise
    spec, status = live.get("spec") or {}, live.get("status") or {}
    strategy = spec.get("updateStrategy") or {}
    replicas = spec.get("replicas")
    updated, ready = _count(status, "updatedReplicas"), _count(status, "readyReplicas")
    if not status.get("observedGeneration") or _not_observed(live):
        return Health(PROGRESSING, "Waiting for statefulset spec update to be observed...")
    if replicas is not None and ready < replicas:
        return Health(PROGRESSING, f"Waiting for {replicas - ready} pods to be ready...")
    if strategy.get("type") == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
        partition = strategy["rollingUpdate"].get("partition")
        if replicas is not None and partition is not None and updated < replicas - partition:
            text = f"{updated} out of {replicas - partition} new pods have been updated..."
            return Health(PROGRESSING, "Waiting for partitioned roll out to finish: " + text)
        return Health(HEALTHY, f"partitioned roll out complete: {updated} new pods have been updated...")
    if strategy.get("type") == "OnDelete":
        return Health(HEALTHY, f"statefulset has {ready} ready pods")
    if status.get("updateRevision") != status.get("currentRevision"):
        text = f"{updated} pods at revision {status.get('updateRevision')}..."
        return Health(PROGRESSING, "waiting for statefulset rolling update to complete " + text)
    text = f"{_count(status, 'currentReplicas')} pods at revision {status.get('currentRevision', '')}..."
    return Health(HEALTHY, "statefulset rolling update complete " + text)


def _daemon_set(live: Live) -> Health:
    spec, status = live.get("spec") or {}, live.get("status") or {}
    wanted, updated = _count(status, "desiredNumberScheduled"), _count(status, "updatedNumberScheduled")
    if _not_observed(live):
        text = "observed daemon set generation less than desired generation"
        return Health(PROGRESSING, "Waiting for rollout to finish: " + text)
    if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        return Health(HEALTHY, f"daemon set {updated} out of {wanted} new pods have been updated")
    waiting = f'Waiting for daemon set "{live["metadata"]["name"]}" rollout to finish: '
    if updated < wanted:
        return Health(PROGRESSING, waiting + f"{updated} out of {wanted} new pods have been updated...")
    if _count(status, "numberAvailable") < wanted:
        text = f"{_count(status, 'numberAvailable')} of {wanted} updated pods are available..."
        return Health(PROGRESSING, waiting + text)
    return Health(HEALTHY)


def _replica_set(live: Live) -> Health:
    spec, status = live.get("spec") or {}, live.get("status") or {}
    waiting = "Waiting for rollout to finish: "
    if _not_observed(live):
        return Health(PROGRESSING, waiting + "observed replica set generation less than desired generation")
    failure = _condition(live, "ReplicaFailure")
    if failure.get("status") == "True":
        return Health(DEGRADED, failure.get("message", ""))
    available = _count(status, "availableReplicas")
    if spec.get("replicas") is not None and available < spec["replicas"]:
        text = f"{available} out of {spec['replicas']} new replicas are available..."
        return Health(PROGRESSING, waiting + text)
    return Health(HEALTHY)


def _rollout(live: Live) -> Health:
    """Argo CD's own rule for a kind of Argo Rollouts: resource_customizations/argoproj.io/Rollout."""
    spec, status = live.get("spec") or {}, live.get("status") or {}
    observed = str(status.get("observedGeneration") or "")
    if not status or (observed.isdecimal() and int(observed) < _count(live["metadata"], "generation")):
        return Health(PROGRESSING, "Waiting for rollout spec update to be observed")
    for condition in status.get("conditions") or []:
        kind, reason = condition.get("type"), condition.get("reason")
        stuck = kind == "Progressing" and reason in {"RolloutAborted", "ProgressDeadlineExceeded"}
        if kind == "InvalidSpec" or stuck:
            return Health(DEGRADED, condition.get("message", ""))
    if spec.get("paused") or status.get("pauseConditions"):
        return Health(SUSPENDED, "Rollout is paused")
    missing = _missing_of_rollout(spec, status)
    return Health(PROGRESSING, missing) if missing else Health(HEALTHY)


def _missing_of_rollout(spec: Live, status: Live) -> str:
    waiting, current = "Waiting for roll out to finish: ", status.get("currentPodHash")
    updated, strategy = _count(status, "updatedReplicas"), spec.get("strategy") or {}
    stable, active = status.get("stableRS") or "", (status.get("blueGreen") or {}).get("activeSelector")
    wanted = 1 if spec.get("replicas") is None else int(spec["replicas"])
    faults = (
        (current is None, "Waiting for rollout to finish: status has not been reconciled."),
        (updated < wanted, waiting + "More replicas need to be updated"),
        (
            _count(status, "availableReplicas") < updated,
            waiting + "updated replicas are still becoming available",
        ),
        ("blueGreen" in strategy and active != current, "active service cutover pending"),
        ("blueGreen" in strategy and stable not in {"", current}, "waiting for analysis to complete"),
        (
            "canary" in strategy and _count(status, "replicas") > updated,
            waiting + "old replicas are pending termination",
        ),
        ("canary" in strategy and stable != current, "Waiting for rollout to finish steps"),
    )
    return next((message for applies, message in faults if applies), "")


def _pod(live: Live) -> Health:  # noqa: PLR0911 - likewise
    status = live.get("status") or {}
    always = (live.get("spec") or {}).get("restartPolicy", "Always") == "Always"
    containers: list[dict[str, Any]] = status.get("containerStatuses") or []
    message = str(status.get("message") or "")
    phase = status.get("phase")
    if always:
        waiting = [c["state"]["waiting"] for c in containers if (c.get("state") or {}).get("waiting")]
        wrong = [w for w in waiting if _is_error(w.get("reason", ""))]
        if wrong:
            return Health(DEGRADED, ", ".join(w.get("message", "") for w in wrong))
    if phase == "Pending":
        return Health(PROGRESSING, message)
    if phase == "Succeeded":
        return Health(HEALTHY, message)
    if phase == "Failed":
        return Health(DEGRADED, message or _first_failure(status))
    if phase != "Running":
        return Health(UNKNOWN, message)
    if not always:
        return Health(PROGRESSING, message)
    if _condition(live, "Ready").get("status") == "True":
        return Health(HEALTHY, message)
    ended_before = any((c.get("lastState") or {}).get("terminated") for c in containers)
    return Health(DEGRADED if ended_before else PROGRESSING, message)


def _is_error(reason: str) -> bool:
    return reason.startswith("Err") or reason.endswith(("Error", "BackOff"))


def _first_failure(status: dict[str, Any]) -> str:
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    for container in containers:
        ended = (container.get("state") or {}).get("terminated") or {}
        if ended.get("message"):
            return str(ended["message"])
        if ended.get("reason") == "OOMKilled":
            return "OOMKilled"
        if ended.get("exitCode"):
            return f'container "{container["name"]}" failed with exit code {ended["exitCode"]}'
    return ""


def _job(live: Live) -> Health:
    failed, complete, suspended = (_condition(live, kind) for kind in ("Failed", "Complete", "Suspended"))
    if not (failed or complete or suspended):
        return Health(PROGRESSING)
    if failed:
        return Health(DEGRADED, failed.get("message", ""))
    if suspended.get("status") == "True":
        return Health(SUSPENDED, suspended.get("message", ""))
    return Health(HEALTHY, (complete or suspended).get("message", ""))


def _claim(live: Live) -> Health:
    by_phase = {"Lost": DEGRADED, "Pending": PROGRESSING, "Bound": HEALTHY}
    return Health(by_phase.get((live.get("status") or {}).get("phase", ""), UNKNOWN))


def _service(live: Live) -> Health:
    if (live.get("spec") or {}).get("type") != "LoadBalancer":
        return Health(HEALTHY)
    return _ingress(live)


def _ingress(live: Live) -> Health:
    addresses = ((live.get("status") or {}).get("loadBalancer") or {}).get("ingress")
    return Health(HEALTHY if addresses else PROGRESSING)


_AUTOSCALER_FAULTS = {
    ("AbleToScale", "FailedGetScale"),
    ("AbleToScale", "FailedUpdateScale"),
    ("ScalingActive", "FailedGetResourceMetric"),
    ("ScalingActive", "FailedGetObjectMetric"),
    ("ScalingActive", "FailedGetPodsMetric"),
    ("ScalingActive", "FailedGetExternalMetric"),
    ("ScalingActive", "FailedComputeMetricsReplicas"),
    ("ScalingActive", "InvalidSelector"),
}


def _autoscaler(live: Live) -> Health:
    conditions: list[dict[str, Any]] = (live.get("status") or {}).get("conditions") or []
    for condition in conditions:
        if (condition.get("type"), condition.get("reason")) in _AUTOSCALER_FAULTS:
            return Health(DEGRADED, condition.get("message", ""))
    for condition in conditions:
        if condition.get("type") in {"AbleToScale", "ScalingLimited"} and condition.get("status") == "True":
            return Health(HEALTHY, condition.get("message", ""))
    return Health(PROGRESSING, "Waiting to Autoscale")


_RULES: dict[tuple[str, str], Callable[[Live], Health]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "ReplicaSet"): _replica_set,
    ("argoproj.io", "Rollout"): _rollout,
    ("", "Pod"): _pod,
    ("", "Service"): _service,
    ("", "PersistentVolumeClaim"): _claim,
    ("networking.k8s.io", "Ingress"): _ingress,
    ("batch", "Job"): _job,
    ("autoscaling", "HorizontalPodAutoscaler"): _autoscaler,
}
