"""What requests cost: max(request, usage) x pods x hours x rate, in decimals; one formula for all stages."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from shared.contracts.events import ContainerProposal, Rates, Resources, Usage
from shared.contracts.money import Money
from shared.contracts.quantities import GIB

# 365 days / 12: what clouds and OpenCost call a month.
HOURS_PER_MONTH = 730


def rates(core_hour: Decimal, gib_hour: Decimal, currency: str) -> Rates:
    """Prices of one core and of one GiB of memory for an hour.

    The defaults in the settings are what OpenCost publishes for AWS, GCP and providers it does not know.
    """
    return Rates(
        core_hour=Money(amount=core_hour, currency=currency),
        gib_hour=Money(amount=gib_hour, currency=currency),
    )


def hourly(resources: Resources, usage: Usage, prices: Rates) -> Decimal:
    """What one container costs an hour.

    A node holds back what is requested, and what is used beyond that is not there for others: each
    resource counts with the larger of the two. Usage is the p95 of the history, of the worst pod.
    """
    cores = max(Decimal(resources.cpu_request_m or 0), Decimal(repr(usage.cpu_p95_m))) / 1000
    gib = Decimal(max(resources.memory_request_bytes or 0, usage.memory_p95_bytes)) / GIB
    return cores * prices.core_hour.amount + gib * prices.gib_hour.amount


def monthly(containers: Sequence[ContainerProposal], pods: Decimal, prices: Rates) -> tuple[Money, Money]:
    """A workload's cost in a month of 730 hours, before and after.

    `pods` is how many run on average: `Decimal(repr(proposal.pods))`. The saving is the difference of the
    two, each rounded to the cent.
    """
    before = after = Decimal(0)
    for container in containers:
        before += hourly(container.current, container.usage, prices)
        after += hourly(container.proposed, container.usage, prices)
    factor, currency = HOURS_PER_MONTH * pods, prices.core_hour.currency
    return Money.rounded(before * factor, currency), Money.rounded(after * factor, currency)
