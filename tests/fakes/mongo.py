"""Stores in memory that keep state and the unique keys as MongoDB does; the contract suite runs on both."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime

from shared.adapters.mongo import Insert
from shared.contracts.digests import Digest
from shared.contracts.documents import Change, Entry, Recommendation, ReportRow, Transition
from shared.contracts.errors import Moved
from shared.contracts.identity import Workload
from shared.contracts.policy import Policy
from shared.contracts.states import SLOT_OF, State


class FakeRecommendations:
    """`handed_out` are the ids of what `in_states` read, in their order."""

    def __init__(self) -> None:
        self.documents: dict[str, Recommendation] = {}
        self.handed_out: list[str] = []
        self._lock = threading.RLock()

    def find(self, recommendation_id: str) -> Recommendation | None:
        return self.documents.get(recommendation_id)

    def insert(self, recommendation: Recommendation) -> Insert:
        with self._lock:
            if recommendation.id in self.documents:
                return Insert.EXISTS
            if self._slot_is_taken(recommendation, recommendation.state):
                return Insert.SLOT_TAKEN
            self.documents[recommendation.id] = recommendation
            return Insert.INSERTED

    def advance(
        self,
        recommendation_id: str,
        transition: Transition,
        entry: Entry | None,
        fields: Mapping[str, object],
    ) -> bool:
        with self._lock:
            document = self.documents.get(recommendation_id)
            if document is None or document.state is not transition.before:
                return False
            if self._slot_is_taken(document, transition.after):
                raise Moved(f"recommendation {recommendation_id}: slot taken")
            changed = {
                **document.model_dump(mode="python"),
                **fields,
                "state": transition.after,
                "slot": SLOT_OF.get(transition.after),
                "transitions": (*document.transitions, transition),
                "ledger": document.ledger if entry is None else (*document.ledger, entry),
            }
            self.documents[recommendation_id] = Recommendation.model_validate(changed)
            return True

    def mark_sent(self, recommendation_id: str, event_id: str) -> None:
        with self._lock:
            document = self.documents[recommendation_id]
            ledger = tuple(
                entry.model_copy(update={"sent": True}) if entry.record.event_id == event_id else entry
                for entry in document.ledger
            )
            self.documents[recommendation_id] = document.model_copy(update={"ledger": ledger})

    def unsent(self, before: datetime) -> list[Recommendation]:
        return [
            document
            for document in self.documents.values()
            if any(not entry.sent and entry.at < before for entry in document.ledger)
        ]

    def in_states(
        self, cluster: str, states: Iterable[State], *, since: datetime | None = None
    ) -> list[Recommendation]:
        wanted = set(states)
        found = [
            document
            for document in self.documents.values()
            if document.workload.cluster == cluster and document.state in wanted
            if since is None or _moved_at(document) >= since
        ]
        self.handed_out += [document.id for document in found]
        return sorted(found, key=lambda document: (document.scanned_at, document.id))

    def latest_of(self, workloads: Sequence[Workload]) -> dict[Workload, list[Recommendation]]:
        return {
            workload: sorted(
                (document for document in self.documents.values() if document.workload == workload),
                key=lambda document: document.scanned_at,
                reverse=True,
            )
            for workload in workloads
        }

    def _slot_is_taken(self, recommendation: Recommendation, state: State) -> bool:
        slot = SLOT_OF.get(state)
        return slot is not None and any(
            other.slot is slot and other.workload == recommendation.workload
            for other in self.documents.values()
            if other.id != recommendation.id
        )


def _moved_at(recommendation: Recommendation) -> datetime:
    return recommendation.transitions[-1].at if recommendation.transitions else recommendation.scanned_at


class FakeChanges:
    def __init__(self) -> None:
        self.documents: dict[str, Change] = {}
        self._lock = threading.RLock()

    def open_of(self, group: str) -> Change | None:
        return next((c for c in self.documents.values() if c.group == group and c.state == "open"), None)

    def find(self, change_id: str) -> Change | None:
        return self.documents.get(change_id)

    def in_state(self, cluster: str, state: str) -> list[Change]:
        found = [c for c in self.documents.values() if c.cluster == cluster and c.state == state]
        return sorted(found, key=lambda change: change.opened_at)

    def put(self, change: Change, expected_head: str | None) -> None:
        with self._lock:
            there = self.documents.get(change.id)
            if expected_head is None:
                other = self.open_of(change.group)
                if there is not None or (other is not None and change.state == "open"):
                    raise Moved(f"change {change.id}: the group {change.group} has an open one already")
            elif there is None or there.state != "open" or there.head != expected_head:
                raise Moved(f"change {change.id}: its head is no longer {expected_head}")
            self.documents[change.id] = change

    def end(self, change_id: str, state: str, at: datetime, merge_commit: str | None) -> None:
        with self._lock:
            change = self.documents.get(change_id)
            if change is not None and change.state == "open":
                self.documents[change_id] = change.model_copy(
                    update={"state": state, "ended_at": at, "merge_commit": merge_commit}
                )


class FakePolicies:
    def __init__(self, *policies: Policy) -> None:
        self.policies = list(policies)

    def active(self) -> list[Policy]:
        return sorted((p for p in self.policies if p.active), key=lambda policy: policy.name)


class FakeReports:
    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], ReportRow] = {}
        self._lock = threading.RLock()

    def find(self, bucket: str, key: str) -> ReportRow | None:
        return self.rows.get((bucket, key))

    def insert(self, row: ReportRow) -> ReportRow:
        with self._lock:
            return self.rows.setdefault((row.bucket, row.key), row)


class FakeDigests:
    def __init__(self) -> None:
        self.kept: dict[tuple[str, str, date], Digest] = {}

    def since(self, cluster: str, day: date, between: tuple[str, str] | None = None) -> list[Digest]:
        return [
            digest
            for (of, name, on), digest in self.kept.items()
            if of == cluster and (between is None or between[0] <= name <= between[1]) and on >= day
        ]

    def add(self, cluster: str, digests: Collection[Digest]) -> None:
        for digest in digests:
            self.kept.setdefault((cluster, digest.container, digest.day), digest)
