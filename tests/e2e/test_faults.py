"""The loop under faults: whatever is doubled, killed or away, it comes to the same end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.emulator.run import Loop
from infra.emulator.servers.server import Server
from infra.emulator.stack import Standin
from shared.contracts.topics import Topic
from tests.e2e.conftest import Undisturbed
from tests.e2e.deliveries import Deliveries, delivered_again
from tests.e2e.loops import Ran, check_invariants, finish, outcome, recommendations, started, ticking
from tests.e2e.outage import Dependency, Door

# Seconds after its delivery began: into the reading of usage, into the talk with the Git host.
LATER = {"recommender": 0.2, "gitops": 0.2}
NEXT_TRY_SECONDS = 3.0  # where a kill came too late and interrupted nothing
STAGES = {"recommender", "policy", "gitops", "argocd", "audit"}


@dataclass(frozen=True)
class Disturbed:
    """The end of a loop in which every event was doubled, and each dependency away twice."""

    ran: Ran
    stages_overlapping: set[str]
    outages_over: bool


@pytest.fixture(scope="module")
def disturbed(past: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disturbed]:
    deliveries = Deliveries()
    with (
        Door() as door,
        started(
            tmp_path_factory.mktemp("disturbed"),
            past=past,
            duplicate=True,
            on_delivery=deliveries.saw,
            objects_behind=door,
        ) as loop,
        delivered_again(loop.stack, deliveries),
    ):
        script = outages(loop, door)
        next(script)
        over = False

        def disturb(_elapsed: float) -> None:
            nonlocal over
            over = next(script, "over") == "over"

        ran = finish(loop, disturb)
        yield Disturbed(ran, deliveries.overlapping(), over)


def test_every_event_delivered_twice_by_two_at_once_ends_the_same(
    disturbed: Disturbed, undisturbed: Undisturbed
) -> None:
    assert disturbed.stages_overlapping >= STAGES
    check_invariants(disturbed.ran)
    assert outcome(disturbed.ran) == undisturbed.outcome()


def test_ten_seconds_without_each_thing_that_it_depends_on_lose_nothing(
    disturbed: Disturbed, undisturbed: Undisturbed
) -> None:
    assert disturbed.outages_over
    check_invariants(disturbed.ran)
    assert outcome(disturbed.ran) == undisturbed.outcome()
    # The second scan looked at everything too, and proposed nothing twice.
    loop = disturbed.ran.loop
    # By then its delivery may wait long for the next try: each pause is twice the one before.
    ticking(loop, lambda: len(loop.reports()) == 2, within=180)
    assert len(recommendations(loop)) == len(disturbed.ran.recommendations)


class Killer:
    """Kills each stage while it works on an event of the loop, and the other two functions beside."""

    def __init__(self, loop: Loop, deliveries: Deliveries) -> None:
        assert loop.stack.functions is not None
        self._functions = loop.stack.functions
        self._loop = loop
        self._deliveries = deliveries
        self._killed = dict.fromkeys(("receiver", "exporter"), 0.0)
        self._missing = set(STAGES)

    def __call__(self) -> None:
        """One look; to be repeated often."""
        if not self._missing and all(self._killed.values()):
            return
        if Topic.SCAN_REQUESTED in {record.topic for record in self._loop.watcher.records}:
            for name, killed in self._killed.items():
                if name not in STAGES and not killed:
                    self._kill(name)
        assert self._loop.stack.eventing is not None
        self._missing -= self._deliveries.unanswered()
        for running in self._loop.stack.eventing._sources:
            stage = running.source.sink.name  # type: ignore[union-attr]
            if stage not in self._missing or Topic.RECONCILE_REQUESTED in running.source.topics:
                continue
            if running.in_flight and time.monotonic() > self._killed.get(stage, 0.0) + NEXT_TRY_SECONDS:
                time.sleep(LATER.get(stage, 0.0))
                self._kill(stage)

    def _kill(self, name: str) -> None:
        self._functions[name].kill()
        self._killed[name] = time.monotonic()


def test_every_function_killed_in_the_middle_of_its_work_ends_the_same(
    tmp_path: Path, past: Path, undisturbed: Undisturbed
) -> None:
    deliveries = Deliveries()
    with started(tmp_path, past=past, on_delivery=deliveries.saw) as loop, repeated(Killer(loop, deliveries)):
        ran = finish(loop)
        assert deliveries.interrupted() >= STAGES
        check_invariants(ran)
        assert outcome(ran) == undisturbed.outcome()
        assert loop.stack.functions is not None
        assert all(function.restarts >= 1 for function in loop.stack.functions)


@contextmanager
def repeated(look: Callable[[], None]) -> Iterator[None]:
    """Calls it again and again beside what the block does."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(0.004):
            look()

    with ThreadPoolExecutor(1) as pool:
        repeating = pool.submit(repeat)
        try:
            yield
        finally:
            over.set()
        repeating.result()


def outages(loop: Loop, door: Door) -> Iterator[None]:
    """Each dependency is away for ten seconds at the start and again in the middle, missed both times.

    One that is away hides those that would be asked after it. So at the start they come back in the order in
    which the loop needs them, each when the stage that needs it has said so; and in the middle those that
    different stages need are away together.
    """
    stack = loop.stack
    logs, store = stack.logs, stack.servers["objectstore"]

    def stopping(said: str, part: Server | Standin) -> Dependency:
        return Dependency(said, logs, part.stop, part.start)

    prometheus = stopping("Prometheus", stack.servers["prometheus"])
    mongodb = stopping("MongoDB", stack.servers["mongodb"])
    git_host = stopping("Git host", stack.standins["github"])
    objects = Dependency("object storage", logs, door.shut, lambda: door.open(lambda: store.address))

    prometheus.leaves("recommender")
    mongodb.leaves("recommender")
    objects.leaves("recommender")
    git_host.leaves("gitops")
    yield
    for one in (prometheus, mongodb, objects, git_host):
        yield from one.comes_back()

    while Topic.GITOPS_PR_CREATED not in {record.topic for record in loop.watcher.records}:
        yield
    prometheus.leaves("recommender")
    objects.leaves("recommender")
    git_host.leaves("gitops", "argocd")
    loop.scan()  # another one, which finds that all is on its way; but it has to ask
    for one in (prometheus, git_host, objects):
        yield from one.comes_back()
    mongodb.leaves("gitops", "argocd")
    yield from mongodb.comes_back()
