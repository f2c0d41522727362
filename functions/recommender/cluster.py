"""What kube-state-metrics tells of a cluster: who owns which pod, what containers ask for, what scales."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from functions.recommender import nodes, queries
from functions.recommender.bounds import REQUESTS, Bounds, Pods, added_by_rollout
from functions.recommender.jvm import Jvms
from shared.contracts.events import Resources
from shared.contracts.quantities import within

if TYPE_CHECKING:
    from shared.contracts.prometheus import Series

Pod = tuple[str, str]  # namespace, name
Owner = tuple[str, str]  # kind, name
Controller = tuple[str, str, str]  # namespace, kind, name
_NOBODY = ("", "<none>", "None")
_FIELD = {
    ("kube_pod_container_resource_requests", "cpu"): "cpu_request_m",
    (queries.LIMITS, "cpu"): "cpu_limit_m",
    ("kube_pod_container_resource_requests", "memory"): "memory_request_bytes",
    (queries.LIMITS, "memory"): "memory_limit_bytes",
    (queries.INIT_REQUESTS, "cpu"): "cpu_request_m",
    (queries.INIT_LIMITS, "cpu"): "cpu_limit_m",
    (queries.INIT_REQUESTS, "memory"): "memory_request_bytes",
    (queries.INIT_LIMITS, "memory"): "memory_limit_bytes",
}
_REASONS = (queries.LAST_REASON, queries.INIT_LAST_REASON, queries.ENDED_REASON)
_NONE: frozenset[str] = frozenset()
# A CronJob names its Jobs after itself and the minute since 1970 that they were due in (kubernetes,
# pkg/controller/cronjob: getJobName). Minutes of later than 2020, for a day is written with 8 digits too.
_CRON_JOBS = re.compile(r"(.+)-(2[7-9]|[3-9]\d)\d{6}")
# Any exporter may tell of owners, and what no object can be named would keep a shard, or the whole scan, from
# being told of: subjects are parted by slashes, and events bounded. Kubernetes' own rule is stricter.
_NAME = re.compile(r"[^/\x00-\x1f]{1,253}")
# What no autoscaler can scale.
_UNSCALED = ("DaemonSet", "Job", "CronJob")


@dataclass
class Owners:
    """Pods, ReplicaSets and Jobs with the controllers that made them."""

    pods: dict[Pod, Owner] = field(default_factory=dict)
    replica_sets: dict[Pod, Owner] = field(default_factory=dict)
    jobs: dict[Pod, Owner] = field(default_factory=dict)
    # Of what it was told whether anybody owns it, by kind, namespace and name.
    told: set[Controller] = field(default_factory=set)

    @classmethod
    def of(cls, series: Iterable[Mapping[str, str]]) -> Owners:
        """From the labels of kube_{pod,replicaset,job}_owner, told apart by the label that names the owned.

        A ReplicaSet's row may carry the label `pod` as well (that of its exporter), so that is looked
        at last. An object may have owners that are not its controller; those say nothing about it.
        """
        owners = cls()
        for labels in series:
            owner = (labels.get("owner_kind", ""), labels.get("owner_name", ""))
            namespace = labels.get("namespace", "")
            if "replicaset" in labels:
                kind, name, its = "ReplicaSet", labels["replicaset"], owners.replica_sets
            elif "job_name" in labels:
                kind, name, its = "Job", labels["job_name"], owners.jobs
            elif "pod" in labels:
                kind, name, its = "Pod", labels["pod"], owners.pods
            else:
                continue
            owners.told.add((namespace, kind, name))
            if owner[0] not in _NOBODY and labels.get("owner_is_controller") != "false":
                its[namespace, name] = owner
        return owners

    def update(self, later: Owners) -> None:
        """Takes these in addition; where both tell, they are right."""
        self.pods |= later.pods
        self.replica_sets |= later.replica_sets
        self.jobs |= later.jobs
        self.told |= later.told

    def is_known(self, pod: Pod) -> bool:
        """Whether it was told who made the pod, if anybody did, and who made that."""
        namespace, name = pod
        kind, owner = self.pods.get(pod, ("", ""))
        if (namespace, "Pod", name) not in self.told:
            return False
        if kind not in {"ReplicaSet", "Job"} or (namespace, kind, owner) in self.told:
            return True
        return kind == "Job" and self._by_its_name(namespace, owner)[0] == "CronJob"

    def controller(self, pod: Pod) -> Controller | None:
        """Who made the pod, in the end: a Deployment rather than its ReplicaSet; None if nobody did."""
        namespace = pod[0]
        if (owner := self.pods.get(pod)) is None:
            return None
        kind, name = owner
        if kind == "ReplicaSet":
            kind, name = self.replica_sets.get((namespace, name), owner)
        elif kind == "Job":
            kind, name = self.jobs.get((namespace, name)) or self._by_its_name(namespace, name)
        # A static pod is a file on its node: no manifest of it lies in Git.
        return None if kind == "Node" else (namespace, kind, name)

    def _by_its_name(self, namespace: str, job: str) -> Owner:
        """Whose Job it is where nothing tells: many installations do not keep kube_job_owner."""
        due = None if (namespace, "Job", job) in self.told else _CRON_JOBS.fullmatch(job)
        return ("Job", job) if due is None else ("CronJob", due[1])


@dataclass
class Cluster:
    """What is there at one moment.

    `containers` are without those that a manifest has among its init containers: `init` are these, and
    `sidecars` the ones of them that are native sidecars, which run beside the others and are sized alike.
    """

    owners: Owners
    deployments: dict[Controller, int] = field(default_factory=dict)
    containers: dict[Pod, set[str]] = field(default_factory=dict)
    sidecars: dict[Pod, set[str]] = field(default_factory=dict)
    init: dict[Pod, set[str]] = field(default_factory=dict)
    values: dict[Pod, dict[str, dict[str, int]]] = field(default_factory=dict)
    oom_killed: set[tuple[str, str, str]] = field(default_factory=set)
    # Those of them that were begun anew.
    last_killed: set[tuple[str, str, str]] = field(default_factory=set)
    jvms: Jvms = field(default_factory=Jvms)
    bounds: Bounds = field(default_factory=Bounds)
    _rollouts: dict[Controller, int] = field(default_factory=dict)
    _cron_jobs: set[Controller] = field(default_factory=set)
    _max_unavailable: dict[Controller, int] = field(default_factory=dict)
    _resized: dict[Controller, str] = field(default_factory=dict)
    spot: set[str] = field(default_factory=set)
    _autoscalers: set[tuple[str, str]] = field(default_factory=set)
    _autoscaled: dict[tuple[str, str], Controller] = field(default_factory=dict)
    # Namespaces with one of which nothing tells what it scales.
    _maybe_autoscaled: set[str] = field(default_factory=set)
    _scales_on: dict[tuple[str, str], set[tuple[str, str]]] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: list[Series]) -> Cluster:
        """From the rows of `queries.state` or `queries.workloads`."""
        owners = Owners.of(row.labels for row in rows if row.labels["__name__"].endswith("_owner"))
        spot = {row.labels.get("node", "") for row in rows if row.labels["__name__"] == nodes.LABELS}
        cluster = cls(owners, jvms=Jvms.of_rows(rows), bounds=Bounds.of_rows(rows), spot=spot)
        for row in rows:
            cluster._take(row.labels["__name__"], row.labels, row.value)
        if untold := cluster._autoscalers - cluster._autoscaled.keys():
            cluster._find_targets(untold)
        return cluster

    def controllers(self) -> dict[Controller, list[Pod]]:
        """Every controller that has pods, every Deployment, CronJob and Rollout, with the pods there are."""
        found: dict[Controller, list[Pod]] = {each: [] for each in (*self.deployments, *self._cron_jobs)}
        for pod in sorted(self.owners.pods):
            controller = self.owners.controller(pod)
            if controller is not None:
                found.setdefault(controller, []).append(pod)
        for (namespace, _), (kind, name) in self.owners.jobs.items():
            # A CronJob of which nothing else is told, and whose pods are cleared away, has its last Jobs.
            found.setdefault((namespace, kind, name), [])
        for (namespace, _), (kind, name) in self.owners.replica_sets.items():
            # A Rollout without pods still has its last ReplicaSets. The metric of Rollouts is no witness:
            # scraped without honor_labels, it has the namespace of their controller.
            if kind == "Rollout":
                found.setdefault((namespace, kind, name), [])
        return {
            controller: pods for controller, pods in found.items() if all(map(_NAME.fullmatch, controller))
        }

    def requests(self, pod: Pod) -> Resources:
        """Of its containers together."""
        found = [self.values.get(pod, {}).get(name, {}) for name in self._names(pod)]
        return Resources(**{field: sum(each.get(field, 0) for each in found) for field in REQUESTS.values()})

    def ownerless(self) -> Iterator[Pod]:
        """Static pods of nodes, and those that were made by hand: no workload's manifest has them."""
        yield from (pod for pod in sorted(self.values) if self.owners.controller(pod) is None)

    def wanted_replicas(self, controller: Controller) -> int | None:
        """How many pods a Deployment or Rollout should have; None where that is not told."""
        return self.deployments.get(controller, self._rollouts.get(controller))

    def counted(self, controller: Controller, pods: Collection[Pod], live: Collection[Pod]) -> Pods:
        """How a quota counts the pods of a controller, of which it is told, and of which these are live."""
        wanted = self.wanted_replicas(controller) or len(pods)
        # Of more than are wanted some have ended; in the midst of a rollout they differ.
        each = [self._set_by(pod) for pod in live]
        fields = {name for values in each for name in values}
        return Pods(
            wanted,
            self._added(controller, wanted),
            {name: sum(sorted(values.get(name, 0) for values in each)[:wanted]) for name in fields},
            self._added_most.get(controller[0], {}),
        )

    def _added(self, controller: Controller, wanted: int) -> int:
        """How many pods a rollout adds."""
        if controller[1] == "Deployment" and self._max_unavailable:
            # What tells no number beside others that do is recreated.
            return int(self._max_unavailable.get(controller, 1) == 0)
        return added_by_rollout(controller[1], wanted)

    @cached_property
    def _added_most(self) -> dict[str, dict[str, int]]:
        """What the pods set together that a rollout adds, where that is most, by namespace with a quota."""
        found: dict[str, dict[str, int]] = {}
        for controller, pods in self.controllers().items():
            if self.bounds.has_quotas(controller[0]):
                most = found.setdefault(controller[0], {})
                added = self._added(controller, self.wanted_replicas(controller) or len(pods))
                for pod in pods:
                    for name, value in self._set_by(pod).items():
                        most[name] = max(most.get(name, 0), added * value)
        return found

    def _set_by(self, pod: Pod) -> Counter[str]:
        """What its containers set together."""
        total = Counter[str]()
        for name in self._names(pod):
            total.update(self.values.get(pod, {}).get(name, {}))
        return total

    def container_names(self, pods: Iterable[Pod]) -> list[str]:
        """With native sidecars, without other init containers."""
        names: set[str] = set()
        for pod in pods:
            names |= self._names(pod)
        return sorted(names)

    def has_sidecars(self, pods: Iterable[Pod]) -> bool:
        """Whether a native sidecar runs in any of these."""
        return any(pod in self.sidecars for pod in pods)

    def is_sidecar(self, pods: Iterable[Pod], container: str) -> bool:
        """Whether it is a native sidecar in any of these."""
        return any(container in self.sidecars.get(pod, _NONE) for pod in pods)

    def init_containers(self, pods: Collection[Pod]) -> dict[str, Resources]:
        """What those ask for that end before the others begin."""
        names = {name for pod in pods for name in self.init.get(pod, _NONE)}
        return {
            name: self._most((pod for pod in pods if name in self.init.get(pod, _NONE)), name)
            for name in sorted(names.difference(self.container_names(pods) if names else ()))
        }

    def resources(self, pods: Iterable[Pod], container: str) -> Resources:
        """What most of these pods set for the container: in the midst of a rollout they differ."""
        return self._most(
            (
                pod
                for pod in pods
                if container in self.containers.get(pod, {container})
                or container in self.sidecars.get(pod, _NONE)
            ),
            container,
        )

    def is_killed_under(self, limit: int | None, pods: Iterable[Pod], container: str) -> bool:
        """Whether one of these was last ended for its memory under no less than this limit, in bytes."""
        return any(
            (*pod, container) in self.oom_killed
            and self.values.get(pod, {}).get(container, {}).get("memory_limit_bytes", limit or 0)
            >= (limit or 0)
            for pod in pods
        )

    def limits_cpu(self, pods: Iterable[Pod]) -> bool:
        """Whether a container of these has a limit."""
        return any(
            "cpu_limit_m" in each and name in self._names(pod)
            for pod in pods
            for name, each in self.values.get(pod, {}).items()
        )

    @property
    def has_autoscalers(self) -> bool:
        """Whether HorizontalPodAutoscalers set how many pods anything has."""
        return bool(self._autoscaled)

    def means(self, rows: Iterable[Series]) -> dict[Controller, float]:
        """How many pods the autoscaled had on average, by the rows of `queries.mean_replicas`."""
        found = {}
        for row in rows:
            autoscaler = (row.labels.get("namespace", ""), row.labels.get("horizontalpodautoscaler", ""))
            if (controller := self._autoscaled.get(autoscaler)) is not None:
                found[controller] = round(within(row.value), 2)
        return found

    def scales_on(self, controller: Controller) -> frozenset[str]:
        """The resources on whose utilisation HorizontalPodAutoscalers scale it; see Observed.scales_on."""
        namespace, kind, _ = controller
        resources: set[str] = set()
        if namespace in self._maybe_autoscaled and kind not in _UNSCALED:
            resources.add("unknown")
        for autoscaler, target in self._autoscaled.items():
            if target != controller:
                continue
            told = self._scales_on.get(autoscaler)
            if told is None:
                resources.add("unknown")
                continue
            # An average value is absolute; only a utilisation is a share of the request.
            resources |= {name for name, kind in told if kind == "utilization"}
        return frozenset(resources & {"cpu", "memory", "unknown"})

    def resized_by(self, controller: Controller) -> str:
        """The mode of a VerticalPodAutoscaler that sets what its pods ask for; empty: none is told of."""
        return self._resized.get(controller, "")

    def _find_targets(self, autoscalers: Collection[tuple[str, str]]) -> None:
        """Of those that do not tell what they scale: many installations keep how many pods they have, and not
        their targets. Mostly it goes by the same name; else it may be any in the namespace.
        """
        named: dict[tuple[str, str], list[Controller]] = {}
        for controller in self.controllers():
            namespace, kind, name = controller
            if kind not in _UNSCALED:
                named.setdefault((namespace, name), []).append(controller)
        for autoscaler in autoscalers:
            if len(targets := named.get(autoscaler, [])) == 1:
                [self._autoscaled[autoscaler]] = targets
            else:
                self._maybe_autoscaled.add(autoscaler[0])

    def _names(self, pod: Pod) -> set[str]:
        """Of its containers, native sidecars among them."""
        others = self.containers.get(pod) or set(self.values.get(pod, {})) - self.init.get(pod, _NONE)
        return others | self.sidecars.get(pod, _NONE)

    def _most(self, pods: Iterable[Pod], container: str) -> Resources:
        """What is set for it in most of these pods."""
        seen = [tuple(sorted(self.values.get(pod, {}).get(container, {}).items())) for pod in pods]
        if not seen:
            return Resources()
        most = max(set(seen), key=lambda its: (seen.count(its), its))
        return Resources.model_validate(dict(most))

    def _take(self, metric: str, labels: Mapping[str, str], value: float) -> None:
        namespace = labels.get("namespace", "")
        match metric:
            case "kube_deployment_spec_replicas":
                self.deployments[namespace, "Deployment", labels.get("deployment", "")] = int(within(value))
            case queries.CRON_JOB:
                self._cron_jobs.add((namespace, "CronJob", labels.get("cronjob", "")))
            case queries.MAX_UNAVAILABLE:
                deployment = (namespace, "Deployment", labels.get("deployment", ""))
                self._max_unavailable[deployment] = int(within(value))
            case queries.ROLLOUT_REPLICAS:
                self._rollouts[namespace, "Rollout", labels.get("name", "")] = int(within(value))
            case metric if metric in queries.VPA_MODES:
                mode = labels.get("update_mode", "")
                if value > 0 and mode not in ("", "Off"):
                    target = (labels.get("target_kind", ""), labels.get("target_name", ""))
                    self._resized[namespace, *target] = mode
            case queries.HPA_REPLICAS:
                self._autoscalers.add((namespace, labels.get("horizontalpodautoscaler", "")))
            case "kube_horizontalpodautoscaler_info":
                target = (labels.get("scaletargetref_kind", ""), labels.get("scaletargetref_name", ""))
                self._autoscaled[namespace, labels.get("horizontalpodautoscaler", "")] = (namespace, *target)
            case "kube_horizontalpodautoscaler_spec_target_metric":
                autoscaler = (namespace, labels.get("horizontalpodautoscaler", ""))
                told = (labels.get("metric_name", ""), labels.get("metric_target_type", ""))
                self._scales_on.setdefault(autoscaler, set()).add(told)
            case _:
                pod = (namespace, labels.get("pod", ""))
                self._take_container(metric, pod, labels.get("container", ""), labels, value)

    def _take_container(
        self, metric: str, pod: Pod, container: str, labels: Mapping[str, str], value: float
    ) -> None:
        if metric in (queries.INIT_INFO, queries.INIT_REQUESTS, queries.INIT_LIMITS):
            self.init.setdefault(pod, set()).add(container)
        resource = labels.get("resource", "")
        if (name := _FIELD.get((metric, resource))) is not None:
            amount = value * 1000 if resource == "cpu" else value
            self.values.setdefault(pod, {}).setdefault(container, {})[name] = round(within(amount))
        elif metric == "kube_pod_container_info":
            self.containers.setdefault(pod, set()).add(container)
        elif metric == queries.INIT_INFO and queries.is_sidecar(labels):
            self.sidecars.setdefault(pod, set()).add(container)
        elif metric in _REASONS and value > 0:
            self.oom_killed.add((*pod, container))
            if metric != queries.ENDED_REASON:
                self.last_killed.add((*pod, container))
