"""A scan as one HTML page that needs nothing else: no network, no server, no script from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from infra.cli.looking import follows
from infra.cli.notes import looked_at, of_container, of_workload
from infra.cli.plot import HEIGHT, WIDTH, Plot, Tick, cpu_text, memory_text, plot, spread, ticks
from infra.cli.rows import Row, rows
from infra.cli.totals import share, spaces, sums
from shared.contracts.events import Rates, Resources, rfc3339
from shared.contracts.quantities import MIB
from shared.contracts.wording import counted, quantity

if TYPE_CHECKING:
    from functions.recommender.report import Entry
    from functions.recommender.settings import SizingSettings
    from infra.cli.histories import Histories, Of, Usage
    from infra.cli.looking import Seen

HERE = Path(__file__).parent
# The large plot's place for the drawing within its picture, and its labels' heights, in pixels.
BIG_HEIGHT, LABEL_HEIGHT = 150, 13
# So many namespaces are told at once, the others on demand.
FIRST_NAMESPACES = 8
NOTHING = Resources()
FIELDS = {
    "CPU": {"request": "cpu_request_m", "limit": "cpu_limit_m"},
    "memory": {"request": "memory_request_bytes", "limit": "memory_limit_bytes"},
}


@dataclass(frozen=True)
class Label:
    """A level's name at the right of a large plot; `y` in its pixels."""

    y: float
    text: str
    css: str


@dataclass(frozen=True)
class Change:
    """What is set and what should be, the same where it stays; a dash is what is not set."""

    now: str
    new: str

    def __str__(self) -> str:
        now, new = (text.replace("-", "not set") for text in (self.now, self.new))
        return now if now == new else f"{now} \N{RIGHTWARDS ARROW} {new}"


@dataclass(frozen=True)
class Figure:
    """One resource of a container: the texts of a row, and its plot."""

    resource: str
    request: Change
    limit: Change
    used: str
    plot: Plot
    title: str
    labels: tuple[Label, ...]
    ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Line:
    """A row of the page's table; `sort` are numbers by the column's name. `asked` are the requests of CPU and
    of memory where there are no figures of use, empty where they are not known either.
    """

    row: Row
    cpu: Figure | None
    memory: Figure | None
    asked: tuple[str, str]
    sort: dict[str, float]
    facts: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def percent(self) -> str:
        """What is saved of the cost."""
        return share(self.row.saving, self.row.before)


def page(seen: Seen, at: datetime, settings: SizingSettings) -> str:
    """The page of a scan at `at`. Every text in it that Prometheus told is escaped."""
    found = list(rows(seen.entries))
    histories = seen.histories
    lines = sorted(
        (_line(row, seen, settings) for row in found),
        key=lambda line: (-line.sort["saving"], line.row.entry.decision, line.row.entry.workload.subject),
    )
    namespaces = spaces(seen.entries, settings.currency)
    style, script = (_file(name) for name in ("page.css", "page.js"))
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            style=style,
            script=script,
            style_hash=_hash(style),
            script_hash=_hash(script),
            cluster=settings.cluster,
            at=rfc3339(at),
            shown_at=f"{at:%-d %B %Y, %H:%M} UTC",
            history=counted(settings.history, "day"),
            currency=settings.currency,
            rates=settings.price_list.base,
            several_rates=len({(each.core_hour, each.gib_hour) for each in _rates(seen.entries)}) > 1,
            sums=sums(found, seen.entries, settings.currency),
            first_spaces=namespaces[:FIRST_NAMESPACES],
            other_spaces=namespaces[FIRST_NAMESPACES:],
            lines=lines,
            proposed=counted(sum(line.row.proposed is not None for line in lines), "container"),
            no_plots=seen.no_histories,
            missing=seen.missing,
            notes=seen.notes,
            ownerless=seen.ownerless.told,
            rule=seen.rule,
            follows=follows(settings.strategy),
            looked_at=looked_at(settings.strategy, seen.rule),
            times=_times(histories) if histories else (),
            step=_step(histories.step) if histories else "",
            width=WIDTH,
            height=HEIGHT,
            big_height=BIG_HEIGHT,
        )
    )


def _rates(entries: Iterable[Entry]) -> Iterator[Rates]:
    return (each.rates for each in entries if each.rates is not None)


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["money"] = lambda money: f"{money.amount:,.2f}".replace("-", "\N{MINUS SIGN}")
    # The page adds them up, and shows sums to the cent.
    made.filters["number"] = lambda value: f"{value:.15g}"
    made.filters["count"] = lambda value: f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return made


def _file(name: str) -> Markup:
    """A file of ours, to stand in the page as it is."""
    return Markup((HERE / name).read_text(encoding="utf-8"))  # noqa: S704


def _hash(text: str) -> str:
    """By which the page's own policy allows a text in it to be run, and no other (CSP level 2)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _line(row: Row, seen: Seen, settings: SizingSettings) -> Line:
    cpu = memory = None
    key: Of = (row.entry.workload, row.name)
    if row.seen is not None:
        usage, histories = row.seen.usage, seen.histories
        # Another tool may have a p95 of its own.
        p95 = "p95" if seen.rule is None else "our p95"
        cpu = _figure(
            "CPU",
            row,
            histories.cpu.get(key) if histories else None,
            used=f"{p95} {cpu_text(usage.cpu_p95_m)}, max {cpu_text(usage.cpu_max_m)}",
        )
        memory = _figure(
            "memory",
            row,
            histories.memory.get(key) if histories else None,
            used=f"{p95} {memory_text(usage.memory_p95_bytes)}, max {memory_text(usage.memory_max_bytes)}",
        )
    current = row.current or NOTHING
    return Line(
        row=row,
        cpu=cpu,
        memory=memory,
        asked=_asked(row),
        sort={
            "cpu": float(current.cpu_request_m or 0),
            "memory": float(current.memory_request_bytes or 0),
            "pods": row.entry.pods,
            "cost": float(row.before.amount),
            "saving": float(row.saving.amount),
        },
        facts=tuple(_facts(row)),
        notes=(*of_workload(row.entry), *of_container(row, settings.rules.throttled_share)),
    )


def _figure(resource: str, row: Row, usage: Usage | None, used: str) -> Figure:
    assert row.seen is not None
    after = row.proposed or row.seen.current
    values = {
        what: (getattr(row.seen.current, field), getattr(after, field))
        for what, field in FIELDS[resource].items()
    }
    changes = {
        what: Change(*(_text(field, value) for value in values[what]))
        for what, field in FIELDS[resource].items()
    }
    made = plot(usage, values["request"], values["limit"])
    said = ", ".join(f"{what} {change}" for what, change in changes.items())
    return Figure(
        resource=resource,
        request=changes["request"],
        limit=changes["limit"],
        used=used,
        plot=made,
        title=f"{resource} of {row.name}: {used}; {said}",
        labels=tuple(_labels(made, changes)),
        ticks=tuple(ticks(made.top, memory=resource == "memory")),
    )


def _text(field: str, value: int | None) -> str:
    """As a manifest says it; what would be nine digits of bytes is rounded, and marked so."""
    text = quantity(field, value)
    if field.startswith("memory") and value and value > MIB and text.isdigit():
        return f"\N{ALMOST EQUAL TO}{memory_text(value)}"
    return text


def _labels(made: Plot, changes: Mapping[str, Change]) -> Iterator[Label]:
    words = {"now": "", "stays": "", "new": "new "}
    ordered = sorted(made.levels, key=lambda level: level.y)
    wanted = [level.y / HEIGHT * BIG_HEIGHT for level in ordered]
    for level, y in zip(ordered, spread(wanted, LABEL_HEIGHT, BIG_HEIGHT), strict=True):
        change = changes[level.what]
        text = change.new if level.when == "new" else change.now
        above = " \N{UPWARDS ARROW}" if level.beyond else ""
        yield Label(y, f"{words[level.when]}{level.what} {text}{above}", f"{level.what} {level.when}")


def _asked(row: Row) -> tuple[str, str]:
    """The requests of a container without usage."""
    if row.seen is not None or row.current is None:
        return "", ""
    cpu, memory = (each["request"] for each in FIELDS.values())
    return _text(cpu, getattr(row.current, cpu)), _text(memory, getattr(row.current, memory))


def _facts(row: Row) -> Iterator[str]:
    """What else is known of it."""
    entry = row.entry
    yield f"{entry.workload.kind}, {entry.qos}" if entry.containers else entry.workload.kind
    if (jvm := entry.jvms.get(row.name)) is not None:
        yield f"runs a JVM ({jvm.known_by})"
    if row.seen is None:
        if row.current is not None:
            cpu, memory = _asked(row)
            yield f"not measured; asks for CPU {cpu}, memory {memory}"
        return
    usage = row.seen.usage
    hours = row.history_seconds / 3600
    yield f"history {hours / 24:.1f} days" if hours >= 48 else f"history {hours:.1f} h"
    yield f"{counted(usage.samples, 'sample')} in {counted(usage.pods, 'pod')}"
    yield f"confidence {entry.confidence:.0%}"
    if entry.decision == "proposed" and len(entry.containers) > 1:
        yield (
            f"the workload saves {entry.monthly_saving} of {entry.monthly_cost_before} a month in its"
            f" {len(entry.containers)} containers"
        )
    if row.left is not None and row.left.amount:
        yield f"sizing would save {row.left} a month"
    if entry.rates is not None:
        yield (
            f"{entry.rates.core_hour.amount:f} a core and hour, {entry.rates.gib_hour.amount:f} a GiB and"
            f" hour: {entry.rates.source}"
        )
    if usage.oom_kills:
        yield counted(usage.oom_kills, "OOM kill")
    if usage.throttled_share:
        yield f"throttled in {usage.throttled_share:.0%} of periods"
    if entry.scales_on:
        known = "unknown" not in entry.scales_on
        what = f" on {', '.join(entry.scales_on)}" if known else ", or maybe: nothing tells on what"
        yield f"scaled by a HorizontalPodAutoscaler{what}"


def _times(histories: Histories) -> tuple[str, ...]:
    """At the beginning, in the middle and at the end of a plot."""
    middle = histories.begin + (histories.end - histories.begin) / 2
    short = histories.end - histories.begin <= timedelta(days=2)
    return tuple(
        f"{at:%H:%M}" if short else f"{at:%-d %b}" for at in (histories.begin, middle, histories.end)
    )


def _step(step: timedelta) -> str:
    return counted(int(step.total_seconds() // 3600), "hour")
