"""What Argo CD says, as values, and what the stages ask of it.

The port; its client is `shared.adapters.argocd`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

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
