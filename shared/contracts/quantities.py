"""Kubernetes resource quantities in base units: CPU in millicores, memory in bytes, both as integers."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import NewType

Millicores = NewType("Millicores", int)
Bytes = NewType("Bytes", int)

MIB = 1024 * 1024
GIB = 1024 * MIB
# Of millicores or bytes: a petabyte. What is sized and priced by as much is still a number that JSON holds.
MOST = 1 << 50


def within(value: float) -> float:
    """From 0 to MOST: counters that wrapped around, and wishes, are told of as far beyond as 1e308."""
    return min(max(value, 0.0), float(MOST))


# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_QUANTITY = re.compile(
    r"^(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))"
    r"(?:(?P<suffix>Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E)|[eE](?P<exponent>[+-]?\d+))?$"
)
_MULTIPLIER = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), None: Decimal(1),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12),
    "P": Decimal(10**15), "E": Decimal(10**18),
    "Ki": Decimal(1 << 10), "Mi": Decimal(1 << 20), "Gi": Decimal(1 << 30), "Ti": Decimal(1 << 40),
    "Pi": Decimal(1 << 50), "Ei": Decimal(1 << 60),
}  # fmt: skip


def parse_quantity(text: str | float) -> Decimal:
    """A Kubernetes quantity as an exact number of its unit (cores or bytes).

    Raises:
        ValueError: `text` is no quantity, or is negative.
    """
    match = _QUANTITY.match(str(text).strip())
    if match is None:
        raise ValueError(f"{text!r} is no Kubernetes quantity (expected e.g. 250m, 0.5, 128Mi)")
    value = Decimal(match["number"])
    if match["exponent"]:
        value = value.scaleb(int(match["exponent"]))
    else:
        value *= _MULTIPLIER[match["suffix"]]
    if value < 0:
        raise ValueError(f"{text!r} is negative; a request or limit cannot be")
    return value


def parse_cpu(text: str | float) -> Millicores:
    """CPU in millicores, rounded up as the API server does. Raises ValueError."""
    return Millicores(int((parse_quantity(text) * 1000).to_integral_value(ROUND_CEILING)))


def parse_memory(text: str | float) -> Bytes:
    """Memory in bytes, rounded up as the API server does. Raises ValueError."""
    return Bytes(int(parse_quantity(text).to_integral_value(ROUND_CEILING)))


def format_cpu(millicores: int) -> str:
    """`250m`, or whole cores (`2`) as Kubernetes canonicalises them."""
    return f"{millicores}m" if millicores % 1000 else str(millicores // 1000)


def format_memory(amount: int) -> str:
    """The largest binary unit that is exact: 268435456 is `256Mi`, 1000 is `1000`."""
    for exponent, suffix in ((30, "Gi"), (20, "Mi"), (10, "Ki")):
        if amount and amount % (1 << exponent) == 0:
            return f"{amount >> exponent}{suffix}"
    return str(amount)
