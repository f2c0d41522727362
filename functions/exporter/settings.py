"""What exporter reads from its environment."""

from __future__ import annotations

from shared.runtime.settings import MongoSettings


class ExporterSettings(MongoSettings):
    """Nothing of its own."""
