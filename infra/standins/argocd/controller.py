"""The application controller: keeps comparing, and syncs where the policy says so.

Each pass renders what every Application's revision is now, lists what lives once for all of them, and for
each Application takes its operation a step further, compares, and decides on an automated sync.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from infra.standins.argocd import comparing, loading, operations, syncing, windows
from infra.standins.argocd.application import CONTROL_PLANE, Application, Pair, rfc3339
from infra.standins.argocd.diff import IgnoreRuleError
from infra.standins.argocd.kube import Cluster, ClusterError, Key, Object
from infra.standins.argocd.loading import Desired
from infra.standins.argocd.render import Repositories

log = logging.getLogger("argocd")


class NotFoundError(Exception):
    """No such Application."""


class PreconditionError(Exception):
    """The request does not fit the Application's present condition."""


class WindowError(Exception):
    """A sync window is in the way."""


@dataclass
class _Managed:
    """An Application with what the controller remembers beside its document."""

    application: Application
    run: syncing.Run | None = None
    applied: dict[Key, Object] = field(default_factory=dict)


class Controller:
    """Holds the Applications; every public method may be called from any thread.

    `manifests` are Applications, and AppProjects for their sync windows; a project that is not among them
    exists and has none.
    """

    def __init__(
        self,
        manifests: Iterable[Object],
        repositories: Repositories,
        cluster: Cluster,
        observe: Callable[[Application], None] = lambda _: None,
        now: Callable[[], datetime] = windows.utc_now,
    ) -> None:
        """Raises ApplicationError for an Application that cannot be."""
        self._projects: dict[str, Any] = {}
        self._managed: dict[tuple[str, str], _Managed] = {}
        for manifest in manifests:
            if manifest.get("kind") == "AppProject":
                self._projects[manifest["metadata"]["name"]] = manifest.get("spec") or {}
            else:
                application = Application.of(manifest, now())
                self._managed[application.namespace, application.name] = _Managed(application)
        self.repositories = repositories
        self._cluster = cluster
        self._observe = observe
        self.now = now
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._live: dict[Key, Object] = {}

    # Reading

    def applications(self) -> list[Application]:
        return [self._managed[key].application for key in sorted(self._managed)]

    def application(self, name: str, namespace: str = "") -> Application:
        """Raises NotFoundError."""
        return self._find(name, namespace).application

    def live_objects(self) -> Mapping[Key, Object]:
        """What the last pass saw in the cluster."""
        return self._live

    def desired(self, application: Application, revision: str | None = None) -> Desired:
        """The manifests at `revision`, or at what the sources' targetRevision is now."""
        return loading.desired(application, self.repositories, self._cluster, revision)

    def windows_of(self, application: Application) -> list[windows.Window]:
        """The sync windows that are meant for the Application."""
        project = self._projects.get(application.project, {})
        return windows.matching(project.get("syncWindows") or [], application.document())

    # Asking for something

    def refresh(self, name: str, namespace: str = "", *, hard: bool = False) -> Application:
        """Compares now, and answers when it has been done. Raises NotFoundError."""
        managed = self._find(name, namespace)
        with self._lock:
            if hard:
                self.repositories.forget()
            self._pass([managed])
        return managed.application

    def request(
        self, name: str, namespace: str, operation: dict[str, Any], *, in_window: bool = True
    ) -> Application:
        """Sets an operation for the next pass, which begins at once.

        Raises:
            NotFoundError: no such Application.
            PreconditionError: another operation is under way.
            WindowError: `in_window` and a sync window forbids it.
        """
        managed = self._find(name, namespace)
        with self._lock:
            if in_window and not self._may_sync(managed.application, manual=True):
                raise WindowError("cannot sync: blocked by sync window")
            if managed.application.operation is not None:
                raise PreconditionError(
                    "error setting app operation: rpc error: code = FailedPrecondition "
                    "desc = another operation is already in progress"
                )
            self._begin(managed, operation)
        self._wake.set()
        return managed.application

    # Running

    def run(self, stop: threading.Event, poll: float) -> None:
        """Passes every `poll` seconds, or as soon as something is asked for, until `stop`."""
        while not stop.is_set():
            try:
                self.reconcile()
            except Exception:
                log.exception("a pass of the application controller failed; the next one follows")
            self._wake.wait(poll)
            self._wake.clear()

    def wake(self) -> None:
        """Begins the next pass at once."""
        self._wake.set()

    def reconcile(self) -> None:
        """One pass over all Applications."""
        with self._lock:
            self._pass(list(self._managed.values()))

    def _find(self, name: str, namespace: str) -> _Managed:
        managed = self._managed.get((namespace or CONTROL_PLANE, name))
        if managed is None:
            raise NotFoundError(name)
        return managed

    def _pass(self, chosen: Sequence[_Managed]) -> None:
        wanted = [self.desired(managed.application) for managed in chosen]
        failure = self._look(wanted)
        for managed, desired in zip(chosen, wanted, strict=True):
            if managed.application.operation is not None and self._operate(managed):
                failure = self._look([desired])
            self._compare(managed, desired, failure)
            if self._auto_sync(managed) and self._operate(managed):
                failure = self._look([desired])
                self._compare(managed, desired, failure)
            self._observe(managed.application)

    def _look(self, wanted: Iterable[Desired]) -> str:
        """Lists what lives; says what went wrong, or nothing."""
        try:
            self._live = loading.live(self._cluster, wanted, self.applications())
        except ClusterError as error:
            return f"Failed to load live state: {error}"
        return ""

    def _compare(self, managed: _Managed, desired: Desired, live_failure: str) -> None:
        application = managed.application
        errors = [error for error in (desired.error, live_failure) if error]
        pairs: tuple[Pair, ...] = ()
        try:
            pairs = comparing.pair_up(application, desired.targets, self._live, managed.applied)
        except IgnoreRuleError as error:
            errors.append(f"Failed to compare desired state to live state: {error}")
        loaded = not errors
        application.pairs = pairs
        for pair in pairs:
            if loaded and pair.in_sync and pair.target:
                # What already lives as the manifest says counts as applied: whoever did it did what we would.
                managed.applied.setdefault(pair.key, pair.target)
        now = rfc3339(self.now())
        health = comparing.application_health(pairs)
        before = application.status.get("health") or {}
        since = before.get("lastTransitionTime", now) if before.get("status") == health else now
        types = {} if not desired.source_types else _source_types(application, desired.source_types)
        application.set(
            sync={
                "status": comparing.sync_status(pairs, loaded=loaded),
                "comparedTo": _compared_to(application),
                **operations.revisions_of(application, desired.revisions),
            },
            health={"status": health, "lastTransitionTime": since},
            resources=comparing.resources_of(pairs, loaded=loaded),
            summary={"images": comparing.images_of(pairs)},
            reconciledAt=now,
            controllerNamespace=CONTROL_PLANE,
            resourceHealthSource="appTree",
            **types,
        )
        self._tell(application, "ComparisonError", errors)

    def _auto_sync(self, managed: _Managed) -> bool:
        """Sets an automated operation where one is due; whether it did."""
        application = managed.application
        if application.automated is None or application.operation is not None:
            return False
        due, why_not = False, None
        out_of_sync = application.status["sync"]["status"] == comparing.OUT_OF_SYNC
        if out_of_sync and self._may_sync(application, manual=False):
            due, why_not = operations.is_due(application, self.now())
        self._tell(application, "SyncError", [why_not] if why_not else [])
        if due:
            self._begin(managed, operations.automated(application))
        return due

    def _begin(self, managed: _Managed, operation: dict[str, Any]) -> None:
        """As Argo CD's SetAppOperation: the state of the operation before goes away."""
        application = managed.application
        if options := application.policy.get("syncOptions"):
            operation = {**operation, "sync": {"syncOptions": options, **operation["sync"]}}
        managed.run = None
        application.operation = operation
        application.set(operationState=None)

    def _operate(self, managed: _Managed) -> bool:
        """Takes the operation a step further; whether the cluster may have changed."""
        application = managed.application
        state: dict[str, Any] = copy.deepcopy(application.status.get("operationState") or {})
        if not state:
            started = rfc3339(self.now())
            state = {"operation": application.operation, "phase": syncing.RUNNING, "startedAt": started}
            application.set(operationState=dict(state))
        elif "finishedAt" in state:  # running, but finished: it waits for its next attempt
            if self.now() < operations.next_attempt(state):
                return False
            state = {name: part for name, part in state.items() if name not in {"finishedAt", "syncResult"}}
            managed.run = None
        state["phase"], state["message"] = self._sync(managed, state)
        if state["phase"] in syncing.COMPLETED:
            log.info("%s: sync %s: %s", application.name, state["phase"], state["message"])
            state = operations.finished(state, rfc3339(self.now()))
        if state["phase"] in syncing.COMPLETED:
            application.operation = None
            managed.run = None
            application.set(history=operations.history_after(application, state) or None)
        application.set(operationState=state)
        return True

    def _sync(self, managed: _Managed, state: dict[str, Any]) -> tuple[str, str]:
        """(phase, message) after one step; `state.syncResult` says what happened to each object."""
        application = managed.application
        operation = state["operation"]
        sync = operation["sync"]
        if managed.run is None:
            manual = not (operation.get("initiatedBy") or {}).get("automated", False)
            if not self._may_sync(application, manual=manual):
                return syncing.RUNNING, "Sync operation blocked by sync window"
            desired = self.desired(application, sync.get("revision"))
            revisions = operations.revisions_of(application, desired.revisions)
            state["syncResult"] = {**operations.sources_of(application), **revisions, "resources": []}
            if failure := desired.error or self._look([desired]):
                return syncing.ERROR, f"ComparisonError: {failure}"
            targets = loading.with_namespace(application, desired.targets, self._live)
            try:
                pairs = comparing.pair_up(application, targets, self._live, managed.applied)
            except IgnoreRuleError as error:
                return syncing.ERROR, f"ComparisonError: {error}"
            managed.run = syncing.Run.of(application, self._cluster, sync, pairs)
        phase, message = managed.run.step(self._live.get)
        managed.applied.update(managed.run.applied)
        state["syncResult"]["resources"] = list(managed.run.results)
        return phase, message

    def _may_sync(self, application: Application, *, manual: bool) -> bool:
        """Whether no window forbids it; one that is written wrongly forbids, as in Argo CD."""
        try:
            return windows.can_sync(self.windows_of(application), self.now(), manual=manual)
        except ValueError as error:
            log.warning("%s: invalid sync window: %s", application.name, error)
            return False

    def _tell(self, application: Application, kind: str, messages: Sequence[str]) -> None:
        """Replaces the conditions of a type; one that was there keeps its time."""
        before = application.status.get("conditions") or []
        now = rfc3339(self.now())
        since = {one["message"]: one["lastTransitionTime"] for one in before if one["type"] == kind}
        told = [
            {"type": kind, "message": text, "lastTransitionTime": since.get(text, now)} for text in messages
        ]
        application.set(conditions=[one for one in before if one["type"] != kind] + told or None)


def _source_types(application: Application, types: Sequence[str]) -> dict[str, Any]:
    return {"sourceTypes": list(types)} if application.many_sources else {"sourceType": types[0]}


def _compared_to(application: Application) -> dict[str, Any]:
    ignored = {"ignoreDifferences": application.ignore_rules} if application.ignore_rules else {}
    destination = application.spec.get("destination") or {}
    return {**operations.sources_of(application), "destination": destination, **ignored}
