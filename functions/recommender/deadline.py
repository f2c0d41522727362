"""One deadline for all queries of a delivery: each may take what is left, and none begins beyond it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from shared.contracts.errors import Temporary

if TYPE_CHECKING:
    from shared.contracts.prometheus import Curve, Prometheus, Series

R = TypeVar("R")


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
        return self._within(lambda left: self._prometheus.query(promql, at, left), timeout)

    def query_range(
        self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
    ) -> list[Curve]:
        """See Prometheus. Raises Temporary too when the time is up."""
        return self._within(
            lambda left: self._prometheus.query_range(promql, begin, end, step, left), timeout
        )

    def series(
        self, matchers: str, begin: datetime, end: datetime, timeout: float | None = None
    ) -> list[Mapping[str, str]]:
        """See Prometheus. Raises Temporary too when the time is up."""
        return self._within(lambda left: self._prometheus.series(matchers, begin, end, left), timeout)

    def _within(self, ask: Callable[[float], list[R]], timeout: float | None) -> list[R]:
        left = self._end - self._monotonic()
        if left <= 0:
            raise self._late()
        try:
            rows = ask(left if timeout is None else min(timeout, left))
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
