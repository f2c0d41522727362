"""What the estimator says of a container, from its days, in words as well.

`infra.backtest.estimating` does the same to a whole fleet at once, for the walk-forward test. It has numpy
for that, which would take a function 16 MiB; a test holds the two together.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TypeVar

from functions.recommender.container import Day, Estimate, told_cores
from functions.recommender.fitted import (
    CPU_DAYS,
    ENOUGH_DAYS,
    MEMORY_DAYS,
    POINTS,
    SHARES,
    STEADY_DAYS,
    Constants,
)
from shared.contracts.digests import POINTS as STORED
from shared.contracts.quantities import GIB, MIB
from shared.contracts.wording import counted

K = TypeVar("K")

_MASSES = tuple(share - before for before, share in zip((0.0, *SHARES), SHARES, strict=False))
# Of each share the points around it, 0 before the first, and how far it lies from the one to the other.
_AROUND = tuple(
    (above, above + 1, (share - low) / (high - low))
    for share in SHARES
    for above in (bisect_left(POINTS, share),)
    for low, high in (((0.0, *POINTS)[above], POINTS[above]),)
)


def estimates(days: Mapping[K, Sequence[Day]], strategy: str, fitted: Constants) -> dict[K, Estimate]:
    """What the strategy says of each container whose days tell enough."""
    found = {key: _estimate(its, strategy, fitted) for key, its in days.items()}
    return {key: estimate for key, estimate in found.items() if estimate is not None}


def _estimate(days: Sequence[Day], strategy: str, fitted: Constants) -> Estimate | None:
    with_memory = [day for day in days if day.memory_bytes and 0 <= day.ago < MEMORY_DAYS]
    with_cpu = [day for day in days if day.windows and 0 <= day.ago < CPU_DAYS]
    if not with_memory or not with_cpu:
        return None
    peak = max([day.memory_bytes for day in with_memory])
    cpu = _mixture(with_cpu, fitted.cpu_half_life, fitted.cpu_quantile)
    cpu_peak = max([day.cpu_m[-1] for day in with_cpu]) / 1000
    pad = min(fitted.cpu_pad, cpu_peak - cpu + fitted.cpu_above_peak)
    # Today is not over.
    whole = [day for day in with_memory if day.ago]
    level, known = _usual(whole), max(1, len(whole))
    factor, is_steady = _margin(peak, level, fitted)
    lowest = 1 + (factor - 1) * (ENOUGH_DAYS / min(known, ENOUGH_DAYS)) ** fitted.memory_days_exponent
    raised = factor if level is not None else min(factor, fitted.memory_young_margin)
    limit = peak * max(lowest, 1 + (factor - 1) * fitted.memory_limit_factor)
    peaked = f"{strategy}: the peak of {counted(len(with_memory), 'day')} is {peak / MIB:.0f}Mi"
    because = "for its size"
    if is_steady:
        assert level is not None
        because = f"by how far it leaves its usual level: {peak / level - 1:.0%}"
    no_further = (
        f", no further than {told_cores(fitted.cpu_above_peak * 1000)} above the peak"
        if pad < fitted.cpu_pad
        else ""
    )
    so_few = (
        f", and because only {counted(known, 'whole day')} {'is' if known == 1 else 'are'} known"
        if lowest > factor
        else ""
    )
    return Estimate(
        strategy=strategy,
        cpu_request_m=round((cpu + pad) * 1000, 3),
        memory_request_bytes=round(peak * lowest),
        memory_raise_bytes=round(peak * raised),
        memory_limit_bytes=round(limit),
        cpu_fits_m=round(cpu * 1000, 3),
        cpu_throttled_m=round((cpu + fitted.cpu_pad) * 1000, 3),
        memory_fits_bytes=round(peak * fitted.memory_raise_at),
        why_cpu=(
            f"{strategy}: the p{fitted.cpu_quantile * 100:g} of {counted(len(with_cpu), 'day')}, weights"
            f" halved every {fitted.cpu_half_life:g}, is {told_cores(cpu * 1000)}"
            f", plus {told_cores(pad * 1000)}{no_further}"
        ),
        why_memory=f"{peaked}, times {lowest:.2f} {because}{so_few}",
        why_raise=f"{peaked}, times {raised:.2f} "
        + (because if raised == factor else f"and no more, as less than {STEADY_DAYS} whole days are known"),
        why_limit=(
            f"{peaked}, times {limit / peak:.2f}, because a limit kills"
            + (
                so_few
                if limit == peak * lowest
                else f": {fitted.memory_limit_factor:g} times the margin {because}"
            )
        ),
    )


def _mixture(days: Sequence[Day], half_life: float, quantile: float) -> float:
    """The quantile of CPU, in cores, over days with windows, whose weights halve every `half_life` days."""
    weighed = [(day.windows * 2.0 ** (-day.ago / half_life), (0.0, *_at_points(day.cpu_m))) for day in days]
    wanted = quantile * sum(weight for weight, _ in weighed) * (1 - 1e-9)
    # It lies between the own quantiles of the days: all have less than the share below the least of them, and
    # at least as much up to the highest. Few of the other values lie between.
    own = bisect_left(SHARES, quantile)
    ends = [_value(points, own) for _, points in weighed]
    least, most = min(ends), max(ends)
    reached = 0.0
    between: list[tuple[float, float]] = []
    for weight, points in weighed:
        at = own
        while at >= 0 and (value := _value(points, at)) >= least:
            between.append((value, weight * _MASSES[at]))
            at -= 1
        reached += weight * SHARES[at] if at >= 0 else 0.0
        at = own + 1
        while at < len(SHARES) and (value := _value(points, at)) <= most:
            between.append((value, weight * _MASSES[at]))
            at += 1
    between.sort()
    for value, weight in between:
        reached += weight
        if reached >= wanted:
            return value / 1000
    return most / 1000


def _value(points: Sequence[float], at: int) -> float:
    low, high, part = _AROUND[at]
    return points[low] * (1 - part) + points[high] * part


def _usual(days: Sequence[Day]) -> float | None:
    """Memory's usual level: the median of whole days' medians; bytes, None of fewer than STEADY_DAYS."""
    medians = sorted(
        day.memory_points[_STORED_MIDDLE if len(day.memory_points) == len(STORED) else _MIDDLE]
        for day in days
        if day.memory_points
    )
    if len(medians) < STEADY_DAYS:
        return None
    return (medians[(len(medians) - 1) // 2] + medians[len(medians) // 2]) / 2


def _margin(peak: float, level: float | None, fitted: Constants) -> tuple[float, bool]:
    """The factor over a peak (bytes) for a request, and whether it is steadiness that bounds it."""
    least, most = fitted.memory_least_margin, fitted.memory_most_margin
    by_size = min(max(fitted.memory_scale * (peak / GIB) ** -fitted.memory_exponent, least), most)
    if level is None:
        return by_size, False
    by_spread = least + fitted.memory_spread_slope * max(peak / max(level, 1.0) - 1, 0.0)
    return min(by_size, by_spread), by_spread < by_size


def _at_points(values: Sequence[float]) -> Sequence[float]:
    """Of those that are stored the ones that the estimator was fitted to: older reports have no others."""
    return values if len(values) == len(POINTS) else _of_stored(values)


_of_stored: itemgetter[tuple[float, ...]] = itemgetter(*(STORED.index(share) for share in POINTS))
_MIDDLE, _STORED_MIDDLE = POINTS.index(0.5), STORED.index(0.5)
