"""Where set-up puts the programs that are no dependency of the project, and the line that names set-up."""

from __future__ import annotations

from pathlib import Path

__all__ = ["KAFKA", "PROMETHEUS", "ROOT", "S3_CACHE", "S3_PYTHON", "S3_SEED", "S3_VENV", "SETUP"]

ROOT = Path(__file__).resolve().parents[3]
SETUP = "run `python -m infra.emulator.setup`"

S3_VENV = ROOT / ".venv-s3"
S3_PYTHON = S3_VENV / "bin" / "python"
S3_CACHE = S3_VENV / "cache"
"""LocalStack's index of its plugins."""
S3_SEED = S3_VENV / "seed"
"""A root for LocalStack with its index of AWS services: 5 s and 350 MB at the first request without."""

PROMETHEUS = ROOT / "build" / "tools" / "prometheus"
KAFKA = ROOT / "build" / "tools" / "kafka"
