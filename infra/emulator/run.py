"""One scan through the whole loop, here: start everything, ask for a scan, wait for the ends, tell."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from infra.emulator.display import Progress, show
from infra.emulator.servers.errors import SetupError, StartError
from infra.emulator.stack import OWNER, REPOSITORY, ROOT, Options, Stack, Usage
from infra.emulator.summary import Standing, standing, summarise
from infra.emulator.watcher import Seen, Watcher
from shared.adapters.mongo import Mongo
from shared.adapters.objectstore import S3ObjectStore
from shared.contracts.errors import Temporary
from shared.contracts.states import State
from shared.contracts.topics import Topic
from shared.runtime.settings import PrometheusSettings
from shared.runtime.world import prometheus_of

TICK_SECONDS = 1.0
SCRAPED_WITHIN_SECONDS = 20.0  # infra/prometheus/prometheus.yml has a scrape every 15 s
POLL_SECONDS = 0.25  # each look reads every document
RUN_SECONDS = 120.0


class Loop:
    """A started stack, and what it takes to ask it for scans and to see what becomes of them."""

    def __init__(self, stack: Stack, on_record: Callable[[Seen], None] | None = None) -> None:
        self.stack = stack
        environment = stack.environment
        self.cluster = environment.get("KUBEFINOPS_CLUSTER", "local")
        self.mongo = Mongo(environment["MONGODB_URI"], environment.get("MONGODB_DATABASE", "kubefinops"))
        self.objects = S3ObjectStore(
            environment["S3_ENDPOINT"],
            access_key=environment["S3_ACCESS_KEY"],
            secret_key=environment["S3_SECRET_KEY"],
            bucket=environment.get("S3_BUCKET", "kubefinops"),
            region=environment.get("S3_REGION", "us-east-1"),
            retention_mode="GOVERNANCE",
        )
        names = [topic.value for topic in Topic] + [topic.dead_letters for topic in Topic]
        self.watcher = Watcher(
            environment["KAFKA_BOOTSTRAP_SERVERS"],
            names,
            from_now=stack.servers["kafka"].kind == "given",
            on_record=on_record,
        )
        self.watcher.start()

    def scan(self) -> None:
        """Fires the scan's PingSource."""
        self._fire("scan")

    def wait(self, within: float = RUN_SECONDS, disturb: Callable[[float], None] | None = None) -> Standing:
        """Ticks until every recommendation has come to an end, or `within` seconds; returns where it stands.

        `disturb` is called between looks, with the seconds since the beginning: tests do harm there.
        """
        began = ticked = time.monotonic()
        where: Standing | None = None
        while True:
            now = time.monotonic()
            if disturb is not None:
                disturb(now - began)
            if now - ticked >= TICK_SECONDS:
                self._fire("reconcile")
                ticked = now
            try:
                where = standing(self.mongo, self.cluster, self.watcher)
            except Temporary:
                if disturb is None:
                    raise  # nobody is doing harm: MongoDB is really away
            if where is not None and where.done:
                return where
            if now - began > within:
                assert where is not None, "MongoDB did not answer once"
                return where
            time.sleep(POLL_SECONDS)

    def reports(self) -> list[dict[str, Any]]:
        """Every shard's report, from the bucket. Raises Temporary."""
        rows = self.mongo.database["reports"].find({"kind": "report"})
        return [json.loads(self.objects.get(row["key"], row["version_id"])) for row in rows]

    def summary(self, seconds: dict[str, float]) -> dict[str, Any]:
        """The facts of the run. Raises Temporary."""
        return summarise(
            self.mongo.recommendations.in_states(self.cluster, State),
            self.reports(),
            self.watcher,
            services=self.stack.services(),
            audit_records=self.mongo.reports.count("audit"),
            seconds=seconds,
        )

    def stop(self) -> None:
        self.watcher.stop()
        self.mongo.close()

    def _fire(self, name: str) -> None:
        assert self.stack.eventing is not None
        self.stack.eventing.fire(name)


def run(usage: Usage) -> int:
    """`make run`: returns the exit code. Raises ServerError, KubeFinOpsError."""
    console = Console(width=None if os.isatty(1) else 200)
    work = ROOT / "build" / "run"
    where_from = (
        f"real traces in {usage.traces}"
        if usage.traces
        else f"profiles generated from seed {usage.seed}, not measured ones"
    )
    console.print(f"usage: {where_from}", highlight=False)
    progress = Progress(console)
    lock = only_one(work)
    stack = Stack(
        Options(work=work, usage=usage),
        os.environ,
        say=lambda line: console.print(line, highlight=False),
    )
    loop: Loop | None = None
    began = time.monotonic()
    try:
        stack.start()
        require_workloads(stack)
        loop = Loop(stack, on_record=progress.saw)
        setup = time.monotonic() - began
        progress.start()
        loop.scan()
        where = loop.wait()
        seconds = {"setup": round(setup, 2), "run": round(time.monotonic() - began - setup, 2)}
        progress.stop()
        summary = loop.summary(seconds)
    except KeyboardInterrupt:
        progress.stop()
        console.print("stopping ...")
        raise
    finally:
        progress.stop()
        if loop is not None:
            loop.stop()
        stack.stop()
        lock.close()
    (work / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    show(summary, console)
    for line in ("where to look:", f"  {_shown(work / 'summary.json')}: these facts", *where_to_look(stack)):
        console.print(line, highlight=False)
    console.print("  make up: the same, kept running, to be looked at", highlight=False)
    if not where.done:
        console.print(f"not finished after {RUN_SECONDS:g} s: {where}; logs: {stack.logs}", style="red")
        return 1
    return 0


def require_workloads(stack: Stack) -> None:
    """A scan of a given Prometheus that knows none would have no shard, and so no end.

    One that scrapes the cluster stand-in has only just found it, and is asked again until it must have.

    Raises:
        BadSetting: a variable is wrong.
        StartError: it has no series of pods' owners.
        Temporary: it cannot be asked.
    """
    server, environment = stack.servers["prometheus"], stack.environment
    if server.kind != "given":
        return
    settings = PrometheusSettings.read(environment)
    owners = f"count(kube_pod_owner{{{settings.prometheus_labels}}})"
    client, deadline = prometheus_of(settings), time.monotonic() + SCRAPED_WITHIN_SECONDS
    while not client.query(owners, datetime.now(UTC)):
        if time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            continue
        raise StartError(
            f"PROMETHEUS_URL: Prometheus at {server.address} has no kube_pod_owner series, so nothing to"
            " scan: let it scrape a cluster's kube-state-metrics and cAdvisor, or `make up` (see"
            " infra/docker-compose-lite.yml); without PROMETHEUS_URL there is one with a history"
        )


def where_to_look(stack: Stack) -> list[str]:
    """Lines that name what a run leaves on disk."""
    repository = stack.demo / "repos" / OWNER / f"{REPOSITORY}.git"
    return [
        f"  git -C {_shown(repository)} log -p main: what was merged",
        f"  {_shown(stack.logs)}: what each process logged",
    ]


def only_one(work: Path) -> IO[str]:
    """A lock on the run's folder, held until it is closed.

    Raises:
        SetupError: another process has it.
    """
    path = work.with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise SetupError(f"a run is under way in {_shown(work)} (process {holder}): wait for it") from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
