"""Usage in short: for each container and day a few points of its distribution, from which requests are sized.

A container is one row; where several pods ran it, a window's figure is that of the worst of them. Arrays have
the shape (containers, days) or (containers, days, points); what was not measured is NaN. Fourteen days of a
container are 168 numbers, in place of 8,064 samples.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from functions.recommender.fitted import POINTS

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Digests:
    """CPU in cores and memory in bytes at POINTS; `counts` says how many windows a day had."""

    counts: Floats
    cpu: Floats
    memory: Floats

    @property
    def days(self) -> int:
        return int(self.counts.shape[1])

    def before(self, day: int, days: int) -> Digests:
        """The last `days` of those before `day`, fewer where there are not so many."""
        part = slice(max(0, day - days), day)
        return Digests(self.counts[:, part], self.cpu[:, part], self.memory[:, part])


def digest(cpu: Floats, memory: Floats, windows_per_day: int) -> Digests:
    """Digests of whole days, from the first on.

    Args:
        cpu: cores, one column a window, NaN where nothing was measured.
        memory: bytes, likewise.
        windows_per_day: 288 where windows are 5 minutes long.
    """
    containers, windows = cpu.shape
    days = windows // windows_per_day
    shape = (containers, days, windows_per_day)
    by_day = [each[:, : days * windows_per_day].reshape(shape) for each in (cpu, memory)]
    counts = np.isfinite(by_day[0]).sum(axis=2).astype(np.float64)
    return Digests(counts, *(_points(each) for each in by_day))


def _points(values: Floats) -> Floats:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN slice")
        found = np.nanquantile(values, POINTS, axis=2)
    return np.moveaxis(found, 0, -1)
