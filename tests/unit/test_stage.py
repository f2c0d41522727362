"""A stage's HTTP face: what KafkaSource is told for each thing that can happen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import flask
import pytest
from flask.testing import FlaskClient
from functions_framework import create_app

from functions.recommender.handler import QUERY_SECONDS
from shared.adapters.kafka import FLUSH_SECONDS
from shared.contracts.envelope import Event
from shared.contracts.errors import Moved, Permanent, Refused, Temporary, Throttled, Unreadable
from shared.runtime import function
from shared.runtime.function import REQUEST_SECONDS
from shared.runtime.isolation import MOST_SECONDS
from tests.examples import scan_event
from tests.waiting import until

SOURCE = """
import functions_framework
from shared.contracts.topics import Topic
from shared.runtime.function import Stage
from shared.runtime.settings import Settings

STAGE = Stage("stage", Settings, lambda world: HANDLE)

@functions_framework.cloud_event
def stage(received):
    event = STAGE.event(received, {Topic.SCAN_REQUESTED})
    STAGE.run(lambda handle: handle(event))
"""


def client(folder: Path, handle: Callable[[Event], None]) -> FlaskClient:
    path = folder / "main.py"
    path.write_text(
        SOURCE.replace("HANDLE", "__import__('tests.unit.test_stage').unit.test_stage.CURRENT[0]")
    )
    CURRENT[:] = [handle]
    app: flask.Flask = create_app("stage", str(path), "cloudevent")  # type: ignore[no-untyped-call]
    return app.test_client()


CURRENT: list[Callable[[Event], None]] = []


def headers(**changes: str) -> dict[str, str]:
    record = scan_event().record()
    found = {name.replace("ce_", "ce-"): value for name, value in record.headers.items()}
    return {name: value for name, value in (found | changes).items() if value}


BODY = scan_event().record().value


def raising(error: Exception) -> Callable[[Event], None]:
    def handle(_event: Event) -> None:
        raise error

    return handle


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unreadable("x"), 400),
        (Permanent("x"), 422),
        (Throttled("x"), 429),
        (Temporary("x"), 503),
        (Moved("x"), 503),
        (Refused("r", "x"), 500),
        (RuntimeError("x"), 500),
    ],
)
def test_each_error_has_the_status_that_kafkasource_understands(
    tmp_path: Path, error: Exception, status: int
) -> None:
    answer = client(tmp_path, raising(error)).post("/", headers=headers(), data=BODY)
    assert answer.status_code == status
    assert "x" in answer.text


def test_the_reason_is_text_and_a_header_that_becomes_an_extension(tmp_path: Path) -> None:
    answer = client(tmp_path, raising(Permanent("no such thing"))).post("/", headers=headers(), data=BODY)
    assert answer.text == "no such thing"
    assert answer.headers["Kne-Reason"] == "permanent"
    assert answer.headers["Kne-Stage"] == "stage"


@pytest.mark.parametrize(
    ("changes", "body", "status", "reason"),
    [
        ({}, BODY, 500, "bug"),
        ({"ce-specversion": "7"}, BODY, 400, "bad-request"),
        ({"ce-type": "dev.knative.kafka.event"}, BODY, 400, "unreadable"),
        ({}, '{"cluster": 1}', 422, "permanent"),
        ({}, "x" * (1 << 21), 413, "request-entity-too-large"),
    ],
)
def test_whoever_refuses_a_dead_letter_tells_the_stage_and_the_reason(
    tmp_path: Path, changes: dict[str, str], body: str, status: int, reason: str
) -> None:
    stage = client(tmp_path, raising(RuntimeError("x")))
    answer = stage.post("/", headers=headers(**changes), data=body)
    assert (answer.status_code, answer.headers.get("Kne-Reason")) == (status, reason)
    assert answer.headers["Kne-Stage"] == "stage"
    assert answer.content_type.startswith("text/plain")


def test_a_handled_event_is_acknowledged_and_arrives_decoded(tmp_path: Path) -> None:
    seen: list[Event] = []
    answer = client(tmp_path, seen.append).post("/", headers=headers(), data=BODY)
    assert answer.status_code == 200
    assert seen == [scan_event()]


def test_percent_encoded_headers_are_decoded(tmp_path: Path) -> None:
    seen: list[Event] = []
    sent = headers(**{"ce-subject": "local/a%20b%C3%A9"})
    client(tmp_path, seen.append).post("/", headers=sent, data=BODY)
    assert seen[0].subject == "local/a bé"


@pytest.mark.parametrize(
    ("changes", "body", "status"),
    [
        ({"ce-type": "io.kubefinops.change.applied.v1"}, BODY, 400),
        ({"ce-type": "dev.knative.kafka.event"}, BODY, 400),
        ({"ce-subject": ""}, BODY, 400),
        ({"ce-id": ""}, BODY, 400),
        ({}, '{"cluster": 1}', 422),
        ({}, "{broken", 422),
        ({}, "", 422),
        ({}, "x" * (1 << 21), 413),
    ],
)
def test_poison_is_refused_before_the_handler_sees_it(
    tmp_path: Path, changes: dict[str, str], body: str, status: int
) -> None:
    seen: list[Event] = []
    answer = client(tmp_path, seen.append).post("/", headers=headers(**changes), data=body)
    assert answer.status_code == status
    assert seen == []
    assert "<html" not in answer.text
    assert answer.text


def test_health_is_answered_where_kubernetes_asks(tmp_path: Path) -> None:
    asked = client(tmp_path, lambda _event: None)
    assert asked.get("/health/readiness").status_code == 200
    assert asked.get("/health/liveness").status_code == 200
    assert asked.get("/").status_code == 405


def test_a_bad_setting_ends_the_process_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBEFINOPS_LOG_LEVEL", "LOUD")
    with pytest.raises(SystemExit) as stop:
        client(tmp_path, lambda _event: None)
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_work_that_is_late_is_answered_for_and_what_hangs_fails_the_liveness_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function, "REQUEST_SECONDS", 0.05)
    monkeypatch.setattr(function, "HUNG_SECONDS", 0.2)
    go_on, done = threading.Event(), threading.Event()

    def hang(_event: Event) -> None:
        go_on.wait(30)
        done.set()

    http = client(tmp_path, hang)
    answer = http.post("/", headers=headers(), data=BODY)
    assert answer.status_code == 503
    assert answer.text == "stage was not done within 0.05 s"
    assert http.get("/health/liveness").status_code == 200  # it may still end by itself
    until(lambda: http.get("/health/liveness").status_code == 503, within=10)
    go_on.set()
    until(lambda: http.get("/health/liveness").status_code == 200, within=10)
    assert done.is_set()


def test_no_more_is_begun_beside_much_that_was_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function, "REQUEST_SECONDS", 0.05)
    monkeypatch.setattr(function, "MOST_GIVEN_UP", 2)
    logged: list[str] = []
    monkeypatch.setattr(function.log, "exception", logged.append)
    go_on, begun = threading.Event(), threading.Semaphore(0)

    def hang(_event: Event) -> None:
        begun.release()
        go_on.wait(30)
        raise RuntimeError("at last")

    http = client(tmp_path, hang)
    told = [http.post("/", headers=headers(), data=BODY) for _ in range(3)]
    assert [answer.status_code for answer in told] == [503] * 3
    assert told[2].text == "stage: 2 deliveries that were given up are still under way"
    assert [begun.acquire(blocking=False) for _ in range(3)] == [True, True, False]
    go_on.set()
    # What becomes of them nobody asks any more: it is in the log.
    until(lambda: logged == ["a delivery that was given up has failed"] * 2, within=10)


def test_a_timeout_that_the_work_itself_meets_is_a_bug_like_any_other(tmp_path: Path) -> None:
    answer = client(tmp_path, raising(TimeoutError("its own"))).post("/", headers=headers(), data=BODY)
    assert answer.status_code == 500
    assert "its own" in answer.text


def test_what_takes_long_within_a_delivery_ends_before_the_delivery_does() -> None:
    publishing = FLUSH_SECONDS
    assert QUERY_SECONDS + publishing < REQUEST_SECONDS
    assert 2 * MOST_SECONDS + publishing < REQUEST_SECONDS
