"""What Knative's Kafka dispatcher does with one event: try, try again, give up to the dead-letter sink.

As in knative-extensions/eventing-kafka-broker, WebClientCloudEventSender and RecordDispatcherImpl.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from enum import StrEnum

from infra.emulator.cloudevent import CloudEvent
from infra.emulator.http_sink import Response, Sink, TransportError
from infra.emulator.manifests import Delivery

ERROR_DATA_BYTES = 1024
ERROR_HEADER = "kne-"

Attempted = Callable[[int, int | None], None]
"""Told after every attempt: its number from 1, and the status, None where no response came."""

Wait = Callable[[float], bool]
"""Waits so many seconds; True at once when the dispatcher is being stopped (threading.Event.wait)."""


class Outcome(StrEnum):
    DELIVERED = "delivered"
    DEAD_LETTERED = "dead-lettered"
    LOST = "lost"  # retries ended and no dead-letter sink took it; the offset is committed all the same


class Stopped(Exception):
    """The dispatcher was stopped before the event came to an end; nothing may be committed for it."""


def is_retried(status: int) -> bool:
    """Whether the dispatcher tries again after this status."""
    return status >= 500 or status in {404, 408, 409, 429}


class Dispatcher:
    """Delivers the events of one KafkaSource. It holds nothing of an event, so many threads may use it."""

    def __init__(
        self,
        delivery: Delivery,
        sink: Sink,
        dead_letters: Sink | None,
        *,
        namespace: str,
        wait: Wait,
        backoff_scale: float = 1.0,
    ) -> None:
        self._delivery = delivery
        self._sink = sink
        self._dead_letters = dead_letters
        self._headers = {"Prefer": "reply", "Kn-Namespace": namespace}
        self._wait = wait
        self._backoff_scale = backoff_scale

    def dispatch(
        self, event: CloudEvent, attempted: Attempted, tracing: Mapping[str, str] | None = None
    ) -> Outcome:
        """Deliver one event and say how it ended; a reply's body is ignored. Raises Stopped.

        `tracing` are headers of the trace context, which go along as they are.
        """
        headers = {**(tracing or {}), **self._headers}
        response = self._send(self._sink, event, headers, attempted)
        if response is not None and response.status < 300:
            return Outcome.DELIVERED
        if self._dead_letters is None:
            return Outcome.LOST
        letter = event.extended(error_extensions(self._sink.address, response))
        taken = self._send(self._dead_letters, letter, headers, lambda *_: None)
        return Outcome.DEAD_LETTERED if taken is not None and taken.status < 300 else Outcome.LOST

    def _send(
        self, sink: Sink, event: CloudEvent, headers: Mapping[str, str], attempted: Attempted
    ) -> Response | None:
        retry = 0
        while True:
            response: Response | None
            try:
                response = sink.send(event, headers, self._delivery.timeout)
            except TransportError:
                if self._wait(0):  # the connection was closed under it
                    raise Stopped from None
                response = None
            attempted(retry + 1, None if response is None else response.status)
            if response is not None and not is_retried(response.status):
                return response
            if retry >= self._delivery.retry:
                return response
            retry += 1
            if self._wait(self._delivery.backoff(retry) * self._backoff_scale):
                raise Stopped


def error_extensions(destination: str, response: Response | None) -> dict[str, str]:
    """The extensions that tell a dead letter's reader where and why delivery ended."""
    extensions = {"knativeerrordest": destination}
    if response is None:
        return extensions
    extensions["knativeerrorcode"] = str(response.status)
    for name, value in response.headers.items():
        if name.lower().startswith(ERROR_HEADER):
            extensions[name[len(ERROR_HEADER) :].lower()] = value
    if response.body:
        extensions["knativeerrordata"] = base64.b64encode(response.body[:ERROR_DATA_BYTES]).decode()
    return extensions
