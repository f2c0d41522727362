"""What one end-to-end test saw and another compares with."""

from __future__ import annotations

import pytest

from tests.e2e.loops import Outcome


@pytest.fixture(scope="session")
def outcomes() -> dict[str, Outcome]:
    """How undisturbed loops ended, by what they ran on."""
    return {}
