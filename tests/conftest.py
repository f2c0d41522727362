"""Servers that the contract suites run on: each embedded one is started once a session, if a test asks."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from shared.adapters.mongo import Mongo
from shared.adapters.objectstore import S3ObjectStore
from tests.servers import mongo_server, objectstore_server


@pytest.fixture(scope="session")
def mongo_address() -> Iterator[str]:
    with mongo_server() as server:
        yield str(server.address)


@pytest.fixture
def mongo(mongo_address: str) -> Iterator[Mongo]:
    """A database of the test's own, with the indexes."""
    mongo = Mongo(mongo_address, f"test_{uuid.uuid4().hex[:12]}")
    mongo.create_indexes()
    yield mongo
    mongo.close()


@pytest.fixture(scope="session")
def objectstore_environment() -> Iterator[dict[str, str]]:
    with objectstore_server() as server:
        yield server.environment()


@pytest.fixture
def object_store(objectstore_environment: dict[str, str]) -> S3ObjectStore:
    """A bucket of the test's own, with object lock."""
    store = S3ObjectStore(
        objectstore_environment["S3_ENDPOINT"],
        access_key=objectstore_environment["S3_ACCESS_KEY"],
        secret_key=objectstore_environment["S3_SECRET_KEY"],
        bucket=f"test-{uuid.uuid4().hex[:12]}",
        region=objectstore_environment["S3_REGION"],
        retention_mode="GOVERNANCE",
    )
    assert store.create_bucket()
    return store
