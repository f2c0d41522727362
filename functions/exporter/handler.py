"""Reads the figures on each scrape and writes them in Prometheus' text format."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from functions.exporter.metrics import METRICS, SCRAPE_DURATION, SCRAPES, Sample, samples
from shared.contracts.errors import Temporary
from shared.runtime.ledger import utc_now

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

    from shared.contracts.figures import FigureSource


@dataclass(frozen=True)
class Exposition:
    body: bytes
    content_type: str


class ExporterHandler:
    """Keeps nothing between scrapes but their number: what is shown is what MongoDB says now."""

    def __init__(self, figures: FigureSource, cluster: str, clock: Callable[[], datetime] = utc_now) -> None:
        self._figures = figures
        self._cluster = cluster
        self._clock = clock
        self._lock = threading.Lock()
        self._scrapes = {"answered": 0, "failed": 0}

    def metrics(self) -> Exposition:
        """Every metric of METRICS in Prometheus' text format.

        Raises:
            Temporary: MongoDB cannot be read; Prometheus then shows `up` 0 instead of stale figures.
        """
        began = time.perf_counter()
        try:
            figures = self._figures.read()
        except Temporary:
            self._count("failed")
            raise
        taken = time.perf_counter() - began
        self._count("answered")
        with self._lock:
            own = [Sample(SCRAPES, (result,), number) for result, number in self._scrapes.items()]
        own.append(Sample(SCRAPE_DURATION, (), taken))
        registry = CollectorRegistry()
        registry.register(_Shown([*samples(figures, self._cluster, self._clock()), *own]))
        return Exposition(generate_latest(registry), CONTENT_TYPE_LATEST)

    def _count(self, result: str) -> None:
        with self._lock:
            self._scrapes[result] += 1


class _Shown(Collector):
    """Samples, collected into one family for each metric."""

    def __init__(self, shown: Iterable[Sample]) -> None:
        self._shown = list(shown)

    def collect(self) -> Iterable[Family]:
        for metric in METRICS:
            family: GaugeMetricFamily | CounterMetricFamily = (
                CounterMetricFamily(metric.name, metric.meaning, labels=metric.labels)
                if metric.kind == "counter"
                else GaugeMetricFamily(metric.name, metric.meaning, labels=metric.labels)
            )
            for sample in self._shown:
                if sample.metric is metric:
                    family.add_metric(sample.values, sample.amount)
            yield family
