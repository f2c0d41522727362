"""Argo CD: which Application deploys what from where, and how its last sync went. Read only.

API: github.com/argoproj/argo-cd, assets/swagger.json. Since version 3 a list of Applications leaves out the
resources' health; only a single Application has it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol
from urllib.parse import quote

from shared.contracts.errors import Temporary, Throttled

_CONNECT_SECONDS = 3.0

# Where Argo CD's own manifests put it; Applications elsewhere ("in any namespace") may share a name.
DEFAULT_NAMESPACE = "argocd"

JsonObject = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """Where manifests come from: `path` within a repository at a branch, tag or commit."""

    repo_url: str
    path: str
    target_revision: str


@dataclass(frozen=True)
class ResourceRef:
    """An object that an Application manages; `health` is empty where Argo CD does not tell."""

    group: str
    kind: str
    namespace: str
    name: str
    sync_status: str = ""
    health: str = ""
    health_message: str = ""


@dataclass(frozen=True)
class Operation:
    """The last sync. `phase` is Running, Terminating, Succeeded, Failed or Error.

    A failed sync that will be tried again is Running with `finished_at` set. `revisions` are the commits it
    synced to, one for each source; empty where it did not get so far.
    """

    phase: str
    message: str
    revisions: tuple[str, ...]
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def revision(self) -> str | None:
        return self.revisions[0] if self.revisions else None


@dataclass(frozen=True)
class Application:
    """An Application as Argo CD last compared it.

    `sync_revisions` are the commits of that comparison, one for each of `sources`: where `sync_status` is
    Synced, the cluster is as they say. `conditions` are what Argo CD complains of, as `Type: message`.
    """

    name: str
    project: str
    namespace: str
    sources: tuple[Source, ...]
    resources: tuple[ResourceRef, ...]
    sync_status: str
    sync_revisions: tuple[str, ...]
    health: str
    health_message: str
    operation: Operation | None
    ignore_differences: tuple[JsonObject, ...] = ()
    sync_options: tuple[str, ...] = ()
    automated: bool = False
    conditions: tuple[str, ...] = ()

    @property
    def qualified_name(self) -> str:
        """As Argo CD's command line has it: `namespace/name`, the default namespace left out."""
        own = self.namespace in ("", DEFAULT_NAMESPACE)
        return self.name if own else f"{self.namespace}/{self.name}"

    @property
    def source(self) -> Source:
        """The first source; most Applications have one."""
        return self.sources[0]

    @property
    def sync_revision(self) -> str | None:
        return self.sync_revisions[0] if self.sync_revisions else None


class ArgoCD(Protocol):
    """What the stages ask of Argo CD. Everything raises Temporary, or Throttled, when it cannot answer."""

    def applications(self) -> list[Application]: ...

    def application(
        self, name: str, project: str, namespace: str = "", *, refresh: bool = False
    ) -> Application | None:
        """None if there is none; `refresh` has it compared first. `namespace` "" is Argo CD's own."""
        ...

    def live_resources(self, name: str, project: str, namespace: str = "") -> list[JsonObject]:
        """The managed Kubernetes objects as they live; none if there is no such Application."""
        ...

    def can_sync(self, name: str, project: str, namespace: str = "") -> bool:
        """Whether no sync window forbids a sync now; False if there is no such Application."""
        ...


def owner_of(applications: Iterable[Application], kind: str, namespace: str, name: str) -> Application | None:
    """The Application that manages a workload; None if none does, or if several claim it."""
    wanted = (kind, namespace, name)
    owners = [
        application
        for application in applications
        if wanted in {(one.kind, one.namespace, one.name) for one in application.resources}
    ]
    return owners[0] if len(owners) == 1 else None


class HttpArgoCD:
    """See ArgoCD.

    Args:
        url: of the API server, without /api.
        token: of an account that may `get` applications.
        read_timeout: seconds; a refresh compares before it answers.
    """

    def __init__(self, url: str, token: str, *, read_timeout: float = 15.0) -> None:
        # Here and not above: who only decides with what Argo CD says loads no client.
        import requests  # noqa: PLC0415

        self._url = url.rstrip("/")
        self._timeout = (_CONNECT_SECONDS, read_timeout)
        self._session = requests.Session()
        self._session.headers.update({"Authorization": f"Bearer {token}", "Accept": "application/json"})

    def applications(self) -> list[Application]:
        """See ArgoCD."""
        answer = self._get("/api/v1/applications") or {}
        return [_application(item) for item in answer.get("items") or []]

    def application(
        self, name: str, project: str, namespace: str = "", *, refresh: bool = False
    ) -> Application | None:
        """See ArgoCD."""
        more = {"refresh": "normal"} if refresh else {}
        found = self._get_of(name, project, namespace, **more)
        return None if found is None else _application(found)

    def live_resources(self, name: str, project: str, namespace: str = "") -> list[JsonObject]:
        """See ArgoCD."""
        answer = self._get_of(name, project, namespace, "/managed-resources") or {}
        states = [json.loads(item.get("liveState") or "null") for item in answer.get("items") or []]
        return [state for state in states if state is not None]

    def can_sync(self, name: str, project: str, namespace: str = "") -> bool:
        """See ArgoCD."""
        answer = self._get_of(name, project, namespace, "/syncwindows") or {}
        return bool(answer.get("canSync"))

    def close(self) -> None:
        self._session.close()

    def _get_of(
        self, name: str, project: str, namespace: str, below: str = "", **more: str
    ) -> JsonObject | None:
        # With the project named, a missing Application is 404; without, it would be 403.
        parameters = {"project": project, **({"appNamespace": namespace} if namespace else {}), **more}
        return self._get(f"/api/v1/applications/{quote(name, safe='')}{below}", parameters)

    def _get(self, path: str, parameters: Mapping[str, str] | None = None) -> JsonObject | None:
        """The JSON document; None for 404."""
        import requests  # noqa: PLC0415

        what = f"Argo CD {self._url}{path}"
        ask = partial(self._session.get, self._url + path, params=parameters, timeout=self._timeout)
        try:
            try:
                answer = ask()
            except requests.ConnectionError:
                # Once more, for a kept connection that the server closed meanwhile; who hangs is not asked
                # to hang twice, and anything longer is KafkaSource's.
                answer = ask()
        except requests.RequestException as error:
            raise Temporary(f"{what}: {type(error).__name__}: {error}"[:400]) from error
        if answer.status_code == requests.codes.not_found and parameters is not None:
            return None
        try:
            document = answer.json()
        except ValueError:
            document = None
        if answer.ok and isinstance(document, dict):
            return document
        said = document.get("message") if isinstance(document, dict) else None
        raise _refusal(f"{what}: {answer.status_code} {said or answer.reason}", answer.status_code)


def _refusal(text: str, status: int) -> Temporary:
    """A wrong token is an operator's mistake, which heals: the event must outlive it."""
    if status == 429:
        return Throttled(text)
    if status == 401:
        return Temporary(f"{text}: ARGOCD_TOKEN is missing, wrong or expired")
    if status == 403:
        return Temporary(f"{text}: the account of ARGOCD_TOKEN may not get applications there")
    if 200 <= status < 400:
        return Temporary(f"{text}: this is not Argo CD's API; see ARGOCD_URL")
    return Temporary(text)


def _application(document: JsonObject) -> Application:
    metadata, spec, status = document["metadata"], document["spec"], document.get("status") or {}
    sync, health = status.get("sync") or {}, status.get("health") or {}
    policy = spec.get("syncPolicy") or {}
    automated = policy.get("automated")
    resources = tuple(_resource(one) for one in status.get("resources") or [])
    told = [f"{one.name}: {one.health_message}" for one in resources if _is_cause(one, health.get("status"))]
    return Application(
        name=metadata["name"],
        project=spec.get("project") or "default",
        namespace=metadata.get("namespace") or "",
        sources=tuple(_source(one) for one in spec.get("sources") or [spec.get("source") or {}]),
        resources=resources,
        sync_status=sync.get("status") or "Unknown",
        sync_revisions=_revisions(sync),
        health=health.get("status") or "Unknown",
        health_message=health.get("message") or "; ".join(told),
        operation=_operation(status.get("operationState")),
        ignore_differences=tuple(spec.get("ignoreDifferences") or ()),
        sync_options=tuple(policy.get("syncOptions") or ()),
        automated=automated is not None and automated.get("enabled", True),
        conditions=tuple(f"{one['type']}: {one['message']}" for one in status.get("conditions") or []),
    )


def _source(source: JsonObject) -> Source:
    return Source(
        repo_url=source.get("repoURL") or "",
        path=source.get("path") or "",
        target_revision=source.get("targetRevision") or "HEAD",
    )


def _resource(resource: JsonObject) -> ResourceRef:
    health = resource.get("health") or {}
    return ResourceRef(
        group=resource.get("group") or "",
        kind=resource["kind"],
        namespace=resource.get("namespace") or "",
        name=resource["name"],
        sync_status=resource.get("status") or "",
        health=health.get("status") or "",
        health_message=health.get("message") or "",
    )


def _is_cause(resource: ResourceRef, health: str | None) -> bool:
    """Whether the resource makes the Application as unwell as it is, and says how."""
    return health != "Healthy" and resource.health == health and bool(resource.health_message)


def _operation(state: JsonObject | None) -> Operation | None:
    if not state:
        return None
    result = state.get("syncResult") or {}
    asked = (state.get("operation") or {}).get("sync") or {}
    return Operation(
        phase=state.get("phase") or "",
        message=state.get("message") or "",
        # A sync that failed before it had rendered anything has no result, but was asked for a revision.
        revisions=_revisions(result) or _revisions(asked),
        started_at=_moment(state.get("startedAt")),
        finished_at=_moment(state.get("finishedAt")),
    )


def _revisions(document: JsonObject) -> tuple[str, ...]:
    """`revisions` of several sources, or the one `revision`."""
    return tuple(document.get("revisions") or ([document["revision"]] if document.get("revision") else []))


def _moment(text: str | None) -> datetime | None:
    return None if not text else datetime.fromisoformat(text)
