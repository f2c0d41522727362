"""What a cluster admits of a namespace's pods, and has room for: LimitRanges, ResourceQuotas, nodes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from functions.recommender import nodes, queries
from shared.contracts.events import Resources
from shared.contracts.quantities import within

if TYPE_CHECKING:
    from shared.contracts.prometheus import Series

# What bounds the values of a pod's containers together.
QUOTA, POD_RANGE, NODE = "ResourceQuota", "LimitRange", "node"
# What others of its namespace that are raised in the same scan leave of it.
SHARED = "ResourceQuota, shared"
# Of a node, the rest may be DaemonSets': what these ask for on each is too much to ask in every scan.
_OF_NODE = 0.9
REQUESTS = {"cpu": "cpu_request_m", "memory": "memory_request_bytes"}
# As a ResourceQuota names them; of requests there are two names.
_OF_QUOTA = REQUESTS | {
    "requests.cpu": "cpu_request_m",
    "requests.memory": "memory_request_bytes",
    "limits.cpu": "cpu_limit_m",
    "limits.memory": "memory_limit_bytes",
}


@dataclass(frozen=True)
class Pods:
    """How a quota counts a workload's pods: `wanted` are there once it is rolled out, after `added` ones were
    there beside the others. 0 are wanted where they run to completion: what has ended is not counted.
    `set_now` is what those that there are set together, at least; `kept` what the rollout of some workload of
    the namespace adds for a while, at most.
    """

    wanted: int = 0
    added: int = 0
    set_now: Mapping[str, int] = field(default_factory=dict)
    kept: Mapping[str, int] = field(default_factory=dict)

    def most(self, counted: int, room: int, name: str = "") -> int:
        """What one may set, which is counted with so much, where there is so much room."""
        if not self.wanted:
            return max(counted, room)
        # The first of them has to fit beside all others; and once all are there, the next rollout's.
        first = room // self.added if self.added else counted + room
        after = (room + self.wanted * counted) // (self.wanted + self.added)
        # Others are to be rolled out still, if they could be.
        spare = room - self.kept.get(name, 0)
        beside = counted + spare // self.wanted if spare >= 0 else after
        return int(within(min(first, after, beside)))


@dataclass
class Bounds:
    """By namespace, in millicores and bytes. Of several LimitRanges the strictest counts.

    Ranges are by whose they are (a LimitRange's type), the resource and the constraint. Quotas have what is
    `hard` and what is `used`, by their name and the resource.
    """

    _ranges: dict[str, dict[tuple[str, str, str], float]] = field(default_factory=dict)
    _quotas: dict[str, dict[tuple[str, str], dict[str, int]]] = field(default_factory=dict)
    _nodes: dict[str, dict[str, int]] = field(default_factory=dict)

    @classmethod
    def of_rows(cls, rows: Iterable[Series]) -> Bounds:
        """From the rows of `queries.state`."""
        bounds = cls()
        for row in rows:
            labels, namespace = row.labels, row.labels.get("namespace", "")
            resource = labels.get("resource", "")
            match labels["__name__"]:
                case queries.LIMIT_RANGE:
                    bounds._take_range(namespace, resource, labels, row.value)
                case queries.QUOTA if resource in _OF_QUOTA:
                    quota = (labels.get("resourcequota", ""), resource)
                    told = bounds._quotas.setdefault(namespace, {}).setdefault(quota, {})
                    told[labels.get("type", "")] = _amount(resource, row.value)
                case nodes.ALLOCATABLE if resource in REQUESTS:
                    node = bounds._nodes.setdefault(labels.get("node", ""), {})
                    node[REQUESTS[resource]] = int(_amount(resource, row.value) * _OF_NODE)
        return bounds

    def of_container(self, namespace: str, current: Resources) -> tuple[Resources, Resources]:
        """What LimitRanges have a container that is set so request at least, and set at most: either value by
        that of the request, and the limit also by its own, with the present request.
        """
        least, most = dict[str, int](), dict[str, int]()
        if (told := self._ranges.get(namespace)) is None:
            return Resources(), Resources()
        for resource, request in REQUESTS.items():
            if (low := told.get(("Container", resource, "min"))) is not None:
                least[request] = round(low)
            if (high := told.get(("Container", resource, "max"))) is not None:
                most[request] = round(high)
            ratio, now = told.get(("Container", resource, "maxLimitRequestRatio")), getattr(current, request)
            if ratio and now is not None:
                most[twin(request)] = int(within(now * ratio))
        return Resources(**least), Resources(**most)

    def ratios_of_pod(self, namespace: str) -> dict[str, float]:
        """How many times what a pod requests its limits may be, by resource."""
        told = self._ranges.get(namespace, {})
        ratios = {resource: told.get(("Pod", resource, "maxLimitRequestRatio"), 0.0) for resource in REQUESTS}
        return {resource: ratio for resource, ratio in ratios.items() if ratio}

    def least_of_pod(self, namespace: str) -> Resources:
        """What the containers of a pod have to set together: of requests, and of limits, if there are any."""
        return Resources(**self._of_pod(namespace, "min"))

    def has_quotas(self, namespace: str) -> bool:
        return namespace in self._quotas

    def of_pod(
        self, namespace: str, set_now: Collection[Resources], init: Collection[Resources], pods: Pods
    ) -> dict[str, Resources]:
        """What the containers of one of these pods, which set so much now, may set together at most.

        A quota is for all pods of its namespace: its room is taken as if no other workload were raised. Which
        pods it is for, if not all, is not told: where less is used of it than these have, it is not for them.
        """
        by_quota = dict[str, int]()
        for (_, resource), told in self._quotas.get(namespace, {}).items():
            name, hard, used = _OF_QUOTA[resource], told.get("hard", 0), told.get("used", 0)
            its = counted(set_now, init, name)
            if hard and used >= pods.set_now.get(name, 0):
                most = pods.most(its, hard - used, name)
                by_quota[name] = min(most, by_quota.get(name, most))
        bounds = {QUOTA: by_quota, NODE: self._of_node(set_now, init)}
        bounds[POD_RANGE] = self._of_pod(namespace, "max")
        return {who: Resources(**most) for who, most in bounds.items() if most}

    def _of_node(self, set_now: Collection[Resources], init: Collection[Resources]) -> Mapping[str, int]:
        """What the node has for a pod of which most would fit there: one with the most CPU may be another
        than one with the most memory.
        """

        def most(node: Mapping[str, int]) -> float:
            return min(high / max(1, counted(set_now, init, name)) for name, high in node.items())

        return max(self._nodes.values(), key=most, default={})

    def _of_pod(self, namespace: str, constraint: str) -> Mapping[str, int]:
        """Of the requests of all containers together, and of their limits."""
        told = self._ranges.get(namespace, {})
        return {
            name: round(value)
            for resource, request in REQUESTS.items()
            if (value := told.get(("Pod", resource, constraint))) is not None
            for name in (request, twin(request))
        }

    def _take_range(self, namespace: str, resource: str, labels: Mapping[str, str], value: float) -> None:
        whose, constraint = labels.get("type", ""), labels.get("constraint", "")
        if whose in ("Container", "Pod") and resource in REQUESTS:
            ranges = self._ranges.setdefault(namespace, {})
            value = within(value * 1000 if resource == "cpu" and constraint in ("min", "max") else value)
            strictest = max if constraint == "min" else min
            of = (whose, resource, constraint)
            ranges[of] = strictest(value, ranges.get(of, value))


def twin(name: str) -> str:
    """The limit of a request, or the request of a limit."""
    return name.replace("limit", "request") if "limit" in name else name.replace("request", "limit")


def together(values: Iterable[Resources], name: str) -> int:
    """What these set, of a field of Resources."""
    return sum(getattr(each, name) or 0 for each in values)


def counted(set_now: Iterable[Resources], init: Iterable[Resources], name: str) -> int:
    """What counts of a pod: what its containers set together, or an init container if that is more."""
    return max((together(set_now, name), *(getattr(each, name) or 0 for each in init)))


def added_by_rollout(kind: str, wanted: int) -> int:
    """How many pods a rollout of so many adds, if nothing tells.

    Mostly that of few ends none before another is there. A Rollout may have as many beside the others as are
    wanted, with a service or a router between them.
    """
    return {"Deployment": 1, "Rollout": wanted}.get(kind, 0)


def _amount(resource: str, value: float) -> int:
    """Millicores or bytes."""
    return round(within(value * 1000 if resource.endswith("cpu") else value))
