from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from werkzeug.exceptions import Unauthorized

from functions.receiver.handler import ReceiverHandler
from functions.receiver.requesting import slot_of
from shared.contracts.envelope import NO_TIME, Record
from shared.contracts.errors import Permanent, Unreadable
from shared.contracts.events import ReconcileRequested, ScanRequested
from shared.contracts.topics import Topic
from tests.examples import NOW
from tests.fakes.kafka import FakePublisher

SECRET = "github-secret"
TOKEN = "argocd-token"
SOURCE = "/apis/v1/namespaces/kubefinops/pingsources/scan"


class Receiver(ReceiverHandler):
    def __init__(
        self,
        github_secret: str = SECRET,
        argocd_token: str = TOKEN,
        tick_seconds: int = 60,
        later: timedelta = timedelta(),
    ) -> None:
        self.publisher = FakePublisher()
        self._now = NOW + later
        super().__init__(
            self.publisher,
            cluster="local",
            tick_seconds=tick_seconds,
            github_secret=github_secret,
            argocd_token=argocd_token,
            clock=self._later,
        )

    def _later(self) -> datetime:
        """No two readings are the same: what a repetition makes must not depend on it."""
        self._now += timedelta(seconds=1)
        return self._now

    def ping(self, action: object, at: datetime = NOW, source: str = SOURCE) -> None:
        self.tick(
            {
                "type": "dev.knative.sources.ping",
                "id": "random",
                "source": source,
                "time": at.isoformat(),
                "specversion": "1.0",
            },
            action if not isinstance(action, str) else {"action": action},
        )


def signed(body: bytes, secret: str = SECRET, event: str = "pull_request") -> dict[str, str]:
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {
        "X-Hub-Signature-256": f"sha256={signature}",
        "X-Github-Event": event,
        "X-Github-Delivery": "delivery-1",
    }


BODY = json.dumps(
    {
        "repository": {"full_name": "acme/deploy"},
        "pull_request": {"number": 7, "updated_at": "2026-11-23T11:59:00Z"},
    }
).encode()


def notification(finished: datetime = NOW, **data: Any) -> bytes:
    return json.dumps(
        {"specversion": "1.0", "data": {"app": "shop", "finishedAt": finished.isoformat(), **data}}
    ).encode()


def test_a_scan_tick_becomes_a_scan_of_its_slot() -> None:
    receiver = Receiver()
    receiver.ping("scan", NOW + timedelta(seconds=2))
    (event,) = receiver.publisher.events
    assert event.topic is Topic.SCAN_REQUESTED
    assert isinstance(event.data, ScanRequested)
    assert event.data.scanned_at == NOW
    assert event.data.scan_id == event.correlationid == event.id


def test_doubled_ticks_of_one_slot_are_the_same_event_and_the_next_slot_is_another() -> None:
    receiver = Receiver()
    receiver.ping("scan", NOW - timedelta(milliseconds=20))
    receiver.ping("scan", NOW + timedelta(milliseconds=900))
    receiver.ping("scan", NOW + timedelta(seconds=60))
    first, doubled, following = receiver.publisher.events
    assert first == doubled
    assert following.id != first.id


def test_two_schedules_do_not_collapse() -> None:
    receiver = Receiver()
    receiver.ping("reconcile")
    receiver.ping("reconcile", source=SOURCE + "-2")
    assert len({event.id for event in receiver.publisher.events}) == 2


@pytest.mark.parametrize("action", ["scan", "reconcile"])
def test_a_tick_has_the_id_that_the_contracts_tell(action: str) -> None:
    receiver = Receiver()
    receiver.ping(action, NOW.astimezone(timezone(timedelta(hours=2))))
    parts = [f"io.kubefinops.{action}.requested.v1", "local", SOURCE, "2026-11-23T12:00:00Z"]
    written = json.dumps(parts, separators=(",", ":"))
    assert receiver.publisher.events[0].id == hashlib.sha256(written.encode()).hexdigest()


class Killed(Exception):
    """The process is gone."""


@pytest.mark.parametrize("action", ["scan", "reconcile"])
@pytest.mark.parametrize("moments", [0, 1], ids=["before it published", "before it answered"])
def test_killed_at_a_tick_the_one_that_comes_again_makes_the_same_event(action: str, moments: int) -> None:
    first = Receiver()
    published = first.publisher.publish

    def dying(records: Sequence[Record]) -> None:
        published(records[:moments])
        raise Killed

    first.publisher.publish = dying  # type: ignore[method-assign]
    with pytest.raises(Killed):
        first.ping(action)
    # PingSource sends it again, and another process takes it, whose clock is ahead.
    again = Receiver(later=timedelta(minutes=3))
    again.ping(action)
    in_kafka = [*first.publisher.records, *again.publisher.records]
    assert len(in_kafka) == moments + 1
    assert len({record.event_id for record in in_kafka}) == 1
    assert all(record == in_kafka[0] for record in in_kafka)


def test_slots_may_be_as_short_as_a_second() -> None:
    moment = datetime(2026, 1, 1, 0, 0, 5, 400_000, tzinfo=UTC)
    assert slot_of(moment, 1) == datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize("data", ["dance", {"act": "scan"}, None, b"scan"])
def test_a_tick_that_names_no_action_is_unreadable_and_emits_nothing(data: object) -> None:
    receiver = Receiver()
    with pytest.raises(Unreadable):
        receiver.ping(data)
    assert receiver.publisher.records == []


def test_an_event_that_is_no_tick_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        Receiver().tick({"type": "dev.knative.kafka.event", "source": "x"}, {})


def test_a_signed_webhook_becomes_a_reconcile_of_its_delivery() -> None:
    receiver = Receiver()
    receiver.github(signed(BODY), BODY)
    receiver.github(signed(BODY), BODY)
    first, again = receiver.publisher.events
    assert first == again
    assert isinstance(first.data, ReconcileRequested)
    assert (first.data.repository, first.data.pull_request) == ("acme/deploy", 7)


@pytest.mark.parametrize(
    "headers",
    [{}, signed(BODY, "another secret"), signed(BODY + b" "), {"X-Hub-Signature-256": "sha256="}],
    ids=["unsigned", "another secret", "another body", "empty"],
)
def test_an_unsigned_or_forged_webhook_is_refused_and_emits_nothing(headers: dict[str, str]) -> None:
    receiver = Receiver()
    with pytest.raises(Unauthorized):
        receiver.github(headers, BODY)
    assert receiver.publisher.records == []


def test_without_a_secret_every_webhook_is_refused() -> None:
    receiver = Receiver(github_secret="", argocd_token="")
    with pytest.raises(Unauthorized):
        receiver.github(signed(BODY, ""), BODY)
    with pytest.raises(Unauthorized):
        receiver.argocd({"Authorization": "Bearer "}, notification())


def test_a_push_has_the_time_of_its_commit_and_one_without_a_time_is_still_the_same_event() -> None:
    receiver = Receiver()
    for payload in ({"head_commit": {"timestamp": "2026-11-23T12:00:00+01:00"}}, {"head_commit": None}):
        body = json.dumps({"repository": {"full_name": "acme/deploy"}, **payload}).encode()
        for _ in range(2):
            receiver.github(signed(body, event="push"), body)
    first, again, timeless, timeless_again = receiver.publisher.events
    assert first == again
    assert first.time == datetime(2026, 11, 23, 11, tzinfo=UTC)
    assert timeless == timeless_again


@pytest.mark.parametrize("chosen", ["1999-12-31T23:59:59Z", "9999-12-31T23:59:59-10:00", "yesterday"])
def test_a_push_whose_committer_chose_an_impossible_time_is_one_without_a_time(chosen: str) -> None:
    receiver = Receiver()
    payload = {"repository": {"full_name": "acme/deploy"}, "head_commit": {"timestamp": chosen}}
    body = json.dumps(payload).encode()
    receiver.github(signed(body, event="push"), body)
    assert receiver.publisher.events[0].time == NO_TIME


def test_a_github_event_that_moves_no_pull_request_is_left_alone() -> None:
    receiver = Receiver()
    receiver.github(signed(BODY, event="star"), BODY)
    assert receiver.publisher.records == []


def test_a_signed_webhook_that_is_no_json_is_permanent() -> None:
    with pytest.raises(Permanent):
        Receiver().github(signed(b"{"), b"{")


def test_an_argocd_notification_becomes_a_reconcile_once_for_each_fact() -> None:
    receiver = Receiver()
    for health in ("Degraded", "Degraded", "Healthy"):
        receiver.argocd({"Authorization": f"Bearer {TOKEN}"}, notification(health=health))
    first, again, recovered = receiver.publisher.events
    assert first == again
    assert recovered.id != first.id
    assert isinstance(first.data, ReconcileRequested)
    assert first.data.application == "shop"


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", TOKEN, f"bearer {TOKEN}"])
def test_a_notification_with_another_token_is_refused(authorization: str) -> None:
    receiver = Receiver()
    with pytest.raises(Unauthorized):
        receiver.argocd({"Authorization": authorization}, notification())
    assert receiver.publisher.records == []


def test_a_stale_notification_is_refused() -> None:
    with pytest.raises(Permanent, match="stale"):
        Receiver().argocd({"Authorization": f"Bearer {TOKEN}"}, notification(NOW - timedelta(hours=1)))
