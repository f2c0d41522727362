"""The Kafka broker of one machine: librdkafka's mock cluster, in memory only, in a child of its own."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from infra.emulator.servers.errors import UnreachableError
from infra.emulator.servers.given import GivenServer
from infra.emulator.servers.process import Process
from infra.emulator.servers.server import Address, Server

__all__ = ["EmbeddedKafka", "kafka_server"]

VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"


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
            [sys.executable, "-m", "infra.emulator.servers.mock_kafka", "--topics", *topics], {}, self._log
        )
        # 0.2 s on idle cores; its creation was once seen to take 5 s on busy ones.
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
    from confluent_kafka import KafkaException  # noqa: PLC0415
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
