"""What a cluster admits of a namespace's pods, and has room for: LimitRanges, ResourceQuotas, nodes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING

from functions.recommender import nodes, queries
from shared.contracts.events import Resources
from shared.contracts.quantities import within

if TYPE_CHECKING:
    from shared.contracts.prometheus import Series

# What bounds the values of a pod's containers together.
QUOTA, POD_RANGE, NODE = "ResourceQuota", "LimitRange", "node"
REQUESTS = {"cpu": "cpu_request_m", "memory": "memory_request_bytes"}
# As a ResourceQuota names them; of requests there are two names.
_OF_QUOTA = REQUESTS | {
    "requests.cpu": "cpu_request_m",
    "requests.memory": "memory_request_bytes",
    "limits.cpu": "cpu_limit_m",
    "limits.memory": "memory_limit_bytes",
}


@dataclass
class Bounds:
    """By namespace, in millicores and bytes. Of several LimitRanges the strictest counts.

    Quotas have what is `hard` and what is `used`, by their name and the resource.
    """

    _containers: dict[str, dict[tuple[str, str], float]] = field(default_factory=dict)
    _pods: dict[str, dict[str, int]] = field(default_factory=dict)
    _quotas: dict[str, dict[tuple[str, str], dict[str, int]]] = field(default_factory=dict)
    _node: dict[str, int] = field(default_factory=dict)

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
                    bounds._node[REQUESTS[resource]] = _amount(resource, row.value)
        return bounds

    def of_container(self, namespace: str, current: Resources) -> tuple[Resources, Resources]:
        """What LimitRanges have a container that is set so request at least, and set at most: either value by
        that of the request, and the limit also by its own, with the present request.
        """
        least, most = dict[str, int](), dict[str, int]()
        told = self._containers.get(namespace, {})
        for resource, request in REQUESTS.items():
            if (low := told.get((resource, "min"))) is not None:
                least[request] = round(low)
            of_limit = request.replace("request", "limit")
            limit, now = getattr(current, of_limit), getattr(current, request)
            ratio = told.get((resource, "maxLimitRequestRatio"))
            if ratio and limit is not None:
                least[request] = max(least.get(request, 0), ceil(limit / ratio))
            if ratio and now is not None:
                most[of_limit] = int(within(now * ratio))
            if (high := told.get((resource, "max"))) is not None:
                most[request] = round(high)
        return Resources(**least), Resources(**most)

    def of_pod(
        self,
        namespace: str,
        set_now: Collection[Resources],
        init: Collection[Resources],
        pods: int,
        *,
        surges: bool = False,
    ) -> dict[str, Resources]:
        """What the containers of one of so many pods, which set so much now, may set together at most.

        A quota is for all pods of its namespace: its room is taken as if no other workload were raised. An
        init container that asks for more than the others together is what it counts. Which pods it is for, if
        not all, is not told: where less is used of it than these pods have, it is not for them. `pods` is 0
        where they run to completion: what has ended is not counted as used. With `surges` a rollout ends one
        once another is there beside them all.
        """
        by_quota = dict[str, int]()
        for (_, resource), told in self._quotas.get(namespace, {}).items():
            name, hard, used = _OF_QUOTA[resource], told.get("hard", 0), told.get("used", 0)
            together = sum(getattr(each, name) or 0 for each in set_now)
            counted = max((together, *(getattr(each, name) or 0 for each in init)))
            if hard and used >= counted * pods:
                room = max(0, hard - used - (counted if surges else 0))
                most = int(within(counted + room // pods if pods else max(counted, room)))
                by_quota[name] = min(most, by_quota.get(name, most))
        bounds = {POD_RANGE: self._pods.get(namespace, {}), QUOTA: by_quota, NODE: self._node}
        return {who: Resources(**most) for who, most in bounds.items() if most}

    def _take_range(self, namespace: str, resource: str, labels: Mapping[str, str], value: float) -> None:
        constraint = labels.get("constraint", "")
        if labels.get("type") == "Container":
            ranges = self._containers.setdefault(namespace, {})
            value = within(value * 1000 if resource == "cpu" and constraint in ("min", "max") else value)
            strictest = max if constraint == "min" else min
            ranges[resource, constraint] = strictest(value, ranges.get((resource, constraint), value))
        elif labels.get("type") == "Pod" and constraint == "max" and resource in REQUESTS:
            # Of the requests of all containers together, and of their limits.
            most, pods = _amount(resource, value), self._pods.setdefault(namespace, {})
            for name in (REQUESTS[resource], REQUESTS[resource].replace("request", "limit")):
                pods[name] = min(most, pods.get(name, most))


def _amount(resource: str, value: float) -> int:
    """Millicores or bytes."""
    return round(within(value * 1000 if resource.endswith("cpu") else value))
