"""What a scan of a large cluster costs, beside the same data read krr's way, and how it grows.

krr's way is its `simple` strategy as published (github.com/robusta-dev/krr, robusta_krr/strategies/simple.py
and core/integrations/prometheus/metrics): for each workload, one after the other in each of 6 workers, its
pods by ReplicaSet and owner, which of them run, and then of CPU the percentile and the number of points, of
memory the maximum and the number of points.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import psutil
import requests
from requests.adapters import HTTPAdapter

from functions.recommender import queries, reading
from infra.emulator.servers.prometheus import BLOCK_HOURS, EmbeddedPrometheus
from shared.adapters.mongo import Mongo
from shared.adapters.mongo_digests import MongoDigests
from shared.adapters.prometheus import HttpPrometheus
from tests.bench import cluster
from tests.bench.figure import Figure
from tests.servers import mongo_server

KUBEFINOPS = str(Path(sys.executable).with_name("kubefinops"))
DEPLOYMENTS, DAYS = 1_000, 14
# Of what a Prometheus makes of its samples by itself, where it keeps them for 15 days.
OWN_BLOCK_HOURS = 18
# With a shorter history, for the disk's and the bench's sake.
GROWTH, GROWTH_DAYS = (100, 1_000, 10_000), 2
KRR_WORKERS, KRR_STEP = 6, "75s"
AGAINST = "krr's way: 7 queries a workload, 6 workers"


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, CPU seconds and peak memory (MiB) of Prometheus, and the queries put to it."""

    seconds: float
    server_cpu: float
    server_mib: float
    queries: int
    own_mib: float = 0.0


def measure() -> list[Figure]:
    with _cluster(DEPLOYMENTS, DAYS) as (server, end):
        ours = _cost(server, partial(_scan, server, DAYS))
        one_more_day = _one_more_day(server, end)
    with _cluster(DEPLOYMENTS, DAYS) as (server, end):
        theirs = _cost(server, partial(_krr, server, end))
    with _cluster(DEPLOYMENTS, DAYS, OWN_BLOCK_HOURS) as (server, end):
        in_own_blocks = _cost(server, partial(_scan, server, DAYS))
        one_more_in_own_blocks = _one_more_day(server, end)
    name = f"scan of {DEPLOYMENTS:,} Deployments x {cluster.PODS} pods, {DAYS} days"
    own_blocks = f"in blocks of {OWN_BLOCK_HOURS} h"
    return [
        Figure(f"{name}: time", ours.seconds, "s", 10),
        Figure(f"{name}: queries", ours.queries, "queries", 50),
        Figure(f"{name}: its own memory", ours.own_mib, "MiB", 300),
        Figure(f"{name}, one more day with digests: time", one_more_day.seconds, "s", 2),
        Figure(f"{name}, {own_blocks}: time", in_own_blocks.seconds, "s", 10),
        Figure(f"{name}, {own_blocks}, one more day: time", one_more_in_own_blocks.seconds, "s", 2),
        Figure(f"{name}: time", ours.seconds, "s", 1 / 8, AGAINST, theirs.seconds),
        Figure(f"{name}: Prometheus' CPU", ours.server_cpu, "s", 1 / 5, AGAINST, theirs.server_cpu),
        Figure(f"{name}: Prometheus' peak memory", ours.server_mib, "MiB", 1, AGAINST, theirs.server_mib),
        *_growth(),
    ]


def _growth() -> Iterator[Figure]:
    """Ten times the cluster beside ten times the cost."""
    costs = {}
    for deployments in GROWTH:
        with _cluster(deployments, GROWTH_DAYS) as (server, _):
            costs[deployments] = _cost(server, partial(_scan, server, GROWTH_DAYS))
    for small, large in pairwise(GROWTH):
        factor = large // small
        name, against = f"scan of {large:,} Deployments", f"{factor} x {small:,} Deployments"
        one, other = costs[large], costs[small]
        yield Figure(f"{name}: time", one.seconds, "s", 1, against, factor * other.seconds)
        yield Figure(f"{name}: its own memory", one.own_mib, "MiB", 1, against, factor * other.own_mib)


@contextmanager
def _cluster(
    deployments: int, days: int, block_hours: int = BLOCK_HOURS
) -> Iterator[tuple[EmbeddedPrometheus, int]]:
    """A fresh Prometheus with such a cluster's history, and when it ends."""
    end = int(time.time()) // cluster.SCRAPE_SECONDS * cluster.SCRAPE_SECONDS
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        data = Path(directory)
        cluster.write(data, deployments, days, end, block_hours)
        # It would put blocks together while it is asked.
        flag = f"--storage.tsdb.max-block-duration={block_hours}h"
        server = EmbeddedPrometheus(data, data, port=0, flags=[flag])
        try:
            server.start()
            yield server, end
        finally:
            server.stop()


def _cost(server: EmbeddedPrometheus, read: Callable[[], float]) -> Cost:
    """Of `read`, which returns the peak of its own memory in MiB."""
    assert server._process is not None
    process = psutil.Process(server._process.pid)
    over, most = threading.Event(), [0.0]

    def watch() -> None:
        while not over.wait(0.02):
            most[0] = max(most[0], process.memory_info().rss / 2**20)

    watching = threading.Thread(target=watch)
    watching.start()
    cpu, queries, began = sum(process.cpu_times()[:2]), _queries(server), time.perf_counter()
    try:
        own = read()
        seconds = time.perf_counter() - began
    finally:
        over.set()
        watching.join()
    return Cost(seconds, sum(process.cpu_times()[:2]) - cpu, most[0], _queries(server) - queries, own)


def _queries(server: EmbeddedPrometheus) -> int:
    page = requests.get(f"{server.address}/metrics", timeout=5).text
    lines = [line for line in page.splitlines() if line.startswith("prometheus_http_requests_total")]
    return sum(int(float(line.split()[-1])) for line in lines if re.search("/api/v1/(query|series)", line))


def _scan(server: EmbeddedPrometheus, days: int) -> float:
    """The command as a person types it; the peak of its memory in MiB."""
    with tempfile.NamedTemporaryFile() as output:
        command = [KUBEFINOPS, "scan", "--prometheus", server.address, "--format", "json"]
        command += ["--output", output.name]
        environment = {**os.environ, "KUBEFINOPS_HISTORY_DAYS": str(days)}
        scan = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        own = 0.0
        while scan.poll() is None:
            own = max(own, _peak(scan.pid))
            time.sleep(0.02)
        assert scan.returncode == 0, scan.stderr.read().decode() if scan.stderr else ""
        assert json.loads(Path(output.name).read_text())["workloads"], "the scan has seen nothing"
    return own


def _peak(pid: int) -> float:
    """MiB. What wait4 tells of a child is no less than its parent had when it was forked."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _one_more_day(server: EmbeddedPrometheus, end: int) -> Cost:
    """Of a reading as a shard's, a day after one whose digests are in MongoDB.

    At the last noon, whenever the bench runs: today so far is read beside yesterday, and is half a day then.
    """
    at = _noon_before(datetime.fromtimestamp(end, UTC))
    with mongo_server() as store:
        mongo = Mongo(str(store.address), "bench")
        mongo.create_indexes()
        digests, prometheus = MongoDigests(mongo), HttpPrometheus(str(server.address))

        def scan(at: datetime) -> float:
            read = reading.read(
                prometheus,
                "bench",
                at,
                history=timedelta(days=DAYS),
                oom_days=7,
                stored=digests,
                strategy="balanced",
            )
            assert all(each.containers[0].usage for each in read.workloads), "a container has no usage"
            return 0.0

        scan(at - timedelta(days=1))
        cost = _cost(server, partial(scan, at))
        mongo.close()
    return cost


def _noon_before(at: datetime) -> datetime:
    return (at - timedelta(hours=12)).replace(hour=12, minute=0, second=0, microsecond=0)


def _krr(server: EmbeddedPrometheus, end: int) -> float:
    """Raises AssertionError where a query has no answer."""
    session, span = requests.Session(), f"{DAYS}d"
    session.mount("http://", HTTPAdapter(pool_maxsize=KRR_WORKERS))

    def ask(promql: str) -> list[dict[str, str]]:
        form = {"query": promql, "time": str(end)}
        answer = session.post(f"{server.address}/api/v1/query", data=form, timeout=120).json()
        assert answer["data"]["result"], promql
        return [row["metric"] for row in answer["data"]["result"]]

    def read(workload: dict[str, str]) -> None:
        here = f'namespace="{workload["namespace"]}"'
        owner = f'owner_name="{workload["deployment"]}", owner_kind="Deployment"'
        sets = ask(f"last_over_time(kube_replicaset_owner{{{owner}, {here}}}[{span}])")
        owner = f'owner_name=~"{_any(sets, "replicaset")}", owner_kind="ReplicaSet"'
        pods = _any(ask(f"last_over_time(kube_pod_owner{{{owner}, {here}}}[{span}])"), "pod")
        ask(f'kube_pod_status_phase{{phase="Running", pod=~"{pods}", {here}}} == 1')
        matchers = f'{here}, pod=~"{pods}", container="app"'
        cpu, memory = f"{queries.CPU}{{{matchers}}}", f"{queries.MEMORY}{{{matchers}}}"
        by = f"by (container, pod, job) [{span}:{KRR_STEP}]"
        ask(f"quantile_over_time(0.95, max(rate({cpu}[{KRR_STEP}])) {by})")
        ask(f"count_over_time(max({cpu}) {by})")
        ask(f"max_over_time(max({memory}) {by})")
        ask(f"count_over_time(max({memory}) {by})")

    with ThreadPoolExecutor(KRR_WORKERS) as pool:
        list(pool.map(read, ask("kube_deployment_spec_replicas")))
    return 0.0


def _any(rows: list[dict[str, str]], label: str) -> str:
    return "|".join(row[label] for row in rows)
