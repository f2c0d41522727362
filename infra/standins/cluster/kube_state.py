"""What kube-state-metrics v2, without label allow lists, says of the objects."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from infra.standins.cluster.deployments import share
from infra.standins.cluster.kinds import Object
from infra.standins.cluster.metrics import Row, labels
from infra.standins.cluster.names import container_id, unix
from infra.standins.cluster.pods import Pod
from shared.contracts.quantities import parse_quantity

if TYPE_CHECKING:
    from infra.standins.cluster.cluster import Cluster

SOURCE = 'instance="cluster",job="kube-state-metrics"'  # as in cadvisor.py

RESTARTS = "kube_pod_container_status_restarts_total"
LAST_REASON = "kube_pod_container_status_last_terminated_reason"
ENDED_REASON = "kube_pod_container_status_terminated_reason"

_PHASES = ("Pending", "Succeeded", "Failed", "Unknown", "Running")
_UNITS = {"cpu": "core", "memory": "byte"}


def owner_rows(pod: Pod) -> Iterator[Row]:
    """Who owns the pod, and for a ReplicaSet the Deployment is told by `replica_set_owner`."""
    yield Row(
        "kube_pod_owner",
        labels(
            namespace=pod.namespace,
            pod=pod.name,
            uid=pod.uid,
            owner_kind=pod.owner.kind,
            owner_name=pod.owner.name,
            owner_is_controller="true",
        ),
        1,
    )


def replica_set_owner(namespace: str, name: str, deployment: str) -> Row:
    text = labels(
        namespace=namespace,
        replicaset=name,
        owner_kind="Deployment",
        owner_name=deployment,
        owner_is_controller="true",
    )
    return Row("kube_replicaset_owner", text, 1)


def job_owner(namespace: str, name: str, kind: str, owner: str) -> Row:
    text = labels(
        namespace=namespace,
        job_name=name,
        owner_kind=kind,
        owner_name=owner,
        owner_is_controller="true" if owner else "",
    )
    return Row("kube_job_owner", text, 1)


def resource_rows(pod: Pod) -> Iterator[Row]:
    """Requests and limits of the pod's containers, in cores and bytes."""
    for each in pod.spec.get("containers", []):
        for block in ("requests", "limits"):
            for resource, value in sorted(((each.get("resources") or {}).get(block) or {}).items()):
                text = labels(
                    namespace=pod.namespace,
                    pod=pod.name,
                    uid=pod.uid,
                    container=each["name"],
                    node=pod.node,
                    resource=resource,
                    unit=_UNITS.get(resource, "integer"),
                )
                yield Row(f"kube_pod_container_resource_{block}", text, float(parse_quantity(value)))


def container_text(pod: Pod, container: str) -> dict[str, str]:
    return {"namespace": pod.namespace, "pod": pod.name, "uid": pod.uid, "container": container}


def pod_rows(pod: Pod, now: float) -> Iterator[Row]:
    """All that is told of one pod except owners, requests and limits."""
    base = {"namespace": pod.namespace, "pod": pod.name, "uid": pod.uid}
    phase = pod.phase(now)
    for each in _PHASES:
        yield Row("kube_pod_status_phase", labels(**base, phase=each), float(each == phase))
    yield Row("kube_pod_created", labels(**base), float(int(pod.created)))
    ready = pod.ready(now)
    for condition, value in (("true", ready), ("false", not ready), ("unknown", False)):
        yield Row("kube_pod_status_ready", labels(**base, condition=condition), float(value))
    info = labels(
        **base,
        created_by_kind=pod.owner.kind,
        created_by_name=pod.owner.name,
        host_network="false",
        node=pod.node,
        pod_ip="",
        host_ip="",
        priority_class="",
    )
    yield Row("kube_pod_info", info, 1)
    for container in pod.containers if pod.node else []:
        here = container_text(pod, container.name)
        identity = f"containerd://{container_id(pod.uid, container.name, container.restarts)}"
        image = container.image
        yield Row(
            "kube_pod_container_info",
            labels(**here, container_id=identity, image=image, image_id="", image_spec=image),
            1,
        )
        yield Row(RESTARTS, labels(**here), container.restarts)
        if container.oom_killed:
            yield Row(LAST_REASON, labels(**here, reason="OOMKilled"), 1)
        if phase == "Succeeded":
            yield Row(ENDED_REASON, labels(**here, reason="Completed"), 1)
        if container.waiting_reason:
            text = labels(**here, reason=container.waiting_reason)
            yield Row("kube_pod_container_status_waiting_reason", text, 1)
        up = container.running and phase == "Running"
        yield Row("kube_pod_container_status_running", labels(**here), float(up))
        is_ready = pod.container_ready(container, now) and phase == "Running"
        yield Row("kube_pod_container_status_ready", labels(**here), float(is_ready))


def rows(cluster: Cluster) -> Iterator[Row]:
    for pod in sorted(cluster.pods.values(), key=lambda each: (each.namespace, each.name)):
        yield from owner_rows(pod)
        yield from resource_rows(pod)
        yield from pod_rows(pod, cluster.now)
    for _, each in sorted(cluster.replica_sets.items()):
        yield replica_set_owner(each.namespace, each.name, each.owner.name)
        here = labels(namespace=each.namespace, replicaset=each.name)
        yield Row("kube_replicaset_spec_replicas", here, each.wanted)
    yield from object_rows(cluster)


def object_rows(cluster: Cluster) -> Iterator[Row]:
    """What is told of objects other than pods and ReplicaSets."""
    yield from _nodes(cluster)
    for namespace in cluster.objects("Namespace"):
        text = labels(namespace=namespace["metadata"]["name"], phase="Active")
        yield Row("kube_namespace_status_phase", text, 1)
    for kind, label, fields in _COUNTED:
        for body in cluster.objects(kind):
            here = labels(**{"namespace": body["metadata"]["namespace"], label: body["metadata"]["name"]})
            yield Row(f"kube_{label}_created", here, unix(body["metadata"]["creationTimestamp"]))
            yield Row(f"kube_{label}_metadata_generation", here, body["metadata"]["generation"])
            for part, name, metric in fields:
                yield Row(metric, here, float(body.get(part, {}).get(name, 0)))
    for body in cluster.objects("Deployment"):
        if (rolling := body["spec"]["strategy"].get("rollingUpdate")) is not None:
            here = labels(namespace=body["metadata"]["namespace"], deployment=body["metadata"]["name"])
            unavailable = math.floor(share(rolling["maxUnavailable"], body["spec"]["replicas"]))
            yield Row("kube_deployment_spec_strategy_rollingupdate_max_unavailable", here, unavailable)
    for job in cluster.objects("Job"):
        metadata = job["metadata"]
        owner = next(iter(metadata.get("ownerReferences", [])), {"kind": "", "name": ""})
        yield job_owner(metadata["namespace"], metadata["name"], owner["kind"], owner["name"])
    for cron_job in cluster.objects("CronJob"):
        metadata, spec = cron_job["metadata"], cron_job["spec"]
        text = labels(
            namespace=metadata["namespace"],
            cronjob=metadata["name"],
            schedule=spec["schedule"],
            concurrency_policy=spec.get("concurrencyPolicy", "Allow"),
        )
        yield Row("kube_cronjob_info", text, 1)
    yield from _autoscalers(cluster)
    yield from _limit_ranges(cluster)
    yield from _quotas(cluster)


_COUNTED: tuple[tuple[str, str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Deployment",
        "deployment",
        (
            ("spec", "replicas", "kube_deployment_spec_replicas"),
            ("status", "replicas", "kube_deployment_status_replicas"),
            ("status", "availableReplicas", "kube_deployment_status_replicas_available"),
            ("status", "updatedReplicas", "kube_deployment_status_replicas_updated"),
            ("status", "observedGeneration", "kube_deployment_status_observed_generation"),
        ),
    ),
    (
        "StatefulSet",
        "statefulset",
        (
            ("spec", "replicas", "kube_statefulset_replicas"),
            ("status", "replicas", "kube_statefulset_status_replicas"),
            ("status", "readyReplicas", "kube_statefulset_status_replicas_ready"),
            ("status", "updatedReplicas", "kube_statefulset_status_replicas_updated"),
        ),
    ),
    (
        "DaemonSet",
        "daemonset",
        (
            ("status", "desiredNumberScheduled", "kube_daemonset_status_desired_number_scheduled"),
            ("status", "numberReady", "kube_daemonset_status_number_ready"),
            ("status", "updatedNumberScheduled", "kube_daemonset_status_updated_number_scheduled"),
        ),
    ),
)


def _nodes(cluster: Cluster) -> Iterator[Row]:
    for node in cluster.nodes.values():
        yield Row("kube_node_info", labels(node=node.name, kubelet_version="v1.33.0"), 1)
        amounts = (
            ("cpu", "core", node.cpu),
            ("memory", "byte", float(node.memory_bytes)),
            ("pods", "integer", float(node.pods)),
        )
        for metric in ("kube_node_status_allocatable", "kube_node_status_capacity"):
            for resource, unit, value in amounts:
                yield Row(metric, labels(node=node.name, resource=resource, unit=unit), value)


def _autoscalers(cluster: Cluster) -> Iterator[Row]:
    for body in cluster.objects("HorizontalPodAutoscaler"):
        spec, metadata = body["spec"], body["metadata"]
        base = {"namespace": metadata["namespace"], "horizontalpodautoscaler": metadata["name"]}
        target = spec["scaleTargetRef"]
        text = labels(
            **base,
            scaletargetref_api_version=target.get("apiVersion", ""),
            scaletargetref_kind=target["kind"],
            scaletargetref_name=target["name"],
        )
        yield Row("kube_horizontalpodautoscaler_info", text, 1)
        here = labels(**base)
        yield Row("kube_horizontalpodautoscaler_spec_min_replicas", here, spec["minReplicas"])
        yield Row("kube_horizontalpodautoscaler_spec_max_replicas", here, spec["maxReplicas"])
        status = body.get("status", {})
        current, desired = status.get("currentReplicas", 0), status.get("desiredReplicas", 0)
        yield Row("kube_horizontalpodautoscaler_status_current_replicas", here, current)
        yield Row("kube_horizontalpodautoscaler_status_desired_replicas", here, desired)
        for name, kind, value in _targets(spec.get("metrics") or []):
            text = labels(**base, metric_name=name, metric_target_type=kind)
            yield Row("kube_horizontalpodautoscaler_spec_target_metric", text, value)


def _targets(metrics: Iterable[Object]) -> Iterator[tuple[str, str, float]]:
    for metric in metrics:
        kind = metric.get("type", "")
        source = metric.get(kind[:1].lower() + kind[1:]) or {}
        name = source.get("name") or (source.get("metric") or {}).get("name", "")
        target = source.get("target") or {}
        for field, label in (("value", "value"), ("averageValue", "average")):
            if field in target:
                yield name, label, float(parse_quantity(target[field]))
        if "averageUtilization" in target:
            yield name, "utilization", float(target["averageUtilization"])


def _limit_ranges(cluster: Cluster) -> Iterator[Row]:
    for body in cluster.objects("LimitRange"):
        metadata = body["metadata"]
        for item in body["spec"].get("limits") or []:
            for constraint in ("min", "max", "default", "defaultRequest", "maxLimitRequestRatio"):
                for resource, value in sorted((item.get(constraint) or {}).items()):
                    text = labels(
                        namespace=metadata["namespace"],
                        limitrange=metadata["name"],
                        resource=resource,
                        type=item.get("type", ""),
                        constraint=constraint,
                    )
                    yield Row("kube_limitrange", text, float(parse_quantity(value)))


def _quotas(cluster: Cluster) -> Iterator[Row]:
    for body in cluster.objects("ResourceQuota"):
        metadata = body["metadata"]
        for kind in ("hard", "used"):
            for resource, value in sorted((body.get("status", {}).get(kind) or {}).items()):
                text = labels(
                    namespace=metadata["namespace"],
                    resourcequota=metadata["name"],
                    resource=resource,
                    type=kind,
                )
                yield Row("kube_resourcequota", text, float(parse_quantity(value)))
