"""What audit reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass

from shared.runtime.settings import MongoSettings, ObjectStoreSettings


@dataclass(frozen=True, kw_only=True)
class AuditSettings(MongoSettings, ObjectStoreSettings):
    """Nothing of its own."""
