"""A cluster's waste, from nothing but a Prometheus: what each container asks for, uses and should ask for."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic_core import to_json

from functions.recommender.report import Entry
from functions.recommender.rules import Peer
from functions.recommender.sizing import SUPPORTED
from infra.cli.looking import follows, see, sizing_settings
from infra.cli.notes import killed, looked_at, of_container, of_workload, prices_of
from infra.cli.plain import tell
from infra.cli.rows import COMPARED, Row, as_csv, rows_of
from infra.cli.summing import by_namespace, total
from infra.cli.tables import Table, table, terminal, text_of, wrapped
from infra.cli.writing import require_folder, to_stdout, write
from shared.contracts.errors import BadSetting
from shared.contracts.events import ContainerProposal, rfc3339
from shared.contracts.money import Money
from shared.contracts.quantities import MIB
from shared.contracts.wording import LABELS, change, counted, quantity, some
from shared.runtime.memory import one_arena

if TYPE_CHECKING:
    from functions.recommender.settings import SizingSettings
    from infra.cli.comparing import Rule
    from infra.cli.looking import Seen

Format = Literal["table", "json", "csv", "yaml", "html"]
# By the ending of a file.
FORMS: Mapping[str, Format] = MappingProxyType(
    {".html": "html", ".json": "json", ".csv": "csv", ".yaml": "yaml", ".yml": "yaml"}
)
# Exit codes: more is wasted than --fail-on-waste allows; a part could not be read; of what runs nothing was
# measured, so that no waste is none that is known.
WASTE, PARTIAL, UNMEASURED = 3, 4, 5
PEERS: tuple[Peer, ...] = get_args(Peer)
AMOUNT = re.compile(r"^(\d+(?:\.\d+)?) ?([A-Z]{3})?$")


def scan(
    prometheus_url: str,
    namespaces: list[str],
    form: Format | None = None,
    output: Path | None = None,
    fail_on_waste: str | None = None,
    *,
    kinds: Sequence[str] = (),
    labels: Sequence[str] = (),
    strategy: str | None = None,
    provider: str | None = None,
    prices: Path | None = None,
) -> int:
    """Writes the scan to the file `output`, or to standard output.

    Without a `form` it is the one that the file's ending says, else a table.
    With another tool's name as `strategy` the figures are those of its rule, for comparison.

    What cannot be read is named in it, and nothing is proposed there. Returns 0; UNMEASURED if nothing was
    measured of any workload; PARTIAL if there is a part that cannot be read; WASTE if the proposals save
    more a month than `fail_on_waste`, such as `200` or `200 EUR`.

    Raises:
        BadSetting: a kind, an address, an amount, a folder or a variable is wrong, or an amount is to be held
            against another tool's rule.
        NothingFound: there is nothing to look at.
        CannotWrite: the file cannot be written.
        Temporary: Prometheus cannot be reached, or answers for no part.
    """
    peer = next((each for each in PEERS if each == strategy), None)
    if peer and fail_on_waste is not None:
        raise BadSetting(f"--fail-on-waste goes by what is proposed, and by {peer}'s rule nothing is")
    kinds = [_kind(each) for each in kinds]
    ours = None if peer else strategy
    settings = sizing_settings(prometheus_url, labels, ours, provider=provider, prices=prices)
    most = None if fail_on_waste is None else _amount(fail_on_waste, settings.currency)
    require_folder(output)
    form = form or FORMS.get("" if output is None else output.suffix.lower(), "table")
    one_arena()
    at = datetime.now(UTC).replace(microsecond=0)
    seen = see(settings, namespaces, at, kinds=kinds, with_histories=form == "html", peer=peer)
    width = terminal() if to_stdout(output) else None
    write(_text(form, seen, at, settings, width), output)
    if seen.no_histories:
        tell(f"the page is without plots: {seen.no_histories}")
    for note in seen.notes:
        tell(note)
    saving = total(seen.entries, settings.currency).saving
    too_much = most is not None and saving.amount > most.amount
    if too_much:
        tell(f"{saving} a month of waste is above --fail-on-waste {most}")
    if seen.missing:
        # What is missing may save, or cost: whether it is too much of all is not known.
        names = [name for each in seen.missing for name in each.namespaces]
        what = counted(len(names), "namespace")
        tell(f"{what} could not be read: {some(names)}")
    if seen.is_unmeasured:
        return UNMEASURED
    if seen.missing:
        return PARTIAL
    return WASTE if too_much else 0


def _kind(text: str) -> str:
    """As manifests write it. Raises BadSetting."""
    kind = next((each for each in SUPPORTED if each.lower() == text.lower()), None)
    if kind is None:
        raise BadSetting(f"--kind: {text!r} is not sized; {', '.join(SUPPORTED)} are")
    return kind


def _amount(text: str, currency: str) -> Money:
    """In `currency`, which may be said or not. Raises BadSetting."""
    match = AMOUNT.match(text.strip())
    if match is None:
        raise BadSetting(f"--fail-on-waste: {text!r} is no amount, such as 200 or 199.50 {currency}")
    if match[2] not in (None, currency):
        raise BadSetting(
            f"--fail-on-waste: {text} is in another currency than the prices, which are in {currency}"
            " (KUBEFINOPS_CURRENCY)"
        )
    return Money(amount=Decimal(match[1]), currency=currency)


def _text(form: Format, seen: Seen, at: datetime, settings: SizingSettings, width: int | None) -> str:
    match form:
        case "table":
            return "".join(f"{line}\n" for line in _lines(seen, settings, width))
        case "json":
            # json itself has no fast way to indent.
            return to_json(_document(seen, at, settings), indent=2).decode() + "\n"
        case "yaml":
            return _yaml(_document(seen, at, settings))
        case "csv":
            peer = seen.rule.name if seen.rule else None
            return as_csv(seen.entries, settings.currency, seen.missing, peer)
        case "html":
            from infra.cli.page import page  # noqa: PLC0415  # nothing else needs Jinja

            return page(seen, at, settings)


def _yaml(document: dict[str, Any]) -> str:
    import yaml  # noqa: PLC0415  # nor YAML

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(document, Dumper=dumper, sort_keys=False, allow_unicode=True, width=1000))


def _document(seen: Seen, at: datetime, settings: SizingSettings) -> dict[str, Any]:
    found = seen.entries
    spaces = by_namespace(found, settings.currency)
    # Each day of each container would be most of the document; a stored report has them, for `explain`.
    workloads = [each.model_dump(mode="json", exclude={"digests"}) for each in found]
    for each, entry in zip(workloads, found, strict=True):
        left = total([entry], settings.currency).left
        each["monthly_waste_left"] = left.model_dump(mode="json") if left else None
        if seen.rule and each["decision"] == "proposed":
            each["decision"] = COMPARED
    return {
        "cluster": settings.cluster,
        "at": rfc3339(at),
        "history_days": settings.history,
        "rates": settings.price_list.base.model_dump(mode="json"),
        "comparison": seen.rule.document() if seen.rule else None,
        "workloads": workloads,
        "namespaces": {name: each.document() for name, each in spaces.items()},
        "totals": {**total(found, settings.currency).document(), "complete": not seen.missing},
        "missing": [each.document() for each in seen.missing],
        "ownerless": asdict(seen.ownerless),
        "notes": list(seen.notes),
    }


def _lines(seen: Seen, settings: SizingSettings, width: int | None) -> Iterator[str]:
    """The table and what is told below it, for a terminal of this width."""
    found = seen.entries
    proposed = [each for each in found if each.decision == "proposed"]
    skipped = [each for each in found if each.decision == "skipped"]
    if seen.rule:
        yield from (wrapped(seen.rule.heading, width), wrapped(seen.rule.reading, width))
    ordered = sorted(proposed, key=lambda each: -each.monthly_saving.amount) + skipped
    yield text_of(_table(ordered, settings, seen.rule), width)
    if skipped:
        yield "left as they are:"
    yield from (wrapped(line, width) for line in _left(skipped))
    yield text_of(_by_namespace(seen, settings.currency), width)
    yield from (wrapped(line, width) for line in _footer(seen, settings))


def _left(skipped: Iterable[Entry]) -> Iterator[str]:
    """Each reason, with those that it is for."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for each in skipped:
        by_reason[each.reason or ""].append(each.workload.subject)
    for reason, subjects in by_reason.items():
        yield f"  {reason}: {', '.join(subjects)}"


def _footer(seen: Seen, settings: SizingSettings) -> Iterator[str]:
    found = seen.entries
    if seen.missing:
        yield "not read, and nothing is proposed there:"
    yield from (f"  {part.named}: {part.reason}" for part in seen.missing)
    yield from killed(found, settings.rules.oom_days)
    whole = total(found, settings.currency)
    are = "is" if whole.proposed == 1 else "are"
    only = "of what could be read: " if seen.missing else ""
    yield f"{only}{counted(len(found), 'workload')}, of which {whole.proposed} " + (
        f"would change by {seen.rule.name}'s rule: it would save {whole.saving} of {whole.cost} a month, and"
        " nothing is proposed."
        if seen.rule
        else f"{are} worth a change: saves {whole.saving} of {whole.cost} a month, before policy."
    )
    if whole.proposed < len(found):
        said = "cannot be said" if whole.left is None else f"is {whole.left} a month"
        unsaid = f"; of {whole.unsaid} of them it cannot be said" if whole.unsaid and whole.left else ""
        yield f"what sizing would save of those that are left as they are {said}{unsaid}."
    if seen.ownerless.pods:
        yield seen.ownerless.told
    yield from (f"note: {each}" for each in seen.notes)
    yield from prices_of(found, settings.currency)
    ours = "" if seen.rule else f" {follows(settings.strategy)}"
    yield f"{_used(seen.rule)}: over {counted(settings.history, 'day')}, in the worst pod.{ours}"
    yield looked_at(settings.strategy, seen.rule)
    yield "why each value is what it is: --format html, or json and yaml for programs."


def _by_namespace(seen: Seen, currency: str) -> Table:
    changed = "would change" if seen.rule else "worth a change"
    made = table(["namespace"], ["workloads", changed, f"costs {currency}/month", "saves", "left"])
    for name, each in by_namespace(seen.entries, currency).items():
        left = "-" if each.left is None else f"{each.left.amount:.2f}"
        made.add_row(
            name,
            str(each.workloads),
            str(each.proposed),
            f"{each.cost.amount:.2f}",
            f"{each.saving.amount:.2f}",
            left,
        )
    for missing in seen.missing:
        made.add_row(", ".join(missing.namespaces), str(missing.workloads), "not read", "-", "-", "-")
    return made


def _table(entries: list[Entry], settings: SizingSettings, rule: Rule | None) -> Table:
    changed = [container for each in entries if each.decision == "proposed" for container in each.containers]
    containers = [container for each in entries for container in each.containers]
    with_left = any(each.monthly_waste_left is not None for each in entries)
    # Limits stand where there is something to tell.
    with_limit = any(one.current.cpu_limit_m != one.proposed.cpu_limit_m for one in changed)
    with_memory_limit = any(one.current.memory_limit_bytes is not None for one in containers)
    fields = [
        *(["cpu_request_m", "cpu_limit_m"] if with_limit else ["cpu_request_m"]),
        "memory_request_bytes",
        *(["memory_limit_bytes"] if with_memory_limit else []),
    ]
    used = [f"CPU {_used(rule)}", f"memory {_used(rule)}"]
    made = table(
        ["workload", "container", "note"],
        [
            *used,
            *(LABELS[field] for field in fields),
            f"saves {settings.currency}/month",
            *(["left"] if with_left else []),
        ],
        spare=[LABELS["memory_limit_bytes"], LABELS["cpu_limit_m"], "note", *used],
    )
    for each in entries:
        found = [row for row in rows_of(each) if row.current is not None]
        of_all = list(of_workload(each))
        if len(found) != 1:
            # A workload of several containers has a line of its own, with the sums.
            sums = _money(each, each.monthly_saving, each.monthly_waste_left) if found else ("", "")
            blanks = [""] * (len(used) + len(fields))
            made.add_row(each.workload.subject, "", ", ".join(of_all), *blanks, *sums[: 1 + with_left])
        for row in found:
            notes = [*(of_all if len(found) == 1 else []), *of_container(row, settings.rules.throttled_share)]
            made.add_row(
                each.workload.subject if len(found) == 1 else "",
                row.name,
                ", ".join(notes),
                *_usage(row.seen),
                *(_value(row, field) for field in fields),
                *_money(each, row.saving, row.left)[: 1 + with_left],
            )
    return made


def _used(rule: Rule | None) -> str:
    """Another tool may have a p95 of its own."""
    return "p95 / max" if rule is None else "our p95 / max"


def _value(row: Row, field: str) -> str:
    """What is set and what should be; where nothing is proposed, what is set alone."""
    if row.seen is None or row.proposed is None:
        return quantity(field, getattr(row.current, field))
    return change(row.seen, field)


def _money(entry: Entry, saving: Money, left: Money | None) -> tuple[str, str]:
    """What is saved, and what sizing would have saved."""
    if entry.decision == "proposed":
        return f"{saving.amount:.2f}", ""
    return "-", "-" if left is None else f"{left.amount:.2f}"


def _usage(container: ContainerProposal | None) -> tuple[str, str]:
    """Of CPU and of memory."""
    if container is None:
        return "-", "-"
    usage = container.usage
    return (
        f"{usage.cpu_p95_m:.0f}m / {usage.cpu_max_m:.0f}m",
        f"{usage.memory_p95_bytes / MIB:.0f}Mi / {usage.memory_max_bytes / MIB:.0f}Mi",
    )
