"""How many of what in which state, and how much money: what the exporter shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from shared.contracts.states import State

# In these a recommendation's change is live: what it saves has been released.
RELEASED = (State.APPLIED, State.VERIFIED)


@dataclass(frozen=True)
class StateCount:
    cluster: str
    namespace: str
    state: str
    count: int


@dataclass(frozen=True)
class OutcomeCount:
    cluster: str
    outcome: str
    count: int


@dataclass(frozen=True)
class Savings:
    """Money a month. A proposal that raises requests saves a negative amount; waste is never negative.

    `proposed`: by the latest recommendation of each workload, whatever became of it, before any clamp.
    `released`: by every recommendation whose change is live, after clamps.
    `waste`: what the latest proposal of each workload would save and has not: all of it, or what a clamp
    left over once it is live.
    """

    cluster: str
    namespace: str
    currency: str
    proposed: Decimal
    released: Decimal
    waste: Decimal


@dataclass(frozen=True)
class OpenCount:
    """Applications without an open pull request count 0, so that a graph falls instead of ending."""

    cluster: str
    application: str
    count: int


@dataclass(frozen=True)
class OpenPullRequest:
    cluster: str
    application: str
    repository: str
    number: int
    opened_at: datetime


@dataclass(frozen=True)
class ObjectCount:
    cluster: str
    kind: str
    count: int


@dataclass(frozen=True)
class Unsent:
    """Ledger entries that are decided but not known to be in Kafka."""

    cluster: str
    count: int
    oldest: datetime


@dataclass(frozen=True)
class Figures:
    """Everything at about one moment; each list is in no particular order."""

    states: Sequence[StateCount] = ()
    outcomes: Sequence[OutcomeCount] = ()
    savings: Sequence[Savings] = ()
    open_counts: Sequence[OpenCount] = ()
    pull_requests: Sequence[OpenPullRequest] = ()
    objects: Sequence[ObjectCount] = ()
    unsent: Sequence[Unsent] = ()


class FigureSource(Protocol):
    def read(self) -> Figures:
        """Raises Temporary."""
        ...
