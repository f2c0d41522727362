"""The embedded servers for tests: on free ports, in their own directories, ended with the block."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from infra.emulator.servers.apache_kafka import ApacheKafka
from infra.emulator.servers.kafka import EmbeddedKafka
from infra.emulator.servers.mongo import EmbeddedMongo
from infra.emulator.servers.objectstore import EmbeddedObjectStore
from infra.emulator.servers.prometheus import EmbeddedPrometheus, ScrapeJob
from infra.emulator.servers.server import Server

S = TypeVar("S", bound=Server)


@contextmanager
def kafka_server(topics: Mapping[str, int]) -> Iterator[EmbeddedKafka]:
    with (
        tempfile.TemporaryDirectory(prefix="kafka-") as directory,
        _started(EmbeddedKafka(topics, Path(directory))) as server,
    ):
        yield server


@contextmanager
def apache_kafka_server() -> Iterator[ApacheKafka]:
    """The real one; its artifacts have to be there (`python -m infra.emulator.servers.apache_kafka`)."""
    with (
        tempfile.TemporaryDirectory(prefix="apache-kafka-") as directory,
        _started(ApacheKafka(Path(directory) / "data", Path(directory), port=0)) as server,
    ):
        yield server


@contextmanager
def mongo_server() -> Iterator[EmbeddedMongo]:
    with (
        tempfile.TemporaryDirectory(prefix="mongodb-") as directory,
        _started(EmbeddedMongo(Path(directory) / "data", Path(directory), port=0)) as server,
    ):
        yield server


@contextmanager
def objectstore_server() -> Iterator[EmbeddedObjectStore]:
    with (
        tempfile.TemporaryDirectory(prefix="objectstore-") as directory,
        _started(EmbeddedObjectStore(Path(directory) / "data", Path(directory), port=0)) as server,
    ):
        yield server


@contextmanager
def prometheus_server(
    openmetrics: Path | None = None,
    jobs: Sequence[ScrapeJob] = (),
    *,
    flags: Sequence[str] = (),
    data: Path | None = None,
) -> Iterator[EmbeddedPrometheus]:
    """With the blocks in `data`, where somebody made some."""
    with tempfile.TemporaryDirectory(prefix="prometheus-") as directory:
        logs = Path(directory)
        server = EmbeddedPrometheus(data or logs / "data", logs, jobs, openmetrics, port=0, flags=flags)
        with _started(server):
            yield server


@contextmanager
def _started(server: S) -> Iterator[S]:
    try:
        server.start()
        yield server
    finally:
        server.stop()
