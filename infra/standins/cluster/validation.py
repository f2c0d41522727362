"""What the API server refuses of an object before it stores it, and what it fills in. Pure.

Only what a deployment tool meets in practice: names, required fields, quantities, requests above limits,
selectors, and the fields that may never change.
"""

from __future__ import annotations

import json
import re
from typing import Any

from infra.standins.cluster.apply import canonical
from infra.standins.cluster.jobs import parse_schedule
from infra.standins.cluster.kinds import WITH_PODS, Cause, Kind, Object, bad_request, invalid
from shared.contracts.quantities import parse_quantity

_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
_NAME_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character"
)
_STATEFULSET_MUTABLE = frozenset(
    {
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    }
)


def addressed(body: Any, kind: Kind, namespace: str, name: str) -> Object:
    """The object of a request, when it is what the path says. Raises ApiError 400."""
    if not isinstance(body, dict):
        raise bad_request("the object provided is unrecognized: it is no map")
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        raise bad_request("the object provided has no metadata")
    given = (body.get("apiVersion"), body.get("kind"))
    if given != (kind.api_version, kind.name):
        raise bad_request(
            f"the API version and kind in the data ({given[0]}, {given[1]}) do not match the expected ones"
            f" ({kind.api_version}, {kind.name})"
        )
    if metadata.get("name", name) != name:
        raise bad_request(
            f"the name of the object ({metadata.get('name')}) does not match the name on the URL ({name})"
        )
    if kind.namespaced and metadata.get("namespace", namespace) != namespace:
        raise bad_request(
            f"the namespace of the object ({metadata.get('namespace')}) does not match the namespace on the"
            f" request ({namespace})"
        )
    return body


# The type of every field that a controller reads, by its path below `spec`; `[]` goes into a list.
_SHAPES: dict[str, type] = {
    "replicas": int,
    "minReplicas": int,
    "maxReplicas": int,
    "minReadySeconds": int,
    "progressDeadlineSeconds": int,
    "revisionHistoryLimit": int,
    "successfulJobsHistoryLimit": int,
    "schedule": str,
    "selector": dict,
    "selector.matchLabels": dict,
    "strategy": dict,
    "strategy.rollingUpdate": dict,
    "updateStrategy": dict,
    "updateStrategy.rollingUpdate": dict,
    "scaleTargetRef": dict,
    "scaleTargetRef.kind": str,
    "scaleTargetRef.name": str,
    "metrics": list,
    "metrics[]": dict,
    "hard": dict,
    "limits": list,
    "limits[]": dict,
    "jobTemplate": dict,
    "jobTemplate.spec": dict,
    **{
        f"{root}template{path}": kind
        for root in ("", "jobTemplate.spec.")
        for path, kind in (
            ("", dict),
            (".metadata", dict),
            (".metadata.labels", dict),
            (".metadata.annotations", dict),
            (".spec", dict),
            (".spec.containers", list),
            (".spec.containers[]", dict),
            (".spec.containers[].name", str),
            (".spec.containers[].image", str),
            (".spec.containers[].resources", dict),
            (".spec.containers[].resources.requests", dict),
            (".spec.containers[].resources.limits", dict),
        )
    },
}
_GO = {int: "int32", str: "string", dict: "object", list: "array"}


def _shaped(value: Any, path: str, kind: Kind) -> None:
    """Raises ApiError 400 where a field is of another type than the API's."""
    wanted = _SHAPES.get(path)
    if wanted is not None and (not isinstance(value, wanted) or isinstance(value, bool)):
        found = {str: "string", bool: "bool", list: "array", dict: "object"}.get(type(value), "number")
        raise bad_request(
            f'{kind.name} in version "{kind.version}" cannot be handled as a {kind.name}: json: cannot'
            f" unmarshal {found} into Go struct field spec.{path} of type {_GO[wanted]}"
        )
    if isinstance(value, dict):
        for name, part in value.items():
            _shaped(part, f"{path}.{name}" if path else name, kind)
    elif isinstance(value, list):
        for part in value:
            _shaped(part, f"{path}[]", kind)


def defaulted(body: Object, kind: Kind) -> Object:
    """The object with canonical quantities and the defaults that its controllers rely on.

    Raises:
        ApiError: 400, a quantity is malformed or a field has the wrong type.
    """
    whole: Object = canonical(body, kind.name)
    spec = whole.get("spec", {})
    if not isinstance(spec, dict):
        raise bad_request(f"{kind.name} in version {kind.version} cannot be handled: spec is no map")
    _shaped(spec, "", kind)
    _default_rollout(kind.name, spec)
    if kind.name == "HorizontalPodAutoscaler":
        spec.setdefault("minReplicas", 1)
    if kind.name == "LimitRange":
        for item in spec.get("limits") or []:
            _default_limits(item)
    if kind.name == "CronJob":
        spec.setdefault("suspend", False)
        spec.setdefault("concurrencyPolicy", "Allow")
        spec.setdefault("successfulJobsHistoryLimit", 3)
    if kind.name in (*WITH_PODS, "HorizontalPodAutoscaler", "LimitRange", "ResourceQuota", "CronJob"):
        whole["spec"] = spec
    return whole


def _default_rollout(kind: str, spec: Object) -> None:
    if kind in ("Deployment", "StatefulSet"):
        spec.setdefault("replicas", 1)
        spec.setdefault("revisionHistoryLimit", 10)
    if kind == "Deployment":
        spec.setdefault("progressDeadlineSeconds", 600)
        strategy = spec.setdefault("strategy", {})
        if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", "25%")
            rolling.setdefault("maxSurge", "25%")
    if kind == "StatefulSet":
        spec.setdefault("podManagementPolicy", "OrderedReady")
    if kind in ("StatefulSet", "DaemonSet"):
        strategy = spec.setdefault("updateStrategy", {})
        if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault(*(("partition", 0) if kind == "StatefulSet" else ("maxUnavailable", 1)))


def _default_limits(item: Object) -> None:
    """A maximum is also the default limit, and that (or else the minimum) the default request."""
    if item.get("type") != "Container":
        return
    limits = {**(item.get("max") or {}), **(item.get("default") or {})}
    requests = {**(item.get("min") or {}), **limits, **(item.get("defaultRequest") or {})}
    item.update(
        {name: values for name, values in (("default", limits), ("defaultRequest", requests)) if values}
    )


def check(kind: Kind, new: Object, old: Object | None) -> None:
    """Refuses what the API server refuses. Raises ApiError 422."""
    name = new["metadata"]["name"]
    causes: list[Cause] = []
    if not _NAME.match(name):
        causes.append(Cause("metadata.name", "FieldValueInvalid", f'Invalid value: "{name}": {_NAME_TEXT}'))
    spec = new.get("spec") or {}
    if kind.name in WITH_PODS:
        causes += _template(spec.get("template"), "spec.template")
    if kind.name == "CronJob":
        template = ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template")
        causes += _template(template, "spec.jobTemplate.spec.template")
        causes += _schedule(spec.get("schedule"))
    if kind.name in ("Deployment", "StatefulSet", "DaemonSet"):
        causes += _selector(spec)
    if kind.name == "HorizontalPodAutoscaler":
        causes += _autoscaler(spec)
    if spec.get("replicas", 0) < 0:
        told = f"Invalid value: {spec['replicas']}: must be greater than or equal to 0"
        causes.append(Cause("spec.replicas", "FieldValueInvalid", told))
    if old is not None:
        causes += _immutable(kind, spec, old.get("spec") or {})
    if causes:
        raise invalid(kind, name, causes)


def _immutable(kind: Kind, new: Object, old: Object) -> list[Cause]:
    if kind.name in ("Deployment", "DaemonSet") and new.get("selector") != old.get("selector"):
        told = f"Invalid value: {_as_go(new.get('selector') or {})}: field is immutable"
        return [Cause("spec.selector", "FieldValueInvalid", told)]
    if kind.name == "StatefulSet":
        changed = {key for key in new.keys() | old.keys() if new.get(key) != old.get(key)}
        if changed - _STATEFULSET_MUTABLE:
            fields = (
                "'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
                "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds'"
            )
            told = f"Forbidden: updates to statefulset spec for fields other than {fields} are forbidden"
            return [Cause("spec", "FieldValueForbidden", told)]
    if kind.name == "Job" and new.get("template") != old.get("template"):
        return [Cause("spec.template", "FieldValueInvalid", "Invalid value: field is immutable")]
    return []


def _schedule(schedule: str | None) -> list[Cause]:
    if not schedule:
        return [Cause("spec.schedule", "FieldValueRequired", "Required value")]
    try:
        parse_schedule(schedule)
    except ValueError as error:
        return [Cause("spec.schedule", "FieldValueInvalid", f'Invalid value: "{schedule}": {error}')]
    return []


def _autoscaler(spec: Object) -> list[Cause]:
    target = spec.get("scaleTargetRef") or {}
    causes = [
        Cause(f"spec.scaleTargetRef.{field}", "FieldValueRequired", "Required value")
        for field in ("kind", "name")
        if not target.get(field)
    ]
    if spec.get("maxReplicas", 0) < spec["minReplicas"]:
        told = f"Invalid value: {spec.get('maxReplicas', 0)}: must be greater than or equal to `minReplicas`"
        causes.append(Cause("spec.maxReplicas", "FieldValueInvalid", told))
    return causes


def _selector(spec: Object) -> list[Cause]:
    selector = spec.get("selector") or {}
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return [Cause("spec.selector", "FieldValueRequired", "Required value")]
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        shown = json.dumps(labels, sort_keys=True)
        told = f"Invalid value: {shown}: `selector` does not match template `labels`"
        return [Cause("spec.template.metadata.labels", "FieldValueInvalid", told)]
    return []


def _template(template: Any, path: str) -> list[Cause]:
    spec = template.get("spec") if isinstance(template, dict) else None
    containers = spec.get("containers") if isinstance(spec, dict) else None
    if not containers:
        return [Cause(f"{path}.spec.containers", "FieldValueRequired", "Required value")]
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, container in enumerate(containers):
        at = f"{path}.spec.containers[{index}]"
        name = container.get("name")
        if not name:
            causes.append(Cause(f"{at}.name", "FieldValueRequired", "Required value"))
        elif name in seen:
            causes.append(Cause(f"{at}.name", "FieldValueDuplicate", f'Duplicate value: "{name}"'))
        seen.add(name)
        if not container.get("image"):
            causes.append(Cause(f"{at}.image", "FieldValueRequired", "Required value"))
        causes += _resources(container.get("resources") or {}, f"{at}.resources")
    return causes


def _resources(resources: Object, path: str) -> list[Cause]:
    causes = []
    limits = resources.get("limits") or {}
    for resource, request in (resources.get("requests") or {}).items():
        limit = limits.get(resource)
        if limit is not None and parse_quantity(request) > parse_quantity(limit):
            told = f'Invalid value: "{request}": must be less than or equal to {resource} limit of {limit}'
            causes.append(Cause(f"{path}.requests", "FieldValueInvalid", told))
    return causes


def _as_go(selector: Object) -> str:
    """A label selector as the API server's messages print it."""
    labels = selector.get("matchLabels") or {}
    inner = ", ".join(f'"{key}":"{labels[key]}"' for key in sorted(labels))
    expressions = "[]v1.LabelSelectorRequirement(nil)"
    return f"v1.LabelSelector{{MatchLabels:map[string]string{{{inner}}}, MatchExpressions:{expressions}}}"
