from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from functions.receiver.requesting import reconcile
from shared.contracts.envelope import NO_TIME, Event, attributes_of_record, decode, decode_record
from shared.contracts.errors import Permanent, Unreadable
from shared.contracts.events import (
    PAYLOADS,
    ChangeFailed,
    FailureReason,
    ScanRequested,
    json_schema,
    rfc3339,
)
from shared.contracts.identity import Workload, digest, event_id, recommendation_id
from shared.contracts.money import Money
from shared.contracts.quantities import format_cpu, format_memory, parse_cpu, parse_memory
from shared.contracts.states import SLOT_OF, TRANSITIONS, State, diagram, may_move
from shared.contracts.topics import PRODUCT_TOPICS, TOPIC_OF_TYPE, Topic
from tests.examples import CHECKOUT, created, event, scan_event


@given(st.integers(0, 10**7))
def test_cpu_round_trips_through_its_text(millicores: int) -> None:
    assert parse_cpu(format_cpu(millicores)) == millicores


@given(st.integers(0, 1 << 50))
def test_memory_round_trips_through_its_text(amount: int) -> None:
    assert parse_memory(format_memory(amount)) == amount


@pytest.mark.parametrize(
    ("text", "millicores"),
    [("250m", 250), ("0.5", 500), ("2", 2000), ("1.0005", 1001), ("100u", 1), ("1e2", 100_000), (0.1, 100)],
)
def test_cpu_is_read_as_kubernetes_does(text: str | float, millicores: int) -> None:
    assert parse_cpu(text) == millicores


@pytest.mark.parametrize(
    ("text", "amount"),
    [("128Mi", 128 << 20), ("1G", 10**9), ("1.5Gi", 3 << 29), ("129e6", 129_000_000), ("100m", 1), ("7", 7)],
)
def test_memory_is_read_as_kubernetes_does(text: str, amount: int) -> None:
    assert parse_memory(text) == amount


@pytest.mark.parametrize("text", ["", "abc", "10 Mi", "-5m", "1mi", "0x10", "1e", "NaN"])
def test_what_is_no_quantity_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"quantity|negative"):
        parse_cpu(text)


def test_money_is_a_decimal_string_and_never_mixes_currencies() -> None:
    assert Money.rounded(Decimal("1.005")).model_dump(mode="json") == {"amount": "1.00", "currency": "USD"}
    assert (Money(amount=Decimal("0.1")) + Money(amount=Decimal("0.2"))).amount == Decimal("0.3")
    with pytest.raises(ValueError, match="mix"):
        Money(amount=Decimal(1)) - Money(amount=Decimal(1), currency="EUR")


def test_ids_depend_on_every_part_and_on_nothing_else() -> None:
    other = CHECKOUT.model_copy(update={"name": "cart"})
    assert recommendation_id("s", CHECKOUT) == recommendation_id("s", CHECKOUT)
    assert (
        len(
            {
                recommendation_id("s", CHECKOUT),
                recommendation_id("t", CHECKOUT),
                recommendation_id("s", other),
            }
        )
        == 3
    )
    assert digest("ab", "c") != digest("a", "bc"), "parts cannot run together"
    assert event_id("a", "b") != event_id("b", "a")


def test_a_workload_is_told_by_its_subject() -> None:
    assert Workload.of_subject("local", CHECKOUT.subject) == CHECKOUT


def test_the_product_has_its_six_topics_with_versioned_types() -> None:
    assert [str(topic) for topic in PRODUCT_TOPICS] == [
        "recommendation.created",
        "recommendation.approved",
        "policy.violated",
        "gitops.pr.created",
        "change.applied",
        "change.failed",
    ]
    assert TOPIC_OF_TYPE["io.kubefinops.change.applied.v1"] is Topic.CHANGE_APPLIED
    assert set(PAYLOADS) == set(Topic)


def test_only_the_stages_in_the_table_may_move_a_recommendation() -> None:
    assert may_move(State.CREATED, State.APPROVED, "policy")
    assert not may_move(State.CREATED, State.APPROVED, "gitops")
    assert not may_move(State.APPLIED, State.CREATED, "recommender")
    assert {before for before, _ in TRANSITIONS} >= set(SLOT_OF), "a slot can always be left"
    assert "created --> approved: policy" in diagram()


def test_times_are_rfc3339_in_utc() -> None:
    elsewhere = datetime(2026, 1, 1, 1, 0, tzinfo=timezone(timedelta(hours=1)))
    assert rfc3339(elsewhere) == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("one", [event(created()), scan_event()], ids=["recommendation", "scan"])
def test_an_event_round_trips_through_its_record(one: Event) -> None:
    assert decode_record(one.record()) == one


def test_a_record_is_in_binary_mode_with_key_and_partitionkey() -> None:
    record = event(created()).record()
    assert record.key == CHECKOUT.key == record.headers["ce_partitionkey"]
    assert record.headers["content-type"] == "application/json"
    assert record.headers["ce_dataschema"].endswith("/recommendation.created.v1.json")
    assert "ce_datacontenttype" not in record.headers


def test_the_same_event_is_the_same_bytes() -> None:
    assert event(created()).record().model_dump_json() == event(created()).record().model_dump_json()


def test_a_hop_continues_the_causes_trace_with_a_span_of_its_own() -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    caused = replace(scan_event(), traceparent=f"00-{trace}-b7ad6b7169203331-01")
    hop = caused.record().headers["traceparent"]
    assert hop.split("-")[1] == trace
    assert hop.split("-")[2] != "b7ad6b7169203331"
    assert hop == caused.record().headers["traceparent"]


def test_a_hop_without_a_trace_or_with_a_broken_one_begins_the_scans() -> None:
    begun = scan_event().record().headers["traceparent"]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", begun)
    assert replace(scan_event(), traceparent="junk").record().headers["traceparent"] == begun


def test_an_event_stays_below_64_kib_with_many_containers() -> None:
    proposal = created()
    many = proposal.model_copy(update={"containers": proposal.containers * 40})
    assert len(event(many).record().value) < 64 * 1024


# The scenarios of the CloudEvents conformance suite for Kafka: binary, structured, and neither.
def test_binary_mode_is_read_whatever_the_case_of_its_headers() -> None:
    record = scan_event().record()
    headers = {name.upper(): value for name, value in record.headers.items()}
    found = attributes_of_record(
        {k.replace("CE_", "ce_").lower(): v for k, v in headers.items()}, record.value.encode()
    )
    assert found is not None
    assert decode(*found) == scan_event()


@pytest.mark.parametrize("charset", ["", "; charset=UTF-8"])
def test_structured_mode_is_read(charset: str) -> None:
    one = scan_event()
    document = {
        **one.attributes(),
        "datacontenttype": "application/json",
        "data": json.loads(one.record().value),
    }
    headers = {"content-type": f"application/cloudevents+json{charset}"}
    found = attributes_of_record(headers, json.dumps(document).encode())
    assert found is not None
    assert decode(*found) == one


def test_integer_and_unknown_extensions_do_no_harm() -> None:
    one = scan_event()
    assert (
        decode({**one.attributes(), "knativekafkaoffset": 7, "sequence": "1"}, {**one.data.model_dump()})
        == one
    )


def test_a_record_that_is_no_cloudevent_is_none() -> None:
    assert attributes_of_record({"content-type": "application/json"}, b"{}") is None


@pytest.mark.parametrize("value", [b"{", b"[]", b""])
def test_broken_structured_mode_is_unreadable(value: bytes) -> None:
    with pytest.raises(Unreadable):
        attributes_of_record({"content-type": "application/cloudevents+json"}, value)


@pytest.mark.parametrize(
    "missing", ["id", "source", "type", "specversion", "time", "subject", "partitionkey"]
)
def test_a_missing_attribute_is_unreadable_and_named(missing: str) -> None:
    attributes = scan_event().attributes()
    del attributes[missing]
    with pytest.raises(Unreadable, match=missing):
        decode(attributes, scan_event().data.model_dump())


def test_an_unknown_type_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="not answered here"):
        decode({**scan_event().attributes(), "type": "io.kubefinops.scan.requested.v2"}, {})


@pytest.mark.parametrize("time", ["yesterday", "2026-01-01T00:00:00"])
def test_a_time_without_a_zone_or_sense_is_unreadable(time: str) -> None:
    with pytest.raises(Unreadable, match="time"):
        decode({**scan_event().attributes(), "time": time}, scan_event().data.model_dump())


# What does not convert to UTC, and what lies so far off that windows and deadlines leave the calendar.
FAR_OFF = [
    "0001-01-01T00:00:00+14:00",
    "0001-01-01T00:00:00Z",
    "1999-12-31T23:59:59Z",
    "2000-01-01T00:00:00+01:00",
    "2200-12-31T23:30:00-01:00",
    "2201-01-01T00:00:00Z",
    "9999-12-31T00:00:00Z",
    "9999-12-31T23:59:59-01:00",
]
NEAR = ["2000-01-01T00:00:00Z", "2026-11-23T13:00:00+01:00", "2200-12-31T23:59:59Z"]


@pytest.mark.parametrize("time", FAR_OFF)
def test_a_time_from_which_nothing_can_be_reckoned_is_unreadable(time: str) -> None:
    with pytest.raises(Unreadable, match=rf"^attribute time: {re.escape(time[:4])}-.* outside the years"):
        decode({**scan_event().attributes(), "time": time}, scan_event().data.model_dump())


@pytest.mark.parametrize("time", FAR_OFF)
def test_a_time_in_the_data_from_which_nothing_can_be_reckoned_is_permanent(time: str) -> None:
    data = {**scan_event().data.model_dump(), "scanned_at": time}
    with pytest.raises(Permanent, match=r"^ScanRequested: scanned_at: \d{4}-.* outside the years") as raised:
        decode(scan_event().attributes(), data)
    assert not isinstance(raised.value, Unreadable)


@pytest.mark.parametrize("time", NEAR)
def test_a_time_within_two_centuries_is_read(time: str) -> None:
    moment = datetime.fromisoformat(time)
    data = {**scan_event().data.model_dump(), "scanned_at": time}
    found = decode({**scan_event().attributes(), "time": time}, data)
    assert isinstance(found.data, ScanRequested)
    assert found.time == found.data.scanned_at == moment


def test_every_time_in_a_payload_has_these_bounds() -> None:
    found = set()
    for model in PAYLOADS.values():
        for name, schema in model.model_json_schema(mode="validation")["properties"].items():
            if schema.get("format") == "date-time":
                with pytest.raises(ValidationError) as raised:
                    model.model_validate({name: FAR_OFF[0]})
                assert [error["type"] for error in raised.value.errors() if error["loc"] == (name,)] == [
                    "value_error"
                ], f"{model.__name__}.{name}"
                found.add(name)
    assert found == {"scanned_at", "applied_at"}


def test_the_receivers_event_of_a_fact_without_a_time_is_read() -> None:
    one = reconcile("local", "git_host", "delivery-1", NO_TIME)
    assert decode_record(one.record()) == one


def test_data_that_is_no_json_is_permanent() -> None:
    with pytest.raises(Permanent, match="no JSON"):
        decode(scan_event().attributes(), b"{broken")


def test_wrong_data_is_permanent_and_names_the_field() -> None:
    with pytest.raises(Permanent, match=r"ScanRequested: scanned_at: .*\(and 1 more\)"):
        decode(
            scan_event().attributes(),
            {"cluster": "a", "scan_id": "b", "requested_by": "person", "scanned_at": 5j}
            | {"requested_by": "x"},
        )


def test_unknown_fields_are_ignored_when_read_and_refused_when_written() -> None:
    data = {**scan_event().data.model_dump(), "from_the_future": 1}
    assert decode(scan_event().attributes(), data).data == scan_event().data
    with pytest.raises(ValueError, match="from_the_future"):
        ScanRequested(**data)


def test_a_reason_from_the_future_is_read_and_one_that_is_none_is_not_written() -> None:
    """While a new revision rolls out, an older stage beside it reads what the new one writes."""
    facts = {"recommendation_id": "r1", "workload": CHECKOUT, "message": "so"}
    one = event(ChangeFailed.model_validate({**facts, "reason": FailureReason.REFUSED}))
    data = json.loads(one.record().value)
    known = decode(one.attributes(), data).data
    assert isinstance(known, ChangeFailed)
    assert known.reason is FailureReason.REFUSED
    newer = decode(one.attributes(), {**data, "reason": "from_the_future"})
    assert isinstance(newer.data, ChangeFailed)
    assert newer.data.reason == "from_the_future"
    assert decode_record(newer.record()) == newer
    with pytest.raises(Permanent, match="ChangeFailed: reason"):
        decode(one.attributes(), {**data, "reason": 7})
    with pytest.raises(ValueError, match="'from_the_future' is no FailureReason"):
        ChangeFailed.model_validate({**facts, "reason": "from_the_future"})
    reason = json_schema(Topic.CHANGE_FAILED)["properties"]["reason"]
    assert {"type": "string"} in reason["anyOf"], "who checks against the schema reads it too"


def test_every_topic_has_a_schema_with_its_uri() -> None:
    for topic in Topic:
        schema = json_schema(topic)
        assert schema["$id"].endswith(f"{topic}.v1.json")
        assert schema["additionalProperties"] is False
        assert schema["description"].endswith("."), f"{topic}: what it tells"


def test_times_survive_from_any_zone() -> None:
    assert decode(
        {**scan_event().attributes(), "time": "2026-11-23T13:00:00+01:00"}, scan_event().data.model_dump()
    ).time == datetime(2026, 11, 23, 12, tzinfo=UTC)
