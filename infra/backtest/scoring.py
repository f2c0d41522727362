"""How sizes turned out, in the figures by which requests are judged. Sums, so that fleets add up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from infra.backtest.estimating import Sizes
from infra.backtest.fleet import Fleet
from infra.backtest.walking import Held, Pace, Strategy, walk
from shared.contracts.pricing import HOURS_PER_MONTH
from shared.contracts.quantities import GIB, MIB

# A container counts for a hold if so much of it was measured.
MEASURED = 1 / 14
_OFTEN = 0.10  # of CPU time above the request
_CHANGE = 0.10  # of a request: a smaller change of it is no large one
_MILLICORE = 0.001 * (1 - 1e-9)  # in cores, but for a float's own error


@dataclass(frozen=True)
class Rates:
    """Money for a core-hour and a GiB-hour; the defaults are OpenCost's for AWS and GCP, in USD."""

    core_hour: float = 0.031611
    gib_hour: float = 0.004237


@dataclass(frozen=True)
class _Outcome:
    """One hold of a fleet: each container's money and whether a limit killed it; NaN where not judged."""

    fleet: str
    hours: float
    paid: np.ndarray
    killed: np.ndarray

    def only(self, containers: np.ndarray) -> _Outcome:
        """The same of these alone (a mask)."""
        paid, killed = (np.where(containers, each, np.nan) for each in (self.paid, self.killed))
        return _Outcome(self.fleet, self.hours, paid, killed)


@dataclass(frozen=True)
class Comparison:
    """Money a month, and weeks with memory above the limit, of two in the weeks that both are judged by."""

    cost: float
    cost_before: float
    weeks: int
    killed: int
    killed_before: int


@dataclass
class Score:
    """All shares are of 1. A "week" is one container during one hold."""

    rates: Rates = field(default_factory=Rates)
    cpu_used: float = 0.0
    cpu_requested: float = 0.0
    cpu_above: float = 0.0
    windows: int = 0
    windows_above: int = 0
    memory_used: float = 0.0
    memory_requested: float = 0.0
    weeks: int = 0
    weeks_cpu_above_often: int = 0
    weeks_memory_above: int = 0
    weeks_memory_above_limit: int = 0
    compared: int = 0
    changes: int = 0
    large_changes: int = 0
    margins: list[float] = field(default_factory=list)
    outcomes: list[_Outcome] = field(default_factory=list)

    def add(self, fleet: Fleet, held: Held, before: Sizes | None) -> None:
        """Counts one hold; `before` are the sizes of the hold before, None for the first."""
        cpu, memory = fleet.cpu[:, held.windows], fleet.memory[:, held.windows]
        sizes = held.sizes
        sized = np.isfinite(sizes.cpu_request) & np.isfinite(sizes.memory_request)
        sized &= np.isfinite(cpu).mean(axis=1) >= MEASURED
        self._add_cpu(cpu[sized], sizes.cpu_request[sized, None])
        # Without a limit nothing is killed by one.
        killed = _peak(memory) > np.nan_to_num(sizes.memory_limit, nan=np.inf)
        self._add_memory(memory[sized], sizes.memory_request[sized, None])
        self.weeks_memory_above_limit += int(killed[sized].sum())
        hours = cpu.shape[1] * fleet.window / 3600
        self.outcomes.append(_Outcome(fleet.name, hours, self._paid(fleet, held), killed).only(sized))
        self.weeks += int(sized.sum())
        if before is not None:
            for now, then, unit in (
                (sizes.cpu_request, before.cpu_request, _MILLICORE),
                (sizes.memory_request, before.memory_request, MIB),
            ):
                both = sized & np.isfinite(then)
                difference = np.abs(now[both] - then[both])
                self.compared += int(both.sum())
                self.changes += int((difference >= unit).sum())
                self.large_changes += int((difference > _CHANGE * then[both]).sum())

    def _add_cpu(self, cpu: np.ndarray, request: np.ndarray) -> None:
        measured = np.isfinite(cpu)
        above = measured & (cpu > request)
        self.cpu_used += float(cpu[measured].sum())
        self.cpu_requested += float((measured * request).sum())
        self.cpu_above += float((cpu - request)[above].sum())
        self.windows += int(measured.sum())
        self.windows_above += int(above.sum())
        share = above.sum(axis=1) / np.maximum(1, measured.sum(axis=1))
        self.weeks_cpu_above_often += int((share > _OFTEN).sum())

    def _add_memory(self, memory: np.ndarray, request: np.ndarray) -> None:
        measured = np.isfinite(memory)
        self.memory_used += float(memory[measured].sum())
        self.memory_requested += float((measured * request).sum())
        some = measured.any(axis=1)
        peak = _peak(memory)[some]
        self.weeks_memory_above += int((peak > request[some, 0]).sum())
        self.margins += [float(each) for each in request[some, 0][peak > 0] / peak[peak > 0]]

    def _paid(self, fleet: Fleet, held: Held) -> np.ndarray:
        """Money of each container. What is held back costs, and so does what is used beyond it, in each pod
        as in the worst.
        """
        cpu, memory = fleet.cpu[:, held.windows], fleet.memory[:, held.windows]
        cores = np.fmax(np.nan_to_num(cpu), held.sizes.cpu_request[:, None])
        gib = np.fmax(np.nan_to_num(memory), held.sizes.memory_request[:, None]) / GIB
        rate = cores * self.rates.core_hour + gib * self.rates.gib_hour
        found: np.ndarray = (rate * fleet.pods[:, held.windows]).sum(axis=1)
        return found * (fleet.window / 3600)

    # The figures that are shown.

    def figures(self) -> dict[str, float]:
        """By name; `nan` where nothing was judged."""
        margins = float(np.median(self.margins)) if self.margins else float("nan")
        return {
            "cpu_slack": 1 - _share(self.cpu_used, self.cpu_requested),
            "cpu_time_above": _share(self.windows_above, self.windows),
            "cpu_volume_above": _share(self.cpu_above, self.cpu_used),
            "weeks_cpu_above_often": _share(self.weeks_cpu_above_often, self.weeks),
            "memory_slack": 1 - _share(self.memory_used, self.memory_requested),
            "weeks_memory_above": _share(self.weeks_memory_above, self.weeks),
            "weeks_memory_above_limit": _share(self.weeks_memory_above_limit, self.weeks),
            "memory_margin": margins,
            "memory_requested": self.memory_requested,
            "changes": _share(self.changes, self.compared),
            "large_changes": _share(self.large_changes, self.compared),
            "monthly_cost": _monthly(self.outcomes) if self.weeks else float("nan"),
            "weeks": float(self.weeks),
        }

    def against(self, before: Score) -> Comparison:
        """What changed from `before`, which is of the same fleets at the same pace.

        A container that only one of them could size is in neither sum: the money of the two is comparable.
        """
        after, earlier = [], []
        for now, then in zip(self.outcomes, before.outcomes, strict=True):
            both = np.isfinite(now.paid) & np.isfinite(then.paid)
            after.append(now.only(both))
            earlier.append(then.only(both))
        return Comparison(
            cost=_monthly(after),
            cost_before=_monthly(earlier),
            weeks=sum(int(np.isfinite(each.paid).sum()) for each in after),
            killed=_killed(after),
            killed_before=_killed(earlier),
        )


def score(
    fleets: Iterable[Fleet],
    strategy: Callable[[Fleet], Strategy],
    pace: Pace,
    rates: Rates,
    on_held: Callable[[Fleet, Held], None] = lambda _fleet, _held: None,
) -> Score:
    """How a strategy turned out over all fleets; `on_held` is told of each hold.

    Raises TraceError where a fleet is too short for the pace.
    """
    whole = Score(rates)
    for fleet in fleets:
        before: Sizes | None = None
        for held in walk(fleet, strategy(fleet), pace):
            whole.add(fleet, held, before)
            on_held(fleet, held)
            before = held.sizes
    return whole


def _monthly(outcomes: Sequence[_Outcome]) -> float:
    """Money a month. By fleet, because fleets are of other times."""
    hours: dict[str, float] = defaultdict(float)
    money: dict[str, float] = defaultdict(float)
    for each in outcomes:
        hours[each.fleet] += each.hours
        money[each.fleet] += float(np.nansum(each.paid))
    return sum(money[fleet] / hours[fleet] * HOURS_PER_MONTH for fleet in money)


def _killed(outcomes: Sequence[_Outcome]) -> int:
    return sum(int(np.nansum(each.killed)) for each in outcomes)


def _peak(memory: np.ndarray) -> np.ndarray:
    """The highest of each container, 0 where nothing was measured."""
    peak: np.ndarray = np.nan_to_num(memory).max(axis=1, initial=0.0)
    return peak


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
