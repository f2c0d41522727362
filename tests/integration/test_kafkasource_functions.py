"""Knative Services as functions-framework processes, with KafkaSources in front of them."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from confluent_kafka import Producer

from infra.emulator.eventing import Eventing
from infra.emulator.functions import Functions
from infra.emulator.manifests import (
    Delivery,
    KafkaSource,
    Manifests,
    Reference,
    Service,
)
from infra.emulator.servers.errors import StartError
from tests.servers import kafka_server

# Appends the id of each event to a file; an id that begins with "slow" takes its time.
STAGE = """
import os, time
import flask, functions_framework

flask.current_app.add_url_rule("/health/readiness", "ready", lambda: "ok")
flask.current_app.add_url_rule("/environment", "environment", lambda: dict(os.environ))

@functions_framework.cloud_event
def stage(event):
    if event["id"].startswith("slow"):
        time.sleep(0.5)
    with open(os.environ["SEEN"], "a") as seen:
        seen.write(event["id"] + "\\n")
"""
BROKEN = "raise RuntimeError('cannot be imported')\n"
ENV = {"FUNCTION_TARGET": "stage", "FUNCTION_SIGNATURE_TYPE": "cloudevent", "THREADS": "8"}


def service(name: str = "stage", **env: str) -> Service:
    secrets = {"STAGE_TOKEN": ("secrets", "STAGE_TOKEN")}
    return Service("ns", name, {**ENV, "FUNCTION_TARGET": name, **env}, secrets, "/health/readiness", 8, 120)


def get(url: str) -> tuple[int, bytes]:
    """Status and body of GET `url`."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    try:
        connection.request("GET", where.path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def wait_until(condition: Callable[[], bool], what: str, within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, code in (("stage", STAGE), ("broken", BROKEN)):
        (tmp_path / "functions" / name).mkdir(parents=True)
        (tmp_path / "functions" / name / "main.py").write_text(code)
    return tmp_path


def functions_of(root: Path, *services: Service, **overrides: str) -> Functions:
    return Functions(
        Manifests(services, (), (), (), ()),
        root=root,
        overrides={"STAGE_TOKEN": "t", "SEEN": str(root / "seen"), **overrides},
        logs=root / "logs",
    )


@pytest.fixture
def functions(root: Path) -> Iterator[Functions]:
    started = functions_of(root, service())
    try:
        started.start()
        yield started
    finally:
        started.stop()


def test_a_function_is_started_ready_and_ended(root: Path) -> None:
    started = functions_of(root, service())
    try:
        started.start()
        function = started["stage"]
        assert get(function.url + "/health/readiness") == (200, b"ok")
        assert function.ready_seconds is not None
        assert 10e6 < function.resident_bytes() < 400e6
    finally:
        started.stop()
    assert function.resident_bytes() == 0
    with pytest.raises(ConnectionRefusedError):
        get(function.url + "/health/readiness")


def test_a_function_sees_its_manifests_variables_and_not_those_of_other_stages(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_TOKEN", "from the developer's shell")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    other = Service("ns", "other", {**ENV}, {"OTHER_TOKEN": ("secrets", "k")}, "/health/readiness", 8, 120)
    started = functions_of(root, service(PROMETHEUS_URL="http://in-cluster"), other, OTHER_TOKEN="o")
    only = started["stage"]
    try:
        only.start()
        only.wait_ready()
        environment = json.loads(get(only.url + "/environment")[1])
    finally:
        started.stop()
    assert environment["STAGE_TOKEN"] == "t"
    assert environment["PROMETHEUS_URL"] == "http://in-cluster"
    assert environment["PORT"] == only.url.rpartition(":")[2]
    assert environment["PYTHONUNBUFFERED"] == "1"
    assert "OTHER_TOKEN" not in environment
    assert "PYTHONDONTWRITEBYTECODE" not in environment


def test_a_function_that_cannot_start_is_reported_with_the_end_of_its_log(root: Path) -> None:
    started = functions_of(root, service("broken"))
    try:
        with pytest.raises(StartError, match=r"(?s)broken ended with status 1.*cannot be imported"):
            started.start()
    finally:
        started.stop()
    assert "cannot be imported" in (root / "logs" / "broken.log").read_text()


def test_a_killed_function_is_started_again_on_its_port(functions: Functions) -> None:
    function = functions["stage"]
    for kills in (1, 2):
        function.kill()
        wait_until(lambda kills=kills: function.restarts == kills, "restarted")  # type: ignore[misc]
        function.wait_ready()
        assert get(function.url + "/health/readiness")[0] == 200


@pytest.fixture
def bootstrap() -> Iterator[str]:
    with kafka_server({"topic": 2}) as broker:
        yield broker.address


def test_events_survive_the_kill_of_their_function(functions: Functions, bootstrap: str, root: Path) -> None:
    source = KafkaSource(
        "ns",
        "stage-topic",
        ("topic",),
        "group",
        "earliest",
        "unordered",
        Reference("Service", "ns", "stage"),
        Delivery(60, "linear", 0.05, 10.0),
    )
    eventing = Eventing(
        Manifests((service(),), (source,), (), (), ()),
        bootstrap=bootstrap,
        addresses=functions.addresses,
    )
    producer = Producer({"bootstrap.servers": bootstrap})
    wanted = {f"{kind}{number}" for kind in ("slow", "quick") for number in range(10)}
    for event_id in sorted(wanted):
        headers = {"ce_specversion": "1.0", "ce_id": event_id, "ce_source": "/t", "ce_type": "t"}
        producer.produce("topic", b"{}", event_id, headers=headers)  # type: ignore[arg-type]
    producer.flush(10)
    seen = root / "seen"
    try:
        eventing.start()
        wait_until(lambda: seen.exists() and "quick" in seen.read_text(), "some")
        functions["stage"].kill()
        wait_until(lambda: eventing.counts["stage-topic"].delivered == len(wanted), "all delivered")
    finally:
        eventing.stop()
    assert set(seen.read_text().split()) == wanted
    counts = eventing.counts["stage-topic"]
    assert counts.lost == 0
    assert counts.attempts > len(wanted)
