"""What exporter reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass

from shared.runtime.settings import MongoSettings


@dataclass(frozen=True, kw_only=True)
class ExporterSettings(MongoSettings):
    """Nothing of its own."""
