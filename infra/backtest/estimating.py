"""Our own estimator: what containers should request, from daily digests alone.

Here for a fleet at once, as the walk-forward test has it; `functions.recommender.daily` says the same of one
container.

CPU: recent days tell more than old ones, so their distributions are mixed with weights that halve every few
days, and a quantile of the mixture is requested, with a little on top that matters to small containers only.
It leads hardly above the most that was used: what is steady needs none of it.

Memory: what decides is how far the coming week exceeds the past ones, and that depends on size: a small
container doubles easily, a large one does not. So the margin over the peak of four weeks is a power of the
peak, between a least and a most one. It depends on steadiness too: what stayed near its usual level for weeks
rarely leaves it, so the margin is at most the least one and the share by which the peak exceeds the usual
level. And it depends on how long was watched: a request is lowered no further than so few days allow, whose
margin is a power of their share of two weeks, and raised by no more than containers of few days have needed.
The limit, which kills and costs nothing, lies a multiple of the request's margin above the peak.

What is set is kept while the difference is not worth a change, and it is raised on evidence alone: where use
itself no longer fits, CPU's quantile or memory's peak with a little on top.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from functions.recommender.fitted import (
    CPU_DAYS,
    ENOUGH_DAYS,
    MEMORY_DAYS,
    POINTS,
    SHARES,
    STEADY_DAYS,
    Constants,
)
from functions.recommender.rules import WORTH_RAISING
from infra.backtest.digests import Digests, Floats

_GIB = 2**30


@dataclass(frozen=True)
class Sizes:
    """Cores and bytes to set, one a container; NaN where the past tells nothing."""

    cpu_request: Floats
    memory_request: Floats
    memory_limit: Floats

    def after(self, before: Sizes) -> Sizes:
        """What is set then: where nothing is told what was set stays."""
        cpu, memory, limit = (
            np.where(np.isnan(now), then, now)
            for now, then in (
                (self.cpu_request, before.cpu_request),
                (self.memory_request, before.memory_request),
                (self.memory_limit, before.memory_limit),
            )
        )
        return Sizes(cpu, memory, limit)


@dataclass(frozen=True)
class Estimates:
    """Sizes, and what a request that is set has to hold so that it need not be raised; one a container.

    `cpu_fits` is the quantile of CPU as it was used, `cpu_peak` the most, in cores. `memory_fits` is the peak
    of memory with a little on top, `peak` that peak alone, in bytes. `margin` is the factor over it that a
    request is raised to; `steady` says that it is smaller than the size alone would have it. The size of the
    request is what it is lowered to, further above where few days are known.
    """

    sizes: Sizes
    cpu_fits: Floats
    cpu_peak: Floats
    memory_fits: Floats
    peak: Floats
    margin: Floats
    steady: NDArray[np.bool_]


@dataclass(frozen=True)
class Memory:
    """What is known of memory, one a container: its peak and usual level (bytes) in so many days."""

    tops: Floats
    levels: Floats
    days: Floats

    @classmethod
    def of(cls, digests: Digests, days: int = MEMORY_DAYS) -> Memory:
        """In the last of the days."""
        past = digests.before(digests.days, days)
        return cls(peak(past.memory), usual(past), measured(past))

    def only(self, which: NDArray[np.bool_]) -> Memory:
        """The containers that the mask names."""
        return Memory(self.tops[which], self.levels[which], self.days[which])


def estimate(digests: Digests, fitted: Constants) -> Estimates:
    """For the coming days, from digests that end now."""
    past = digests.before(digests.days, CPU_DAYS)
    cpu = mixture(past, fitted.cpu_half_life, fitted.cpu_quantile)
    return sized(cpu, peak(past.cpu), Memory.of(digests), fitted)


def sized(cpu: Floats, cpu_tops: Floats, memory: Memory, fitted: Constants) -> Estimates:
    """From CPU's quantile and peak in cores, and what is known of memory."""
    tops = memory.tops
    factors, steady = margin(tops, memory.levels, fitted)
    fewer = (ENOUGH_DAYS / np.clip(memory.days, 1, ENOUGH_DAYS)) ** fitted.memory_days_exponent
    lowest = tops * (1 + (factors - 1) * fewer)
    raised = np.where(np.isnan(memory.levels), np.minimum(factors, fitted.memory_young_margin), factors)
    return Estimates(
        sizes=Sizes(
            cpu_request=np.minimum(cpu + fitted.cpu_pad, cpu_tops + fitted.cpu_above_peak),
            memory_request=lowest,
            memory_limit=np.fmax(lowest, tops * (1 + (factors - 1) * fitted.memory_limit_factor)),
        ),
        cpu_fits=cpu,
        cpu_peak=cpu_tops,
        memory_fits=tops * fitted.memory_raise_at,
        peak=tops,
        margin=raised,
        steady=steady,
    )


def mixture(digests: Digests, half_life: float, quantile: float) -> Floats:
    """The quantile of CPU over days whose weights halve every `half_life` days; cores, NaN without any."""
    ages = np.arange(digests.days)[::-1]
    measured = np.isfinite(digests.cpu[:, :, -1])
    weights = np.where(measured, digests.counts, 0.0) * 2.0 ** (-ages / half_life)
    masses = np.diff((0.0, *SHARES))
    mass = (weights[:, :, None] * masses).reshape(len(weights), -1)
    values = np.nan_to_num(_taken(digests.cpu)).reshape(len(weights), -1)
    order = np.argsort(values, axis=1)
    reached = np.cumsum(np.take_along_axis(mass, order, axis=1), axis=1)
    if not reached.shape[1]:
        return np.full(len(weights), np.nan)
    whole = reached[:, -1]
    at = (reached < quantile * whole[:, None] * (1 - 1e-9)).sum(axis=1).clip(0, values.shape[1] - 1)
    found = np.take_along_axis(values, order, axis=1)[np.arange(len(values)), at]
    return np.where(whole > 0, found, np.nan)


def peak(points: Floats) -> Floats:
    """The highest of all days, of a digest's points of CPU or memory; NaN without any."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN")
        found: Floats = np.nanmax(points[:, :, -1], axis=1, initial=-np.inf)
    return np.where(np.isfinite(found), found, np.nan)


def measured(digests: Digests) -> Floats:
    """Of how many days memory is known."""
    found: Floats = np.isfinite(digests.memory[:, :, -1]).sum(axis=1).astype(np.float64)
    return found


def usual(digests: Digests) -> Floats:
    """Memory's usual level: the median of the days' medians; bytes, NaN with fewer days than STEADY_DAYS."""
    medians = digests.memory[:, :, POINTS.index(0.5)]
    enough = np.isfinite(medians).sum(axis=1) >= STEADY_DAYS
    found = np.full(len(medians), np.nan)
    found[enough] = np.nanmedian(medians[enough], axis=1)
    return found


def margin(tops: Floats, level: Floats, fitted: Constants) -> tuple[Floats, NDArray[np.bool_]]:
    """The factor over a peak (bytes) for a request, and whether it is steadiness that bounds it.

    By size scale x (peak in GiB)^-exponent, within its bounds. By steadiness, where a usual level is known,
    the least one + (peak / usual level - 1) x slope at most.
    """
    sizes = np.maximum(tops, 1.0) / _GIB
    curve = fitted.memory_scale * sizes**-fitted.memory_exponent
    by_size = np.clip(curve, fitted.memory_least_margin, fitted.memory_most_margin)
    above = np.maximum(tops, 1.0) / np.maximum(level, 1.0) - 1
    by_spread = fitted.memory_least_margin + fitted.memory_spread_slope * np.maximum(above, 0.0)
    found: Floats = np.fmin(by_size, by_spread)
    return found, by_spread < by_size


def kept(
    new: Floats, before: Floats, fits: Floats | float, relative: float, absolute: Floats | float
) -> Floats:
    """The value before, where a change is not worth it or where it would be raised though `fits` fits in it.

    A change is worth it that reaches both the relative and the absolute threshold, or half of both where it
    raises.
    """
    share = np.where(new > before, WORTH_RAISING, 1.0)
    small = np.abs(new - before) < np.maximum(before * relative, absolute) * share
    return np.where(small | ((new > before) & (fits <= before)), before, new)


def _taken(points: Floats) -> Floats:
    """Each day's distribution at SHARES."""
    shares = (0.0, *POINTS)
    known = np.concatenate([np.zeros_like(points[:, :, :1]), points], axis=2)
    taken = np.empty((*points.shape[:2], len(SHARES)))
    for index, share in enumerate(SHARES):
        above = int(np.searchsorted(shares, share))
        part = (share - shares[above - 1]) / (shares[above] - shares[above - 1])
        taken[:, :, index] = known[:, :, above - 1] * (1 - part) + known[:, :, above] * part
    return taken
