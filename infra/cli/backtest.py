"""`kubefinops backtest`: what each way of sizing would have requested and broken, on recorded usage."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from infra.backtest.fleet import Fleet, read
from infra.backtest.frontier import KRR_FACTORS, OWN_SCALES, Frontier, frontier, svg
from infra.backtest.scoring import Rates, Score, score
from infra.backtest.strategies import ORACLE, all_of
from infra.backtest.walking import Held, Pace
from infra.cli.tables import show, table
from shared.contracts.errors import BadSetting

HEADER = (
    *("strategy", "workload", "container", "valid_from", "valid_to"),
    *("cpu_request_cores", "memory_request_bytes", "memory_limit_bytes"),
)
# Title, key in Score.figures(), and how it is written.
COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("CPU slack", "cpu_slack", ".1%"),
    ("CPU time above", "cpu_time_above", ".1%"),
    ("CPU volume above", "cpu_volume_above", ".1%"),
    ("weeks CPU > 10 % above", "weeks_cpu_above_often", ".1%"),
    ("memory slack", "memory_slack", ".1%"),
    ("weeks memory above", "weeks_memory_above", ".1%"),
    ("above limit", "weeks_memory_above_limit", ".2%"),
    ("memory margin", "memory_margin", ".2f"),
    ("changes > 10 %", "large_changes", ".1%"),
    ("USD/month", "monthly_cost", ",.0f"),
)


@dataclass(frozen=True)
class Outputs:
    """Where to write beside what is printed: every recommendation as CSV, the frontier as SVG."""

    emit: Path | None = None
    plot: Path | None = None


def backtest(
    traces: Path, strategies: Sequence[str], pace: Pace, form: Literal["table", "json"], outputs: Outputs
) -> int:
    """Walks every strategy through the traces and prints how each turned out.

    Raises:
        BadSetting: there is no such strategy, or the pace is none.
        TraceError: a trace cannot be read, or none is long enough for the pace.
    """
    if pace.learn <= 0 or pace.hold <= 0:
        raise BadSetting("--learn-days and --hold-days: more than 0 days")
    every = read(traces)
    fleets = [fleet for fleet in every if pace.fits(fleet)] or every  # all too short: walk says so
    for fleet in every:
        if fleet not in fleets:
            print(f"left out, too short for the pace: {fleet.name}", file=sys.stderr)
    names = _chosen(strategies, fleets)
    wanted = list(dict.fromkeys([*names, ORACLE])) if outputs.plot else names
    steps = len(wanted) * len(fleets) + (len(KRR_FACTORS) + len(OWN_SCALES) if outputs.plot else 0)
    with _told(steps) as advance, _emitting(outputs.emit) as emit:
        scores = {name: _walked(name, fleets, pace, emit, advance) for name in wanted}
        found = frontier(fleets, scores, scores[ORACLE], pace, advance) if outputs.plot else None
    if outputs.plot is not None and found is not None:
        outputs.plot.write_text(svg(found), encoding="utf-8")
    if form == "json":
        print(json.dumps(_document(fleets, scores, pace, found), indent=1, allow_nan=False))
    else:
        _print(fleets, scores, pace, found)
    return 0


def _chosen(strategies: Sequence[str], fleets: Sequence[Fleet]) -> list[str]:
    there = list(all_of(fleets[0]))
    if unknown := [name for name in strategies if name not in there]:
        raise BadSetting(f"--strategy: no {unknown[0]!r}; there are {', '.join(there)}")
    return list(strategies) or there


Emit = Callable[[str, Fleet, Held], None]


def _walked(name: str, fleets: Sequence[Fleet], pace: Pace, emit: Emit, advance: Callable[[], None]) -> Score:
    def told() -> Iterator[Fleet]:
        for fleet in fleets:
            yield fleet
            advance()

    return score(told(), lambda fleet: all_of(fleet)[name], pace, Rates(), partial(emit, name))


@contextmanager
def _emitting(path: Path | None) -> Iterator[Emit]:
    """Writes each recommendation as it is made, so that anybody can judge it independently."""
    if path is None:
        yield lambda _name, _fleet, _held: None
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(HEADER)
        yield lambda name, fleet, held: rows.writerows(_rows(name, fleet, held))


def _rows(name: str, fleet: Fleet, held: Held) -> Iterable[tuple[object, ...]]:
    begin, end = (
        datetime.fromtimestamp(fleet.begin + at * fleet.window, UTC).isoformat().replace("+00:00", "Z")
        for at in (held.windows.start, held.windows.stop)
    )
    sizes = held.sizes
    for index, (workload, container) in enumerate(fleet.containers):
        if np.isfinite(sizes.cpu_request[index]) or np.isfinite(sizes.memory_request[index]):
            yield (
                *(name, workload, container, begin, end, _plain(sizes.cpu_request[index], 6)),
                *(_plain(sizes.memory_request[index], 0), _plain(sizes.memory_limit[index], 0)),
            )


def _plain(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else ""


def _document(
    fleets: Sequence[Fleet], scores: dict[str, Score], pace: Pace, found: Frontier | None
) -> dict[str, object]:
    return {
        "traces": {fleet.name: len(fleet.containers) for fleet in fleets},
        "learn_days": pace.learn,
        "hold_days": pace.hold,
        "strategies": {
            name: {
                key: None if not np.isfinite(value) else round(value, 6)
                for key, value in each.figures().items()
            }
            for name, each in scores.items()
        },
        "frontier": None
        if found is None
        else {
            name: [[round(point.above, 5), round(point.requested, 4)] for point in line]
            for name, line in found.lines.items()
        },
    }


def _print(fleets: Sequence[Fleet], scores: dict[str, Score], pace: Pace, found: Frontier | None) -> None:
    made = table(["strategy"], [title for title, _, _ in COLUMNS])
    for name, each in scores.items():
        figures = each.figures()
        texts = (f"{figures[key]:{form}}" if np.isfinite(figures[key]) else "-" for _, key, form in COLUMNS)
        made.add_row(name, *texts)
    show(made)
    containers = sum(len(fleet.containers) for fleet in fleets)
    judged = max(each.weeks for each in scores.values())
    print(
        f"{containers} containers, sized every {pace.hold:g} days from day {pace.learn:g} on and judged until"
        f' the next time, {judged} times in all; each of these is a "week", however long'
    )
    if found is not None:
        for point in found.points:
            krr = found.krr_at(point.above)
            if point.name in ("balanced", "cautious", "lean") and krr:
                print(
                    f"{point.name}: memory exceeds its request in {point.above:.1%} of weeks, with"
                    f" {1 - point.requested / krr:.0%} less requested than krr's rule takes to do as well"
                )


@contextmanager
def _told(steps: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal's standard error, else nothing."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    columns = (TextColumn("walking"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("walking", total=steps)
        yield lambda: progress.advance(task)
