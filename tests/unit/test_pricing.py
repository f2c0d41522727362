"""What requests cost, in decimals."""

from __future__ import annotations

from decimal import Decimal

from shared.contracts.events import ContainerProposal, Resources, Usage
from shared.contracts.money import Money
from shared.contracts.pricing import hourly, monthly, rates

GIB = 2**30
PRICES = rates(Decimal("0.031611"), Decimal("0.004237"), "USD")


def usage(cpu_m: float = 100, memory: int = GIB // 4) -> Usage:
    return Usage(
        cpu_p95_m=cpu_m, cpu_max_m=cpu_m, memory_p95_bytes=memory, memory_max_bytes=memory, samples=1, pods=1
    )


def resources(cpu: int | None, memory: int | None) -> Resources:
    return Resources(cpu_request_m=cpu, memory_request_bytes=memory)


def proposal(before: Resources, after: Resources) -> ContainerProposal:
    return ContainerProposal(name="app", current=before, proposed=after, usage=usage(), reasons=())


def test_what_is_requested_is_paid_for() -> None:
    assert hourly(resources(2000, GIB), usage(), PRICES) == Decimal("0.067459")


def test_what_is_used_beyond_the_request_is_paid_for_too() -> None:
    assert hourly(resources(None, None), usage(500, 2 * GIB), PRICES) == Decimal("0.0242795")


def test_a_month_has_730_hours_for_each_pod_to_the_cent() -> None:
    before, after = monthly([proposal(resources(2000, GIB), resources(200, GIB // 2))], Decimal(3), PRICES)
    # 0.067459 x 730 x 3, and (0.2 x 0.031611 + 0.5 x 0.004237) x 730 x 3
    assert before == Money(amount=Decimal("147.74"))
    assert after == Money(amount=Decimal("18.49"))
    assert before - after == Money(amount=Decimal("129.25"))


def test_a_part_of_a_pod_costs_a_part() -> None:
    container = proposal(resources(2000, GIB), resources(2000, GIB))
    assert monthly([container], Decimal("0.25"), PRICES)[0] == Money(amount=Decimal("12.31"))


def test_costs_are_in_the_currency_of_the_prices() -> None:
    euros = rates(Decimal(1), Decimal(0), "EUR")
    assert monthly([], Decimal(1), euros)[0] == Money(amount=Decimal("0.00"), currency="EUR")
