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

from infra.standins.cluster import metrics
from infra.standins.cluster.cluster import SCRAPE_SECONDS, Cluster, Template, scrapes
from infra.standins.cluster.container import Container, relive
from infra.standins.cluster.metrics import Row
from infra.standins.cluster.names import suffix, template_hash, uid
from infra.standins.cluster.pods import Owner, Pod
from infra.standins.cluster.population import Life
from infra.standins.scenario import Scenario

_RECENT_SCRAPES = 120  # two hours of everything
_LAST_DAY = 1440
_JOINED, _RARE = 4, 20  # before that, one scrape in so many


def write(scenario: Scenario, out: Path) -> int:
    """Writes the history up to `scenario.now` as OpenMetrics text; the number of samples.

    Raises:
        TraceError, ApiError: as `Cluster` does.
    """
    cluster = Cluster(scenario, lived=False)
    page = _Page(scenario.now)
    gone: dict[Row, list[_Past]] = {}
    for pod in cluster.pods.values():
        for past in [*_before(cluster, pod), _again(cluster, pod)]:
            _write_pod(page, past)
            if past.gone_from:
                row = metrics.replica_set_owner(pod.namespace, past.pod.owner.name, past.gone_from)
                gone.setdefault(row, []).append(past)
        page.recently(
            metrics.pod_rows(pod, cluster.now), pod.created, but=(metrics.RESTARTS, metrics.LAST_REASON)
        )
    for replica_set in cluster.replica_sets.values():
        row = metrics.replica_set_owner(replica_set.namespace, replica_set.name, replica_set.owner.name)
        page.sparsely([row], replica_set.created, cluster.now, _JOINED)
    for row, pasts in gone.items():
        first, last = min(each.pod.created for each in pasts), max(each.end for each in pasts)
        page.sparsely([row], first, last, _JOINED)
    page.recently(metrics.object_rows(cluster), 0.0)
    with out.open("w", encoding="utf-8") as file:
        for name, lines in page.families.items():
            family = name.removesuffix("_total")
            file.write(f"# TYPE {family} {'counter' if family != name else 'gauge'}\n")
            file.writelines(lines)
        file.write("# EOF\n")
    return page.samples


@dataclass(frozen=True)
class _Past:
    """A pod to live through, until `end` (Unix seconds), and the Deployment of a ReplicaSet that is gone."""

    pod: Pod
    end: float
    gone_from: str | None = None


def _again(cluster: Cluster, pod: Pod) -> _Past:
    return _Past(_rebuilt(cluster, pod, (pod.name, pod.owner, pod.uid), Life(pod.created)), cluster.now)


def _before(cluster: Cluster, pod: Pod) -> list[_Past]:
    """The pods that took turns as this one before it."""
    home = _home(pod, cluster)
    population = cluster.populations.get(home)
    if population is None or pod.owner.kind == "Job":
        return []
    found = []
    for index, life in enumerate(population.lives(pod.ordinal)[:-1]):
        assert life.end is not None
        owner, name, gone_from = pod.owner, pod.name, None
        if pod.owner.kind == "ReplicaSet":
            replica_set = f"{home[2]}-{template_hash([home, index])}"
            name = life.pod or f"{replica_set}-{suffix(5, replica_set, pod.ordinal)}"
            replica_set = name.rpartition("-")[0]
            owner = Owner("ReplicaSet", replica_set, uid("ReplicaSet", home, replica_set))
            gone_from = home[2]
        elif pod.owner.kind == "DaemonSet":
            name = life.pod or f"{home[2]}-{suffix(5, home, pod.ordinal, index)}"
        identity = (name, owner, uid("past", home, pod.ordinal, index))
        rebuilt = _rebuilt(cluster, pod, identity, life)
        found.append(_Past(rebuilt, life.end, gone_from))
    return found


def _home(pod: Pod, cluster: Cluster) -> tuple[str, str, str]:
    if pod.owner.kind == "ReplicaSet":
        owner = cluster.replica_sets[pod.namespace, pod.owner.name].owner
        return pod.namespace, owner.kind, owner.name
    return pod.namespace, pod.owner.kind, pod.owner.name


def _rebuilt(cluster: Cluster, pod: Pod, identity: tuple[str, Owner, str], life: Life) -> Pod:
    """A pod like `pod` at the beginning of `life`, with another name, owner and uid."""
    name, owner, pod_uid = identity
    home = _home(pod, cluster)
    wanted = Template(pod.namespace, name, owner, home, pod.ordinal, pod.revision, {}, {"spec": pod.spec})
    rebuilt = cluster.build_pod(wanted, pod.spec, life, pod_uid)
    rebuilt.node = pod.node
    return rebuilt


@dataclass
class _Page:
    """The lines of every family, as they come."""

    now: float
    families: dict[str, list[str]] = field(default_factory=dict)
    samples: int = 0
    _stamps: dict[float, str] = field(default_factory=dict)

    def series(self, name: str, labels: str, times: list[float], values: Iterable[str]) -> None:
        """One series; nothing where there are no samples."""
        if times:
            prefix = f"{name}{{{labels}}} "
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
                    row.name, f"{row.labels},{metrics.BY_STATE}", times, [repr(row.value)] * len(times)
                )

    def sparsely(self, rows: Iterable[Row], since: float, end: float, one_in: int) -> None:
        """Rows that did not change, for the whole time from `since` to `end`."""
        times = self.thinned((t for t in scrapes(since, self.now) if t <= end), one_in)
        for row in rows:
            self.series(row.name, f"{row.labels},{metrics.BY_STATE}", times, [repr(row.value)] * len(times))

    def thinned(self, times: Iterable[float], one_in: int, whole: int = _RECENT_SCRAPES) -> list[float]:
        """Of scrape times, the last `whole` and one in `one_in` of those before."""
        return [t for t in times if self._kept(t, one_in, whole)]

    def _kept(self, t: float, one_in: int, whole: int) -> bool:
        ago = round((self.now - t) / SCRAPE_SECONDS)
        return ago <= whole or ago % one_in == 0

    def _stamp(self, t: float) -> str:
        text = self._stamps[t] = f"{t:.3f}".rstrip("0").rstrip(".")
        return text


def _write_pod(page: _Page, past: _Past) -> None:
    pod = past.pod
    times = [t for t in scrapes(pod.created, page.now) if t <= past.end]
    if not times:
        return
    for container in pod.containers:
        _write_container(page, pod, container, times)
    page.sparsely(metrics.owner_rows(pod), pod.created, past.end, _JOINED)
    page.sparsely(metrics.resource_rows(pod), pod.created, past.end, _RARE)


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
        text = f"{metrics.container_labels(pod, container, number)},{metrics.BY_CADVISOR}"
        page.series(metrics.CPU, metrics.total_cpu(text), samples.times, map("{:.4f}".format, samples.cpu))
        page.series(metrics.MEMORY, text, samples.times, map("{:.0f}".format, samples.memory))
        if container.cpu_limit is not None:
            kept = page.thinned(samples.times, _JOINED, _LAST_DAY)
            for name, counts in ((metrics.PERIODS, samples.periods), (metrics.THROTTLED, samples.throttled)):
                at = dict(zip(samples.times, counts, strict=True))
                page.series(name, text, kept, (f"{at[t]:.0f}" for t in kept))
    here = metrics.container_text(pod, container.name)
    told = page.thinned(times, _RARE)
    page.series(
        metrics.RESTARTS,
        f"{metrics.labels(**here)},{metrics.BY_STATE}",
        told,
        [str(restarts[t]) for t in told],
    )
    killed = [t for t in told if restarts[t]]
    text = f"{metrics.labels(**here, reason='OOMKilled')},{metrics.BY_STATE}"
    page.series(metrics.LAST_REASON, text, killed, ["1"] * len(killed))
