"""What argocd reads from its environment."""

from __future__ import annotations

from pydantic import Field

from shared.runtime.settings import ArgoCDSettings, GitHostSettings, KafkaSettings, MongoSettings


class RolloutSettings(KafkaSettings, MongoSettings, GitHostSettings, ArgoCDSettings):
    deadline_minutes: int = Field(
        60,
        alias="KUBEFINOPS_APPLY_DEADLINE_MINUTES",
        ge=1,
        description="minutes from merge to live, after which a change counts as failed",
    )
