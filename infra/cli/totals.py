"""What a page has on top: the sums over all containers, and over those of each namespace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from functions.recommender.report import Entry
from infra.cli.rows import Row
from infra.cli.summing import Total, by_namespace, total
from shared.contracts.money import Money
from shared.contracts.quantities import GIB


@dataclass(frozen=True)
class Space:
    """A namespace; widths are shares of the most expensive one's cost."""

    name: str
    before: Money
    saving: Money
    left: Money | None
    kept: float
    saved: float
    percent: str


@dataclass(frozen=True)
class Sum:
    """One of the totals on top."""

    name: str
    value: str
    more: str


def sums(found: Sequence[Row], entries: Sequence[Entry], currency: str) -> list[Sum]:
    """The saving first."""
    whole = total(entries, currency)
    before, saving = whole.cost, whole.saving
    after = before - saving
    raised = sum(_raised(row) for row in found)
    return [
        Sum("Saving a month", f"{saving.amount:,.2f}", f"{share(saving, before)} of the cost"),
        Sum("Cost a month now", f"{before.amount:,.2f}", "as requested, or as used"),
        Sum("Cost a month after", f"{after.amount:,.2f}", "before policy"),
        Sum(
            "Waste left a month",
            "unknown" if whole.left is None else f"{whole.left.amount:,.2f}",
            _of_which(whole),
        ),
        _requested("CPU requested", found, "cpu_request_m", 1000, "cores"),
        _requested("Memory requested", found, "memory_request_bytes", GIB, "GiB"),
        Sum("Workloads", f"{whole.workloads:,}", _worth_a_change(whole, found)),
        Sum(
            "Ask for too little",
            f"{raised:,}",
            f"{'container' if raised == 1 else 'containers'} to raise",
        ),
    ]


def _worth_a_change(whole: Total, found: Iterable[Row]) -> str:
    """Of the workloads; the list has their containers."""
    containers = sum(row.proposed is not None for row in found)
    return f"{whole.proposed:,} worth a change, with {containers:,} container{'' if containers == 1 else 's'}"


def _of_which(whole: Total) -> str:
    unsaid = f"; of {whole.unsaid:,} not known" if whole.unsaid and whole.left is not None else ""
    return f"{whole.workloads - whole.proposed:,} left as they are{unsaid}"


def _requested(name: str, found: Iterable[Row], field: str, unit: int, unit_name: str) -> Sum:
    """What all pods ask for together, now and after."""
    now = after = 0.0
    for row in found:
        if row.current is None:
            continue
        now += (getattr(row.current, field) or 0) * row.entry.pods / unit
        after += (getattr(row.proposed or row.current, field) or 0) * row.entry.pods / unit
    return Sum(name, f"{now:,.1f} \N{RIGHTWARDS ARROW} {after:,.1f}", unit_name)


def _raised(row: Row) -> bool:
    if row.proposed is None or row.seen is None:
        return False
    pairs = (
        (getattr(row.seen.current, field) or 0, getattr(row.proposed, field) or 0)
        for field in ("cpu_request_m", "memory_request_bytes")
    )
    return any(new > now for now, new in pairs)


def spaces(entries: Iterable[Entry], currency: str) -> list[Space]:
    """By what they would save, the most first."""
    totals = by_namespace(entries, currency)
    most = max(
        (max(each.cost.amount, each.cost.amount - each.saving.amount) for each in totals.values()), default=0
    )
    scale = float(most) or 1.0
    made = [
        Space(
            name=name,
            before=each.cost,
            saving=each.saving,
            left=each.left,
            kept=round(float(min(each.cost.amount, each.cost.amount - each.saving.amount)) / scale * 100, 2),
            saved=round(abs(float(each.saving.amount)) / scale * 100, 2),
            percent=share(each.saving, each.cost),
        )
        for name, each in totals.items()
    ]
    return sorted(made, key=lambda space: (-space.saving.amount, -space.before.amount, space.name))


def share(part: Money, whole: Money) -> str:
    """In percent, as a text."""
    percent = round(part.amount / whole.amount * 100) if whole.amount else 0
    return f"{percent} %".replace("-", "\N{MINUS SIGN}")
