"""Writes traces of which the truth is known, in the format of traces: the same seed makes the same ones.

    python -m infra.backtest.generated OUT [SEED]

OUT/generated-<seed>.csv has, of each kind of behaviour in KINDS, ten containers over ten weeks in 5-minute
windows, as a Prometheus that scrapes each minute sees them. What it does not see is in `Generated.truth`.
Sizes, rhythms and rates are drawn within bounds that are written where they are drawn: they are chosen to be
like containers, not fitted to any, so they show what a way of sizing does, not how often that happens.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.random import Generator

from infra.backtest.digests import Floats
from infra.backtest.fleet import WINDOW_SECONDS, Fleet
from shared.contracts.quantities import GIB, MIB

HEADER = (
    *("timestamp_s", "workload", "pod", "container", "cpu_cores", "memory_bytes"),
    *("cpu_request_cores", "memory_request_bytes", "memory_limit_bytes"),
)
CONTAINERS = 10  # of each kind
WEEKS = 10
BEGIN = 1_767_571_200  # a Monday, midnight UTC
_DAY = 86_400 // WINDOW_SECONDS
_WINDOWS = WEEKS * 7 * _DAY
_SCRAPE_SECONDS = 60


@dataclass(frozen=True)
class Generated:
    """One kind: what scrapes see, and what really was used."""

    seen: Fleet
    truth: Fleet


@dataclass(frozen=True)
class _Container:
    """CPU (cores) and memory (bytes) of each window; `hidden` is the memory that no scrape may see."""

    cpu: Floats
    memory: Floats
    hidden: Floats
    limit: float


def generated(seed: int) -> dict[str, Generated]:
    """By kind, in the order of KINDS."""
    return {
        kind: _fleet(kind, make, np.random.default_rng([seed, number]))
        for number, (kind, make) in enumerate(KINDS.items())
    }


def _fleet(name: str, make: Callable[[Generator], _Container], draw: Generator) -> Generated:
    made = [make(draw) for _ in range(CONTAINERS)]
    cpu = np.array([each.cpu for each in made])
    limits = np.array([each.limit for each in made])
    seen = Fleet(
        name=name,
        containers=tuple((f"{name}-{number:02}", "app") for number in range(CONTAINERS)),
        cpu=cpu,
        memory=np.array([each.memory for each in made]),
        begin=float(BEGIN),
        window=WINDOW_SECONDS,
        # What people set: for the busiest moment that they saw, and some more.
        cpu_request=np.round(cpu.max(axis=1) * draw.uniform(1.0, 3.0, CONTAINERS), 3),
        memory_request=np.round(limits * draw.uniform(0.5, 1.0, CONTAINERS)),
        memory_limit=limits,
        pods=np.ones(cpu.shape, np.uint16),
    )
    return Generated(seen, replace(seen, memory=np.array([each.hidden for each in made])))


# The kinds, each by what is drawn for it.


def _steady(draw: Generator) -> _Container:
    return _of(draw, *_usual(draw))


def _level_shift(draw: Generator) -> _Container:
    """A release in week 3 to 9, that needs 1.2 to 2.5 times as much of both, or 0.4 to 0.8 times."""
    cpu, memory = _usual(draw)
    times = draw.uniform(1.2, 2.5) if draw.random() < 0.5 else draw.uniform(0.4, 0.8)
    after = np.arange(_WINDOWS) >= int(draw.uniform(3, 9) * 7 * _DAY)
    factor = np.where(after, times, 1.0)
    return _of(draw, cpu * factor, memory * factor)


def _weekly_batch(draw: Generator) -> _Container:
    """In one night a week for 2 to 6 hours 3 to 8 times as much CPU, and 1.5 to 3 times as much memory."""
    cpu, memory = _usual(draw)
    start, length = draw.integers(7 * _DAY), draw.integers(2, 7) * _DAY // 24
    busy = (np.arange(_WINDOWS) - start) % (7 * _DAY) < length
    return _of(
        draw,
        np.where(busy, cpu * draw.uniform(3, 8), cpu),
        np.where(busy, memory * draw.uniform(1.5, 3), memory),
    )


def _growth(draw: Generator) -> _Container:
    """Each week 1 to 3 % more CPU, which in a year is 1.7 to 4.7 times as much, and 1 to 6 % more memory."""
    cpu, memory = _usual(draw)
    weeks = np.arange(_WINDOWS) / (7 * _DAY)
    users, leak = draw.uniform(1.01, 1.03), draw.uniform(1.01, 1.06)
    return _of(draw, cpu * users**weeks, memory * leak**weeks)


def _spikes(draw: Generator) -> _Container:
    """1 to 6 times a day, for 5 to 20 seconds, up to 2.5 times as much memory: scrapes miss most."""
    cpu, memory = _usual(draw)
    spike = draw.random(_WINDOWS) < draw.uniform(1, 6) / _DAY
    hidden = np.where(spike, memory * draw.uniform(1.3, 2.5) * draw.uniform(0.9, 1.0, _WINDOWS), memory)
    caught = draw.random(_WINDOWS) < draw.uniform(5, 20, _WINDOWS) / _SCRAPE_SECONDS
    return _of(draw, cpu, np.where(caught, hidden, memory), hidden)


def _oom_loop(draw: Generator) -> _Container:
    """It fills its memory in 4 to 40 hours up to more than its limit, is killed there, and begins anew.

    No scrape sees the moment. The kill counts as memory just above the limit, as in a backtest of a cluster.
    """
    cpu, memory = _usual(draw)
    hours = draw.uniform(4, 40)
    full = (np.arange(_WINDOWS) / (hours * _DAY / 24)) % 1.0
    killed = np.diff(full, append=0.0) < 0
    limit = float(np.round(memory.mean() * 2))
    used = np.minimum(memory * (1 + full), limit * 0.99)
    return replace(_of(draw, cpu, np.where(killed, limit * 1.001, used)), limit=limit)


KINDS: dict[str, Callable[[Generator], _Container]] = {
    "steady": _steady,
    "level-shift": _level_shift,
    "weekly-batch": _weekly_batch,
    "growth": _growth,
    "spikes": _spikes,
    "oom-loop": _oom_loop,
}


def _usual(draw: Generator) -> tuple[Floats, Floats]:
    """CPU around 100m with a rhythm of days, quieter at the week's end, and memory around 300 MiB that hardly
    moves: both over three orders of magnitude from container to container.
    """
    days = np.arange(_WINDOWS) / _DAY
    rhythm = 1 + draw.uniform(0.1, 0.7) * np.sin(2 * np.pi * (days - draw.uniform(0, 1)))
    rhythm *= np.where(days % 7 >= 5, draw.uniform(0.4, 1.0), 1.0)
    cpu = float(np.exp(draw.normal(np.log(0.1), 1.2))) * rhythm * draw.gamma(16, 1 / 16, _WINDOWS)
    size = float(np.clip(np.exp(draw.normal(np.log(300 * MIB), 1.2)), 20 * MIB, 32 * GIB))
    drift = np.repeat(draw.normal(1.0, draw.uniform(0.005, 0.03), WEEKS * 7 * 4), _DAY // 4)
    return cpu, size * drift * draw.normal(1.0, 0.003, _WINDOWS)


def _of(draw: Generator, cpu: Floats, memory: Floats, hidden: Floats | None = None) -> _Container:
    truth = memory if hidden is None else hidden
    return _Container(cpu, memory, truth, float(np.round(truth.max() * draw.uniform(1.2, 4.0))))


def main(arguments: list[str]) -> int:
    seeds = arguments[1:]
    # A directory whose name begins with a dash is a flag that was asked for: `--help` had 90 MB in it.
    if not arguments or arguments[0].startswith("-") or len(seeds) > 1 or not all(map(str.isdecimal, seeds)):
        print(__doc__, file=sys.stderr)
        return 2
    out, seed = Path(arguments[0]), int(seeds[0]) if seeds else 1
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"generated-{seed}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(HEADER)
        for each in generated(seed).values():
            rows.writerows(_rows(each.seen))
    print(path)
    return 0


def _rows(fleet: Fleet) -> Iterator[tuple[object, ...]]:
    for index, (workload, container) in enumerate(fleet.containers):
        were_set = (
            f"{fleet.cpu_request[index]:.3f}",
            f"{fleet.memory_request[index]:.0f}",
            f"{fleet.memory_limit[index]:.0f}",
        )
        times = range(int(fleet.begin), int(fleet.begin) + fleet.seconds, fleet.window)
        for time, cpu, memory in zip(times, fleet.cpu[index], fleet.memory[index], strict=True):
            yield time, workload, "", container, f"{cpu:.6f}", f"{memory:.0f}", *were_set


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
