"""Requests and limits of containers in manifests, in base units."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from functions.gitops.layers import LISTS, Field, NotLocated, Target
from shared.contracts.events import ContainerProposal, Resources
from shared.contracts.quantities import format_cpu, format_memory, parse_cpu, parse_memory

ATTRIBUTE: dict[Field, str] = {
    ("requests", "cpu"): "cpu_request_m",
    ("requests", "memory"): "memory_request_bytes",
    ("limits", "cpu"): "cpu_limit_m",
    ("limits", "memory"): "memory_limit_bytes",
}
PARSE: dict[str, Callable[[Any], int]] = {"cpu": parse_cpu, "memory": parse_memory}
FORMAT: dict[str, Callable[[int], str]] = {"cpu": format_cpu, "memory": format_memory}


def value_of(resources: Resources, field: Field) -> int | None:
    found: int | None = getattr(resources, ATTRIBUTE[field])
    return found


def shown(field: Field, value: int | None) -> str:
    """As a manifest would say it; a dash for what is not set."""
    return "-" if value is None else FORMAT[field[1]](value)


def spelled(field: Field, value: int, old: object) -> str:
    """A value as its manifest's author would write it: in the unit of `old`, where that is exact.

    So `4000m` becomes `2000m`, not `2`, and `2048Mi` becomes `1024Mi`. `old` is the scalar that stands
    there, None if nothing does.
    """
    usual = FORMAT[field[1]](value)
    match = re.fullmatch(r"(\d+)(\.\d+)?(m|k|[MGTPE]|[KMGTPE]i)?", str(old).strip())
    if match is None:
        return usual
    _, decimals, unit = match.groups(default="")
    if field[1] == "cpu":
        if unit == "m":
            return f"{value}m"
        return f"{(Decimal(value) / 1000).normalize():f}" if decimals and not unit else usual
    if unit == "m":
        return usual
    size = parse_memory(f"1{unit}")
    return usual if value % size else f"{value // size}{unit}"


def containers_of(manifest: Mapping[str, Any], target: Target) -> Iterator[dict[str, Any]]:
    """The containers of a workload, init containers after the others."""
    spec: Any = manifest
    for key in target.pod_spec:
        spec = spec.get(key) if isinstance(spec, dict) else None
    for name in LISTS:
        listed = spec.get(name) if isinstance(spec, dict) else None
        yield from (item for item in listed or () if isinstance(item, dict))


def written(manifest: Mapping[str, Any], target: Target, container: str) -> Resources:
    """What a manifest says of a container.

    Raises:
        NotLocated: there is no such container, or a value is no quantity.
    """
    found = next((one for one in containers_of(manifest, target) if one.get("name") == container), None)
    if found is None:
        raise NotLocated(f"{target} has no container {container!r} in Git")
    return Resources.model_validate(
        {ATTRIBUTE[field]: _parsed(found, field, f"{target}, container {container}") for field in ATTRIBUTE}
    )


def scalar_of(manifest: Mapping[str, Any], target: Target, container: str, field: Field) -> object:
    """The scalar that a manifest has for a value, as it is written; None where it has none."""
    found = next((one for one in containers_of(manifest, target) if one.get("name") == container), {})
    group = (found.get("resources") or {}).get(field[0])
    return group.get(field[1]) if isinstance(group, dict) else None


def effective(resources: Resources) -> Resources:
    """With Kubernetes' own default: a request that is not set is as high as the limit."""
    return resources.model_copy(
        update={
            "cpu_request_m": _first(resources.cpu_request_m, resources.cpu_limit_m),
            "memory_request_bytes": _first(resources.memory_request_bytes, resources.memory_limit_bytes),
        }
    )


def with_values(
    manifest: Mapping[str, Any], target: Target, wanted: Mapping[str, Resources | None]
) -> dict[str, Any]:
    """A copy with the four values of each named container in base units: as they are, or as wanted.

    So two manifests can be compared whatever spelling their quantities have.
    """
    changed = copy.deepcopy(dict(manifest))
    for container in containers_of(changed, target):
        name = str(container.get("name"))
        if name not in wanted:
            continue
        resources = dict(container.get("resources") or {})
        values = wanted[name] or written(manifest, target, name)
        for field in ATTRIBUTE:
            group = dict(resources.get(field[0]) or {})
            value = value_of(values, field)
            if value is None:
                group.pop(field[1], None)
            else:
                group[field[1]] = value
            resources[field[0]] = group
        container["resources"] = {key: below for key, below in resources.items() if below}
    return changed


def differences(before: Resources, after: Resources) -> dict[Field, int | None]:
    return {
        field: value_of(after, field)
        for field in ATTRIBUTE
        if value_of(before, field) != value_of(after, field)
    }


def proposed(containers: tuple[ContainerProposal, ...]) -> dict[str, Resources | None]:
    return {container.name: container.proposed for container in containers}


def _parsed(container: Mapping[str, Any], field: Field, where: str) -> int | None:
    group = (container.get("resources") or {}).get(field[0]) or {}
    value = group.get(field[1]) if isinstance(group, dict) else None
    if value is None:
        return None
    try:
        return PARSE[field[1]](value)
    except ValueError as error:
        raise NotLocated(f"{where}: {'.'.join(field)}: {error}") from None


def _first(one: int | None, other: int | None) -> int | None:
    return other if one is None else one
