from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.policy.handler import decide
from functions.policy.judging import Judged, judge
from shared.contracts.events import Outcome, RecommendationApproved, Resources
from shared.contracts.identity import Workload
from shared.contracts.policy import DEFAULT_POLICY, Policy
from shared.contracts.wording import clamps
from tests.examples import MIB, container, created, draft, event, resources


def policy(name: str = "p", **rules: Any) -> Policy:
    return Policy.model_validate({"name": name, "version": 3, "rules": rules})


def cpu(request: int | None, limit: int | None) -> Resources:
    return Resources(cpu_request_m=request, cpu_limit_m=limit)


def outcome_of(judged: Judged, rule: str) -> Outcome:
    return next(verdict.outcome for verdict in judged.verdicts if verdict.rule == rule)


def test_a_proposal_that_no_rule_minds_is_allowed_unchanged() -> None:
    proposal = created()
    judged = judge(proposal, [policy(minimum_history_hours=24)])
    assert judged.outcome is Outcome.ALLOW
    assert judged.containers == proposal.containers


def test_a_rollout_is_judged_as_any_kind_and_a_memory_request_that_is_not_set_stays_so() -> None:
    rollout = Workload(cluster="local", namespace="shop", kind="Rollout", name="checkout")
    unset = container(
        current=Resources(cpu_request_m=1000, memory_limit_bytes=1024 * MIB),
        proposed=Resources(cpu_request_m=300, memory_limit_bytes=1024 * MIB),
    )
    careful = policy(max_step_down_percent=50, memory_floor="2Gi", memory_ceiling="64Mi")
    judged = judge(created(rollout, containers=(unset,)), [careful])
    assert judged.outcome is Outcome.CLAMP
    assert judged.containers[0].proposed == Resources(cpu_request_m=500, memory_limit_bytes=1024 * MIB)


def test_the_verdict_names_policy_version_message_and_inputs() -> None:
    verdict = judge(created(history_hours=12), [policy(minimum_history_hours=24)]).verdicts[0]
    assert (verdict.policy, verdict.version, verdict.rule) == ("p", 3, "minimum_history_hours")
    assert verdict.message == "12.0 h of history, 24 h wanted"
    assert verdict.inputs == {"history_hours": "12.00", "minimum": "24.0"}


@pytest.mark.parametrize(
    ("rules", "proposal", "expected"),
    [
        ({"pause": True}, created(), Outcome.DENY),
        ({"protected_namespaces": ["sh*"]}, created(), Outcome.DENY),
        ({"protected_namespaces": ["kube-*"]}, created(), Outcome.ALLOW),
        ({"minimum_history_hours": 24}, created(history_hours=23), Outcome.DENY),
        ({"minimum_history_hours": 24}, created(history_hours=24), Outcome.ALLOW),
        ({"minimum_confidence": 0.5}, created(confidence=0.4), Outcome.DENY),
        ({"minimum_confidence": 0.5}, created(confidence=0.5), Outcome.ALLOW),
        ({"minimum_monthly_saving": {"amount": "5"}}, created(saving="4.99"), Outcome.DENY),
        ({"minimum_monthly_saving": {"amount": "5"}}, created(saving="5"), Outcome.ALLOW),
        ({"minimum_monthly_saving": {"amount": "5", "currency": "EUR"}}, created(), Outcome.DENY),
        ({"approval_above_monthly_saving": {"amount": "39"}}, created(saving="40"), Outcome.REQUIRE_APPROVAL),
        (
            {"approval_above_monthly_saving": {"amount": "39"}},
            created(saving="-40"),
            Outcome.REQUIRE_APPROVAL,
        ),
        ({"approval_above_monthly_saving": {"amount": "40"}}, created(saving="40"), Outcome.ALLOW),
        ({"approval_above_monthly_saving": {"amount": "1", "currency": "EUR"}}, created(), Outcome.DENY),
    ],
)
def test_each_rule_that_judges_the_whole(rules: dict[str, Any], proposal: Any, expected: Outcome) -> None:
    assert judge(proposal, [policy(**rules)]).outcome is expected


def test_a_raise_is_not_denied_for_saving_nothing() -> None:
    raised = container(current=resources(100, 256, 256), proposed=resources(100, 512, 512))
    proposal = created(containers=(raised,), saving="-3")
    assert judge(proposal, [policy(minimum_monthly_saving={"amount": "5"})]).outcome is Outcome.ALLOW


def test_a_step_is_clamped_and_both_values_are_told() -> None:
    big = container(current=resources(1000, 1024), proposed=resources(100, 100))
    judged = judge(created(containers=(big,)), [policy(max_step_down_percent=50)])
    assert judged.outcome is Outcome.CLAMP
    assert judged.containers[0].proposed.cpu_request_m == 500
    assert judged.containers[0].proposed.memory_request_bytes == 512 * MIB
    assert judged.verdicts[0].inputs == {"before": "100", "after": "500", "current": "1000"}


@pytest.mark.parametrize(
    ("now", "wanted", "rules", "left"),
    [
        (512, 100, {"max_step_down_percent": 30}, 359),  # 358.4Mi would be 375809639 in the manifest
        (512, 900, {"max_step_up_percent": 15}, 588),  # not 588.8Mi: a step up stays below
        (8, 4, {"max_step_down_percent": 10}, 8),  # 7.2Mi; what is set is never left for a whole MiB
        (8, 32, {"max_step_up_percent": 10}, 8),
    ],
)
def test_a_step_of_memory_ends_at_a_whole_mebibyte(
    now: int, wanted: int, rules: dict[str, Any], left: int
) -> None:
    one = container(current=resources(100, now), proposed=resources(100, wanted))
    judged = judge(created(containers=(one,)), [policy(**rules)])
    assert judged.containers[0].proposed.memory_request_bytes == left * MIB


def test_a_clamp_takes_its_part_of_the_saving_back() -> None:
    big = container(current=resources(1000, 1024), proposed=resources(500, 1024))
    small_step = [policy(max_step_down_percent=25)]
    judged = judge(created(containers=(big,)), small_step)
    # 250m of a core, on average on three pods, for a month of 730 hours.
    expected = Decimal("0.25") * 3 * 730 * Decimal("0.031611")
    assert judged.monthly_saving.amount == expected.quantize(Decimal("0.01"))


def test_what_an_init_container_keeps_reserved_is_not_saved() -> None:
    big = container(current=resources(1000, 1024), proposed=resources(500, 1024))
    held = created(containers=(big,)).model_copy(update={"held_at_least": Resources(cpu_request_m=900)})
    judged = judge(held, [policy(max_step_down_percent=25)])
    # Of the 250m that the clamp leaves, 100m.
    expected = Decimal("0.1") * 3 * 730 * Decimal("0.031611")
    assert abs(judged.monthly_saving.amount - expected) <= Decimal("0.01")


def test_the_saving_of_a_job_counts_the_time_that_it_runs() -> None:
    big = container(current=resources(1000, 1024), proposed=resources(500, 1024))
    rarely = created(containers=(big,)).model_copy(update={"pods": 0.05})
    judged = judge(rarely, [policy(max_step_down_percent=25)])
    assert judged.monthly_saving.amount == Decimal("0.29")


def test_floor_and_ceiling_hold() -> None:
    tiny = container(current=resources(100, 64), proposed=resources(2, 4))
    judged = judge(created(containers=(tiny,)), [policy(cpu_floor="10m", memory_floor="32Mi")])
    assert judged.containers[0].proposed == resources(10, 32)
    huge = container(current=resources(100, 64), proposed=resources(9000, 9000))
    judged = judge(created(containers=(huge,)), [policy(cpu_ceiling="4", memory_ceiling="2Gi")])
    assert judged.containers[0].proposed == resources(4000, 2048)


def test_rules_that_leave_no_value_deny() -> None:
    up = container(current=resources(100, 64), proposed=resources(400, 64))
    judged = judge(
        created(containers=(up,)), [policy("a", cpu_floor="300m"), policy("b", max_step_up_percent=100)]
    )
    assert judged.outcome is Outcome.DENY
    assert "leave no value (at least 300m, at most 200m)" in judged.reason


def test_the_most_restrictive_verdict_wins_and_all_are_kept() -> None:
    judged = judge(
        created(),
        [policy("a", approval_above_monthly_saving={"amount": "1"}), policy("b", pause=True)],
    )
    assert judged.outcome is Outcome.DENY
    assert outcome_of(judged, "approval_above_monthly_saving") is Outcome.REQUIRE_APPROVAL
    assert judged.policies == {"a": 3, "b": 3}


ELSEWHERE = Policy.model_validate(
    {"name": "x", "version": 1, "namespaces": ["batch-*"], "rules": {"pause": True}}
)


def test_a_policy_judges_only_where_it_applies() -> None:
    assert judge(created(), [ELSEWHERE, policy()]).outcome is Outcome.ALLOW


def test_where_no_stored_policy_applies_the_default_does() -> None:
    dns = Workload(cluster="local", namespace="kube-system", kind="Deployment", name="coredns")
    judged = judge(created(dns), [ELSEWHERE])
    assert judged.outcome is Outcome.DENY
    assert judged.policies == {"default": 1}


def test_a_ceiling_does_not_change_the_qos_class() -> None:
    guaranteed = container(current=resources(100, 8192, 8192), proposed=resources(100, 6144, 6144))
    judged = judge(created(containers=(guaranteed,)), [policy(memory_ceiling="5Gi")])
    assert judged.containers[0].proposed == resources(100, 5120, 5120)
    burstable = container(current=resources(100, 4096, 8192), proposed=resources(100, 6144, 8000))
    judged = judge(created(containers=(burstable,)), [policy(memory_ceiling="5Gi")])
    assert judged.containers[0].proposed == resources(100, 5120, 8000)


def test_the_default_protects_the_control_plane() -> None:
    dns = Workload(cluster="local", namespace="kube-system", kind="Deployment", name="coredns")
    assert judge(created(dns), [DEFAULT_POLICY]).outcome is Outcome.DENY


def test_a_request_is_never_left_above_its_limit() -> None:
    pinched = container(current=resources(100, 1000, 1000), proposed=resources(100, 900, 300))
    proposed = judge(created(containers=(pinched,)), [policy(memory_ceiling="800Mi")]).containers[0].proposed
    assert proposed.memory_request_bytes == 800 * MIB
    assert proposed.memory_limit_bytes == 800 * MIB


@pytest.mark.parametrize(
    ("current", "proposed", "rules", "left", "said"),
    [
        (
            cpu(100, 20),
            cpu(4, 20),
            {"cpu_floor": "50m"},
            cpu(50, 50),
            {"cpu_floor": "CPU limit 20m -> 50m: at least 50m of CPU; the CPU limit follows the CPU request"},
        ),
        (
            cpu(None, 100),
            cpu(300, 400),
            {"max_step_up_percent": 100},
            cpu(200, 200),
            {
                "max_step_up_percent": "CPU request 300m -> 200m: steps up of at most 100%;"
                " the CPU request follows the CPU limit"
            },
        ),
    ],
    ids=["the limit follows", "the request follows"],
)
def test_what_follows_another_value_is_clamped_by_the_rule_that_moved_that(
    current: Resources, proposed: Resources, rules: dict[str, Any], left: Resources, said: dict[str, str]
) -> None:
    one = container(current=current, proposed=proposed)
    judged = judge(created(containers=(one,)), [policy(**rules)])
    assert judged.outcome is Outcome.CLAMP
    assert judged.containers[0].proposed == left
    assert {verdict.rule: verdict.message for verdict in judged.verdicts} == said
    assert all(by for _, _, by in clamps(one, judged.containers[0], judged.verdicts))


@pytest.mark.parametrize(
    ("current", "proposed", "rules"),
    [
        # The limit may not go up so far, nor the request down.
        (
            cpu(None, 100),
            cpu(5, 110),
            {"cpu_floor": "500m", "max_step_up_percent": 100},
        ),
        (cpu(300, 300), cpu(300, 400), {"cpu_ceiling": "200m"}),
    ],
)
def test_a_request_and_a_limit_that_no_rule_lets_fit_deny(
    current: Resources, proposed: Resources, rules: dict[str, Any]
) -> None:
    judged = judge(created(containers=(container(current=current, proposed=proposed),)), [policy(**rules)])
    assert judged.outcome is Outcome.DENY
    assert judged.reason.startswith("app: CPU ")


@given(
    now=st.tuples(*[st.none() | st.integers(1, 2000)] * 2),
    wanted=st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
    up=st.none() | st.floats(1, 400),
    down=st.none() | st.floats(1, 100),
    floor=st.none() | st.integers(1, 1000),
    ceiling=st.none() | st.integers(500, 2000),
)
def test_no_value_moves_without_a_rule_that_says_so(
    *,
    now: tuple[int | None, int | None],
    wanted: tuple[int, int],
    up: float | None,
    down: float | None,
    floor: int | None,
    ceiling: int | None,
) -> None:
    one = container(
        current=cpu(now[0], now[1]),
        proposed=cpu(min(wanted), None if now[1] is None else max(wanted)),
    )
    rules: dict[str, Any] = {
        "max_step_up_percent": up, "max_step_down_percent": down, "cpu_floor": floor, "cpu_ceiling": ceiling,
    }  # fmt: skip
    judged = judge(created(containers=(one,)), [policy(**rules)])
    if judged.outcome is Outcome.DENY:
        return
    left = judged.containers[0].proposed
    assert left.cpu_request_m is not None
    assert left.cpu_limit_m is None or left.cpu_request_m <= left.cpu_limit_m
    for field, _, by in clamps(one, judged.containers[0], judged.verdicts):
        assert str(getattr(left, field)) in {verdict.inputs["after"] for verdict in by}


@given(
    current=st.integers(1, 64_000),
    proposed=st.integers(1, 64_000),
    down=st.floats(1, 100),
    up=st.floats(1, 400),
    floor=st.integers(1, 500),
    ceiling=st.integers(500, 64_000),
)
def test_whatever_is_not_denied_lies_in_every_interval(
    *, current: int, proposed: int, down: float, up: float, floor: int, ceiling: int
) -> None:
    one = container(current=resources(current, 64), proposed=resources(proposed, 64))
    judged = judge(
        created(containers=(one,)),
        [policy(max_step_down_percent=down, max_step_up_percent=up, cpu_floor=floor, cpu_ceiling=ceiling)],
    )
    value = judged.containers[0].proposed.cpu_request_m
    assert value is not None
    if judged.outcome is Outcome.DENY or proposed == current:
        return
    assert current * (1 - down / 100) <= value <= current * (1 + up / 100)
    assert floor <= value <= ceiling


def test_an_event_has_room_for_the_verdicts_that_matter_and_the_document_has_all() -> None:
    proposal = created(containers=tuple(container(f"container-{number:02}") for number in range(60)))
    policies = [
        policy("steps", max_step_down_percent=10, cpu_floor="950m", memory_floor="1000Mi"),
        policy("more-steps", max_step_down_percent=5, approval_above_monthly_saving={"amount": "1"}),
    ]
    decision = decide(draft(proposal), policies=policies)
    told, kept = decision.payload, decision.facts["verdicts"]
    assert isinstance(told, RecommendationApproved)
    assert isinstance(kept, tuple)
    assert len(event(told).record().value) < 64 * 1024
    assert len(told.verdicts) + told.verdicts_left_out == len(kept)
    assert told.verdicts_left_out > 0
    assert [one for one in told.verdicts if one.outcome is Outcome.REQUIRE_APPROVAL] == [
        one for one in kept if one.outcome is Outcome.REQUIRE_APPROVAL
    ]
