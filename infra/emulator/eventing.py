"""What Knative Eventing does for an overlay: its KafkaSources, KafkaSinks and PingSources, running."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

from infra.emulator.dispatch import Dispatcher
from infra.emulator.http_sink import HttpSink, Sink
from infra.emulator.kafka_sink import TopicSink, producer
from infra.emulator.kafkasource import Counts, OnDelivery, RunningSource
from infra.emulator.manifests import Destination, KafkaSource, ManifestError, Manifests
from infra.emulator.pingsource import RunningPingSource
from infra.emulator.scaling import GroupLags, ScaledSource


class Eventing:
    """Delivers everything that the manifests ask for, from `start` to `stop`."""

    def __init__(
        self,
        manifests: Manifests,
        *,
        bootstrap: str,
        addresses: Mapping[str, str],
        on_delivery: OnDelivery | None = None,
        duplicate: bool = False,
        backoff_scale: float = 1.0,
    ) -> None:
        """`addresses` maps each Knative Service to its URL here; `duplicate` delivers every event twice;
        `backoff_scale` shortens the waits between retries, for tests alone.

        Raises ManifestError when a sink is not in the manifests or has no address.
        """
        self._manifests = manifests
        self._addresses = addresses
        self._producer = producer(bootstrap)
        self._http_sinks: list[HttpSink] = []
        self._sources = [
            ScaledSource(
                source,
                partial(
                    RunningSource,
                    source,
                    bootstrap,
                    self._dispatcher_for(source, backoff_scale),
                    on_delivery=on_delivery,
                    duplicate=duplicate,
                ),
                GroupLags(bootstrap, source.consumer_group, source.topics),
            )
            for source in manifests.kafka_sources
        ]
        self.ping_sources = {
            source.name: RunningPingSource(source, self._sink(source.sink), backoff_scale=backoff_scale)
            for source in manifests.ping_sources
        }

    def start(self, within: float = 20.0) -> None:
        """Start all KafkaSources and wait until each has its partitions. Raises SourceError."""
        for source in self._sources:
            source.start()
        deadline = time.monotonic() + within
        for source in self._sources:
            source.wait_assigned(max(0.0, deadline - time.monotonic()))

    def fire(self, name: str) -> bool:
        """One tick of the PingSource `name`; False when it was dropped. Raises KeyError."""
        return self.ping_sources[name].fire()

    def every(self, seconds: float) -> None:
        """Fire every PingSource at this interval, whatever its schedule says."""
        for source in self.ping_sources.values():
            source.every(seconds)

    @property
    def counts(self) -> dict[str, Counts]:
        """What each KafkaSource did since the start, by its name."""
        return {scaled.source.name: scaled.counts for scaled in self._sources}

    @property
    def consumers(self) -> dict[str, int]:
        """How many consumers each KafkaSource has now, by its name."""
        return {scaled.source.name: scaled.consumers for scaled in self._sources}

    @property
    def in_flight(self) -> int:
        """Records that were fetched and have not come to an end, over all sources."""
        return sum(scaled.in_flight for scaled in self._sources)

    def stop(self, grace: float = 10.0, *, commit: bool = True) -> None:
        """Let what is in flight finish within `grace` seconds, commit what is finished, and end.

        Retries that wait are given up and come again after the next start. `commit=False` ends as SIGKILL
        would: what was finished since the last commit comes again too.
        """
        for ping in self.ping_sources.values():
            ping.stop()
        for source in self._sources:
            source.begin_stop(grace, commit=commit)
        for source in self._sources:
            source.join()
        for sink in self._http_sinks:
            sink.close()
        self._producer.flush(grace)

    def _dispatcher_for(
        self, source: KafkaSource, backoff_scale: float
    ) -> Callable[[Callable[[float], bool]], Dispatcher]:
        letters = source.delivery.dead_letter_sink
        sink, dead_letters = self._sink(source.sink), None if letters is None else self._sink(letters)
        return lambda wait: Dispatcher(
            source.delivery,
            sink,
            dead_letters,
            namespace=source.namespace,
            wait=wait,
            backoff_scale=backoff_scale,
        )

    def _sink(self, destination: Destination) -> Sink:
        if isinstance(destination, str):
            return self._http_sink(destination)
        try:
            if destination.kind == "KafkaSink":
                return TopicSink(self._manifests.kafka_sink(destination), self._producer)
            address = self._addresses[self._manifests.service(destination.name).name]
            return self._http_sink(destination.at(address))
        except KeyError as error:
            raise ManifestError(f"sink {destination.name}: {error.args[0]}") from None

    def _http_sink(self, url: str) -> HttpSink:
        sink = HttpSink(url)
        self._http_sinks.append(sink)
        return sink
