"""Kafka topics and the CloudEvents type that each carries."""

from __future__ import annotations

from enum import StrEnum

PREFIX = "io.kubefinops."
VERSION = ".v1"


class Topic(StrEnum):
    SCAN_REQUESTED = "scan.requested"
    RECONCILE_REQUESTED = "reconcile.requested"
    RECOMMENDATION_CREATED = "recommendation.created"
    RECOMMENDATION_APPROVED = "recommendation.approved"
    POLICY_VIOLATED = "policy.violated"
    GITOPS_PR_CREATED = "gitops.pr.created"
    CHANGE_APPLIED = "change.applied"
    CHANGE_FAILED = "change.failed"

    @property
    def event_type(self) -> str:
        """The CloudEvents `type` of this topic's events."""
        return f"{PREFIX}{self.value}{VERSION}"

    @property
    def dead_letters(self) -> str:
        """The topic that holds what could not be delivered."""
        return f"{self.value}.dlq"


# The product's own six: what `audit` records. The other two are requests to look, not facts.
PRODUCT_TOPICS = (
    Topic.RECOMMENDATION_CREATED,
    Topic.RECOMMENDATION_APPROVED,
    Topic.POLICY_VIOLATED,
    Topic.GITOPS_PR_CREATED,
    Topic.CHANGE_APPLIED,
    Topic.CHANGE_FAILED,
)

TOPIC_OF_TYPE = {topic.event_type: topic for topic in Topic}
