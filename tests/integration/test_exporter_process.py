"""The exporter as functions-framework runs it, before a MongoDB that comes and goes."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.emulator.servers.mongo import mongo_server
from infra.emulator.servers.ports import LOOPBACK, take_port
from infra.emulator.servers.process import Process

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture
def mongodb_port() -> int:
    return take_port(0, "MongoDB")[0]


@pytest.fixture
def exporter(mongodb_port: int, tmp_path: Path) -> Iterator[int]:
    port, _ = take_port(0, "exporter")
    process = Process.start(
        [
            str(BIN / "functions-framework"),
            *("--target", "exporter", "--source", str(ROOT / "functions/exporter/main.py")),
            *("--signature-type", "http", "--host", LOOPBACK, "--port", str(port)),
        ],
        {"MONGODB_URI": f"mongodb://{LOOPBACK}:{mongodb_port}", "PYTHONPATH": str(ROOT)},
        tmp_path / "exporter.log",
    )
    try:
        process.wait_http(f"http://{LOOPBACK}:{port}/health/readiness")
        yield port
    finally:
        process.stop()


def ask(port: int, path: str, method: str = "GET") -> tuple[int, str, str]:
    """Status, content type and body."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=15)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.getheader("Content-Type", ""), response.read().decode()
    finally:
        connection.close()


def test_without_mongodb_it_says_so_in_one_line_and_recovers(
    exporter: int, mongodb_port: int, tmp_path: Path
) -> None:
    status, _, body = ask(exporter, "/metrics")
    assert status == 503
    assert body.startswith("no MongoDB answers at 127.0.0.1:")
    assert len(body.splitlines()) == 1

    mongodb = mongo_server({}, tmp_path / "data", tmp_path, port=mongodb_port)
    try:
        mongodb.start()
        status, kind, body = ask(exporter, "/metrics")
        assert status == 200
        assert kind.startswith("text/plain; version=")
        assert 'kubefinops_unsent_events{cluster="local"} 0.0' in body.splitlines()
        assert 'kubefinops_exporter_scrapes_total{result="failed"} 1.0' in body.splitlines()
    finally:
        mongodb.stop()


def test_other_paths_and_methods_are_refused_in_words(exporter: int) -> None:
    assert ask(exporter, "/")[0] == 404
    assert "/metrics" in ask(exporter, "/elsewhere")[2]
    assert ask(exporter, "/metrics", "POST")[0] == 405
