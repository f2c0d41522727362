"""A scan as rows, one for each container, with its part of the workload's cost."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from functions.recommender.report import Entry
from infra.cli.parts import Missing
from infra.cli.summing import Total, by_namespace, total
from shared.contracts.events import ContainerProposal, Resources
from shared.contracts.money import Money
from shared.contracts.wording import LABELS

# What a container is in.
LEVELS = ("workload", "namespace", "cluster")
# The decision of a workload that another tool's rule would change: nothing is proposed by it.
COMPARED = "compared"
# A spreadsheet takes a cell for a formula that begins with one of these; some take the wide ones too.
FORMULA = (*"=+-@\t\r\n", *"\uff1d\uff0b\uff0d\uff20")


@dataclass(frozen=True)
class Row:
    """A container; `seen` is None where its usage was not measured, and then it costs what it requests.

    `current` is what is set, None where that is not known. `left` is what sizing would have saved of it,
    where nothing is proposed; None where that cannot be said. A workload of which no container is known is
    one row without a name.
    """

    entry: Entry
    name: str
    seen: ContainerProposal | None
    before: Money
    after: Money
    left: Money | None = None
    current: Resources | None = None

    @property
    def proposed(self) -> Resources | None:
        """What it should ask for; None where nothing is proposed to the workload."""
        if self.seen is None or self.entry.decision != "proposed":
            return None
        return self.seen.proposed

    @property
    def history_seconds(self) -> int:
        """Its own; an older report has the shortest of all."""
        of_each = {each.name: each.history_seconds for each in self.entry.seen}
        return of_each.get(self.name, self.entry.history_seconds)

    @property
    def saving(self) -> Money:
        return self.before - self.after


def rows(entries: Iterable[Entry]) -> Iterator[Row]:
    """In the order of the entries; the costs of a workload's rows sum up to its own, to the cent."""
    for entry in entries:
        yield from rows_of(entry)


def rows_of(entry: Entry) -> Iterator[Row]:
    proposed = entry.decision == "proposed"
    for each in entry.containers:
        cost = entry.costs[each.name]
        before, after = cost.monthly_cost_before, cost.monthly_cost_after
        left = None if entry.monthly_waste_left is None else cost.monthly_saving
        yield Row(entry, each.name, each, before, after if proposed else before, left, each.current)
    nothing = entry.monthly_cost_before - entry.monthly_cost_before
    current = {each.name: each.resources for each in entry.seen}
    for name in entry.not_measured or ([] if entry.containers else [""]):
        kept = entry.costs[name].monthly_cost_before if name in entry.costs else nothing
        yield Row(entry, name, None, kept, kept, current=current.get(name))


HEADER = (
    "namespace", "kind", "workload", "container", "decision", "reason", "pods",
    *(f"{field}_{when}" for field in LABELS for when in ("current", "proposed")),
    "cpu_p95_m", "cpu_max_m", "memory_p95_bytes", "memory_max_bytes", "oom_kills", "throttled_share",
    "samples", "history_seconds", "currency",
    "monthly_cost_before", "monthly_cost_after", "monthly_saving", "monthly_waste_left",
    # The same for all that the container is in: not to be added up.
    *(f"{of}_monthly_{what}" for of in LEVELS for what in ("saving", "waste_left")),
    "core_hour", "gib_hour", "rates_from",
)  # fmt: skip


def as_csv(
    entries: Sequence[Entry], currency: str, missing: Iterable[Missing] = (), peer: str | None = None
) -> str:
    """RFC 4180, with a header, a row for each container: CPU in millicores, memory in bytes, empty is what is
    not set or cannot be said.

    A namespace that could not be read is a row with its reason, and the decision `unread`: of what stands for
    the cluster it is no part. Where the figures are those of a `peer`'s rule, the decision is COMPARED.
    """
    whole = total(entries, currency)
    spaces = by_namespace(entries, currency)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(HEADER)
    for entry in entries:
        levels = (total([entry], currency), spaces[entry.workload.namespace], whole)
        for row in rows_of(entry):
            writer.writerow(
                _cell(value) for value in (*_values(row, peer), *_of_levels(levels), *_rates(entry))
            )
    for part in missing:
        for namespace in part.namespaces:
            told = {"namespace": namespace, "decision": "unread", "reason": part.reason}
            writer.writerow(_cell(told.get(column)) for column in HEADER)
    return text.getvalue()


def _values(row: Row, peer: str | None) -> Iterator[object]:
    entry, seen = row.entry, row.seen
    yield from (entry.workload.namespace, entry.workload.kind, entry.workload.name, row.name)
    if peer and entry.decision == "proposed":
        yield from (COMPARED, f"{peer}'s rule, for comparison only: nothing is proposed", entry.pods)
    else:
        yield from (entry.decision, entry.reason, entry.pods)
    for field in LABELS:
        yield getattr(row.current, field) if row.current else None
        yield getattr(row.proposed, field) if row.proposed else None
    usage = seen.usage if seen else None
    yield from (
        (usage.cpu_p95_m, usage.cpu_max_m, usage.memory_p95_bytes, usage.memory_max_bytes)
        if usage
        else (None,) * 4
    )
    yield from (usage.oom_kills, usage.throttled_share, usage.samples) if usage else (None,) * 3
    yield from (row.history_seconds, row.before.currency)
    yield from (money.amount if row.current else None for money in (row.before, row.after))
    yield row.saving.amount if seen else None
    # Of what is proposed nothing is left.
    left = row.before - row.before if row.proposed else row.left
    yield left.amount if left else None


def _of_levels(levels: Iterable[Total]) -> Iterator[object]:
    for level in levels:
        yield from (level.saving.amount, level.left.amount if level.left else None)


def _rates(entry: Entry) -> Iterator[object]:
    rates = entry.rates
    yield from (rates.core_hour.amount, rates.gib_hour.amount, rates.source) if rates else (None,) * 3


def _cell(value: object) -> str:
    """Plain numbers; a text that would be a formula is kept from it."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    if isinstance(value, Decimal):
        return format(value, "f")
    return "" if value is None else str(value)
