"""Who runs when and beside whom, and the servers that the contract suites run on.

Each embedded server is started once by each worker of a session in which a test asks for it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import hypothesis
import pytest
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from shared.adapters.mongo import Mongo
from shared.adapters.objectstore import S3ObjectStore
from tests.servers import mongo_server, objectstore_server

# On a busy machine an example takes as long as it takes.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Those that take longest begin first, or one worker would still be at them when the others have nothing left.
FIRST = ("test_loop.py", "test_faults.py", "test_outside.py", "test_emulator.py")


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a whole file to one worker, for its tests share what its fixtures started.

    Two exceptions: the loop runs on generated and on measured usage side by side, and each fault has a loop
    of its own.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        if file.endswith("e2e/test_loop.py"):
            return f"{file} {'measured' if '[measured' in test else 'generated'}"
        return nodeid if file.endswith("e2e/test_faults.py") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


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
