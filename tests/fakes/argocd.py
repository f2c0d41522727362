"""Argo CD in memory: Applications that a test sets, and the live objects below them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from shared.adapters.argocd import Application, JsonObject
from shared.contracts.errors import Temporary


class FakeArgoCD:
    """Keeps Applications by name. `on_refresh` is what a refresh finds out, by name."""

    def __init__(self, *applications: Application) -> None:
        self.by_name = {application.name: application for application in applications}
        self.on_refresh: dict[str, Application] = {}
        self.live: dict[str, list[JsonObject]] = {}
        self.closed_windows: set[str] = set()
        self.down = False

    def put(self, application: Application, live: Iterable[JsonObject] | None = None) -> None:
        self.by_name[application.name] = application
        if live is not None:
            self.live[application.name] = list(live)

    def applications(self) -> list[Application]:
        self._answer()
        # As in Argo CD 3: the resources' health is told of a single Application only.
        return [
            replace(one, resources=tuple(replace(r, health="", health_message="") for r in one.resources))
            for _, one in sorted(self.by_name.items())
        ]

    def application(
        self, name: str, project: str, namespace: str = "", *, refresh: bool = False
    ) -> Application | None:
        self._answer()
        if refresh and name in self.on_refresh:
            self.by_name[name] = self.on_refresh.pop(name)
        return self._find(name, project, namespace)

    def live_resources(self, name: str, project: str, namespace: str = "") -> list[JsonObject]:
        self._answer()
        return list(self.live.get(name, ())) if self._find(name, project, namespace) else []

    def can_sync(self, name: str, project: str, namespace: str = "") -> bool:
        self._answer()
        return self._find(name, project, namespace) is not None and name not in self.closed_windows

    def _find(self, name: str, project: str, namespace: str) -> Application | None:
        found = self.by_name.get(name)
        if found is None or found.project != project or namespace not in {"", found.namespace}:
            return None
        return found

    def _answer(self) -> None:
        if self.down:
            raise Temporary("Argo CD: ConnectionError: down")
