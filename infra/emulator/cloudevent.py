"""A CloudEvent between its forms: Kafka record in, HTTP request out, Kafka record of a dead letter out.

This is the dispatcher's side of the wire, written apart from the product's own codec so that one checks the
other. Bindings: https://github.com/cloudevents/spec/tree/v1.0.2/cloudevents/bindings
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

REQUIRED = ("id", "source", "specversion", "type")
STRUCTURED = "application/cloudevents"
_NAME = re.compile(r"[a-z0-9]+")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_NOT_IN_A_NAME = re.compile(r"[^a-z0-9]")
# Percent, double quote, space and all outside printable ASCII: HTTP binding, 3.1.3.2.
_ENCODED = re.compile(rb"[^\x21\x23\x24\x26-\x7e]")
_UNPRINTABLE = re.compile(rb"[^\x20-\x7e]")


@dataclass(frozen=True)
class Record:
    """A consumed Kafka record. `timestamp` is milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    value: bytes | None


@dataclass(frozen=True)
class CloudEvent:
    """Attributes as strings, `datacontenttype` among them, and the data's bytes."""

    attributes: Mapping[str, str]
    data: bytes | None = None

    def extended(self, extensions: Mapping[str, str]) -> CloudEvent:
        """This event with extensions added or replaced."""
        return CloudEvent({**self.attributes, **extensions}, self.data)


def delivered_event(record: Record, namespace: str, source: str, overrides: Mapping[str, str]) -> CloudEvent:
    """What KafkaSource `namespace`/`source` delivers for a record; one that is no CloudEvent is wrapped."""
    event = event_of(record) or wrapped(record, namespace, source)
    place = {"knativekafkapartition": str(record.partition), "knativekafkaoffset": str(record.offset)}
    return event.extended({**place, **overrides})


def event_of(record: Record) -> CloudEvent | None:
    """The CloudEvent in a record, in binary or structured mode; None where there is no valid one."""
    headers = {name.lower(): value.decode(errors="replace") for name, value in record.headers}
    content_type = headers.get("content-type")
    if content_type is not None and content_type.startswith(STRUCTURED):
        event = _structured(record.value)
    else:
        attributes = {name[3:]: text for name, text in headers.items() if name.startswith("ce_")}
        if content_type is not None:
            attributes["datacontenttype"] = content_type
        event = CloudEvent(attributes, record.value)
    if event is None or not _valid(event.attributes):
        return None
    return event


def wrapped(record: Record, namespace: str, source: str) -> CloudEvent:
    """The event that stands for a record which is none: its bytes as data, its place as attributes."""
    attributes = {
        "specversion": "1.0",
        "type": "dev.knative.kafka.event",
        "id": f"partition:{record.partition}/offset:{record.offset}",
        "subject": f"partition:{record.partition}#{record.offset}",
        "source": f"/apis/v1/namespaces/{namespace}/kafkasources/{source}#{record.topic}",
        "time": rfc3339(record.timestamp),
    }
    if record.key:
        attributes["key"] = attributes["partitionkey"] = record.key.decode(errors="replace")
    for name, value in record.headers:
        text = value.decode(errors="replace")
        if name.lower() == "content-type":
            attributes["datacontenttype"] = text.lower()
        else:
            attributes["kafkaheader" + _NOT_IN_A_NAME.sub("", name.lower())] = text
    return CloudEvent(attributes, record.value)


def http_headers(event: CloudEvent) -> dict[str, str]:
    """The headers of the event in HTTP's binary content mode, values percent-encoded."""
    headers = {
        f"ce-{name}": percent_encoded(value)
        for name, value in event.attributes.items()
        if name != "datacontenttype"
    }
    if "datacontenttype" in event.attributes:
        # Not percent-encoded by the binding; but a line break in a record's header must not split ours.
        headers["Content-Type"] = _encoded(event.attributes["datacontenttype"], _UNPRINTABLE)
    return headers


def kafka_message(
    event: CloudEvent, content_mode: str = "binary"
) -> tuple[str | None, list[tuple[str, bytes]], bytes | None]:
    """Key, headers and value of the record that a KafkaSink writes; the key is the `partitionkey`."""
    key = event.attributes.get("partitionkey")
    if content_mode == "structured":
        document: dict[str, Any] = dict(event.attributes)
        if event.data is not None:
            document["data_base64"] = base64.b64encode(event.data).decode()
        return key, [("content-type", b"application/cloudevents+json")], json.dumps(document).encode()
    headers = [
        ("content-type" if name == "datacontenttype" else f"ce_{name}", value.encode())
        for name, value in event.attributes.items()
    ]
    return key, headers, event.data


def percent_encoded(value: str) -> str:
    """A header value as the HTTP binding writes it."""
    return _encoded(value, _ENCODED)


def rfc3339(milliseconds: int) -> str:
    """A moment in UTC, given in milliseconds since 1970."""
    moment = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _encoded(value: str, characters: re.Pattern[bytes]) -> str:
    return characters.sub(lambda found: b"%%%02X" % found.group()[0], value.encode(errors="replace")).decode()


def _valid(attributes: Mapping[str, str]) -> bool:
    return (
        all(attributes.get(name) for name in REQUIRED)
        and attributes["specversion"] == "1.0"
        and all(_NAME.fullmatch(name) for name in attributes)
        and ("time" not in attributes or _RFC3339.fullmatch(attributes["time"]) is not None)
    )


def _structured(value: bytes | None) -> CloudEvent | None:
    try:
        document = json.loads(value or b"")
        if not isinstance(document, dict):
            return None
        data, encoded = document.pop("data", None), document.pop("data_base64", None)
        attributes = {name: _text(each) for name, each in document.items() if each is not None}
        if encoded is not None:
            return CloudEvent(attributes, base64.b64decode(encoded, validate=True))
    except (TypeError, ValueError):
        return None
    if data is None:
        return CloudEvent(attributes)
    # JSON format, 3.1: without a content type the data is JSON, and said to be when it changes its form.
    content_type = attributes.setdefault("datacontenttype", "application/json")
    if isinstance(data, str) and not re.search(r"[/+]json\b", content_type):
        return CloudEvent(attributes, data.encode())
    return CloudEvent(attributes, json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())


def _text(attribute: object) -> str:
    """An attribute's canonical string. Raises TypeError for a type that CloudEvents does not know."""
    if isinstance(attribute, str):
        return attribute
    if isinstance(attribute, int):  # a boolean is one here, and allowed
        return json.dumps(attribute)
    raise TypeError(f"{attribute!r} is no CloudEvents value")
