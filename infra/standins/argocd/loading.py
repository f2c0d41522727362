"""What should be and what is: manifests from the repositories, live objects from the cluster."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

from infra.standins.argocd.application import HOOK_ANNOTATION, Application, annotations_of
from infra.standins.argocd.kube import Cluster, ClusterError, Collection, Key, Object, group_version, key_of
from infra.standins.argocd.render import RenderError, Rendering, Repositories

GroupVersionKind = tuple[str, str, str]

# Listed besides what Applications manage: for the resource tree, and for CreateNamespace=true.
_ALWAYS: tuple[GroupVersionKind, ...] = (
    ("", "v1", "Namespace"),
    ("", "v1", "Pod"),
    ("apps", "v1", "ReplicaSet"),
)


@dataclass(frozen=True)
class Desired:
    """What an Application's sources are at some revision; `error` says why they could not be rendered."""

    revisions: tuple[str, ...] = ()
    source_types: tuple[str, ...] = ()
    targets: tuple[Object, ...] = ()
    error: str = ""


def desired(
    application: Application, repositories: Repositories, cluster: Cluster, revision: str | None = None
) -> Desired:
    """The manifests at `revision`, or at what the sources' targetRevision is now."""
    revisions: list[str] = []
    renderings: list[Rendering] = []
    sources = application.sources
    try:
        for source in sources:
            commit = repositories.resolve(source, None if application.many_sources else revision)
            revisions.append(commit)
            if "path" in source or "chart" in source:  # a source with `ref` alone only lends its files
                renderings.append(repositories.render(source, commit))
    except RenderError as error:
        number = min(len(renderings) + 1, len(sources))
        reason = f"failed to generate manifest for source {number} of {len(sources)}: {error}"
        return Desired(error=f"Failed to load target state: {reason}")
    targets = [manifest for rendering in renderings for manifest in rendering.manifests]
    for target in targets:
        if HOOK_ANNOTATION in annotations_of(target):
            name = f"{target['kind']} {target['metadata']['name']}"
            reason = f"{name}: resource hooks are not run by this stand-in"
            return Desired(tuple(revisions), error=f"Failed to load target state: {reason}")
    return Desired(
        tuple(revisions),
        tuple(rendering.source_type for rendering in renderings),
        tuple(application.claim(target, namespaced=_namespaced(cluster, target)) for target in targets),
    )


def with_namespace(
    application: Application, targets: tuple[Object, ...], live: Container[Key]
) -> tuple[Object, ...]:
    """The targets, and before them the destination's namespace where CreateNamespace=true asks for it."""
    name = application.destination_namespace
    key = Key("", "Namespace", "", name)
    there = key in live or any(key_of(target) == key for target in targets)
    if there or not application.has_option("CreateNamespace=true"):
        return targets
    return ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, *targets)


def live(cluster: Cluster, wanted: Iterable[Desired], managing: Iterable[Application]) -> dict[Key, Object]:
    """Every live object of the kinds that are wanted, managed or shown.

    Raises:
        ClusterError: the cluster is down or refuses.
    """
    kinds = set(_ALWAYS)
    for one in wanted:
        kinds |= {_kind_of(target) for target in one.targets}
    for application in managing:
        kinds |= {(pair.key.group, pair.version, pair.key.kind) for pair in application.pairs}
    found: dict[Key, Object] = {}
    for kind in sorted(kinds):
        if collection := _collection(cluster, kind):
            found |= cluster.list(collection)
    return found


def _kind_of(target: Object) -> GroupVersionKind:
    return (*group_version(target), target["kind"])


def _collection(cluster: Cluster, kind: GroupVersionKind) -> Collection | None:
    """None for a kind that the cluster does not know: a sync of such an object fails with the reason."""
    try:
        return cluster.collection(*kind)
    except ClusterError as error:
        if error.code:
            return None
        raise


def _namespaced(cluster: Cluster, target: Object) -> bool:
    try:
        collection = _collection(cluster, _kind_of(target))
    except ClusterError:
        return True  # the cluster is down, and nothing is synced before it is back
    return collection is None or collection.namespaced
