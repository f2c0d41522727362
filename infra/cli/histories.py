"""How usage went over the history, container by container: what a page's plots are drawn from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from functions.recommender.asking import MOST_OVER_WINDOWS, Part, at_once, pieces
from functions.recommender.queries import CPU, MEMORY, Question, Scope, Window, duration
from shared.contracts.identity import Workload
from shared.contracts.prometheus import QueryTooLarge, QueryTooSlow

if TYPE_CHECKING:
    from functions.recommender.cluster import Pod
    from functions.recommender.reading import Reading
    from shared.contracts.prometheus import Curve, Prometheus

HOUR = 3600
# A plot of some 200 pixels shows no more points than these.
MOST_POINTS = 96
STEPS = tuple(hours * HOUR for hours in (1, 2, 3, 4, 6, 8, 12, 24, 48, 96))
# One subquery serves no two functions, so p95 and maximum are two halves of one query, told apart by this.
FIGURE = "figure"
# A picture is worth some queries more, but not a server's whole time.
MOST_HALVINGS = 5
_CONTAINER = "by (namespace, pod, container)"

Of = tuple[Workload, str]  # whose container, and its name
Values = list[float | None]


@dataclass(frozen=True)
class Usage:
    """One resource of a container, step by step: p95 and maximum in the worst pod; None: not measured."""

    p95: Values
    peak: Values


@dataclass(frozen=True)
class Histories:
    """CPU in millicores, memory in bytes. The n-th value tells of the n-th `step` after `begin`."""

    begin: datetime
    end: datetime
    step: timedelta
    cpu: Mapping[Of, Usage]
    memory: Mapping[Of, Usage]


def histories(
    prometheus: Prometheus, reading: Reading, at: datetime, namespaces: Collection[str] = ()
) -> Histories:
    """Of all containers of the workloads in `reading`, by one query for CPU and one for memory; of a large
    cluster by as many as it takes for none to be about more than MOST_OVER_WINDOWS workloads.

    Raises:
        Temporary: Prometheus cannot be reached, or will not run a query, not for a part either.
    """
    window = reading.window
    step = step_of(window)
    grid = _Grid(at, step, max(1, round(window.history / step)))
    owners = {pod: workload for workload, pods in reading.pods.items() for pod in pods}
    part = Part(
        Scope(tuple(sorted(namespaces)), labels=reading.labels),
        frozenset((each.workload.namespace, each.workload.name) for each in reading.workloads),
    )
    # Memory's question is not over windows, but its answer is as large: every step of both figures.
    cut = pieces(part, MOST_OVER_WINDOWS)
    questions: tuple[Question, ...] = (
        partial(cpu_query, window=window, step=step),
        partial(memory_query, step=step),
    )
    answers = at_once(
        [partial(_curves, prometheus, question, piece, grid) for question in questions for piece in cut]
    )
    cpu, memory = (chain.from_iterable(some) for some in (answers[: len(cut)], answers[len(cut) :]))
    return Histories(
        grid.begin,
        at,
        timedelta(seconds=step),
        cpu=_usage(cpu, owners, grid, 1000.0),
        memory=_usage(memory, owners, grid, 1.0),
    )


@dataclass(frozen=True)
class _Grid:
    """`count` steps of so many seconds that end at `end`; a value stands at the end of its step."""

    end: datetime
    step: int
    count: int

    @property
    def begin(self) -> datetime:
        return self.end - timedelta(seconds=self.count * self.step)

    def place(self, at: float) -> int | None:
        """The step's number. Some servers move a range's points to round times: to the nearest then."""
        place = round((at - self.begin.timestamp()) / self.step) - 1
        return place if 0 <= place < self.count else None


def _curves(
    prometheus: Prometheus, question: Question, part: Part, grid: _Grid, halvings: int = 0
) -> list[Curve]:
    """In halves where a server refuses the whole for its size, as the figures themselves are read."""
    step = timedelta(seconds=grid.step)
    try:
        return prometheus.query_range(question(part.scope), grid.begin + step, grid.end, step)
    except (QueryTooLarge, QueryTooSlow):
        halves = part.halves()
        if not halves or halvings == MOST_HALVINGS:
            raise
    return [curve for half in halves for curve in _curves(prometheus, question, half, grid, halvings + 1)]


def step_of(window: Window) -> int:
    """Seconds between two points: an hour, or as much more as keeps a long history to MOST_POINTS."""
    least = max(window.history / MOST_POINTS, window.cpu)
    return next((step for step in STEPS if step >= least), STEPS[-1])


def cpu_query(scope: Scope, window: Window, step: int) -> str:
    """Over the same windows of `rate` as the figures that are sized by."""
    rate = f"max {_CONTAINER} (rate({CPU}{{{scope.containers}}}[{duration(window.cpu)}]))"
    steps = f"{rate}[{duration(step)}:{duration(window.step)}]"
    return _both(f"quantile_over_time(0.95, {steps})", f"max_over_time({steps})")


def memory_query(scope: Scope, step: int) -> str:
    memory = f"{MEMORY}{{{scope.containers}}}[{duration(step)}]"
    return _both(
        f"max {_CONTAINER} (quantile_over_time(0.95, {memory}))",
        f"max {_CONTAINER} (max_over_time({memory}))",
    )


def _both(p95: str, peak: str) -> str:
    return (
        f'label_replace({p95}, "{FIGURE}", "p95", "", "") or label_replace({peak}, "{FIGURE}", "max", "", "")'
    )


def _usage(
    curves: Iterable[Curve], owners: Mapping[Pod, Workload], grid: _Grid, unit: float
) -> dict[Of, Usage]:
    """The worst pod at each step, times `unit`."""
    found: dict[Of, Usage] = {}
    for curve in curves:
        labels = curve.labels
        owner = owners.get((labels.get("namespace", ""), labels.get("pod", "")))
        if owner is None:
            continue
        nothing: Values = [None] * grid.count
        usage = found.setdefault((owner, labels.get("container", "")), Usage(nothing, nothing.copy()))
        values = usage.p95 if labels.get(FIGURE) == "p95" else usage.peak
        for at, value in curve.points:
            if (place := grid.place(at)) is not None:
                values[place] = max(value * unit, values[place] or 0.0)
    return found
