"""The StatefulSet and DaemonSet controllers: pods in order, and one pod on every node."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from infra.standins.cluster.conditions import shown
from infra.standins.cluster.kinds import ApiError, Object
from infra.standins.cluster.names import template_hash
from infra.standins.cluster.pods import Pod

if TYPE_CHECKING:
    from infra.standins.cluster.cluster import Cluster


class StatefulSets:
    """Creates in ascending order, updates in descending order, one pod at a time."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._current: dict[str, str] = {}

    def reconcile(self, stateful_set: Object) -> bool:
        """One step towards what `spec` says. True when there is nothing left to do."""
        metadata, spec = stateful_set["metadata"], stateful_set["spec"]
        revision = f"{metadata['name']}-{template_hash(spec['template'])}"
        current = self._current.setdefault(metadata["uid"], revision)
        cluster, replicas = self._cluster, spec["replicas"]
        partition = (spec["updateStrategy"].get("rollingUpdate") or {}).get("partition", 0)
        pods = {pod.ordinal: pod for pod in cluster.owned(metadata["uid"])}
        for ordinal in sorted(pods, reverse=True):
            if ordinal >= replicas:
                cluster.remove_pod(pods.pop(ordinal))
        self._update(spec, revision, pods, partition)
        # Where a pod is refused, only events tell: the status stays short of what it should be.
        with contextlib.suppress(ApiError):
            self._create(stateful_set, revision, pods)
        now = cluster.now
        updated = sum(pod.revision == revision for pod in pods.values())
        ready = sum(pod.ready(now) for pod in pods.values())
        if updated == ready == len(pods) == replicas:
            current = self._current[metadata["uid"]] = revision
        numbers = {
            "readyReplicas": ready,
            "availableReplicas": ready,
            "updatedReplicas": updated,
            "currentReplicas": sum(pod.revision == current for pod in pods.values()),
        }
        status = {
            "observedGeneration": metadata["generation"],
            "replicas": len(pods),
            **shown(numbers),
            "currentRevision": current,
            "updateRevision": revision,
            "collisionCount": 0,
        }
        cluster.set_status(stateful_set, status)
        return bool(updated == ready == len(pods) == replicas)

    def _update(self, spec: Object, revision: str, pods: dict[int, Pod], partition: int) -> None:
        if spec["updateStrategy"]["type"] != "RollingUpdate":
            return
        for ordinal in sorted(pods, reverse=True):
            pod = pods[ordinal]
            if ordinal >= partition and pod.revision != revision:
                self._cluster.remove_pod(pods.pop(ordinal))
                return
            if not pod.ready(self._cluster.now):
                return

    def _create(self, stateful_set: Object, revision: str, pods: dict[int, Pod]) -> None:
        """Raises ApiError where a pod may not be created."""
        cluster, spec = self._cluster, stateful_set["spec"]
        for ordinal in range(spec["replicas"]):
            if ordinal not in pods:
                pods[ordinal] = cluster.make_pod(cluster.template_for(stateful_set, ordinal, revision))
            if spec["podManagementPolicy"] == "OrderedReady" and not pods[ordinal].ready(cluster.now):
                return


class DaemonSets:
    """One pod on every node; updates as many at once as maxUnavailable allows."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def reconcile(self, daemon_set: Object) -> bool:
        """One step towards what `spec` says. True when there is nothing left to do."""
        cluster, metadata, spec = self._cluster, daemon_set["metadata"], daemon_set["spec"]
        revision = template_hash(spec["template"])
        pods = {pod.ordinal: pod for pod in cluster.owned(metadata["uid"])}
        wanted = len(cluster.nodes)
        strategy = spec["updateStrategy"]
        if strategy["type"] == "RollingUpdate":
            most = int((strategy.get("rollingUpdate") or {}).get("maxUnavailable", 1))
            down = sum(not pod.ready(cluster.now) for pod in pods.values())
            for ordinal, pod in sorted(pods.items()):
                if pod.revision != revision and (down < most or not pod.ready(cluster.now)):
                    down += pod.ready(cluster.now)
                    cluster.remove_pod(pods.pop(ordinal))
        for ordinal in range(wanted):
            if ordinal not in pods:
                try:
                    pods[ordinal] = cluster.make_pod(cluster.template_for(daemon_set, ordinal, revision))
                except ApiError:
                    break  # as for a StatefulSet: only events tell
        ready = sum(pod.ready(cluster.now) for pod in pods.values())
        updated = sum(pod.revision == revision for pod in pods.values())
        numbers = {
            "updatedNumberScheduled": updated,
            "numberAvailable": ready,
            "numberUnavailable": wanted - ready,
        }
        status = {
            "observedGeneration": metadata["generation"],
            "currentNumberScheduled": len(pods),
            "desiredNumberScheduled": wanted,
            "numberMisscheduled": 0,
            "numberReady": ready,
            **shown(numbers),
        }
        cluster.set_status(daemon_set, status)
        return updated == ready == wanted
