"""PingSource: what it sends, and when it drops a tick."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping

import pytest

from infra.emulator.cloudevent import CloudEvent
from infra.emulator.http_sink import Response, TransportError
from infra.emulator.manifests import PingSource, Reference
from infra.emulator.pingsource import RunningPingSource, tick

SCAN = PingSource(
    "kubefinops",
    "scan",
    "7 * * * *",
    "application/json",
    b'{"action":"scan"}',
    Reference("Service", "kubefinops", "receiver"),
    {"team": "finops"},
)


class CountingSink:
    address = "http://receiver"

    def __init__(self, *statuses: int | None) -> None:
        self._statuses = list(statuses)
        self.events: list[CloudEvent] = []
        self.arrived = threading.Condition()

    def send(self, event: CloudEvent, headers: Mapping[str, str], timeout: float) -> Response:
        with self.arrived:
            self.events.append(event)
            self.arrived.notify_all()
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        if status is None:
            raise TransportError("refused")
        return Response(status)


def test_a_tick_has_the_type_source_data_and_a_random_id() -> None:
    first, second = tick(SCAN), tick(SCAN)
    assert first.data == b'{"action":"scan"}'
    assert first.attributes["id"] != second.attributes["id"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.attributes["time"])
    assert {name: text for name, text in first.attributes.items() if name not in ("id", "time")} == {
        "specversion": "1.0",
        "type": "dev.knative.sources.ping",
        "source": "/apis/v1/namespaces/kubefinops/pingsources/scan",
        "datacontenttype": "application/json",
        "team": "finops",
    }


@pytest.mark.parametrize("status", [None, 404, 429, 503])
def test_a_tick_is_tried_six_times_and_then_dropped(status: int | None) -> None:
    sink = CountingSink(status)
    assert RunningPingSource(SCAN, sink, backoff_scale=0.0).fire() is False
    assert len(sink.events) == 6
    assert len({event.attributes["id"] for event in sink.events}) == 1


def test_a_tick_that_is_taken_at_the_second_try_is_not_dropped() -> None:
    sink = CountingSink(503, 204)
    assert RunningPingSource(SCAN, sink, backoff_scale=0.0).fire() is True
    assert len(sink.events) == 2


@pytest.mark.parametrize("status", [400, 422, 500])
def test_other_statuses_drop_the_tick_at_once(status: int) -> None:
    sink = CountingSink(status)
    assert RunningPingSource(SCAN, sink).fire() is False
    assert len(sink.events) == 1


def test_ticks_at_an_interval_end_with_stop() -> None:
    sink = CountingSink(204)
    running = RunningPingSource(SCAN, sink)
    running.every(0.001)
    with sink.arrived:
        assert sink.arrived.wait_for(lambda: len(sink.events) >= 3, timeout=5)
    running.stop()
    count = len(sink.events)
    assert running.fire() is True  # a tick by hand still goes out
    assert len(sink.events) == count + 1
