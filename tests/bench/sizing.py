"""How long the estimator takes for a large fleet's digests, on one core."""

from __future__ import annotations

import time

import numpy as np

from infra.backtest.digests import POINTS, Digests
from infra.backtest.estimating import MEMORY_DAYS, constants, estimate
from tests.bench.figure import Figure

CONTAINERS, AT_ONCE = 100_000, 2_000
SECONDS = 10


def measure() -> list[Figure]:
    """Four weeks of digests, some shards' containers at a time as the recommender has them."""
    random = np.random.default_rng(5)
    shape = (AT_ONCE, MEMORY_DAYS, len(POINTS))
    cpu = np.sort(random.gamma(2.0, 0.1, shape), axis=2)
    memory = np.sort(random.gamma(2.0, 2e8, shape), axis=2)
    digests = Digests(np.full(shape[:2], 288.0), cpu, memory)
    fitted = constants()["balanced"]
    began = time.process_time()
    for _ in range(CONTAINERS // AT_ONCE):
        sizes = estimate(digests, fitted).sizes
    seconds = time.process_time() - began
    if not np.isfinite(sizes.memory_request).all():
        raise RuntimeError("not every container has a size")
    return [Figure("sizing 100,000 containers from their digests", seconds, "CPU s", SECONDS)]
