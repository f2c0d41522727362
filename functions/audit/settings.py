"""What audit reads from its environment."""

from __future__ import annotations

from shared.runtime.settings import MongoSettings, ObjectStoreSettings


class AuditSettings(MongoSettings, ObjectStoreSettings):
    """Nothing of its own."""
