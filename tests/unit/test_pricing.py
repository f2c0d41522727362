"""What requests cost, in decimals."""

from __future__ import annotations

from decimal import Decimal

import pytest

from shared.contracts.events import ContainerProposal, Rates, Resources, Usage
from shared.contracts.money import Money
from shared.contracts.pricing import hourly, mean, monthly, rates, rates_of_node, shares
from shared.contracts.providers import ON_DEMAND, SPOT

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
    assert hourly([(resources(2000, GIB), usage())], PRICES) == Decimal("0.067459")


def test_what_is_used_beyond_the_request_is_paid_for_too() -> None:
    assert hourly([(resources(None, None), usage(500, 2 * GIB))], PRICES) == Decimal("0.0242795")


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


def test_what_opencost_publishes_is_what_a_provider_costs() -> None:
    found = {name: (each.core_hour, each.gib_hour) for name, each in ON_DEMAND.items()}
    assert found == {
        "aws": (Decimal("0.031611"), Decimal("0.004237")),
        "gcp": (Decimal("0.031611"), Decimal("0.004237")),
        "unknown": (Decimal("0.031611"), Decimal("0.004237")),
        "azure": (Decimal("0.039"), Decimal("0.001917")),
        "oracle": (Decimal("0.015"), Decimal("0.002")),
    }
    spot = {name: (each.core_hour, each.gib_hour) for name, each in SPOT.items()}
    assert spot == {
        "aws": (Decimal("0.006655"), Decimal("0.000892")),
        "gcp": (Decimal("0.006655"), Decimal("0.000892")),
        "unknown": (Decimal("0.006655"), Decimal("0.000892")),
        "azure": (Decimal("0.007764"), Decimal("0.000382")),
    }


def test_a_nodes_price_keeps_the_ratio_of_core_and_gib() -> None:
    # R = 2: P = 1 for 2 cores and 4 GiB is 2 / (2 x 2 + 4) a core and 1 / (2 x 2 + 4) a GiB.
    found = rates_of_node(Decimal(1), Decimal(2), Decimal(4), rates(Decimal("0.02"), Decimal("0.01"), "EUR"))
    assert found is not None
    assert (found.core_hour.amount, found.gib_hour.amount) == (Decimal("0.25"), Decimal("0.125"))
    assert found.core_hour.currency == "EUR"


def test_a_nodes_rates_are_to_nine_decimals_and_give_its_price_again() -> None:
    # An m5.xlarge: R = 0.031611 / 0.004237 = 7.46070..., 0.192 x R / (4 R + 16) and 0.192 / (4 R + 16).
    found = rates_of_node(Decimal("0.192"), Decimal(4), Decimal(16), PRICES)
    assert found is not None
    assert (found.core_hour.amount, found.gib_hour.amount) == (Decimal("0.031247101"), Decimal("0.004188225"))
    again = 4 * found.core_hour.amount + 16 * found.gib_hour.amount
    assert abs(again - Decimal("0.192")) < Decimal("0.00000002")


def test_a_node_of_nothing_has_no_rates_and_one_that_is_free_costs_nothing() -> None:
    assert rates_of_node(Decimal(1), Decimal(0), Decimal(0), PRICES) is None
    assert rates_of_node(Decimal(1), Decimal(2), Decimal(4), rates(Decimal(0), Decimal(0), "USD")) is None
    free = rates_of_node(Decimal(0), Decimal(2), Decimal(4), PRICES)
    assert free is not None
    assert (free.core_hour.amount, free.gib_hour.amount) == (Decimal(0), Decimal(0))


def test_a_mean_counts_each_rate_as_often_as_it_is_there() -> None:
    some = [
        (rates(Decimal("0.03"), Decimal("0.004"), "USD"), 2),
        (rates(Decimal("0.01"), Decimal(0), "USD"), 1),
    ]
    found = mean(some, "two kinds")
    assert (found.core_hour.amount, found.gib_hour.amount) == (Decimal("0.023333333"), Decimal("0.002666667"))
    assert found.source == "two kinds"
    with pytest.raises(ValueError, match="cannot mix EUR and USD"):
        mean([*some, (rates(Decimal(1), Decimal(1), "EUR"), 1)], "")


def test_rates_of_before_there_were_sources_are_read() -> None:
    old = {
        "core_hour": {"amount": "0.031611", "currency": "USD"},
        "gib_hour": {"amount": "0.004237", "currency": "USD"},
    }
    assert Rates.read(old) == PRICES


def test_the_containers_of_a_workload_share_its_cost_to_the_cent() -> None:
    containers = [
        proposal(resources(101 + n, 333_000_000), resources(50 + n, 111_000_000 + 7 * n)) for n in range(9)
    ]
    costs = shares(containers, Decimal("2.7182"), PRICES)
    before, after = monthly(containers, Decimal("2.7182"), PRICES)
    assert sum((each.before.amount for each in costs), Decimal(0)) == before.amount
    assert sum((each.after.amount for each in costs), Decimal(0)) == after.amount


def test_a_pod_costs_what_is_held_back_for_it_and_its_containers_share_that_too() -> None:
    containers = [
        proposal(resources(1000, GIB), resources(200, GIB // 2)),
        proposal(resources(100, GIB), resources(100, GIB)),
        proposal(resources(500, GIB), resources(100, GIB // 2)),
    ]
    held = Resources(cpu_request_m=800)
    before, after = monthly(containers, Decimal(1), PRICES, held)
    assert before == monthly(containers, Decimal(1), PRICES)[0]
    # 800 instead of the 400 millicores that they ask for.
    more = Decimal("0.4") * 730 * PRICES.core_hour.amount
    assert after - monthly(containers, Decimal(1), PRICES)[1] == Money.rounded(more, "USD")
    costs = shares(containers, Decimal(1), PRICES, held)
    assert sum((each.before.amount for each in costs), Decimal(0)) == before.amount
    assert sum((each.after.amount for each in costs), Decimal(0)) == after.amount
    assert all(each.before.amount >= each.after.amount for each in costs)
    # What does not change costs what it asks for.
    assert (costs[1].before, costs[1].after) == monthly(containers[1:2], Decimal(1), PRICES)
    stays = [proposal(resources(100, GIB), resources(100, GIB))] * 2
    ((first, last), whole) = (
        shares(stays, Decimal(1), PRICES, held),
        monthly(stays, Decimal(1), PRICES, held),
    )
    assert (first.before + last.before, first.after + last.after) == whole
    assert monthly([], Decimal(1), PRICES, held)[0].amount == 0
