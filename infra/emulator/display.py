"""What a person sees of a run: lines as it goes on, and a table by workload at its end."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from infra.emulator.watcher import Seen
from shared.contracts.quantities import format_cpu, format_memory
from shared.contracts.topics import Topic

WORDS = {
    Topic.RECOMMENDATION_CREATED: "proposed",
    Topic.RECOMMENDATION_APPROVED: "approved by policy",
    Topic.POLICY_VIOLATED: "refused by policy",
    Topic.GITOPS_PR_CREATED: "pull request open",
    Topic.CHANGE_APPLIED: "applied",
    Topic.CHANGE_FAILED: "failed",
}
COLUMNS: dict[str, tuple[str, Callable[[int], str]]] = {
    "CPU request": ("cpu_request_m", format_cpu),
    "CPU limit": ("cpu_limit_m", format_cpu),
    "memory request": ("memory_request_bytes", format_memory),
    "memory limit": ("memory_limit_bytes", format_memory),
}
VERDICTS = {"require_approval": "approval"}
RESULTS = {"pr_open": "open", "violated": "refused"}
STYLES = {"applied": "green", "failed": "red", "violated": "yellow", "pr_open": "cyan", "skipped": "dim"}


class Progress:
    """The stages as they happen, a line each; on a terminal the counts stand below them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._seen: set[str] = set()
        self._began = time.monotonic()
        self._status = console.status("")

    def start(self) -> None:
        self._began = time.monotonic()
        if self._console.is_terminal:
            self._status.start()

    def stop(self) -> None:
        self._status.stop()

    def saw(self, seen: Seen) -> None:
        """Called for every record of every topic, from the watcher's thread."""
        with self._lock:
            if f"{seen.topic} {seen.event_id}" in self._seen:
                return
            self._seen.add(f"{seen.topic} {seen.event_id}")
            self._counts[seen.topic] += 1
        line = _line(seen)
        if line:
            # What comes from outside is text: no [brackets] in it are markup.
            text = f"{time.monotonic() - self._began:6.1f} s  {line}"
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)
        self._status.update(
            ", ".join(f"{self._counts[topic]} {word}" for topic, word in WORDS.items() if self._counts[topic])
        )


def _line(seen: Seen) -> str | None:
    if seen.topic.endswith(".dlq"):
        return f"dead letter on {seen.topic}: {seen.headers.get('ce_knativeerrorcode', '')}"
    data = seen.data()
    if seen.topic == Topic.SCAN_REQUESTED:
        shard = data.get("shard")
        return f"scan: shard {shard['index'] + 1} of {shard['of']}" if shard else "scan requested"
    if seen.topic == Topic.RECONCILE_REQUESTED:
        return None
    detail = {
        Topic.GITOPS_PR_CREATED: data.get("url"),
        Topic.CHANGE_FAILED: data.get("message"),
        Topic.POLICY_VIOLATED: data.get("reason"),
    }.get(Topic(seen.topic))
    return f"{seen.subject}: {WORDS[Topic(seen.topic)]}" + (f" ({detail})" if detail else "")


def show(summary: dict[str, Any], console: Console) -> None:
    """The table by workload, the reasons, totals."""
    table = Table(
        title="What the run came to",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for column in ("workload", "container", *COLUMNS):
        table.add_column(column, no_wrap=True)
    table.add_column(f"saves {summary['totals']['currency']}/month", justify="right", no_wrap=True)
    for column in ("verdict", "PR", "result"):
        table.add_column(column, no_wrap=True)
    for row in summary["workloads"]:
        for index, container in enumerate(row["containers"] or [None]):
            first = index == 0
            number = row["pull_request"].rpartition("/")[2]
            table.add_row(
                f"{row['namespace']}/{row['name']}" if first else "",
                container["name"] if container else "",
                *(_change(container, field, form) for field, form in COLUMNS.values()),
                row["monthly_saving"] if first and row["containers"] else "",
                VERDICTS.get(row["verdict"], row["verdict"]) if first else "",
                f"#{number}" if first and number else "",
                Text(RESULTS.get(row["state"], row["state"]), style=STYLES.get(row["state"], ""))
                if first
                else "",
            )
    # A narrow terminal folds the lines; a table that leaves values out is of no use.
    width = max(console.width, Measurement.get(console, console.options.update(width=1000), table).maximum)
    Console(file=console.file, width=width, force_terminal=console.is_terminal).print(table)
    for row in summary["workloads"]:
        if row["reason"]:
            result = RESULTS.get(row["state"], row["state"])
            text = f"{row['namespace']}/{row['name']}: {result}: {row['reason']}"
            console.print(text, highlight=False, markup=False)
    totals, topics = summary["totals"], summary["topics"]
    states = ", ".join(f"{count} {RESULTS.get(state, state)}" for state, count in totals["states"].items())
    console.print(f"{totals['workloads']} workloads: {states}", highlight=False)
    console.print(
        f"saves {totals['monthly_saving_applied']} {totals['currency']} a month now"
        f" ({totals['monthly_saving_proposed']} proposed), in {totals['pull_requests']} pull requests",
        highlight=False,
    )
    console.print(
        "events: " + ", ".join(f"{topic} {count}" for topic, count in topics.items()), highlight=False
    )
    console.print(
        f"{summary['audit_records']} audit records, {summary['dead_letters']} dead letters;"
        f" set-up {summary['seconds']['setup']:.1f} s, run {summary['seconds']['run']:.1f} s",
        highlight=False,
    )


def _change(container: dict[str, Any] | None, field: str, show_one: Callable[[int], str]) -> str:
    if container is None:
        return ""
    before, after = container[field]
    if before is None and after is None:
        return "-"
    old = "-" if before is None else show_one(before)
    return old if before == after else f"{old} -> {'-' if after is None else show_one(after)}"
