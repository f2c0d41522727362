"""One Application as this stand-in keeps it, and how it names what belongs to it."""

from __future__ import annotations

import copy
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from infra.standins.argocd.diff import TRACKING_ANNOTATION
from infra.standins.argocd.kube import Key, Object, key_of

CONTROL_PLANE = (
    "argocd"  # the namespace of Argo CD itself, where an Application lives unless it says otherwise
)
HOOK_ANNOTATION = "argocd.argoproj.io/hook"
WAVE_ANNOTATION = "argocd.argoproj.io/sync-wave"
OPTIONS_ANNOTATION = "argocd.argoproj.io/sync-options"

Source = dict[str, Any]


class ApplicationError(ValueError):
    """An Application of the scenario that Argo CD would not have let in."""


def rfc3339(moment: datetime) -> str:
    """Whole seconds in UTC, as Kubernetes writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def annotations_of(manifest: Object) -> dict[str, str]:
    return (manifest.get("metadata") or {}).get("annotations") or {}


@dataclass(frozen=True)
class Pair:
    """An object as it should be and as it is; at least one of both is there."""

    key: Key
    version: str
    target: Object | None
    live: Object | None
    predicted: Object | None
    modified: bool
    normalized_live: Object | None = None

    @property
    def in_sync(self) -> bool:
        return self.target is not None and self.live is not None and not self.modified

    @property
    def requires_pruning(self) -> bool:
        return self.target is None


@dataclass
class Application:
    """`status` and `operation` are replaced, never changed in place: a reader needs no lock."""

    metadata: dict[str, Any]
    spec: dict[str, Any]
    status: dict[str, Any] = field(default_factory=dict)
    operation: dict[str, Any] | None = None
    pairs: tuple[Pair, ...] = ()

    @classmethod
    def of(cls, manifest: Object, created: datetime) -> Application:
        """The Application of a manifest, with the metadata that the API server would add.

        Raises:
            ApplicationError: the manifest is none, in one line.
        """
        name = (manifest.get("metadata") or {}).get("name")
        if manifest.get("kind") != "Application" or not name:
            raise ApplicationError(f"{manifest.get('kind')} {name or '(no name)'} is no Application")
        spec = copy.deepcopy(manifest.get("spec") or {})
        if not spec.get("source") and not spec.get("sources"):
            raise ApplicationError(f"Application {name}: spec.source or spec.sources is needed")
        metadata = {"namespace": CONTROL_PLANE, **copy.deepcopy(manifest["metadata"])}
        identity = uuid.uuid5(uuid.NAMESPACE_URL, f"{metadata['namespace']}/{name}")
        metadata.update(
            uid=str(identity), creationTimestamp=rfc3339(created), generation=1, resourceVersion="1"
        )
        return cls(metadata, spec)

    @property
    def name(self) -> str:
        return str(self.metadata["name"])

    @property
    def namespace(self) -> str:
        return str(self.metadata["namespace"])

    @property
    def project(self) -> str:
        return str(self.spec.get("project") or "default")

    @property
    def instance(self) -> str:
        """The name in tracking ids: with its namespace where that is not Argo CD's own."""
        return self.name if self.namespace == CONTROL_PLANE else f"{self.namespace}_{self.name}"

    @property
    def sources(self) -> list[Source]:
        return list(self.spec.get("sources") or [self.spec["source"]])

    @property
    def many_sources(self) -> bool:
        return bool(self.spec.get("sources"))

    @property
    def destination_namespace(self) -> str:
        return str((self.spec.get("destination") or {}).get("namespace") or "")

    @property
    def policy(self) -> dict[str, Any]:
        return self.spec.get("syncPolicy") or {}

    @property
    def automated(self) -> dict[str, Any] | None:
        """The automated sync policy where it is on."""
        automated: dict[str, Any] | None = self.policy.get("automated")
        return automated if automated is not None and automated.get("enabled", True) else None

    @property
    def ignore_rules(self) -> list[dict[str, Any]]:
        return self.spec.get("ignoreDifferences") or []

    def has_option(self, option: str) -> bool:
        return option in (self.policy.get("syncOptions") or [])

    def document(self) -> Object:
        """The Application as the API shows it."""
        document = {"metadata": self.metadata, "spec": self.spec, "status": self.status}
        return document if self.operation is None else {**document, "operation": self.operation}

    def set(self, **parts: Any) -> None:
        """Replaces parts of the status; None takes a part away."""
        merged = {name: part for name, part in {**self.status, **parts}.items() if part is not None}
        if merged != self.status:
            self.status = merged
            self.metadata = {
                **self.metadata, "resourceVersion": str(int(self.metadata["resourceVersion"]) + 1)
            }  # fmt: skip

    def claim(self, manifest: Object, *, namespaced: bool) -> Object:
        """The manifest as Argo CD applies it: in the destination's namespace, with the tracking id."""
        claimed = copy.deepcopy(manifest)
        metadata = claimed["metadata"]
        if namespaced and not metadata.get("namespace"):
            metadata["namespace"] = self.destination_namespace
        metadata["annotations"] = {
            **(metadata.get("annotations") or {}),
            TRACKING_ANNOTATION: self.tracking_id(key_of(claimed)),
        }
        return claimed

    def tracking_id(self, key: Key) -> str:
        return f"{self.instance}:{key.group}/{key.kind}:{key.namespace}/{key.name}"

    def owns(self, live: Object) -> bool:
        """Whether the object says that this Application manages it; a copied annotation does not count."""
        return annotations_of(live).get(TRACKING_ANNOTATION) == self.tracking_id(key_of(live))
