"""What requests cost: max(request, usage) x pods x hours x rate, in decimals; one formula for all stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise

from shared.contracts.events import ContainerProposal, Rates, RecommendationCreated, Resources, Usage
from shared.contracts.money import Money
from shared.contracts.quantities import GIB

# 365 days / 12: what clouds and OpenCost call a month.
HOURS_PER_MONTH = 730
# Rates that are reckoned are rounded to this: 1,000 cores for a month are then right to a tenth of a cent.
RATE = Decimal("0.000000001")


@dataclass(frozen=True)
class Cost:
    """What a container, with all its pods, costs in a month as it is set, and as it should be."""

    before: Money
    after: Money


def rates(core_hour: Decimal, gib_hour: Decimal, currency: str, source: str = "") -> Rates:
    """Prices of one core and of one GiB of memory for an hour; `source` says where they come from."""
    return Rates(
        core_hour=Money(amount=core_hour, currency=currency),
        gib_hour=Money(amount=gib_hour, currency=currency),
        source=source,
    )


def rates_of_node(
    price: Decimal, cores: Decimal, gib: Decimal, like: Rates, source: str = ""
) -> Rates | None:
    """The rates at which a node of so many cores and GiB costs `price` an hour, in the currency of `like`.

    OpenCost's rule: a core costs as many GiB as in `like`. With that ratio R, the core's rate is
    P x R / (R x c + g) and the GiB's P / (R x c + g); both are rounded to RATE. None where nothing is
    there to divide by.
    """
    core, memory = like.core_hour.amount, like.gib_hour.amount
    # The same with R = core / memory, and right as well where memory is free.
    whole = core * cores + memory * gib
    if whole <= 0:
        return None
    return rates(
        rounded(price * core / whole), rounded(price * memory / whole), like.core_hour.currency, source
    )


def mean(priced: Sequence[tuple[Rates, int]], source: str) -> Rates:
    """The mean of rates, of which each counts so many times; rounded to RATE. Not of nothing.

    Raises:
        ValueError: they are in several currencies.
    """
    (currency, *others) = sorted({each.core_hour.currency for each, _ in priced})
    if others:
        raise ValueError(f"cannot mix {currency} and {others[0]}")
    count = sum(times for _, times in priced)
    core = sum((each.core_hour.amount * times for each, times in priced), Decimal(0)) / count
    gib = sum((each.gib_hour.amount * times for each, times in priced), Decimal(0)) / count
    return rates(rounded(core), rounded(gib), currency, source)


def rounded(rate: Decimal) -> Decimal:
    """To RATE, without zeros at its end: 0.05, not 0.050000000."""
    rounded = rate.quantize(RATE, ROUND_HALF_EVEN).normalize()
    # Not 1E+1, which a reader of decimals need not know.
    return rounded.quantize(Decimal(1)) if rounded == rounded.to_integral_value() else rounded


def hourly(
    containers: Sequence[tuple[Resources, Usage | None]], prices: Rates, held: Resources | None = None
) -> Decimal:
    """What a pod's containers cost an hour together; of each resource what is `held` at least.

    A node holds back what is requested, and what is used beyond that is not there for others: each
    resource of each container counts with the larger of the two. Usage is the p95 of the history, of the
    worst pod; where it is not known what is requested counts.
    """
    cores, size = Decimal(0), 0
    for its, usage in containers:
        used, filled = (Decimal(repr(usage.cpu_p95_m)), usage.memory_p95_bytes) if usage else (Decimal(0), 0)
        cores += max(Decimal(its.cpu_request_m or 0), used)
        size += max(its.memory_request_bytes or 0, filled)
    least = held or Resources()
    cores = max(cores, Decimal(least.cpu_request_m or 0)) / 1000
    gib = Decimal(max(size, least.memory_request_bytes or 0)) / GIB
    return cores * prices.core_hour.amount + gib * prices.gib_hour.amount


def monthly(
    containers: Sequence[ContainerProposal], pods: Decimal, prices: Rates, held: Resources | None = None
) -> tuple[Money, Money]:
    """A workload's cost in a month of 730 hours, before and after.

    `pods` is how many run: `Decimal(repr(proposal.pods))`. A pod's containers cost the requests
    `held` at least: `proposal.held_at_least`. The saving is the difference of the two, each rounded to the
    cent.
    """
    before = after = Decimal(0)
    if containers:
        before = hourly([(each.current, each.usage) for each in containers], prices, held)
        after = hourly([(each.proposed, each.usage) for each in containers], prices, held)
    factor, currency = HOURS_PER_MONTH * pods, prices.core_hour.currency
    return Money.rounded(before * factor, currency), Money.rounded(after * factor, currency)


def reserved(resources: Resources, pods: Decimal, prices: Rates) -> Money:
    """What a container without known usage costs in a month: what is requested is held back for it."""
    hour = hourly([(resources, None)], prices)
    return Money.rounded(hour * HOURS_PER_MONTH * pods, prices.core_hour.currency)


def saving_of(containers: Sequence[ContainerProposal], proposal: RecommendationCreated) -> Money:
    """What containers of a proposal save in a month, whatever became of their values; the others stay."""
    names = {each.name for each in containers}
    others = [
        each.model_copy(update={"proposed": each.current})
        for each in proposal.containers
        if each.name not in names
    ]
    pods = Decimal(repr(proposal.pods))
    before, after = monthly([*containers, *others], pods, proposal.rates, proposal.held_at_least)
    return before - after


def shares(
    containers: Sequence[ContainerProposal], pods: Decimal, prices: Rates, held: Resources | None = None
) -> list[Cost]:
    """Each container's part of the workload's cost in a month; to the cent, the parts sum up to `monthly`.

    What is `held` beyond that is part of those that change.
    """
    # What stays comes first: of sums that are rounded, differences are the same before and after then.
    order = sorted(range(len(containers)), key=lambda at: containers[at].current != containers[at].proposed)
    ordered = [containers[at] for at in order]
    kept = min(sum(each.current == each.proposed for each in containers), len(containers) - 1)
    sums = [
        monthly(ordered[:count], pods, prices, held if count > kept else None)
        for count in range(len(ordered) + 1)
    ]
    costs = {
        at: Cost(before=more[0] - less[0], after=more[1] - less[1])
        for at, (less, more) in zip(order, pairwise(sums), strict=True)
    }
    return [costs[at] for at in range(len(containers))]
