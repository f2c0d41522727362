"""Argo CD in memory: Applications that a test sets, and the live objects below them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from shared.contracts.argocd import Application, JsonObject
from shared.contracts.errors import Temporary


class FakeArgoCD:
    """Keeps Applications by qualified name, as all that is kept by name here.

    `on_refresh` is what a refresh finds out; one that `hangs` answers no refresh. `asked` are the names of
    refreshes in their order.
    """

    def __init__(self, *applications: Application) -> None:
        self.by_name = {application.qualified_name: application for application in applications}
        self.on_refresh: dict[str, Application] = {}
        self.live: dict[str, list[JsonObject]] = {}
        self.closed_windows: set[str] = set()
        self.down = False
        self.hangs: set[str] = set()
        self.asked: list[str] = []

    def put(self, application: Application, live: Iterable[JsonObject] | None = None) -> None:
        self.by_name[application.qualified_name] = application
        if live is not None:
            self.live[application.qualified_name] = list(live)

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
        known = self._find(name, project, namespace)
        if not refresh or known is None:
            return known
        qualified = known.qualified_name
        self.asked.append(qualified)
        if qualified in self.hangs:
            raise Temporary(f"Argo CD: ReadTimeout: {qualified}")
        if qualified in self.on_refresh:
            self.by_name[qualified] = self.on_refresh.pop(qualified)
        return self.by_name[qualified]

    def live_resources(self, name: str, project: str, namespace: str = "") -> list[JsonObject]:
        self._answer()
        found = self._find(name, project, namespace)
        return [] if found is None else list(self.live.get(found.qualified_name, ()))

    def can_sync(self, name: str, project: str, namespace: str = "") -> bool:
        self._answer()
        found = self._find(name, project, namespace)
        return found is not None and found.qualified_name not in self.closed_windows

    def _find(self, name: str, project: str, namespace: str) -> Application | None:
        for found in self.by_name.values():
            # "" is Argo CD's own namespace, whatever it is called.
            own = found.qualified_name == found.name if not namespace else found.namespace == namespace
            if (found.name, found.project) == (name, project) and own:
                return found
        return None

    def _answer(self) -> None:
        if self.down:
            raise Temporary("Argo CD: ConnectionError: down")
