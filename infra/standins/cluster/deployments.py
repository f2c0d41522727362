"""The Deployment controller: ReplicaSets by template, rolling updates, and the status that tells of them.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/ ; the arithmetic of a rolling update is
that of pkg/controller/deployment/rolling.go.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from infra.standins.cluster.conditions import Conditions, shown
from infra.standins.cluster.kinds import ApiError, Object
from infra.standins.cluster.names import rfc3339, template_hash, uid
from infra.standins.cluster.pods import Owner, Pod

if TYPE_CHECKING:
    from infra.standins.cluster.cluster import Cluster


@dataclass
class ReplicaSet:
    """The pods of one pod template of a Deployment. `wanted` is how many there should be."""

    namespace: str
    name: str
    uid: str
    owner: Owner
    hash: str
    template: Object
    selector: Object
    created: float
    revision: int
    wanted: int = 0
    made: int = 0

    def manifest(self, pods: list[Pod], now: float) -> Object:
        ready = sum(pod.ready(now) for pod in pods)
        labels = {
            **((self.template.get("metadata") or {}).get("labels") or {}),
            "pod-template-hash": self.hash,
        }
        counts = {"fullyLabeledReplicas": len(pods), "readyReplicas": ready, "availableReplicas": ready}
        return {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "uid": self.uid,
                "labels": labels,
                "annotations": {"deployment.kubernetes.io/revision": str(self.revision)},
                "creationTimestamp": rfc3339(self.created),
                "ownerReferences": [self.owner.reference()],
            },
            "spec": {"replicas": self.wanted, "selector": self.selector, "template": self.template},
            "status": {"replicas": len(pods), "observedGeneration": 1, **shown(counts)},
        }


@dataclass
class _Progress:
    conditions: Conditions = field(default_factory=Conditions)
    since: float = 0.0
    counts: tuple[object, ...] = ()


class Deployments:
    """Reconciles Deployments; remembers for each how far its rollout came, and when."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._progress: dict[str, _Progress] = {}

    def reconcile(self, deployment: Object) -> bool:
        """One step towards what `spec` says. True when there is nothing left to do."""
        spec = deployment["spec"]
        new, old = self._replica_sets(deployment)
        refused: str | None = None
        if not spec.get("paused"):
            try:
                self._roll(spec, new, old)
            except ApiError as error:
                refused = error.message
        self._prune(old, spec["revisionHistoryLimit"])
        mine = self._cluster.owned(new.uid)
        pods = [*mine, *(pod for each in old for pod in self._cluster.owned(each.uid))]
        return self._tell(deployment, new, mine, pods, refused)

    def _replica_sets(self, deployment: Object) -> tuple[ReplicaSet, list[ReplicaSet]]:
        metadata, spec = deployment["metadata"], deployment["spec"]
        owner = Owner("Deployment", metadata["name"], metadata["uid"])
        sets = [each for each in self._cluster.replica_sets.values() if each.owner.uid == owner.uid]
        revision = max((each.revision for each in sets), default=0)
        hashed = template_hash(spec["template"])
        new = next((each for each in sets if each.hash == hashed), None)
        if new is None:
            name = f"{metadata['name']}-{hashed}"
            new = ReplicaSet(
                metadata["namespace"],
                name,
                uid("ReplicaSet", owner.uid, hashed),
                owner,
                hashed,
                spec["template"],
                spec["selector"],
                self._cluster.beginning_of("Deployment", metadata),
                revision + 1,
            )
            self._cluster.replica_sets[new.namespace, name] = new
        elif new.revision < revision:
            new.revision = revision + 1
        metadata.setdefault("annotations", {})["deployment.kubernetes.io/revision"] = str(new.revision)
        return new, [each for each in sets if each is not new]

    def _roll(self, spec: Object, new: ReplicaSet, old: list[ReplicaSet]) -> None:
        """Raises ApiError where a pod may not be created."""
        cluster, replicas = self._cluster, spec["replicas"]
        of_old = [pod for each in old for pod in cluster.owned(each.uid)]
        if spec["strategy"]["type"] == "Recreate":
            for pod in of_old:
                cluster.remove_pod(pod)
            self._scale(new, replicas)
            return
        surge, unavailable = _limits(spec, replicas)
        current = len(cluster.owned(new.uid))
        room = replicas + surge - current - len(of_old)
        refused: ApiError | None = None
        try:
            self._scale(new, replicas if current > replicas else min(replicas, current + max(0, room)))
        except ApiError as error:
            refused = error
        mine = cluster.owned(new.uid)
        of_new = sum(self._available(pod, spec) for pod in mine)
        least = replicas - unavailable
        spare = len(mine) + len(of_old) - least - (len(mine) - of_new)
        broken_first = sorted(of_old, key=lambda pod: (self._available(pod, spec), -pod.ordinal))
        available = of_new + sum(self._available(pod, spec) for pod in of_old)
        for pod in broken_first[: max(0, spare)]:
            if self._available(pod, spec):
                if available <= least:
                    break
                available -= 1
            cluster.remove_pod(pod)
        for each in old:
            each.wanted = len(cluster.owned(each.uid))
        if refused:
            raise refused

    def _scale(self, new: ReplicaSet, wanted: int) -> None:
        cluster = self._cluster
        mine = cluster.owned(new.uid)
        new.wanted = wanted
        for pod in sorted(mine, key=lambda pod: pod.ordinal)[wanted:]:
            cluster.remove_pod(pod)
        taken = {pod.ordinal for pod in mine}
        free = (ordinal for ordinal in range(wanted) if ordinal not in taken)
        for _ in range(wanted - len(mine)):
            new.made += 1
            cluster.make_pod(cluster.template_of(new, next(free)))

    def _available(self, pod: Pod, spec: Object) -> bool:
        least: int = spec.get("minReadySeconds", 0)
        return pod.ready_for(self._cluster.now) >= least

    def _prune(self, old: list[ReplicaSet], limit: int) -> None:
        empty = [each for each in old if not self._cluster.owned(each.uid)]
        for each in sorted(empty, key=lambda each: each.revision)[: max(0, len(empty) - limit)]:
            del self._cluster.replica_sets[each.namespace, each.name]

    def _tell(
        self,
        deployment: Object,
        new: ReplicaSet,
        mine: list[Pod],
        pods: list[Pod],
        refused: str | None,
    ) -> bool:
        now, spec = self._cluster.now, deployment["spec"]
        replicas = spec["replicas"]
        progress = self._progress.setdefault(deployment["metadata"]["uid"], _Progress(since=now))
        ready = sum(pod.ready(now) for pod in pods)
        available = sum(self._available(pod, spec) for pod in pods)
        mine_available = sum(self._available(pod, spec) for pod in mine)
        complete: bool = len(mine) == len(pods) == replicas and mine_available == replicas
        # Progress is what the real controller counts as such: another template, more pods of it, fewer old
        # ones.
        counts = (new.hash, len(mine), len(pods) - len(mine), ready, mine_available)
        if counts != progress.counts or complete:
            progress.since, progress.counts = now, counts
        conditions = progress.conditions
        _, unavailable = _limits(spec, replicas)
        if available >= replicas - unavailable:
            told = "Deployment has minimum availability."
            conditions.set("Available", True, "MinimumReplicasAvailable", told, now)
        else:
            told = "Deployment does not have minimum availability."
            conditions.set("Available", False, "MinimumReplicasUnavailable", told, now)
        if refused:
            conditions.set("ReplicaFailure", True, "FailedCreate", refused, now)
        else:
            conditions.drop("ReplicaFailure")
        if complete:
            told = f'ReplicaSet "{new.name}" has successfully progressed.'
            conditions.set("Progressing", True, "NewReplicaSetAvailable", told, now)
        elif now - progress.since > spec["progressDeadlineSeconds"]:
            told = f'ReplicaSet "{new.name}" has timed out progressing.'
            conditions.set("Progressing", False, "ProgressDeadlineExceeded", told, now)
        else:
            told = f'ReplicaSet "{new.name}" is progressing.'
            conditions.set("Progressing", True, "ReplicaSetUpdated", told, now)
        numbers = {
            "replicas": len(pods),
            "updatedReplicas": len(mine),
            "readyReplicas": ready,
            "availableReplicas": available,
            "unavailableReplicas": max(0, max(replicas, len(pods)) - available),
        }
        status = {
            "observedGeneration": deployment["metadata"]["generation"],
            **shown(numbers),
            "conditions": conditions.listed(),
        }
        self._cluster.set_status(deployment, status)
        return complete


def _limits(spec: Object, replicas: int) -> tuple[int, int]:
    """MaxSurge (rounded up) and maxUnavailable (rounded down) in pods; never both zero."""
    rolling = spec["strategy"].get("rollingUpdate") or {}
    surge = math.ceil(share(rolling.get("maxSurge", "25%"), replicas))
    unavailable = math.floor(share(rolling.get("maxUnavailable", "25%"), replicas))
    return surge, 1 if surge == unavailable == 0 else min(unavailable, replicas)


def share(value: int | str, replicas: int) -> float:
    """A number of pods, or a share of all in percent."""
    text = str(value)
    return int(text[:-1]) * replicas / 100 if text.endswith("%") else int(text)
