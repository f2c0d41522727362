"""The cluster: objects as clients applied them, pods as controllers made them, and time.

Nothing runs in the background. Whoever looks first calls `advance`, which lives through the time since the
last look in small steps: containers use and are killed, then controllers reconcile. The same requests at
the same times therefore give the same cluster.
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from infra.standins.cluster import admission, controllers
from infra.standins.cluster.container import Container, relive
from infra.standins.cluster.jobs import JOB_SECONDS
from infra.standins.cluster.kinds import BY_NAME, ApiError, Kind, Object, not_found
from infra.standins.cluster.names import suffix, uid, unix
from infra.standins.cluster.objects import Change, Objects
from infra.standins.cluster.pods import Owner, Pod
from infra.standins.cluster.population import Life, Population, populations
from infra.standins.scenario import Node, Scenario
from shared.contracts.quantities import parse_quantity

ARGO_CD = "argocd-controller"  # the field manager under which the scenario's objects were applied
SCRAPE_SECONDS = 60.0
_STEP_SECONDS, _STEPS = 0.25, 400


@dataclass(frozen=True)
class Template:
    """What a controller makes a pod from. `home` is the workload whose usage the pod shows; `born` (Unix
    seconds) is for a pod of the past that no trace tells of.
    """

    namespace: str
    name: str
    owner: Owner
    home: tuple[str, str, str]
    ordinal: int
    revision: str
    labels: dict[str, str]
    template: Object
    finishes_after: float | None = None
    born: float | None = None


class Cluster:
    """State of the whole cluster at `now` (Unix seconds). Not thread-safe by itself: hold `lock`."""

    def __init__(self, scenario: Scenario, *, lived: bool = True) -> None:
        """The cluster as of `scenario.now`. With `lived` false the containers' past is still to be lived.

        Raises:
            ApiError: a cluster would refuse an object of the scenario.
            TraceError: usage cannot be read.
        """
        self.lock = threading.Lock()
        self.scenario = scenario
        self.now = scenario.now
        self.nodes: dict[str, Node] = {node.name: node for node in scenario.nodes}
        self.pods: dict[tuple[str, str], Pod] = {}
        self.populations = populations(scenario)
        self.replica_sets: dict[tuple[str, str], controllers.ReplicaSet] = {}
        self._stored = Objects()
        self._pods_made = 0
        self._seen: list[tuple[object, ...]] = []
        self._woken = True
        self._beginning = True
        self._controllers = controllers.Controllers(self)
        self._begin(scenario, lived=lived)

    def _begin(self, scenario: Scenario, *, lived: bool) -> None:
        namespaces = BY_NAME["v1", "Namespace"]
        for namespace in ("default", "kube-system"):
            self.apply(namespaces, "", namespace, _namespace(namespace), ARGO_CD, created=self.now)
        ordered = sorted(scenario.objects, key=lambda each: each.get("kind") != "Namespace")
        for body in ordered:
            kind = BY_NAME.get((body.get("apiVersion", ""), body.get("kind", "")))
            if kind is None or not kind.writable:
                raise ApiError(
                    404, "NotFound", f"scenario: no kind {body.get('apiVersion')} {body.get('kind')}"
                )
            metadata = body.get("metadata") or {}
            namespace = metadata.get("namespace", "default") if kind.namespaced else ""
            name = metadata.get("name", "")
            created = self.beginning_of(kind.name, {"namespace": namespace, "name": name})
            self.apply(kind, namespace, name, body, ARGO_CD, created=created)
        self._controllers.begin()
        self._beginning = False
        for pod in self.pods.values() if lived else ():
            end = self.now if pod.finishes is None else min(self.now, pod.finishes)
            for container in pod.containers:
                for _ in relive(container, scrapes(pod.created, self.now, end)):
                    pass
        self.has_lived()

    def has_lived(self) -> None:
        """The containers have lived through their past."""
        self._controllers.reconcile()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, lock=threading.Lock())

    # --- time

    def advance(self, to: float) -> None:
        """Lives through the time until `to`."""
        while self.now < to:
            # A long unwatched time is passed in longer steps, so that looking again is always quick.
            settled = self._controllers.settled
            step = to - self.now if settled else max(_STEP_SECONDS, (to - self.now) / _STEPS)
            until = min(to, self.now + step)
            due = self._controllers.next_event(until)
            self.now = until if due is None else due
            for pod in list(self.pods.values()):
                pod.advance(self.now)
            # Controllers that had nothing left to do are woken by the clock's events and by their pods; each
            # looks once more after that, at what the ones after it have done.
            seen, self._seen = self._seen, [pod.seen(self.now) for pod in self.pods.values()]
            woken = not settled or due is not None or self._seen != seen
            if woken or self._woken:
                self._controllers.reconcile()
            self._woken = woken

    # --- objects

    def find(self, kind: str, namespace: str, name: str) -> Object | None:
        return self._stored.find((kind, namespace, name))

    def objects(self, kind: str, namespace: str | None = None) -> list[Object]:
        """Stored objects of a kind, by namespace and name; the very objects, not copies."""
        return self._stored.listed(kind, namespace)

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """Raises ApiError 404."""
        for found in self.shown(kind, namespace):
            if found["metadata"]["name"] == name:
                return found
        raise not_found(kind, name)

    def shown(self, kind: Kind, namespace: str | None) -> list[Object]:
        """Objects of a kind as clients see them; `namespace` None means all of them."""
        if kind.name == "Pod":
            found = [pod.manifest(self.now) for _, pod in sorted(self.pods.items())]
        elif kind.name == "ReplicaSet":
            found = [self._controllers.show(each) for _, each in sorted(self.replica_sets.items())]
        elif kind.name == "Node":
            found = [_shown_node(node) for _, node in sorted(self.nodes.items())]
        else:
            found = [copy.deepcopy(each) for each in self.objects(kind.name)]
        wanted = None if not kind.namespaced else namespace
        return [each for each in found if wanted in (None, each["metadata"].get("namespace", ""))]

    def apply(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: Object,
        manager: str,
        *,
        dry_run: bool = False,
        created: float | None = None,
    ) -> tuple[Object, bool]:
        """Server-side apply: the object as it is then, and whether it is new.

        Raises:
            ApiError: 400, 404 (namespace) or 422; nothing was changed.
        """
        change = Change(kind, namespace, name, self.now if created is None else created, dry_run=dry_run)
        applied = self._stored.apply(change, body, manager)
        if not dry_run and created is None:
            self._wake()
        return applied

    def patch(self, kind: Kind, namespace: str, name: str, patch: Object) -> Object:
        """JSON merge patch (RFC 7386) of an existing object. Raises ApiError as `apply` does."""
        patched = self._stored.patch(Change(kind, namespace, name, self.now), patch)
        self._wake()
        return patched

    def delete(self, kind: Kind, namespace: str, name: str) -> Object:
        """Deletes an object and what it owns. Raises ApiError 404."""
        if kind.name == "Pod":
            pod = self.pods.get((namespace, name))
            if pod is None:
                raise not_found(kind, name)
            self.remove_pod(pod)
            removed = pod.manifest(self.now)
        else:
            removed = self._stored.remove(kind, namespace, name)
        self._wake()
        return removed

    def _wake(self) -> None:
        self._controllers.reconcile()
        self._woken = True

    def drop(self, kind: Kind, body: Object) -> None:
        """Removes an object that nobody owns any more."""
        self._stored.remove(kind, body["metadata"]["namespace"], body["metadata"]["name"])

    def set_status(self, body: Object, status: Object) -> None:
        self._stored.set_status(body, status)

    # --- pods

    def runs(self, cron_job: Object) -> Iterator[float]:
        """When a CronJob ran before now (Unix seconds)."""
        return self._controllers.jobs.past(cron_job)

    def owned(self, owner_uid: str) -> list[Pod]:
        return [pod for pod in self.pods.values() if pod.owner.uid == owner_uid]

    def beginning_of(self, kind: str, metadata: Object) -> float:
        """When a workload was first deployed: now, unless the scenario began with it."""
        population = self.populations.get((metadata["namespace"], kind, metadata["name"]))
        return population.lives(0)[0].start if self._beginning and population else self.now

    def template_of(self, replica_set: controllers.ReplicaSet, ordinal: int) -> Template:
        """The next pod of a Deployment's ReplicaSet."""
        return Template(
            replica_set.namespace,
            self.fresh_name(replica_set.name, replica_set.uid, replica_set.made),
            Owner("ReplicaSet", replica_set.name, replica_set.uid),
            (replica_set.namespace, "Deployment", replica_set.owner.name),
            ordinal,
            replica_set.hash,
            {"pod-template-hash": replica_set.hash},
            replica_set.template,
        )

    def template_for(self, body: Object, ordinal: int, revision: str) -> Template:
        """A pod of a StatefulSet, DaemonSet or Job."""
        metadata, kind = body["metadata"], body["kind"]
        namespace, name = metadata["namespace"], metadata["name"]
        owner = Owner(kind, name, metadata["uid"])
        home = next((each for each in metadata.get("ownerReferences", []) if each.get("controller")), None)
        if kind == "StatefulSet":
            pod_name = f"{name}-{ordinal}"
            labels = {
                "controller-revision-hash": revision,
                "statefulset.kubernetes.io/pod-name": pod_name,
                "apps.kubernetes.io/pod-index": str(ordinal),
            }
        else:
            pod_name = self.fresh_name(name, metadata["uid"], ordinal, revision)
            labels = {"controller-revision-hash": revision} if kind == "DaemonSet" else {"job-name": name}
        return Template(
            namespace,
            pod_name,
            owner,
            (namespace, home["kind"], home["name"]) if home else (namespace, kind, name),
            ordinal,
            revision,
            labels,
            body["spec"]["template"],
            JOB_SECONDS if kind == "Job" else None,
            unix(metadata["creationTimestamp"]) if kind == "Job" else None,
        )

    def make_pod(self, wanted: Template) -> Pod:
        """Creates a pod and finds it a node. Raises ApiError 403 where admission refuses it."""
        spec = copy.deepcopy(wanted.template.get("spec") or {})
        ranges = self.objects("LimitRange", wanted.namespace)
        spec = admission.with_defaults(spec, ranges)
        admission.within_limit_ranges(wanted.name, spec, ranges)
        running = [
            pod.spec
            for pod in self.pods.values()
            if pod.namespace == wanted.namespace and not pod.finished(self.now)
        ]
        quotas = self.objects("ResourceQuota", wanted.namespace)
        admission.within_quotas(wanted.name, spec, quotas, running)
        self._pods_made += 1
        population = self.populations.get(wanted.home)
        life = Life(self.now)
        if self._beginning and wanted.born is not None:
            life = Life(wanted.born)
        elif self._beginning and population:
            life = population.lives(wanted.ordinal)[-1]
        pod = self.build_pod(wanted, spec, life, uid(wanted.namespace, wanted.name, self._pods_made))
        pod.node = self._node_for(pod)
        self.pods[pod.namespace, pod.name] = pod
        return pod

    def build_pod(self, wanted: Template, spec: Object, life: Life, pod_uid: str) -> Pod:
        """The pod that `wanted` describes, beginning with `life`; not yet on a node nor in the cluster."""
        population = self.populations.get(wanted.home) or Population(self.scenario.seed, self.scenario.now)
        metadata = wanted.template.get("metadata") or {}
        containers = []
        for each in spec["containers"]:
            limits = (each.get("resources") or {}).get("limits") or {}
            containers.append(
                Container(
                    each["name"],
                    each["image"],
                    population.demand(each["name"], wanted.ordinal),
                    start=life.start,
                    cpu_limit=float(parse_quantity(limits["cpu"])) if "cpu" in limits else None,
                    memory_limit=float(parse_quantity(limits["memory"])) if "memory" in limits else None,
                )
            )
        return Pod(
            wanted.namespace,
            wanted.name,
            pod_uid,
            wanted.owner,
            wanted.home,
            wanted.revision,
            wanted.ordinal,
            life.start,
            self.scenario.startup_seconds,
            {**(metadata.get("labels") or {}), **wanted.labels},
            dict(metadata.get("annotations") or {}),
            spec,
            containers=containers,
            finishes=None if wanted.finishes_after is None else life.start + wanted.finishes_after,
        )

    def remove_pod(self, pod: Pod) -> None:
        del self.pods[pod.namespace, pod.name]

    def place_waiting(self) -> None:
        """Gives a node to pods that none had room for."""
        for pod in self.pods.values():
            if not pod.node and (node := self._node_for(pod)):
                pod.node = node
                for container in pod.containers:
                    container.begin(self.now)

    def _node_for(self, pod: Pod) -> str:
        """The node with the most free CPU among those with room; empty when there is none."""
        if pod.owner.kind == "DaemonSet":
            return list(self.nodes)[pod.ordinal % len(self.nodes)]
        best, most = "", Decimal(-1)
        for node in self.nodes.values():
            there = [
                each for each in self.pods.values() if each.node == node.name and not each.finished(self.now)
            ]
            cpu = Decimal(str(node.cpu)) - sum(each.requested("cpu") for each in there)
            memory = Decimal(node.memory_bytes) - sum(each.requested("memory") for each in there)
            fits = (
                pod.requested("cpu") <= cpu and pod.requested("memory") <= memory and len(there) < node.pods
            )
            if fits and cpu > most:
                best, most = node.name, cpu
        return best

    def fresh_name(self, prefix: str, *parts: object) -> str:
        """`<prefix>-<five characters>`, as `generateName` makes them, the same in every run."""
        for attempt in range(1000):
            name = f"{prefix}-{suffix(5, prefix, *parts, attempt)}"
            if not any(pod.name == name for pod in self.pods.values()):
                return name
        raise AssertionError("unreachable: 27^5 names are enough")


def scrapes(start: float, now: float, end: float | None = None) -> Iterator[float]:
    """The scrape times after `start` up to `end`, every `SCRAPE_SECONDS`, counted back from `now`."""
    count = int((now - start) // SCRAPE_SECONDS)
    first = count if now - count * SCRAPE_SECONDS > start else count - 1
    last = 0 if end is None else math.ceil((now - end) / SCRAPE_SECONDS)
    return (now - k * SCRAPE_SECONDS for k in range(first, last - 1, -1))


def _namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _shown_node(node: Node) -> Object:
    amounts = {"cpu": f"{node.cpu:g}", "memory": str(node.memory_bytes), "pods": str(node.pods)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node.name,
            "uid": uid("Node", node.name),
            "labels": {"kubernetes.io/hostname": node.name, **node.labels},
        },
        "status": {
            "allocatable": amounts,
            "capacity": amounts,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        },
    }
