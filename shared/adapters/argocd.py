"""Argo CD: which Application deploys what from where, and how its last sync went. Read only.

API: github.com/argoproj/argo-cd, assets/swagger.json. Since version 3 a list of Applications leaves out the
resources' health; only a single Application has it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from urllib.parse import quote

from shared.contracts.argocd import Application, JsonObject, Operation, ResourceRef, Source
from shared.contracts.errors import Temporary, Throttled

_CONNECT_SECONDS = 3.0


class HttpArgoCD:
    """See ArgoCD.

    Args:
        url: of the API server, without /api.
        token: of an account that may `get` applications.
        read_timeout: seconds for a whole answer; a refresh compares before it answers.
    """

    def __init__(self, url: str, token: str, *, read_timeout: float = 15.0) -> None:
        # Here and not above: who only decides with what Argo CD says loads no client.
        import requests  # noqa: PLC0415

        from shared.adapters.bounded_requests import BoundedAdapter  # noqa: PLC0415

        self._url = url.rstrip("/")
        self._timeout = (_CONNECT_SECONDS, read_timeout)
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, BoundedAdapter())
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
        # Loaded with the client, as above.
        import requests  # noqa: PLC0415
        from urllib3.exceptions import ReadTimeoutError  # noqa: PLC0415

        what = f"Argo CD {self._url}{path}"
        ask = partial(self._session.get, self._url + path, params=parameters, timeout=self._timeout)
        try:
            try:
                answer = ask()
            except requests.ConnectionError as error:
                # Once more, for a kept connection that the server closed meanwhile; who hangs, be it in the
                # midst of a body, is not asked to hang twice, and anything longer is KafkaSource's.
                if isinstance(next(iter(error.args), None), ReadTimeoutError):
                    raise
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
