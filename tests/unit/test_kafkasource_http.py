"""How events reach an HTTP sink."""

from __future__ import annotations

import socket
import threading

import pytest

from infra.emulator import http_sink
from infra.emulator.cloudevent import CloudEvent
from infra.emulator.http_sink import HttpSink, TransportError
from tests.fakes.event_receiver import Answer, Request, event_receiver

EVENT = CloudEvent(
    {
        "specversion": "1.0",
        "id": "a b",
        "source": "/s",
        "type": "t",
        "datacontenttype": "application/json",
    },
    b'{"a":1}',
)


def test_an_event_is_posted_in_binary_mode() -> None:
    with event_receiver() as receiver:
        sink = HttpSink(receiver.url)
        assert sink.send(EVENT, {"Prefer": "reply", "Kn-Namespace": "ns"}, 5).status == 204
        sink.close()
        request = receiver.requests[0]
    assert (request.method, request.path, request.body) == ("POST", "/", b'{"a":1}')
    wanted = {"ce-id": "a%20b", "ce-type": "t", "content-type": "application/json", "prefer": "reply"}
    assert wanted.items() <= request.headers.items()
    assert request.headers["kn-namespace"] == "ns"


def test_a_tombstone_is_posted_with_an_empty_body() -> None:
    with event_receiver() as receiver:
        sink = HttpSink(receiver.url)
        sink.send(CloudEvent({"id": "1"}, None), {}, 5)
        sink.close()
        assert receiver.requests[0].headers["content-length"] == "0"


def test_a_redirect_is_not_followed() -> None:
    with event_receiver(lambda _: Answer(302, headers={"Location": "/elsewhere"})) as receiver:
        sink = HttpSink(receiver.url)
        assert sink.send(EVENT, {}, 5).status == 302
        sink.close()
        assert len(receiver.requests) == 1


def test_body_and_headers_of_the_response_are_handed_back() -> None:
    with event_receiver(lambda _: Answer(422, b"bad data", {"Kne-Reason": "x"})) as receiver:
        sink = HttpSink(receiver.url)
        response = sink.send(EVENT, {}, 5)
        sink.close()
    assert (response.status, response.body, response.headers["Kne-Reason"]) == (422, b"bad data", "x")


def test_a_refused_connection_is_a_transport_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        sink = HttpSink(f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(TransportError):
            sink.send(EVENT, {}, 5)


def test_a_request_beyond_its_timeout_is_a_transport_error() -> None:
    release = threading.Event()

    def late(_: Request) -> Answer:
        release.wait(10)
        return Answer()

    with event_receiver(late) as receiver:
        sink = HttpSink(receiver.url)
        with pytest.raises(TransportError):
            sink.send(EVENT, {}, 0.05)
        release.set()


def test_a_connection_is_kept_for_the_next_event() -> None:
    with event_receiver() as receiver:
        sink = HttpSink(receiver.url)
        for _ in range(3):
            sink.send(EVENT, {}, 5)
        sink.close()
        assert len({request.client for request in receiver.requests}) == 1


def test_a_connection_that_was_idle_too_long_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_sink, "IDLE_SECONDS", -1.0)
    with event_receiver() as receiver:
        sink = HttpSink(receiver.url)
        for _ in range(2):
            sink.send(EVENT, {}, 5)
        sink.close()
        assert len({request.client for request in receiver.requests}) == 2


def test_closing_ends_a_request_in_flight() -> None:
    arrived, release = threading.Event(), threading.Event()

    def never(_: Request) -> Answer:
        arrived.set()
        release.wait(10)
        return Answer()

    with event_receiver(never) as receiver:
        sink = HttpSink(receiver.url)

        def close() -> None:
            arrived.wait(5)
            sink.close()

        closer = threading.Thread(target=close)
        closer.start()
        with pytest.raises(TransportError):
            sink.send(EVENT, {}, 30)
        closer.join()
        release.set()
        with pytest.raises(TransportError, match="closed"):
            sink.send(EVENT, {}, 30)
