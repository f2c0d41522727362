"""Has containers estimated from their days.

Loaded only where a strategy is asked for that needs it: numpy is heavy, and the percentile engine has no use
for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from functions.recommender.container import Day, Estimate
from functions.recommender.digests import POINTS, Digests
from functions.recommender.estimating import CPU_DAYS, MEMORY_DAYS, Constants, estimate, usual
from shared.contracts.digests import POINTS as STORED
from shared.contracts.quantities import MIB

K = TypeVar("K")


def estimates(days: Mapping[K, Sequence[Day]], strategy: str, fitted: Constants) -> dict[K, Estimate]:
    """What the strategy says of each container whose days tell enough."""
    keys = [key for key, its in days.items() if its]
    if not keys:
        return {}
    digests = _digests([days[key] for key in keys])
    found = estimate(digests, fitted)
    sizes, levels = found.sizes, usual(digests)
    estimated = {}
    for index, key in enumerate(keys):
        if not np.isfinite([sizes.cpu_request[index], sizes.memory_request[index]]).all():
            continue
        tops, factor = found.peak[index], found.margin[index]
        peak = f"{strategy}: the peak of {MEMORY_DAYS} days is {tops / MIB:.0f}Mi"
        because = "for its size"
        if found.steady[index]:
            because = f"because it is steady: {tops / levels[index] - 1:.0%} above the usual level"
        estimated[key] = Estimate(
            strategy=strategy,
            cpu_request_m=round(float(sizes.cpu_request[index]) * 1000, 3),
            memory_request_bytes=round(float(sizes.memory_request[index])),
            memory_limit_bytes=round(float(sizes.memory_limit[index])),
            cpu_fits_m=round(float(found.cpu_fits[index]) * 1000, 3),
            memory_fits_bytes=round(float(found.memory_fits[index])),
            why_cpu=(
                f"{strategy}: the p{fitted.cpu_quantile * 100:g} of {CPU_DAYS} days, weights halved every"
                f" {fitted.cpu_half_life:g}, is {found.cpu_fits[index] * 1000:.0f}m,"
                f" plus {fitted.cpu_pad * 1000:g}m"
            ),
            why_memory=f"{peak}, times {factor:.2f} {because}",
            why_limit=(
                f"{peak}, times {sizes.memory_limit[index] / tops:.2f}, because a limit kills:"
                f" {fitted.memory_limit_factor:g} times the request's margin"
            ),
        )
    return estimated


def _at_points(values: Sequence[float]) -> Sequence[float]:
    """Of those that are stored the ones that the estimator was fitted to: older reports have no others."""
    return values if len(values) == len(POINTS) else [values[STORED.index(share)] for share in POINTS]


def _digests(days: Sequence[Sequence[Day]]) -> Digests:
    """A row a container, today the last of its days; a day without memory is NaN there.

    Of a day whose memory is told by its peak alone nothing else is known: its other points are NaN.
    """
    shape = (len(days), MEMORY_DAYS)
    counts = np.zeros(shape)
    cpu, memory = (np.full((*shape, len(POINTS)), np.nan) for _ in range(2))
    for row, its in enumerate(days):
        for day in its:
            at = MEMORY_DAYS - 1 - day.ago
            if at < 0:
                continue
            counts[row, at] = day.windows
            if day.windows:
                cpu[row, at] = np.array(_at_points(day.cpu_m)) / 1000
            if day.memory_points:
                memory[row, at] = _at_points(day.memory_points)
            if day.memory_bytes:
                memory[row, at, -1] = day.memory_bytes
    return Digests(counts, cpu, memory)
