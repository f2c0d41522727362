"""A Kafka broker for one machine: librdkafka's mock cluster, in memory only.

The confluent-kafka wheel contains it; only its C interface (rdkafka_mock.h) can create topics. It runs in a
child of its own, `python -m infra.emulator.servers.kafka`, so that its end is not the emulator's. It speaks
the real protocol for producing, consuming, groups and offsets. What it lacks: disk, isolation of
transactions, the admin requests (topics are made at its start); each partition keeps its last 5 MB only.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from infra.emulator.servers.errors import SetupError, StartError, UnreachableError
from infra.emulator.servers.given import GivenServer
from infra.emulator.servers.process import Process
from infra.emulator.servers.server import Address, Server

__all__ = ["EmbeddedKafka", "kafka_server"]

VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"
RD_KAFKA_PRODUCER = 0


def kafka_server(environ: Mapping[str, str], topics: Mapping[str, int], logs: Path) -> Server:
    """The broker that `environ` names, else the embedded one with `topics` (name: number of partitions)."""
    if bootstrap := environ.get(VARIABLE):
        return GivenServer(
            "kafka", Address(bootstrap), {VARIABLE: bootstrap}, lambda: _ask_cluster(bootstrap)
        )
    return EmbeddedKafka(topics, logs)


class EmbeddedKafka:
    """The mock cluster in its own process. Its port is random, and a restart begins empty."""

    name = "kafka"
    kind: Literal["embedded"] = "embedded"
    notice: str | None = "Kafka is librdkafka's mock cluster: memory only, its records end with it"

    def __init__(self, topics: Mapping[str, int], logs: Path) -> None:
        self.address = Address("")
        self.version = "unknown"
        self._topics = dict(topics)
        self._log = logs / "kafka.log"
        self._process: Process | None = None

    def start(self) -> Address:
        topics = [f"{name}:{partitions}" for name, partitions in self._topics.items()]
        self._process = Process.start(
            [sys.executable, "-m", "infra.emulator.servers.kafka", "--topics", *topics], {}, self._log
        )
        # Its creation has stalled for 5 s when the cores were busy.
        ready = self._process.wait_line(r"^ready (\S+) (.+)$", within=20)
        self.address, self.version = Address(ready[1]), ready[2]
        return self.address

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()

    def environment(self) -> dict[str, str]:
        return {VARIABLE: self.address}


def _ask_cluster(bootstrap: str) -> str:
    # Kafka's protocol has no request for the broker's version; the id at least tells clusters apart.
    from confluent_kafka import KafkaException  # noqa: PLC0415 - the child process does without
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415

    lost: list[str] = []
    settings: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "error_cb": lambda error: lost.append(error.str()),
        "log_level": 0,
    }
    admin = AdminClient(settings)
    try:
        cluster = admin.list_topics(timeout=5)
    except KafkaException as error:
        admin.poll(0)  # calls error_cb, which knows more than the time-out does
        reason = lost[0] if lost else error.args[0].str()
        raise UnreachableError(f"{VARIABLE}: no Kafka answers at {bootstrap}: {reason}") from error
    return f"Kafka cluster {cluster.cluster_id} of {len(cluster.brokers)}"


class MockCluster:
    """librdkafka's mock cluster with one broker, in this process, reached on 127.0.0.1."""

    def __init__(self, topics: Mapping[str, int]) -> None:
        """Create cluster and topics. Raises SetupError without the library, StartError when it refuses."""
        self._library = _librdkafka()
        reason = ctypes.create_string_buffer(512)
        self._owner = ctypes.c_void_p(
            self._library.rd_kafka_new(RD_KAFKA_PRODUCER, None, reason, len(reason))
        )
        if not self._owner:
            raise StartError(f"librdkafka: {reason.value.decode()}")
        self._cluster = ctypes.c_void_p(self._library.rd_kafka_mock_cluster_new(self._owner, 1))
        if not self._cluster:
            raise StartError("librdkafka made no mock cluster")
        # A group's first member need not wait 3 s for a second one.
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        for name, partitions in topics.items():
            code = self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1)
            if code:
                why = self._library.rd_kafka_err2str(code).decode()
                raise StartError(f"topic {name!r} with {partitions} partitions: {why}")

    @property
    def bootstrap(self) -> str:
        bootstrap: bytes = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster)
        return bootstrap.decode()

    @property
    def version(self) -> str:
        version: bytes = self._library.rd_kafka_version_str()
        return f"librdkafka {version.decode()} mock cluster (memory only)"


def _librdkafka() -> ctypes.CDLL:
    """Load the library that the confluent-kafka wheel carries, with the signatures used here."""
    package = importlib.util.find_spec("confluent_kafka")
    if package is None or package.origin is None:
        raise SetupError("confluent-kafka is not installed")
    home = Path(package.origin).parent
    found = [
        *home.with_name("confluent_kafka.libs").glob("librdkafka-*.so*"),
        *(home / ".dylibs").glob("librdkafka*.dylib"),
    ]
    if not found:
        raise SetupError("this confluent-kafka is no binary wheel: its librdkafka is not beside it")
    library = ctypes.CDLL(str(found[0]))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, arguments in (
        ("rd_kafka_new", pointer, [number, pointer, text, ctypes.c_size_t]),
        ("rd_kafka_version_str", text, []),
        ("rd_kafka_err2str", text, [number]),
        ("rd_kafka_mock_cluster_new", pointer, [pointer, number]),
        ("rd_kafka_mock_cluster_bootstraps", text, [pointer]),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_topic_create", number, [pointer, text, number, number]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _topic(text: str) -> tuple[str, int]:
    name, _, partitions = text.partition(":")
    if not name or not partitions.isdecimal() or int(partitions) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:PARTITIONS, such as scan.requested:4")
    return name, int(partitions)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.emulator.servers.kafka", description=__doc__)
    parser.add_argument("--topics", nargs="*", type=_topic, default=[], metavar="NAME:PARTITIONS")
    topics = dict(parser.parse_args(arguments).topics)
    # Blocked before librdkafka starts its threads, which inherit the mask: sigwait is then the only receiver.
    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    cluster = MockCluster(topics)
    print(f"ready {cluster.bootstrap} {cluster.version}", flush=True)
    signal.sigwait(ending)
    return 0  # nothing is on disk: the process's end frees all


if __name__ == "__main__":
    sys.exit(main())
