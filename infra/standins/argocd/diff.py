"""Does a live object differ from its manifest? Pure: two objects in, the prediction out.

As Argo CD does it: the manifest is merged into the live object, three ways (what was applied last, what is
wanted, what lives); where the merge changes nothing, the object is in sync. Fields that the cluster adds by
itself therefore do not count, and equal quantities (`1000m` and `1`) are equal.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from typing import Any

from shared.contracts.quantities import parse_quantity

Object = dict[str, Any]

TRACKING_ANNOTATION = "argocd.argoproj.io/tracking-id"

# Lists that Kubernetes merges by a key: field -> keys to try. Any other list is one value.
# https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy
_MERGE_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "ports": ("containerPort", "port"),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey",),
}
_QUANTITIES = frozenset({"requests", "limits", "hard", "capacity", "max", "min", "default", "defaultRequest"})


class IgnoreRuleError(ValueError):
    """An ignoreDifferences entry that this stand-in cannot follow."""


def predict(applied: Object | None, target: Object, live: Object) -> Object:
    """The live object as applying `target` would leave it; `applied` is what was applied last, if known."""
    wanted = {name: part for name, part in _pruned(target).items() if name != "status"}
    merged: Object = _merge(applied or {}, wanted, live, "")
    return merged


def differs(predicted: Object, live: Object) -> bool:
    """Whether applying would change anything, the tracking annotation apart (Argo CD leaves it out too)."""
    return _untracked(predicted) != _untracked(live)


def _untracked(value: Object) -> Object:
    metadata = dict(value.get("metadata") or {})
    annotations = {
        k: v for k, v in (metadata.pop("annotations", None) or {}).items() if k != TRACKING_ANNOTATION
    }
    return {**value, "metadata": {**metadata, **({"annotations": annotations} if annotations else {})}}


def _pruned(value: Any) -> Any:
    """Without nulls, which the API server does not store."""
    if isinstance(value, dict):
        return {name: _pruned(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_pruned(part) for part in value]
    return value


def _merge(applied: Any, target: Any, live: Any, field: str) -> Any:
    if isinstance(target, dict) and isinstance(live, dict):
        applied = applied if isinstance(applied, dict) else {}
        merged = {name: part for name, part in live.items() if name in target or name not in applied}
        for name, wanted in target.items():
            if name in live:
                inner = field if field in _QUANTITIES else name
                merged[name] = _merge(applied.get(name), wanted, live[name], inner)
            elif wanted not in ({}, []):
                merged[name] = copy.deepcopy(wanted)
        return merged
    if isinstance(target, list) and isinstance(live, list):
        return _merge_list(applied if isinstance(applied, list) else [], target, live, field)
    return live if _same(target, live, field) else target


def _merge_list(applied: list[Any], target: list[Any], live: list[Any], field: str) -> list[Any]:
    key = _merge_key(field, [*target, *live])
    if key is None:
        if len(target) != len(live):
            return target
        return [_merge(None, wanted, there, field) for wanted, there in zip(target, live, strict=True)]
    wanted_by = {item[key]: item for item in target}
    applied_by = {item[key]: item for item in applied if isinstance(item, dict) and key in item}
    merged = []
    for there in live:
        if there[key] in wanted_by:
            wanted = wanted_by.pop(there[key])
            merged.append(_merge(applied_by.get(there[key]), wanted, there, ""))
        elif there[key] not in applied_by:
            merged.append(there)
    return [*merged, *copy.deepcopy(list(wanted_by.values()))]


def _merge_key(field: str, items: list[Any]) -> str | None:
    for key in _MERGE_KEYS.get(field, ()):
        if items and all(isinstance(item, dict) and key in item for item in items):
            return key
    return None


def _same(one: Any, other: Any, field: str) -> bool:
    if one == other:
        return True
    if field not in _QUANTITIES:
        return False
    try:
        return parse_quantity(one) == parse_quantity(other)
    except ValueError:
        return False


def without_ignored(value: Object, rules: Iterable[Object]) -> Object:
    """`value` without the fields that the matching ignoreDifferences rules name.

    Raises:
        IgnoreRuleError: a rule uses what this stand-in does not follow.
    """
    pointers = [pointer for rule in rules if _matches(rule, value) for pointer in _pointers(rule)]
    if not pointers:
        return value
    result = copy.deepcopy(value)
    for pointer in pointers:
        _remove(result, pointer)
    return result


def keep_live(target: Object, live: Object, rules: Iterable[Object]) -> Object:
    """`target` with the ignored fields as they live: what RespectIgnoreDifferences=true makes of a sync.

    Raises:
        IgnoreRuleError: a rule uses what this stand-in does not follow.
    """
    pointers = [pointer for rule in rules if _matches(rule, target) for pointer in _pointers(rule)]
    if not pointers:
        return target
    result = copy.deepcopy(target)
    for pointer in pointers:
        _carry(live, result, pointer)
    return result


def _carry(live: Any, target: Any, path: list[Step]) -> None:
    """Makes `target` at `path` what `live` is there."""
    first, *rest = path
    if isinstance(live, list) and isinstance(target, list):
        for index in _chosen(first, min(len(live), len(target))):
            if rest:
                _carry(live[index], target[index], rest)
            else:
                target[index] = copy.deepcopy(live[index])
    elif isinstance(live, dict) and isinstance(target, dict) and isinstance(first, str):
        if rest:
            if first in live and first in target:
                _carry(live[first], target[first], rest)
        elif first in live:
            target[first] = copy.deepcopy(live[first])
        else:
            target.pop(first, None)


def _matches(rule: Object, value: Object) -> bool:
    metadata = value.get("metadata") or {}
    group = str(value.get("apiVersion", "")).rpartition("/")[0]
    return (
        rule.get("kind") in {value.get("kind"), "*"}
        and rule.get("group", "") in {group, "*"}
        and rule.get("name") in {None, "", metadata.get("name")}
        and rule.get("namespace") in {None, "", metadata.get("namespace")}
    )


Step = str | int | None  # a name, an index, or every element


def _pointers(rule: Object) -> list[list[Step]]:
    if rule.get("managedFieldsManagers"):
        raise IgnoreRuleError("ignoreDifferences: managedFieldsManagers is not followed by this stand-in")
    plain = [_json_pointer(text) for text in rule.get("jsonPointers") or []]
    return plain + [_jq_path(text) for text in rule.get("jqPathExpressions") or []]


def _json_pointer(text: str) -> list[Step]:
    return [part.replace("~1", "/").replace("~0", "~") for part in text.lstrip("/").split("/")]


_JQ_STEP = re.compile(r"""\.?(?:"(?P<quoted>[^"]+)"|(?P<name>[A-Za-z_]\w*)|\[(?P<index>\d*)\])\??""")


def _jq_path(text: str) -> list[Step]:
    """Plain paths only: `.spec.template.spec.containers[].resources`; filters are refused."""
    steps: list[Step] = []
    at = 0
    while at < len(text):
        match = _JQ_STEP.match(text, at)
        if match is None:
            raise IgnoreRuleError(f"ignoreDifferences: this stand-in follows plain paths only, not {text!r}")
        if match["index"] is None:
            steps.append(match["quoted"] or match["name"])
        else:
            steps.append(int(match["index"]) if match["index"] else None)
        at = match.end()
    return steps


def _remove(value: Any, path: list[Step]) -> None:
    first, *rest = path
    if isinstance(value, list):
        for index in reversed(_chosen(first, len(value))):
            if rest:
                _remove(value[index], rest)
            else:
                del value[index]
    elif isinstance(value, dict) and isinstance(first, str) and first in value:
        if rest:
            _remove(value[first], rest)
        else:
            del value[first]


def _chosen(step: Step, length: int) -> list[int]:
    if step is None:
        return list(range(length))
    return [int(step)] if str(step).isdigit() and int(step) < length else []
