"""What comes from outside into a running loop: people and their policies, forged webhooks, poison."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from confluent_kafka import Producer

from infra.emulator.run import Loop
from infra.emulator.watcher import Seen
from shared.contracts.documents import Recommendation
from shared.contracts.policy import Policy
from shared.contracts.states import State
from shared.contracts.topics import Topic
from tests.e2e.deliveries import Deliveries
from tests.e2e.loops import GitHost, Ran, finish, recommendations, started, ticking
from tests.waiting import until

Headers = list[tuple[str, str | bytes | None]]


@pytest.fixture(scope="module")
def deliveries() -> Deliveries:
    return Deliveries()


@pytest.fixture(scope="module")
def loop(deliveries: Deliveries, past: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """Here every change waits for a person."""
    with started(tmp_path_factory.mktemp("outside"), past=past, on_delivery=deliveries.saw) as loop:
        first = next(one for one in loop.mongo.policies.active() if one.name == "rightsizing")
        document = first.model_dump(mode="json")
        document["version"] += 1
        document["rules"]["approval_above_monthly_saving"] = {"amount": "0.01", "currency": "USD"}
        loop.mongo.policies.put(Policy.model_validate(document))
        yield loop


@pytest.fixture(scope="module")
def host(loop: Loop) -> Iterator[GitHost]:
    host = GitHost(loop.stack)
    yield host
    host.end()


@dataclass(frozen=True)
class Paused:
    """What there was while a policy paused all changes, and how the loop ended when it did no longer."""

    pulls: list[dict[str, Any]]
    states: set[State]
    ran: Ran


@pytest.fixture(scope="module")
def paused(loop: Loop, host: GitHost, deliveries: Deliveries) -> Paused:
    """Pauses between policy and gitops: the Git host is away until all is approved and the pause is known."""
    freeze = {"name": "freeze", "rules": {"pause": True}}
    loop.stack.standins["github"].stop()
    seen: list[tuple[list[dict[str, Any]], set[State]]] = []

    def answered() -> Counter[int | None]:
        return Counter(
            attempt.status
            for attempt in deliveries.attempts
            if attempt.place[1] == "recommendation.approved" and attempt.stage == "gitops"
        )

    def disturb(_elapsed: float) -> None:
        if seen:
            return
        found = recommendations(loop)
        if not found or State.CREATED in {one.state for one in found} or not answered()[503]:
            return
        loop.mongo.policies.put(Policy.model_validate({**freeze, "version": 1}))
        loop.stack.standins["github"].start()
        approved = sum(one.state is State.APPROVED for one in found)
        # Each was delivered, and a tick after it as well: whatever would open one has had its turn.
        until(lambda: answered()[200] == approved, within=30)
        assert loop.stack.eventing is not None
        before = len(ticks(deliveries))
        ticking(loop, lambda: len(ticks(deliveries)) >= before + 2)
        seen.append((host.pulls(), {one.state for one in recommendations(loop)}))
        loop.mongo.policies.put(Policy.model_validate({"name": "freeze", "version": 2, "rules": {}}))

    ran = finish(loop, disturb)
    pulls, states = seen[0]
    return Paused(pulls, states, ran)


def ticks(deliveries: Deliveries) -> list[object]:
    """The ticks that gitops has answered."""
    return [
        attempt
        for attempt in deliveries.attempts
        if attempt.stage == "gitops"
        and attempt.place[1] == Topic.RECONCILE_REQUESTED
        and attempt.status == 200
    ]


def of_application(found: list[Recommendation], application: str) -> list[Recommendation]:
    return [one for one in found if one.application == application]


def waiting(ran: Ran, application: str) -> int:
    """The number of the Application's pull request that waits for a person."""
    (change,) = [one for one in ran.changes if one.application == application and one.state == "open"]
    assert change.awaits_approval
    return change.number


def told(loop: Loop, topic: Topic, recommendation_id: str) -> list[dict[str, Any]]:
    """The data of each different event in the topic that tells of the recommendation."""
    events = {seen.event_id: seen.data() for seen in loop.watcher.records if seen.topic == topic}
    return [data for data in events.values() if data.get("recommendation_id") == recommendation_id]


def is_told_once(loop: Loop, topic: Topic, recommendation_id: str) -> bool:
    return len(told(loop, topic, recommendation_id)) == 1


def test_while_a_policy_pauses_no_pull_request_opens_and_then_the_next_tick_goes_on(paused: Paused) -> None:
    assert paused.pulls == []
    assert paused.states == {State.APPROVED, State.VIOLATED}
    assert paused.ran.pulls
    assert paused.ran.rows("pr_open")


def test_nothing_is_merged_before_a_person_approved_it(paused: Paused) -> None:
    assert {one["state"] for one in paused.ran.pulls} == {"open"}
    assert paused.ran.before == paused.ran.after


def test_what_a_person_approves_and_merges_is_applied(loop: Loop, host: GitHost, paused: Paused) -> None:
    number = waiting(paused.ran, "warehouse")
    host.approve(number)
    host.merge(number)
    mine = [one.id for one in of_application(recommendations(loop), "warehouse")]
    assert mine
    ticking(
        loop,
        lambda: all(
            one.state is State.APPLIED
            for one in of_application(recommendations(loop), "warehouse")
            if one.id in mine
        ),
    )
    for recommendation_id in mine:
        until(partial(is_told_once, loop, Topic.CHANGE_APPLIED, recommendation_id))


def test_what_a_person_closes_is_closed_and_not_proposed_again(
    loop: Loop, host: GitHost, paused: Paused
) -> None:
    number = waiting(paused.ran, "search")
    host.close(number)

    def search() -> list[Recommendation]:
        return of_application(recommendations(loop), "search")

    before = search()
    ticking(loop, lambda: {one.state for one in search()} == {State.CLOSED})
    for one in before:
        until(partial(is_told_once, loop, Topic.CHANGE_FAILED, one.id))
        (failed,) = told(loop, Topic.CHANGE_FAILED, one.id)
        assert failed["reason"] == "closed_by_person"
        assert "alice" in failed["message"]

    reports = len(loop.reports())
    loop.scan()
    until(lambda: len(loop.reports()) > reports, within=30)
    latest = max(loop.reports(), key=lambda report: str(report["scanned_at"]))
    subjects = {one.workload.subject for one in before}
    for entry in latest["workloads"]:
        workload = entry["workload"]
        if f"{workload['namespace']}/{workload['kind']}/{workload['name']}" in subjects:
            subjects.remove(f"{workload['namespace']}/{workload['kind']}/{workload['name']}")
            assert entry["decision"] == "skipped"
            assert "is closed" in entry["reason"]
    assert not subjects
    assert loop.wait().done
    assert {one.id for one in search()} == {one.id for one in before}
    assert [one["number"] for one in host.pulls() if one["head"]["ref"].endswith("/search")] == [number]


def reconcile_requests(loop: Loop, marker: str) -> list[Seen]:
    return [seen for seen in loop.watcher.records if marker in seen.value]


def test_a_forged_github_webhook_is_refused_and_emits_nothing(loop: Loop) -> None:
    secret = loop.stack.environment["GITHUB_WEBHOOK_SECRET"]

    def post(repository: str, sign: Callable[[bytes], str | None]) -> int:
        body = json.dumps({"repository": {"full_name": repository}, "pull_request": {"number": 1}}).encode()
        signature = sign(body)
        headers = {"X-GitHub-Event": "pull_request", "X-GitHub-Delivery": repository}
        headers |= {"X-Hub-Signature-256": signature} if signature else {}
        return receive(loop, "github", body, headers)

    def signed(body: bytes, key: str = secret) -> str:
        return f"sha256={hmac.new(key.encode(), body, hashlib.sha256).hexdigest()}"

    assert post("forged/unsigned", lambda _: None) == 401
    assert post("forged/nonsense", lambda _: "sha256=00") == 401
    assert post("forged/other-secret", lambda body: signed(body, "guess")) == 401
    assert post("forged/other-body", lambda body: signed(body + b" ")) == 401
    # All of them share a partition: when the valid one is there, the others would have come before it.
    assert post("valid/signed", signed) == 200
    until(lambda: bool(reconcile_requests(loop, "valid/signed")))
    assert len(reconcile_requests(loop, "valid/signed")) == 1
    assert not reconcile_requests(loop, "forged/")


def test_a_forged_argocd_notification_is_refused_and_emits_nothing(loop: Loop) -> None:
    token = loop.stack.environment["ARGOCD_WEBHOOK_TOKEN"]

    def post(application: str, authorization: str | None) -> int:
        finished = datetime.now(UTC).isoformat()
        body = json.dumps({"data": {"app": application, "finishedAt": finished, "phase": "Succeeded"}})
        headers = {"Authorization": authorization} if authorization else {}
        return receive(loop, "argocd", body.encode(), headers)

    assert post("forged-without", None) == 401
    assert post("forged-guess", "Bearer guess") == 401
    assert post("forged-basic", f"Basic {token}") == 401
    assert post("valid-app", f"Bearer {token}") == 200
    until(lambda: bool(reconcile_requests(loop, "valid-app")))
    assert len(reconcile_requests(loop, "valid-app")) == 1
    assert not reconcile_requests(loop, "forged-")


def receive(loop: Loop, path: str, body: bytes, headers: dict[str, str]) -> int:
    assert loop.stack.functions is not None
    url = f"{loop.stack.functions['receiver'].url}/webhooks/{path}"
    return requests.post(url, data=body, headers=headers, timeout=5).status_code


# Who reads each topic, and so refuses what it cannot read.
READERS = {
    Topic.SCAN_REQUESTED: {"recommender"},
    Topic.RECONCILE_REQUESTED: {"gitops", "argocd"},
    Topic.RECOMMENDATION_CREATED: {"policy", "audit"},
    Topic.GITOPS_PR_CREATED: {"argocd", "audit"},
}
REASONS = {
    "no event": r"no CloudEvent.*",
    "unknown type": r"event type 'x\.y\.z' is not answered here; answered: io\.kubefinops\..*",
    "wrong data": r"[A-Z][A-Za-z]+: \w+: .+",
    "broken JSON": r"io\.kubefinops\..*: the data is no JSON document",
}


def reason_of(letter: Seen) -> str:
    """The kind of reason in a dead letter. Raises StopIteration where it is none of those expected."""
    text = base64.b64decode(letter.headers["ce_knativeerrordata"], validate=True).decode()
    return next(kind for kind, pattern in REASONS.items() if re.fullmatch(pattern, text))


def test_poison_becomes_a_dead_letter_with_a_readable_reason_and_the_loop_goes_on(
    loop: Loop, host: GitHost, paused: Paused
) -> None:
    # Quiet: where this fails, its frame keeps the producer, which would speak into the output of later tests.
    servers = loop.stack.environment["KAFKA_BOOTSTRAP_SERVERS"]
    producer = Producer({"bootstrap.servers": servers, "log_level": 0})
    for topic in READERS:
        good = next(seen for seen in paused.ran.records if seen.topic == topic)
        right: Headers = [(name, text.encode()) for name, text in good.headers.items()]
        wrong: Headers = [(name, b"x.y.z" if name == "ce_type" else text) for name, text in right]
        producer.produce(topic, value=b"{}", headers=[("content-type", b"application/json")])
        producer.produce(topic, value=good.value.encode(), headers=wrong)
        producer.produce(topic, value=b'{"cluster": 1}', headers=right)
        producer.produce(topic, value=b"{not json", headers=right)
    producer.flush(10)

    def letters(topic: Topic) -> list[Seen]:
        return [seen for seen in loop.watcher.records if seen.topic == topic.dead_letters]

    def has(topic: Topic, count: int) -> bool:
        return len(letters(topic)) >= count

    for topic, stages in READERS.items():
        wanted = sorted((stage, kind) for stage in stages for kind in REASONS)
        until(partial(has, topic, len(wanted)), within=20)
        found = [(letter.headers["ce_stage"], reason_of(letter)) for letter in letters(topic)]
        assert sorted(found) == wanted

    # From a scan to the cluster by way of all these topics: what was denied may be changed from now on.
    before = {one.id for one in recommendations(loop)}
    rules = {"protected_namespaces": ["kube-*"]}
    loop.mongo.policies.put(Policy.model_validate({"name": "hands-off", "version": 2, "rules": rules}))
    loop.scan()

    def meant() -> list[Recommendation]:
        found = recommendations(loop)
        return [one for one in found if one.id not in before and one.workload.namespace == "payments"]

    ticking(loop, lambda: {one.state for one in meant()} == {State.PR_OPEN} and len(meant()) == 2)
    for number in {one.pull_request.number for one in meant() if one.pull_request is not None}:
        host.approve(number)
        host.merge(number)
    ticking(loop, lambda: {one.state for one in meant()} == {State.APPLIED})
    events = [entry.record.event_id for one in meant() for entry in one.ledger]
    rows = loop.mongo.database["reports"]
    until(lambda: all(rows.count_documents({"kind": "audit", "event_id": one}) == 1 for one in events))
