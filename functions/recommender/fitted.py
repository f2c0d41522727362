"""The estimator's fitted constants, apart from what computes with them: a report names them without numpy.

They are fitted, never typed in: `python -m infra.backtest.fitting` writes constants.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

# Days of memory that the estimator looks back at.
MEMORY_DAYS = 28


@dataclass(frozen=True)
class Constants:
    """What is fitted. Half-life in days, pad in cores; a margin is a factor over the peak of memory, as is
    `memory_raise_at`: a request is raised that does not hold so much. The limit lies `memory_limit_factor`
    times as far above the peak as the request.
    """

    cpu_half_life: float
    cpu_quantile: float
    cpu_pad: float
    memory_scale: float
    memory_exponent: float
    memory_least_margin: float
    memory_most_margin: float
    memory_spread_slope: float
    memory_raise_at: float
    memory_limit_factor: float


@cache
def constants() -> Mapping[str, Constants]:
    """The fitted constants by strategy: balanced, cautious, lean."""
    document = json.loads(Path(__file__).with_name("constants.json").read_text(encoding="utf-8"))
    return MappingProxyType({name: Constants(**each) for name, each in document["strategies"].items()})
