"""What Prometheus answers, as values, what can be asked of it, and how it refuses.

The port; its client is `shared.adapters.prometheus`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from shared.contracts.errors import Temporary, Throttled

# Queries at once, of one process. A server's other users ask too: Prometheus runs 20 of all.
AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Series:
    """One row of an instant query's answer."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Curve:
    """One row of a range query's answer: values in the order of their times, which are Unix seconds."""

    labels: Mapping[str, str]
    times: Sequence[float]
    values: Sequence[float]

    @classmethod
    def of(cls, labels: Mapping[str, str], points: Iterable[tuple[float, float]]) -> Curve:
        """Of each time with its value."""
        known = tuple(points)
        return cls(labels, tuple(at for at, _ in known), tuple(value for _, value in known))

    @property
    def points(self) -> tuple[tuple[float, float], ...]:
        """Each time with its value."""
        return tuple(zip(self.times, self.values, strict=True))


@dataclass(frozen=True, slots=True)
class Build:
    """What a server says of itself; None where it does not. `clock` is its own time, to a second."""

    kind: str | None = None
    version: str | None = None
    clock: datetime | None = None


class QueryFailed(Temporary):
    """The server is there, and has not answered this query as it should; one about less it may answer.

    `promql` is the query, of which the text may have the beginning alone.
    """

    def __init__(self, text: str, promql: str = "") -> None:
        super().__init__(text)
        self.promql = promql


class QueryRefused(QueryFailed):
    """Prometheus understood the request and will not run this query: malformed, or too many samples.

    Temporary on purpose: a server's limits can be raised while KafkaSource retries, and after its last
    try the event lies in the dead letters instead of being lost.
    """


class QueryTooLarge(QueryRefused):
    """It reads more than the server allows; for fewer containers it will run."""


class QueryTooSlow(QueryFailed):
    """It took longer than the server allows; for fewer containers it may not."""


class QueryThrottled(QueryFailed, Throttled):
    """The server asks for less."""


class Prometheus(Protocol):
    def query(self, promql: str, at: datetime, timeout: float | None = None) -> list[Series]:
        """The query's value at `at`, all of it finite numbers.

        `timeout` in seconds bounds this query, where less is left than the client otherwise gives one.

        Raises:
            QueryRefused: the server will not run it, however often it is asked.
            QueryTooLarge: the same, because it reads too much.
            QueryTooSlow: the server began it, and gave up.
            QueryThrottled: the server asks for less.
            QueryFailed: it does not answer as Prometheus does, or in part only, or with NaN or infinity.
            Temporary: it cannot be reached, is late, or lets us ask nothing.
        """
        ...

    def query_range(
        self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
    ) -> list[Curve]:
        """The query's values at `begin` and every `step` after it up to `end`, all finite.

        `timeout` and errors are those of `query`.
        """
        ...

    def series(
        self, matchers: str, begin: datetime, end: datetime, timeout: float | None = None
    ) -> list[Mapping[str, str]]:
        """The labels of the series that `matchers` select, as `{name="value"}`, with samples between the two;
        some servers tell of whole days. What no sample has to be read for costs a server little.

        `timeout` and errors are those of `query`.
        """
        ...
