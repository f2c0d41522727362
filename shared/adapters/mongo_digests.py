"""Digests of days in MongoDB's collection `digests`: one document a container and day."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date
from typing import TYPE_CHECKING, Any

from pymongo.errors import BulkWriteError

from shared.adapters.mongo import _translated
from shared.contracts.digests import POINTS, Digest, midnight
from shared.contracts.errors import Temporary

if TYPE_CHECKING:
    from shared.adapters.mongo import Mongo

_DUPLICATE_KEY = 11000


class MongoDigests:
    """See Digests."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo

    def since(self, cluster: str, first: str, last: str, day: date) -> Iterator[Digest]:
        # One walk along the index, which a thousand names in a query are not.
        between = {"$gte": first, "$lte": last}
        query = {"cluster": cluster, "container": between, "day": {"$gte": midnight(day)}}
        with _translated():
            found = self._mongo.database["digests"].find(query)
            # Of other points than this version's nothing can be told: they count as not there.
            ours = (
                each for each in found.batch_size(5_000) if len(each.get("cpu_m", ())) in {0, len(POINTS)}
            )
            yield from map(_digest, ours)

    def add(self, cluster: str, digests: Collection[Digest]) -> None:
        documents = [_document(cluster, each) for each in digests]
        if not documents:
            return
        try:
            with _translated():
                # Unordered: one that is there already keeps none of the others out.
                self._mongo.database["digests"].insert_many(documents, ordered=False)
        except BulkWriteError as error:
            others = [each for each in error.details["writeErrors"] if each["code"] != _DUPLICATE_KEY]
            if others or error.details.get("writeConcernErrors"):
                raise Temporary(f"MongoDB: digests were not stored: {str(others)[:300]}") from error


def _document(cluster: str, digest: Digest) -> dict[str, Any]:
    fields = {name: getattr(digest, name) for name in Digest.__slots__}
    return {"cluster": cluster, **fields, "day": midnight(digest.day)}


def _digest(document: dict[str, Any]) -> Digest:
    """Without what a later version has written beside it."""
    known = {name: document[name] for name in Digest.__slots__ if name in document}
    lists = {name: tuple(document.get(name, ())) for name in ("cpu_m", "memory_bytes")}
    return Digest(**{**known, **lists, "day": document["day"].date()})
