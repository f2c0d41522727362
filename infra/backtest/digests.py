"""Usage in short: for each container and day a few points of its distribution, from which requests are sized.

A container is one row; where several pods ran it, a window's figure is that of the worst of them. Arrays have
the shape (containers, days) or (containers, days, points); what was not measured is NaN. Fourteen days of a
container are 168 numbers, in place of 8,064 samples.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from functions.recommender.fitted import POINTS
from functions.recommender.queries import CPU_APART, MEMORY_APART

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


def digest(cpu: Floats, memory: Floats, windows_per_day: int, seconds: float) -> Digests:
    """Digests of whole days, from the first on, by the windows that a scan looks at, and memory's peak.

    Args:
        cpu: cores, one column a window, NaN where nothing was measured.
        memory: bytes, likewise.
        windows_per_day: 288 where windows are 5 minutes long.
        seconds: a window's length.
    """
    containers, windows = cpu.shape
    days = windows // windows_per_day
    shape = (containers, days, windows_per_day)
    cores, sizes = (each[:, : days * windows_per_day].reshape(shape) for each in (cpu, memory))
    looked_at = _looked_at(cores, seconds, CPU_APART)
    counts = np.isfinite(looked_at).sum(axis=2).astype(np.float64)
    memory_points = _points(_looked_at(sizes, seconds, MEMORY_APART))
    with _of_nothing():
        peaks = np.nanmax(sizes, axis=2)
    memory_points[:, :, -1] = peaks
    # As of a container that lived between two of the windows.
    memory_points = np.where(np.isnan(memory_points), peaks[:, :, None], memory_points)
    return Digests(counts, _points(looked_at), memory_points)


def _looked_at(days: Floats, seconds: float, apart: int) -> Floats:
    """Each day's windows that end last before the times that a scan asks about, and NaN for all others."""
    _, count, per_day = days.shape
    step = max(apart, seconds)
    ends = np.arange(1, int(count * per_day * seconds / step) + 1) * step
    chosen = np.zeros(count * per_day, dtype=bool)
    chosen[(ends // seconds).astype(np.int64) - 1] = True
    return np.where(chosen.reshape(count, per_day), days, np.nan)


def _points(values: Floats) -> Floats:
    with _of_nothing():
        found = np.nanquantile(values, POINTS, axis=2)
    return np.moveaxis(found, 0, -1)


@contextmanager
def _of_nothing() -> Iterator[None]:
    """Of a day without a measure all is NaN, and that is as it should be."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN")
        yield
