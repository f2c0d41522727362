"""The cluster over HTTP: a small part of the Kubernetes API, and the two metrics pages."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

import yaml
from werkzeug.wrappers import Request, Response

from infra.standins.cluster import cadvisor, kube_state
from infra.standins.cluster.cluster import Cluster
from infra.standins.cluster.kinds import BY_PLURAL, KINDS, ApiError, Kind, Object, bad_request, not_served
from infra.standins.cluster.metrics import exposition

_APPLY = ("application/apply-patch+yaml", "application/apply-patch+cbor", "application/json")
_MERGE = ("application/merge-patch+json", "application/strategic-merge-patch+json")
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
Environ = dict[str, Any]


class Application:
    """A WSGI application. `clock` gives the live time in Unix seconds."""

    def __init__(self, cluster: Cluster, clock: Callable[[], float] = time.time) -> None:
        self._cluster = cluster
        self._clock = clock

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        try:
            with self._cluster.lock:
                self._cluster.advance(self._clock())
                response = self._answer(request)
        except ApiError as error:
            response = _json(error.status(), error.code)
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        path = request.path.strip("/").split("/")
        if path == ["metrics", "cadvisor"]:
            page = exposition(cadvisor.rows(self._cluster), cadvisor.SOURCE)
            return Response(page, content_type=_TEXT)
        if path == ["metrics", "kube-state-metrics"]:
            page = exposition(kube_state.rows(self._cluster), kube_state.SOURCE)
            return Response(page, content_type=_TEXT)
        if path[0] in ("healthz", "livez", "readyz"):
            return Response("ok", content_type="text/plain")
        if path == ["version"]:
            return _json({"major": "1", "minor": "33", "gitVersion": "v1.33.0-standin"})
        if path[0] not in ("api", "apis"):
            raise not_served()
        return self._resource(request, path)

    def _resource(self, request: Request, path: list[str]) -> Response:
        group, rest = ("", path[1:]) if path[0] == "api" else ("/".join(path[1:2]), path[2:])
        if path == ["api"]:
            return _json({"kind": "APIVersions", "versions": ["v1"]})
        if path == ["apis"]:
            return _json(_groups())
        version, rest = "/".join(rest[:1]), rest[1:]
        if not rest:
            return _json(_discovery(group, version))
        namespace: str | None = None
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        kind = BY_PLURAL.get((group, version, rest[0]))
        if kind is None or len(rest) > 2 or (namespace and not kind.namespaced):
            raise not_served()
        if len(rest) == 1:
            return self._collection(request, kind, namespace)
        if kind.namespaced and namespace is None:
            raise not_served()
        return self._object(request, kind, namespace or "", rest[1])

    def _collection(self, request: Request, kind: Kind, namespace: str | None) -> Response:
        if request.method == "GET":
            selector = _selector(request.args.get("labelSelector", ""))
            items = [each for each in self._cluster.shown(kind, namespace) if selector(each)]
            return _json(
                {"apiVersion": kind.api_version, "kind": f"{kind.name}List", "metadata": {}, "items": items}
            )
        if request.method == "POST" and kind.writable:
            body = _body(request)
            name = str(body.get("metadata", {}).get("name") or "")
            if not name:
                raise bad_request("name is required")
            if self._cluster.find(kind.name, namespace or "", name):
                message = f'{kind.resource} "{name}" already exists'
                raise ApiError(409, "AlreadyExists", message, {"name": name, "kind": kind.plural})
            manager = request.args.get("fieldManager", "unknown")
            return _json(self._cluster.apply(kind, namespace or "", name, body, manager)[0], 201)
        raise _not_allowed()

    def _object(self, request: Request, kind: Kind, namespace: str, name: str) -> Response:
        if request.method == "GET":
            return _json(self._cluster.get(kind, namespace, name))
        if request.method == "DELETE" and (kind.writable or kind.name == "Pod"):
            return _json(self._cluster.delete(kind, namespace, name))
        if request.method != "PATCH" or not kind.writable:
            raise _not_allowed()
        if request.mimetype in _MERGE:
            return _json(self._cluster.patch(kind, namespace, name, _body(request)))
        if request.mimetype not in _APPLY:
            told = f"the body of the request was in an unknown format - accepted media types: {_APPLY[0]}"
            raise ApiError(415, "UnsupportedMediaType", told)
        manager = request.args.get("fieldManager", "")
        if not manager:
            raise bad_request("PatchOptions.meta.k8s.io is invalid: fieldManager: Required value")
        dry_run = request.args.get("dryRun") == "All"
        found, new = self._cluster.apply(kind, namespace, name, _body(request), manager, dry_run=dry_run)
        return _json(found, 201 if new else 200)


def _body(request: Request) -> Object:
    data = request.get_data()
    try:
        body = json.loads(data) if data.startswith(b"{") else yaml.safe_load(data)
    except (yaml.YAMLError, ValueError) as error:
        raise bad_request(f"error decoding the body: {' '.join(str(error).split())}") from error
    if not isinstance(body, dict):
        raise bad_request("error decoding the body: it is no map")
    return body


def _selector(text: str) -> Callable[[Object], bool]:
    """Equality selectors: `a=b,c!=d,e,!f`."""
    parts = [part.strip() for part in text.split(",") if part.strip()]

    def matches(body: Object) -> bool:
        labels = body["metadata"].get("labels") or {}
        for part in parts:
            name, unequal, value = part.partition("!=")
            if unequal and labels.get(name.strip()) == value.strip():
                return False
            if unequal:
                continue
            name, equal, value = part.replace("==", "=").partition("=")
            if equal and labels.get(name.strip()) != value.strip():
                return False
            if not equal and (name[1:] in labels if name.startswith("!") else name not in labels):
                return False
        return True

    return matches


def _discovery(group: str, version: str) -> Object:
    served = [kind for kind in KINDS if (kind.group, kind.version) == (group, version)]
    if not served:
        raise not_served()
    resources = [
        {
            "name": kind.plural,
            "singularName": kind.name.lower(),
            "namespaced": kind.namespaced,
            "kind": kind.name,
            "verbs": ["get", "list", *(["create", "patch", "delete"] if kind.writable else [])],
            "shortNames": list(kind.short_names),
        }
        for kind in served
    ]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": served[0].api_version,
        "resources": resources,
    }


def _groups() -> Object:
    groups = []
    for name in sorted({kind.group for kind in KINDS if kind.group}):
        version = next(kind.version for kind in KINDS if kind.group == name)
        entry = {"groupVersion": f"{name}/{version}", "version": version}
        groups.append({"name": name, "versions": [entry], "preferredVersion": entry})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _not_allowed() -> ApiError:
    told = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", told)


def _json(body: Object, code: int = 200) -> Response:
    return Response(json.dumps(body), status=code, content_type="application/json")
