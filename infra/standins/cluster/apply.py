"""Server-side apply: what an object becomes when a field manager applies a configuration. Pure.

Maps merge field by field, lists with a known key item by item, all else is one value. What the same manager
applied before and now leaves out is removed, even if another manager applied it too (the one simplification);
what only others set stays. Conflicts are always forced, as Argo CD, the one client that applies, forces them.
https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

from infra.standins.cluster.kinds import Object, bad_request
from shared.contracts.quantities import parse_quantity

# The keys by which the API server's schema merges these lists; other lists are atomic.
_LIST_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "secrets": ("name",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
# Maps from a resource's name to a quantity, wherever they stand in the kinds that are served.
_QUANTITY_MAPS = frozenset(
    {"requests", "limits", "hard", "max", "min", "default", "defaultRequest", "maxLimitRequestRatio"}
)
_QUANTITY_TEXT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def merged(live: Any, before: Any, wanted: Any, field: str = "") -> Any:
    """`live` after a manager that applied `before` applies `wanted`."""
    if isinstance(live, dict) and isinstance(wanted, dict):
        before = before if isinstance(before, dict) else {}
        result = {name: value for name, value in live.items() if name in wanted or name not in before}
        for name, value in wanted.items():
            if value is None:
                result.pop(name, None)
            else:
                result[name] = merged(live.get(name), before.get(name), value, name)
        return result
    if isinstance(live, list) and isinstance(wanted, list) and (keys := _keys(field, live + wanted)):
        old = {_key(item, keys): item for item in before or []}
        new = {_key(item, keys): item for item in wanted}
        present = {_key(item, keys): item for item in live}
        kept = [key for key in present if key in new or key not in old]
        order = [key for key in new if key in present or key not in kept]
        order += [key for key in kept if key not in new]
        return [
            merged(present.get(key), old.get(key), new[key]) if key in new else present[key] for key in order
        ]
    return copy.deepcopy(wanted)


def _keys(field: str, items: list[Any]) -> tuple[str, ...]:
    if field == "ports":  # of a container, or of a Service
        port = "containerPort" if any("containerPort" in item for item in items) else "port"
        return (port, "protocol")
    return _LIST_KEYS.get(field, ())


def _key(item: Object, keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(item.get(key, "TCP" if key == "protocol" else None) for key in keys)


def merge_patched(target: Object, patch: Object) -> Object:
    """`target` after a JSON merge patch (RFC 7386)."""
    result = dict(target)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            inner = result.get(name)
            result[name] = merge_patched(inner if isinstance(inner, dict) else {}, value)
        else:
            result[name] = copy.deepcopy(value)
    return result


def canonical(value: Any, kind: str, field: str = "") -> Any:
    """The object with every quantity as the API server gives it back (`1000m` is `1`, `1024Mi` is `1Gi`).

    Raises:
        ApiError: 400, a quantity is malformed.
    """
    if isinstance(value, dict):
        if field in _QUANTITY_MAPS:
            return {name: canonical_quantity(part, kind) for name, part in value.items() if part is not None}
        return {name: canonical(part, kind, name) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [canonical(part, kind) for part in value]
    return value


def canonical_quantity(text: Any, kind: str = "Object") -> str:
    """https://pkg.go.dev/k8s.io/apimachinery/pkg/api/resource#Quantity, "canonical form"."""
    try:
        value = parse_quantity(text)
    except ValueError as error:
        raise bad_request(
            f'{kind} in version "v1" cannot be handled as a {kind}: {_QUANTITY_TEXT}'
        ) from error
    if value == 0:
        return "0"
    if str(text).endswith("i"):
        if value == value.to_integral_value():
            amount, power = int(value), 0
            while amount % 1024 == 0 and power < len(_BINARY) - 1:
                amount, power = amount // 1024, power + 1
            return f"{amount}{_BINARY[power]}"
        value = value.to_integral_value(rounding="ROUND_UP")
    for power in range(6, -4, -1):
        scaled = value / Decimal(1000) ** power
        if scaled == scaled.to_integral_value():
            return f"{int(scaled)}{_DECIMAL[power]}"
    raise bad_request(f'{kind} in version "v1" cannot be handled as a {kind}: {text!r} is finer than 1n')


_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = {6: "E", 5: "P", 4: "T", 3: "G", 2: "M", 1: "k", 0: "", -1: "m", -2: "u", -3: "n"}
