"""A pod: containers on a node, owned by a controller."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from decimal import Decimal

from infra.standins.cluster.container import Container
from infra.standins.cluster.kinds import Object
from infra.standins.cluster.names import container_id, rfc3339
from shared.contracts.quantities import parse_quantity


@dataclass(frozen=True)
class Owner:
    """The controller that owns a pod (or a ReplicaSet, or a Job)."""

    kind: str
    name: str
    uid: str

    def reference(self) -> Object:
        version = "batch/v1" if self.kind in ("Job", "CronJob") else "apps/v1"
        return {
            "apiVersion": version,
            "kind": self.kind,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


@dataclass
class Pod:
    """`spec` is what admission made of the template; `node` is empty while no node has room.

    `home` is the workload (namespace, kind, name) whose usage it shows. `created` in Unix seconds; a
    container is ready `startup` seconds after it began to run.
    """

    namespace: str
    name: str
    uid: str
    owner: Owner
    home: tuple[str, str, str]
    revision: str
    ordinal: int
    created: float
    startup: float
    labels: dict[str, str]
    annotations: dict[str, str]
    spec: Object
    node: str = ""
    containers: list[Container] = field(default_factory=list)
    finishes: float | None = None

    def phase(self, now: float) -> str:
        if not self.node:
            return "Pending"
        return "Succeeded" if self.finished(now) else "Running"

    def finished(self, now: float) -> bool:
        return self.finishes is not None and now >= self.finishes

    def container_ready(self, container: Container, now: float) -> bool:
        return bool(self.node) and container.running and now >= container.began + self.startup

    def ready(self, now: float) -> bool:
        return not self.finished(now) and all(self.container_ready(each, now) for each in self.containers)

    def ready_for(self, now: float) -> float:
        """Seconds since it became ready; negative while it is not."""
        if not self.ready(now):
            return -1.0
        return now - max(each.began + self.startup for each in self.containers)

    def seen(self, now: float) -> tuple[object, ...]:
        """What controllers go by; it changes with time, too."""
        return (self.uid, self.finished(now), self.ready(now), *(each.restarts for each in self.containers))

    def advance(self, to: float) -> None:
        if self.node:
            until = to if self.finishes is None else min(to, self.finishes)
            for container in self.containers:
                container.advance(until)

    def requested(self, resource: str) -> Decimal:
        return total(self.spec, "requests", resource)

    def manifest(self, now: float) -> Object:
        """As the API server shows it."""
        ready = self.ready(now)
        conditions = [
            {"type": "PodScheduled", "status": "True" if self.node else "False"},
            {"type": "Initialized", "status": "True" if self.node else "False"},
            {"type": "ContainersReady", "status": "True" if ready else "False"},
            {"type": "Ready", "status": "True" if ready else "False"},
        ]
        if not self.node:
            conditions[0] |= {
                "reason": "Unschedulable",
                "message": "Insufficient cpu or memory on every node.",
            }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "uid": self.uid,
                "creationTimestamp": rfc3339(self.created),
                "labels": dict(self.labels),
                **({"annotations": dict(self.annotations)} if self.annotations else {}),
                "ownerReferences": [self.owner.reference()],
            },
            "spec": {**copy.deepcopy(self.spec), **({"nodeName": self.node} if self.node else {})},
            "status": {
                "phase": self.phase(now),
                "conditions": conditions,
                **({"startTime": rfc3339(self.created)} if self.node else {}),
                "qosClass": qos_class(self.spec),
                "containerStatuses": [self._status(each, now) for each in self.containers if self.node],
            },
        }

    def _status(self, container: Container, now: float) -> Object:
        state: Object = {"running": {"startedAt": rfc3339(container.began)}}
        if self.finished(now):
            state = {"terminated": {"exitCode": 0, "reason": "Completed"}}
        elif container.waiting_reason:
            state = {"waiting": {"reason": container.waiting_reason}}
        last = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}} if container.oom_killed else {}
        identity = container_id(self.uid, container.name, container.restarts)
        return {
            "name": container.name,
            "image": container.image,
            "containerID": f"containerd://{identity}",
            "ready": self.container_ready(container, now) and not self.finished(now),
            "restartCount": container.restarts,
            "state": state,
            "lastState": last,
        }


def total(spec: Object, block: str, resource: str) -> Decimal:
    """The sum of a pod's requests or limits of one resource, in cores or bytes."""
    values = [
        (each.get("resources") or {}).get(block, {}).get(resource) for each in spec.get("containers", [])
    ]
    return sum((parse_quantity(value) for value in values if value is not None), Decimal(0))


def qos_class(spec: Object) -> str:
    """https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/"""
    resources = [each.get("resources") or {} for each in spec.get("containers", [])]
    if not any(each.get("requests") or each.get("limits") for each in resources):
        return "BestEffort"
    guaranteed = all(
        (each.get("limits") or {}).get(name)
        and (each.get("requests") or {}).get(name) == (each.get("limits") or {}).get(name)
        for each in resources
        for name in ("cpu", "memory")
    )
    return "Guaranteed" if guaranteed else "Burstable"
