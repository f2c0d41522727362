"""The API server: Argo CD's HTTP interface over the controller, with its statuses and error bodies.

Shapes: github.com/argoproj/argo-cd, assets/swagger.json and server/application/application.go. Errors are
those of its gRPC gateway: `{"error", "code", "message"}` with the gRPC code.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from infra.standins.argocd import windows
from infra.standins.argocd.application import Application, Pair
from infra.standins.argocd.comparing import identity
from infra.standins.argocd.controller import Controller, NotFoundError, PreconditionError, WindowError
from infra.standins.argocd.health import health_of
from infra.standins.argocd.kube import Object, group_version
from infra.standins.argocd.render import RenderError

VERSION = "v3.2.0+standin"
_GRPC = {400: 3, 401: 16, 403: 7, 404: 5, 429: 8, 500: 13, 503: 14}  # HTTP status -> gRPC code
_FAILED_PRECONDITION = 9
_REQUIREMENT = re.compile(
    r"(?P<absent>!)?\s*(?P<label>[\w./-]+)\s*(?:(?P<operator>==?|!=)\s*(?P<value>[\w.-]*))?"
)


class ApiError(Exception):
    def __init__(self, status: int, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = _GRPC.get(status, 2) if code is None else code


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    body: dict[str, Any]
    authorized: bool

    def one(self, name: str) -> str:
        """A parameter, from the query or else the body; empty where it is not given."""
        values = self.query.get(name)
        return values[0] if values else str(self.body.get(name) or "")

    def projects(self) -> list[str]:
        return [*self.query.get("projects", []), *self.query.get("project", [])]


class Api:
    """Answers requests; knows nothing of sockets."""

    def __init__(self, controller: Controller, token: str) -> None:
        self._controller = controller
        self._token = token
        one = r"/api/v1/applications/(?P<name>[^/]+)"
        self._routes: list[tuple[str, re.Pattern[str], Callable[..., Any]]] = [
            ("GET", re.compile(r"/api/v1/applications"), self._list),
            ("GET", re.compile(one), self._get),
            ("POST", re.compile(one + "/sync"), self._sync),
            ("POST", re.compile(one + "/rollback"), self._rollback),
            ("GET", re.compile(one + "/resource-tree"), self._tree),
            ("GET", re.compile(one + "/managed-resources"), self._managed_resources),
            ("GET", re.compile(one + "/manifests"), self._manifests),
            ("GET", re.compile(one + "/syncwindows"), self._sync_windows),
            ("GET", re.compile(one + "/revisions/(?P<revision>[^/]+)/metadata"), self._revision),
        ]

    def permits(self, authorization: str) -> bool:
        return hmac.compare_digest(authorization.encode(), f"Bearer {self._token}".encode())

    def answer(self, request: Request) -> Any:
        """The JSON document for a request. Raises ApiError."""
        if request.path == "/api/version":
            return {"Version": VERSION}
        if request.path == "/healthz":
            return {"status": "ok"}
        if not request.authorized:
            raise ApiError(401, "no session information")
        for method, pattern, handler in self._routes:
            match = pattern.fullmatch(request.path)
            if match and method == request.method:
                arguments = {name: unquote(part) for name, part in match.groupdict().items()}
                return handler(request, **arguments)
        raise ApiError(404, "Not Found")

    def _find(self, request: Request, name: str) -> Application:
        """The Application, or Argo CD's way of not telling whether there is one."""
        projects = request.projects() or ([request.body["project"]] if request.body.get("project") else [])
        if len(projects) > 1:
            text = "multiple projects specified - the get endpoint accepts either zero or one project"
            raise ApiError(400, text)
        missing = ApiError(404, f'applications.argoproj.io "{name}" not found')
        try:
            application = self._controller.application(name, request.one("appNamespace"))
        except NotFoundError:
            raise (missing if projects else ApiError(403, "permission denied")) from None
        if projects and projects[0] != application.project:
            raise missing
        return application

    def _list(self, request: Request) -> Object:
        namespace, projects = request.one("appNamespace"), request.projects()
        selector = _selector(request.one("selector"))
        items = [
            _without_resource_health(application.document())
            for application in self._controller.applications()
            if (not namespace or application.namespace == namespace)
            and (not projects or application.project in projects)
            and selector(application.metadata.get("labels") or {})
        ]
        newest = max((int(item["metadata"]["resourceVersion"]) for item in items), default=0)
        return {"metadata": {"resourceVersion": str(newest)}, "items": items}

    def _get(self, request: Request, name: str) -> Object:
        application = self._find(request, name)
        refresh = request.one("refresh")
        if refresh:
            self._controller.refresh(name, application.namespace, hard=refresh == "hard")
        return application.document()

    def _sync(self, request: Request, name: str) -> Object:
        application = self._find(request, name)
        body = request.body
        revision = body.get("revision") or ""
        source = application.sources[0]
        target = source.get("targetRevision") or "HEAD"
        if revision and revision != target and application.automated is not None and not body.get("dryRun"):
            text = f"Cannot sync to {revision}: auto-sync currently set to {source.get('targetRevision', '')}"
            raise ApiError(400, text, _FAILED_PRECONDITION)
        try:
            commit = self._controller.repositories.resolve(source, revision or None)
        except RenderError as error:
            raise ApiError(400, f"error resolving repo revision: {error}", _FAILED_PRECONDITION) from error
        sync: dict[str, Any] = {"revision": commit}
        sync.update({part: body[part] for part in ("prune", "dryRun", "resources") if body.get(part)})
        retry = body.get("retryStrategy") or application.policy.get("retry")
        operation = {
            "sync": sync,
            "initiatedBy": {"username": "admin"},
            **({"retry": retry} if retry else {}),
        }
        return self._start(application, operation, in_window=True)

    def _rollback(self, request: Request, name: str) -> Object:
        application = self._find(request, name)
        if application.automated is not None:
            text = "rollback cannot be initiated when auto-sync is enabled"
            raise ApiError(400, text, _FAILED_PRECONDITION)
        wanted = int(request.body.get("id") or 0)
        history = application.status.get("history") or []
        entry = next((entry for entry in history if entry["id"] == wanted), None)
        if entry is None:
            instance = f"{application.namespace}/{application.name}"
            raise ApiError(400, f"application {instance} does not have deployment with id {wanted}")
        sync = {"revision": entry.get("revision", ""), "syncStrategy": {"apply": {}}}
        sync.update({part: request.body[part] for part in ("prune", "dryRun") if request.body.get(part)})
        operation = {"sync": sync, "initiatedBy": {"username": "admin"}}
        return self._start(application, operation, in_window=False)

    def _start(self, application: Application, operation: dict[str, Any], *, in_window: bool) -> Object:
        try:
            self._controller.request(application.name, application.namespace, operation, in_window=in_window)
        except PreconditionError as error:
            raise ApiError(400, str(error), _FAILED_PRECONDITION) from error
        except WindowError as error:
            raise ApiError(403, str(error)) from error
        return application.document()

    def _tree(self, request: Request, name: str) -> Object:
        application = self._find(request, name)
        live = self._controller.live_objects().values()
        nodes = [_node(pair.live or pair.target or {}, identity(pair)) for pair in application.pairs]
        parents = {node["uid"]: node for node in nodes if "uid" in node}
        remaining = [one for one in live if one["metadata"].get("ownerReferences")]
        grown = True
        while grown:  # a pod of a replica set of a deployment: one generation a round
            grown = False
            for child in list(remaining):
                owners = [o for o in child["metadata"]["ownerReferences"] if o.get("uid") in parents]
                if owners:
                    remaining.remove(child)
                    group, version = group_version(child)
                    parts = {"group": group, "version": version, "kind": child["kind"], **_named(child)}
                    node = _node(child, {part: text for part, text in parts.items() if text})
                    node["parentRefs"] = [_reference(parents[owner["uid"]]) for owner in owners]
                    nodes.append(node)
                    parents[node.get("uid", "")] = node
                    grown = True
        return {"nodes": nodes}

    def _managed_resources(self, request: Request, name: str) -> Object:
        application = self._find(request, name)
        filters = {
            part: request.one(part)
            for part in ("group", "kind", "namespace", "name")
            if part in request.query
        }
        return {
            "items": [
                _difference(pair)
                for pair in application.pairs
                if all(getattr(pair.key, part) == text for part, text in filters.items())
            ]
        }

    def _manifests(self, request: Request, name: str) -> Object:
        application = self._find(request, name)
        desired = self._controller.desired(application, request.one("revision") or None)
        if desired.error:
            raise ApiError(500, desired.error, 2)
        destination = application.spec.get("destination") or {}
        return {
            "manifests": [json.dumps(target) for target in desired.targets],
            "namespace": application.destination_namespace,
            "server": destination.get("server", ""),
            "revision": desired.revisions[0],
            "sourceType": desired.source_types[0] if desired.source_types else "",
        }

    def _sync_windows(self, request: Request, name: str) -> Object:
        assigned = self._controller.windows_of(self._find(request, name))
        now = self._controller.now()
        try:
            active, can_sync = windows.active(assigned, now), windows.can_sync(assigned, now, manual=True)
        except ValueError as error:
            raise ApiError(500, f"invalid sync windows: {error}", 2) from error
        answer: Object = {"canSync": can_sync}
        for part, chosen in (("activeWindows", active), ("assignedWindows", assigned)):
            if chosen:
                shown = ("kind", "schedule", "duration", "manualSync")
                answer[part] = [{name: window.get(name) for name in shown} for window in chosen]
        return answer

    def _revision(self, request: Request, name: str, revision: str) -> Object:
        application = self._find(request, name)
        try:
            return self._controller.repositories.metadata(application.sources[0], revision)
        except RenderError as error:
            raise ApiError(500, str(error), 2) from error


def _selector(text: str) -> Callable[[dict[str, str]], bool]:
    """A label selector of equalities and existence: `a=b,c!=d,e,!f`. Raises ApiError."""
    requirements: list[tuple[str, str | None, bool]] = []  # label, value (None: any), whether it must hold
    for part in filter(None, (one.strip() for one in text.split(","))):
        match = _REQUIREMENT.fullmatch(part)
        if match is None:
            raise ApiError(400, f"error parsing the selector: unable to parse requirement: {part}")
        requirements.append(
            (match["label"], match["value"], not match["absent"] and match["operator"] != "!=")
        )

    def meets(labels: dict[str, str]) -> bool:
        return all(
            (name in labels if value is None else labels.get(name) == value) == holds
            for name, value, holds in requirements
        )

    return meets


def _without_resource_health(document: Object) -> Object:
    """Since Argo CD 3 a list leaves resources' health in the resource tree; a single GET puts it back."""
    status = document["status"]
    if "resources" not in status:
        return document
    bare = [{k: v for k, v in one.items() if k != "health"} for one in status["resources"]]
    return {**document, "status": {**status, "resources": bare}}


def _named(one: Object) -> dict[str, str]:
    return {"namespace": one["metadata"].get("namespace", ""), "name": one["metadata"]["name"]}


def _node(one: Object, parts: dict[str, str]) -> Object:
    metadata = one.get("metadata") or {}
    node: Object = dict(parts)
    for field, name in (
        ("uid", "uid"),
        ("resourceVersion", "resourceVersion"),
        ("creationTimestamp", "createdAt"),
    ):
        if metadata.get(field):
            node[name] = metadata[field]
    health = health_of(one) if "uid" in node else None
    if health:
        node["health"] = {"status": health.status, **({"message": health.message} if health.message else {})}
    return node


def _reference(node: Object) -> Object:
    return {part: node[part] for part in ("group", "kind", "namespace", "name", "uid") if part in node}


def _difference(pair: Pair) -> Object:
    """An item of managed-resources; what is not there is the JSON text `null`, as in Argo CD."""
    shown: Object = {part: text for part, text in identity(pair).items() if part != "version"}
    shown.update(
        liveState=json.dumps(pair.live),
        targetState=json.dumps(pair.target),
        normalizedLiveState=json.dumps(pair.normalized_live or pair.live),
        predictedLiveState=json.dumps(pair.predicted),
        modified=pair.modified,
    )
    version = ((pair.live or {}).get("metadata") or {}).get("resourceVersion")
    return {**shown, "resourceVersion": version} if version else shown
