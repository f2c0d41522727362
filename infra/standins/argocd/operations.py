"""Operations as documents: what an automated sync asks for, when it is due, when a failed one comes again.

Pure. Rules: github.com/argoproj/argo-cd, controller/appcontroller.go (autoSync, alreadyAttemptedSync,
processRequestedAppOperation) and RetryStrategy.NextRetryAt.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from infra.standins.argocd import comparing
from infra.standins.argocd.application import Application
from infra.standins.argocd.syncing import COMPLETED, RUNNING, SUCCEEDED
from infra.standins.argocd.windows import parse_duration

_RETRIES = 5  # of an automated sync whose policy has no `retry`
_RETRY_DURATION, _RETRY_FACTOR, _RETRY_MAX = "5s", 2, "3m"
_SELF_HEAL_AFTER = timedelta(seconds=5)
_HISTORY = 10

Document = dict[str, Any]


def revisions_of(application: Application, revisions: Sequence[str]) -> Document:
    """`revisions` of several sources, `revision` of one; nothing where none is known."""
    if not revisions:
        return {}
    return {"revisions": list(revisions)} if application.many_sources else {"revision": revisions[0]}


def sources_of(application: Application) -> Document:
    return (
        {"sources": application.sources} if application.many_sources else {"source": application.sources[0]}
    )


def is_due(application: Application, now: datetime) -> tuple[bool, str | None]:
    """(whether an OutOfSync application is to be synced now, what to say as SyncError where it will not be).

    A revision is synced automatically once, successful or not; again only to heal itself, after a while.
    """
    policy = application.automated or {}
    pairs = application.pairs
    if not policy.get("prune") and all(pair.requires_pruning for pair in pairs if not pair.in_sync):
        return False, None
    revisions = _listed(application.status["sync"])
    state = application.status.get("operationState")
    if state and _attempted(application, state, revisions):
        if state["phase"] != SUCCEEDED:
            return False, f"Failed last sync attempt to [{' '.join(revisions)}]: {state.get('message', '')}"
        ended = datetime.fromisoformat(state["finishedAt"])
        if not policy.get("selfHeal") or now < ended + _SELF_HEAL_AFTER:
            return False, None
    if policy.get("prune") and not policy.get("allowEmpty") and all(pair.requires_pruning for pair in pairs):
        return (
            False,
            f"Skipping sync attempt to [{' '.join(revisions)}]: auto-sync will wipe out all resources",
        )
    return True, None


def automated(application: Application) -> Document:
    """The operation of an automated sync to the revision that was compared last."""
    policy = application.automated or {}
    revisions = _listed(application.status["sync"])
    sync: Document = {**sources_of(application), **revisions_of(application, revisions)}
    if policy.get("prune"):
        sync["prune"] = True
    state = application.status.get("operationState")
    if state and _attempted(application, state, revisions):
        attempts = (state["operation"].get("sync") or {}).get("autoHealAttemptsCount", 0)
        sync["autoHealAttemptsCount"] = attempts + 1
        sync["resources"] = [
            {name: part for name, part in comparing.identity(pair).items() if name != "version"}
            for pair in application.pairs
            if not pair.in_sync
        ]
    retry = application.policy.get("retry", {"limit": _RETRIES})
    return {"sync": sync, "initiatedBy": {"automated": True}, "retry": retry}


def finished(state: Document, at: str) -> Document:
    """The state of an operation whose phase is final: or that of one which will be tried again.

    The latter is Running with `finishedAt` set; nothing else tells it from one under way.
    """
    state = {**state, "finishedAt": at}
    retries = state.get("retryCount", 0)
    limit = (state["operation"].get("retry") or {}).get("limit", 0)
    if state["phase"] == SUCCEEDED:
        return state
    if retries < limit or limit < 0:
        state.update(phase=RUNNING, retryCount=retries + 1)
        when = next_attempt(state).strftime("%I:%M%p").lstrip("0")
        return {**state, "message": f"{state['message']}. Retrying attempt #{retries + 1} at {when}."}
    if retries:
        return {**state, "message": f"{state['message']} (retried {retries} times)."}
    return state


def next_attempt(state: Document) -> datetime:
    """When a failed operation is tried again: min(duration * factor^n, maxDuration) after its end, n from 0.

    Raises:
        ValueError: the strategy's durations are none.
    """
    backoff = (state["operation"].get("retry") or {}).get("backoff") or {}
    first = parse_duration(str(backoff.get("duration", _RETRY_DURATION)))
    longest = parse_duration(str(backoff.get("maxDuration", _RETRY_MAX)))
    factor = int(backoff.get("factor", _RETRY_FACTOR))
    wait: timedelta = first * factor ** (int(state["retryCount"]) - 1)
    return datetime.fromisoformat(state["finishedAt"]) + min(wait, longest)


def history_after(application: Application, state: Document) -> list[Document]:
    """status.history with a successful operation at its end; a dry or partial one leaves no trace there."""
    history: list[Document] = application.status.get("history") or []
    sync = state["operation"]["sync"]
    if state["phase"] != SUCCEEDED or sync.get("dryRun") or sync.get("resources"):
        return history
    entry = {
        "id": history[-1]["id"] + 1 if history else 0,
        "deployStartedAt": state["startedAt"],
        "deployedAt": state["finishedAt"],
        "initiatedBy": state["operation"].get("initiatedBy", {}),
        **{name: part for name, part in state["syncResult"].items() if name != "resources"},
    }
    kept = int(application.spec.get("revisionHistoryLimit", _HISTORY))
    return [*history, entry][-kept:] if kept else []


def _listed(status: Document) -> list[str]:
    return status.get("revisions") or ([status["revision"]] if "revision" in status else [])


def _attempted(application: Application, state: Document, revisions: list[str]) -> bool:
    """Whether the last operation was a sync of just these revisions and sources."""
    result = state.get("syncResult")
    if result is None:
        return state["phase"] in COMPLETED
    same_source = all(result.get(name) == part for name, part in sources_of(application).items())
    return _listed(result) == revisions and same_source
