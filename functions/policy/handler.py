"""Judges a created recommendation and moves it to approved or violated."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from functions.policy.judging import SEVERITY, judge
from shared.contracts.decision import Decision
from shared.contracts.documents import Recommendation
from shared.contracts.events import (
    Outcome,
    PolicyViolated,
    RecommendationApproved,
    RecommendationCreated,
    Verdict,
    small,
)
from shared.contracts.policy import Policy
from shared.contracts.states import State
from shared.runtime.ledger import Ledger

if TYPE_CHECKING:
    from shared.adapters.mongo import Policies
    from shared.contracts.envelope import Event

# An event is to stay under 64 KiB, its envelope included.
MOST_CONTAINER_BYTES = 32 * 1024
MOST_VERDICT_BYTES = 20 * 1024


class PolicyHandler:
    def __init__(self, ledger: Ledger, policies: Policies) -> None:
        self._ledger = ledger
        self._policies = policies

    def handle(self, event: Event) -> None:
        """Has every active policy judge the recommendation. Raises Temporary."""
        assert isinstance(event.data, RecommendationCreated)
        policies = self._policies.active()
        self._ledger.settle(
            event.data.recommendation_id, event, {State.CREATED}, partial(decide, policies=policies)
        )


def decide(recommendation: Recommendation, *, policies: list[Policy]) -> Decision:
    """The verdicts on the proposal, and the state and event that follow from them."""
    judged = judge(recommendation.proposal, policies)
    facts: dict[str, object] = {
        "outcome": judged.outcome,
        "verdicts": judged.verdicts,
        "policies": judged.policies,
        "containers": judged.containers,
        "monthly_saving": judged.monthly_saving,
    }
    told = _told(judged.verdicts)
    common = {
        "recommendation_id": recommendation.id,
        "workload": recommendation.workload,
        **facts,
        "containers": small(judged.containers, MOST_CONTAINER_BYTES),
        "verdicts": told,
        "verdicts_left_out": len(judged.verdicts) - len(told),
    }
    if judged.outcome is Outcome.DENY:
        violated = PolicyViolated.model_validate({**common, "reason": judged.reason})
        return Decision(State.VIOLATED, violated, {**facts, "reason": "policy", "message": judged.reason})
    return Decision(State.APPROVED, RecommendationApproved.model_validate(common), facts)


def _told(verdicts: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
    """As many as an event has room for, in their order; the mildest are left out first."""
    room = MOST_VERDICT_BYTES
    kept = set()
    for index in sorted(range(len(verdicts)), key=lambda at: -SEVERITY.index(verdicts[at].outcome)):
        room -= len(verdicts[index].model_dump_json())
        if room < 0:
            break
        kept.add(index)
    return tuple(verdict for index, verdict in enumerate(verdicts) if index in kept)
