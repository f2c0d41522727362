"""What scan and propose share: the settings, and a cluster's workloads with what they should ask for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console

from functions.recommender.reading import read
from functions.recommender.report import Entry, entry
from functions.recommender.settings import SizingSettings
from functions.recommender.sizing import size
from infra.cli.tables import some
from shared.adapters.prometheus import HttpPrometheus
from shared.contracts.errors import BadSetting, KubeFinOpsError

if TYPE_CHECKING:
    from shared.adapters.prometheus import Prometheus, Series

# A person waits for a whole cluster at once; a function has its delivery's time.
QUERY_SECONDS = 120


class NothingFound(KubeFinOpsError):
    """Prometheus answers, and tells of no workload that was asked for."""


def sizing_settings(prometheus_url: str) -> SizingSettings:
    """The environment's, with this address. Raises BadSetting, which names what the address came from."""
    try:
        return SizingSettings.read({**os.environ, "PROMETHEUS_URL": prometheus_url})
    except BadSetting as error:
        if os.environ.get("PROMETHEUS_URL") == prometheus_url:
            raise
        raise BadSetting(str(error).replace("setting PROMETHEUS_URL:", "--prometheus:")) from None


def look(settings: SizingSettings, namespaces: Collection[str], at: datetime) -> list[Entry]:
    """Every workload of `namespaces` (empty: of all) at `at`, with its proposal or the reason for none.

    Raises:
        NothingFound: there is no such namespace, or no workload.
        Temporary: Prometheus cannot be reached, or does not answer.
    """
    client: Prometheus = HttpPrometheus(
        settings.prometheus, settings.prometheus_token.get_secret_value(), timeout=QUERY_SECONDS
    )
    if sys.stderr.isatty():
        with Console(stderr=True).status("asking Prometheus") as status:
            client = _Told(client, status.update)
            found = proposals(client, at, namespaces, settings)
    else:
        found = proposals(client, at, namespaces, settings)
    missing = set(namespaces) - {each.workload.namespace for each in found}
    if missing:
        rows = client.query("count by (namespace) (kube_pod_owner)", at)
        there = {row.labels.get("namespace", "") for row in rows}
        if unknown := missing - there:
            raise NothingFound(
                f"no namespace {some(unknown)} at {settings.prometheus}; seen: {some(there) or 'none'}"
            )
    if not found:
        where = f"namespace {', '.join(namespaces)}" if namespaces else "any namespace"
        raise NothingFound(
            f"no workload in {where} at {settings.prometheus}: it needs the series of"
            " kube-state-metrics (kube_pod_owner) and cAdvisor, up to now"
        )
    return found


def proposals(
    prometheus: Prometheus, at: datetime, namespaces: Collection[str], settings: SizingSettings
) -> list[Entry]:
    """The same reading, sizing and pricing as the recommender's; no document is looked at, so what is in
    flight or was refused before is proposed here too. Raises Temporary.
    """
    reading = read(
        prometheus,
        settings.cluster,
        at,
        history=settings.window,
        oom_days=settings.oom_days,
        namespaces=namespaces,
    )
    return [
        entry(observed, size(observed, settings.rules), settings.prices) for observed in reading.workloads
    ]


class _Told:
    """Tells on a terminal which query is asked, because a large cluster takes its time."""

    def __init__(self, prometheus: Prometheus, tell: Callable[[str], None]) -> None:
        self._prometheus = prometheus
        self._tell = tell
        self._asked = 0

    def query(self, promql: str, at: datetime, timeout: float | None = None) -> list[Series]:
        self._asked += 1
        self._tell(f"asking Prometheus: query {self._asked}")
        return self._prometheus.query(promql, at, timeout)
