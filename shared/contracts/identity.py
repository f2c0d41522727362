"""Who an event is about, and ids that every repetition computes alike."""

from __future__ import annotations

import hashlib
import json
from typing import NewType

from pydantic import BaseModel, ConfigDict

RecommendationId = NewType("RecommendationId", str)
EventId = NewType("EventId", str)


class Workload(BaseModel):
    """A controller that owns pods, in one cluster."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    cluster: str
    namespace: str
    kind: str
    name: str

    @property
    def key(self) -> str:
        """`<cluster>/<namespace>/<kind>/<name>`: Kafka's partition key."""
        return f"{self.cluster}/{self.namespace}/{self.kind}/{self.name}"

    @property
    def subject(self) -> str:
        """`<namespace>/<kind>/<name>`: the CloudEvents subject."""
        return f"{self.namespace}/{self.kind}/{self.name}"

    @classmethod
    def of_subject(cls, cluster: str, subject: str) -> Workload:
        """The workload that `subject` names.

        Raises:
            ValueError: the subject has not the three parts.
        """
        namespace, kind, name = subject.split("/")
        return cls(cluster=cluster, namespace=namespace, kind=kind, name=name)


def digest(*parts: str) -> str:
    """Hex sha256 over the parts; as a JSON array, so that no two lists of parts can collide."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def recommendation_id(scan_id: str, workload: Workload) -> RecommendationId:
    return RecommendationId(
        digest(scan_id, workload.cluster, workload.namespace, workload.kind, workload.name)
    )


def event_id(event_type: str, subject_id: str) -> EventId:
    """The id of the one event of `event_type` about a recommendation (or a scan's shard)."""
    return EventId(digest(event_type, subject_id))


def tick_id(event_type: str, cluster: str, schedule: str, slot: str) -> EventId:
    """The id of a schedule's slot: doubled ticks collapse into it, and a lost one is healed by the next."""
    return EventId(digest(event_type, cluster, schedule, slot))
