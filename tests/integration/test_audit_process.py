"""Audit as functions-framework runs it, with a real bucket and a server that speaks MongoDB's protocol."""

from __future__ import annotations

import http.client
import json
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.emulator.servers.ports import LOOPBACK, take_port
from infra.emulator.servers.process import Process
from shared.adapters.mongo import Mongo
from shared.adapters.objectstore import S3ObjectStore
from shared.contracts.documents import ReportRow
from shared.contracts.envelope import Event
from shared.contracts.events import ChangeFailed, FailureReason
from tests.examples import CHECKOUT, created, event, scan_event

ROOT = Path(__file__).parents[2]


@pytest.fixture
def database(mongo_address: str) -> Iterator[Mongo]:
    mongo = Mongo(mongo_address, f"audit_{uuid.uuid4().hex[:12]}")
    mongo.create_indexes()
    yield mongo
    mongo.close()


@pytest.fixture
def audit(
    object_store: S3ObjectStore,
    objectstore_environment: dict[str, str],
    database: Mongo,
    mongo_address: str,
    tmp_path: Path,
) -> Iterator[int]:
    port, _ = take_port(0, "audit")
    process = Process.start(
        [
            str(Path(sys.executable).with_name("functions-framework")),
            *("--target", "audit", "--source", str(ROOT / "functions/audit/main.py")),
            *("--signature-type", "cloudevent", "--host", LOOPBACK, "--port", str(port)),
        ],
        {
            **objectstore_environment,
            "S3_BUCKET": object_store.bucket,
            "MONGODB_URI": mongo_address,
            "MONGODB_DATABASE": database.database.name,
            "PYTHONPATH": str(ROOT),
        },
        tmp_path / "audit.log",
    )
    try:
        process.wait_http(f"http://{LOOPBACK}:{port}/health/readiness")
        yield port
    finally:
        process.stop()


def deliver(port: int, one: Event, offset: int, data: bytes | None = None) -> tuple[int, str]:
    """As KafkaSource does: binary mode, with its own extensions. Returns status and body."""
    headers = {f"ce-{name}": value for name, value in one.attributes().items()}
    headers |= {
        "Content-Type": "application/json",
        "ce-knativekafkapartition": "0",
        "ce-knativekafkaoffset": str(offset),
        "traceparent": f"00-{offset:032x}-{offset:016x}-01",
    }
    body = data or json.dumps(one.data.model_dump(mode="json")).encode()
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=30)
    try:
        connection.request("POST", "/", body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def failed(message: str) -> Event:
    return event(
        ChangeFailed(
            recommendation_id="r1", workload=CHECKOUT, reason=FailureReason.REFUSED, message=message
        ),
        id="e2",
    )


def rows(mongo: Mongo) -> list[ReportRow]:
    return [ReportRow.model_validate(row) for row in mongo.database["reports"].find().sort("key")]


def test_deliveries_become_one_locked_record_each_and_what_it_cannot_read_is_refused(
    audit: int, object_store: S3ObjectStore, database: Mongo
) -> None:
    first = event(created(), id="e1")
    assert deliver(audit, first, offset=1)[0] == 200
    assert deliver(audit, first, offset=2)[0] == 200, "the same event, read from Kafka again"
    assert deliver(audit, failed("one story"), offset=3)[0] == 200
    assert deliver(audit, failed("another story"), offset=4)[0] == 200

    found = rows(database)
    assert [row.event_id for row in found] == ["e1", "e2", "e2"]
    for row in found:
        record = json.loads(object_store.get(row.key, row.version_id))
        assert record["attributes"]["id"] == row.event_id
        assert "knativekafkaoffset" not in record["attributes"]

    status, reason = deliver(audit, scan_event(), offset=5)
    assert status == 400
    assert "scan.requested" in reason
    status, reason = deliver(audit, first, offset=6, data=b'{"recommendation_id": 1}')
    assert status == 422
    assert len(rows(database)) == 3
