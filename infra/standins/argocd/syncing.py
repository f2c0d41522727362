"""One sync operation: wave by wave, kind by kind, with a result for each object.

As in Argo CD's gitops-engine (sync_context.go, sync_tasks.go): what must go is pruned first, then every
object is applied in the order of wave, kind and name; a refused object fails the operation but not its wave's
other objects; between two waves the first must become healthy. A single wave succeeds as soon as everything
is accepted, whatever becomes of it: health is another matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from infra.standins.argocd.application import OPTIONS_ANNOTATION, Application, Pair, annotations_of
from infra.standins.argocd.comparing import identity, wave_of
from infra.standins.argocd.diff import keep_live
from infra.standins.argocd.health import DEGRADED, HEALTHY, health_of
from infra.standins.argocd.kube import Cluster, ClusterError, Key, Object

RUNNING, SUCCEEDED, FAILED, ERROR = "Running", "Succeeded", "Failed", "Error"
COMPLETED = frozenset({SUCCEEDED, FAILED, ERROR})

_KINDS = (
    "Namespace", "NetworkPolicy", "ResourceQuota", "LimitRange", "PodSecurityPolicy",
    "PodDisruptionBudget", "ServiceAccount", "Secret", "SecretList", "ConfigMap", "StorageClass",
    "PersistentVolume", "PersistentVolumeClaim", "CustomResourceDefinition", "ClusterRole",
    "ClusterRoleList", "ClusterRoleBinding", "ClusterRoleBindingList", "Role", "RoleList",
    "RoleBinding", "RoleBindingList", "Service", "DaemonSet", "Pod", "ReplicationController",
    "ReplicaSet", "Deployment", "HorizontalPodAutoscaler", "StatefulSet", "Job", "CronJob",
    "IngressClass", "Ingress", "APIService",
)  # fmt: skip
_KIND_ORDER = {
    kind: place - len(_KINDS) for place, kind in enumerate(_KINDS)
}  # an unlisted kind comes last, at 0


@dataclass
class Run:
    """A sync operation under way."""

    application: Application
    cluster: Cluster
    prune: bool
    dry_run: bool
    pruning: list[Pair]
    waves: list[list[Pair]]
    results: list[dict[str, Any]] = field(default_factory=list)
    applied: dict[Key, Object] = field(default_factory=dict)
    _waiting: list[Pair] = field(default_factory=list)

    @classmethod
    def of(
        cls, application: Application, cluster: Cluster, sync: dict[str, Any], pairs: Iterable[Pair]
    ) -> Run:
        """The run for `operation.sync`; where it names resources, only those."""
        chosen = [pair for pair in pairs if _is_chosen(pair, sync.get("resources") or [])]
        wanted = sorted((pair for pair in chosen if pair.target), key=_place)
        waves = [list(wave) for _, wave in groupby(wanted, key=lambda pair: _place(pair)[0])]
        return cls(
            application=application,
            cluster=cluster,
            prune=bool(sync.get("prune")),
            dry_run=bool(sync.get("dryRun")),
            pruning=[pair for pair in chosen if pair.requires_pruning],
            waves=waves,
        )

    def step(self, live: Callable[[Key], Object | None]) -> tuple[str, str]:
        """Takes the operation one wave further; its phase and message afterwards.

        Raises:
            IgnoreRuleError: spec.ignoreDifferences has a rule that this stand-in does not follow.
        """
        if waited := self._await_health(live):
            return waited
        if not self.pruning and not self.waves:
            return SUCCEEDED, "successfully synced (no more tasks)"
        failures = [failure for pair in self.pruning if (failure := self._prune(pair))]
        self.pruning = []
        wave = self.waves.pop(0) if self.waves and not failures else []
        failures += [failure for pair in wave if (failure := self._apply(pair))]
        if failures:
            return FAILED, f"one or more objects failed to apply, reason: {','.join(dict.fromkeys(failures))}"
        if not self.waves:
            return SUCCEEDED, "successfully synced (all tasks run)"
        self._waiting = wave
        return RUNNING, _waiting_for(wave)

    def _await_health(self, live: Callable[[Key], Object | None]) -> tuple[str, str] | None:
        if self.dry_run:
            return None
        still = []
        for pair in self._waiting:
            found = live(pair.key)
            health = health_of(found) if found else None
            if health and health.status == DEGRADED:
                reason = (
                    f"one or more synchronization tasks completed unsuccessfully, reason: {health.message}"
                )
                return FAILED, reason
            if found is None or (health and health.status != HEALTHY):
                still.append(pair)
        self._waiting = still
        return (RUNNING, _waiting_for(still)) if still else None

    def _prune(self, pair: Pair) -> str | None:
        assert pair.live is not None
        if not self.prune:
            return self._note(pair, "PruneSkipped", SUCCEEDED, "ignored (requires pruning)")
        if "Prune=false" in annotations_of(pair.live).get(OPTIONS_ANNOTATION, "").split(","):
            return self._note(pair, "PruneSkipped", SUCCEEDED, "ignored (no prune)")
        if self.dry_run:
            return self._note(pair, "Pruned", SUCCEEDED, "pruned (dry run)")
        try:
            self.cluster.delete(pair.live)
        except ClusterError as error:
            return self._note(pair, "SyncFailed", FAILED, str(error))
        return self._note(pair, "Pruned", SUCCEEDED, "pruned")

    def _apply(self, pair: Pair) -> str | None:
        assert pair.target is not None
        target = pair.target
        if pair.live and self.application.has_option("RespectIgnoreDifferences=true"):
            target = keep_live(target, pair.live, self.application.ignore_rules)
        resource = f"{pair.key.kind.lower()}{'.' if pair.key.group else ''}{pair.key.group}/{pair.key.name}"
        if self.dry_run:
            # Argo CD's dry run happens in the client: it does not find what the server would refuse.
            return self._note(pair, "Synced", SUCCEEDED, f"{resource} serverside-applied (dry run)")
        try:
            self.cluster.apply(target)
        except ClusterError as error:
            return self._note(pair, "SyncFailed", FAILED, str(error))
        self.applied[pair.key] = target
        return self._note(pair, "Synced", RUNNING, f"{resource} serverside-applied")

    def _note(self, pair: Pair, status: str, phase: str, message: str) -> str | None:
        """Adds a result; the message comes back where it is a failure."""
        self.results.append(
            {**identity(pair), "status": status, "message": message, "hookPhase": phase, "syncPhase": "Sync"}
        )
        return message if status == "SyncFailed" else None


def _is_chosen(pair: Pair, chosen: list[dict[str, Any]]) -> bool:
    key = pair.key
    return not chosen or any(
        (one.get("group", ""), one.get("kind"), one.get("name")) == (key.group, key.kind, key.name)
        and one.get("namespace") in {None, "", key.namespace}
        for one in chosen
    )


def _place(pair: Pair) -> tuple[int, int, str]:
    assert pair.target is not None
    return wave_of(pair.target), _KIND_ORDER.get(pair.key.kind, 0), pair.key.name


def _waiting_for(pairs: list[Pair]) -> str:
    first = pairs[0].key
    more = f" and {len(pairs) - 1} more resources" if len(pairs) > 1 else ""
    return f"waiting for healthy state of {first.group}/{first.kind}/{first.name}{more}"
