"""Runs of the whole loop for the end-to-end tests: everything real or a stand-in, on free ports."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import requests

from infra.emulator.kafkasource import OnDelivery
from infra.emulator.run import Loop
from infra.emulator.stack import OWNER, REPOSITORY, Options, Stack, Usage
from infra.emulator.summary import Standing
from infra.emulator.watcher import Seen
from shared.contracts.documents import Change, Recommendation
from shared.contracts.states import State
from shared.contracts.topics import PRODUCT_TOPICS, Topic
from tests.e2e.git import Git
from tests.e2e.outage import Door

SEED = 7
TICK_SECONDS = 0.5
CHANGE_STATES = ("open", "merged", "closed")


class GitHost:
    """The Git host as a person uses it: alice, who may review and merge."""

    def __init__(self, stack: Stack) -> None:
        self._url = f"{stack.environment['GITHUB_URL']}/repos/{OWNER}/{REPOSITORY}"
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {stack.reviewer_token}"

    def pulls(self) -> list[dict[str, Any]]:
        answer = self._session.get(f"{self._url}/pulls?state=all&per_page=100", timeout=10)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()
        return found

    def approve(self, number: int) -> None:
        self._call("POST", f"/pulls/{number}/reviews", {"event": "APPROVE"})

    def merge(self, number: int) -> None:
        self._call("PUT", f"/pulls/{number}/merge", {})

    def close(self, number: int) -> None:
        self._call("PATCH", f"/pulls/{number}", {"state": "closed"})

    def end(self) -> None:
        self._session.close()

    def _call(self, method: str, path: str, body: dict[str, str]) -> None:
        answer = self._session.request(method, self._url + path, json=body, timeout=10)
        assert answer.ok, answer.text


@dataclass(frozen=True)
class Ran:
    """What was there when a loop came to its end (or to its deadline); the loop may have gone on since."""

    loop: Loop
    where: Standing
    summary: dict[str, Any]
    records: tuple[Seen, ...]
    recommendations: tuple[Recommendation, ...]
    changes: tuple[Change, ...]
    pulls: tuple[dict[str, Any], ...]
    git: Git
    before: str
    after: str

    @property
    def stack(self) -> Stack:
        return self.loop.stack

    def rows(self, state: str) -> list[dict[str, Any]]:
        return [row for row in self.summary["workloads"] if row["state"] == state]


@contextmanager
def started(
    folder: Path,
    *,
    past: Path | None = None,
    traces: Path | None = None,
    duplicate: bool = False,
    on_delivery: OnDelivery | None = None,
    objects_behind: Door | None = None,
    given: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Loop]:
    """A stack that is up, its loop not yet asked for anything; ended with the block.

    With `objects_behind` object storage is reached through that door, which is open. `given` names servers
    that are used in place of embedded ones, as the environment of `make run` does; a Prometheus looks for
    what it scrapes on the usual ports.
    """
    options = Options(
        work=folder / "run",
        usage=Usage(traces, past, SEED),
        duplicate=duplicate,
        standard_ports="PROMETHEUS_URL" in given,
        settings={"S3_ENDPOINT": objects_behind.address} if objects_behind else {},
    )
    stack = Stack(options, given, say=print, on_delivery=on_delivery)
    if objects_behind is not None:
        objects_behind.open(lambda: stack.servers["objectstore"].address)
    loop: Loop | None = None
    try:
        stack.start()
        loop = Loop(stack)
        yield loop
    finally:
        if loop is not None:
            loop.stop()
        if "prometheus" in stack.servers:
            # First, or its kept connections hold the exporter for all of its grace.
            stack.servers["prometheus"].stop()
        stack.stop()


def finish(loop: Loop, disturb: Callable[[float], None] | None = None, within: float = 240) -> Ran:
    """Asks for a scan and waits until nothing more can happen."""
    git = Git.of(loop.stack)
    before = git.head()
    loop.scan()
    where = loop.wait(within, disturb)
    assert where.done, f"not finished: {where}"
    host = GitHost(loop.stack)
    # The documents of pull requests follow their host at a tick, after what was in them.
    ticking(loop, lambda: states(changes(loop)) == {one["number"]: state(one) for one in host.pulls()})
    ran = Ran(
        loop=loop,
        where=where,
        summary=json.loads(json.dumps(loop.summary({"setup": 0.0, "run": 0.0}))),
        records=tuple(loop.watcher.records),
        recommendations=tuple(recommendations(loop)),
        changes=tuple(changes(loop)),
        pulls=tuple(host.pulls()),
        git=git,
        before=before,
        after=git.head(),
    )
    host.end()
    return ran


def ticking(loop: Loop, condition: Callable[[], bool], within: float = 120.0) -> None:
    """Ticks until it holds, as the schedule would. Raises AssertionError after `within` seconds."""
    assert loop.stack.eventing is not None
    deadline = time.monotonic() + within
    ticked = 0.0
    while not condition():
        now = time.monotonic()
        assert now < deadline, f"did not hold within {within:g} s; {told(loop)}"
        if now - ticked > TICK_SECONDS:
            loop.stack.eventing.fire("reconcile")
            ticked = now
        time.sleep(0.05)


def told(loop: Loop) -> str:
    """Where each recommendation stands and how it came there, for the message of what did not hold."""
    return "; ".join(
        f"{one.scan_id[:8]} {one.workload.subject} {one.state}: "
        + ", ".join(f"{move.at:%T} {move.after}" for move in one.transitions)
        for one in recommendations(loop)
    )


def recommendations(loop: Loop) -> list[Recommendation]:
    return loop.mongo.recommendations.in_states(loop.cluster, State)


def changes(loop: Loop) -> list[Change]:
    return [one for each in CHANGE_STATES for one in loop.mongo.changes.in_state(loop.cluster, each)]


def states(found: list[Change]) -> dict[int, str]:
    return {one.number: one.state for one in found}


def state(pull: dict[str, Any]) -> str:
    return "merged" if pull["merged_at"] else str(pull["state"])


def check_invariants(ran: Ran) -> None:
    """What must hold after every run, however it was disturbed."""
    contents: dict[str, set[str]] = {}
    for seen in ran.records:
        if not seen.topic.endswith(".dlq"):  # what a source adds to a dead letter is its own
            contents.setdefault(seen.event_id, set()).add(_content(seen))
    doubled = {event_id: content for event_id, content in contents.items() if len(content) > 1}
    assert not doubled, f"an event id was published with different content: {doubled}"
    for recommendation in ran.recommendations:
        for entry in recommendation.ledger:
            assert entry.sent
            told = Seen(entry.record.topic, entry.record.headers, entry.record.value)
            assert contents.get(entry.record.event_id) == {_content(told)}, "a ledger tells of another event"
    product = {seen.event_id for seen in ran.records if seen.topic in PRODUCT_TOPICS}
    assert ran.summary["audit_records"] == len(product)
    assert ran.summary["dead_letters"] == 0
    assert ran.stack.eventing is not None
    assert not {name: one for name, one in ran.stack.eventing.counts.items() if one.lost or one.dead_lettered}


def _content(seen: Seen) -> str:
    own = {name: text for name, text in sorted(seen.headers.items()) if name.startswith("ce_")}
    return json.dumps([seen.topic, own, seen.value])


@dataclass(frozen=True)
class Story:
    """How a workload ended, by which states, and what was told of it."""

    state: str
    verdict: str
    path: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What must be the same however often it was delivered and whatever failed meanwhile.

    How many pull requests an Application's changes take is not: each is merged as soon as it is open, so what
    is approved a moment later comes in the next one, and that is a matter of time even when nothing goes
    wrong. Which changes an Application's pull requests hold together is the same, and check_pull_requests
    holds that no change is in two of them.
    """

    stories: dict[str, Story]
    members: dict[str, tuple[str, ...]]


def outcome(ran: Ran) -> Outcome:
    check_pull_requests(ran)
    stories = {
        f"{row['namespace']}/{row['kind']}/{row['name']}": Story(row["state"], row["verdict"])
        for row in ran.rows("skipped")
    }
    for one in ran.recommendations:
        assert one.workload.subject not in stories, f"{one.workload.subject} has two recommendations"
        stories[one.workload.subject] = Story(
            state=one.state,
            verdict=one.outcome or "",
            path=tuple(move.after for move in one.transitions),
            topics=tuple(entry.record.topic for entry in one.ledger),
        )
    subjects = {one.id: one.workload.subject for one in ran.recommendations}
    members: dict[str, list[str]] = {}
    for change in ran.changes:
        members.setdefault(change.application, []).extend(subjects[one] for one in change.members)
    return Outcome(stories, {name: tuple(sorted(held)) for name, held in members.items()})


def check_pull_requests(ran: Ran) -> None:
    """Each change is in exactly one pull request, and the host has no other than the documents tell of."""
    assert states(list(ran.changes)) == {one["number"]: state(one) for one in ran.pulls}
    open_groups = [change.group for change in ran.changes if change.state == "open"]
    assert len(open_groups) == len(set(open_groups)), "a group has two open pull requests"
    held: dict[str, list[int]] = {}
    for change in ran.changes:
        assert change.members, f"{change.id} holds nothing"
        for member in change.members:
            held.setdefault(member, []).append(change.number)
    told = {one.id: [one.pull_request.number] for one in ran.recommendations if one.pull_request is not None}
    assert held == told, "a change is not in the one pull request that its document names"
    emitted = {seen.event_id for seen in ran.records if seen.topic == Topic.GITOPS_PR_CREATED}
    assert len(emitted) == len(held)
