"""Judges a created recommendation and moves it to approved or violated."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from functions.policy.judging import judge
from shared.contracts.documents import Recommendation
from shared.contracts.events import (
    Outcome,
    PolicyViolated,
    RecommendationApproved,
    RecommendationCreated,
)
from shared.contracts.policy import Policy
from shared.contracts.states import State
from shared.runtime.ledger import Decision, Ledger

if TYPE_CHECKING:
    from shared.adapters.mongo import Policies
    from shared.contracts.envelope import Event


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
    common = {
        "recommendation_id": recommendation.id,
        "workload": recommendation.workload,
        **facts,
    }
    if judged.outcome is Outcome.DENY:
        violated = PolicyViolated.model_validate({**common, "reason": judged.reason})
        return Decision(State.VIOLATED, violated, {**facts, "reason": "policy", "message": judged.reason})
    return Decision(State.APPROVED, RecommendationApproved.model_validate(common), facts)
