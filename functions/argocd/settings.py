"""What argocd reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass

from shared.runtime.settings import (
    ArgoCDSettings,
    GitHostSettings,
    KafkaSettings,
    MongoSettings,
    number,
    setting,
    whole,
)


@dataclass(frozen=True, kw_only=True)
class RolloutSettings(KafkaSettings, MongoSettings, GitHostSettings, ArgoCDSettings):
    deadline_minutes: int = setting(
        "KUBEFINOPS_APPLY_DEADLINE_MINUTES",
        number(whole, 1),
        60,
        "minutes from merge to live, after which a change counts as failed",
    )
