"""`kubefinops migrate`: prints what was created."""

from __future__ import annotations

from pathlib import Path

from shared.runtime.migrating import migrate as steps


def migrate(policies: Path | None) -> int:
    """Returns the exit code. Raises BadSetting, Temporary."""
    for line in steps(policies):
        print(line)
    return 0
