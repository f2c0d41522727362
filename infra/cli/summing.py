"""What workloads cost together, what proposals save of it, and what is left where nothing is proposed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from functions.recommender.report import Entry
from shared.contracts.money import Money


@dataclass(frozen=True)
class Total:
    """Sums over some workloads, in money a month.

    `left` is what sizing would have saved of those that are not changed: None if it cannot be said of any.
    `unsaid` is of how many it cannot be said: nothing was sized there.
    """

    workloads: int
    proposed: int
    cost: Money
    saving: Money
    left: Money | None
    unsaid: int

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "workloads": self.workloads,
            "proposed": self.proposed,
            "monthly_cost": self.cost.model_dump(mode="json"),
            "monthly_saving": self.saving.model_dump(mode="json"),
            "monthly_waste_left": self.left.model_dump(mode="json") if self.left else None,
            "waste_left_unknown": self.unsaid,
        }


def total(entries: Iterable[Entry], currency: str) -> Total:
    found = list(entries)
    zero = Money(amount=Decimal("0.00"), currency=currency)
    proposed = [each for each in found if each.decision == "proposed"]
    left = [each.monthly_waste_left for each in found if each.monthly_waste_left is not None]
    return Total(
        workloads=len(found),
        proposed=len(proposed),
        cost=sum((each.monthly_cost_before for each in found), zero),
        saving=sum((each.monthly_saving for each in proposed), zero),
        left=sum(left, zero) if left or len(proposed) == len(found) else None,
        unsaid=len(found) - len(proposed) - len(left),
    )


def by_namespace(entries: Iterable[Entry], currency: str) -> dict[str, Total]:
    """The most saving first."""
    spaces: dict[str, list[Entry]] = defaultdict(list)
    for each in entries:
        spaces[each.workload.namespace].append(each)
    totals = {name: total(some, currency) for name, some in spaces.items()}
    return dict(sorted(totals.items(), key=lambda item: (-item[1].saving.amount, item[0])))
