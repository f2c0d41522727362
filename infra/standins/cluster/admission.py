"""What happens to a pod before it may be created: defaults, LimitRanges, then ResourceQuotas. Pure.

https://kubernetes.io/docs/concepts/policy/limit-range/ and /resource-quotas/
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from decimal import Decimal

from infra.standins.cluster.apply import canonical_quantity
from infra.standins.cluster.kinds import Object, forbidden
from infra.standins.cluster.pods import total
from shared.contracts.quantities import parse_quantity


def with_defaults(spec: Object, limit_ranges: Iterable[Object]) -> Object:
    """The pod's spec with the LimitRanges' defaults; a request that is left out is the limit."""
    filled: Object = copy.deepcopy(spec)
    for container in filled.get("containers", []):
        resources = container.setdefault("resources", {})
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for name, value in limits.items():
            requests.setdefault(name, value)
        for item in _items(limit_ranges, "Container"):
            for name, value in (item.get("defaultRequest") or item.get("default") or {}).items():
                requests.setdefault(name, value)
            for name, value in (item.get("default") or {}).items():
                limits.setdefault(name, value)
        container["resources"] = {
            **({"limits": limits} if limits else {}),
            **({"requests": requests} if requests else {}),
        }
    return filled


def within_limit_ranges(pod: str, spec: Object, limit_ranges: list[Object]) -> None:
    """Raises ApiError 403 for a pod beyond a LimitRange."""
    wrong: list[str] = []
    for item in _items(limit_ranges, "Container"):
        for container in spec.get("containers", []):
            resources = container.get("resources") or {}
            wrong += _beyond(
                item, "Container", resources.get("requests") or {}, resources.get("limits") or {}
            )
    for item in _items(limit_ranges, "Pod"):
        names = {name for each in ("min", "max", "maxLimitRequestRatio") for name in item.get(each) or {}}
        sums = [
            {name: str(total(spec, block, name)) for name in names if total(spec, block, name)}
            for block in ("requests", "limits")
        ]
        wrong += _beyond(item, "Pod", *sums)
    if wrong:
        raise forbidden("pods", pod, wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]")


def _beyond(item: Object, scope: str, requests: Object, limits: Object) -> list[str]:
    wrong = []
    for name, least in sorted((item.get("min") or {}).items()):
        if name not in requests:
            wrong.append(f"minimum {name} usage per {scope} is {least}.  No request is specified")
        elif parse_quantity(requests[name]) < parse_quantity(least):
            told = amount_text(requests[name], name)
            wrong.append(f"minimum {name} usage per {scope} is {least}, but request is {told}")
    for name, most in sorted((item.get("max") or {}).items()):
        if name not in limits:
            wrong.append(f"maximum {name} usage per {scope} is {most}.  No limit is specified")
        elif parse_quantity(limits[name]) > parse_quantity(most):
            wrong.append(
                f"maximum {name} usage per {scope} is {most}, but limit is {amount_text(limits[name], name)}"
            )
    for name, ratio in sorted((item.get("maxLimitRequestRatio") or {}).items()):
        if name in limits and name in requests and parse_quantity(requests[name]):
            actual = parse_quantity(limits[name]) / parse_quantity(requests[name])
            if actual > parse_quantity(ratio):
                wrong.append(
                    f"{name} max limit to request ratio per {scope} is {ratio}, but provided ratio is"
                    f" {actual:.6f}"
                )
    return wrong


def quota_use(specs: Iterable[Object], hard: Object) -> dict[str, Decimal]:
    """How much of each resource of a quota the pods take."""
    used = dict.fromkeys(hard, Decimal(0))
    for spec in specs:
        for name in hard:
            used[name] += _charge(spec, name)
    return used


def within_quotas(pod: str, spec: Object, quotas: list[Object], running: list[Object]) -> None:
    """Raises ApiError 403 for a pod that a quota has no room for, or that names none of what it counts."""
    for quota in quotas:
        name = quota["metadata"]["name"]
        hard = {key: value for key, value in (quota["spec"].get("hard") or {}).items() if _counts(key)}
        for key in hard:
            block, _, resource = key.rpartition(".")
            if key != "pods" and any(
                resource not in ((each.get("resources") or {}).get(block or "requests") or {})
                for each in spec.get("containers", [])
            ):
                names = ",".join(each["name"] for each in spec["containers"])
                raise forbidden("pods", pod, f"failed quota: {name}: must specify {key} for: {names}")
        used = quota_use(running, hard)
        over = [key for key in sorted(hard) if used[key] + _charge(spec, key) > parse_quantity(hard[key])]
        if over:
            asked = ",".join(f"{key}={amount_text(_charge(spec, key), key)}" for key in over)
            taken = ",".join(f"{key}={amount_text(used[key], key)}" for key in over)
            limit = ",".join(f"{key}={hard[key]}" for key in over)
            told = f"exceeded quota: {name}, requested: {asked}, used: {taken}, limited: {limit}"
            raise forbidden("pods", pod, told)


def _counts(key: str) -> bool:
    return key in ("pods", "cpu", "memory") or key.startswith(("requests.", "limits."))


def _charge(spec: Object, key: str) -> Decimal:
    if key == "pods":
        return Decimal(1)
    block, _, resource = key.rpartition(".")
    return total(spec, block or "requests", resource)


def amount_text(value: Decimal | str, resource: str) -> str:
    amount = parse_quantity(str(value))
    binary = resource.endswith("memory") and amount % 1024 == 0
    return canonical_quantity(f"{amount / 1024:f}Ki" if binary else f"{amount:f}")


def _items(limit_ranges: Iterable[Object], scope: str) -> Iterable[Object]:
    for limit_range in limit_ranges:
        for item in limit_range["spec"].get("limits") or []:
            if item.get("type") == scope:
                yield item
