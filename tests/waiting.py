"""Waiting on a condition with a deadline, in place of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], bool], within: float = 10.0) -> None:
    """Returns when it holds. Raises AssertionError after `within` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"did not hold within {within:g} s"
        time.sleep(0.05)
