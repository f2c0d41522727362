"""What policy reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass

from shared.runtime.settings import KafkaSettings, MongoSettings


@dataclass(frozen=True, kw_only=True)
class PolicySettings(KafkaSettings, MongoSettings):
    """Nothing of its own."""
