"""The kinds that the cluster serves, and the errors of a Kubernetes API server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of object: where it is served, and whether clients may write it or only read."""

    group: str
    version: str
    name: str
    plural: str
    namespaced: bool = True
    writable: bool = True
    short_names: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """As the API server names it in messages: `Deployment.apps`, `Service`."""
        return f"{self.name}.{self.group}" if self.group else self.name

    @property
    def resource(self) -> str:
        """As the API server names it in messages: `deployments.apps`, `services`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


KINDS = (
    Kind("", "v1", "Namespace", "namespaces", namespaced=False, short_names=("ns",)),
    Kind("", "v1", "Node", "nodes", namespaced=False, writable=False, short_names=("no",)),
    Kind("", "v1", "ConfigMap", "configmaps", short_names=("cm",)),
    Kind("", "v1", "LimitRange", "limitranges", short_names=("limits",)),
    Kind("", "v1", "Pod", "pods", writable=False, short_names=("po",)),
    Kind("", "v1", "ResourceQuota", "resourcequotas", short_names=("quota",)),
    Kind("", "v1", "Service", "services", short_names=("svc",)),
    Kind("", "v1", "ServiceAccount", "serviceaccounts", short_names=("sa",)),
    Kind("apps", "v1", "DaemonSet", "daemonsets", short_names=("ds",)),
    Kind("apps", "v1", "Deployment", "deployments", short_names=("deploy",)),
    Kind("apps", "v1", "ReplicaSet", "replicasets", writable=False, short_names=("rs",)),
    Kind("apps", "v1", "StatefulSet", "statefulsets", short_names=("sts",)),
    Kind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", short_names=("hpa",)),
    Kind("batch", "v1", "CronJob", "cronjobs", short_names=("cj",)),
    Kind("batch", "v1", "Job", "jobs"),
    Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", short_names=("pdb",)),
)
BY_PLURAL = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}
BY_NAME = {(kind.api_version, kind.name): kind for kind in KINDS}
WITH_PODS = ("Deployment", "StatefulSet", "DaemonSet", "Job")


class ApiError(Exception):
    """An answer of the API server that is no success: an HTTP code and a `Status` object."""

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or {}

    def status(self) -> Object:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.code,
        }


def not_served() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def not_found(kind: Kind, name: str) -> ApiError:
    details = {"name": name, "group": kind.group, "kind": kind.plural}
    return ApiError(404, "NotFound", f'{kind.resource} "{name}" not found', _without_empty(details))


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def forbidden(resource: str, name: str, why: str) -> ApiError:
    message = f'{resource} "{name}" is forbidden: {why}'
    return ApiError(403, "Forbidden", message, {"name": name, "kind": resource})


@dataclass(frozen=True)
class Cause:
    """One field that is wrong: its path, the reason of a `StatusCause`, and the message after the path."""

    field: str
    reason: str
    message: str


def invalid(kind: Kind, name: str, causes: list[Cause]) -> ApiError:
    told = [f"{cause.field}: {cause.message}" for cause in causes]
    listed = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    details = {
        "name": name,
        "group": kind.group,
        "kind": kind.name,
        "causes": [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes],
    }
    message = f'{kind.qualified} "{name}" is invalid: {listed}'
    return ApiError(422, "Invalid", message, _without_empty(details))


def _without_empty(details: Object) -> Object:
    return {key: value for key, value in details.items() if value != ""}
