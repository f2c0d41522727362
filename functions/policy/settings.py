"""What policy reads from its environment."""

from __future__ import annotations

from shared.runtime.settings import KafkaSettings, MongoSettings


class PolicySettings(KafkaSettings, MongoSettings):
    """Nothing of its own."""
