"""A scan as rows, one for each container, with its part of the workload's cost."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from functions.recommender.report import Entry
from shared.contracts.events import ContainerProposal, Rates, Resources
from shared.contracts.money import Money
from shared.contracts.pricing import monthly
from shared.contracts.wording import LABELS

# A spreadsheet takes a cell for a formula that begins with one of these.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Row:
    """A container; `seen` is None where its usage was not measured, and then it has no cost either.

    A workload of which no container is known is one row without a name.
    """

    entry: Entry
    name: str
    seen: ContainerProposal | None
    before: Money
    after: Money

    @property
    def proposed(self) -> Resources | None:
        """What it should ask for; None where nothing is proposed to the workload."""
        if self.seen is None or self.entry.decision != "proposed":
            return None
        return self.seen.proposed

    @property
    def saving(self) -> Money:
        return self.before - self.after


def rows(entries: Iterable[Entry], prices: Rates) -> Iterator[Row]:
    """In the order of the entries; the costs of a workload's rows sum up to its own, to the cent."""
    for entry in entries:
        yield from _of(entry, prices)


def _of(entry: Entry, prices: Rates) -> Iterator[Row]:
    proposed = entry.decision == "proposed"
    # What stays comes first: of sums that are rounded, differences are the same before and after then.
    ordered = sorted(entry.containers, key=lambda each: each.current != each.proposed)
    pods = Decimal(repr(entry.pods))
    sums = [monthly(ordered[:count], pods, prices) for count in range(len(ordered) + 1)]
    costs = {
        each.name: (after[0] - before[0], after[1] - before[1])
        for each, (before, after) in zip(ordered, pairwise(sums), strict=True)
    }
    for each in entry.containers:
        before, after = costs[each.name]
        yield Row(entry, each.name, each, before, after if proposed else before)
    nothing = sums[0][0]
    for name in entry.not_measured or ([] if entry.containers else [""]):
        yield Row(entry, name, None, nothing, nothing)


HEADER = (
    "namespace", "kind", "workload", "container", "decision", "reason", "pods",
    *(f"{field}_{when}" for field in LABELS for when in ("current", "proposed")),
    "cpu_p95_m", "cpu_max_m", "memory_p95_bytes", "memory_max_bytes", "oom_kills", "throttled_share",
    "samples", "history_seconds", "currency",
    "monthly_cost_before", "monthly_cost_after", "monthly_saving",
)  # fmt: skip


def as_csv(found: Iterable[Row]) -> str:
    """RFC 4180, with a header: CPU in millicores, memory in bytes, empty is what is not set."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(HEADER)
    writer.writerows([_cell(value) for value in _values(row)] for row in found)
    return text.getvalue()


def _values(row: Row) -> Iterator[object]:
    entry, seen = row.entry, row.seen
    yield from (entry.workload.namespace, entry.workload.kind, entry.workload.name, row.name)
    yield from (entry.decision, entry.reason, entry.pods)
    for field in LABELS:
        yield getattr(seen.current, field) if seen else None
        yield getattr(row.proposed, field) if row.proposed else None
    usage = seen.usage if seen else None
    yield from (
        (usage.cpu_p95_m, usage.cpu_max_m, usage.memory_p95_bytes, usage.memory_max_bytes)
        if usage
        else (None,) * 4
    )
    yield from (usage.oom_kills, usage.throttled_share, usage.samples) if usage else (None,) * 3
    yield from (entry.history_seconds, row.before.currency)
    yield from (money.amount if seen else None for money in (row.before, row.after, row.saving))


def _cell(value: object) -> str:
    """Plain numbers; a text that would be a formula is kept from it."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    return "" if value is None else str(value)
