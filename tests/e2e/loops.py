"""Runs of the whole loop for the end-to-end tests: everything real or a stand-in, on free ports."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.emulator.run import Loop
from infra.emulator.stack import Options, Stack
from infra.emulator.summary import Standing
from shared.contracts.documents import Recommendation
from shared.contracts.states import State
from shared.contracts.topics import PRODUCT_TOPICS

SEED = 7


@dataclass
class Ran:
    """A loop that has come to its end (or to its deadline), still up to be looked at."""

    loop: Loop
    where: Standing
    summary: dict[str, Any]

    @property
    def stack(self) -> Stack:
        return self.loop.stack

    @property
    def recommendations(self) -> list[Recommendation]:
        return self.loop.mongo.recommendations.in_states(self.loop.cluster, State)

    def rows(self, state: str) -> list[dict[str, Any]]:
        return [row for row in self.summary["workloads"] if row["state"] == state]


@contextmanager
def started(
    folder: Path,
    *,
    traces: Path | None = None,
    duplicate: bool = False,
    settings: dict[str, str] | None = None,
) -> Iterator[Loop]:
    """A stack that is up, its loop not yet asked for anything; ended with the block."""
    options = Options(
        work=folder / "run",
        traces=traces,
        seed=SEED,
        duplicate=duplicate,
        standard_ports=False,
        settings=settings or {},
    )
    stack = Stack(options, {}, say=print)
    loop: Loop | None = None
    try:
        stack.start()
        loop = Loop(stack)
        yield loop
    finally:
        if loop is not None:
            loop.stop()
        stack.stop()


def finish(loop: Loop, disturb: Callable[[float], None] | None = None, within: float = 120) -> Ran:
    """Asks for a scan and waits until nothing more can happen."""
    loop.scan()
    where = loop.wait(within, disturb)
    return Ran(loop, where, loop.summary({"setup": 0.0, "run": 0.0}))


def check_invariants(ran: Ran) -> None:
    """What must hold after every run, however it was disturbed."""
    assert ran.where.done, f"not finished: {ran.where}"
    contents: dict[str, set[str]] = {}
    for seen in ran.loop.watcher.records:
        if seen.topic in PRODUCT_TOPICS:
            own = {name: text for name, text in seen.headers.items() if name.startswith("ce_")}
            contents.setdefault(seen.event_id, set()).add(json.dumps([seen.topic, own, seen.value]))
    doubled = {event_id: content for event_id, content in contents.items() if len(content) > 1}
    assert not doubled, "an event id was published with different content"
    for recommendation in ran.recommendations:
        assert all(entry.sent for entry in recommendation.ledger)
        for entry in recommendation.ledger:
            assert entry.record.event_id in contents, "an event in a ledger is in no topic"
    assert ran.summary["audit_records"] == len(contents)


def endings(ran: Ran) -> dict[str, tuple[str, str]]:
    """Workload to how it ended: its state and verdict."""
    return {
        f"{row['namespace']}/{row['kind']}/{row['name']}": (row["state"], row["verdict"])
        for row in ran.summary["workloads"]
    }
