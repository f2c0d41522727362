"""The documents in MongoDB. The recommendation is the ledger: its state, and every event that it caused."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.envelope import Record
from shared.contracts.events import (
    ContainerProposal,
    FailureReason,
    Outcome,
    RecommendationCreated,
    Verdict,
)
from shared.contracts.identity import RecommendationId, Workload
from shared.contracts.money import Money
from shared.contracts.states import Slot, State


class Document(BaseModel):
    """What all documents share; fields that a newer version added are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class Transition(Document):
    """A move between states: when, and because of which event."""

    before: State | None
    after: State
    at: datetime
    stage: str
    cause: str


class Entry(Document):
    """A decision's event, complete, kept until it is known to be in Kafka."""

    cause: str
    record: Record
    at: datetime
    sent: bool = False


class PullRequest(Document):
    """Where a recommendation's change lies on the Git host."""

    repository: str
    number: int
    url: str
    base: str
    branch: str
    commit: str
    awaits_approval: bool
    merge_commit: str | None = None


class Recommendation(Document):
    """One proposal for one workload, from its creation to its end."""

    id: RecommendationId
    workload: Workload
    scan_id: str
    scanned_at: datetime
    state: State
    slot: Slot | None
    content_hash: str
    proposal: RecommendationCreated
    containers: tuple[ContainerProposal, ...] = Field(
        description="the engine's; once judged, after every clamp; once in a pull request, those in Git"
    )
    not_in_git: tuple[str, ...] = Field(
        default=(), description="containers that no pull request changes, for the manifest does not have them"
    )
    monthly_saving: Money = Field(description="of `containers`")
    outcome: Outcome | None = None
    verdicts: tuple[Verdict, ...] = ()
    policies: dict[str, int] = Field(default_factory=dict)
    application: str | None = None
    pull_request: PullRequest | None = None
    reason: FailureReason | str | None = None
    message: str | None = None
    transitions: tuple[Transition, ...] = ()
    ledger: tuple[Entry, ...] = ()

    def entry_caused_by(self, cause: str) -> Entry | None:
        return next((entry for entry in self.ledger if entry.cause == cause), None)

    def moved_at(self, state: State) -> datetime | None:
        """When it last came into `state`; None if it never did."""
        return next((move.at for move in reversed(self.transitions) if move.after is state), None)


class Change(Document):
    """One pull request: its group, members and what its head holds. `id` is `<repository>#<number>`."""

    id: str
    cluster: str
    group: str = Field(description="`<cluster>/<application>`; at most one is open for each")
    application: str
    repository: str
    number: int
    url: str
    base: str
    branch: str
    head: str
    members: tuple[RecommendationId, ...]
    state: str = Field(pattern="^(open|merged|closed)$")
    awaits_approval: bool = False
    merge_commit: str | None = None
    opened_at: datetime
    ended_at: datetime | None = None


class ReportRow(Document):
    """Index of one object in the bucket: a scan's shard report, or an audit record."""

    bucket: str
    key: str
    kind: str = Field(pattern="^(report|audit)$")
    version_id: str | None
    sha256: str
    size: int
    retain_until: datetime
    cluster: str
    created_at: datetime
    scan_id: str | None = None
    event_id: str | None = None
    event_type: str | None = None
    recommendation_id: str | None = None
    summary: dict[str, float | int | str] = Field(default_factory=dict)
