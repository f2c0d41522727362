"""Puts each event into the bucket, locked, and indexes it; a redelivery finds it there."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from functions.audit.record import Fact, key_of, key_of_deviation, record_of
from shared.adapters.objectstore import canonical
from shared.contracts.documents import ReportRow
from shared.contracts.errors import Permanent
from shared.runtime.ledger import utc_now

if TYPE_CHECKING:
    from shared.adapters.mongo import Reports
    from shared.adapters.objectstore import ObjectStore
    from shared.contracts.envelope import Event

log = logging.getLogger(__name__)


class AuditHandler:
    def __init__(
        self,
        objects: ObjectStore,
        reports: Reports,
        bucket: str,
        retention: timedelta,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._objects = objects
        self._reports = reports
        self._bucket = bucket
        self._retention = retention
        self._clock = clock

    def handle(self, event: Event, data: object) -> None:
        """Records `event` with its `data` as delivered, once.

        The object is put before its row: killed in between, the redelivery puts the same bytes again, as
        a further version, and the row then names one that is there.

        Raises:
            Permanent: the event cannot be written as canonical JSON, or cannot name an object.
            Temporary: object storage or MongoDB cannot be reached.
        """
        fact = event.data
        assert isinstance(fact, Fact), f"{event.type} is none of the product's topics"
        try:
            content = canonical(record_of(event, data))
        except ValueError as error:
            raise Permanent(f"{event.type}: no canonical JSON (RFC 8785): {error}") from None
        key = key_of(event, fact.workload.cluster)
        sha256 = hashlib.sha256(content).hexdigest()
        row = self._reports.find(self._bucket, key) or self._put(event, fact, key, content)
        if row.sha256 == sha256:
            return
        # An id names one content: either somebody forged this event, or the ledger is broken.
        deviation = key_of_deviation(key, sha256)
        log.error(
            "event %s (%s) was recorded with another content before; this one is kept at %s",
            event.id, event.type, deviation,
            extra={"event": event.id, "recorded_sha256": row.sha256, "sha256": sha256},
        )  # fmt: skip
        if self._reports.find(self._bucket, deviation) is None:
            self._put(event, fact, deviation, content, deviates_from=row.sha256)

    def _put(
        self, event: Event, fact: Fact, key: str, content: bytes, *, deviates_from: str | None = None
    ) -> ReportRow:
        """The row that is stored for `key`: ours, or that of a delivery which was faster."""
        # S3 refuses a lock that ends in the past: one replayed after its retention is kept a day longer.
        retain_until = max(event.time + self._retention, self._clock() + timedelta(days=1))
        stored = self._objects.put(key, content, retain_until)
        return self._reports.insert(
            ReportRow(
                bucket=stored.bucket,
                key=stored.key,
                kind="audit",
                version_id=stored.version_id,
                sha256=stored.sha256,
                size=stored.size,
                retain_until=retain_until,
                cluster=fact.workload.cluster,
                created_at=event.time,
                scan_id=event.correlationid,
                event_id=event.id,
                event_type=event.type,
                recommendation_id=fact.recommendation_id,
                summary={} if deviates_from is None else {"deviates_from": deviates_from},
            )
        )
