from __future__ import annotations

import hashlib
import io
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
import requests
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from minio import Minio
from minio.error import S3Error
from minio.retention import Retention
from pymongo import MongoClient, WriteConcern
from pymongo.errors import DuplicateKeyError

from infra.emulator.servers.apache_kafka import is_fetched
from infra.emulator.servers.errors import SetupError, StartError, UnreachableError
from infra.emulator.servers.kafka import EmbeddedKafka, kafka_server
from infra.emulator.servers.mongo import EmbeddedMongo, mongo_server
from infra.emulator.servers.objectstore import EmbeddedObjectStore, objectstore_server
from infra.emulator.servers.ports import LOOPBACK, take_port
from infra.emulator.servers.prometheus import EmbeddedPrometheus, ScrapeJob, prometheus_server
from infra.emulator.servers.server import Server
from tests import servers

T = TypeVar("T")
NOBODY = "127.0.0.1:9"  # the discard port: nothing listens there

Choose = Callable[[Mapping[str, str], Path], Server]
CHOICES: dict[str, tuple[str, str, Choose]] = {
    "kafka": ("KAFKA_BOOTSTRAP_SERVERS", NOBODY, lambda e, d: kafka_server(e, {}, d)),
    "mongodb": ("MONGODB_URI", f"mongodb://u:secret@{NOBODY}", lambda e, d: mongo_server(e, d, d, 0)),
    "objectstore": ("S3_ENDPOINT", f"http://{NOBODY}", lambda e, d: objectstore_server(e, d, d, 0)),
    "prometheus": ("PROMETHEUS_URL", f"http://u:secret@{NOBODY}", lambda e, d: prometheus_server(e, d, d)),
}


def eventually(read: Callable[[], T | None], within: float = 15.0) -> T:
    deadline = time.monotonic() + within
    while (found := read()) is None:
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


def listening_addresses(server: Any) -> set[str]:
    process = psutil.Process(server._process.pid)
    return {c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN}


@pytest.fixture(scope="module")
def kafka() -> Iterator[EmbeddedKafka]:
    with servers.kafka_server({"orders": 3, "orders.dlq": 1}) as server:
        yield server


@pytest.fixture(scope="module")
def mongodb() -> Iterator[EmbeddedMongo]:
    with servers.mongo_server() as server:
        yield server


@pytest.fixture(scope="module")
def objectstore() -> Iterator[EmbeddedObjectStore]:
    with servers.objectstore_server() as server:
        yield server


@pytest.fixture(scope="module")
def client(objectstore: EmbeddedObjectStore) -> Minio:
    environment = objectstore.environment()
    return Minio(
        environment["S3_ENDPOINT"].removeprefix("http://"),
        access_key=environment["S3_ACCESS_KEY"],
        secret_key=environment["S3_SECRET_KEY"],
        region=environment["S3_REGION"],
        secure=False,
    )


class TestPorts:
    def test_the_usual_port_is_taken_when_it_is_free(self) -> None:
        free, _ = take_port(0, "Prometheus")

        assert take_port(free, "Prometheus") == (free, None)

    def test_a_used_port_is_said_and_another_one_taken(self) -> None:
        with socket.socket() as occupant:
            occupant.bind((LOOPBACK, 0))
            occupant.listen()
            used = occupant.getsockname()[1]
            port, notice = take_port(used, "Prometheus")

        assert port != used
        assert notice == f"port {used} is in use: Prometheus listens on 127.0.0.1:{port} instead"


class TestGivenServers:
    @pytest.mark.parametrize("name", CHOICES)
    def test_one_that_does_not_answer_is_named_in_one_line_without_its_password(
        self, name: str, tmp_path: Path
    ) -> None:
        variable, address, choose = CHOICES[name]
        server = choose({variable: address}, tmp_path)

        assert server.kind == "given"
        assert server.environment() == {variable: address}
        with pytest.raises(UnreachableError) as raised:
            server.start()
        line = str(raised.value)
        assert line.startswith(f"{variable}: no ")
        assert NOBODY in line
        assert "refused" in line
        assert "secret" not in line + server.address
        assert "\n" not in line

    @pytest.mark.parametrize("name", CHOICES)
    def test_an_empty_variable_means_the_embedded_one(self, name: str, tmp_path: Path) -> None:
        variable, _, choose = CHOICES[name]

        assert choose({variable: ""}, tmp_path).kind == "embedded"

    def test_one_that_answers_tells_its_version_and_is_left_running(
        self, mongodb: EmbeddedMongo, tmp_path: Path
    ) -> None:
        given = mongo_server(mongodb.environment(), tmp_path, tmp_path)

        assert given.start() == mongodb.address
        assert given.version == mongodb.version
        given.stop()
        given.start()
        assert list(tmp_path.iterdir()) == []

    def test_the_keys_of_an_s3_server_are_passed_on(self, tmp_path: Path) -> None:
        environ = {"S3_ENDPOINT": f"http://{NOBODY}", "S3_ACCESS_KEY": "k", "S3_SECRET_KEY": "s", "HOME": "/"}

        given = objectstore_server(environ, tmp_path, tmp_path)

        assert given.environment() == {k: v for k, v in environ.items() if k != "HOME"}


class TestKafka:
    def test_it_has_the_topics_asked_for_on_the_loopback_interface(self, kafka: EmbeddedKafka) -> None:
        topics = AdminClient({"bootstrap.servers": kafka.address}).list_topics(timeout=10).topics

        assert {name: len(topic.partitions) for name, topic in topics.items()} == {
            "orders": 3,
            "orders.dlq": 1,
        }
        assert kafka.address.startswith("127.0.0.1:")
        assert listening_addresses(kafka) == {"127.0.0.1"}
        assert "memory only" in kafka.version

    def test_a_record_comes_back_with_key_headers_and_a_committed_offset(self, kafka: EmbeddedKafka) -> None:
        producer = Producer({"bootstrap.servers": kafka.address, "enable.idempotence": True})
        producer.produce("orders", b"1 kg", key=b"tea", headers=[("ce_id", b"1")], partition=2)
        assert producer.flush(10) == 0
        consumer = Consumer(
            {"bootstrap.servers": kafka.address, "group.id": "g", "auto.offset.reset": "earliest"}
        )
        consumer.subscribe(["orders"])

        record = eventually(lambda: consumer.poll(0.1))
        consumer.commit(message=record, asynchronous=False)
        [committed] = consumer.committed([TopicPartition("orders", 2)], timeout=10)
        consumer.close()

        assert (record.key(), record.value(), record.headers()) == (b"tea", b"1 kg", [("ce_id", b"1")])
        assert committed.offset - 1 == record.offset()

    def test_its_end_is_not_ours(self, tmp_path: Path) -> None:
        server = EmbeddedKafka({"orders": 1}, tmp_path)
        server.start()
        psutil.Process(server._process.pid).kill()  # type: ignore[union-attr]

        eventually(lambda: None if server._process.alive else True)  # type: ignore[union-attr]

        server.stop()

    def test_a_topic_that_cannot_be_made_is_reported_with_its_name(self, tmp_path: Path) -> None:
        with pytest.raises(StartError, match=r"'no:partitions'|no:partitions"):
            EmbeddedKafka({"no:partitions": 1}, tmp_path).start()


@pytest.mark.kafka
@pytest.mark.skipif(not is_fetched(), reason="python -m infra.emulator.servers.apache_kafka fetches it")
class TestApacheKafka:
    def test_acknowledged_records_survive_sigkill_and_a_restart_on_the_same_port(self) -> None:
        with servers.apache_kafka_server() as server:
            producer = Producer({"bootstrap.servers": server.address, "acks": "all"})
            producer.produce("orders", b"1 kg", key=b"tea", partition=2)
            assert producer.flush(20) == 0
            server._process.kill()  # type: ignore[union-attr]
            server.start()

            consumer = Consumer({"bootstrap.servers": server.address, "group.id": "g"})
            consumer.assign([TopicPartition("orders", 2, 0)])
            record = eventually(lambda: consumer.poll(0.1))
            consumer.close()

            assert (record.key(), record.value()) == (b"tea", b"1 kg")
            assert server.version == "Apache Kafka 4.3.1"


class TestMongo:
    def test_acknowledged_writes_survive_sigkill_and_a_restart_on_the_same_port(self, tmp_path: Path) -> None:
        server = EmbeddedMongo(tmp_path / "data", tmp_path, port=0)
        address = server.start()
        try:
            durable = WriteConcern("majority", j=True)
            with MongoClient[dict[str, Any]](address) as client:
                collection = client["db"].get_collection("states", write_concern=durable)
                collection.create_index("n", unique=True)
                for n in range(50):
                    collection.insert_one({"n": n})
            server._process.kill()  # type: ignore[union-attr]

            assert server.start() == address

            with MongoClient[dict[str, Any]](address) as client:
                assert [d["n"] for d in client["db"]["states"].find(sort=[("n", 1)])] == list(range(50))
                with pytest.raises(DuplicateKeyError):
                    client["db"]["states"].insert_one({"n": 7})
        finally:
            server.stop()

    def test_it_listens_on_the_loopback_interface_and_tells_its_version(self, mongodb: EmbeddedMongo) -> None:
        assert listening_addresses(mongodb) == {"127.0.0.1"}
        assert mongodb.version.startswith("SecantusDB 0.7")
        assert mongodb.environment() == {"MONGODB_URI": mongodb.address}


class TestObjectStore:
    @pytest.fixture
    def bucket(self, client: Minio) -> str:
        name = f"evidence-{uuid.uuid4().hex}"
        client.make_bucket(name, object_lock=True)
        return name

    def put(self, client: Minio, bucket: str, body: bytes, mode: str, days: float = 1) -> str:
        retention = Retention(mode, datetime.now(UTC) + timedelta(days=days))
        written = client.put_object(
            bucket, "report.json", io.BytesIO(body), len(body), "application/json", retention=retention
        )
        assert written.version_id is not None
        return written.version_id

    def read(self, client: Minio, bucket: str, version: str | None = None) -> bytes:
        answer = client.get_object(bucket, "report.json", version_id=version)
        try:
            return answer.data
        finally:
            answer.close()
            answer.release_conn()

    def test_it_listens_on_the_loopback_interface_alone(self, objectstore: EmbeddedObjectStore) -> None:
        assert listening_addresses(objectstore) == {"127.0.0.1"}
        assert objectstore.version == "LocalStack 4.12.0 (memory only)"

    def test_a_locked_object_reads_back_with_its_retention(self, client: Minio, bucket: str) -> None:
        body = b"{}" * 3_000_000  # several chunks of a streamed, signed upload
        version = self.put(client, bucket, body, "GOVERNANCE")

        assert hashlib.sha256(self.read(client, bucket)).digest() == hashlib.sha256(body).digest()
        retention = client.get_object_retention(bucket, "report.json", version_id=version)
        assert retention is not None
        assert retention.mode == "GOVERNANCE"

    def test_compliance_refuses_deletion_of_the_version(self, client: Minio, bucket: str) -> None:
        version = self.put(client, bucket, b"{}", "COMPLIANCE")

        with pytest.raises(S3Error) as raised:
            client.remove_object(bucket, "report.json", version_id=version)

        assert raised.value.code == "AccessDenied"
        assert self.read(client, bucket, version) == b"{}"

    def test_compliance_refuses_a_shorter_retention_and_takes_a_longer(
        self, client: Minio, bucket: str
    ) -> None:
        version = self.put(client, bucket, b"{}", "COMPLIANCE", days=2)
        now = datetime.now(UTC).replace(microsecond=0)

        shorter = Retention("COMPLIANCE", now + timedelta(days=1))

        with pytest.raises(S3Error, match="AccessDenied"):
            client.set_object_retention(bucket, "report.json", shorter, version_id=version)
        longer = Retention("COMPLIANCE", now + timedelta(days=3))
        client.set_object_retention(bucket, "report.json", longer, version_id=version)

        kept = client.get_object_retention(bucket, "report.json", version_id=version)
        assert kept is not None
        assert kept.retain_until_date == now + timedelta(days=3)

    def test_an_overwritten_or_deleted_object_is_still_read_by_its_version(
        self, client: Minio, bucket: str
    ) -> None:
        first = self.put(client, bucket, b"1", "COMPLIANCE")
        second = self.put(client, bucket, b"2", "COMPLIANCE")
        client.remove_object(bucket, "report.json")

        assert self.read(client, bucket, first) == b"1"
        assert self.read(client, bucket, second) == b"2"
        with pytest.raises(S3Error, match="NoSuchKey"):
            self.read(client, bucket)

    def test_its_files_are_under_the_given_directory(self, objectstore: EmbeddedObjectStore) -> None:
        process = psutil.Process(objectstore._process.pid)  # type: ignore[union-attr]

        written = [f.path for f in process.open_files() if f.mode != "r" and f.path != str(objectstore._log)]

        assert [path for path in written if not Path(path).is_relative_to(objectstore._data)] == []
        assert not Path("/var/lib/localstack").exists()


class TestPrometheus:
    def query(self, server: EmbeddedPrometheus, promql: str, at: float | None = None) -> list[dict[str, Any]]:
        parameters = {"query": promql, **({} if at is None else {"time": str(at)})}
        answer = requests.get(f"{server.address}/api/v1/query", params=parameters, timeout=10).json()
        assert answer["status"] == "success", answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    @pytest.fixture
    def exporter(self) -> Iterator[str]:
        class Metrics(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == "/metrics/cluster" else 404)
                self.end_headers()
                self.wfile.write(b'apples{job="orchard"} 42\n')

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer((LOOPBACK, 0), Metrics)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"{LOOPBACK}:{server.server_port}"
        server.shutdown()
        thread.join()
        server.server_close()

    def test_history_and_scrapes_are_one_series_and_survive_a_restart(
        self, tmp_path: Path, exporter: str
    ) -> None:
        now = int(time.time())
        times = range(now - 20 * 86_400, now + 120, 600)
        series = f'apples{{instance="{exporter}",job="orchard"}}'
        history = tmp_path / "history.om"
        lines = ["# TYPE apples gauge", *(f"{series} {i} {t}" for i, t in enumerate(times)), "# EOF", ""]
        history.write_text("\n".join(lines))
        job = ScrapeJob("cluster", [exporter], path="/metrics/cluster", interval=0.2)

        with servers.prometheus_server(history, [job]) as server:
            scraped = lambda: self.query(server, "apples == 42") or None  # noqa: E731
            assert [found["metric"]["job"] for found in eventually(scraped)] == ["orchard"]
            server.stop()
            server.start()

            assert self.query(server, "apples", at=times[0])[0]["value"][1] == "0"
            [counted] = self.query(server, "count_over_time(apples[21d])")
            assert int(counted["value"][1]) > len(times) - 2
            assert server.version.startswith("Prometheus 2.")
            assert listening_addresses(server) == {"127.0.0.1"}

    def test_a_history_that_cannot_be_read_is_named_with_the_reason(self, tmp_path: Path) -> None:
        history = tmp_path / "history.om"
        history.write_text("apples 1 1\n")

        with pytest.raises(StartError, match=r"history\.om: .*EOF"), servers.prometheus_server(history):
            pytest.fail("it started")

    def test_without_a_prometheus_one_line_says_how_to_get_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr("infra.emulator.servers.prometheus.PROMETHEUS", tmp_path)

        with pytest.raises(SetupError, match=r"python -m infra\.emulator\.setup.*PROMETHEUS_URL"):
            EmbeddedPrometheus(tmp_path, tmp_path, port=0).start()


def test_all_servers_end_when_their_parent_is_killed_with_sigkill(tmp_path: Path) -> None:
    code = f"""
import pathlib, threading, time
from infra.emulator.servers import kafka, mongo, objectstore, prometheus
root = pathlib.Path({str(tmp_path)!r})
servers = [
    kafka.EmbeddedKafka({{"orders": 1}}, root),
    mongo.EmbeddedMongo(root / "mongodb", root, port=0),
    objectstore.EmbeddedObjectStore(root / "objectstore", root, port=0),
    prometheus.EmbeddedPrometheus(root / "prometheus", root, port=0),
]
threads = [threading.Thread(target=server.start) for server in servers]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(*[server._process.pid for server in servers], flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(children) == 4
        parent.kill()

    _, alive = psutil.wait_procs(children, timeout=15)
    assert alive == []
