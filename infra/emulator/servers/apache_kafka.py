"""Apache Kafka itself, one node without ZooKeeper, for the tests that must not trust a stand-in.

    python -m infra.emulator.servers.apache_kafka --data DIR [--port PORT]

fetches its Maven artifacts the first time (which takes Maven, and Java 17 or newer), serves until SIGTERM,
and keeps its data. The default of `make run` is the mock cluster in `kafka.py`, which needs neither.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as ET

from infra.emulator.servers.errors import ServerError, SetupError
from infra.emulator.servers.ports import LOOPBACK, take_port
from infra.emulator.servers.process import Process
from infra.emulator.servers.server import Address
from infra.emulator.servers.tools import KAFKA, ROOT

__all__ = ["ApacheKafka", "fetch", "is_fetched"]

VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"
POM = ROOT / "infra" / "kafka" / "pom.xml"
LOGGING = ROOT / "infra" / "kafka" / "log4j2.properties"
CLUSTER_ID = "a3ViZWZpbm9wcy1sb2NhbA"  # "kubefinops-local" in base64
READY = "Kafka Server started"

# Classes parsed and verified once, at set-up: that halves the start. Without the file, Java does without.
ARCHIVE = KAFKA / "classes.jsa"
JVM = ["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:MaxDirectMemorySize=128m"]


def is_fetched() -> bool:
    return ARCHIVE.is_file()


def fetch() -> None:
    """Put Kafka's artifacts into `build/tools/kafka`, once. Raises SetupError when it cannot."""
    if is_fetched():
        return
    for program in ("mvn", "java"):
        if shutil.which(program) is None:
            raise SetupError(f"{program} is not on PATH: Apache Kafka needs Maven and Java 17 or newer")
    KAFKA.mkdir(parents=True, exist_ok=True)
    command = ["mvn", "--quiet", "--batch-mode", "--file", str(POM), "dependency:copy-dependencies"]
    done = subprocess.run(
        [*command, f"-DoutputDirectory={KAFKA / 'lib'}"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        errors = [line for line in done.stdout.splitlines() if line.startswith("[ERROR]")]
        raise SetupError(f"Maven cannot fetch Apache Kafka: {errors[0] if errors else done.stderr.strip()}")
    with tempfile.TemporaryDirectory(dir=KAFKA) as directory:
        scratch = Path(directory)
        dump = scratch / ARCHIVE.name
        server = ApacheKafka(scratch / "data", scratch, port=0, options=[f"-XX:ArchiveClassesAtExit={dump}"])
        server.start()
        server.stop()
        dump.rename(ARCHIVE)


class ApacheKafka:
    """One broker and controller in its own process; what it acknowledged survives SIGKILL."""

    name = "kafka"
    kind: Literal["embedded"] = "embedded"

    def __init__(
        self, data: Path, logs: Path, port: int = 9092, *, options: Sequence[str] | None = None
    ) -> None:
        self._port, self.notice = take_port(port, "Kafka")
        self._controller_port, _ = take_port(0, "Kafka's controller")
        self.address = Address(f"{LOOPBACK}:{self._port}")
        self.version = f"Apache Kafka {_version()}"
        self._data = data
        self._log = logs / "kafka.log"
        self._options = [f"-XX:SharedArchiveFile={ARCHIVE}"] if options is None else list(options)
        self._process: Process | None = None

    def start(self) -> Address:
        if not (KAFKA / "lib").is_dir():
            raise SetupError("Apache Kafka is not there: run `python -m infra.emulator.servers.apache_kafka`")
        self._data.mkdir(parents=True, exist_ok=True)
        settings = self._data / "server.properties"
        settings.write_text("".join(f"{name}={value}\n" for name, value in self._settings().items()))
        if not (self._data / "log" / "meta.properties").exists():
            self._format(settings)
        self._process = Process.start(
            [*self._java(self._options), "kafka.Kafka", str(settings)], {}, self._log, cwd=self._data
        )
        self._process.wait_line(READY, within=60)
        return self.address

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop(grace=20)

    def environment(self) -> dict[str, str]:
        return {VARIABLE: self.address}

    def _format(self, settings: Path) -> None:
        tool = ["kafka.tools.StorageTool", "format", "--standalone", "--ignore-formatted"]
        done = subprocess.run(
            [*self._java([]), *tool, "--cluster-id", CLUSTER_ID, "--config", str(settings)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SetupError(f"Apache Kafka cannot format {self._data}: {done.stderr.strip()}")

    def _java(self, options: Sequence[str]) -> list[str]:
        # In a fixed order: the archive of classes belongs to exactly this class path.
        jars = os.pathsep.join(map(str, sorted((KAFKA / "lib").glob("*.jar"))))
        logging = f"-Dlog4j2.configurationFile={LOGGING}"
        return ["java", *JVM, *options, "-Xshare:auto", "-Xlog:disable", logging, "-cp", jars]

    def _settings(self) -> dict[str, object]:
        controller = f"{LOOPBACK}:{self._controller_port}"
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.bootstrap.servers": controller,
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address},CONTROLLER://{controller}",
            "log.dirs": self._data / "log",
            "num.partitions": 4,
            "offsets.topic.num.partitions": 4,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            # With the defaults a restart after SIGKILL waits 9 s until the dead broker's session ends.
            "broker.session.timeout.ms": 1500,
            "broker.heartbeat.interval.ms": 300,
        }


def _version() -> str:
    artifacts = ET.parse(POM).findall("dependencies/dependency")  # noqa: S314 - our own file
    [version] = [a.findtext("version") for a in artifacts if a.findtext("groupId") == "org.apache.kafka"]
    assert version is not None
    return version


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.emulator.servers.apache_kafka")
    parser.add_argument("--data", type=Path, required=True, help="a directory for its logs, kept")
    parser.add_argument("--port", type=int, default=9092, help="0 takes any free port")
    parsed = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    try:
        fetch()
        server = ApacheKafka(parsed.data, parsed.data, parsed.port)
        try:
            server.start()
            if server.notice:
                print(server.notice, file=sys.stderr)
            print(f"ready {server.address} {server.version}", flush=True)
            while True:
                signal.pause()
        finally:
            server.stop()
    except ServerError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
