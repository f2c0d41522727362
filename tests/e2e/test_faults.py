"""The loop under faults: whatever is doubled, killed or away, it comes to the same end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from infra.emulator.run import Loop
from infra.emulator.servers.server import Server
from infra.emulator.stack import Standin
from shared.contracts.topics import Topic
from tests.e2e.conftest import Undisturbed
from tests.e2e.deliveries import Deliveries, delivered_again
from tests.e2e.loops import check_invariants, finish, outcome, recommendations, started, ticking
from tests.e2e.outage import Dependency, Door

STAGES = {"recommender", "policy", "gitops", "argocd", "audit"}


def test_every_event_delivered_twice_by_two_at_once_ends_the_same(
    tmp_path: Path, past: Path, undisturbed: Undisturbed
) -> None:
    deliveries = Deliveries()
    with (
        started(tmp_path, past=past, duplicate=True, on_delivery=deliveries.saw) as loop,
        delivered_again(loop.stack, deliveries),
    ):
        ran = finish(loop)
        check_invariants(ran)
        assert deliveries.overlapping() >= STAGES
        assert outcome(ran) == undisturbed.outcome()


def test_every_function_killed_once_in_the_middle_ends_the_same(
    tmp_path: Path, past: Path, undisturbed: Undisturbed
) -> None:
    with started(tmp_path, past=past) as loop:
        killed: set[str] = set()

        def kill(_elapsed: float) -> None:
            """Each stage dies right after the first event that shows it at work."""
            seen = {record.topic for record in loop.watcher.records}
            at_work = {
                "recommender": Topic.SCAN_REQUESTED,
                "receiver": Topic.SCAN_REQUESTED,
                "policy": Topic.RECOMMENDATION_CREATED,
                "audit": Topic.RECOMMENDATION_CREATED,
                "gitops": Topic.RECOMMENDATION_APPROVED,
                "argocd": Topic.GITOPS_PR_CREATED,
                "exporter": Topic.GITOPS_PR_CREATED,
            }
            assert loop.stack.functions is not None
            for stage, topic in at_work.items():
                if topic in seen and stage not in killed:
                    killed.add(stage)
                    loop.stack.functions[stage].kill()

        ran = finish(loop, kill)
        assert len(killed) == 7
        check_invariants(ran)
        assert outcome(ran) == undisturbed.outcome()
        assert loop.stack.functions is not None
        assert all(function.restarts >= 1 for function in loop.stack.functions)


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


def test_ten_seconds_without_each_thing_that_it_depends_on_lose_nothing(
    tmp_path: Path, past: Path, undisturbed: Undisturbed
) -> None:
    with Door() as door, started(tmp_path, past=past, objects_behind=door) as loop:
        script = outages(loop, door)
        next(script)
        over = False

        def disturb(_elapsed: float) -> None:
            nonlocal over
            over = next(script, "over") == "over"

        ran = finish(loop, disturb)
        assert over
        check_invariants(ran)
        assert outcome(ran) == undisturbed.outcome()
        # The second scan looked at everything too, and proposed nothing twice.
        ticking(loop, lambda: len(loop.reports()) == 2)
        assert len(recommendations(loop)) == len(ran.recommendations)
