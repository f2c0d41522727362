"""Digests of days in MongoDB's collection `digests`: one document a container and day.

The points of a day are one binary field each, little-endian: as arrays of numbers, whose elements have names
there, half of the time of reading them was MongoDB's and ours to take them apart. Those that an earlier
version stored are arrays. It counts days of binary points as not there; so that it does no day without CPU
for one without memory, that is in arrays still.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields
from datetime import date
from struct import pack, unpack
from typing import TYPE_CHECKING, Any

from pymongo.errors import BulkWriteError

from shared.adapters.mongo import _translated
from shared.contracts.digests import POINTS, Digest, midnight
from shared.contracts.errors import Temporary

if TYPE_CHECKING:
    from shared.adapters.mongo import Mongo

_DUPLICATE_KEY = 11000
# What a day had none of is not stored: half of the fields, mostly, and a scan reads thousands of documents.
_DEFAULTS = tuple((each.name, each.default) for each in fields(Digest))
_BYTES = 8  # of a point: a double or a signed integer


class MongoDigests:
    """See Digests."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo

    def since(self, cluster: str, day: date, between: tuple[str, str] | None = None) -> Iterator[Digest]:
        query: dict[str, Any] = {"cluster": cluster, "day": {"$gte": midnight(day)}}
        if between is not None:
            # One walk along the index, which a thousand names in a query are not.
            query["container"] = {"$gte": between[0], "$lte": between[1]}
        with _translated():
            found = self._mongo.database["digests"].find(query)
            # Of what is damaged, or has other points, nothing can be told: it counts as not there.
            yield from map(_digest, filter(_is_ours, found.batch_size(5_000)))

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
            self._replace_damaged(cluster, [each["op"] for each in error.details["writeErrors"]])

    def _replace_damaged(self, cluster: str, documents: Sequence[dict[str, Any]]) -> None:
        """Of those that are there already: else their days would be read anew by each scan."""
        anew = {(each["container"], each["day"]): each for each in documents}
        containers, days = (sorted(set(its)) for its in zip(*anew, strict=True))
        query = {"cluster": cluster, "container": {"$in": containers}, "day": {"$in": days}}
        with _translated():
            collection = self._mongo.database["digests"]
            for stored in [each for each in collection.find(query) if not _is_ours(each)]:
                if document := anew.get((stored["container"], stored["day"])):
                    collection.replace_one({"_id": stored["_id"]}, {**document, "_id": stored["_id"]})


def _document(cluster: str, digest: Digest) -> dict[str, Any]:
    told = {name: value for name, default in _DEFAULTS if (value := getattr(digest, name)) != default}
    if digest.cpu_m:
        told["cpu_m"] = pack(f"<{len(digest.cpu_m)}d", *digest.cpu_m)
        told["memory_bytes"] = pack(f"<{len(digest.memory_bytes)}q", *digest.memory_bytes)
    return {"cluster": cluster, **told, "day": midnight(digest.day)}


def _is_ours(document: dict[str, Any]) -> bool:
    """Whether its points are those of this version, and there are some of CPU if it has windows."""
    return bool(document.get("windows")) == bool(document.get("cpu_m")) and all(
        len(its) in {0, len(POINTS) * (_BYTES if isinstance(its, bytes) else 1)}
        for its in (document.get(name) or () for name in ("cpu_m", "memory_bytes"))
    )


def _digest(document: dict[str, Any]) -> Digest:
    """Without what a later version has written beside it."""
    told = document.get
    return Digest(
        document["container"],
        document["day"].date(),
        pods=told("pods", 0),
        windows=told("windows", 0),
        samples=told("samples", 0),
        first=told("first"),
        cpu_m=_points(told("cpu_m") or (), "d"),
        memory_bytes=_points(told("memory_bytes") or (), "q"),
        oom_kills=told("oom_kills", 0),
        killed_limit_bytes=told("killed_limit_bytes", 0),
        throttled_share=told("throttled_share"),
        near_limit_bytes=told("near_limit_bytes", 0),
        started_cpu_m=told("started_cpu_m", 0.0),
        started_memory_bytes=told("started_memory_bytes", 0),
        followed_cpu_m=told("followed_cpu_m", 0.0),
        fell_from_bytes=told("fell_from_bytes", 0),
        at_limit_cpu_m=told("at_limit_cpu_m", 0.0),
    )


def _points(stored: bytes | Sequence[Any], kind: str) -> tuple[Any, ...]:
    return unpack(f"<{len(stored) // _BYTES}{kind}", stored) if isinstance(stored, bytes) else tuple(stored)
