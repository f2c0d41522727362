"""CloudEvents 1.0 around a payload, and their exact form as a Kafka record.

cloudevents 1.12's own Kafka binding drops the partition key's header, writes `datacontenttype` as the
content type of structured records and fails on integer extensions; hence this small codec, which follows
the Kafka protocol binding: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.errors import Permanent, Unreadable
from shared.contracts.events import PAYLOADS, TOPIC_OF_PAYLOAD, Payload, rfc3339, schema_uri, within_reach
from shared.contracts.identity import digest
from shared.contracts.topics import TOPIC_OF_TYPE, Topic

CONTENT_TYPE = "application/json"
STRUCTURED = "application/cloudevents"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?P<trace>(?!0{32})[0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")
# The receiver's event about a fact that does not tell its time.
NO_TIME = datetime.fromtimestamp(0, UTC)
REQUIRED = ("id", "source", "specversion", "type")


class Record(BaseModel):
    """A Kafka record as it is published, and as a ledger stores it: text, so byte for byte the same."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    topic: str
    key: str
    headers: dict[str, str] = Field(default_factory=dict)
    value: str

    @property
    def event_id(self) -> str:
        return self.headers["ce_id"]

    @property
    def event_type(self) -> str:
        return self.headers["ce_type"]


@dataclass(frozen=True)
class Event:
    """One of our events. `partitionkey` is an attribute because KafkaSource does not hand on the key."""

    id: str
    source: str
    subject: str
    time: datetime
    partitionkey: str
    correlationid: str
    data: Payload
    causationid: str | None = None
    # The trace that it was caused in; which trace that is says nothing about the event.
    traceparent: str | None = field(default=None, compare=False)
    extensions: Mapping[str, str] = field(default_factory=dict)

    @property
    def topic(self) -> Topic:
        return TOPIC_OF_PAYLOAD[type(self.data)]

    @property
    def type(self) -> str:
        return self.topic.event_type

    def attributes(self) -> dict[str, str]:
        """Every CloudEvents attribute but `datacontenttype`, as strings."""
        attributes = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": rfc3339(self.time),
            "dataschema": schema_uri(self.topic),
            "partitionkey": self.partitionkey,
            "correlationid": self.correlationid,
            **self.extensions,
        }
        if self.causationid is not None:
            attributes["causationid"] = self.causationid
        return attributes

    def _hop(self) -> str:
        """This hop's W3C trace context: the cause's trace, or the scan's, and a span named by the event.

        Derived, not drawn by lot, so that publishing the event again is the same bytes.
        https://www.w3.org/TR/trace-context/#traceparent-header
        """
        found = _TRACEPARENT.fullmatch(self.traceparent or "")
        trace = found["trace"] if found else digest("trace", self.correlationid)[:32]
        return f"00-{trace}-{digest('span', self.id)[:16]}-01"

    def record(self) -> Record:
        """This event in binary content mode."""
        headers = {f"ce_{name}": value for name, value in self.attributes().items()}
        headers["content-type"] = CONTENT_TYPE
        headers["traceparent"] = self._hop()
        # Sorted and compact: the same payload is the same bytes in every process.
        value = json.dumps(
            self.data.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        return Record(topic=self.topic.value, key=self.partitionkey, headers=headers, value=value)


def decode(
    attributes: Mapping[str, Any],
    data: object,
    *,
    accepts: Collection[Topic] = tuple(Topic),
    traceparent: str | None = None,
) -> Event:
    """The event that CloudEvents attributes and their parsed JSON data make.

    Raises:
        Unreadable: an attribute is missing or malformed, or the type is none of those accepted.
        Permanent: the data does not fit the type's payload.
    """
    for name in (*REQUIRED, "time", "subject", "partitionkey", "correlationid"):
        if not attributes.get(name):
            raise Unreadable(f"no CloudEvents attribute {name!r}; events of this product carry it")
    topic = TOPIC_OF_TYPE.get(str(attributes["type"]))
    if topic is None or topic not in accepts:
        known = ", ".join(sorted(one.event_type for one in accepts))
        raise Unreadable(f"event type {attributes['type']!r} is not answered here; answered: {known}")
    if isinstance(data, bytes | bytearray | str):
        raise Permanent(f"{topic.event_type}: the data is no JSON document")
    try:
        moment = datetime.fromisoformat(str(attributes["time"]))
    except ValueError:
        raise Unreadable(f"attribute time: {attributes['time']!r} is no RFC 3339 time") from None
    if moment.tzinfo is None:
        raise Unreadable(f"attribute time: {attributes['time']!r} has no time zone")
    if moment != NO_TIME:
        try:
            within_reach(moment)
        except ValueError as error:
            raise Unreadable(f"attribute time: {error}") from None
    causation = attributes.get("causationid")
    return Event(
        id=str(attributes["id"]),
        source=str(attributes["source"]),
        subject=str(attributes["subject"]),
        time=moment,
        partitionkey=str(attributes["partitionkey"]),
        correlationid=str(attributes["correlationid"]),
        causationid=None if causation is None else str(causation),
        data=PAYLOADS[topic].read(data),
        traceparent=traceparent,
    )


def attributes_of_record(
    headers: Mapping[str, str], value: bytes | None
) -> tuple[dict[str, Any], object] | None:
    """Attributes and data of a Kafka record in binary or structured mode; None if it is no CloudEvent.

    Raises:
        Unreadable: it says that it is a CloudEvent, but cannot be parsed.
    """
    lowered = {name.lower(): text for name, text in headers.items()}
    content_type = lowered.get("content-type", "")
    if content_type.startswith(STRUCTURED):
        try:
            document = json.loads(value or b"")
        except ValueError as error:
            raise Unreadable(f"structured CloudEvent: {error}") from None
        if not isinstance(document, dict):
            raise Unreadable("structured CloudEvent: not a JSON object")
        data = document.pop("data", None)
        return document, data
    attributes: dict[str, Any] = {
        name.removeprefix("ce_"): text for name, text in lowered.items() if name.startswith("ce_")
    }
    if not all(attributes.get(name) for name in REQUIRED):
        return None
    if value is None:
        return attributes, None
    try:
        return attributes, json.loads(value)
    except ValueError:
        return attributes, value


def decode_record(record: Record) -> Event:
    """The event in a record of ours. Raises Unreadable or Permanent."""
    found = attributes_of_record(record.headers, record.value.encode())
    if found is None:
        raise Unreadable(f"record on {record.topic} is no CloudEvent")
    attributes, data = found
    return decode(attributes, data, traceparent=record.headers.get("traceparent"))
