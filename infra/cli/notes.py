"""What stands beside a scan's figures, in the table and on the page: in a word what is special, in a sentence
what was looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from functions.recommender.fitted import CPU_DAYS, MEMORY_DAYS
from functions.recommender.rules import PERCENTILE
from functions.recommender.sizing import QosClass
from infra.cli.rows import Row, rows_of
from shared.contracts.wording import counted

if TYPE_CHECKING:
    from functions.recommender.report import Entry
    from infra.cli.comparing import Rule


MOST_RATES = 2  # each told by itself
MOST_KILLED = 10


def of_workload(entry: Entry) -> Iterator[str]:
    """What its pods are that sizing minds."""
    if entry.scales_on:
        yield "HPA?" if "unknown" in entry.scales_on else "HPA"
    if entry.qos == QosClass.GUARANTEED:
        yield "Guaranteed"


def of_container(row: Row, throttled_share: float) -> Iterator[str]:
    """The same of a container; throttled is one from this share of periods on."""
    if row.name in row.entry.jvms:
        yield "JVM"
    if row.seen is None:
        yield "not measured"
        return
    if row.seen.usage.oom_kills:
        yield counted(row.seen.usage.oom_kills, "OOM kill")
    if (row.seen.usage.throttled_share or 0) > throttled_share:
        yield "throttled"


def killed(found: Iterable[Entry], days: int) -> Iterator[str]:
    """What memory killed, most often first: in a table it is last, for it saves nothing, and its note may
    have no room.
    """
    kills = Counter[str]()
    for each in found:
        for row in rows_of(each):
            kills[each.workload.subject] += row.seen.usage.oom_kills if row.seen is not None else 0
    often = [f"{subject} ({count})" for subject, count in (+kills).most_common()]
    if often:
        more = f" and {len(often) - MOST_KILLED} more" if len(often) > MOST_KILLED else ""
        yield f"OOM kills within {counted(days, 'day')}: {', '.join(often[:MOST_KILLED])}{more}"


def prices_of(found: Iterable[Entry], currency: str) -> Iterator[str]:
    """By which prices; where they go by node there are many: the most usual ones, and how far others go."""
    used = Counter(each.rates for each in found if each.rates is not None)
    listed = used.most_common(MOST_RATES)
    for rates, count in listed:
        of = f" ({counted(count, 'workload')})" if len(used) > 1 else ""
        source = rates.source if len(used) == 1 else rates.source.partition(": ")[0]
        yield (
            f"prices{of}: {rates.core_hour.amount:f} {currency} a core and hour,"
            f" {rates.gib_hour.amount:f} a GiB and hour: {source}"
        )
    others = [rates for rates in used if rates not in dict(listed)]
    if others:
        of_core, of_gib = (
            f"{min(amounts):f}" if len(set(amounts)) == 1 else f"{min(amounts):f} to {max(amounts):f}"
            for amounts in (
                [each.core_hour.amount for each in others],
                [each.gib_hour.amount for each in others],
            )
        )
        count = sum(used[each] for each in others)
        yield (
            f"prices of {counted(count, 'other workload')}: {of_core} {currency} a core and hour,"
            f" {of_gib} a GiB and hour: see --format json"
        )


def looked_at(strategy: str, rule: Rule | None) -> str:
    """Which windows the figures of use are of, and which days the requests rest on."""
    windows = (
        "The max of CPU is that of the 5-minute windows looked at (99, 50 or 33 a day), or of all where there"
        " is a CPU limit."
    )
    if rule is not None:
        return f"{windows} These p95 and max are ours: {rule.name} reckons with its own, of its own days."
    if strategy == PERCENTILE:
        return windows
    return (
        f"{windows} Requests rest on {CPU_DAYS} days of CPU and {MEMORY_DAYS} of memory: a peak of memory"
        " before the days shown counts too."
    )
