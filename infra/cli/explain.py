"""A recommendation's figures with their inputs and sentences, each computed again from the stored report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from functions.recommender.explaining import Explanation, Figure, NotReproducible, explain, told
from functions.recommender.report import DailyDigest, Entry, Report, Window, entry_at, read
from functions.recommender.sizing import RUN_TO_COMPLETION
from infra.cli.plain import say
from infra.cli.rows import rows_of
from infra.cli.tables import table, terminal, text_of
from shared.adapters.mongo import MongoRecommendations
from shared.adapters.objectstore import ObjectStore
from shared.contracts.documents import Recommendation
from shared.contracts.errors import BadSetting
from shared.contracts.events import (
    ContainerProposal,
    Outcome,
    ReportPointer,
    Resources,
    Usage,
    Verdict,
    rfc3339,
)
from shared.contracts.identity import Workload
from shared.contracts.money import Money
from shared.contracts.quantities import MIB, format_cpu, format_memory
from shared.contracts.wording import LABELS, NOT_IN_GIT, clamps, counted, quantity
from shared.runtime.settings import MongoSettings, ObjectStoreSettings
from shared.runtime.world import World

# Names of a workload's figures, for people; what is not here is called as in the report.
NAMES = {
    "confidence": "confidence",
    "qos": "QoS class",
    "history_seconds": "history, seconds",
    "monthly_cost_before": "monthly cost before",
    "monthly_cost_after": "monthly cost after",
    "monthly_saving": "monthly saving",
    "content_hash": "content hash",
}


@dataclass(frozen=True, kw_only=True)
class ExplainSettings(MongoSettings, ObjectStoreSettings):
    """What explain reads from its environment."""


@dataclass(frozen=True)
class Explained:
    """A recommendation with its report's entry, and what came out of it again, or why nothing did.

    `document` are the fields of the recommendation's proposal against those that the report's entry makes.
    """

    recommendation: Recommendation
    report: Report
    entry: Entry
    document: tuple[Figure, ...]
    again: Explanation | None
    why_not: str = ""

    @property
    def differing(self) -> tuple[Figure, ...]:
        computed = self.again.differing if self.again else ()
        return (*computed, *(figure for figure in self.document if not figure.equal))

    @property
    def equal(self) -> bool:
        return self.again is not None and not self.differing


def run(question: str, form: Literal["table", "json"]) -> int:
    """Prints the explanation of the recommendation that `question` names: the beginning of its id, or
    NAMESPACE/KIND/NAME of a workload, whose latest is meant.

    Returns 0, or 1 if a figure differs or the report's engine is not this code's.

    Raises:
        BadSetting: a variable is wrong, or the question names no recommendation, or several.
        NotReproducible: the report is not what the recommendation points to.
        Temporary: MongoDB or object storage cannot be reached.
    """
    settings = ExplainSettings.read()
    world = World("explain", settings)
    try:
        recommendation = find(world.mongo.recommendations, question, settings.cluster)
    finally:
        world.mongo.close()
    # Where it lies is told by the recommendation: the bucket may have been another one then.
    bucket = recommendation.proposal.report.bucket
    objects = World("explain", replace(settings, s3_bucket=bucket)).objects
    explained = of(recommendation, objects)
    if form == "json":
        print(json.dumps(document(explained), indent=2))
    else:
        say("\n".join(lines(explained)))
    return 0 if explained.equal else 1


def find(recommendations: MongoRecommendations, question: str, cluster: str) -> Recommendation:
    """The one that is meant.

    Raises:
        BadSetting: there is none, or there are several.
        Temporary: MongoDB cannot be reached.
    """
    if "/" in question:
        try:
            workload = Workload.of_subject(cluster, question)
        except ValueError:
            raise BadSetting(f"RECOMMENDATION: {question!r} is not NAMESPACE/KIND/NAME") from None
        latest = recommendations.latest_of([workload])[workload]
        if not latest:
            raise BadSetting(f"RECOMMENDATION: there is none for {question} in cluster {cluster}")
        return latest[0]
    if not re.fullmatch(r"[0-9a-f]{1,64}", question):
        raise BadSetting(
            f"RECOMMENDATION: {question!r} is neither the beginning of an id (hex digits) nor"
            " NAMESPACE/KIND/NAME"
        )
    found = recommendations.beginning_with(question)
    if not found:
        raise BadSetting(f"RECOMMENDATION: there is none whose id begins with {question}")
    if len(found) > 1:
        few = ", ".join(f"{each.id[: len(question) + 8]} ({each.workload.subject})" for each in found[:3])
        more = " and more" if len(found) > 3 else ""
        raise BadSetting(f"RECOMMENDATION: several ids begin with {question}: {few}{more}")
    return found[0]


def of(recommendation: Recommendation, objects: ObjectStore) -> Explained:
    """Reads the report that the recommendation points to, and computes its figures again.

    Raises:
        NotReproducible: the report is not there, not the same any more, or of another workload.
        Permanent: a newer version wrote it, in a form that this one cannot read.
        Temporary: object storage cannot be reached.
    """
    pointer = recommendation.proposal.report
    where = _address(pointer)
    try:
        content = objects.get(pointer.key, pointer.version_id)
    except KeyError:
        raise NotReproducible(f"there is no {where}") from None
    report = read(content, pointer.sha256)
    if report is None:
        raise NotReproducible(f"{where} is not what was stored: its sha256 is not {pointer.sha256}")
    entry = entry_at(report, pointer.pointer)
    if entry is None or entry.workload != recommendation.workload:
        raise NotReproducible(
            f"{where} has nothing about {recommendation.workload.subject} at {pointer.pointer}"
        )
    fields = told(report, entry, recommendation.proposal)
    try:
        return Explained(recommendation, report, entry, fields, explain(report, entry))
    except NotReproducible as error:
        return Explained(recommendation, report, entry, fields, None, str(error))


def document(explained: Explained) -> dict[str, Any]:
    """All of it, for programs; `figures` are in the units of the report."""
    item, report, again = explained.recommendation, explained.report, explained.again
    return {
        "recommendation": item.id,
        "state": item.state.value,
        "equal": explained.equal,
        "not_computed": explained.why_not or None,
        "lacking": list(again.lacking) if again else [],
        "figures": [_figure(each) for each in again.figures] if again else [],
        "document": [_figure(each) for each in explained.document],
        "policy": [
            {
                "container": before.name,
                "name": field,
                "proposed": getattr(before.proposed, field),
                "judged": getattr(after.proposed, field),
                "by": [f"{each.policy} v{each.version}, {each.rule}" for each in by],
            }
            for before, after, field, by in _clamped(item)
        ],
        "evidence": item.proposal.report.model_dump(mode="json"),
        **report.model_dump(
            mode="json",
            include={"engine", "cluster", "scanned_at", "window", "settings", "constants", "rates"},
        ),
        "entry": explained.entry.model_dump(mode="json"),
    }


def _figure(figure: Figure) -> dict[str, object]:
    return {
        "container": figure.container or None,
        "name": figure.name,
        "stored": figure.stored,
        "again": figure.again,
        "equal": figure.equal,
    }


def _clamped(
    item: Recommendation,
) -> Iterator[tuple[ContainerProposal, ContainerProposal, str, list[Verdict]]]:
    """Each value that policy made another one: the container before and after, the field, and by what."""
    judged = {container.name: container for container in item.containers}
    for before in item.proposal.containers:
        after = judged.get(before.name, before)
        for field, _, by in clamps(before, after, item.verdicts):
            yield before, after, field, by


def lines(explained: Explained) -> Iterator[str]:
    """What is printed: where from, the settings, each container, the workload, policy, and the outcome."""
    item, report, entry = explained.recommendation, explained.report, explained.entry
    yield (
        f"{item.workload.subject}  {item.id[:12]}  {item.state.value}, scanned at"
        f" {rfc3339(report.scanned_at)} by engine {report.engine}"
    )
    yield f"evidence: {_address(item.proposal.report)} at {item.proposal.report.pointer}, its sha256 is right"
    yield (
        f"usage: from {rfc3339(report.window.begin)} on, in windows of {report.window.step_seconds} s"
        f"{_apart(report.window, entry.workload)}; {entry.pods:g} pods, QoS class {entry.qos}"
        + (f", autoscaled by {' and '.join(entry.scales_on)}" if entry.scales_on else "")
    )
    yield f"settings: {_settings(report.settings)}"
    rates = entry.rates or report.rates
    source = f" ({rates.source})" if rates.source else ""
    yield f"prices: a core-hour {_price(rates.core_hour)}, a GiB-hour {_price(rates.gib_hour)}{source}"
    if report.constants:
        yield f"constants: {', '.join(f'{name} {value:g}' for name, value in report.constants.items())}"
    yield ""
    for container in entry.containers:
        yield from _of_container(explained, container)
    for row in rows_of(entry):
        if row.seen is None and row.name:
            yield f"{row.name}: not measured, left as it is; costs {row.before} a month by its requests"
    yield from _around(entry)
    made = table(["figure", "stored", "computed again", "equal"])
    for name, stored, again, equal in _rows(explained, ""):
        made.add_row(NAMES.get(name, name), _text(name, stored), again, equal)
    yield text_of(made, terminal())
    yield from _afterwards(item)
    yield from _outcome(explained)


def _around(entry: Entry) -> Iterator[str]:
    """What else decides, beside what containers use."""
    if not entry.tells_kills:
        yield "OOM kills would not have been seen: no memory is lowered"
    for name, asked in entry.init_containers.items():
        yield f"init container {name} asks for {_requests(asked) or 'nothing'}"
    for each in entry.seen:
        if each.bounds is not None:
            least, most = map(_requests, each.bounds)
            told = [f"want {least} at least"] if least else []
            told += [f"allow {most} at most"] if most else []
            told += [
                f"allow a {LABELS[field]} of {quantity(field, value)} beside the present request"
                for field in ("cpu_limit_m", "memory_limit_bytes")
                if (value := getattr(each.bounds[1], field)) is not None
            ]
            yield f"{each.name}: LimitRanges {' and '.join(told)}"
    for who, bound in entry.pod_bounds.items():
        yield f"the containers of a pod may have together, by {who}, at most: {_values(bound)}"
    if entry.pod_least is not None:
        least = _values(entry.pod_least)
        yield f"the containers of a pod have to have together, by LimitRange, at least: {least}"
    for resource, ratio in entry.pod_ratios.items():
        yield f"the limits of {resource} of a pod may be {ratio:g} times its requests, by LimitRange"


def _values(bound: Resources) -> str:
    return ", ".join(
        f"{label} {quantity(field, _whole(field, value))}"
        for field, label in LABELS.items()
        if (value := getattr(bound, field)) is not None
    )


def _whole(field: str, value: int) -> int:
    """Down to mebibytes: nine tenths of a node are no round number of anything larger than bytes."""
    return value if field.startswith("cpu") or value < MIB else value // MIB * MIB


def _requests(asked: Resources) -> str:
    """What is set of the two, which may be neither."""
    return " and ".join(
        f"{quantity(field, value)} of {what}"
        for field, what in (("cpu_request_m", "CPU"), ("memory_request_bytes", "memory"))
        if (value := getattr(asked, field)) is not None
    )


def _settings(settings: Mapping[str, float | int | str | bool]) -> str:
    """The rules that most figures rest on, as far as the report has them; in JSON there are all of them."""
    forms: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
        ("cpu_headroom", "CPU headroom", _above),
        ("memory_headroom", "memory headroom", _above),
        ("memory_limit_headroom", "memory limit headroom", _above),
        ("cpu_floor_m", "CPU floor", format_cpu),
        ("memory_floor_bytes", "memory floor", format_memory),
        ("relative_change", "least change", "{:.0%}".format),
        ("cpu_change_m", "of CPU", format_cpu),
        ("memory_change_bytes", "of memory", format_memory),
        ("oom_days", "days after an OOM kill", str),
    )
    return ", ".join(f"{label} {form(settings[name])}" for name, label, form in forms if name in settings)


def _above(factor: float) -> str:
    return f"{factor - 1:.0%}"


def _of_container(explained: Explained, container: ContainerProposal) -> Iterator[str]:
    entry = explained.entry
    seen = {each.name: each for each in entry.seen}.get(container.name)
    yield f"{container.name}: {_usage(container.usage)}"
    if seen is not None:
        killed = "; killed for its memory under no less than the present limit" if seen.oom_killed else ""
        yield f"  {seen.history_seconds / 86400:.1f} days of history{killed}"
    if days := entry.digests.get(container.name):
        yield f"  {_digests(days)}"
    again = {name: (text, equal) for name, _, text, equal in _rows(explained, container.name)}
    made = table(["value", "set", "proposed", "computed again", "equal", "why"])
    for field, label in LABELS.items():
        (text, equal), (sentence, same) = again[field], again[f"{field}_why"]
        made.add_row(
            label,
            quantity(field, getattr(container.current, field)),
            quantity(field, getattr(container.proposed, field)),
            text,
            equal,
            _why(container, field, sentence, same),
        )
    yield text_of(made, terminal())


def _why(container: ContainerProposal, field: str, again: str, same: str) -> str:
    stored = dict(zip(LABELS, container.reasons, strict=False)).get(field, "-")
    return f"{stored}; computed again it is: {again}" if same == "no" else stored


def _usage(usage: Usage) -> str:
    throttled = f", throttled in {usage.throttled_share:.1%} of periods" if usage.throttled_share else ""
    kills = counted(usage.oom_kills, "OOM kill") if usage.oom_kills else "no OOM kills"
    return (
        f"CPU p95 {usage.cpu_p95_m:g}m, peak {usage.cpu_max_m:g}m{throttled};"
        f" memory p95 {usage.memory_p95_bytes / MIB:.1f}Mi, peak {usage.memory_max_bytes / MIB:.1f}Mi,"
        f" {kills}; {counted(usage.samples, 'sample')} in {counted(usage.pods, 'pod')}"
    )


def _apart(window: Window, workload: Workload) -> str:
    """Nothing where all windows were looked at: in older reports, and of pods that run to completion."""
    cpu, memory = window.cpu_step_seconds, window.memory_step_seconds
    if cpu is None or memory is None or workload.kind in RUN_TO_COMPLETION:
        return ""
    steps = window.apart(workload.namespace)
    return f", CPU in every {steps * cpu} s and memory in every {steps * memory} s"


def _digests(days: tuple[DailyDigest, ...]) -> str:
    peak = max(day.memory_bytes for day in days)
    return (
        f"digests of {counted(len(days), 'day')}, {max(day.ago for day in days)} to"
        f" {min(day.ago for day in days)} days before: {sum(day.windows for day in days)} windows, memory's"
        f" peak {peak / MIB:.1f}Mi"
    )


def _rows(explained: Explained, container: str) -> Iterator[tuple[str, object, str, str]]:
    """A figure's name, what is stored, the text of what came out again, and yes or no; a dash for neither."""
    if explained.again is None:
        stored = explained.entry.model_dump(mode="json")
        names = [*LABELS, *(f"{field}_why" for field in LABELS)] if container else NAMES
        yield from ((name, stored.get(name), "-", "-") for name in names)
        return
    for each in explained.again.figures:
        if each.container == container:
            yield each.name, each.stored, _text(each.name, each.again), "yes" if each.equal else "no"


def _price(money: Money) -> str:
    """Not rounded to the cent, as a sum would be."""
    return f"{money.amount:f} {money.currency}"


def _text(name: str, value: object) -> str:
    """As people read it: `230m`, an amount with its currency, a list's members, a dash for nothing."""
    if value is None:
        return "-"
    if name in LABELS and isinstance(value, int):
        return quantity(name, value)
    if name == "content_hash":
        return str(value)[:12]
    if isinstance(value, dict):
        if "amount" in value:
            return f"{value['amount']} {value['currency']}"
        return ", ".join(f"{of} {_text(name, each['monthly_saving'])}" for of, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _afterwards(item: Recommendation) -> Iterator[str]:
    for before, after, field, by in _clamped(item):
        judges = "; ".join(f"{each.policy} v{each.version}, {each.rule}" for each in by)
        values = [quantity(field, getattr(each.proposed, field)) for each in (before, after)]
        yield (
            f"afterwards: {before.name}: {LABELS[field]} {' -> '.join(values)},"
            f" {f'clamped by policy {judges}' if by else 'raised with its request'}"
        )
    for name in item.not_in_git:
        yield f"afterwards: {name}: {NOT_IN_GIT}"
    for verdict in item.verdicts:
        if verdict.outcome in (Outcome.REQUIRE_APPROVAL, Outcome.DENY):
            yield (
                f"afterwards: policy {verdict.policy} v{verdict.version}, {verdict.rule}:"
                f" {verdict.outcome.value}: {verdict.message}"
            )


def _outcome(explained: Explained) -> Iterator[str]:
    again, fields = explained.again, explained.document
    for each in again.lacking if again else ():
        yield f"an older report, which lacks {each}"
    if odd := [each.name for each in fields if not each.equal]:
        yield f"differs: of the recommendation {', '.join(odd)}: not as the report has it"
    else:
        yield f"equal: all {len(fields)} fields of the recommendation, as the report has them"
    if again is None:
        yield f"not computed again: {explained.why_not}"
    elif odd := [f"{each.container}: {each.name}".removeprefix(": ") for each in again.differing]:
        yield f"differs: {len(odd)} of {len(again.figures)} figures computed again: {', '.join(odd)}"
    else:
        yield f"equal: all {len(again.figures)} figures, computed again from the report alone"


def _address(pointer: ReportPointer) -> str:
    version = f" (version {pointer.version_id})" if pointer.version_id else ""
    return f"s3://{pointer.bucket}/{pointer.key}{version}"
