"""The estimator's constants: what it looks at, and what is fitted.

That is never typed in: `python -m infra.backtest.fitting` writes constants.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

# Days that the estimator looks back at.
CPU_DAYS, MEMORY_DAYS = 14, 28
# Of fewer measured days memory's margin has to be larger.
ENOUGH_DAYS = 14
# Of fewer measured days steadiness says little: each day of a week has to be among them.
STEADY_DAYS = 7
# Shares of a day's windows that lie at or below the points that it was fitted to; the last is the maximum.
# They are among those that are stored.
POINTS = (0.5, 0.9, 0.95, 0.99, 1.0)
# Shares at which a day's distribution is taken, between the points by straight lines, from 0 to the first.
# Denser at the top, where requests lie; each stands for the share between the one before and itself.
SHARES = (0.25, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0)


@dataclass(frozen=True)
class Constants:
    """What is fitted. Half-life in days; the pad is in cores, and carries a request no further than
    `cpu_above_peak`, in cores too, above what was used at most. A margin is a factor over the peak of memory,
    as is `memory_raise_at`: a request is raised that does not hold so much. The limit lies
    `memory_limit_factor` times as far above the peak as the request. A request is lowered so far that it lies
    above the peak of few days (ENOUGH_DAYS / days) ** `memory_days_exponent` times as far as above that of
    many; one is raised, or set, by `memory_young_margin` at most where fewer than STEADY_DAYS are known.
    """

    cpu_half_life: float
    cpu_quantile: float
    cpu_pad: float
    cpu_above_peak: float
    memory_scale: float
    memory_exponent: float
    memory_least_margin: float
    memory_most_margin: float
    memory_spread_slope: float
    memory_days_exponent: float
    memory_young_margin: float
    memory_raise_at: float
    memory_limit_factor: float


@cache
def constants() -> Mapping[str, Constants]:
    """The fitted constants by strategy: balanced, cautious, lean."""
    document = json.loads(Path(__file__).with_name("constants.json").read_text(encoding="utf-8"))
    return MappingProxyType({name: Constants(**each) for name, each in document["strategies"].items()})
