"""A KafkaSink: an address that turns events into records of its topic."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.emulator.cloudevent import CloudEvent, kafka_message
from infra.emulator.http_sink import Response, TransportError
from infra.emulator.manifests import KafkaSink

logger = logging.getLogger(__name__)


def producer(bootstrap: str) -> Producer:
    """A producer as the KafkaSink's ingress has one: acknowledged is what all replicas have."""
    return Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 0}, logger=logger)


class TopicSink:
    """Sends events to a KafkaSink's topic; the producer may be shared. Thread-safe."""

    def __init__(self, sink: KafkaSink, through: Producer) -> None:
        self.address = f"http://kafka-sink-ingress/{sink.namespace}/{sink.name}"
        self._sink = sink
        self._producer = through

    def send(self, event: CloudEvent, headers: Mapping[str, str], timeout: float) -> Response:  # noqa: ARG002
        """Write the record and wait for its delivery report: 202, as the ingress answers."""
        key, record_headers, value = kafka_message(event, self._sink.content_mode)
        reported = threading.Event()
        errors: list[KafkaError] = []

        def report(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                errors.append(error)
            reported.set()

        try:
            self._producer.produce(
                self._sink.topic, value, key, headers=[*record_headers], on_delivery=report
            )
        except (BufferError, KafkaException) as error:
            raise TransportError(f"topic {self._sink.topic}: {error}") from error
        deadline = time.monotonic() + timeout
        while not reported.is_set() and time.monotonic() < deadline:
            self._producer.poll(0.01)
        if errors or not reported.is_set():
            reason = errors[0].str() if errors else f"no delivery report within {timeout:g} s"
            raise TransportError(f"topic {self._sink.topic}: {reason}")
        return Response(202)
