"""A running PingSource: posts its event by hand, or every few seconds in place of its schedule."""

from __future__ import annotations

import logging
import threading
import time
import uuid

from infra.emulator.cloudevent import CloudEvent, rfc3339
from infra.emulator.http_sink import Sink, TransportError
from infra.emulator.manifests import PingSource

logger = logging.getLogger(__name__)

# As knative.dev/eventing's mtping sets them and the CloudEvents SDK for Go waits: 0.1, 0.2 ... 1.6 s.
RETRIES = 5
RETRY_SECONDS = 0.05
RETRIED = frozenset({404, 413, 425, 429, 502, 503, 504})
TIMEOUT_SECONDS = 30.0


class RunningPingSource:
    """Fires the ticks of one PingSource."""

    def __init__(self, source: PingSource, sink: Sink, *, backoff_scale: float = 1.0) -> None:
        self.source = source
        self._sink = sink
        self._backoff_scale = backoff_scale
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def fire(self) -> bool:
        """Send one tick, trying a few times; False when it was dropped."""
        event = tick(self.source)
        for retry in range(RETRIES + 1):
            if retry and self._stopping.wait(RETRY_SECONDS * 2**retry * self._backoff_scale):
                return False
            try:
                status = self._sink.send(event, {}, TIMEOUT_SECONDS).status
            except TransportError as error:
                logger.info("PingSource %s: %s", self.source.name, error)
                continue
            if status < 300:
                return True
            if status not in RETRIED:
                logger.warning("PingSource %s: tick refused with %d", self.source.name, status)
                return False
        logger.warning("PingSource %s: tick dropped after %d retries", self.source.name, RETRIES)
        return False

    def every(self, seconds: float) -> None:
        """Fire now and then at this interval until stopped; a slow tick delays the next, none are made up."""
        if self._thread is not None:
            raise RuntimeError(f"PingSource {self.source.name} already fires")

        def run() -> None:
            while not self._stopping.is_set():
                self.fire()
                self._stopping.wait(seconds)

        self._thread = threading.Thread(target=run, name=f"ping-{self.source.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the interval and any retry that waits."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()


def tick(source: PingSource) -> CloudEvent:
    """The event of one tick: a random id, the time of firing, and the data of the manifest."""
    attributes = {
        "specversion": "1.0",
        "type": "dev.knative.sources.ping",
        "id": str(uuid.uuid4()),
        "source": f"/apis/v1/namespaces/{source.namespace}/pingsources/{source.name}",
        "time": rfc3339(time.time_ns() // 1_000_000),
        **source.extensions,
    }
    if source.data is not None and source.content_type is not None:
        attributes["datacontenttype"] = source.content_type
    return CloudEvent(attributes, source.data)
