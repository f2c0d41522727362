"""MongoDB: recommendations (the ledger), changes, policies, and the index of reports.

Single-document atomicity only; every write is acknowledged by a majority and journalled.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol

from pydantic import BaseModel
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DuplicateKeyError,
    PyMongoError,
)

from shared.contracts.documents import (
    Change,
    Entry,
    Recommendation,
    ReportRow,
    Transition,
)
from shared.contracts.errors import BadSetting, Moved, Temporary
from shared.contracts.identity import Workload
from shared.contracts.policy import Policy
from shared.contracts.states import SLOT_OF, State

# How far back a workload's story is told: what is in flight, and what was refused, is among so many.
LATEST = 20


class Insert(StrEnum):
    """How an insertion of a recommendation ended."""

    INSERTED = "inserted"
    EXISTS = "exists"
    SLOT_TAKEN = "slot_taken"


class Recommendations(Protocol):
    """The ledger's storage: what the runtime needs, no more."""

    def find(self, recommendation_id: str) -> Recommendation | None: ...

    def insert(self, recommendation: Recommendation) -> Insert: ...

    def advance(
        self,
        recommendation_id: str,
        transition: Transition,
        entry: Entry | None,
        fields: Mapping[str, object],
    ) -> bool:
        """Moves it if it still is in `transition.before`; False if it is not.

        Raises:
            Moved: another recommendation of the workload holds the slot of the new state.
        """
        ...

    def mark_sent(self, recommendation_id: str, event_id: str) -> None: ...

    def unsent(self, before: datetime) -> list[Recommendation]:
        """Those with a ledger entry made before `before` that is not marked as sent."""
        ...

    def in_states(
        self, cluster: str, states: Iterable[State], *, since: datetime | None = None
    ) -> list[Recommendation]:
        """Oldest scan first; with `since` only those that came into their state then or later."""
        ...

    def latest_of(self, workloads: Sequence[Workload]) -> dict[Workload, list[Recommendation]]:
        """For each workload its last LATEST recommendations, newest scan first."""
        ...


class Reports(Protocol):
    def find(self, bucket: str, key: str) -> ReportRow | None: ...

    def insert(self, row: ReportRow) -> ReportRow:
        """The row that is stored: this one, or the one that was there before it."""
        ...


class Policies(Protocol):
    def active(self) -> list[Policy]: ...


class Changes(Protocol):
    def open_of(self, group: str) -> Change | None: ...

    def find(self, change_id: str) -> Change | None: ...

    def in_state(self, cluster: str, state: str) -> list[Change]: ...

    def put(self, change: Change, expected_head: str | None) -> None:
        """Inserts it (`expected_head` None), or replaces the one whose head is `expected_head`.

        Raises:
            Moved: another one is open for the group, or its head is another.
        """
        ...

    def end(self, change_id: str, state: str, at: datetime, merge_commit: str | None) -> None:
        """Marks an open change merged or closed; nothing happens if it has ended already."""
        ...


@contextmanager
def _translated() -> Iterator[None]:
    """Errors of pymongo as ours: what is not a duplicate key may heal. Of many writes, who wrote knows."""
    try:
        yield
    except (DuplicateKeyError, BulkWriteError):
        raise
    except ConnectionFailure as error:
        raise Temporary(_unreachable(error)) from error
    except PyMongoError as error:
        raise Temporary(f"MongoDB: {type(error).__name__}: {str(error)[:300]}") from error


def _unreachable(error: ConnectionFailure) -> str:
    """In one line: pymongo adds its timeouts and its whole view of the servers."""
    text = re.sub(r" \(configured timeouts:[^)]*\)", "", str(error).partition(", Timeout:")[0])
    host, separator, why = text.partition(": ")
    if not separator or " " in host:
        return f"no MongoDB answers (MONGODB_URI): {text[:300]}"
    why = re.sub(r"\[Errno -?\d+\] ", "", why).replace(",", ", ")
    return f"no MongoDB answers at {host} (MONGODB_URI): {why[:300]}"


class Mongo:
    """One client for each process, made on first use: its monitor threads do not survive a fork."""

    def __init__(self, uri: str, database: str) -> None:
        self._uri = uri
        self._database = database
        self._lock = threading.Lock()
        self._client: MongoClient[dict[str, Any]] | None = None
        self._pid = 0

    @property
    def database(self) -> Database[dict[str, Any]]:
        """The database, with w=majority and j=true.

        Raises:
            Temporary: the address cannot be used.
        """
        with self._lock:
            if self._client is None or self._pid != os.getpid():
                self._client = self._connected()
                self._pid = os.getpid()
            return self._client[self._database]

    @property
    def recommendations(self) -> MongoRecommendations:
        return MongoRecommendations(lambda: self.database["recommendations"])

    @property
    def changes(self) -> MongoChanges:
        return MongoChanges(lambda: self.database["changes"])

    def _connected(self) -> MongoClient[dict[str, Any]]:
        try:
            return MongoClient(
                self._uri,
                w="majority",
                journal=True,
                tz_aware=True,
                serverSelectionTimeoutMS=5000,
                connectTimeoutMS=5000,
                socketTimeoutMS=20000,
                appname="kubefinops",
            )
        except (ConfigurationError, ValueError):
            # pymongo's words quote the address, and with it what may be a part of the password.
            raise BadSetting(
                "MONGODB_URI: no address as mongodb://USER:PASSWORD@HOST:PORT or mongodb+srv://HOST;"
                " in a password, : / ? # @ and % are written as %3A %2F %3F %23 %40 %25"
            ) from None

    @property
    def policies(self) -> MongoPolicies:
        return MongoPolicies(lambda: self.database["policies"])

    @property
    def reports(self) -> MongoReports:
        return MongoReports(lambda: self.database["reports"])

    def close(self) -> None:
        """Ends the connections; the next use makes new ones."""
        with self._lock:
            if self._client is not None and self._pid == os.getpid():
                self._client.close()
            self._client = None

    def ping(self) -> str:
        """The server's version. Raises Temporary."""
        with _translated():
            return str(self.database.command("buildInfo")["version"])

    def create_indexes(self) -> None:
        """Idempotent. Raises Temporary."""
        with _translated():
            recommendations = self.database["recommendations"]
            recommendations.create_index(
                [("workload_key", 1), ("slot", 1)],
                unique=True,
                name="one_per_slot",
                partialFilterExpression={"slot": {"$exists": True}},
            )
            recommendations.create_index(
                [("cluster", 1), ("state", 1), ("moved_at", 1)], name="by_state_and_time"
            )
            recommendations.create_index([("workload_key", 1), ("scanned_at", -1)], name="story")
            recommendations.create_index([("ledger.sent", 1), ("ledger.at", 1)], name="unsent")
            changes = self.database["changes"]
            changes.create_index(
                [("group", 1)],
                unique=True,
                name="one_open_per_group",
                partialFilterExpression={"state": "open"},
            )
            changes.create_index([("cluster", 1), ("state", 1)], name="by_state")
            policies = self.database["policies"]
            policies.create_index([("name", 1), ("version", 1)], unique=True, name="version")
            policies.create_index(
                [("name", 1)],
                unique=True,
                name="one_active",
                partialFilterExpression={"active": True},
            )
            reports = self.database["reports"]
            reports.create_index([("bucket", 1), ("key", 1)], unique=True, name="object")
            reports.create_index(
                [("chain", 1), ("sequence", 1)],
                unique=True,
                name="link",
                partialFilterExpression={"chain": {"$exists": True}},
            )
            reports.create_index([("cluster", 1), ("kind", 1), ("created_at", -1)], name="by_kind")
            digests = self.database["digests"]
            digests.create_index([("cluster", 1), ("container", 1), ("day", 1)], unique=True, name="day")
            # Longer than any history (KUBEFINOPS_HISTORY_DAYS) looks back.
            digests.create_index([("day", 1)], expireAfterSeconds=100 * 86400, name="over")


Source = Callable[[], Collection[dict[str, Any]]]


class MongoRecommendations:
    """See Recommendations."""

    def __init__(self, collection: Source) -> None:
        self._collection = collection

    def find(self, recommendation_id: str) -> Recommendation | None:
        with _translated():
            found = self._collection().find_one({"_id": recommendation_id})
        return None if found is None else _recommendation(found)

    def beginning_with(self, prefix: str) -> list[Recommendation]:
        """Those whose id begins with these hex digits, in the order of their ids; at most 10 of them."""
        # Nothing in an id comes after f.
        wanted = {"_id": {"$gte": prefix, "$lt": f"{prefix}g"}}
        with _translated():
            found = self._collection().find(wanted).sort([("_id", 1)]).limit(10)
            return [_recommendation(document) for document in found]

    def insert(self, recommendation: Recommendation) -> Insert:
        document = recommendation.model_dump(mode="python", exclude={"id"})
        document = _plain(document) | {
            "_id": recommendation.id,
            "cluster": recommendation.workload.cluster,
            "workload_key": recommendation.workload.key,
            "moved_at": _moved_at(recommendation),
        }
        if document["slot"] is None:
            del document["slot"]
        try:
            with _translated():
                self._collection().insert_one(document)
        except DuplicateKeyError:
            # Which of the two unique keys it was, the document tells more surely than the message.
            return Insert.SLOT_TAKEN if self.find(recommendation.id) is None else Insert.EXISTS
        return Insert.INSERTED

    def advance(
        self,
        recommendation_id: str,
        transition: Transition,
        entry: Entry | None,
        fields: Mapping[str, object],
    ) -> bool:
        push: dict[str, object] = {"transitions": _plain(transition.model_dump(mode="python"))}
        if entry is not None:
            push["ledger"] = _plain(entry.model_dump(mode="python"))
        changed: dict[str, object] = {
            "state": transition.after.value,
            "moved_at": transition.at,
            **{name: _plain(value) for name, value in fields.items()},
        }
        update: dict[str, object] = {"$set": changed, "$push": push}
        slot = SLOT_OF.get(transition.after)
        if slot is None:
            update["$unset"] = {"slot": ""}
        else:
            changed["slot"] = slot.value
        before = None if transition.before is None else transition.before.value
        try:
            with _translated():
                result = self._collection().update_one({"_id": recommendation_id, "state": before}, update)
        except DuplicateKeyError:
            raise Moved(
                f"recommendation {recommendation_id}: another one of its workload holds the slot {slot}"
            ) from None
        return result.matched_count == 1

    def mark_sent(self, recommendation_id: str, event_id: str) -> None:
        with _translated():
            self._collection().update_one(
                {"_id": recommendation_id, "ledger.record.headers.ce_id": event_id},
                {"$set": {"ledger.$.sent": True}},
            )

    def unsent(self, before: datetime) -> list[Recommendation]:
        with _translated():
            found = self._collection().find(
                {"ledger": {"$elemMatch": {"sent": False, "at": {"$lt": before}}}}
            )
            return [_recommendation(document) for document in found]

    def in_states(
        self, cluster: str, states: Iterable[State], *, since: datetime | None = None
    ) -> list[Recommendation]:
        wanted: dict[str, object] = {"cluster": cluster, "state": {"$in": [state.value for state in states]}}
        if since is not None:
            wanted["moved_at"] = {"$gte": since}
        with _translated():
            found = self._collection().find(wanted).sort([("scanned_at", 1), ("_id", 1)])
            return [_recommendation(document) for document in found]

    def latest_of(self, workloads: Sequence[Workload]) -> dict[Workload, list[Recommendation]]:
        by_key = {workload.key: workload for workload in workloads}
        newest: list[dict[str, Any]] = [
            {"$match": {"workload_key": {"$in": sorted(by_key)}}},
            {"$sort": {"workload_key": 1, "scanned_at": -1}},
            {"$group": {"_id": "$workload_key", "found": {"$firstN": {"input": "$$ROOT", "n": LATEST}}}},
        ]
        with _translated():
            found = {one["_id"]: one["found"] for one in self._collection().aggregate(newest)}
        return {
            workload: [_recommendation(document) for document in found.get(key, [])]
            for key, workload in by_key.items()
        }


class MongoChanges:
    """See Changes."""

    def __init__(self, collection: Source) -> None:
        self._collection = collection

    def open_of(self, group: str) -> Change | None:
        return self._one({"group": group, "state": "open"})

    def find(self, change_id: str) -> Change | None:
        return self._one({"_id": change_id})

    def in_state(self, cluster: str, state: str) -> list[Change]:
        with _translated():
            found = self._collection().find({"cluster": cluster, "state": state}).sort([("opened_at", 1)])
            return [_with_id(Change, document) for document in found]

    def put(self, change: Change, expected_head: str | None) -> None:
        document = _plain(change.model_dump(mode="python", exclude={"id"}))
        try:
            with _translated():
                if expected_head is None:
                    self._collection().insert_one({"_id": change.id, **document})
                    return
                result = self._collection().replace_one(
                    {"_id": change.id, "state": "open", "head": expected_head}, document
                )
        except DuplicateKeyError:
            raise Moved(f"change {change.id}: the group {change.group} has an open one already") from None
        if result.matched_count == 0:
            raise Moved(f"change {change.id}: its head is no longer {expected_head}")

    def end(self, change_id: str, state: str, at: datetime, merge_commit: str | None) -> None:
        with _translated():
            self._collection().update_one(
                {"_id": change_id, "state": "open"},
                {"$set": {"state": state, "ended_at": at, "merge_commit": merge_commit}},
            )

    def _one(self, query: Mapping[str, object]) -> Change | None:
        with _translated():
            found = self._collection().find_one(query)
        return None if found is None else _with_id(Change, found)


class MongoPolicies:
    """Versions are immutable: only which of them is active ever changes."""

    def __init__(self, collection: Source) -> None:
        self._collection = collection

    def active(self) -> list[Policy]:
        with _translated():
            found = self._collection().find({"active": True}).sort([("name", 1)])
            return [Policy.model_validate(_without_id(document)) for document in found]

    def put(self, policy: Policy) -> None:
        """Stores a version and makes it the active one of its name; the same again changes nothing.

        Raises:
            ValueError: this version is there already with other rules.
            Temporary: MongoDB cannot be reached.
        """
        with _translated():
            collection = self._collection()
            there = collection.find_one({"name": policy.name, "version": policy.version})
            if there is not None:
                stored = Policy.model_validate(_without_id(there))
                if stored.model_dump(exclude={"active"}) != policy.model_dump(exclude={"active"}):
                    raise ValueError(
                        f"policy {policy.name} version {policy.version} is stored with other rules;"
                        " versions are immutable: give it the next number"
                    )
                if stored.active == policy.active:
                    return
            if there is None:
                collection.insert_one(_plain(policy.model_dump(mode="python")) | {"active": False})
            if policy.active:
                # Two updates, for one document cannot hold both versions: the new one is stored by then, so
                # the time between them, in which the name has no active version, is that of one round trip.
                collection.update_many({"name": policy.name, "active": True}, {"$set": {"active": False}})
            collection.update_one(
                {"name": policy.name, "version": policy.version}, {"$set": {"active": policy.active}}
            )


class MongoReports:
    """See Reports."""

    def __init__(self, collection: Source) -> None:
        self._collection = collection

    def find(self, bucket: str, key: str) -> ReportRow | None:
        with _translated():
            found = self._collection().find_one({"bucket": bucket, "key": key})
        return None if found is None else ReportRow.model_validate(found)

    def insert(self, row: ReportRow) -> ReportRow:
        try:
            with _translated():
                self._collection().insert_one(_plain(row.model_dump(mode="python")))
        except DuplicateKeyError:
            there = self.find(row.bucket, row.key)
            assert there is not None, "the index refused a row that nobody has"
            return there
        return row

    def summaries(self, kind: str) -> list[dict[str, float | int | str]]:
        """What each row of the kind sums up. Raises Temporary."""
        with _translated():
            return [row.get("summary", {}) for row in self._collection().find({"kind": kind}, {"summary": 1})]

    def count(self, kind: str) -> int:
        with _translated():
            return self._collection().count_documents({"kind": kind})


def _plain(value: Any) -> Any:
    """Values that BSON knows: decimals as text (as in the events), tuples as lists, enums as text."""
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(mode="python"))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, Decimal):
        return format(value, "f")
    return value


def _without_id(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "_id"}


def _with_id(model: type[Change], document: Mapping[str, Any]) -> Change:
    return model.model_validate(_without_id(document) | {"id": document["_id"]})


def _moved_at(recommendation: Recommendation) -> datetime:
    return recommendation.transitions[-1].at if recommendation.transitions else recommendation.scanned_at


def _recommendation(document: Mapping[str, Any]) -> Recommendation:
    return Recommendation.model_validate({"slot": None} | _without_id(document) | {"id": document["_id"]})
