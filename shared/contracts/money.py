"""Money: a decimal amount with its currency, never a float."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

from pydantic import BaseModel, ConfigDict, Field, field_serializer

CENT = Decimal("0.01")


class Money(BaseModel):
    """An amount in an ISO 4217 currency; the amount is a decimal string in JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    amount: Decimal
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")

    @field_serializer("amount")
    def _as_string(self, amount: Decimal) -> str:
        return format(amount, "f")

    @classmethod
    def rounded(cls, amount: Decimal, currency: str = "USD") -> Money:
        """To the cent, half to even, so that sums of many roundings do not drift."""
        return cls(amount=amount.quantize(CENT, ROUND_HALF_EVEN), currency=currency)

    def __add__(self, other: Money) -> Money:
        self._same_currency(other)
        return Money(amount=self.amount + other.amount, currency=self.currency)

    def __sub__(self, other: Money) -> Money:
        self._same_currency(other)
        return Money(amount=self.amount - other.amount, currency=self.currency)

    def _same_currency(self, other: Money) -> None:
        if self.currency != other.currency:
            raise ValueError(f"cannot mix {self.currency} and {other.currency}")

    def __str__(self) -> str:
        return f"{self.amount:.2f} {self.currency}"
