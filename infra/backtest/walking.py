"""Sizes a fleet again and again as time goes on, each time from what was known by then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from infra.backtest.digests import Digests, digest
from infra.backtest.estimating import Sizes
from infra.backtest.fleet import Fleet, TraceError
from infra.backtest.peers import Windows

_DAY = 86_400


@dataclass(frozen=True)
class Past:
    """What a strategy may look at. Digests are of whole days and end now; `set_before` is what is set: at
    first as `started` has it, then what the strategy said last. `guaranteed` are the containers whose request
    and limit are one value.

    `coming` is what only an oracle knows: the windows until the next refit.
    """

    windows: Windows
    digests: Digests
    coming: Windows
    set_before: Sizes
    guaranteed: NDArray[np.bool_]


class Strategy(Protocol):
    """A way of sizing, under the name that people know it by."""

    @property
    def name(self) -> str: ...

    def __call__(self, past: Past) -> Sizes: ...


@dataclass(frozen=True)
class Held:
    """Sizes that were valid for these windows (columns of the fleet)."""

    windows: slice
    sizes: Sizes


@dataclass(frozen=True)
class Pace:
    """`learn` is how long is watched before the first sizes, `hold` how long each sizes are kept, in days."""

    learn: float = 14.0
    hold: float = 7.0

    def fits(self, fleet: Fleet) -> bool:
        return bool(self.holds(fleet))

    def require(self, fleet: Fleet) -> None:
        """Raises TraceError where the fleet was not watched for long enough."""
        if not self.fits(fleet):
            raise TraceError(
                f"{fleet.name}: {fleet.seconds / _DAY:.1f} days, {self.learn + self.hold:g} are needed:"
                " choose shorter ones (--learn-days, --hold-days)"
            )

    def holds(self, fleet: Fleet) -> list[slice]:
        """The windows (columns of the fleet) of each hold that is whole.

        Where a last one would lack no more than an hour of a day, learning is shorter by that: a Prometheus
        that keeps four weeks has lost their first minutes.
        """
        first, hold, there = _windows(self.learn, fleet), _windows(self.hold, fleet), fleet.cpu.shape[1]
        lacking = first + hold * (1 + (there - first) // hold) - there
        if lacking <= min(hold, first) // 24:
            first -= lacking
        return [slice(now, now + hold) for now in range(first, there - hold + 1, hold)]


def walk(fleet: Fleet, strategy: Strategy, pace: Pace) -> Iterator[Held]:
    """Sizes from `learn` on, every `hold` days, as long as a whole one remains to judge them by.

    Raises:
        TraceError: the fleet was not watched for long enough.
    """
    is_set = started(fleet)
    for past, windows in walk_on(fleet, pace):
        sizes = _left(strategy(replace(past, set_before=is_set)), fleet)
        is_set = sizes.after(is_set)
        yield Held(windows, sizes)


def _left(sizes: Sizes, fleet: Fleet) -> Sizes:
    """With what the engine leaves as it is provisioned, whoever sizes: so all are compared alike."""
    cpu = fleet.treated(lambda each: each.cpu_stays)
    memory = fleet.treated(lambda each: each.memory_stays)
    return Sizes(
        np.where(cpu, fleet.cpu_request, sizes.cpu_request),
        np.where(memory, fleet.memory_request, sizes.memory_request),
        np.where(memory, fleet.memory_limit, sizes.memory_limit),
    )


def started(fleet: Fleet) -> Sizes:
    """What is set before the first sizes: what was requested, or nothing, so that sizes alone are judged: the
    engine raises nothing that was set without need.
    """
    if fleet.starts_as_set:
        cpu, memory = (np.where(each > 0, each, np.nan) for each in (fleet.cpu_request, fleet.memory_request))
        # Where there is no limit none is introduced.
        no_limit = np.isnan(fleet.memory_limit) & np.isfinite(fleet.memory_request)
        return Sizes(cpu, memory, np.where(no_limit, np.inf, fleet.memory_limit))
    nothing = np.full(len(fleet.containers), np.nan)
    return Sizes(nothing, nothing, nothing)


def walk_on(fleet: Fleet, pace: Pace) -> Iterator[tuple[Past, slice]]:
    """Each moment of a refit, with the windows until the next, and what is set at the very first. Raises
    TraceError as `walk` does.

    Where a hold is shorter than a day, a digest is of that length, so that a trace of two days can be walked.
    """
    pace.require(fleet)
    per_day = _windows(min(1.0, pace.hold), fleet)
    # Each day is digested once: the days of all refits end at the same moments.
    holds, is_set = pace.holds(fleet), started(fleet)
    guaranteed = fleet.treated(lambda each: each.is_guaranteed)
    first = holds[0].start % per_day
    digests = digest(fleet.cpu[:, first:], fleet.memory[:, first:], per_day, fleet.window)
    for windows in holds:
        now = windows.start
        yield (
            Past(
                windows=Windows(fleet.cpu[:, :now], fleet.memory[:, :now], round(_DAY / fleet.window)),
                digests=digests.before((now - first) // per_day, digests.days),
                coming=Windows(fleet.cpu[:, windows], fleet.memory[:, windows], per_day),
                set_before=is_set,
                guaranteed=guaranteed,
            ),
            windows,
        )


def _windows(days: float, fleet: Fleet) -> int:
    return max(1, round(days * _DAY / fleet.window))
