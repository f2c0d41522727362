"""What OpenCost publishes as the prices of clouds, where nothing better is known."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Provider = Literal["aws", "gcp", "azure", "oracle", "unknown"]


@dataclass(frozen=True)
class Published:
    """Prices of one core and of one GiB of memory for an hour, in USD."""

    core_hour: Decimal
    gib_hour: Decimal


_COMMON = Published(Decimal("0.031611"), Decimal("0.004237"))
_COMMON_SPOT = Published(Decimal("0.006655"), Decimal("0.000892"))
# OpenCost's published defaults.
ON_DEMAND: dict[Provider, Published] = {
    "aws": _COMMON,
    "gcp": _COMMON,
    "azure": Published(Decimal("0.039"), Decimal("0.001917")),
    "oracle": Published(Decimal("0.015"), Decimal("0.002")),
    "unknown": _COMMON,
}
# It publishes none for Oracle.
SPOT: dict[Provider, Published] = {
    "aws": _COMMON_SPOT,
    "gcp": _COMMON_SPOT,
    "azure": Published(Decimal("0.007764"), Decimal("0.000382")),
    "unknown": _COMMON_SPOT,
}
