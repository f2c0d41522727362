"""How long the estimator takes for the digests of a large fleet, on one core: one by one, and at once."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from functions.recommender import daily
from functions.recommender.container import Day
from functions.recommender.fitted import MEMORY_DAYS, POINTS, constants
from infra.backtest.digests import Digests
from infra.backtest.estimating import estimate
from shared.contracts.digests import POINTS as STORED
from tests.bench.figure import Figure

CONTAINERS, AT_ONCE = 100_000, 1_000
SECONDS = 10


def measure() -> list[Figure]:
    """Four weeks of digests, some shards' containers at a time as the recommender has them."""
    random = np.random.default_rng(5)
    shape = (AT_ONCE, MEMORY_DAYS, len(STORED))
    cpu = np.sort(random.gamma(2.0, 100.0, shape), axis=2)
    memory = np.sort(random.gamma(2.0, 2e8, shape), axis=2)
    fitted = constants()["balanced"]
    days = {
        number: [
            Day(MEMORY_DAYS - 1 - at, 288, tuple(its), int(sizes[-1]), tuple(map(int, sizes)))
            for at, (its, sizes) in enumerate(zip(cores, bytes_, strict=True))
        ]
        for number, (cores, bytes_) in enumerate(zip(cpu.tolist(), memory.tolist(), strict=True))
    }
    kept = [STORED.index(share) for share in POINTS]
    digests = Digests(np.full(shape[:2], 288.0), cpu[:, :, kept] / 1000, memory[:, :, kept])

    def one_by_one() -> None:
        if len(daily.estimates(days, "balanced", fitted)) != AT_ONCE:
            raise RuntimeError("not every container has a size")

    def at_once() -> None:
        if not np.isfinite(estimate(digests, fitted).sizes.memory_request).all():
            raise RuntimeError("not every container has a size")

    name = "sizing 100,000 containers from their digests"
    return [
        Figure(f"{name}, one by one", _seconds(one_by_one), "CPU s", SECONDS),
        Figure(f"{name}, at once (numpy, walk-forward test)", _seconds(at_once), "CPU s", SECONDS),
    ]


def _seconds(sizes: Callable[[], None]) -> float:
    began = time.process_time()
    for _ in range(CONTAINERS // AT_ONCE):
        sizes()
    return time.process_time() - began
