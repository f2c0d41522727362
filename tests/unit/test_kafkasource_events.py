"""What KafkaSource makes of a record: contracts.md, and the CloudEvents bindings of Kafka and HTTP."""

from __future__ import annotations

import json
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.emulator.cloudevent import (
    CloudEvent,
    Record,
    delivered_event,
    event_of,
    http_headers,
    kafka_message,
    percent_encoded,
)

HEADERS = {
    "ce_specversion": "1.0",
    "ce_id": "42",
    "ce_source": "/kubefinops/local/receiver",
    "ce_type": "io.kubefinops.scan.requested.v1",
    "content-type": "application/json",
}


def record(
    headers: dict[str, str] | None = None, value: bytes | None = b'{"a":1}', key: bytes | None = b"k"
) -> Record:
    pairs = tuple((name, text.encode()) for name, text in (HEADERS if headers is None else headers).items())
    return Record("scan.requested", 3, 17, 1_700_000_000_123, key, pairs, value)


def delivered(from_record: Record, overrides: dict[str, str] | None = None) -> CloudEvent:
    return delivered_event(from_record, "kubefinops", "policy-x", overrides or {})


def test_binary_record_keeps_attributes_and_data() -> None:
    event = delivered(record())
    assert event.data == b'{"a":1}'
    assert event.attributes["id"] == "42"
    assert event.attributes["type"] == "io.kubefinops.scan.requested.v1"
    assert event.attributes["datacontenttype"] == "application/json"


def test_every_event_carries_its_partition_and_offset() -> None:
    attributes = delivered(record()).attributes
    assert attributes["knativekafkapartition"] == "3"
    assert attributes["knativekafkaoffset"] == "17"


def test_key_of_a_cloudevent_is_not_exposed() -> None:
    assert {"key", "partitionkey"}.isdisjoint(delivered(record(key=b"the-key")).attributes)


def test_structured_record_is_delivered_in_binary_mode() -> None:
    document = {
        "specversion": "1.0",
        "id": "42",
        "source": "/s",
        "type": "t",
        "retries": 3,
        "final": True,
        "data": {"a": 1},
    }
    structured = record(
        {"content-type": "application/cloudevents+json; charset=UTF-8"}, json.dumps(document).encode()
    )
    headers = http_headers(delivered(structured))
    assert headers["Content-Type"] == "application/json"
    assert headers["ce-id"] == "42"
    assert (headers["ce-retries"], headers["ce-final"]) == ("3", "true")
    assert delivered(structured).data == b'{"a":1}'


@pytest.mark.parametrize(
    ("fields", "data"),
    [
        ({"data_base64": "AAH/"}, b"\x00\x01\xff"),
        ({"data": "plain", "datacontenttype": "text/plain"}, b"plain"),
        ({"data": "quoted", "datacontenttype": "application/json"}, b'"quoted"'),
        ({}, None),
    ],
)
def test_structured_data_becomes_the_body(fields: dict[str, str], data: bytes | None) -> None:
    document = {"specversion": "1.0", "id": "42", "source": "/s", "type": "t", **fields}
    structured = record({"content-type": "application/cloudevents+json"}, json.dumps(document).encode())
    assert delivered(structured).data == data


@pytest.mark.parametrize(
    "broken",
    [
        record({}),
        record({name: text for name, text in HEADERS.items() if name != "ce_id"}),
        record({**HEADERS, "ce_source": ""}),
        record({**HEADERS, "ce_specversion": "9.9"}),
        record({**HEADERS, "ce_time": "yesterday"}),
        record({**HEADERS, "ce_not-a-name": "x"}),
        record({"content-type": "application/cloudevents+json"}, b"{not json"),
        record({"content-type": "application/cloudevents+json"}, b"[]"),
        record({"content-type": "application/cloudevents+json"}, b'{"id": {}}'),
        record({"content-type": "application/cloudevents+json"}, None),
        record({"content-type": "application/cloudevents+json"}, b'{"data_base64": "*"}'),
    ],
)
def test_what_is_no_valid_cloudevent_is_wrapped(broken: Record) -> None:
    assert event_of(broken) is None
    assert delivered(broken).attributes["type"] == "dev.knative.kafka.event"


def test_wrapped_record_tells_its_place_key_and_headers() -> None:
    headers = {"Content-Type": "Text/Plain", "X-Trace_Id": "abc", "other": "ü"}
    event = delivered(record(headers, b"raw", b"the-key"))
    assert event.data == b"raw"
    assert event.attributes == {
        "specversion": "1.0",
        "type": "dev.knative.kafka.event",
        "id": "partition:3/offset:17",
        "subject": "partition:3#17",
        "source": "/apis/v1/namespaces/kubefinops/kafkasources/policy-x#scan.requested",
        "time": "2023-11-14T22:13:20.123Z",
        "key": "the-key",
        "partitionkey": "the-key",
        "datacontenttype": "text/plain",
        "kafkaheaderxtraceid": "abc",
        "kafkaheaderother": "ü",
        "knativekafkapartition": "3",
        "knativekafkaoffset": "17",
    }


def test_wrapped_record_without_a_key_has_no_key_extensions() -> None:
    assert {"key", "partitionkey"}.isdisjoint(delivered(record({}, key=None)).attributes)


def test_tombstone_has_no_body_whether_it_is_a_cloudevent_or_not() -> None:
    assert delivered(record(value=None)).data is None
    assert delivered(record(value=None)).attributes["id"] == "42"
    assert delivered(record({}, None)).data is None


def test_overrides_add_and_replace_extensions() -> None:
    attributes = delivered(record({**HEADERS, "ce_stage": "a"}), {"stage": "b", "extra": "c"}).attributes
    assert (attributes["stage"], attributes["extra"]) == ("b", "c")


def test_header_values_are_percent_encoded_as_the_http_binding_says() -> None:
    assert percent_encoded('Euro € 😀 "50%"') == "Euro%20%E2%82%AC%20%F0%9F%98%80%20%2250%25%22"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_percent_encoding_is_ascii_and_reversible(value: str) -> None:
    encoded = percent_encoded(value)
    assert all("!" <= character <= "~" for character in encoded)
    assert unquote(encoded) == value


def test_a_line_break_in_a_content_type_cannot_make_a_header_of_its_own() -> None:
    headers = http_headers(delivered(record({**HEADERS, "content-type": "a/b\r\nce-id: 1"})))
    assert headers["Content-Type"] == "a/b%0D%0Ace-id: 1"


@given(
    st.dictionaries(st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True), st.text(min_size=1), max_size=5),
    st.none() | st.binary(),
)
def test_a_dead_letter_reads_back_as_the_same_event(extensions: dict[str, str], data: bytes | None) -> None:
    extensions = {name: text for name, text in extensions.items() if name not in ("time", "specversion")}
    extensions = {name: text.encode(errors="replace").decode() for name, text in extensions.items()}
    event = CloudEvent({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", **extensions}, data)
    key, headers, value = kafka_message(event)
    assert key == event.attributes.get("partitionkey")
    if not event.attributes.get("datacontenttype", "").startswith("application/cloudevents"):
        assert event_of(Record("t", 0, 0, 0, None, tuple(headers), value)) == event


def test_a_structured_kafka_sink_writes_the_same_event_in_one_document() -> None:
    event = CloudEvent({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}, b"\x00data")
    _, headers, value = kafka_message(event, "structured")
    assert event_of(Record("t", 0, 0, 0, None, tuple(headers), value)) == event
