"""Our own estimator: what containers should request, from daily digests alone.

CPU: recent days tell more than old ones, so their distributions are mixed with weights that halve every few
days, and a quantile of the mixture is requested, with a little on top that matters to small containers only.

Memory: what decides is how far the coming week exceeds the past ones, and that depends on size: a small
container doubles easily, a large one does not. So the margin over the peak of four weeks is a power of the
peak, between a least and a most one. The limit, which kills and costs nothing, has a margin of its own.

A value is kept while the new one differs little: most weekly changes are noise.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from functions.recommender.digests import POINTS, Digests, Floats
from functions.recommender.fitted import MEMORY_DAYS, Constants, constants

__all__ = ["MEMORY_DAYS", "Constants", "Sizes", "constants", "estimate", "margin", "mixture", "peak"]

_GIB = 2**30
CPU_DAYS = 14
# Shares of a day at which its distribution is taken, between the stored points by straight lines. Denser at
# the top, where requests lie; each stands for the share between the one before and itself.
_SHARES = (0.25, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0)


@dataclass(frozen=True)
class Sizes:
    """Cores and bytes to set, one a container; NaN where the past tells nothing."""

    cpu_request: Floats
    memory_request: Floats
    memory_limit: Floats


def estimate(digests: Digests, fitted: Constants, before: Sizes | None = None) -> Sizes:
    """Sizes for the coming days; `before` is what was set so far, and is kept where little would change.

    Digests end now. The memory limit is a factor of the request, so it never lies below it.
    """
    cpu = mixture(digests.before(digests.days, CPU_DAYS), fitted.cpu_half_life, fitted.cpu_quantile)
    cpu = cpu + fitted.cpu_pad
    tops = peak(digests.before(digests.days, MEMORY_DAYS))
    memory = tops * margin(tops, fitted)
    if before is not None:
        cpu = kept(cpu, before.cpu_request, fitted)
        memory = kept(memory, before.memory_request, fitted)
    return Sizes(cpu, memory, memory * fitted.memory_limit_factor)


def mixture(digests: Digests, half_life: float, quantile: float) -> Floats:
    """The quantile of CPU over days whose weights halve every `half_life` days; cores, NaN without any."""
    ages = np.arange(digests.days)[::-1]
    measured = np.isfinite(digests.cpu[:, :, -1])
    weights = np.where(measured, digests.counts, 0.0) * 2.0 ** (-ages / half_life)
    masses = np.diff((0.0, *_SHARES))
    mass = (weights[:, :, None] * masses).reshape(len(weights), -1)
    values = np.nan_to_num(_taken(digests.cpu)).reshape(len(weights), -1)
    order = np.argsort(values, axis=1)
    reached = np.cumsum(np.take_along_axis(mass, order, axis=1), axis=1)
    if not reached.shape[1]:
        return np.full(len(weights), np.nan)
    whole = reached[:, -1]
    at = (reached < quantile * whole[:, None]).sum(axis=1).clip(0, values.shape[1] - 1)
    found = np.take_along_axis(values, order, axis=1)[np.arange(len(values)), at]
    return np.where(whole > 0, found, np.nan)


def peak(digests: Digests) -> Floats:
    """The highest memory of all days; bytes, NaN without any."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN")
        found: Floats = np.nanmax(digests.memory[:, :, -1], axis=1, initial=-np.inf)
    return np.where(np.isfinite(found), found, np.nan)


def margin(tops: Floats, fitted: Constants) -> Floats:
    """The factor over a peak (bytes) for a request: scale x (peak in GiB)^-exponent, within its bounds."""
    sizes = np.maximum(tops, 1.0) / _GIB
    curve = fitted.memory_scale * sizes**-fitted.memory_exponent
    found: Floats = np.clip(curve, fitted.memory_least_margin, fitted.memory_most_margin)
    return found


def kept(new: Floats, before: Floats, fitted: Constants) -> Floats:
    """The value before, where the new one lies between `keep_below` and `keep_above` of it."""
    little = (new >= before * fitted.keep_below) & (new <= before * fitted.keep_above)
    return np.where(little, before, new)


def _taken(points: Floats) -> Floats:
    """Each day's distribution at _SHARES: straight between the stored points, from 0 to the median."""
    shares = (0.0, *POINTS)
    known = np.concatenate([np.zeros_like(points[:, :, :1]), points], axis=2)
    taken = np.empty((*points.shape[:2], len(_SHARES)))
    for index, share in enumerate(_SHARES):
        above = int(np.searchsorted(shares, share))
        part = (share - shares[above - 1]) / (shares[above] - shares[above - 1])
        taken[:, :, index] = known[:, :, above - 1] * (1 - part) + known[:, :, above] * part
    return taken
