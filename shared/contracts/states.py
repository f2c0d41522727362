"""The states of a recommendation, who may move it, and the slot it holds meanwhile."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    CREATED = "created"
    APPROVED = "approved"
    VIOLATED = "violated"
    PR_OPEN = "pr_open"
    MERGED = "merged"
    APPLIED = "applied"
    FAILED = "failed"
    VERIFIED = "verified"
    REGRESSED = "regressed"
    ADVISORY = "advisory"
    SUPERSEDED = "superseded"
    CLOSED = "closed"


class Slot(StrEnum):
    """At most one recommendation of a workload holds each: two partial unique indexes enforce it."""

    PROPOSAL = "proposal"
    CHANGE = "change"


# (from, to) -> the stages that may make the move; `None` is "not there yet".
TRANSITIONS: dict[tuple[State | None, State], frozenset[str]] = {
    (None, State.CREATED): frozenset({"recommender"}),
    (State.CREATED, State.APPROVED): frozenset({"policy"}),
    (State.CREATED, State.VIOLATED): frozenset({"policy"}),
    (State.CREATED, State.CLOSED): frozenset({"argocd"}),
    (State.APPROVED, State.CLOSED): frozenset({"argocd"}),
    (State.APPROVED, State.PR_OPEN): frozenset({"gitops"}),
    (State.APPROVED, State.FAILED): frozenset({"gitops"}),
    (State.APPROVED, State.ADVISORY): frozenset({"gitops"}),
    (State.PR_OPEN, State.MERGED): frozenset({"gitops", "argocd"}),
    (State.PR_OPEN, State.CLOSED): frozenset({"gitops", "argocd"}),
    (State.PR_OPEN, State.SUPERSEDED): frozenset({"gitops"}),
    (State.MERGED, State.APPLIED): frozenset({"argocd"}),
    (State.MERGED, State.FAILED): frozenset({"argocd"}),
    (State.FAILED, State.APPLIED): frozenset({"argocd"}),
    (State.APPLIED, State.VERIFIED): frozenset({"verifier"}),
    (State.APPLIED, State.REGRESSED): frozenset({"verifier"}),
}

SLOT_OF: dict[State, Slot] = {
    State.CREATED: Slot.PROPOSAL,
    State.APPROVED: Slot.PROPOSAL,
    State.PR_OPEN: Slot.CHANGE,
    State.MERGED: Slot.CHANGE,
}


def may_move(before: State | None, after: State, stage: str) -> bool:
    return stage in TRANSITIONS.get((before, after), frozenset())


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documents."""
    lines = ["stateDiagram-v2"]
    for (before, after), stages in TRANSITIONS.items():
        lines.append(f"    {before or '[*]'} --> {after}: {', '.join(sorted(stages))}")
    return "\n".join(lines) + "\n"
