"""librdkafka's mock cluster as a process.

    python -m infra.emulator.servers.mock_kafka --topics NAME:PARTITIONS ...

prints `ready ADDRESS VERSION` and serves until SIGTERM. The confluent-kafka wheel contains it; only its C
interface (rdkafka_mock.h) can create topics. It is a process so that its end is not the emulator's. It
speaks the real protocol for producing, consuming, groups and offsets. What it lacks: disk, isolation of
transactions, the admin requests (topics are made at its start); each partition keeps its last 5 MB only.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from infra.emulator.servers.errors import SetupError, StartError

__all__ = ["MockCluster"]

RD_KAFKA_PRODUCER = 0


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
        with self._kept_awake():
            for name, partitions in topics.items():
                code = self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1)
                if code:
                    why = self._library.rd_kafka_err2str(code).decode()
                    raise StartError(f"topic {name!r} with {partitions} partitions: {why}")

    @contextmanager
    def _kept_awake(self) -> Iterator[None]:
        """Connect to the broker again and again for as long as requests are put to the cluster's thread.

        That thread misses its wake-up now and then and sleeps out its second, each time: 20 topics took up
        to 4 s. A connection wakes it as well.
        """
        host, port = self.bootstrap.rsplit(":", 1)
        done = threading.Event()

        def connect() -> None:
            while not done.wait(0.005):
                socket.create_connection((host, int(port)), timeout=5).close()

        thread = threading.Thread(target=connect)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

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
    parser = argparse.ArgumentParser(prog="python -m infra.emulator.servers.mock_kafka", description=__doc__)
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
