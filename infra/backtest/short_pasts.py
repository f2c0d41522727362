"""How often memory exceeds its request where few days are known: by sets of traces and strategies.

    python -m infra.backtest.short_pasts SET...

A SET is a folder of traces. At each refit of the walk-forward test containers are sized by no more than their
last days, and judged by the next week.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from functions.recommender.fitted import Constants, constants
from infra.backtest.digests import Floats
from infra.backtest.estimating import Memory, sized
from infra.backtest.fleet import Fleet, TraceError, read
from infra.backtest.peers import highest
from infra.backtest.scoring import MEASURED
from infra.backtest.walking import Pace, walk_on

DAYS = (1, 2, 3, 5, 7, 10, 14, 28)


@dataclass(frozen=True)
class ShortPast:
    """Of each container and week: what is known of memory, and the highest to come (bytes)."""

    memory: Memory
    coming: Floats

    def share_above(self, fitted: Constants) -> float:
        """Of weeks with memory above the request that the constants would lower to."""
        # CPU has no say here: any figures will do.
        tops = self.memory.tops
        request = sized(tops, tops, self.memory, fitted).sizes.memory_request
        return float((self.coming > request).mean())


def short_past(fleets: Sequence[Fleet], pace: Pace, days: int) -> ShortPast:
    """Of no more than the last `days` before each refit. Raises TraceError as `walk` does."""
    memory, coming = [], []
    for fleet in fleets:
        for past, held in walk_on(fleet, pace):
            last, top = Memory.of(past.digests, days), highest(fleet.memory[:, held])
            judged = (np.isfinite(fleet.cpu[:, held]).mean(axis=1) >= MEASURED) & np.isfinite(last.tops)
            judged &= top > 0
            memory.append(last.only(judged))
            coming.append(top[judged])
    tops, levels, known = (
        np.concatenate(each)
        for each in zip(*((one.tops, one.levels, one.days) for one in memory), strict=True)
    )
    return ShortPast(Memory(tops, levels, known), np.concatenate(coming))


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        for folder in arguments:
            print(f"{folder}: weeks with memory above the request, by how many days are known")
            print("\n".join(_table(read(Path(folder)))))
    except (TraceError, OSError) as error:
        print(f"short_pasts: {error}", file=sys.stderr)
        return 1
    return 0


def _table(fleets: Iterable[Fleet]) -> Iterator[str]:
    pace = Pace()
    long_enough = [fleet for fleet in fleets if pace.fits(fleet)]
    if not long_enough:
        raise TraceError(f"no trace is of {pace.learn + pace.hold:g} days")
    pasts = [short_past(long_enough, pace, days) for days in DAYS]
    yield f"{'':40}" + "".join(f"{days:>7}" for days in DAYS)
    for name, fitted in constants().items():
        alike = replace(fitted, memory_days_exponent=0.0)
        for what, its in ((name, fitted), (f"{name}, whatever the days", alike)):
            yield f"{what:40}" + "".join(f"{past.share_above(its):7.1%}" for past in pasts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
