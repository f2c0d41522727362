from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.audit.handler import AuditHandler
from functions.audit.record import Fact, key_of
from shared.contracts.documents import ReportRow
from shared.contracts.envelope import Event, decode
from shared.contracts.errors import Permanent
from shared.contracts.events import TOPIC_OF_PAYLOAD, ChangeFailed, FailureReason
from shared.contracts.identity import Workload
from shared.contracts.topics import PRODUCT_TOPICS
from tests.examples import CHECKOUT, NOW, created, event
from tests.fakes.mongo import FakeReports
from tests.fakes.objectstore import FakeObjectStore

YEAR = timedelta(days=365)
KEY = "audit/local/2026/11/23/e1.json"


class Crash(BaseException):
    """SIGKILL: nothing of ours catches it."""


class ReportsKilledOnce(FakeReports):
    """The first insertion never comes about."""

    killed = False

    def insert(self, row: ReportRow) -> ReportRow:
        if not self.killed:
            self.killed = True
            raise Crash
        return super().insert(row)


class ReportsOfAFasterDelivery(FakeReports):
    """Another delivery inserts its row between this one's look and its own insertion."""

    def __init__(self, sha256: str) -> None:
        super().__init__()
        self._sha256 = sha256

    def insert(self, row: ReportRow) -> ReportRow:
        if row.key == KEY:
            super().insert(row.model_copy(update={"sha256": self._sha256, "version_id": "faster"}))
        return super().insert(row)


def data_of(event: Event) -> dict[str, Any]:
    data: dict[str, Any] = event.data.model_dump(mode="json")
    return data


def failed(message: str = "refused by the host", workload: Workload = CHECKOUT) -> Event:
    return event(
        ChangeFailed(
            recommendation_id="r1", workload=workload, reason=FailureReason.REFUSED, message=message
        ),
        id="e1",
    )


def handler(objects: FakeObjectStore, reports: FakeReports, now: datetime = NOW) -> AuditHandler:
    return AuditHandler(objects, reports, objects.bucket, YEAR, clock=lambda: now)


def test_an_event_is_kept_whole_locked_and_indexed() -> None:
    objects, reports = FakeObjectStore(), FakeReports()
    one = event(created(), id="e1")
    handler(objects, reports).handle(one, data_of(one))

    [content] = objects.objects[KEY]
    assert json.loads(content) == {
        "attributes": {**one.attributes(), "datacontenttype": "application/json"},
        "data": data_of(one),
    }
    assert objects.retained[KEY] == NOW + YEAR
    assert reports.find("kubefinops", KEY) == ReportRow(
        bucket="kubefinops",
        key=KEY,
        kind="audit",
        version_id="v1",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        retain_until=NOW + YEAR,
        cluster="local",
        created_at=NOW,
        scan_id="scan-1",
        event_id="e1",
        event_type="io.kubefinops.recommendation.created.v1",
        recommendation_id=created().recommendation_id,
    )


def test_the_record_can_be_decoded_into_the_event_again() -> None:
    objects = FakeObjectStore()
    one = event(created(), id="e1")
    handler(objects, FakeReports()).handle(one, data_of(one))
    record = json.loads(objects.objects[KEY][0])
    assert decode(record["attributes"], record["data"]) == one


def test_what_a_newer_producer_added_is_kept() -> None:
    objects = FakeObjectStore()
    handler(objects, FakeReports()).handle(failed(), {**data_of(failed()), "added_in_v1_1": [1, 2]})
    assert json.loads(objects.objects[KEY][0])["data"]["added_in_v1_1"] == [1, 2]


def test_a_redelivered_event_is_recorded_once() -> None:
    objects, reports = FakeObjectStore(), FakeReports()
    for _ in range(3):
        handler(objects, reports).handle(failed(), data_of(failed()))
    assert len(objects.objects[KEY]) == 1
    assert len(reports.rows) == 1


def test_killed_before_the_row_the_redelivery_writes_the_same_bytes_and_the_row() -> None:
    objects, reports = FakeObjectStore(), ReportsKilledOnce()
    with pytest.raises(Crash):
        handler(objects, reports).handle(failed(), data_of(failed()))
    handler(objects, reports).handle(failed(), data_of(failed()))

    first, second = objects.objects[KEY]
    assert first == second
    row = reports.find("kubefinops", KEY)
    assert row is not None
    assert objects.get(KEY, row.version_id) == second


def test_an_id_seen_with_another_content_is_an_error_and_both_are_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    objects, reports = FakeObjectStore(), FakeReports()
    audit = handler(objects, reports)
    audit.handle(failed("one story"), data_of(failed("one story")))
    with caplog.at_level(logging.ERROR):
        audit.handle(failed("another story"), data_of(failed("another story")))
        audit.handle(failed("another story"), data_of(failed("another story")))

    first = reports.find("kubefinops", KEY)
    assert first is not None
    [other] = [row for key, row in reports.rows.items() if key[1] != KEY]
    assert other.key == f"audit/local/2026/11/23/e1.{other.sha256}.json"
    assert other.summary == {"deviates_from": first.sha256}
    assert b"another story" in objects.get(other.key, other.version_id)
    assert len(objects.objects[other.key]) == 1
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "e1" in caplog.text


def test_losing_the_race_to_a_delivery_with_another_content_is_noticed_too() -> None:
    objects, reports = FakeObjectStore(), ReportsOfAFasterDelivery("f" * 64)
    handler(objects, reports).handle(failed(), data_of(failed()))
    assert [row.summary for row in reports.rows.values()] == [{}, {"deviates_from": "f" * 64}]


def test_losing_the_race_to_the_same_content_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    objects = FakeObjectStore()
    handler(objects, FakeReports()).handle(failed(), data_of(failed()))
    reports = ReportsOfAFasterDelivery(hashlib.sha256(objects.objects[KEY][0]).hexdigest())
    handler(objects, reports).handle(failed(), data_of(failed()))
    assert len(reports.rows) == 1
    assert not caplog.records


def test_the_folder_is_the_day_of_the_event_in_utc() -> None:
    late = replace(failed(), time=datetime(2026, 12, 31, 23, 30, tzinfo=timezone(timedelta(hours=-2))))
    assert key_of(late, "local") == "audit/local/2027/01/01/e1.json"


def test_an_event_replayed_after_its_retention_is_still_locked_for_a_day() -> None:
    objects = FakeObjectStore()
    years_later = NOW + 3 * YEAR
    handler(objects, FakeReports(), years_later).handle(failed(), data_of(failed()))
    assert objects.retained[KEY] == years_later + timedelta(days=1)


@pytest.mark.parametrize("name", ["../secret", "a/b", "", "x" * 129, ".hidden", "a\nb"])
def test_a_name_that_would_leave_its_folder_is_refused(name: str) -> None:
    for one, cluster in ((replace(failed(), id=name), "local"), (failed(), name)):
        with pytest.raises(Permanent, match="cannot name an object"):
            key_of(one, cluster)


def test_data_that_has_no_canonical_form_is_refused_with_the_reason() -> None:
    objects = FakeObjectStore()
    with pytest.raises(Permanent, match="RFC 8785"):
        handler(objects, FakeReports()).handle(failed(), {**data_of(failed()), "extra": float("nan")})
    assert not objects.objects


@given(st.permutations(list(data_of(failed()).items())), st.integers(-720, 720))
def test_neither_the_order_of_fields_nor_the_time_zone_changes_the_bytes(
    items: list[tuple[str, Any]], minutes: int
) -> None:
    objects, reports = FakeObjectStore(), FakeReports()
    elsewhere = replace(failed(), time=NOW.astimezone(timezone(timedelta(minutes=minutes))))
    handler(objects, reports).handle(failed(), data_of(failed()))
    handler(objects, reports).handle(elsewhere, dict(items))
    assert list(objects.objects) == [KEY]


def test_every_topic_of_the_product_has_a_record() -> None:
    assert {TOPIC_OF_PAYLOAD[model] for model in get_args(Fact)} == set(PRODUCT_TOPICS)
