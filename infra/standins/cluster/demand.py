"""What one container wants at any time, past and future.

The past is a trace that ends at the scenario's `now`. A sample speaks for the interval that ends at its
time (coarse traces are held, not interpolated: the recorded number is a mean of that interval). The future
repeats the trace's last day at the same time of day: live time t shows what the trace has at t less as many
whole days as bring it to before `now`. Where the trace has nothing there (a gap, or a trace shorter than a
day), its last unbroken part is repeated instead.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from infra.standins.cluster.traces import Trace

_DAY = 86400.0
# An interval longer than this many ordinary ones is a gap; up to it, it is a late sample.
_GAP_STEPS = 1.8


class Wanted(NamedTuple):
    """CPU in cores and memory in bytes that a container would take if nothing limited it."""

    cores: float
    memory_bytes: float


@dataclass(frozen=True)
class Startup:
    """Demand for `seconds` after each start of the container: extra cores, and at least so many bytes."""

    seconds: float = 0.0
    cores: float = 0.0
    memory_bytes: float = 0.0


class Demand:
    """One container's demand over time (Unix seconds). `measured` says that the past is a recording."""

    def __init__(
        self, trace: Trace, *, now: float, measured: bool = False, startup: Startup | None = None
    ) -> None:
        self.now = now
        self.measured = measured
        self.startup = startup or Startup()
        self._times = trace.times
        self._cpu = trace.cpu_cores
        self._memory = trace.memory_bytes
        self._step = median(b - a for a, b in pairwise(trace.times)) if len(trace.times) > 1 else 60.0
        self._longest = self._step * _GAP_STEPS
        self._unbroken_from = self._start_of_last_unbroken_part()

    @property
    def begin(self) -> float:
        """The start of the interval that the first sample speaks for."""
        return self._times[0] - self._step

    def at(self, t: float) -> Wanted | None:
        """What is wanted at `t`; None where the past has a gap. After `now` there is always something."""
        if t <= self.now:
            return self._sample(bisect_left(self._times, t), t)
        yesterday = t - math.ceil((t - self.now) / _DAY) * _DAY
        for past in (yesterday, self._folded(t)):
            wanted = self._sample(bisect_left(self._times, past), past)
            if wanted is not None:
                return wanted
        return Wanted(0.0, 0.0)

    def over(self, grid: Iterable[float]) -> Iterator[tuple[float, Wanted | None]]:
        """`at` for many ascending times of the past, without a search for each."""
        times, count, index = self._times, len(self._times), -1
        for t in grid:
            if index < 0:
                index = bisect_left(times, t)
            while index < count and times[index] < t:
                index += 1
            yield t, self._sample(index, t)

    def _sample(self, index: int, t: float) -> Wanted | None:
        """The sample at `index`, the first that is not before `t`, if it speaks for `t`."""
        if index == len(self._times):
            return None
        end = self._times[index]
        since = self._times[index - 1] if index else self.begin
        if end - since > self._longest:
            since = end - self._step
        cores = self._cpu[index]
        return Wanted(cores, self._memory[index]) if t > since and not math.isnan(cores) else None

    def _start_of_last_unbroken_part(self) -> float:
        index = len(self._times) - 1
        while index > 0 and self._times[index] - self._times[index - 1] <= self._longest:
            index -= 1
        return self._times[index] - self._step

    def _folded(self, t: float) -> float:
        span = self._times[-1] - self._unbroken_from
        into = math.fmod(t - self._times[-1], span)
        return self._unbroken_from + (into or span)
