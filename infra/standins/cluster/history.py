"""The cluster's past as Prometheus would have scraped it, for `promtool tsdb create-blocks-from openmetrics`.

Every pod, past and present, is lived through once more, scrape by scrape, and written series by series. CPU
and memory have every scrape of the whole past. The rest is thinned, because loading takes its time by the
sample: owners have one scrape in four (within Prometheus' lookback of 5 minutes, so that joins work at any
time), throttling too except on the last day, requests, limits, restarts and OOM kills one in twenty; the
last two hours have everything. A present pod's last sample is what the running stand-in begins with, under
the same labels, so no counter is reset where the history ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from infra.standins.cluster import cadvisor, kube_state
from infra.standins.cluster.cluster import SCRAPE_SECONDS, Cluster, scrapes
from infra.standins.cluster.container import Container, relive
from infra.standins.cluster.metrics import Row, labels
from infra.standins.cluster.past import Past, pods
from infra.standins.cluster.pods import Pod

_RECENT_SCRAPES = 120  # two hours of everything
_LAST_DAY = 1440
_JOINED, _RARE = 4, 20  # before that, one scrape in so many
_SHORT_LIFE = 3600.0  # seconds; a pod that lived no longer has every scrape
_BY_RUN = (kube_state.RESTARTS, kube_state.LAST_REASON)


def write(cluster: Cluster, out: Path) -> int:
    """Writes the history up to the cluster's `now` as OpenMetrics text; the number of samples.

    `cluster` is one that has its past still to live: afterwards it has lived it.

    Raises:
        TraceError: usage cannot be read.
    """
    page = _Page(cluster.now)
    controllers: dict[Row, list[Past]] = {}
    for past in pods(cluster):
        _write_pod(page, past)
        if past.owned:
            controllers.setdefault(past.owned, []).append(past)
        if past.until is None:
            cluster.pods[past.pod.namespace, past.pod.name].containers = past.pod.containers
            page.recently(kube_state.pod_rows(past.pod, cluster.now), past.pod.created, but=_BY_RUN)
    for row, pasts in controllers.items():
        ends = [cluster.now if each.until is None else each.until for each in pasts]
        page.sparsely([row], min(each.pod.created for each in pasts), max(ends), _JOINED)
    others = (row for row in kube_state.object_rows(cluster) if row not in controllers)
    page.recently(others, 0.0)
    with out.open("w", encoding="utf-8") as file:
        for name, lines in page.families.items():
            family = name.removesuffix("_total")
            file.write(f"# TYPE {family} {'counter' if family != name else 'gauge'}\n")
            file.writelines(lines)
        file.write("# EOF\n")
    cluster.has_lived()
    return page.samples


@dataclass
class _Page:
    """The lines of every family, as they come."""

    now: float
    families: dict[str, list[str]] = field(default_factory=dict)
    samples: int = 0
    _stamps: dict[float, str] = field(default_factory=dict)

    def series(self, name: str, text: str, times: list[float], values: Iterable[str]) -> None:
        """One series; nothing where there are no samples."""
        if times:
            prefix = f"{name}{{{text}}} "
            stamps = self._stamps
            lines = [
                f"{prefix}{v} {stamps.get(t) or self._stamp(t)}\n" for t, v in zip(times, values, strict=True)
            ]
            self.families.setdefault(name, []).append("".join(lines))
            self.samples += len(lines)

    def recently(self, rows: Iterable[Row], since: float, but: tuple[str, ...] = ()) -> None:
        """Rows that did not change, for the last hours after `since`."""
        times = list(scrapes(max(since, self.now - _RECENT_SCRAPES * SCRAPE_SECONDS), self.now))
        for row in rows:
            if row.name not in but:
                self.series(
                    row.name, f"{row.labels},{kube_state.SOURCE}", times, [repr(row.value)] * len(times)
                )

    def sparsely(self, rows: Iterable[Row], since: float, end: float, one_in: int) -> None:
        """Rows that did not change, for the whole time from `since` to `end`."""
        if end - since <= _SHORT_LIFE:
            one_in = 1
        times = self.thinned(scrapes(since, self.now, end), one_in)
        for row in rows:
            self.series(row.name, f"{row.labels},{kube_state.SOURCE}", times, [repr(row.value)] * len(times))

    def thinned(self, times: Iterable[float], one_in: int, whole: int = _RECENT_SCRAPES) -> list[float]:
        """Of scrape times, the last `whole` and one in `one_in` of those before."""
        return [t for t in times if self._kept(t, one_in, whole)]

    def _kept(self, t: float, one_in: int, whole: int) -> bool:
        ago = round((self.now - t) / SCRAPE_SECONDS)
        return ago <= whole or ago % one_in == 0

    def _stamp(self, t: float) -> str:
        text = self._stamps[t] = f"{t:.3f}".rstrip("0").rstrip(".")
        return text


def _write_pod(page: _Page, past: Past) -> None:
    pod = past.pod
    until = page.now if past.until is None else past.until
    used_until = until if pod.finishes is None else min(until, pod.finishes)
    times = list(scrapes(pod.created, page.now, used_until))
    for container in pod.containers if times else ():
        _write_container(page, pod, container, times)
    page.sparsely(kube_state.owner_rows(pod), pod.created, until, _JOINED)
    page.sparsely(kube_state.resource_rows(pod), pod.created, until, _RARE)


@dataclass
class _Samples:
    """What was scraped of one control group."""

    times: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    periods: list[float] = field(default_factory=list)
    throttled: list[float] = field(default_factory=list)


def _write_container(page: _Page, pod: Pod, container: Container, times: list[float]) -> None:
    runs: dict[int, _Samples] = {}
    restarts: dict[float, int] = {}
    run, count = _Samples(), -1
    for t in relive(container, times):
        restarts[t] = container.restarts
        if math.isnan(container.working_set):
            continue  # a gap in the recording, or the moment between two runs
        if container.restarts != count:
            count = container.restarts
            run = runs.setdefault(count, _Samples())
        run.times.append(t)
        run.cpu.append(container.cpu_seconds)
        run.memory.append(container.working_set)
        run.periods.append(container.periods)
        run.throttled.append(container.throttled_periods)
    for number, samples in runs.items():
        labelled = cadvisor.container_labels(pod, container, number)
        text = f"{labelled},{cadvisor.SOURCE}"
        total = f"{cadvisor.total_cpu(labelled)},{cadvisor.SOURCE}"
        page.series(cadvisor.CPU, total, samples.times, map("{:.4f}".format, samples.cpu))
        page.series(cadvisor.MEMORY, text, samples.times, map("{:.0f}".format, samples.memory))
        if container.cpu_limit is not None:
            kept = page.thinned(samples.times, _JOINED, _LAST_DAY)
            for name, counts in (
                (cadvisor.PERIODS, samples.periods),
                (cadvisor.THROTTLED, samples.throttled),
            ):
                at = dict(zip(samples.times, counts, strict=True))
                page.series(name, text, kept, (f"{at[t]:.0f}" for t in kept))
    here = kube_state.container_text(pod, container.name)
    told = page.thinned(times, _RARE)
    page.series(
        kube_state.RESTARTS,
        f"{labels(**here)},{kube_state.SOURCE}",
        told,
        [str(restarts[t]) for t in told],
    )
    killed = [t for t in told if restarts[t]]
    text = f"{labels(**here, reason='OOMKilled')},{kube_state.SOURCE}"
    page.series(kube_state.LAST_REASON, text, killed, ["1"] * len(killed))
