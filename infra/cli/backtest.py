"""`kubefinops backtest`: what each way of sizing would have requested, saved and broken, on past usage."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from infra.backtest.fleet import Fleet, TraceError
from infra.backtest.frontier import KRR_FACTORS, OWN_SCALES, Frontier, frontier, svg
from infra.backtest.scoring import Comparison, Score, score
from infra.backtest.strategies import AS_PROVISIONED, ORACLE, all_of, names
from infra.backtest.walking import Held, Pace
from infra.cli.progress import progress
from infra.cli.tables import say_folded, show, table
from infra.cli.tested import Live, Tested, said, tested
from infra.cli.writing import require_folder, write
from shared.contracts.errors import BadSetting
from shared.contracts.wording import counted

WEEKS = 4
_MOST_DAYS = 3650  # of a pace
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
    ("changes", "changes", ".1%"),
    ("changes > 10 %", "large_changes", ".1%"),
)
# Without these a narrow terminal makes do.
SPARE = ("changes > 10 %", "CPU volume above", "memory margin", "above limit")


@dataclass(frozen=True)
class Outputs:
    """Where to write beside what is printed: every recommendation as CSV, the frontier as SVG."""

    emit: Path | None = None
    plot: Path | None = None


def source(
    traces: Path | None,
    prometheus: str | None,
    namespaces: Sequence[str],
    labels: Sequence[str],
    weeks: int | None,
) -> Path | Live:
    """The one of the two that was asked for. Raises BadSetting where it is not one."""
    if traces is None:
        address = prometheus or os.environ.get("PROMETHEUS_URL")
        if not address:
            raise BadSetting("--traces DIR or --prometheus URL: one of them is needed")
        return Live(address, namespaces, labels, WEEKS if weeks is None else weeks)
    if prometheus is not None:
        raise BadSetting("--traces and --prometheus: one of them only")
    for option, value in (("--namespace", namespaces), ("--label", labels), ("--weeks", weeks)):
        if value:
            raise BadSetting(f"{option} goes with --prometheus: traces are walked through whole")
    return traces


def backtest(
    source: Path | Live,
    strategies: Sequence[str],
    pace: Pace,
    form: Literal["table", "json"],
    outputs: Outputs,
    *,
    starts_as_set: bool | None = None,
) -> int:
    """Walks every strategy through what was used and prints how each turned out.

    `starts_as_set`: from what was set, or from nothing; None is the former of a live cluster alone.

    Raises:
        BadSetting: there is no such strategy, the pace is none, an option or a variable is wrong.
        TraceError: a trace cannot be read, or nothing is long enough for the pace.
        NothingFound: Prometheus tells of nothing that could be walked through.
        Temporary: Prometheus cannot be reached, or does not answer.
        CannotWrite: a file cannot be written.
    """
    if not all(0 < days <= _MOST_DAYS for days in (pace.learn, pace.hold)):
        raise BadSetting(f"--learn-days and --hold-days: more than 0 days, and {_MOST_DAYS} at most")
    chosen = _chosen(strategies)
    require_folder(outputs.emit, "--emit")
    require_folder(outputs.plot, "--plot")
    if outputs.emit is not None and outputs.emit == outputs.plot:
        raise BadSetting(f"--emit and --plot: {outputs.emit} for both; name two files")
    given = tested(source, pace)
    if starts_as_set is not None:
        given = replace(given, fleets=[replace(each, starts_as_set=starts_as_set) for each in given.fleets])
    wanted = [*([AS_PROVISIONED] if isinstance(source, Live) else []), *chosen]
    wanted = list(dict.fromkeys([*wanted, *([ORACLE] if outputs.plot else [])]))
    steps = len(wanted) * len(given.fleets) + (len(KRR_FACTORS) + len(OWN_SCALES) if outputs.plot else 0)
    emitted = Emitted(given.fleets)
    emit: Emit = emitted.add if outputs.emit else lambda _name, _fleet, _held: None
    with progress("walking", steps, "walks") as advance:
        scores = {name: _walked(name, given, pace, emit, advance) for name in wanted}
        if not _judged(scores):
            raise TraceError(
                "nothing could be judged: of no container are CPU and memory known both before a time of"
                " sizing and after it"
            )
        found = frontier(given.fleets, scores, scores[ORACLE], pace, advance) if outputs.plot else None
    if outputs.emit and emitted.several:
        note = (
            f"{outputs.emit}: {counted(len(emitted.several), 'workload')} of several traces as TRACE:WORKLOAD"
        )
        given = replace(given, notes=(*given.notes, note))
    if form == "json":
        print(json.dumps(_document(given, scores, pace, found), indent=1, allow_nan=False))
    else:
        _print(given, scores, pace, found)
    # When all is known and told: a walk that failed leaves the files of one before as they are.
    if found is not None:
        write(svg(found), outputs.plot)
    if outputs.emit:
        write(emitted.text, outputs.emit)
    return 0


def _chosen(strategies: Sequence[str]) -> list[str]:
    there = names()
    if unknown := [name for name in strategies if name not in there]:
        raise BadSetting(f"--strategy: no {unknown[0]!r}; there are {', '.join(there)}")
    return list(strategies) or there


def _judged(scores: dict[str, Score]) -> int:
    """How many weeks of containers, by the strategy that could size most."""
    return max(each.weeks for each in scores.values())


Emit = Callable[[str, Fleet, Held], None]


def _walked(name: str, given: Tested, pace: Pace, emit: Emit, advance: Callable[[], None]) -> Score:
    def told() -> Iterator[Fleet]:
        for fleet in given.fleets:
            yield fleet
            advance()

    return score(told(), lambda fleet: all_of(fleet)[name], pace, given.rates, partial(emit, name))


class Emitted:
    """Each recommendation that is made, as CSV, so that anybody can judge it independently.

    A workload that several of the fleets have, as two traces of one cluster, is named with its fleet's name
    before it. `several` are these workloads.
    """

    def __init__(self, fleets: Iterable[Fleet]) -> None:
        times = Counter(name for fleet in fleets for name in {name for name, _ in fleet.containers})
        self.several = {name for name, number in times.items() if number > 1}
        self._text = io.StringIO(newline="")
        self._rows = csv.writer(self._text)
        self._rows.writerow(HEADER)

    @property
    def text(self) -> str:
        return self._text.getvalue()

    def add(self, strategy: str, fleet: Fleet, held: Held) -> None:
        """The sizes of one hold."""
        begin, end = (
            datetime.fromtimestamp(fleet.begin + at * fleet.window, UTC).isoformat().replace("+00:00", "Z")
            for at in (held.windows.start, held.windows.stop)
        )
        sizes = held.sizes
        for index, (workload, container) in enumerate(fleet.containers):
            if np.isfinite(sizes.cpu_request[index]) or np.isfinite(sizes.memory_request[index]):
                named = f"{fleet.name}:{workload}" if workload in self.several else workload
                self._rows.writerow(
                    (
                        *(strategy, named, container, begin, end, _exact(sizes.cpu_request[index])),
                        *(_bytes(sizes.memory_request[index]), _bytes(sizes.memory_limit[index])),
                    )
                )


def _exact(value: float) -> str:
    """With all its digits: a quantile is often a sample itself, and of it rounded another share is above."""
    return repr(float(value)) if np.isfinite(value) else ""


def _bytes(value: float) -> str:
    return f"{value:.0f}" if np.isfinite(value) else ""


def _document(
    given: Tested, scores: dict[str, Score], pace: Pace, found: Frontier | None
) -> dict[str, object]:
    return {
        "traces": {fleet.name: len(fleet.containers) for fleet in given.fleets},
        "left_out": [asdict(each) for each in given.left_out],
        "notes": list(given.notes),
        "currency": given.currency,
        "learn_days": pace.learn,
        "hold_days": pace.hold,
        "strategies": {
            name: {
                key: None if not np.isfinite(value) else round(value, 6)
                for key, value in each.figures().items()
            }
            for name, each in scores.items()
        },
        "against_as_provisioned": {
            name: {key: round(value, 6) for key, value in asdict(each).items()}
            for name, each in _compared(scores).items()
        },
        "frontier": None
        if found is None
        else {
            name: [[round(point.above, 5), round(point.requested, 4)] for point in line]
            for name, line in found.lines.items()
        },
        # Memory, of the oracle's, as the frontier has it.
        "beside_krr": None
        if found is None
        else {
            point.name: {
                "weeks_memory_above": round(point.above, 5),
                "memory_requested": round(point.requested, 4),
                "krr_requests": round(krr, 4),
            }
            for point, krr in found.beside_krr()
        },
    }


def _compared(scores: dict[str, Score]) -> dict[str, Comparison]:
    """Each with what is provisioned, where that is known."""
    provisioned = scores.get(AS_PROVISIONED)
    if provisioned is None or not provisioned.weeks:
        return {}
    others = {name: each.against(provisioned) for name, each in scores.items() if each is not provisioned}
    return {name: each for name, each in others.items() if each.weeks}


def _print(given: Tested, scores: dict[str, Score], pace: Pace, found: Frontier | None) -> None:
    made = table(["strategy"], [*(title for title, _, _ in COLUMNS), f"{given.currency}/month"], SPARE)
    for name, each in scores.items():
        figures = each.figures()
        shown = [*((key, form) for _, key, form in COLUMNS), ("monthly_cost", ",.0f")]
        texts = (f"{figures[key]:{form}}" if np.isfinite(figures[key]) else "-" for key, form in shown)
        made.add_row(name, *texts)
    show(made)
    containers = sum(len(fleet.containers) for fleet in given.fleets)
    say_folded(
        f"{counted(containers, 'container')}, sized every {pace.hold:g} day{'' if pace.hold == 1 else 's'}"
        f" from day {pace.learn:g} on and judged until the next time, {_judged(scores)} times in all;"
        ' each of these is a "week", however long'
    )
    if fewer := [f"{name} {each.weeks}" for name, each in scores.items() if each.weeks < _judged(scores)]:
        say_folded(
            f"fewer, because nothing is said of some containers at some times: {', '.join(fewer)}; their"
            " figures, money too, are of these alone"
        )
    for note in given.notes:
        say_folded(note)
    for left_out in given.left_out:
        say_folded(f"left out, {said(left_out)}")
    if compared := _compared(scores):
        _show_compared(compared, given.currency)
    if found is not None:
        for point, krr in found.beside_krr():
            saved = 1 - point.requested / krr
            say_folded(
                f"{point.name}: memory exceeds its request in {point.above:.1%} of weeks, with"
                f" {abs(saved):.0%} {'less' if saved > 0 else 'more'} requested than krr's rule takes to"
                " do as well"
            )


def _show_compared(compared: dict[str, Comparison], currency: str) -> None:
    """What would have been saved and killed; each line in the weeks that both could be judged by."""
    made = table(
        ["against as provisioned"],
        [f"{currency}/month", "instead of", "saved", "weeks memory above limit", "instead of", "of"],
    )
    for name, each in compared.items():
        saved = f"{1 - each.cost / each.cost_before:.0%}" if each.cost_before else "-"
        made.add_row(
            *(name, f"{each.cost:,.2f}", f"{each.cost_before:,.2f}", saved),
            *(str(each.killed), str(each.killed_before), str(each.weeks)),
        )
    show(made)
    say_folded(
        "Each line here is of the weeks of which it is known what was set, as many as it says: not all tell."
    )
