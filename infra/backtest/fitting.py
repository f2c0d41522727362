"""Fits the estimator's constants to traces, by walking through them with every candidate.

    python -m infra.backtest.fitting TRACES [OUT]

TRACES is a folder of traces; OUT defaults to functions/recommender/constants.json. For each strategy the
candidates that keep its bounds are compared, and the one that requests least is taken. A grid, searched
whole: the same traces give the same constants.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from functions.recommender.digests import Digests, Floats
from functions.recommender.estimating import CPU_DAYS, MEMORY_DAYS, Constants, kept, margin, mixture, peak
from functions.recommender.peers import highest
from infra.backtest.fleet import Fleet, TraceError, read
from infra.backtest.scoring import MEASURED
from infra.backtest.strategies import CPU_FLOOR, MEMORY_FLOOR
from infra.backtest.walking import Pace, walk_on

OUT = Path(__file__).resolve().parents[2] / "functions" / "recommender" / "constants.json"


@dataclass(frozen=True)
class Bounds:
    """What a strategy may cost others, as shares: of CPU time and volume above the request, and of weeks in
    which memory exceeded the request and the limit. They are stricter than what is promised, because what is
    kept apart never turns out as well as what was tuned on.
    """

    cpu_time_above: float
    cpu_volume_above: float
    weeks_memory_above: float
    weeks_memory_above_limit: float


STRATEGIES = {
    "balanced": Bounds(0.034, 0.0425, 0.035, 0.003),
    "cautious": Bounds(0.015, 0.020, 0.015, 0.002),
    "lean": Bounds(0.050, 0.065, 0.080, 0.004),
}
HALF_LIVES = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 5.0)  # days
QUANTILES = (0.90, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98)
PADS = (0.005, 0.010, 0.015, 0.020, 0.030)  # cores
BANDS = ((0.85, 1.05), (0.90, 1.03))
SCALES = tuple(np.round(np.geomspace(1.2, 4.0, 14), 3))
EXPONENTS = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
LEASTS = (1.02, 1.05, 1.075, 1.1, 1.15, 1.2, 1.3)
MOSTS = (1.5, 2.0, 2.5, 3.0, 4.0)
LIMIT_FACTORS = (1.0, 1.15, 1.3, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)


@dataclass(frozen=True)
class Refit:
    """One moment of one fleet: what was known, and what came."""

    digests: Digests
    cpu: Floats  # of the windows to come
    peak: Floats  # the highest memory to come
    judged: np.ndarray


Walks = list[list[Refit]]  # by fleet


def main(arguments: list[str]) -> int:
    if not 1 <= len(arguments) <= 2:
        print(__doc__, file=sys.stderr)
        return 2
    traces, out = Path(arguments[0]), Path(arguments[1]) if len(arguments) == 2 else OUT
    try:
        fleets = read(traces)
        walks = [list(_refits(fleet)) for fleet in fleets]
    except (TraceError, OSError) as error:
        print(f"fitting: {error}", file=sys.stderr)
        return 1
    cpu = _cpu_candidates(walks)
    tops = [[peak(_last(one, MEMORY_DAYS)) for one in walk] for walk in walks]
    memory = _memory_candidates(walks, tops)
    document = {
        "fitted_by": "python -m infra.backtest.fitting",
        "traces": {fleet.name: len(fleet.containers) for fleet in fleets},
        "bounds": {name: asdict(bounds) for name, bounds in STRATEGIES.items()},
        "strategies": {
            name: asdict(_best(bounds, cpu, memory, (walks, tops))) for name, bounds in STRATEGIES.items()
        },
    }
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(document["strategies"], indent=1))
    return 0


def _refits(fleet: Fleet) -> Iterator[Refit]:
    for past, held in walk_on(fleet, Pace()):
        cpu = fleet.cpu[:, held]
        judged = np.isfinite(cpu).mean(axis=1) >= MEASURED
        yield Refit(past.digests, cpu, highest(fleet.memory[:, held]), judged)


@dataclass(frozen=True)
class _Candidate:
    """Constants with what they request (cores or bytes, summed), and the shares that were above."""

    values: dict[str, float]
    requested: float
    shares: tuple[float, ...]


def _cpu_candidates(walks: Walks) -> list[_Candidate]:
    found = []
    for half_life, quantile in itertools.product(HALF_LIVES, QUANTILES):
        raw = [[mixture(_last(one, CPU_DAYS), half_life, quantile) for one in walk] for walk in walks]
        for pad, band in itertools.product(PADS, BANDS):
            values = {"cpu_half_life": half_life, "cpu_quantile": quantile, "cpu_pad": pad}
            values |= {"keep_below": band[0], "keep_above": band[1]}
            requested = used = volume = 0.0
            above = windows = 0
            for walk, mixtures in zip(walks, raw, strict=True):
                requests = _held([np.maximum(each + pad, CPU_FLOOR) for each in mixtures], band)
                for one, request in zip(walk, requests, strict=True):
                    sized = one.judged & np.isfinite(request)
                    cpu, limit = one.cpu[sized], request[sized, None]
                    measured = np.isfinite(cpu)
                    over = measured & (cpu > limit)
                    requested += float((measured * limit).sum())
                    used += float(cpu[measured].sum())
                    volume += float((cpu - limit)[over].sum())
                    above += int(over.sum())
                    windows += int(measured.sum())
            found.append(_Candidate(values, requested, (above / windows, volume / used)))
        print(f"CPU: half-life {half_life:g} d, quantile {quantile:g}", file=sys.stderr)
    return found


def _memory_candidates(walks: Walks, tops: list[list[Floats]]) -> list[_Candidate]:
    found = []
    for scale, exponent, least, most in itertools.product(SCALES, EXPONENTS, LEASTS, MOSTS):
        values = {
            "memory_scale": float(scale),
            "memory_exponent": exponent,
            "memory_least_margin": least,
            "memory_most_margin": most,
        }
        requested, shares = _memory_outcome(walks, tops, values, (1.0,))
        found.append(_Candidate(values, requested, shares))
    return found


def _memory_outcome(
    walks: Walks, tops: list[list[Floats]], values: dict[str, float], factors: tuple[float, ...]
) -> tuple[float, tuple[float, ...]]:
    """Bytes requested, and the share of weeks above each of `factors` times the request."""
    fitted = _constants(values)
    requested, weeks, above = 0.0, 0, np.zeros(len(factors))
    for walk, peaks in zip(walks, tops, strict=True):
        wanted = [np.maximum(each * margin(each, fitted), MEMORY_FLOOR) for each in peaks]
        for one, request in zip(walk, _held(wanted, (fitted.keep_below, fitted.keep_above)), strict=True):
            sized = one.judged & np.isfinite(request) & np.isfinite(one.peak)
            requested += float(request[sized].sum())
            weeks += int(sized.sum())
            above += [(one.peak[sized] > factor * request[sized]).sum() for factor in factors]
    return requested, tuple(float(each) / weeks for each in above)


def _best(
    bounds: Bounds,
    cpu: list[_Candidate],
    memory: list[_Candidate],
    walked: tuple[Walks, list[list[Floats]]],
) -> Constants:
    chosen = _least(cpu, (bounds.cpu_time_above, bounds.cpu_volume_above)).values
    chosen = chosen | _least(memory, (bounds.weeks_memory_above,)).values
    _, above = _memory_outcome(*walked, chosen, LIMIT_FACTORS)
    factors = [
        factor
        for factor, share in zip(LIMIT_FACTORS, above, strict=True)
        if share <= bounds.weeks_memory_above_limit
    ]
    return replace(_constants(chosen), memory_limit_factor=factors[0] if factors else LIMIT_FACTORS[-1])


def _least(candidates: list[_Candidate], bounds: tuple[float, ...]) -> _Candidate:
    """The one that requests least of those within the bounds; where none is, the one nearest to them."""

    def excess(one: _Candidate) -> float:
        return sum(max(0.0, share / bound - 1) for share, bound in zip(one.shares, bounds, strict=True))

    return min(candidates, key=lambda one: (excess(one), one.requested))


def _constants(values: dict[str, float]) -> Constants:
    neutral = Constants(2.0, 0.95, 0.01, 2.0, 0.3, 1.1, 3.0, 1.0, *BANDS[0])
    return replace(neutral, **values)


def _held(wanted: list[Floats], band: tuple[float, float]) -> list[Floats]:
    fitted = _constants({"keep_below": band[0], "keep_above": band[1]})
    held: list[Floats] = []
    for each in wanted:
        held.append(kept(each, held[-1], fitted) if held else each)
    return held


def _last(one: Refit, days: int) -> Digests:
    return one.digests.before(one.digests.days, days)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
