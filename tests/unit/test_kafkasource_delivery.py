"""How KafkaSource delivers: contracts.md's table of statuses, retries, backoff and dead letters."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import pytest

from infra.emulator.cloudevent import CloudEvent
from infra.emulator.dispatch import Dispatcher, Outcome, Stopped, is_retried
from infra.emulator.http_sink import Response, TransportError
from infra.emulator.manifests import Delivery, delivery

EVENT = CloudEvent({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}, b"{}")


class ScriptedSink:
    """Answers with its script in turn, the last entry for ever; None is no answer at all."""

    def __init__(self, *script: Response | int | None, address: str = "http://policy.kubefinops") -> None:
        self.address = address
        self._script = list(script)
        self.events: list[CloudEvent] = []
        self.headers: list[Mapping[str, str]] = []
        self.timeouts: list[float] = []

    def send(self, event: CloudEvent, headers: Mapping[str, str], timeout: float) -> Response:
        self.events.append(event)
        self.headers.append(headers)
        self.timeouts.append(timeout)
        answer = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if answer is None:
            raise TransportError("refused")
        return Response(answer) if isinstance(answer, int) else answer


class Clock:
    """Keeps what it was asked to wait, and stops the dispatcher before the wait of number `stop_at`."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.waits: list[float] = []
        self._stop_at = stop_at

    def wait(self, seconds: float) -> bool:
        if seconds:
            self.waits.append(seconds)
        return len(self.waits) == self._stop_at


def dispatch(
    sink: ScriptedSink,
    how: Delivery,
    dead_letters: ScriptedSink | None = None,
    clock: Clock | None = None,
    scale: float = 1.0,
) -> tuple[Outcome, list[tuple[int, int | None]]]:
    attempts: list[tuple[int, int | None]] = []
    dispatcher = Dispatcher(
        how,
        sink,
        dead_letters,
        namespace="kubefinops",
        wait=(clock or Clock()).wait,
        backoff_scale=scale,
    )
    outcome = dispatcher.dispatch(EVENT, lambda attempt, status: attempts.append((attempt, status)))
    return outcome, attempts


THREE_RETRIES = Delivery(retry=3, backoff_policy="linear", backoff_delay=0.2, timeout=7.0)


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_below_300_is_success(status: int) -> None:
    assert dispatch(ScriptedSink(status), THREE_RETRIES) == (Outcome.DELIVERED, [(1, status)])


@pytest.mark.parametrize("status", [404, 408, 409, 429, 500, 502, 503, 504, 599])
def test_statuses_that_are_retried(status: int) -> None:
    outcome, attempts = dispatch(ScriptedSink(status, status, 200), THREE_RETRIES)
    assert outcome is Outcome.DELIVERED
    assert attempts == [(1, status), (2, status), (3, 200)]


@pytest.mark.parametrize(
    "status", [300, 301, 302, 304, 307, 308, 400, 401, 403, 405, 410, 413, 415, 422, 499]
)
def test_everything_else_goes_straight_to_the_dead_letter_sink(status: int) -> None:
    dead_letters = ScriptedSink(202)
    outcome, attempts = dispatch(ScriptedSink(status), THREE_RETRIES, dead_letters)
    assert (outcome, attempts) == (Outcome.DEAD_LETTERED, [(1, status)])
    assert not is_retried(status)
    assert len(dead_letters.events) == 1


def test_transport_errors_are_retried() -> None:
    outcome, attempts = dispatch(ScriptedSink(None, 200), THREE_RETRIES)
    assert (outcome, attempts) == (Outcome.DELIVERED, [(1, None), (2, 200)])


def test_retries_end_after_their_number() -> None:
    outcome, attempts = dispatch(ScriptedSink(503), THREE_RETRIES, ScriptedSink(202))
    assert outcome is Outcome.DEAD_LETTERED
    assert attempts == [(1, 503), (2, 503), (3, 503), (4, 503)]


def test_exponential_backoff_doubles_from_twice_the_delay() -> None:
    clock = Clock()
    dispatch(ScriptedSink(500), Delivery(3, "exponential", 0.2), clock=clock)
    assert clock.waits == pytest.approx([0.4, 0.8, 1.6])


def test_linear_backoff_grows_by_the_delay() -> None:
    clock = Clock()
    dispatch(ScriptedSink(500), Delivery(3, "linear", 0.2), clock=clock)
    assert clock.waits == pytest.approx([0.2, 0.4, 0.6])


def test_tests_may_scale_the_backoff() -> None:
    clock = Clock()
    dispatch(ScriptedSink(500), Delivery(2, "linear", 2.0), clock=clock, scale=0.01)
    assert clock.waits == pytest.approx([0.02, 0.04])


def test_without_a_delivery_block_there_are_ten_retries_from_300_ms() -> None:
    how, clock = delivery(None, "ns"), Clock()
    sink = ScriptedSink(503)
    outcome, attempts = dispatch(sink, how, clock=clock)
    assert (outcome, len(attempts)) == (Outcome.LOST, 11)
    assert clock.waits[:3] == pytest.approx([0.6, 1.2, 2.4])
    assert sink.timeouts[0] == 600.0


def test_a_delivery_block_without_retry_means_no_retries() -> None:
    how = delivery({"backoffDelay": "PT1S", "backoffPolicy": "linear"}, "ns")
    assert dispatch(ScriptedSink(503), how) == (Outcome.LOST, [(1, 503)])


def test_without_a_dead_letter_sink_the_event_is_lost() -> None:
    assert dispatch(ScriptedSink(400), THREE_RETRIES) == (Outcome.LOST, [(1, 400)])


def test_sink_and_dead_letter_sink_both_down_lose_the_event() -> None:
    dead_letters = ScriptedSink(None)
    outcome, _ = dispatch(ScriptedSink(None), THREE_RETRIES, dead_letters)
    assert outcome is Outcome.LOST
    assert len(dead_letters.events) == 4  # the dead-letter sink is retried like the sink


def test_every_request_has_the_timeout_and_the_headers_of_the_dispatcher() -> None:
    sink = ScriptedSink(503, 200)
    dispatch(sink, THREE_RETRIES)
    assert sink.timeouts == [7.0, 7.0]
    assert sink.headers == [{"Prefer": "reply", "Kn-Namespace": "kubefinops"}] * 2


def test_the_trace_context_goes_along() -> None:
    sink = ScriptedSink(200)
    dispatcher = Dispatcher(THREE_RETRIES, sink, None, namespace="ns", wait=Clock().wait)
    dispatcher.dispatch(EVENT, lambda *_: None, {"traceparent": "00-1-2-01"})
    assert sink.headers[0]["traceparent"] == "00-1-2-01"


def test_a_reply_is_ignored() -> None:
    reply = Response(
        200, {"ce-id": "2", "ce-type": "reply", "ce-source": "/", "ce-specversion": "1.0"}, b"{}"
    )
    dead_letters = ScriptedSink(202)
    assert dispatch(ScriptedSink(reply), THREE_RETRIES, dead_letters)[0] is Outcome.DELIVERED
    assert dead_letters.events == []


def test_a_dead_letter_tells_destination_code_and_the_first_1024_bytes_of_the_body() -> None:
    body = b"no such workload " + b"x" * 2000
    dead_letters = ScriptedSink(202)
    dispatch(ScriptedSink(Response(422, {}, body)), THREE_RETRIES, dead_letters)
    letter = dead_letters.events[0]
    assert letter.data == EVENT.data
    assert letter.attributes == {
        **EVENT.attributes,
        "knativeerrordest": "http://policy.kubefinops",
        "knativeerrorcode": "422",
        "knativeerrordata": base64.b64encode(body[:1024]).decode(),
    }


def test_kne_response_headers_become_lower_case_extensions() -> None:
    dead_letters = ScriptedSink(202)
    answer = Response(400, {"Kne-Reason": "not a CloudEvent", "KNE-Where": "data", "Other": "x"})
    dispatch(ScriptedSink(answer), THREE_RETRIES, dead_letters)
    attributes = dead_letters.events[0].attributes
    assert (attributes["reason"], attributes["where"]) == ("not a CloudEvent", "data")
    assert "other" not in attributes


def test_a_dead_letter_of_a_sink_that_never_answered_has_the_destination_alone() -> None:
    dead_letters = ScriptedSink(202)
    dispatch(ScriptedSink(None), THREE_RETRIES, dead_letters)
    assert dead_letters.events[0].attributes == {
        **EVENT.attributes,
        "knativeerrordest": "http://policy.kubefinops",
    }


def test_a_stop_during_a_backoff_ends_the_event_without_an_outcome() -> None:
    dead_letters = ScriptedSink(202)
    with pytest.raises(Stopped):
        dispatch(ScriptedSink(503), THREE_RETRIES, dead_letters, Clock(stop_at=2))
    assert dead_letters.events == []
