"""A recommendation's story as `kubefinops status` tells it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from functions.policy.judging import judge
from infra.cli.status import since, story, told_by
from shared.contracts.documents import Entry, Recommendation, Transition
from shared.contracts.events import ChangeApplied, Payload, Resources
from shared.contracts.money import Money
from shared.contracts.states import State
from tests.examples import CHECKOUT, MIB, NOW, container, created, draft, event


def entry(data: Payload, cause: str) -> Entry:
    return Entry(cause=cause, record=event(data).record(), at=NOW, sent=True)


def move(before: State | None, after: State, cause: str) -> Transition:
    return Transition(before=before, after=after, at=NOW, stage="argocd", cause=cause)


def test_of_two_moves_with_one_cause_each_is_told_by_its_own_event() -> None:
    applied = ChangeApplied(
        recommendation_id="r",
        workload=CHECKOUT,
        application="shop",
        revision="r1",
        merge_commit="m1",
        url="http://git/1",
        applied_at=NOW + timedelta(minutes=1),
        monthly_saving=Money(amount=Decimal(1)),
    )
    item = draft().model_copy(
        update={
            "transitions": (
                move(None, State.CREATED, "scan"),
                move(State.PR_OPEN, State.MERGED, "tick"),
                move(State.MERGED, State.APPLIED, "tick"),
            ),
            "ledger": (entry(created(), "scan"), entry(applied, "tick")),
        }
    )
    told = [told_by(item, each) for each in item.transitions]
    assert [each.record.topic if each else None for each in told] == [
        "recommendation.created",
        None,
        "change.applied",
    ]


def judged(engine: Resources) -> Recommendation:
    current = Resources(cpu_request_m=1000, cpu_limit_m=2000, memory_request_bytes=1024 * MIB)
    one = container(current=current, proposed=engine).model_copy(
        update={"reasons": ("CPU request 1 -> 115m: p95", "CPU limit 2 -> 230m: scales")}
    )
    proposal = created(containers=(one,))
    outcome = judge(proposal, [])
    return draft(proposal).model_copy(
        update={
            "containers": outcome.containers,
            "verdicts": outcome.verdicts,
            "outcome": outcome.outcome,
            "policies": outcome.policies,
        }
    )


def test_the_headline_has_every_value_and_the_reasons_say_what_policy_made_of_them() -> None:
    lines = list(story(judged(Resources(cpu_request_m=115, cpu_limit_m=230, memory_request_bytes=700 * MIB))))
    assert lines[1:4] == [
        "app: CPU request 1 -> 500m, CPU limit 2 -> 1, memory request 1Gi -> 700Mi",
        "  CPU request 1 -> 115m: p95; clamped to 500m by policy default v1",
        "  CPU limit 2 -> 230m: scales; clamped to 1 by policy default v1",
    ]
    assert (
        "policy default v1, max_step_down_percent (app): clamp:"
        " CPU request 115m -> 500m: steps down of at most 50%"
    ) in lines


def test_a_value_that_policy_left_alone_has_the_engines_reason_only() -> None:
    lines = list(
        story(judged(Resources(cpu_request_m=600, cpu_limit_m=2000, memory_request_bytes=700 * MIB)))
    )
    assert lines[1] == "app: CPU request 1 -> 600m, CPU limit 2, memory request 1Gi -> 700Mi"
    assert not any("clamped" in line for line in lines)


def test_a_container_that_is_not_in_git_is_told_as_left_alone() -> None:
    item = judged(Resources(cpu_request_m=600)).model_copy(update={"not_in_git": ("istio-proxy",)})
    said = "left as it is: its manifest in Git does not have it, most likely it is injected at admission"
    assert f"istio-proxy: {said}" in list(story(item))


def test_the_time_of_today_and_the_date_of_before() -> None:
    today = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)
    assert since(NOW, today) == "12:00:00"
    assert since(NOW - timedelta(days=1), today) == "2026-11-22"
