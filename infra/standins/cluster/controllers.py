"""All controllers of the cluster, run in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from infra.standins.cluster import admission
from infra.standins.cluster.conditions import Conditions
from infra.standins.cluster.deployments import Deployments, ReplicaSet
from infra.standins.cluster.jobs import Jobs
from infra.standins.cluster.kinds import BY_NAME, Object
from infra.standins.cluster.sets import DaemonSets, StatefulSets

if TYPE_CHECKING:
    from infra.standins.cluster.cluster import Cluster

__all__ = ["Controllers", "ReplicaSet"]


class Controllers:
    """Brings the cluster closer to what its objects say; `settled` when nothing is under way."""

    def __init__(self, cluster: Cluster) -> None:
        self.settled = True
        self._cluster = cluster
        self.jobs = Jobs(cluster)
        self._busy = False
        self._with_pods: dict[str, Callable[[Object], bool]] = {
            "Deployment": Deployments(cluster).reconcile,
            "StatefulSet": StatefulSets(cluster).reconcile,
            "DaemonSet": DaemonSets(cluster).reconcile,
            "Job": self.jobs.reconcile,
        }

    def begin(self) -> None:
        """Makes what the scenario's objects had become by its `now`."""
        for cron_job in self._cluster.objects("CronJob"):
            self.jobs.begin(cron_job)
        self.reconcile()

    def reconcile(self) -> None:
        if self._busy:  # a controller made an object: the pass under way sees to it
            return
        self._busy = True
        try:
            self._collect_garbage()
            self._cluster.place_waiting()
            for cron_job in self._cluster.objects("CronJob"):
                self.jobs.due(cron_job)
            # Each controller runs, whatever the ones before it found.
            done = [
                controller(body)
                for kind, controller in self._with_pods.items()
                for body in self._cluster.objects(kind)
            ]
            self.settled = all(done)
            self._tell_of_the_rest()
        finally:
            self._busy = False

    def next_event(self, until: float) -> float | None:
        """The first time up to `until` at which something is due by the clock; None if nothing is."""
        cluster = self._cluster
        times: list[float | None] = [self.jobs.next_due(each, until) for each in cluster.objects("CronJob")]
        times += [
            pod.finishes
            for pod in cluster.pods.values()
            if pod.finishes is not None and pod.finishes > cluster.now
        ]
        return min((time for time in times if time is not None and time <= until), default=None)

    def show(self, replica_set: ReplicaSet) -> Object:
        return replica_set.manifest(self._cluster.owned(replica_set.uid), self._cluster.now)

    def _collect_garbage(self) -> None:
        """What nobody owns any more goes."""
        cluster = self._cluster
        alive = {
            body["metadata"]["uid"]
            for kind in (*self._with_pods, "CronJob")
            for body in cluster.objects(kind)
        }
        for job in cluster.objects("Job"):
            owners = job["metadata"].get("ownerReferences", [])
            if owners and not any(owner["uid"] in alive for owner in owners):
                alive.discard(job["metadata"]["uid"])
                cluster.drop(BY_NAME["batch/v1", "Job"], job)
        for key, replica_set in list(cluster.replica_sets.items()):
            if replica_set.owner.uid in alive:
                alive.add(replica_set.uid)
            else:
                del cluster.replica_sets[key]
        for pod in list(cluster.pods.values()):
            if pod.owner.uid not in alive:
                cluster.remove_pod(pod)

    def _tell_of_the_rest(self) -> None:
        cluster = self._cluster
        for quota in cluster.objects("ResourceQuota"):
            hard = quota["spec"].get("hard") or {}
            specs = [
                pod.spec
                for pod in cluster.pods.values()
                if pod.namespace == quota["metadata"]["namespace"] and not pod.finished(cluster.now)
            ]
            used = admission.quota_use(specs, hard)
            shown = {name: admission.amount_text(amount, name) for name, amount in used.items()}
            cluster.set_status(quota, {"hard": hard, "used": shown})
        for autoscaler in cluster.objects("HorizontalPodAutoscaler"):
            cluster.set_status(autoscaler, self._autoscaler_status(autoscaler))

    def _autoscaler_status(self, autoscaler: Object) -> Object:
        """An autoscaler that sees its target and is content: the stand-in does not scale by load."""
        metadata, target = autoscaler["metadata"], autoscaler["spec"]["scaleTargetRef"]
        found = self._cluster.find(target["kind"], metadata["namespace"], target["name"])
        conditions = Conditions()
        since = self._cluster.scenario.now
        if found is None:
            told = f"the HPA controller was unable to get the target's current scale: {target['name']}"
            conditions.set("AbleToScale", False, "FailedGetScale", told, since)
            return {"conditions": conditions.listed(), "currentReplicas": 0, "desiredReplicas": 0}
        told = "the HPA controller was able to get the target's current scale"
        conditions.set("AbleToScale", True, "SucceededGetScale", told, since)
        told = "the HPA was able to successfully calculate a replica count"
        conditions.set("ScalingActive", True, "ValidMetricFound", told, since)
        told = "the desired count is within the acceptable range"
        conditions.set("ScalingLimited", False, "DesiredWithinRange", told, since)
        replicas = found["spec"].get("replicas", 0)
        return {
            "observedGeneration": metadata["generation"],
            "currentReplicas": replicas,
            "desiredReplicas": replicas,
            "conditions": conditions.listed(),
        }
