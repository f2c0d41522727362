"""Every pod that ever was, ready to be lived through once more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from infra.standins.cluster import kube_state
from infra.standins.cluster.cluster import Cluster, Template
from infra.standins.cluster.jobs import JOB_SECONDS, job_name
from infra.standins.cluster.kinds import Object
from infra.standins.cluster.metrics import Row
from infra.standins.cluster.names import suffix, template_hash, uid
from infra.standins.cluster.pods import Owner, Pod
from infra.standins.cluster.population import Life

# The Job of a CronJob is kept until so many later ones have succeeded.
_JOBS_KEPT = 3


@dataclass(frozen=True)
class Past:
    """A pod at the beginning of its life. `until` (Unix seconds) is when it was deleted, None for one that
    still exists. `owned` tells who owns its ReplicaSet or Job, where it has one.
    """

    pod: Pod
    until: float | None = None
    owned: Row | None = None


def pods(cluster: Cluster) -> Iterator[Past]:
    """The pods of the past, then the present ones; by the scenario's `now`, nothing lived through yet."""
    for pod in cluster.pods.values():
        if pod.owner.kind != "Job":
            yield from _turns(cluster, pod)
    for cron_job in cluster.objects("CronJob"):
        yield from _runs(cluster, cron_job)
    for pod in cluster.pods.values():
        yield Past(
            _rebuilt(cluster, pod, (pod.name, pod.owner, pod.uid), Life(pod.created)), owned=_owned(pod)
        )


def _owned(pod: Pod) -> Row | None:
    namespace, kind, name = pod.home
    if pod.owner.kind == "ReplicaSet":
        return kube_state.replica_set_owner(namespace, pod.owner.name, name)
    if pod.owner.kind == "Job":
        owner = (kind, name) if kind == "CronJob" else ("", "")
        return kube_state.job_owner(namespace, pod.owner.name, *owner)
    return None


def _turns(cluster: Cluster, pod: Pod) -> Iterator[Past]:
    """The pods that took turns as this one before it, under their recorded names where there are any."""
    population = cluster.populations.get(pod.home)
    lives = population.lives(pod.ordinal)[:-1] if population else []
    workload = pod.home[2]
    for index, life in enumerate(lives):
        name, owner = life.pod or pod.name, pod.owner
        if owner.kind == "ReplicaSet":
            replica_set = f"{workload}-{template_hash([pod.home, index])}"
            name = life.pod or f"{replica_set}-{suffix(5, replica_set, pod.ordinal)}"
            replica_set = name.rpartition("-")[0]
            owner = Owner("ReplicaSet", replica_set, uid("ReplicaSet", pod.home, replica_set))
        elif owner.kind == "DaemonSet":
            name = life.pod or f"{workload}-{suffix(5, pod.home, pod.ordinal, index)}"
        identity = (name, owner, uid("past", pod.home, pod.ordinal, index))
        rebuilt = _rebuilt(cluster, pod, identity, life)
        yield Past(rebuilt, life.end, _owned(rebuilt))


def _runs(cluster: Cluster, cron_job: Object) -> Iterator[Past]:
    """The pods of a CronJob's runs that are no longer kept."""
    metadata = cron_job["metadata"]
    home = (metadata["namespace"], "CronJob", metadata["name"])
    like = next((pod for pod in cluster.pods.values() if pod.home == home), None)
    times = list(cluster.runs(cron_job)) if like else []
    for t, deleted in zip(times, [at + JOB_SECONDS for at in times[_JOBS_KEPT:]], strict=False):
        assert like is not None
        job = job_name(cron_job, t)
        identity = (
            f"{job}-{suffix(5, home, t)}",
            Owner("Job", job, uid("Job", home, t)),
            uid("past", home, t),
        )
        rebuilt = _rebuilt(cluster, like, identity, Life(t))
        if not any(pod.owner.name == job for pod in cluster.pods.values()):
            yield Past(rebuilt, deleted, _owned(rebuilt))


def _rebuilt(cluster: Cluster, pod: Pod, identity: tuple[str, Owner, str], life: Life) -> Pod:
    """A pod like `pod` at the beginning of `life`, with another name, owner and uid."""
    name, owner, pod_uid = identity
    wanted = Template(
        pod.namespace,
        name,
        owner,
        pod.home,
        pod.ordinal,
        pod.revision,
        {},
        {"spec": pod.spec},
        None if pod.finishes is None else JOB_SECONDS,
    )
    rebuilt = cluster.build_pod(wanted, pod.spec, life, pod_uid)
    rebuilt.node = pod.node
    return rebuilt
