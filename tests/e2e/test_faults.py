"""The loop under faults: whatever is doubled, killed or away, it comes to the same end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.emulator.run import Loop
from tests.e2e.loops import Ran, check_invariants, endings, finish, started

OUTAGE_SECONDS = 10.0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[str, str]]]:
    """How each workload ends when nothing goes wrong."""
    with started(tmp_path_factory.mktemp("undisturbed")) as loop:
        ran = finish(loop)
        check_invariants(ran)
        yield endings(ran)


def one_pull_request_for_each_change(ran: Ran) -> None:
    """No workload's change is in two pull requests, and no group has two that are open."""
    open_groups = [change.group for change in ran.loop.mongo.changes.in_state(ran.loop.cluster, "open")]
    assert len(open_groups) == len(set(open_groups))
    members = [
        member
        for state in ("open", "merged", "closed")
        for change in ran.loop.mongo.changes.in_state(ran.loop.cluster, state)
        for member in change.members
    ]
    assert len(members) == len(set(members))


def test_every_event_delivered_twice_ends_the_same(
    tmp_path: Path, undisturbed: dict[str, tuple[str, str]]
) -> None:
    with started(tmp_path, duplicate=True) as loop:
        ran = finish(loop)
        check_invariants(ran)
        one_pull_request_for_each_change(ran)
        assert endings(ran) == undisturbed


def test_every_function_killed_once_in_the_middle_ends_the_same(
    tmp_path: Path, undisturbed: dict[str, tuple[str, str]]
) -> None:
    with started(tmp_path) as loop:
        killed: set[str] = set()

        def kill(_elapsed: float) -> None:
            """Each stage dies right after the first event that shows it at work."""
            seen = {record.topic for record in loop.watcher.records}
            at_work = {
                "recommender": "scan.requested",
                "receiver": "scan.requested",
                "policy": "recommendation.created",
                "audit": "recommendation.created",
                "gitops": "recommendation.approved",
                "argocd": "gitops.pr.created",
                "exporter": "gitops.pr.created",
            }
            assert loop.stack.functions is not None
            for stage, topic in at_work.items():
                if topic in seen and stage not in killed:
                    killed.add(stage)
                    loop.stack.functions[stage].kill()

        ran = finish(loop, kill)
        assert len(killed) == 7
        check_invariants(ran)
        one_pull_request_for_each_change(ran)
        assert endings(ran) == undisturbed
        assert loop.stack.functions is not None
        assert all(function.restarts >= 1 for function in loop.stack.functions)


class Outage:
    """MongoDB, Prometheus and the Git host stop and come back; the S3 server, which has no disk, hangs."""

    def __init__(self, loop: Loop, begins: Callable[[], bool]) -> None:
        self._loop = loop
        self._begins = begins
        self._began: float | None = None
        self.over = False

    def __call__(self, elapsed: float) -> None:
        stack = self._loop.stack
        if self._began is None and self._begins():
            self._began = elapsed
            self._hang(signal.SIGSTOP)
            stack.standins["github"].stop()
            stack.servers["prometheus"].stop()
            stack.servers["mongodb"].stop()
        elif self._began is not None and not self.over and elapsed - self._began >= OUTAGE_SECONDS:
            stack.servers["mongodb"].start()
            stack.servers["prometheus"].start()
            stack.standins["github"].start()
            self._hang(signal.SIGCONT)
            self.over = True

    def _hang(self, number: signal.Signals) -> None:
        store = self._loop.stack.servers["objectstore"]
        os.kill(store._process.pid, number)  # type: ignore[attr-defined]  # an embedded one


@pytest.mark.parametrize("when", ["at the start", "in the middle"])
def test_ten_seconds_without_what_it_depends_on_lose_nothing(
    tmp_path: Path, undisturbed: dict[str, tuple[str, str]], when: str
) -> None:
    with started(tmp_path) as loop:

        def begins() -> bool:
            topics = {record.topic for record in loop.watcher.records}
            return when == "at the start" or "recommendation.approved" in topics

        outage = Outage(loop, begins)
        if when == "at the start":
            outage(0.0)
        ran = finish(loop, outage)
        assert outage.over
        check_invariants(ran)
        one_pull_request_for_each_change(ran)
        assert endings(ran) == undisturbed
