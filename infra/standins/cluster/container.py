"""A container as its control group accounts for it: what it may use, is refused, and is killed for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from infra.standins.cluster.demand import Demand, Wanted

# CFS bandwidth control: quota and statistics are per period of 100 ms (kernel default cpu.cfs_period_us).
_PERIODS_PER_SECOND = 10.0
# Above this share of its limit a container begins to be throttled in some periods, although the mean is
# below the limit: work comes in bursts shorter than a sample.
_THROTTLING_BEGINS = 0.5
# kubelet: the first restart is immediate, then 10 s, doubling to 5 min; forgotten after 10 min of running.
_BACKOFF_FIRST, _BACKOFF_MOST, _BACKOFF_FORGOTTEN = 10.0, 300.0, 600.0
# A fresh process holds this share of its memory and takes so many seconds to reach all of it.
_FRESH_SHARE, _FILLING_SECONDS = 0.4, 30.0
_LIVE_STEP_SECONDS = 5.0


class Container:
    """Counters and state of one container in one pod.

    `cpu_limit` in cores and `memory_limit` in bytes, None for none. Counters belong to the present control
    group: a restart begins a new one (`restarts` is part of its id), as cAdvisor sees it.
    """

    __slots__ = (
        "_backoff",
        "_began",
        "_resumes",
        "cpu_limit",
        "cpu_seconds",
        "demand",
        "image",
        "memory_limit",
        "name",
        "oom_killed",
        "periods",
        "restarts",
        "t",
        "throttled_periods",
        "throttled_seconds",
        "working_set",
    )

    def __init__(
        self,
        name: str,
        image: str,
        demand: Demand,
        *,
        start: float,
        cpu_limit: float | None = None,
        memory_limit: float | None = None,
    ) -> None:
        self.name = name
        self.image = image
        self.cpu_limit = cpu_limit
        self.memory_limit = memory_limit
        self.restarts = 0
        self.oom_killed = False
        self.t = start
        self.demand = demand
        self._backoff = 0.0
        self._resumes: float | None = None
        self._start(start)

    def begin(self, at: float) -> None:
        """Begins anew, as a pod that found its node late does."""
        self.t = at
        self._start(at)

    def _start(self, at: float) -> None:
        self._began = at
        self._resumes = None
        self.cpu_seconds = self.periods = self.throttled_periods = self.throttled_seconds = 0.0
        self.working_set = math.nan

    @property
    def running(self) -> bool:
        return self._resumes is None

    @property
    def began(self) -> float:
        """When the present run began (Unix seconds)."""
        return self._began

    @property
    def waiting_reason(self) -> str | None:
        return None if self._resumes is None else "CrashLoopBackOff"

    def advance(self, to: float) -> None:
        """Lives through the time until `to`, limits enforced."""
        while self.t < to:
            until = min(to, self.t + _LIVE_STEP_SECONDS)
            self.live(until, self.demand.at(until), enforced=True)

    def live(self, until: float, wanted: Wanted | None, *, enforced: bool) -> None:
        """Lives from `t` to `until` with one demand. None: nothing was recorded, so nothing is counted.

        A recording already is what happened: with `enforced` false its numbers stand, whatever the limits
        are.
        """
        seconds, self.t = until - self.t, until
        if self._resumes is not None:
            if until < self._resumes:
                return
            seconds = until - self._resumes
            self._start(self._resumes)
        if wanted is None:
            self.working_set = math.nan
            return
        cores, memory = wanted
        if enforced:
            age = until - self._began
            if age < _FILLING_SECONDS:
                memory *= _FRESH_SHARE + (1 - _FRESH_SHARE) * age / _FILLING_SECONDS
            startup = self.demand.startup
            if age <= startup.seconds:
                cores += startup.cores
                memory = max(memory, startup.memory_bytes)
            if self.memory_limit is not None and memory > self.memory_limit:
                self._kill(until)
                return
        self.working_set = memory
        if self.cpu_limit is not None:
            share = cores / self.cpu_limit
            throttled = min(1.0, max(0.0, (share - _THROTTLING_BEGINS) / (1 - _THROTTLING_BEGINS)) ** 2)
            self.periods += seconds * _PERIODS_PER_SECOND
            self.throttled_periods += seconds * _PERIODS_PER_SECOND * throttled
            self.throttled_seconds += seconds * max(0.0, cores - self.cpu_limit)
            if enforced and share > 1:
                cores = self.cpu_limit
        self.cpu_seconds += seconds * cores

    def _kill(self, at: float) -> None:
        ran = at - self._began
        if ran >= _BACKOFF_FORGOTTEN:
            self._backoff = 0.0
        self.restarts += 1
        self.oom_killed = True
        self.working_set = math.nan
        self._resumes = at + self._backoff
        self._backoff = min(_BACKOFF_MOST, max(_BACKOFF_FIRST, self._backoff * 2))
        if self._resumes == at:
            self._start(at)


def relive(container: Container, times: Iterable[float]) -> Iterator[float]:
    """Lives through the past up to each of `times` in turn, and yields there."""
    demand = container.demand
    enforced = not demand.measured
    for t, wanted in demand.over(times):
        container.live(t, wanted, enforced=enforced)
        yield t
