"""One measured figure and the bound that it must keep."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`bound` is an upper one: of the ratio where there is something to compare with, else of the value."""

    name: str
    value: float
    unit: str
    bound: float
    against: str | None = None
    against_value: float | None = None
    paired: float | None = None  # the median of the pairs' ratios, where the two were measured in turns

    @property
    def ratio(self) -> float | None:
        if self.paired is not None:
            return self.paired
        return self.value / self.against_value if self.against_value else None

    @property
    def holds(self) -> bool:
        measured = self.value if self.ratio is None else self.ratio
        return measured <= self.bound

    def document(self) -> dict[str, object]:
        """As build/bench.json has it."""
        return {
            "name": self.name,
            "value": round(self.value, 3),
            "unit": self.unit,
            "against": self.against,
            "against_value": None if self.against_value is None else round(self.against_value, 3),
            "ratio": None if self.ratio is None else round(self.ratio, 3),
            "bound": self.bound,
            "holds": self.holds,
        }
