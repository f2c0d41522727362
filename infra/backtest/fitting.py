"""Fits the estimator's constants to sets of traces, by walking through them with every candidate.

    python -m infra.backtest.fitting SET... [OUT.json]

A SET is a folder of traces. OUT.json defaults to functions/recommender/constants.json. For each strategy the
candidates that keep its bounds in each set are compared, and the one that requests least is taken. Grids,
searched whole: the same traces give the same constants.

What a candidate requests in a set is told by how many times the oracle's it is, and of these the geometric
mean is taken, each set weighing as the square root of its weeks: so a large set says more, and does not drown
a small one. A set of few weeks cannot tell a share of some percent: it bears on what is requested alone.

How much more few days need is fitted last: by the least exponent with which, sized by no more than each of
SHORT_PASTS, no more weeks exceed their request than the strategy may have, or than sized by ENOUGH_DAYS. And
how far a request is raised, or set, of fewer days than tell steadiness: by the least margin that no more
weeks exceed, of all sets together. What is too short for the pace is walked at YOUNG_PACE for that alone.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from functions.recommender.fitted import CPU_DAYS, ENOUGH_DAYS, MEMORY_DAYS, Constants
from infra.backtest.digests import Digests, Floats
from infra.backtest.estimating import Estimates, Memory, Sizes, margin, mixture, peak, sized
from infra.backtest.fleet import Fleet, TraceError, read
from infra.backtest.peers import highest, quantile
from infra.backtest.scoring import MEASURED
from infra.backtest.short_pasts import ShortPast, short_past
from infra.backtest.strategies import applied
from infra.backtest.walking import Pace, started, walk_on

OUT = Path(__file__).resolve().parents[2] / "functions" / "recommender" / "constants.json"
ENOUGH_WEEKS = 200  # of containers: fewer tell no share


@dataclass(frozen=True)
class Bounds:
    """What a strategy may cost others, as shares: of CPU time and volume above the request, and of weeks in
    which memory exceeded the request and the limit. They are stricter than what is promised, because what is
    kept apart never turns out as well as what was tuned on.

    `most_margin` is the greatest factor over a peak of memory. By small virtual machines alone it would be
    more; but it is containers that are sized, and few of those that were recorded need it.
    """

    cpu_time_above: float
    cpu_volume_above: float
    weeks_memory_above: float
    weeks_memory_above_limit: float
    most_margin: float


STRATEGIES = {
    "balanced": Bounds(0.032, 0.0439, 0.032, 0.003, 3.0),
    "cautious": Bounds(0.015, 0.020, 0.015, 0.002, 4.0),
    "lean": Bounds(0.050, 0.065, 0.080, 0.002, 3.0),
}
HALF_LIVES = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.25, 4.5, 4.75, 5.0)  # days
QUANTILES = (
    *(0.90, 0.91, 0.915, 0.9175, 0.92, 0.92125, 0.9225, 0.92375),
    *(0.925, 0.9275, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98),
)
PADS = (0.005, 0.010, 0.015, 0.020, 0.02125, 0.0225, 0.02375, 0.025, 0.0275, 0.030)  # cores
# Cores. Small virtual machines alone would have more; but most sidecars use a few millicores.
ABOVE_PEAKS = (0.001, 0.002, 0.003)
SCALES = tuple(float(each) for each in np.round(np.geomspace(1.2, 4.0, 21), 3))
EXPONENTS = (0.0, 0.15, 0.25, 0.35, 0.5, 0.6, 0.7)
LEASTS = (1.05, 1.1, 1.15, 1.2, 1.3)
MOSTS = (1.5, 2.0, 2.5, 3.0, 4.0)
SLOPES = (0.5, 0.75, 1.0, 2.0)
RAISES = (1.0, 1.1, 1.2)
YOUNG_MARGINS = (1.2, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
YOUNG_PACE = Pace(1.0, 0.25)
DAYS_EXPONENTS = tuple(float(each) for each in np.round(np.arange(0.0, 2.05, 0.1), 1))
SHORT_PASTS = (3, 5, 7, 10)  # days
LIMIT_FACTORS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0, 40.0, 60.0)


@dataclass(frozen=True)
class Refit:
    """One moment of one fleet: what was known, and what came.

    `cpu_tops` is the most that was used, in cores. `peak` is the highest memory to come, in bytes; `windows`
    says how many of those to come were measured.
    """

    digests: Digests
    cpu_tops: Floats
    memory: Memory
    cpu: Floats
    peak: Floats
    windows: Floats
    judged: np.ndarray


@dataclass(frozen=True)
class Walk:
    """One fleet: what is set at the first of its refits."""

    before: Sizes
    refits: list[Refit]


@dataclass(frozen=True)
class TraceSet:
    """A folder's fleets, walked through, and what the oracle requests in them: core- and byte-windows.

    `young` has what was known of memory at each refit, at YOUNG_PACE too.
    """

    containers: dict[str, int]
    walks: list[Walk]
    shorts: list[ShortPast]
    young: list[ShortPast]
    cpu_needed: float
    memory_needed: float

    @property
    def weeks(self) -> int:
        return sum(int(one.judged.sum()) for walk in self.walks for one in walk.refits)


@dataclass(frozen=True)
class _Candidate:
    """Constants with what they request (the mean logarithm of times the oracle's), and the shares above."""

    values: dict[str, float]
    requested: float
    shares: tuple[float, ...]


def main(arguments: list[str]) -> int:
    out = Path(arguments[-1]) if arguments and arguments[-1].endswith(".json") else OUT
    folders = [Path(each) for each in arguments if not each.endswith(".json")]
    if not folders:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        found = [_trace_set(folder) for folder in folders]
    except (TraceError, OSError) as error:
        print(f"fitting: {error}", file=sys.stderr)
        return 1
    sets = [each for each in found if each.walks]
    if not sets:
        days = Pace().learn + Pace().hold
        print(f"fitting: {', '.join(map(str, folders))}: no trace is of {days:g} days", file=sys.stderr)
        return 1
    young = [past for each in found for past in each.young]
    cpu = list(_told("CPU", _cpu_candidates(sets)))
    memory = list(_told("memory", _memory_candidates(sets)))
    best: dict[str, _Candidate] = {}
    for name, bounds in STRATEGIES.items():
        is_in_order = _order(name, best)
        cpu_ordered, memory_ordered = (
            [one for one in some if is_in_order(one.values)] for some in (cpu, memory)
        )
        chosen = _best(bounds, cpu_ordered, memory_ordered, sets)
        exponents = [
            each for each in DAYS_EXPONENTS if is_in_order(chosen.values | {"memory_days_exponent": each})
        ]
        exponent = _days_exponent(chosen.values, bounds, sets, exponents)
        values = chosen.values | {"memory_days_exponent": exponent}
        values["memory_young_margin"] = _young_margin(values, bounds, young)
        best[name] = replace(chosen, values=values)
    document = {
        "fitted_by": "python -m infra.backtest.fitting",
        "traces": [each.containers for each in found],
        "bounds": {name: asdict(bounds) for name, bounds in STRATEGIES.items()},
        "strategies": {name: each.values for name, each in best.items()},
    }
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(document["strategies"], indent=1))
    return 0


def _trace_set(folder: Path) -> TraceSet:
    pace, there = Pace(), read(folder)
    fleets = [fleet for fleet in there if pace.fits(fleet)]
    short = [fleet for fleet in there if not pace.fits(fleet) and YOUNG_PACE.fits(fleet)]
    if not fleets + short:
        raise TraceError(f"{folder}: no trace is of {YOUNG_PACE.learn + YOUNG_PACE.hold:g} days")
    young = [short_past(some, at, MEMORY_DAYS) for some, at in ((fleets, pace), (short, YOUNG_PACE)) if some]
    walks = [Walk(started(fleet), list(_refits(fleet, pace))) for fleet in fleets]
    shorts = [short_past(fleets, pace, days) for days in (*SHORT_PASTS, ENOUGH_DAYS)] if fleets else []
    every = [one for walk in walks for one in walk.refits]
    cpu = memory = 0.0
    for one in every:
        measured = np.isfinite(one.cpu).sum(axis=1)
        cpu += float(np.nansum((quantile(one.cpu, 0.95) * measured)[one.judged]))
        memory += float(np.nansum((one.peak * one.windows)[one.judged]))
    counts = {fleet.name: len(fleet.containers) for fleet in fleets + short}
    return TraceSet(counts, walks, shorts, young, cpu, memory)


def _refits(fleet: Fleet, pace: Pace) -> Iterator[Refit]:
    for past, held in walk_on(fleet, pace):
        cpu, memory = fleet.cpu[:, held], fleet.memory[:, held]
        days = past.digests.before(past.digests.days, CPU_DAYS)
        yield Refit(
            digests=days,
            cpu_tops=peak(days.cpu),
            memory=Memory.of(past.digests),
            cpu=cpu,
            peak=highest(memory),
            windows=np.isfinite(memory).sum(axis=1).astype(np.float64),
            judged=np.isfinite(cpu).mean(axis=1) >= MEASURED,
        )


def _cpu_candidates(sets: Sequence[TraceSet]) -> Iterator[_Candidate]:
    for half_life, quantile_ in itertools.product(HALF_LIVES, QUANTILES):
        mixtures = [
            [[mixture(one.digests, half_life, quantile_) for one in walk.refits] for walk in each.walks]
            for each in sets
        ]
        for pad, above_peak in itertools.product(PADS, ABOVE_PEAKS):
            values = {
                "cpu_half_life": half_life,
                "cpu_quantile": quantile_,
                "cpu_pad": pad,
                "cpu_above_peak": above_peak,
            }
            fitted = _constants(values)
            outcomes = [_cpu_outcome(each, its, fitted) for each, its in zip(sets, mixtures, strict=True)]
            yield _candidate(values, sets, outcomes)


def _cpu_outcome(
    traces: TraceSet, mixtures: list[list[Floats]], fitted: Constants
) -> tuple[float, list[float]]:
    requested = used = volume = 0.0
    above = windows = 0
    for walk, its in zip(traces.walks, mixtures, strict=True):
        found = (
            sized(each, one.cpu_tops, one.memory, fitted) for each, one in zip(its, walk.refits, strict=True)
        )
        for one, sizes in zip(walk.refits, _held(found, walk.before), strict=True):
            judged = one.judged & np.isfinite(sizes.cpu_request)
            cpu, request = one.cpu[judged], sizes.cpu_request[judged, None]
            measured = np.isfinite(cpu)
            over = measured & (cpu > request)
            requested += float((measured * request).sum())
            used += float(cpu[measured].sum())
            volume += float((cpu - request)[over].sum())
            above += int(over.sum())
            windows += int(measured.sum())
    return float(np.log(requested / traces.cpu_needed)), [above / windows, volume / used]


def _days_exponent(
    values: dict[str, float], bounds: Bounds, sets: Sequence[TraceSet], exponents: Sequence[float]
) -> float:
    """The least of these that is enough; the greatest, where none is."""

    def above(exponent: float) -> Iterator[list[float]]:
        """Of each set that tells shares: those of each of the short pasts, and of ENOUGH_DAYS."""
        fitted = _constants(values | {"memory_days_exponent": exponent})
        for each in sets:
            if each.weeks >= min(ENOUGH_WEEKS, max(one.weeks for one in sets)):
                yield [past.share_above(fitted) for past in each.shorts]

    def is_enough(exponent: float) -> bool:
        return all(max(short) <= max(enough, bounds.weeks_memory_above) for *short, enough in above(exponent))

    return next(filter(is_enough, exponents), exponents[-1])


def _young_margin(values: dict[str, float], bounds: Bounds, pasts: Sequence[ShortPast]) -> float:
    """The least that is enough where steadiness was not known; the greatest, if none is or nothing tells."""
    unknown = [np.isnan(past.memory.levels) for past in pasts]
    tops = np.concatenate([past.memory.tops[which] for past, which in zip(pasts, unknown, strict=True)])
    coming = np.concatenate([past.coming[which] for past, which in zip(pasts, unknown, strict=True)])
    factors, _ = margin(tops, np.full(len(tops), np.nan), _constants(values))

    def above(candidate: float) -> float:
        return float((coming > tops * np.minimum(factors, candidate)).mean())

    enough = (each for each in YOUNG_MARGINS if above(each) <= bounds.weeks_memory_above)
    return next(enough, YOUNG_MARGINS[-1]) if len(tops) else YOUNG_MARGINS[-1]


def _memory_candidates(sets: Sequence[TraceSet]) -> Iterator[_Candidate]:
    grid = itertools.product(SCALES, EXPONENTS, LEASTS, MOSTS, SLOPES, RAISES)
    for scale, exponent, least, most, slope, raise_at in grid:
        if raise_at > least:  # what was raised would have to be again
            continue
        values = {
            "memory_scale": scale,
            "memory_exponent": exponent,
            "memory_least_margin": least,
            "memory_most_margin": most,
            "memory_spread_slope": slope,
            "memory_raise_at": raise_at,
        }
        fitted = _constants(values)
        yield _candidate(values, sets, [_memory_outcome(each, fitted) for each in sets])


def _memory_outcome(traces: TraceSet, fitted: Constants) -> tuple[float, list[float]]:
    requested, weeks, above, killed = 0.0, 0, 0, 0
    for walk in traces.walks:
        # CPU has no say here: any quantile will do.
        found = (sized(one.cpu_tops, one.cpu_tops, one.memory, fitted) for one in walk.refits)
        for one, sizes in zip(walk.refits, _held(found, walk.before), strict=True):
            judged = one.judged & np.isfinite(sizes.memory_request) & (one.peak > 0)
            request, top = sizes.memory_request[judged], one.peak[judged]
            requested += float((request * one.windows[judged]).sum())
            weeks += int(judged.sum())
            above += int((top > request).sum())
            killed += int((top > sizes.memory_limit[judged]).sum())
    return float(np.log(requested / traces.memory_needed)), [above / weeks, killed / weeks]


def _candidate(
    values: dict[str, float], sets: Sequence[TraceSet], outcomes: Sequence[tuple[float, list[float]]]
) -> _Candidate:
    """Of shares the worst set's; where no set is large enough to tell any, the largest tells."""
    weeks = [each.weeks for each in sets]
    telling = [its >= min(ENOUGH_WEEKS, max(weeks)) for its in weeks]
    shares = [its for (_, its), tells in zip(outcomes, telling, strict=True) if tells]
    requested = float(np.average([each for each, _ in outcomes], weights=np.sqrt(weeks)))
    return _Candidate(values, requested, tuple(max(its) for its in zip(*shares, strict=True)))


def _order(name: str, best: dict[str, _Candidate]) -> Callable[[dict[str, float]], bool]:
    """Whether values (those of `balanced`, where some lack) request no less than it anywhere, for `cautious`;
    no more, for `lean`.
    """
    if name == "balanced":
        return lambda _: True
    side, middle = 1 if name == "cautious" else -1, best["balanced"].values
    its = _requests(middle)
    return lambda values: bool((side * (_requests(middle | values) - its) >= 0).all())


def _requests(values: dict[str, float]) -> Floats:
    """By what candidates are ordered: quantile, pad, and margins of every size, steadiness and few days."""
    fitted = _constants(values)
    tops = np.repeat(np.geomspace(2**24, 2**36, 13), 8)
    levels = np.append(1 / np.geomspace(1.0, 8.0, 7), np.nan)
    factors, _ = margin(tops, tops * np.tile(levels, 13), fitted)
    fewer = (ENOUGH_DAYS / np.arange(1, ENOUGH_DAYS + 1)) ** fitted.memory_days_exponent
    lowest = 1 + np.outer(factors - 1, fewer)
    cpu = [fitted.cpu_quantile, fitted.cpu_pad, fitted.cpu_above_peak]
    return np.array([*cpu, fitted.memory_raise_at, *lowest.ravel()])


def _best(
    bounds: Bounds, cpu: list[_Candidate], memory: list[_Candidate], sets: Sequence[TraceSet]
) -> _Candidate:
    chosen = _least(cpu, (bounds.cpu_time_above, bounds.cpu_volume_above)).values
    within = [each for each in memory if each.values["memory_most_margin"] <= bounds.most_margin]
    chosen = chosen | _least(within, (bounds.weeks_memory_above,)).values
    limits = []
    for factor in LIMIT_FACTORS:
        values = chosen | {"memory_limit_factor": factor}
        outcomes = [_memory_outcome(each, _constants(values)) for each in sets]
        limits.append(_candidate(values, sets, outcomes))
    enough = [each for each in limits if each.shares[1] <= bounds.weeks_memory_above_limit]
    return (enough or limits[-1:])[0]


def _least(candidates: list[_Candidate], bounds: tuple[float, ...]) -> _Candidate:
    """The one that requests least of those within the bounds; where none is, the one nearest to them."""

    def excess(one: _Candidate) -> float:
        shares = one.shares[: len(bounds)]
        return sum(max(0.0, share / bound - 1) for share, bound in zip(shares, bounds, strict=True))

    return min(candidates, key=lambda one: (excess(one), one.requested))


def _constants(values: dict[str, float]) -> Constants:
    neutral = Constants(2.0, 0.95, 0.01, 0.0, 2.0, 0.3, 1.1, 3.0, 1.0, 0.0, np.inf, 1.0, 1.0)
    return replace(neutral, **values)


def _held(found: Iterable[Estimates], before: Sizes) -> Iterator[Sizes]:
    for each in found:
        sizes = applied(each, before)
        before = sizes.after(before)
        yield sizes


def _told(what: str, candidates: Iterable[_Candidate]) -> Iterator[_Candidate]:
    for number, each in enumerate(candidates, start=1):
        if number % 1000 == 0:
            print(f"{what}: {number} candidates", file=sys.stderr)
        yield each


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
