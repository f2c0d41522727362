"""A cluster in parts, where it cannot be read whole: what is not answered is narrowed down to namespaces.

Each part is a reading of its own, complete or not there at all: nothing is proposed from half of one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from functions.recommender.reading import Reading
from shared.contracts.errors import Temporary
from shared.contracts.prometheus import QueryFailed
from shared.contracts.wording import counted

# Of readings, before what is left is no longer halved: a server that answers little is not asked for ever.
MOST_FAILURES = 24


@dataclass(frozen=True)
class Missing:
    """Namespaces that could not be read, how many workloads are in them, and why.

    `query` is the one that was not answered; None where the server was not to be had at all.
    """

    namespaces: tuple[str, ...]
    workloads: int
    reason: str
    query: str | None = None

    @property
    def named(self) -> str:
        """`payments (12 workloads)`."""
        return f"{', '.join(self.namespaces)} ({counted(self.workloads, 'workload')})"

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "namespaces": list(self.namespaces)}


def in_parts(
    read: Callable[[Collection[str]], Reading],
    workloads: Callable[[], Mapping[str, int]],
    namespaces: Collection[str],
) -> tuple[Reading, tuple[Missing, ...]]:
    """What `read` gives of `namespaces` (empty: of all), and what it does not.

    Only where the whole is not answered are there more readings than one, of halves, and is it asked how
    many `workloads` each namespace has.

    Raises:
        Temporary: the server cannot be reached, or no part can be read.
    """
    try:
        return read(namespaces), ()
    except QueryFailed as error:
        of_whole = error
    counts = workloads()
    parts = deque(_halves(sorted(counts)))
    readings: list[Reading] = []
    missing: list[Missing] = []
    failures = 1
    # The largest first: what fails everywhere is known before each namespace was asked for by itself.
    while parts:
        part = parts.popleft()
        try:
            readings.append(read(part))
        except Temporary as error:
            failures += 1
            query = error.promql if isinstance(error, QueryFailed) else None
            if query is not None and len(part) > 1 and failures <= MOST_FAILURES:
                parts.extend(_halves(part))
            else:
                size = sum(counts[name] for name in part)
                missing.append(Missing(tuple(part), size, str(error), query))
    if not readings:
        raise of_whole
    return _together(readings), tuple(sorted(missing, key=lambda each: each.namespaces))


def _halves(names: Sequence[str]) -> list[Sequence[str]]:
    """None where there is nothing else beside the one that is too much."""
    middle = len(names) // 2
    return [names[:middle], names[middle:]] if middle else []


def _together(readings: Sequence[Reading]) -> Reading:
    """As one reading of all their namespaces would be; nodes are told of in each."""
    first = readings[0]
    found = {observed.workload: observed for each in readings for observed in each.workloads}
    ordered = sorted(found, key=lambda each: (each.namespace, each.kind, each.name))
    return Reading(
        workloads=tuple(found[workload] for workload in ordered),
        window=first.window,
        asked=tuple(asked for each in readings for asked in each.asked),
        pods={workload: pods for each in readings for workload, pods in each.pods.items()},
        labels=first.labels,
        nodes=first.nodes,
        spot=first.spot,
        ownerless={pod: asked for each in readings for pod, asked in each.ownerless.items()},
    )
