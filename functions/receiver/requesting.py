"""Requests to look, made of ticks and webhooks; their ids come from the slot or from the delivery."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from shared.contracts.envelope import Event
from shared.contracts.events import ReconcileRequested, ScanRequested, rfc3339
from shared.contracts.identity import tick_id
from shared.contracts.topics import Topic


def slot_of(moment: datetime, seconds: int) -> datetime:
    """The slot that a tick at `moment` belongs to: the nearest, for a schedule may fire a little early."""
    return datetime.fromtimestamp(round(moment.timestamp() / seconds) * seconds, UTC)


def scan_of_slot(cluster: str, schedule: str, slot: datetime) -> Event:
    """The scan of a schedule's slot; the slot ends every window that it reads."""
    scan_id = tick_id(Topic.SCAN_REQUESTED.event_type, cluster, schedule, rfc3339(slot))
    return Event(
        id=scan_id,
        source=f"/kubefinops/{cluster}/receiver",
        subject=f"{cluster}/all",
        time=slot,
        partitionkey=f"{cluster}/all",
        correlationid=scan_id,
        data=ScanRequested(cluster=cluster, scan_id=scan_id, scanned_at=slot, requested_by="schedule"),
    )


def reconcile_of_slot(cluster: str, schedule: str, slot: datetime) -> Event:
    """The wish of a schedule's slot to look at everything."""
    identity = tick_id(Topic.RECONCILE_REQUESTED.event_type, cluster, schedule, rfc3339(slot))
    return _reconcile(identity, slot, ReconcileRequested(cluster=cluster, reason="schedule"))


def reconcile(
    cluster: str,
    reason: Literal["git_host", "argocd"],
    occasion: str,
    time: datetime,
    *,
    repository: str | None = None,
    pull_request: int | None = None,
    application: str | None = None,
) -> Event:
    """A webhook's wish to look again; `occasion` is what makes its repetitions the same event."""
    identity = tick_id(Topic.RECONCILE_REQUESTED.event_type, cluster, reason, occasion)
    wish = ReconcileRequested(
        cluster=cluster,
        reason=reason,
        repository=repository,
        pull_request=pull_request,
        application=application,
    )
    return _reconcile(identity, time, wish)


def _reconcile(identity: str, time: datetime, wish: ReconcileRequested) -> Event:
    return Event(
        id=identity,
        source=f"/kubefinops/{wish.cluster}/receiver",
        subject=f"{wish.cluster}/all",
        time=time,
        partitionkey=f"{wish.cluster}/all",
        correlationid=identity,
        data=wish,
    )
