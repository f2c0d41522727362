"""The adapter, and the recommender's reading, against a real Prometheus whose history's truth is known."""

from __future__ import annotations

import json
import math
import random
import re
import socket
import threading
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs

import pytest

from functions.recommender import queries, reading
from functions.recommender.sizing import Jvm, Observed, ObservedContainer
from shared.adapters import prometheus as prometheus_client
from shared.adapters.prometheus import HttpPrometheus
from shared.contracts.digests import POINTS
from shared.contracts.errors import Temporary, Throttled
from shared.contracts.events import Resources
from shared.contracts.identity import Workload
from shared.contracts.prometheus import (
    AT_ONCE,
    Curve,
    QueryFailed,
    QueryRefused,
    QueryTooLarge,
    QueryTooSlow,
    Series,
)
from tests.fakes.prometheus import History
from tests.servers import prometheus_server
from tests.trickling import OK, sending

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
END = NOW.timestamp()
DAY = 86400
MIB = 2**20
SCRAPE, WINDOW, DAYS = 60, 300, 2
CPU_STEP, MEMORY_STEP = 870, 3480  # from one window that is looked at to the next
BEGIN = END - DAYS * DAY
RANDOM = random.Random(7)

Blocks = dict[float, tuple[float, float]]
"""End of each 5 minutes (Unix seconds) to (cores, bytes) throughout them."""


def blocks(begin: float = BEGIN, end: float = END, *, cores: float = 0.1, size: float = 100 * MIB) -> Blocks:
    """Another use in every 5 minutes; constant in the last 30, so that the recent figures are known."""
    ends = range(int(begin) + WINDOW, int(end) + 1, WINDOW)
    return {
        float(at): (cores, size)
        if at > END - 1800
        else (cores * RANDOM.uniform(0.5, 1.5), float(int(size * RANDOM.uniform(0.5, 1.5))))
        for at in ends
    }


def windows(use: Blocks, step: int) -> dict[int, tuple[float, float]]:
    """The mean of cores and the peak of bytes within the windows that end every `step` seconds since 1970, as
    samples tell them: a window may lie in two of the blocks.
    """
    samples = {
        at: told for end, told in use.items() for at in range(int(end) - WINDOW + 30, int(end), SCRAPE)
    }
    found, times = {}, sorted(samples)
    for end in range(int(BEGIN // step * step), int(END) + 1, step):
        inside = [samples[at] for at in times[bisect_left(times, end - WINDOW) : bisect_right(times, end)]]
        if len(inside) > 1:
            # From one sample to the next half is counted at the use of either's block.
            cores = [(one + other) / 2 for (one, _), (other, _) in pairwise(inside)]
            found[end] = sum(cores) / len(cores), max(size for _, size in inside)
    return found


def p95(values: list[float]) -> float:
    """Linear between ranks, as Prometheus' quantile_over_time."""
    ordered = sorted(values)
    rank = 0.95 * (len(ordered) - 1)
    low = int(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


class Written:
    """The cluster's history: every test reads another workload of it."""

    def __init__(self) -> None:
        self.history = History()
        self.use: dict[str, Blocks] = {}

    def run(
        self,
        pod: str,
        use: Blocks,
        *,
        namespace: str = "shop",
        container: str = "app",
        identity: str = "1",
        resets: tuple[float, ...] = (),
        instance: str = "node-1",
    ) -> None:
        """A container's series: samples lie 30 s off the windows' ends, so no window shares one.

        Without `identity` it has no `id`, as where that label is dropped.
        """
        if container == "app":
            self.use.setdefault(pod, {}).update(use)
        labels = {
            "namespace": namespace,
            "pod": pod,
            "container": container,
            "instance": instance,
        }
        if identity:
            labels["id"] = f"/kubepods/{pod}/{identity}"
        counter, cpu, memory = 0.0, [], []
        for end, (cores, size) in use.items():
            for at in range(int(end) - WINDOW + 30, int(end), SCRAPE):
                # Half a scrape at the rate of the former block was counted below.
                counter += cores * (30 if at == int(end) - WINDOW + 30 else SCRAPE)
                if at in resets:
                    counter = cores * SCRAPE
                cpu.append((at, counter))
                memory.append((at, size))
            counter += cores * 30
        self.history.add("container_cpu_usage_seconds_total", labels, cpu)
        self.history.add("container_memory_working_set_bytes", labels, memory)

    def told(
        self, metric: str, value: float = 1, begin: float = END - 600, end: float = END, **labels: str
    ) -> None:
        """A series of kube-state-metrics."""
        times = range(int(begin), int(end) + 1, SCRAPE)
        self.history.add(metric, {"namespace": "shop", **labels}, ((at, value) for at in times))

    def pod(
        self,
        name: str,
        owner: tuple[str, str],
        *,
        begin: float = BEGIN,
        end: float = END,
        requests: tuple[float, float] | None = (1, 512 * MIB),
        limits: tuple[float, float] | None = None,
        containers: tuple[str, ...] = ("app",),
    ) -> None:
        kind, owner_name = owner
        self.told(
            "kube_pod_owner", pod=name, owner_kind=kind, owner_name=owner_name, owner_is_controller="true",
            begin=begin, end=end,
        )  # fmt: skip
        if end < END:
            return
        for container in containers:
            self.told("kube_pod_container_info", pod=name, container=container, image="x")
            for metric, values in (("requests", requests), ("limits", limits)):
                for resource, value in zip(("cpu", "memory"), values or (), strict=False):
                    self.told(
                        f"kube_pod_container_resource_{metric}", value, pod=name, container=container,
                        resource=resource, unit="x",
                    )  # fmt: skip

    def deployment(self, name: str, hashes: tuple[str, ...] = ("6c9f7",), replicas: int = 1) -> None:
        self.told("kube_deployment_spec_replicas", replicas, deployment=name)
        for each in hashes:
            self.told(
                "kube_replicaset_owner", begin=BEGIN, replicaset=f"{name}-{each}", owner_kind="Deployment",
                owner_name=name, owner_is_controller="true",
            )  # fmt: skip

    def simple(self, name: str, use: Blocks | None = None, **more: object) -> str:
        """A Deployment of one pod; its name."""
        self.deployment(name)
        pod = f"{name}-6c9f7-aaaaa"
        self.pod(pod, ("ReplicaSet", f"{name}-6c9f7"), **more)  # type: ignore[arg-type]
        if use is not None:
            self.run(pod, use)
        return pod


def write_cluster() -> Written:
    written = Written()
    # web: two pods now, and one of a former ReplicaSet that used the most memory.
    written.deployment("web", ("6c9f7", "5d8e6"), replicas=2)
    for pod, cores in (("web-6c9f7-aaaaa", 0.3), ("web-6c9f7-bbbbb", 0.1)):
        written.pod(pod, ("ReplicaSet", "web-6c9f7"), begin=END - DAY, limits=(2, 1024 * MIB))
        written.run(pod, blocks(END - DAY, cores=cores))
    written.pod("web-5d8e6-ccccc", ("ReplicaSet", "web-5d8e6"), end=END - DAY)
    written.run("web-5d8e6-ccccc", blocks(end=END - DAY, cores=0.2, size=300 * MIB))
    # What cAdvisor tells besides: the pod's sum and its pause container.
    written.run("web-6c9f7-aaaaa", blocks(cores=5), container="")
    written.run("web-6c9f7-aaaaa", blocks(cores=5), container="POD")

    use = blocks()
    pod = written.simple("twice", use)
    written.run(pod, use, instance="node-1-other-scraper")
    written.told(
        "kube_pod_container_resource_requests", 1, pod=pod, container="app", resource="cpu", instance="other"
    )
    use = blocks()
    written.simple(
        "gappy", {at: value for at, value in use.items() if not END - DAY < at < END - DAY + 18000}
    )
    written.simple("reset")
    written.run("reset-6c9f7-aaaaa", blocks(), resets=(END - DAY + 30 + 2 * SCRAPE, END - 7200 + 150.0))
    pod = written.simple("moved")
    written.run(pod, blocks(end=END - 1800), identity="")
    written.run(pod, blocks(END - 1800, cores=1.0), identity="", instance="node-2")
    pod = written.simple("restarted")
    written.run(pod, blocks(end=END - 3600), identity="1")
    written.run(pod, blocks(END - 3600, cores=0.4), identity="2")
    for pod, cores in (("db-0", 0.1), ("db-1", 0.2)):
        written.pod(pod, ("StatefulSet", "db"), limits=(2, 1024 * MIB))
        written.run(pod, blocks(cores=cores))
    # nightly: a CronJob's two runs of 30 minutes; the first one's pod is gone.
    for number, end in ((1, END - DAY), (2, END - 3600)):
        job = f"nightly-{number}"
        written.told(
            "kube_job_owner", begin=end - 1800, end=END if number == 2 else end, job_name=job,
            owner_kind="CronJob", owner_name="nightly", owner_is_controller="true",
        )  # fmt: skip
        written.pod(f"{job}-zzzzz", ("Job", job), begin=end - 1800, end=END if number == 2 else end)
        written.run(f"{job}-zzzzz", blocks(end - 1800, end))
    midnight = END - END % DAY
    for name, restarted in (("leaky", END - 7200), ("seam", midnight + 1), ("healed", END - 1.6 * DAY)):
        pod = written.simple(name, blocks(), limits=(1, 512 * MIB))
        restarts = [(at, 0.0 if at < restarted else 2.0) for at in range(int(BEGIN), int(END) + 1, SCRAPE)]
        here = {"namespace": "shop", "pod": pod, "container": "app"}
        written.history.add("kube_pod_container_status_restarts_total", here, restarts)
        reason = {**here, "reason": "OOMKilled"}
        killed = [(at, 1.0) for at, count in restarts if count]
        written.history.add("kube_pod_container_status_last_terminated_reason", reason, killed)
    pod = written.simple("slowed", blocks())
    for metric, each in (("periods", 600.0), ("throttled_periods", 150.0)):
        times = range(int(BEGIN), int(END) + 1, SCRAPE)
        here = {"namespace": "shop", "pod": pod, "container": "app"}
        written.history.add(
            f"container_cpu_cfs_{metric}_total", here, [(at, n * each) for n, at in enumerate(times)]
        )
    written.simple("scaled", blocks())
    written.told(
        "kube_horizontalpodautoscaler_info",
        horizontalpodautoscaler="scaled",
        scaletargetref_kind="Deployment",
        scaletargetref_name="scaled",
    )
    written.told(
        "kube_horizontalpodautoscaler_spec_target_metric",
        70,
        horizontalpodautoscaler="scaled",
        metric_name="cpu",
        metric_target_type="utilization",
    )
    written.simple("silent")
    canary(written)
    ended(written)
    return written


def ended(written: Written) -> None:
    """Pods that have ended, and are told of still."""
    # once: a Job of 30 minutes that nobody owns.
    written.told("kube_job_owner", job_name="once", owner_kind="<none>", owner_name="<none>")
    written.pod("once-zzzzz", ("Job", "once"), begin=END - 3600)
    written.run("once-zzzzz", blocks(END - 3600, END - 1800))
    # flow: two of a workflow's three pods; past: the only one; dark: one that was never measured.
    for pod, end in (("flow-1", END - 7200), ("flow-2", END - 3600), ("flow-3", END), ("past-1", END - 3600)):
        written.pod(pod, ("Workflow", pod.partition("-")[0]), begin=end - 1800)
        written.run(pod, blocks(end - 1800, end))
    written.pod("dark-1", ("Workflow", "dark"))


def canary(written: Written) -> None:
    """A Rollout's two revisions, told of by two kube-state-metrics, that run a JVM which two jobs scrape."""
    for revision, cores in (("6c9f7", 0.1), ("7d8e1", 0.3)):
        pod = f"canary-{revision}-aaaaa"
        written.pod(pod, ("ReplicaSet", f"canary-{revision}"))
        written.run(pod, blocks(cores=cores))
        for instance in ("one", "other"):
            written.told(
                "kube_replicaset_owner", begin=BEGIN, replicaset=f"canary-{revision}", owner_kind="Rollout",
                owner_name="canary", owner_is_controller="true", instance=instance,
            )  # fmt: skip
            written.told(
                "kube_pod_container_info", pod=pod, container="app", image="example/api:1-jre21",
                instance=instance,
            )  # fmt: skip
            for metric, area, pool, value in (
                ("jvm_memory_max_bytes", "heap", "G1 Eden Space", -1),
                ("jvm_memory_max_bytes", "heap", "of a pool that is gone", math.nan),
                ("jvm_memory_max_bytes", "heap", "G1 Old Gen", 200 * MIB),
                ("jvm_memory_used_bytes", "nonheap", "Metaspace", 60 * MIB),
                ("jvm_memory_used_bytes", "nonheap", "CodeCache", 20 * MIB),
                # An older library beside it, in the same JVM.
                ("jvm_memory_bytes_max", "heap", "", 200 * MIB),
            ):
                written.told(metric, value, pod=pod, container="app", area=area, id=pool, instance=instance)
            annotated = {"pod": pod, "instance": instance, "annotation_kubefinops_io_jvm_max_heap": "160Mi"}
            if revision == "7d8e1":
                annotated["annotation_kubefinops_io_jvm"] = "app"
            written.told("kube_pod_annotations", 1, BEGIN, END, annotation_example_com_other="1", **annotated)
    written.told("rollout_info_replicas_desired", 4, name="canary")


@pytest.fixture(scope="module")
def written() -> Written:
    return write_cluster()


@pytest.fixture(scope="module")
def prometheus(written: Written, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpPrometheus]:
    history = written.history.write(tmp_path_factory.mktemp("history") / "history.om")
    with prometheus_server(openmetrics=history) as server:
        yield HttpPrometheus(str(server.address))


@pytest.fixture(scope="module")
def seen(prometheus: HttpPrometheus) -> dict[str, Observed]:
    """Every workload, by `<kind>/<name>`."""
    read = reading.read(prometheus, "local", NOW, history=timedelta(days=DAYS), oom_days=1)
    assert len(read.asked) <= 35  # nine for runs alone
    assert (read.window.cpu, read.window.step, read.window.recent_cpu) == (300, 300, 240)
    return {f"{each.workload.kind}/{each.workload.name}": each for each in read.workloads}


def test_each_day_is_digested_as_its_windows_say_and_the_worst_pod_counts(
    prometheus: HttpPrometheus, written: Written
) -> None:
    read = reading.read(
        prometheus, "local", NOW, history=timedelta(days=DAYS), oom_days=1, strategy="balanced"
    )
    found = {each.workload.name: container_of(each) for each in read.workloads if each.containers}
    for name, pods in (
        ("db", ("db-0", "db-1")),
        ("twice", ("twice-6c9f7-aaaaa",)),
        ("restarted", ("restarted-6c9f7-aaaaa",)),
    ):
        days = found[name].days
        assert found[name].estimate is not None
        assert [day.ago for day in days] == [2, 1, 0]
        for day in days:
            end = END - END % DAY + DAY - day.ago * DAY
            use = [[at for at in written.use[pod].items() if end - DAY < at[0] <= end] for pod in pods]
            cores, all_cores = (
                [
                    [
                        cores * 1000
                        for at, (cores, _) in windows(written.use[pod], step).items()
                        if end - DAY < at <= end
                    ]
                    for pod in pods
                ]
                for step in (CPU_STEP, WINDOW)
            )
            for share, told in zip(POINTS[:-1], day.cpu_m[:-1], strict=True):
                # A window or two more or less, at the ends and where it was restarted.
                def ranked(values: list[float], around: int, share: float = share) -> float:
                    rank = round(share * len(values)) - 1 + around
                    return sorted(values)[min(max(0, rank), len(values) - 1)]

                near = [max(ranked(each, around) for each in cores) for around in (-2, 2)]
                assert near[0] * 0.97 <= told <= near[1] * 1.03, (name, day.ago, share)
            peaks = cores if found[name].current.cpu_limit_m is None else all_cores
            assert day.cpu_m[-1] == pytest.approx(max(map(max, peaks)), rel=0.001)
            assert day.memory_bytes == max(value[1] for each in use for _, value in each)
            assert day.windows == pytest.approx(100 if day.ago == 1 else 50, abs=1)
            assert day.samples == pytest.approx(day.windows * len(pods), abs=3)
            assert day.pods == len(pods)
    # A pod of the former ReplicaSet is the workload's past too.
    assert max(day.memory_bytes for day in found["web"].days) == max(
        size for _, size in written.use["web-5d8e6-ccccc"].values()
    )
    assert found["nightly"].days == ()  # runs are sized by their peak
    assert (found["silent"].days, found["silent"].estimate) == ((), None)


def read_from(history: Path, workload: Workload) -> reading.Reading:
    """One workload of another history than that of `seen`."""
    with prometheus_server(openmetrics=history) as server:
        client = HttpPrometheus(str(server.address))
        return reading.read(client, "local", NOW, history=timedelta(days=DAYS), oom_days=1, wanted=[workload])


def container_of(observed: Observed) -> ObservedContainer:
    (container,) = observed.containers
    return container


def check_usage(
    observed: Observed,
    written: Written,
    *pods: str,
    at_once: int | None = None,
    steps: tuple[int, int] = (CPU_STEP, MEMORY_STEP),
) -> None:
    """The p95s and peaks are those of the worst of these pods, of which so many were there on one day.

    A day is that of its worst pod, and told by some points: a p95 over days lies within some percent.
    """
    usage = container_of(observed).usage
    assert usage is not None
    cores, sizes = (
        [[told[which] for told in windows(written.use[pod], step).values()] for pod in pods]
        for which, step in enumerate(steps)
    )
    assert usage.pods == (at_once or len(pods))
    near = 0.03 if at_once is None else 0.04
    assert usage.cpu_p95_m == pytest.approx(max(map(p95, cores)) * 1000, rel=near)
    if container_of(observed).current.cpu_limit_m is not None:  # then the peak is that of all windows
        cores = [[told[0] for told in windows(written.use[pod], WINDOW).values()] for pod in pods]
    assert usage.cpu_max_m == pytest.approx(max(map(max, cores)) * 1000, rel=0.001)
    assert usage.memory_p95_bytes == pytest.approx(max(map(p95, sizes)), rel=near)
    assert usage.memory_max_bytes == max(size for pod in pods for _, size in written.use[pod].values())


def test_a_deployment_has_the_figures_of_its_worst_pod_gone_ones_included(
    seen: dict[str, Observed], written: Written
) -> None:
    web = seen["Deployment/web"]
    check_usage(web, written, "web-6c9f7-aaaaa", "web-6c9f7-bbbbb", "web-5d8e6-ccccc", at_once=3)
    assert web.replicas == 2
    assert container_of(web).current == Resources(
        cpu_request_m=1000, cpu_limit_m=2000, memory_request_bytes=512 * MIB, memory_limit_bytes=1024 * MIB
    )
    usage = container_of(web).usage
    assert usage is not None
    assert usage.cpu_p95_recent_m == pytest.approx(300, abs=0.01)
    assert usage.memory_p95_recent_bytes == 100 * MIB
    assert container_of(web).history_seconds == pytest.approx(DAYS * DAY, abs=CPU_STEP)


def test_a_statefulset_has_the_figures_of_its_worst_pod(seen: dict[str, Observed], written: Written) -> None:
    check_usage(seen["StatefulSet/db"], written, "db-0", "db-1")
    assert seen["StatefulSet/db"].replicas == 2


def test_two_scrapers_of_one_container_count_once(seen: dict[str, Observed], written: Written) -> None:
    check_usage(seen["Deployment/twice"], written, "twice-6c9f7-aaaaa")
    usage = container_of(seen["Deployment/twice"]).usage
    assert usage is not None
    assert usage.samples == pytest.approx(DAYS * DAY / CPU_STEP, abs=1)
    assert container_of(seen["Deployment/twice"]).current.cpu_request_m == 1000


@pytest.mark.parametrize("name", ["gappy", "reset", "restarted", "moved"])
def test_gaps_and_restarted_counters_leave_the_figures_as_they_are(
    seen: dict[str, Observed], written: Written, name: str
) -> None:
    observed = seen[f"Deployment/{name}"]
    check_usage(observed, written, f"{name}-6c9f7-aaaaa")
    usage = container_of(observed).usage
    assert usage is not None
    assert usage.samples == pytest.approx(len(windows(written.use[f"{name}-6c9f7-aaaaa"], CPU_STEP)), abs=2)


def test_scrapes_rarer_than_a_window_are_read_whenever_they_come(tmp_path: Path) -> None:
    history, interval = History(), 600
    names = {f"web-{offset}": offset for offset in (0, 200, 400)}
    for name, offset in names.items():
        here = {"namespace": "shop", "pod": name}
        times = range(int(BEGIN) + offset, int(END), interval)
        app = {**here, "container": "app"}
        history.add("container_cpu_usage_seconds_total", app, [(at, 0.1 * (at - BEGIN)) for at in times])
        history.add("container_memory_working_set_bytes", app, [(at, 1e8) for at in times])
        told = [(at, 1.0) for at in range(int(END) - 600, int(END) + 1, 60)]
        owner = {"owner_kind": "StatefulSet", "owner_name": name, "owner_is_controller": "true"}
        history.add("kube_pod_owner", {**here, **owner}, told)
        history.add("kube_pod_container_info", {**app, "image": "x"}, told)
    with prometheus_server(openmetrics=history.write(tmp_path / "history.om")) as server:
        client = HttpPrometheus(str(server.address))
        read = reading.read(client, "local", NOW, history=timedelta(days=DAYS), oom_days=1)
    assert read.window.interval == pytest.approx(interval, rel=0.05)
    usages = {each.workload.name: container_of(each).usage for each in read.workloads}
    assert {name: usage and usage.memory_p95_bytes for name, usage in usages.items()} == dict.fromkeys(
        names, 10**8
    )


def test_what_is_used_since_scrapes_have_become_rare_is_seen(tmp_path: Path) -> None:
    history, rare = History(), int(END) - DAY // 2
    here = {"namespace": "shop", "pod": "web-0"}
    times = [*range(int(BEGIN), rare, 60), *range(rare + 7, int(END), 300)]
    used = [(at, 0.1 * (at - BEGIN) + 0.7 * max(0, at - rare)) for at in times]
    app = {**here, "container": "app"}
    history.add("container_cpu_usage_seconds_total", app, used)
    history.add("container_memory_working_set_bytes", app, [(at, 1e8) for at in times])
    owner = {"owner_kind": "StatefulSet", "owner_name": "web", "owner_is_controller": "true"}
    told = [(at, 1.0) for at in range(int(BEGIN), int(END) + 1, 60)]
    history.add("kube_pod_owner", {**here, **owner}, told)
    history.add("kube_pod_container_info", {**app, "image": "x"}, told)
    with prometheus_server(openmetrics=history.write(tmp_path / "history.om")) as server:
        client = HttpPrometheus(str(server.address))
        read = reading.read(client, "local", NOW, history=timedelta(days=DAYS), oom_days=1)
    [usage] = [container_of(each).usage for each in read.workloads]
    assert usage is not None
    assert usage.cpu_p95_m == pytest.approx(800, rel=0.01)


def test_jobs_of_a_cronjob_are_its_own(seen: dict[str, Observed], written: Written) -> None:
    nightly = seen["CronJob/nightly"]
    check_usage(nightly, written, "nightly-1-zzzzz", "nightly-2-zzzzz", steps=(WINDOW, WINDOW))
    # An hour of pods in the day since the first one.
    assert nightly.pods == pytest.approx(1 / 24, rel=0.05)
    assert nightly.replicas == 1
    assert not any(name.startswith(("Job/nightly", "ReplicaSet/")) for name in seen)


def test_a_job_that_ran_once_counts_as_long_as_it_ran_of_the_whole_history(seen: dict[str, Observed]) -> None:
    hours = (END - (BEGIN - BEGIN % DAY)) / 3600
    assert seen["Job/once"].pods == pytest.approx(0.5 / hours, rel=0.05)


@pytest.mark.parametrize(("name", "running"), [("flow", 1), ("past", 0), ("dark", 1)])
def test_pods_that_have_ended_of_a_kind_that_is_not_sized_are_not_paid_for(
    seen: dict[str, Observed], name: str, running: int
) -> None:
    workflow = seen[f"Workflow/{name}"]
    assert (workflow.replicas, workflow.pods) == (running, float(running))


def test_kills_of_a_statefulset_count_though_its_pod_was_made_anew(tmp_path: Path) -> None:
    written = Written()
    written.pod("db-0", ("StatefulSet", "db"))
    written.run("db-0", blocks())
    here = {"namespace": "shop", "pod": "db-0", "container": "app"}
    for uid, begin, end, count in (("a", BEGIN, END - DAY, 5), ("b", END - DAY + 60, END, 2)):
        times = range(int(begin), int(end) + 1, SCRAPE)
        # The last kill of each half an hour before its end.
        restarts = [(at, float(count if at >= end - 1800 else count - 1)) for at in times]
        written.history.add("kube_pod_container_status_restarts_total", {**here, "uid": uid}, restarts)
        killed = [(at, 1.0) for at in times]
        reason = {**here, "uid": uid, "reason": "OOMKilled"}
        written.history.add("kube_pod_container_status_last_terminated_reason", reason, killed)
    history = written.history.write(tmp_path / "history.om")
    with prometheus_server(openmetrics=history) as server:
        read = reading.read(
            HttpPrometheus(str(server.address)), "local", NOW, history=timedelta(days=DAYS), oom_days=2
        )
    usage = container_of(read.workloads[0]).usage
    assert usage is not None
    assert usage.oom_kills == 2


def test_an_oom_kill_counts_while_restarts_follow_it_within_the_days(seen: dict[str, Observed]) -> None:
    leaky, seam, healed = (container_of(seen[f"Deployment/{name}"]) for name in ("leaky", "seam", "healed"))
    assert leaky.usage is not None
    assert seam.usage is not None
    assert healed.usage is not None
    assert seam.usage.oom_kills == 2, "between the last scrape of a day and the first of the next"
    assert (leaky.usage.oom_kills, leaky.oom_killed) == (2, True)
    # The reason stays 1 for ever; there was no restart on the last day.
    assert healed.usage.oom_kills == 0


def test_throttling_is_a_share_of_periods(seen: dict[str, Observed]) -> None:
    slowed = container_of(seen["Deployment/slowed"]).usage
    assert slowed is not None
    assert slowed.throttled_share == pytest.approx(0.25)


def test_an_autoscaler_is_found_on_what_it_scales(seen: dict[str, Observed]) -> None:
    assert seen["Deployment/scaled"].scales_on == {"cpu"}
    assert seen["Deployment/web"].scales_on == frozenset()


def test_a_canarys_pods_are_its_rollouts_and_what_is_told_twice_counts_once(
    seen: dict[str, Observed], written: Written
) -> None:
    rollout = seen["Rollout/canary"]
    assert (rollout.replicas, rollout.pods) == (4, 4.0)
    check_usage(rollout, written, "canary-6c9f7-aaaaa", "canary-7d8e1-aaaaa")
    assert container_of(rollout).jvm == Jvm("image api:1-jre21", 200 * MIB, 80 * MIB)
    assert container_of(seen["Deployment/web"]).jvm is None


def test_annotations_are_read_with_the_state_of_the_pods_that_have_one(prometheus: HttpPrometheus) -> None:
    rows = [row.labels for row in prometheus.query(queries.state(queries.Scope()), NOW)]
    found = [labels for labels in rows if labels["__name__"] == "kube_pod_annotations"]
    here = {"__name__": "kube_pod_annotations", "namespace": "shop"}
    heap = {"annotation_kubefinops_io_jvm_max_heap": "160Mi"}
    assert sorted(found, key=lambda labels: labels["pod"]) == [
        {**here, "pod": "canary-6c9f7-aaaaa", **heap},
        {**here, "pod": "canary-7d8e1-aaaaa", **heap, "annotation_kubefinops_io_jvm": "app"},
    ]


def test_a_workload_without_usage_is_seen_without(seen: dict[str, Observed]) -> None:
    assert container_of(seen["Deployment/silent"]).usage is None


def test_a_part_of_a_namespace_is_read_alone_and_alike(
    prometheus: HttpPrometheus, seen: dict[str, Observed]
) -> None:
    db = Workload(cluster="local", namespace="shop", kind="StatefulSet", name="db")
    read = reading.read(
        prometheus, "local", NOW, history=timedelta(days=DAYS), oom_days=1, namespaces=["shop"], wanted=[db]
    )
    assert read.workloads == (seen["StatefulSet/db"],)
    assert all(asked.rows <= 2 for asked in read.asked if asked.name.startswith(("cpu", "memory")))


def test_one_of_the_clusters_in_a_server_is_read_alone(
    prometheus: HttpPrometheus, seen: dict[str, Observed]
) -> None:
    def read(labels: str) -> reading.Reading:
        return reading.read(prometheus, "local", NOW, history=timedelta(days=DAYS), oom_days=1, labels=labels)

    # None of the series names a cluster, and to be without a label is to have it empty.
    assert len(read('cluster=""').workloads) == len(seen)
    assert read('cluster="eu-1"').workloads == ()
    assert reading.discover(prometheus, "local", NOW, labels='cluster="eu-1"') == []


def test_a_server_that_refuses_the_whole_for_its_samples_is_read_in_halves_and_alike(
    written: Written, seen: dict[str, Observed], tmp_path: Path
) -> None:
    history = written.history.write(tmp_path / "history.om")
    # A series of the windows over the history has 225 samples, and all of the containers have more.
    with prometheus_server(openmetrics=history, flags=["--query.max-samples=2500"]) as server:
        limited = HttpPrometheus(str(server.address))
        read = reading.read(limited, "local", NOW, history=timedelta(days=DAYS), oom_days=1)
    assert {f"{each.workload.kind}/{each.workload.name}": each for each in read.workloads} == seen
    assert len([asked for asked in read.asked if asked.name == "cpu_windows"]) > 1


@pytest.mark.parametrize("minutes", [-3, 3])
def test_a_clock_that_is_minutes_off_changes_no_figure(
    prometheus: HttpPrometheus, seen: dict[str, Observed], minutes: int
) -> None:
    at = NOW + timedelta(minutes=minutes)
    read = reading.read(prometheus, "local", at, history=timedelta(days=DAYS), oom_days=1)
    assert [f"{each.workload.kind}/{each.workload.name}" for each in read.workloads] == sorted(seen)
    for observed in read.workloads:
        for container, known in zip(
            observed.containers,
            seen[f"{observed.workload.kind}/{observed.workload.name}"].containers,
            strict=True,
        ):
            assert container.current == known.current
            assert (container.usage is None) == (known.usage is None)
            if container.usage is not None and known.usage is not None:
                assert container.usage.cpu_p95_m == pytest.approx(known.usage.cpu_p95_m, rel=0.03)
                assert container.usage.memory_max_bytes == known.usage.memory_max_bytes
                assert container.usage.oom_kills == known.usage.oom_kills


def test_what_is_federated_beside_what_is_scraped_counts_once(
    written: Written, seen: dict[str, Observed], tmp_path: Path
) -> None:
    twin = deepcopy(written)
    for pod in ("db-0", "db-1"):
        # As the other server tells it when it is asked: the same samples, some seconds later.
        twin.run(pod, {end + 17: use for end, use in written.use[pod].items()}, instance="federated")
    history = twin.history.write(tmp_path / "history.om")
    db = seen["StatefulSet/db"]
    (observed,) = read_from(history, db.workload).workloads
    assert observed.pods == db.pods
    assert observed.containers[0].usage is not None
    assert db.containers[0].usage is not None
    assert observed.containers[0].usage.pods == 2
    assert observed.containers[0].usage.samples == pytest.approx(db.containers[0].usage.samples, abs=4)
    assert observed.containers[0].usage.memory_max_bytes == db.containers[0].usage.memory_max_bytes
    assert observed.containers[0].usage.cpu_p95_m == pytest.approx(db.containers[0].usage.cpu_p95_m, rel=0.03)


def recorded(written: Written, *pods: str, begin: float = BEGIN, factor: float = 1.0) -> Iterator[str]:
    """OpenMetrics of kubernetes-mixin's rule: what these pods used in each five minutes."""
    yield f"# TYPE {queries.CPU_RULE} gauge\n"
    for pod in pods:
        for end, (cores, _) in written.use[pod].items():
            if end - WINDOW >= begin:
                labels = f'namespace="shop",pod="{pod}",container="app",node="node-1"'
                # Evaluated at the window's end, or just before: whatever a range looks back at.
                yield from (
                    f"{queries.CPU_RULE}{{{labels}}} {cores * factor!r} {int(end) - ago}\n" for ago in (30, 0)
                )


@pytest.mark.parametrize(
    ("what", "is_read"),
    [("whole", True), ("later", False), ("doubled", False), ("lacking", False)],
)
def test_recorded_cpu_is_read_where_it_tells_the_same(
    written: Written, seen: dict[str, Observed], tmp_path: Path, what: str, is_read: bool
) -> None:
    names = ["db-0", "db-1"] if what != "lacking" else ["db-0"]
    rule = recorded(
        written,
        *names,
        begin=END - DAY if what == "later" else BEGIN,
        factor=2.0 if what == "doubled" else 1.0,
    )
    history = written.history.write(tmp_path / "history.om")
    text = history.read_text(encoding="utf-8").removesuffix("# EOF\n")
    history.write_text(text + "".join(rule) + "# EOF\n", encoding="utf-8")
    db = seen["StatefulSet/db"]
    read = read_from(history, db.workload)
    *_, windows = (each for each in read.asked if each.name == "cpu_windows")
    assert windows.promql.startswith(queries.CPU_RULE) is is_read
    (observed,) = read.workloads
    if is_read:
        # What was recorded last before each window's end, not what its own samples tell.
        usage = container_of(observed).usage
        assert usage is not None
        ends = range(int(BEGIN // CPU_STEP * CPU_STEP), int(END) + 1, CPU_STEP)
        told = [
            [written.use[pod][(end + 30) // WINDOW * WINDOW][0] for end in ends if end - BEGIN >= WINDOW]
            for pod in names
        ]
        assert usage.cpu_p95_m == pytest.approx(max(map(p95, told)) * 1000, rel=0.02)
        # It has a limit, so of the peak all that was recorded counts.
        highest = max(
            cores for pod in names for end, (cores, _) in written.use[pod].items() if end > BEGIN + WINDOW
        )
        assert usage.cpu_max_m == pytest.approx(highest * 1000, abs=0.01)
    else:
        check_usage(observed, written, "db-0", "db-1")
        assert observed == db


def test_who_owned_what_is_told_by_labels_or_where_a_server_does_not_tell_them_by_a_query(
    prometheus: HttpPrometheus, seen: dict[str, Observed]
) -> None:
    class WithoutSeries(HttpPrometheus):
        def series(
            self, matchers: str, begin: datetime, end: datetime, timeout: float | None = None
        ) -> list[Mapping[str, str]]:
            return super().series(f"{matchers} bad", begin, end, timeout)

    class LooksBackForHours(HttpPrometheus):
        def series(
            self, matchers: str, begin: datetime, end: datetime, timeout: float | None = None
        ) -> list[Mapping[str, str]]:
            return super().series(matchers, max(begin, end - timedelta(hours=12)), end, timeout)

    class TakesNoPatternOfNames(HttpPrometheus):
        def query(self, promql: str, at: datetime, timeout: float | None = None) -> list[Series]:
            if "__name__=~" in promql:
                raise QueryRefused("status 400: only exact matches on metric names", promql)
            # Nor may it group by them.
            return super().query(promql.replace("by (__name__, ", "by ("), at, timeout)

        def series(
            self, matchers: str, begin: datetime, end: datetime, timeout: float | None = None
        ) -> list[Mapping[str, str]]:
            if "__name__=~" in matchers:
                raise QueryRefused("status 400: only exact matches on metric names", matchers)
            return super().series(matchers, begin, end, timeout)

    asked = {}
    others = (WithoutSeries, LooksBackForHours, TakesNoPatternOfNames)
    for server in (prometheus, *(kind(prometheus.address) for kind in others)):
        read = reading.read(server, "local", NOW, history=timedelta(days=DAYS), oom_days=1)
        assert {f"{each.workload.kind}/{each.workload.name}": each for each in read.workloads} == seen
        asked[server] = next(each for each in read.asked if each.name == "owners")
    labels, *by_query = asked.values()
    assert all("max_over_time" in each.promql for each in by_query)
    assert "max_over_time" not in labels.promql
    found = prometheus.series('{__name__="kube_pod_owner", pod="db-0"}', NOW - timedelta(days=DAYS), NOW)
    assert {each["owner_name"] for each in found} == {"db"}
    assert prometheus.series('{pod="none"}', NOW - timedelta(days=DAYS), NOW) == []
    with pytest.raises(QueryRefused, match="parse error"):
        prometheus.series("{pod", NOW - timedelta(days=DAYS), NOW)


def test_a_server_that_refuses_even_one_workload_is_not_read_at_all(written: Written, tmp_path: Path) -> None:
    history = written.history.write(tmp_path / "history.om")
    with (
        prometheus_server(openmetrics=history, flags=["--query.max-samples=400"]) as server,
        pytest.raises(QueryTooLarge, match="too many samples"),
    ):
        reading.read(
            HttpPrometheus(str(server.address)), "local", NOW, history=timedelta(days=DAYS), oom_days=1
        )


def test_every_workload_is_discovered(prometheus: HttpPrometheus, seen: dict[str, Observed]) -> None:
    found = reading.discover(prometheus, "local", NOW)
    assert {f"{each.kind}/{each.name}" for each in found} == set(seen)
    assert not reading.discover(prometheus, "local", NOW, ["elsewhere"])


def test_what_is_no_finite_number_is_refused(prometheus: HttpPrometheus) -> None:
    with pytest.raises(QueryFailed, match=r"NaN for \{\}, .*\(query: vector\(0\) / 0\)"):
        prometheus.query("vector(0) / 0", NOW)
    with pytest.raises(QueryFailed, match="Inf for "):
        prometheus.query("vector(1) / 0", NOW)
    assert [row.value for row in prometheus.query("vector(2)", NOW)] == [2.0]


def test_a_range_is_answered_at_each_step_both_ends_included(
    prometheus: HttpPrometheus, written: Written
) -> None:
    begin, step = NOW - timedelta(hours=6), timedelta(hours=2)
    (curve,) = prometheus.query_range(
        'max by (pod) (max_over_time(container_memory_working_set_bytes{pod="db-0"}[2h]))', begin, NOW, step
    )
    assert curve.labels == {"pod": "db-0"}
    ends = [(begin + number * step).timestamp() for number in range(4)]
    assert curve.points == tuple(
        (end, max(size for at, (_, size) in written.use["db-0"].items() if end - 7200 < at <= end))
        for end in ends
    )


def test_a_range_in_which_one_value_is_no_finite_number_is_refused(prometheus: HttpPrometheus) -> None:
    begin, step = NOW - timedelta(seconds=20), timedelta(seconds=10)
    with pytest.raises(QueryFailed, match=r"Inf for \{\}, .*\(query: vector\(1\) / "):
        prometheus.query_range(f"vector(1) / (time() - {(NOW - step).timestamp():.0f})", begin, NOW, step)
    with pytest.raises(QueryFailed, match="NaN for "):
        prometheus.query_range("vector(0) / 0", begin, NOW, step)
    assert prometheus.query_range("nothing_is_called_so", begin, NOW, step) == []


def test_a_range_that_is_refused_is_named(prometheus: HttpPrometheus) -> None:
    with pytest.raises(QueryRefused, match=r"status 400: bad_data: .*\(query: rate\(\)"):
        prometheus.query_range("rate()", NOW - timedelta(days=1), NOW, timedelta(hours=1))
    with pytest.raises(QueryRefused, match=r"maximum resolution of 11,000 points .*\(query: up\)"):
        prometheus.query_range("up", NOW - timedelta(days=1), NOW, timedelta(seconds=1))


def test_a_query_that_is_refused_is_named(prometheus: HttpPrometheus) -> None:
    with pytest.raises(QueryRefused, match=r"status 400: bad_data: .*\(query: rate\(\)"):
        prometheus.query("rate()", NOW)
    with pytest.raises(QueryRefused, match=r"status 422: execution: .*duplicate series"):
        prometheus.query("kube_pod_owner * on (namespace) kube_pod_owner", NOW)


def test_a_query_longer_than_an_address_may_be_is_answered(prometheus: HttpPrometheus) -> None:
    names = "|".join(f"{number:050d}" for number in range(2000))
    assert prometheus.query(f'count(kube_pod_owner{{pod=~"{names}"}}) or vector(7)', NOW)[0].value == 7


@pytest.mark.parametrize(
    "name", ["a.*", "x|y", "$1", 'q"\\e', "two\nlines", "\u00fcn\u2603", "[^b]", "(a)?{2}"]
)
def test_a_name_of_any_characters_is_matched_by_itself_alone(prometheus: HttpPrometheus, name: str) -> None:
    def told(text: str) -> str:
        return json.dumps(text.replace("$", "$$"), ensure_ascii=False)

    def found(text: str) -> bool:
        [pattern] = re.findall('=~(".*")', queries.Scope((name,)).namespace_matcher)
        named = f'label_replace(vector(1), "namespace", {told(text)}, "", "")'
        [row] = prometheus.query(f'label_replace({named}, "found", "yes", "namespace", {pattern})', NOW)
        return "found" in row.labels

    assert found(name)
    assert not any(found(text) for text in ("ab", "x", "y", "a", "1", ""))


class _Wrong(BaseHTTPRequestHandler):
    """Answers as what stands between us and Prometheus does when something is wrong."""

    answers: ClassVar[dict[str, tuple[int, str, str]]] = {
        "/400": (400, "application/json", '{"status":"error","errorType":"bad_data","error":"parse error"}'),
        "/422": (422, "application/json", '{"status":"error","errorType":"execution","error":"duplicates"}'),
        "/503": (503, "text/plain", "upstream connect error"),
        "/queue": (503, "application/json", '{"status":"error","error":"query timed out in query queue"}'),
        "/nothing": (0, "", ""),
        "/cut": (200, "application/json", '{"status":"success"'),
        "/stores": (
            200,
            "application/json",
            '{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["no store-1"]}',
        ),
        "/partial": (
            200,
            "application/json",
            '{"status":"success","isPartial":true,"data":{"resultType":"vector","result":[]}}',
        ),
        "/500": (500, "application/json", '{"status":"error","errorType":"internal","error":"disk"}'),
        "/vector": (
            200,
            "application/json",
            '{"status":"success","data":{"resultType":"vector","result":[]}}',
        ),
        "/429": (429, "text/plain", "slow down"),
        "/html": (200, "text/html", "<html>log in</html>"),
        "/half": (200, "application/json", '{"status":"success","data":{"resultType":"vec'),
        "/deep": (200, "application/json", "[" * 100_000),
        "/other": (200, "application/json", '{"status":"success","data":{"resultType":"vector"}}'),
        "/said": (200, "application/json", '{"status":"error","errorType":"execution","error":"no store"}'),
        "/scalar": (
            200,
            "application/json",
            '{"status":"success","data":{"resultType":"scalar","result":[0,"1"]}}',
        ),
        "/labels": (
            200,
            "application/json",
            '{"status":"success","data":{"resultType":"vector","result":[{"metric":null,"value":[0,"1"]}]}}',
        ),
        "/warnings": (200, "application/json", '{"status":"success","warnings":7,"data":{}}'),
        "/disorder": (
            200,
            "application/json",
            json.dumps(
                {
                    "status": "success",
                    "data": {
                        "resultType": "matrix",
                        "result": [{"metric": {}, "values": [[300, "1"], [0, "2"]]}],
                    },
                }
            ),
        ),
        "/401": (401, "text/plain", "no"),
        "/301": (301, "text/html", ""),
        "/302": (302, "text/html", ""),
    }
    places: ClassVar[dict[int, str]] = {
        301: "https://prometheus.example/prod/api/v1/query",
        302: "https://login.example/?to=/api/v1/query",
    }

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, kind, body = self.answers[self.path.partition("/api/v1/query")[0]]
        self.close_connection = True
        if status == 0:
            return
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) + (9 if self.path.startswith("/cut") else 0)))
        if status in {301, 302}:
            self.send_header("Location", self.places[status])
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://user:secret@127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def wrong() -> Iterator[str]:
    with serving(_Wrong) as address:
        yield address


@pytest.mark.parametrize(
    ("path", "says", "of_the_query"),
    [
        ("/400", "status 400: bad_data: parse error", True),
        ("/422", "status 422: execution: duplicates", True),
        ("/503", "status 503: upstream connect error; try again later", True),
        ("/queue", "query timed out in query queue", True),
        ("/500", "status 500: internal: disk", True),
        ("/429", "status 429: slow down; try again later", True),
        ("/html", "text/html, not its JSON: look whether a login or another", True),
        ("/half", "application/json of 45 bytes, cut short or broken: look", True),
        ("/deep", "application/json of 100,000 bytes, cut short or broken: look", True),
        ("/nothing", "the connection ended before its answer did", True),
        ("/cut", "the connection ended before its answer did", True),
        ("/stores", "the answer is incomplete: no store-1", True),
        ("/partial", "the answer is incomplete: isPartial", True),
        ("/other", "unexpected JSON", True),
        ("/said", "status 200: execution: no store", True),
        ("/scalar", "unexpected JSON: ValueError: a scalar, where a vector was asked for", True),
        ("/labels", "unexpected JSON: TypeError: something else than labels", True),
        ("/warnings", "unexpected JSON: TypeError: 'int' object is not iterable", True),
        ("/401", "PROMETHEUS_TOKEN", False),
        ("/301", "/prod/api/v1/query; give https://prometheus.example/prod", False),
        ("/302", "redirected to https://login.example/?to=/api/v1/query; look whether a login", False),
    ],
)
def test_a_wrong_answer_can_be_retried_and_names_the_query_where_it_is_about_it(
    wrong: str, path: str, says: str, of_the_query: bool
) -> None:
    with pytest.raises(Temporary) as raised:
        HttpPrometheus(wrong + path).query("up", NOW)
    assert says in str(raised.value)
    assert ("(query: up)" in str(raised.value)) == of_the_query
    assert "secret" not in str(raised.value)
    assert isinstance(raised.value, Throttled) == (path == "/429")
    assert isinstance(raised.value, QueryRefused) == (path in {"/400", "/422"})
    assert not isinstance(raised.value, QueryTooLarge | QueryTooSlow)


class _Limits(_Wrong):
    """Refuses a query for what it would read, each in the words of its server."""

    answers: ClassVar[dict[str, tuple[int, str, str]]] = {
        f"/{number}": (status, "application/json", json.dumps({"status": "error", "error": text}))
        for number, (status, text) in enumerate(
            [
                (422, "query processing would load too many samples into memory in query execution"),
                (422, "cannot select more than -search.maxSamplesPerQuery=1000000000 samples"),
                (
                    422,
                    "the number of matching timeseries exceeds 300000; see -search.maxUniqueTimeseries",
                ),
                (400, "too long query; got 20000 bytes; mustn't exceed `-search.maxQueryLen=16384` bytes"),
                (422, "not enough memory for processing up; total available memory for requests: 9"),
                (422, "the query exceeded the maximum number of chunks (err-mimir-max-chunks-per-query)"),
                (422, "expanding series: the query hit the max number of series limit (limit: 100000)"),
                (
                    400,
                    "the raw query size in bytes exceeds the limit (query size: 20, limit: 10)",
                ),
                (422, "expanding series: the query hit the aggregated data size limit (limit: 9 bytes)"),
                (422, "the query response size exceeds limit (limit: 9 bytes)"),
                (422, "preload series: exceeded bytes limit while fetching series: limit 9 violated"),
                (413, "request entity too large"),
            ]
        )
    } | {
        f"/slow{number}": (status, "application/json", json.dumps({"status": "error", "error": text}))
        for number, (status, text) in enumerate(
            [
                (503, "query timed out in expression evaluation"),
                (503, "timeout exceeded during query evaluation"),
                (503, "context deadline exceeded"),
                (500, "rpc error: code = DeadlineExceeded desc = context deadline exceeded"),
                (504, "upstream request timeout"),
                (422, "timeout exceeded during the query: 30.000 seconds; see `-search.maxQueryDuration`"),
                (422, "context deadline exceeded: query timed out"),
            ]
        )
    }


@pytest.mark.parametrize("path", _Limits.answers)
def test_what_is_refused_for_its_size_or_time_is_told_from_what_is_wrong(path: str) -> None:
    with serving(_Limits) as address, pytest.raises(Temporary, match="query: up") as raised:
        HttpPrometheus(address + path).query("up", NOW)
    assert isinstance(raised.value, QueryTooSlow if path.startswith("/slow") else QueryTooLarge)


class _Quoting(_Wrong):
    """Says the query at length before what is wrong with it, as VictoriaMetrics does."""

    answers: ClassVar[dict[str, tuple[int, str, str]]] = {
        "": (422, "application/json", json.dumps({"error": f"query={'x' * 9000}: too many points for this"}))
    }


def test_what_is_wrong_is_told_though_the_server_quotes_a_long_query_before_it() -> None:
    with serving(_Quoting) as address, pytest.raises(QueryRefused) as raised:
        HttpPrometheus(address).query("up", NOW)
    told = str(raised.value)
    assert "status 422: error: query=xxx" in told
    assert told.endswith("xxx: too many points for this (query: up)")
    assert len(told) < 400


def test_a_server_that_says_nothing_is_given_up_in_time_with_the_query_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        silent = HttpPrometheus(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout=0.1)
        with pytest.raises(Temporary, match=r"no answer within 0.01 s \(query: up\)"):
            silent.query("up", NOW, timeout=0.003)
        with pytest.raises(Temporary, match=r"no answer within 0.1 s \(query: up\)"):
            silent.query("up", NOW)


@pytest.mark.parametrize("chunked", [False, True])
def test_an_answer_that_trickles_is_given_up_in_time_and_keeps_nobody_waiting(
    chunked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = threading.Event()

    class Trickling(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            body = b'{"status": "success", "data": {"resultType": "matrix", "result": []}}'
            self.send_response(200)
            name, value = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body)))
            self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"%x\r\n" % len(body) * chunked)
            with suppress(OSError):
                for each in body:
                    gone.wait(0.1 if form["query"] == ["up"] else 0)
                    self.wfile.write(bytes((each,)))
                self.wfile.write(b"\r\n0\r\n\r\n" * chunked)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    monkeypatch.setattr(prometheus_client, "ANSWER_SECONDS", 0.2)
    with serving(Trickling) as address:
        one = HttpPrometheus(address, timeout=0.4)
        put = partial(one.query_range, begin=NOW - timedelta(hours=1), end=NOW, step=timedelta(minutes=5))
        told = r"no whole answer within 0.4 s: \d bytes of it had come \(query: up\)"
        with pytest.raises(QueryTooSlow, match=told):
            put("up")
        assert put("down") == []
        gone.set()


@pytest.fixture
def at_once() -> Iterator[tuple[str, Counter[str]]]:
    """The address of what takes some time to answer, and how many it did at once, by their `query`."""
    lock, busy, most = threading.Lock(), Counter[str](), Counter[str]()
    full = threading.Event()

    class Counting(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            [query] = form["query"]
            with lock:
                is_first = not most
                busy[query] += 1
                most[query] = max(most[query], busy[query])
                most["all"] = max(most["all"], busy.total())
                if busy.total() >= AT_ONCE:
                    full.set()
            # The first stays until as many have come as may: on a busy machine none might meet another.
            if is_first:
                full.wait(2)
            else:
                time.sleep(0.02)
            with lock:
                busy[query] -= 1
            kind = "matrix" if "step" in form else "vector"
            body = b'{"status": "success", "data": {"resultType": "%b", "result": []}}' % kind.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with serving(Counting) as address:
        yield address, most


def test_a_process_asks_no_more_than_four_queries_at_once_whatever_asks_them(
    at_once: tuple[str, Counter[str]],
) -> None:
    address, most = at_once
    with ThreadPoolExecutor(16) as pool:
        one = HttpPrometheus(address)
        assert list(pool.map(lambda _: one.query("up", NOW), range(40))) == [[]] * 40
    assert most["all"] == AT_ONCE == 4


@pytest.mark.parametrize(("days", "most_at_once"), [(2, 1), (0, AT_ONCE)])
def test_one_range_of_several_steps_is_asked_for_at_a_time(
    at_once: tuple[str, Counter[str]], days: int, most_at_once: int
) -> None:
    address, most = at_once
    steps = (timedelta(minutes=5), timedelta(days=1))
    with ThreadPoolExecutor(16) as pool:
        one = HttpPrometheus(address)
        begin = NOW - timedelta(days=days)
        answers = pool.map(lambda step: one.query_range("up", begin, NOW, step), steps * 20)
        assert list(answers) == [[]] * 40
    assert most == {"up": most_at_once, "all": most_at_once}


def test_who_waits_for_a_turn_waits_no_longer_than_its_own_time_and_has_what_is_left_of_it() -> None:
    asked, go_on = threading.Event(), threading.Event()
    given: list[str] = []

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            given.append(form["timeout"][0])
            asked.set()
            go_on.wait(10)
            body = b'{"status": "success", "data": {"resultType": "matrix", "result": []}}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    def put(one: HttpPrometheus, timeout: float | None) -> list[Curve]:
        return one.query_range("up", NOW - timedelta(hours=1), NOW, timedelta(minutes=5), timeout)

    with serving(Slow) as address, ThreadPoolExecutor(2) as pool:
        one = HttpPrometheus(address)
        first = pool.submit(put, one, None)
        asked.wait(10)
        with pytest.raises(Temporary, match=r"others were under way for all of 0.1 s \(query: up\)"):
            put(one, 0.1)
        third = pool.submit(put, one, 9.0)
        time.sleep(0.5)
        go_on.set()
        assert first.result() == third.result() == []
    assert 1000 < int(given[1].removesuffix("ms")) <= 8500


def test_the_next_is_asked_for_while_an_answer_is_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    again = threading.Event()
    asked = HttpPrometheus._asked
    read = HttpPrometheus._read

    def counted(self: HttpPrometheus, path: str, promql: str, *more: Any) -> Any:
        if promql == "vector(2)":
            again.set()
        return asked(self, path, promql, *more)

    def taken_in(self: HttpPrometheus, promql: str, *more: Any) -> Any:
        if promql == "vector(1)":
            assert again.wait(10), "the other was not asked for"
        return read(self, promql, *more)

    with prometheus_server(None) as server, ThreadPoolExecutor(2) as pool:
        one = HttpPrometheus(server.address)
        monkeypatch.setattr(HttpPrometheus, "_asked", counted)
        monkeypatch.setattr(HttpPrometheus, "_read", taken_in)
        begin = NOW - timedelta(minutes=5)
        put = partial(one.query_range, begin=begin, end=NOW, step=timedelta(minutes=5))
        first = pool.submit(put, "vector(1)")
        time.sleep(0.2)
        second = pool.submit(put, "vector(2)")
        assert [each.result()[0].values[0] for each in (first, second)] == [1, 2]


def test_who_finds_no_place_in_time_is_told_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf, ThreadPoolExecutor(AT_ONCE) as pool:
        silent = HttpPrometheus(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout=1.0)
        waiting = [pool.submit(silent.query, "up", NOW) for _ in range(AT_ONCE)]
        time.sleep(0.2)
        with pytest.raises(Temporary, match=r"4 others were under way for all of 0.1 s \(query: up\)"):
            silent.query("up", NOW, timeout=0.1)
        assert all(isinstance(each.exception(), Temporary) for each in waiting)


_NO_NUMBERS = {"NaN": "NaN", "+Inf": "Inf", "-Inf": "-Inf", "Infinity": "Inf"}


@pytest.mark.parametrize(("text", "told"), _NO_NUMBERS.items())
@pytest.mark.parametrize("kind", ["vector", "matrix"])
def test_an_answer_with_what_is_no_finite_number_is_refused_with_query_and_series(
    kind: str, text: str, told: str
) -> None:
    says = rf'{re.escape(told)} for \{{namespace="shop", pod="web"\}}, which is no usage and .*\(query: up\)'
    with serving(_NoNumbers) as address:
        client = HttpPrometheus(f"{address}/{kind}/{text}")
        over = partial(client.query_range, begin=NOW, end=NOW, step=timedelta(minutes=5))
        ask = over if kind == "matrix" else partial(client.query, at=NOW)
        with pytest.raises(QueryFailed, match=says):
            ask("up")


def _with(kind: str, text: str) -> str:
    told: dict[str, Any] = {"value": [0, text]}
    if kind == "matrix":
        told = {"values": [[0, "0.5"], [300, text]]}
    row = {"metric": {"pod": "web", "namespace": "shop"}, **told}
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": [row]}})


class _NoNumbers(_Wrong):
    answers: ClassVar[dict[str, tuple[int, str, str]]] = {
        f"/{kind}/{text}": (200, "application/json", _with(kind, text))
        for kind in ("vector", "matrix")
        for text in _NO_NUMBERS
    }


_CURVES = {
    "status": "success",
    "data": {
        "resultType": "matrix",
        "result": [
            {"metric": {"values": "]],[[", "n": '"values":[[1,"9"]]'}, "values": [[0, "0.5"], [300, "1e-7"]]},
            {"metric": {"n": "gaps"}, "values": [[300, "2"], [900, "3"]]},
            {"metric": {"n": "one"}, "values": [[600.5, "12345678901234567890"]]},
        ],
    },
}


class _Curves(_Wrong):
    answers: ClassVar[dict[str, tuple[int, str, str]]] = {
        f"/{number}": (200, "application/json", text)
        for number, text in enumerate(
            [
                json.dumps(_CURVES, separators=(",", ":")),
                json.dumps(_CURVES),
                json.dumps(_CURVES, indent=1),
                json.dumps(_CURVES, separators=(",", ":")).replace('"2"],[900,"3"]]', '"2"],[900,"3"] ]'),
            ]
        )
    }


@pytest.mark.parametrize("number", range(4))
def test_curves_are_read_however_their_json_is_written(number: int) -> None:
    with serving(_Curves) as address:
        curves = HttpPrometheus(f"{address}/{number}").query_range("up", NOW, NOW, timedelta(minutes=5))
    assert [(dict(curve.labels), curve.points) for curve in curves] == [
        ({"values": "]],[[", "n": '"values":[[1,"9"]]'}, ((0.0, 0.5), (300.0, 1e-7))),
        ({"n": "gaps"}, ((300.0, 2.0), (900.0, 3.0))),
        ({"n": "one"}, ((600.5, 12345678901234567890.0),)),
    ]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/422", "status 422: execution: duplicates"),
        ("/503", "status 503"),
        ("/html", "text/html, not its JSON: look whether a login or another"),
        ("/half", "application/json of 45 bytes, cut short or broken: look"),
        ("/stores", "the answer is incomplete: no store-1"),
        ("/other", "unexpected JSON"),
        ("/vector", "unexpected JSON: ValueError: a vector, where a matrix was asked for"),
        ("/disorder", "unexpected JSON: ValueError: times that are not in their order, or are there twice"),
    ],
)
def test_a_wrong_answer_about_a_range_is_told_in_the_same_way(wrong: str, path: str, says: str) -> None:
    with pytest.raises(Temporary) as raised:
        HttpPrometheus(wrong + path).query_range("up", NOW - timedelta(hours=1), NOW, timedelta(minutes=5))
    assert says in str(raised.value)
    assert "(query: up)" in str(raised.value)


def test_what_cannot_be_decompressed_is_told_with_the_query() -> None:
    answer = b"Content-Encoding: gzip\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    with (
        sending(lambda: [OK + answer]) as address,
        pytest.raises(QueryFailed, match=r"compressed, and is not so or is broken: look .*\(query: up\)"),
    ):
        HttpPrometheus(address).query("up", NOW)


def test_nobody_there_can_be_retried() -> None:
    with pytest.raises(
        Temporary, match=r"^no Prometheus answers at http://127\.0\.0\.1:1: connection refused$"
    ):
        HttpPrometheus("http://127.0.0.1:1").query("up", NOW)


@pytest.mark.parametrize("days", [14, 28])
def test_of_pods_that_are_gone_one_is_known_whenever_it_ended(tmp_path: Path, days: int) -> None:
    """By them it shows that a server looks less far back for labels than it says, such as half a day."""
    history, ends, now = History(), (14, 20, 30, 48, 72, 120, 168, 200), int(END)
    for hours in ends:
        middle = now - hours * 3600
        for pod, times in (("old", range(now - 20 * DAY, middle, 240)), ("new", range(middle, now, 240))):
            labels = {"namespace": f"{hours}h-ago", "pod": pod, "owner_kind": "StatefulSet"}
            history.add("kube_pod_owner", labels, [(at, 1.0) for at in times])
    with prometheus_server(openmetrics=history.write(tmp_path / "history.om")) as server:
        client = HttpPrometheus(str(server.address))
        for hours in ends:
            scope = queries.Scope((f"{hours}h-ago",))
            asked = queries.frequencies(scope, timedelta(days=days), timedelta(days=1)).values()
            found = queries.gone([row for promql in asked for row in client.query(promql, NOW)])
            assert found.keys() == {(f"{hours}h-ago", "old")}, hours
            assert all(ago > timedelta(hours=hours) for ago in found.values())
