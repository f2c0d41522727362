"""The object store: one suite, on the fake and on a server that speaks S3."""

from __future__ import annotations

import hashlib
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from minio.error import S3Error

from shared.adapters import objectstore
from shared.adapters.objectstore import ObjectStore, S3ObjectStore, canonical
from shared.contracts.errors import BadSetting, Temporary
from tests.fakes.objectstore import FakeObjectStore
from tests.trickling import TRICKLES, sending

KEY = "reports/local/2026/11/23/scan-0000.json"


def later() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


def a_store(
    environment: dict[str, str], mode: Literal["GOVERNANCE", "COMPLIANCE"] = "GOVERNANCE"
) -> S3ObjectStore:
    """For a bucket of the test's own, which is not there yet."""
    return S3ObjectStore(
        environment["S3_ENDPOINT"],
        access_key=environment["S3_ACCESS_KEY"],
        secret_key=environment["S3_SECRET_KEY"],
        bucket=f"test-{uuid.uuid4().hex[:12]}",
        region=environment["S3_REGION"],
        retention_mode=mode,
    )


@pytest.fixture(params=["fake", "s3"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    if request.param == "fake":
        return FakeObjectStore()
    found: S3ObjectStore = request.getfixturevalue("object_store")
    return found


def test_what_is_put_is_got_by_its_version(store: ObjectStore) -> None:
    first = store.put(KEY, b'{"a":1}', later())
    second = store.put(KEY, b'{"a":2}', later())
    assert first.version_id != second.version_id
    assert store.get(KEY, first.version_id) == b'{"a":1}'
    assert store.get(KEY, None) == b'{"a":2}'


def test_what_is_stored_tells_its_hash_and_size(store: ObjectStore) -> None:
    stored = store.put(KEY, b"12345", later())
    assert stored.sha256 == hashlib.sha256(b"12345").hexdigest()
    assert (stored.key, stored.size) == (KEY, 5)


def test_what_is_not_there_is_a_key_error(store: ObjectStore) -> None:
    with pytest.raises(KeyError):
        store.get("nowhere", None)


def test_a_version_is_locked_until_its_time(object_store: S3ObjectStore) -> None:
    stored = object_store.put(KEY, b"evidence", later())
    with pytest.raises(S3Error):
        object_store._client.remove_object(object_store.bucket, KEY, version_id=stored.version_id)
    assert object_store.get(KEY, stored.version_id) == b"evidence"


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
def test_a_version_has_the_retention_and_the_content_type_that_it_was_put_with(
    objectstore_environment: dict[str, str], mode: Literal["GOVERNANCE", "COMPLIANCE"]
) -> None:
    store = a_store(objectstore_environment, mode)
    store.create_bucket()
    until = later().replace(microsecond=0)
    stored = store.put(KEY, b'{"a":1}', until)
    retention = store._client.get_object_retention(store.bucket, KEY, version_id=stored.version_id)
    assert retention is not None
    assert (retention.mode, retention.retain_until_date) == (mode, until)
    found = store._client.stat_object(store.bucket, KEY, version_id=stored.version_id)
    assert (found.content_type, found.size) == ("application/json", stored.size)


def test_the_bucket_is_created_once(object_store: S3ObjectStore) -> None:
    assert not object_store.create_bucket()


def test_a_bucket_that_is_there_without_object_lock_is_a_bad_setting(
    objectstore_environment: dict[str, str],
) -> None:
    store = a_store(objectstore_environment)
    store._client.make_bucket(store.bucket)
    with pytest.raises(BadSetting, match=rf"^S3_BUCKET: the bucket {store.bucket} .* without object lock"):
        store.create_bucket()


def test_a_server_that_is_away_is_temporary() -> None:
    away = S3ObjectStore(
        "http://127.0.0.1:1",
        access_key="a",
        secret_key="b",
        bucket="nowhere",
        region="us-east-1",
        retention_mode="GOVERNANCE",
    )
    with pytest.raises(
        Temporary, match=r"^no object storage answers at http://127.0.0.1:1 \(S3_ENDPOINT\): Fa"
    ):
        away.put(KEY, b"", later())


@pytest.mark.parametrize("what", ["headers", "length of a chunk", "without a length"])
def test_an_answer_that_trickles_is_given_up_in_time(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectstore, "ANSWER_SECONDS", 0.2)
    with sending(TRICKLES[what]) as address:
        slow = a_store(
            {"S3_ENDPOINT": address, "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b", "S3_REGION": "us-east-1"}
        )
        began = time.monotonic()
        with pytest.raises(Temporary, match="Read timed out"):
            slow.get(KEY, None)
        with pytest.raises(Temporary, match="Read timed out"):
            slow.put(KEY, b"{}", later())
        assert time.monotonic() - began < 5


def test_canonical_json_is_the_same_for_the_same_document() -> None:
    assert canonical({"b": 1.0, "a": "é"}) == canonical({"a": "é", "b": 1}) == '{"a":"é","b":1}'.encode()


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="nan"):
        canonical({"a": float("nan")})
