"""One deadline for all queries of a delivery: each may take what is left, and none begins beyond it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from shared.contracts.errors import Temporary

if TYPE_CHECKING:
    from shared.adapters.prometheus import Prometheus, Series


class UntilDeadline:
    """A Prometheus that answers until `seconds` after it was made; `monotonic` is a clock in seconds."""

    def __init__(self, prometheus: Prometheus, seconds: float, monotonic: Callable[[], float]) -> None:
        self._prometheus = prometheus
        self._seconds = seconds
        self._monotonic = monotonic
        self._end = monotonic() + seconds
        self._answered = 0

    def query(self, promql: str, at: datetime, timeout: float | None = None) -> list[Series]:
        """See Prometheus. Raises Temporary too when the time is up."""
        left = self._end - self._monotonic()
        if left <= 0:
            raise self._late()
        try:
            rows = self._prometheus.query(promql, at, left if timeout is None else min(timeout, left))
        except Temporary as error:
            # What was cut short by us says "timeout"; why it had so little time says more.
            if self._monotonic() >= self._end:
                raise self._late() from error
            raise
        self._answered += 1
        return rows

    def _late(self) -> Temporary:
        return Temporary(
            f"Prometheus answered {self._answered} queries of this delivery in {self._seconds:g} s, and more"
            " are needed: it is too slow for the history asked for (KUBEFINOPS_HISTORY_DAYS), or too busy"
        )
