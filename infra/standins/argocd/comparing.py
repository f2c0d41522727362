"""An Application's manifests against what lives: sync status, health and the list of resources. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from infra.standins.argocd.application import WAVE_ANNOTATION, Application, Pair, annotations_of
from infra.standins.argocd.diff import differs, predict, without_ignored
from infra.standins.argocd.health import HEALTHY, MISSING, health_of, worst
from infra.standins.argocd.kube import Key, Object, group_version, key_of

SYNCED, OUT_OF_SYNC, UNKNOWN = "Synced", "OutOfSync", "Unknown"


def pair_up(
    application: Application,
    targets: Iterable[Object],
    live: Mapping[Key, Object],
    applied: Mapping[Key, Object],
) -> tuple[Pair, ...]:
    """Every object that is wanted or that carries the Application's tracking id, compared.

    Raises:
        IgnoreRuleError: spec.ignoreDifferences has a rule that this stand-in does not follow.
    """
    wanted = {key_of(target): target for target in targets}
    pairs = []
    for key, target in wanted.items():
        pairs.append(_compare(application, key, target, live.get(key), applied.get(key)))
    for key, there in live.items():
        if key not in wanted and application.owns(there):
            version = group_version(there)[1]
            pairs.append(Pair(key, version, target=None, live=there, predicted=None, modified=True))
    return tuple(sorted(pairs, key=lambda pair: pair.key))


def _compare(
    application: Application, key: Key, target: Object, live: Object | None, applied: Object | None
) -> Pair:
    version = group_version(target)[1]
    if live is None:
        return Pair(key, version, target, None, target, modified=True)
    bare = without_ignored(live, application.ignore_rules)
    last = without_ignored(applied, application.ignore_rules) if applied else None
    predicted = predict(last, without_ignored(target, application.ignore_rules), bare)
    return Pair(key, version, target, live, predicted, differs(predicted, bare), bare)


def wave_of(manifest: Object) -> int:
    """The sync wave; 0 where none is given or the text is no number, as in Argo CD."""
    text = annotations_of(manifest).get(WAVE_ANNOTATION, "")
    try:
        return int(text)
    except ValueError:
        return 0


def resources_of(pairs: Iterable[Pair], *, loaded: bool) -> list[dict[str, Any]]:
    """status.resources; `loaded` is False when manifests or live objects could not be read at all."""
    return [_resource(pair, loaded=loaded) for pair in pairs]


def _resource(pair: Pair, *, loaded: bool) -> dict[str, Any]:
    status = UNKNOWN if not loaded else SYNCED if pair.in_sync else OUT_OF_SYNC
    health = health_of(pair.live) if pair.live else None
    shown: dict[str, Any] = {**identity(pair), "status": status}
    if pair.live is None:
        shown["health"] = {"status": MISSING}
    elif health is not None:
        text = {"message": health.message} if health.message else {}
        shown["health"] = {"status": health.status, **text}
    if pair.requires_pruning:
        shown["requiresPruning"] = True
    if pair.target is not None and wave_of(pair.target):
        shown["syncWave"] = wave_of(pair.target)
    return shown


def identity(pair: Pair) -> dict[str, str]:
    """group, version, kind, namespace, name; empty ones left out as Argo CD's JSON does."""
    key = pair.key
    parts = {
        "group": key.group,
        "version": pair.version,
        "kind": key.kind,
        "namespace": key.namespace,
        "name": key.name,
    }
    return {name: part for name, part in parts.items() if part}


def sync_status(pairs: Iterable[Pair], *, loaded: bool) -> str:
    if not loaded:
        return UNKNOWN
    return SYNCED if all(pair.in_sync for pair in pairs) else OUT_OF_SYNC


def application_health(pairs: Iterable[Pair]) -> str:
    """The worst of the live objects' healths; Missing only where nothing lives at all."""
    pairs = list(pairs)
    lives = [pair.live for pair in pairs if pair.live]
    if pairs and not lives:
        return MISSING
    healths = (health_of(live) for live in lives)
    return worst([health.status for health in healths if health] or [HEALTHY])


def images_of(pairs: Iterable[Pair]) -> list[str]:
    """Images of the live pod templates, sorted."""
    images: set[str] = set()
    for pair in pairs:
        template = ((pair.live or {}).get("spec") or {}).get("template") or {}
        for container in (template.get("spec") or {}).get("containers") or []:
            images.add(str(container.get("image", "")))
    return sorted(images - {""})
