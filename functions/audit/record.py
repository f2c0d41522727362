"""What a record of an event holds and where it lies: the same event is the same bytes under the same key."""

from __future__ import annotations

import re
from datetime import UTC
from typing import TYPE_CHECKING

from shared.contracts.envelope import CONTENT_TYPE
from shared.contracts.errors import Permanent
from shared.contracts.events import (
    ChangeApplied,
    ChangeFailed,
    PolicyViolated,
    PullRequestCreated,
    RecommendationApproved,
    RecommendationCreated,
)

if TYPE_CHECKING:
    from shared.contracts.envelope import Event

# The payloads of the product's topics: each is a fact about one recommendation of one workload.
Fact = (
    RecommendationCreated
    | RecommendationApproved
    | PolicyViolated
    | PullRequestCreated
    | ChangeApplied
    | ChangeFailed
)

# Ids and cluster names become parts of a key: no separator, no `..`, not beyond what S3 takes.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def record_of(event: Event, data: object) -> dict[str, object]:
    """The event's own attributes, with `data` as it was delivered.

    What a delivery adds (partition, offset, trace context) differs from one to the next and is left out.
    """
    return {"attributes": {**event.attributes(), "datacontenttype": CONTENT_TYPE}, "data": data}


def key_of(event: Event, cluster: str) -> str:
    """`audit/<cluster>/<yyyy>/<mm>/<dd>/<event id>.json`, by the event's own time in UTC.

    Raises:
        Permanent: the id or the cluster's name cannot be a part of a key.
    """
    for what, name in (("id", event.id), ("cluster", cluster)):
        if not _NAME.fullmatch(name):
            raise Permanent(f"{event.type}: {what} {name[:200]!r} cannot name an object in the bucket")
    return f"audit/{cluster}/{event.time.astimezone(UTC):%Y/%m/%d}/{event.id}.json"


def key_of_deviation(key: str, sha256: str) -> str:
    """Where another content under an id that is taken lies: beside the first, named by its own hash."""
    return f"{key.removesuffix('.json')}.{sha256}.json"
