"""Asks a Prometheus which of the series that are read it has, how often and how far back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal

from functions.recommender.asking import at_once
from functions.recommender.queries import CPU, MEMORY, duration, window
from functions.recommender.whose import NOT_HIDDEN, Whose, hidden_query, whose, whose_query, why_hidden
from infra.cli.inputs import INPUTS, Input, Need
from shared.contracts.wording import some

if TYPE_CHECKING:
    from functions.recommender.settings import SizingSettings
    from shared.contracts.prometheus import Prometheus, Series

HOUR, DAY = 3600, 86400
# Looked at as they were so long ago: a sample of the past costs no more than one of now.
PAST = (HOUR, 6 * HOUR, DAY, 3 * DAY, 7 * DAY, 14 * DAY, 28 * DAY, 56 * DAY)
SCRAPES_WITHIN = 1200
# Of the pods that are measured, the part that may be without an owner: they come and go between two scrapes.
UNOWNED = 0.1
# The label that tells rows apart: functions drop __name__, and `or` takes rows that differ in it for one.
NAME = "metric"


@dataclass(frozen=True)
class Found:
    """One input as the server has it; times in seconds.

    `age` is that of the newest sample. Of the moments in the past that were looked at, `seen` are those with
    samples and `gaps` those without, between the first of them and now.
    """

    input: Input
    series: int = 0
    interval: int | None = None
    age: float | None = None
    seen: tuple[int, ...] = ()
    gaps: tuple[int, ...] = ()

    @property
    def back(self) -> int | None:
        """There were samples at least so long ago."""
        return max(self.seen, default=None)

    @property
    def state(self) -> Literal["there", "stopped", "missing"]:
        if self.series:
            return "there"
        return "stopped" if self.seen else "missing"


@dataclass(frozen=True)
class Examined:
    """`unjoined` says why usage is of no pod that has an owner, where that is so."""

    history: int
    found: tuple[Found, ...]
    notes: tuple[str, ...]
    unjoined: str | None = None

    @property
    def lacking(self) -> list[Found]:
        """What is required and not there."""
        return [each for each in self.found if each.input.need is Need.REQUIRED and each.state != "there"]

    @property
    def is_ready(self) -> bool:
        """Whether anything can be sized."""
        return not self.lacking and self.unjoined is None


def examine(prometheus: Prometheus, at: datetime, settings: SizingSettings) -> Examined:
    """Some 15 queries, most of which read one sample of each series. Raises Temporary."""
    history, labels = settings.history * DAY, settings.prometheus_labels
    # An hour nearer than the history's end: where data is kept for as long, it is just being deleted there.
    past = [*(ago for ago in PAST if ago < history - HOUR), history - HOUR]
    used = [each for each in INPUTS if each.need not in {Need.PRICES, Need.RULE}]
    older = [each.older.name for each in INPUTS if each.older]
    first = {
        "now": _each("count({})", [*(each.name for each in INPUTS), *older], labels),
        **{
            f"{ago}": _each(f"count({{}} offset {duration(ago)})", [each.name for each in used], labels)
            for ago in past
        },
        "twice by kube-state-metrics": _twice(
            f"kube_pod_owner{{{labels}}}", "namespace, pod, owner_kind, owner_name"
        ),
        "twice by cAdvisor": _twice(_selector(MEMORY, labels), "namespace, pod, container, id"),
        "whose": whose_query(labels),
        "owned": _owned(labels),
        # One to six minutes from now.
        "ahead": " or ".join(
            f"count({_selector(name, labels)} offset -6m)" for name in (MEMORY, "kube_pod_owner")
        ),
    }
    answers = _ask(prometheus, at, first)
    counts = _by_name(answers["now"])
    before = {ago: _by_name(answers[f"{ago}"]) for ago in past}
    there = [each.name for each in INPUTS if each.name in counts]
    second = (
        _ask(
            prometheus,
            at,
            {
                "newest": _each("max(timestamp({}))", there, labels),
                "scrapes": _each(f"max(count_over_time({{}}[{duration(SCRAPES_WITHIN)}]))", there, labels),
            },
        )
        if there
        else {"newest": [], "scrapes": []}
    )
    newest, scrapes = (_by_name(second[name]) for name in ("newest", "scrapes"))
    found = tuple(
        _found(
            _as_it_is_there(each, counts),
            at=at,
            counts=counts,
            before=before,
            newest=newest.get(each.name),
            scrapes=scrapes.get(each.name),
        )
        for each in INPUTS
    )
    owners, owned = whose(answers["whose"]), answers["owned"]
    unjoined = _unjoined(owners, owned) if "kube_pod_owner" in counts else None
    notes = [*_notes_of_owners(owners, owned, unjoined), *_notes(found, answers, settings)]
    return Examined(history, found, tuple(notes), unjoined)


def _ask(prometheus: Prometheus, at: datetime, queries: Mapping[str, str]) -> dict[str, list[Series]]:
    answers = at_once([partial(prometheus.query, promql, at) for promql in queries.values()])
    return dict(zip(queries, answers, strict=True))


def _each(function: str, names: Iterable[str], labels: str) -> str:
    """One row for each; of cAdvisor's, about those of containers. Not each server takes patterns of names."""
    return " or ".join(
        f'label_replace({function.format(_selector(name, labels))}, "{NAME}", "{name}", "", "")'
        for name in names
    )


def _selector(name: str, labels: str) -> str:
    only = 'container!=""' if name.startswith("container_") else ""
    return f"{name}{{{_joined(only, labels)}}}"


def _joined(*matchers: str) -> str:
    return ", ".join(each for each in matchers if each)


def _twice(selector: str, identity: str) -> str:
    return f"count(count by ({identity}) ({selector}) > 1)"


def _owned(labels: str) -> str:
    """How many pods are measured, how many of these have an owner, and usage of which labels are hidden."""
    usage = f"count by (namespace, pod) ({_selector(MEMORY, labels)})"
    owners = f"kube_pod_owner{{{_joined(labels, NOT_HIDDEN)}}}"
    containers = _joined('container!=""', labels)
    return (
        f'label_replace(count({usage}), "{NAME}", "measured", "", "")'
        f' or label_replace(count({usage} and on (namespace, pod) {owners}), "{NAME}", "owned", "", "")'
        f" or {hidden_query(MEMORY, containers)}"
    )


def _by_name(rows: Iterable[Series]) -> dict[str, float]:
    return {row.labels.get(NAME, ""): row.value for row in rows}


def _found(
    each: Input,
    *,
    at: datetime,
    counts: Mapping[str, float],
    before: Mapping[int, Mapping[str, float]],
    newest: float | None,
    scrapes: float | None,
) -> Found:
    seen = tuple(ago for ago, names in before.items() if each.name in names)
    return Found(
        each,
        series=int(counts.get(each.name, 0)),
        interval=_interval(scrapes),
        age=None if newest is None else round(at.timestamp() - newest, 1),
        seen=seen,
        gaps=tuple(ago for ago in before if ago not in seen and ago < max(seen, default=0)),
    )


def _as_it_is_there(each: Input, counts: Mapping[str, float]) -> Input:
    """What is there of an older version is told how to be upgraded, and what others belie is not excused."""
    if each.name in counts:
        return each
    if each.older is not None and each.older.name in counts:
        return replace(each, get_it=each.older.upgrade)
    return replace(each, unless=None) if each.but_not in counts else each


def _interval(scrapes: float | None) -> int | None:
    """Seconds; of a range of n intervals, which holds n or n + 1 samples, the round number of the two."""
    if scrapes is None or scrapes < 2:
        return None
    least, most = SCRAPES_WITHIN / scrapes, SCRAPES_WITHIN / (scrapes - 1)
    return next(
        (
            round_number
            for round_number in (5, 10, 15, 20, 30, 60, 120, 300, 600)
            if least <= round_number <= most
        ),
        round(least),
    )


def _unjoined(owners: Whose, owned: Iterable[Series]) -> str | None:
    """Why no pod that is measured has an owner; None where one has, or none is measured."""
    pods = _by_name(owned)
    if "measured" not in pods or "owned" in pods:
        return None
    jobs = [row.labels.get("job", "") for row in owned if "hidden" in row.labels]
    return (
        owners.why_hidden
        or (why_hidden("cAdvisor", jobs) if jobs else None)
        or f"of the pods that are measured ({pods['measured']:.0f}) kube_pod_owner tells of none: cAdvisor"
        " and kube-state-metrics are of different clusters, or one of them has other labels namespace and pod"
    )


def _notes_of_owners(owners: Whose, owned: Iterable[Series], unjoined: str | None) -> Iterable[str]:
    if owners.several:
        yield (
            f"it has {owners.several}; otherwise scan reads them as one, and propose, backtest and the"
            " recommender refuse"
        )
    if unjoined:
        return
    if owners.why_hidden:
        yield f"{owners.why_hidden}; what is in {some(owners.hidden)} is left as it is until then"
    pods = _by_name(owned)
    measured = pods.get("measured", 0)
    without = measured - pods.get("owned", 0)
    if without > UNOWNED * measured:
        yield (
            f"of the pods that are measured ({measured:.0f}) kube_pod_owner does not tell of {without:.0f}:"
            " nothing is proposed for them"
        )


def _notes(
    found: Iterable[Found], answers: Mapping[str, list[Series]], settings: SizingSettings
) -> Iterable[str]:
    """What is there, and not as one would wish."""
    for name, what, maybe in (
        ("kube-state-metrics", "pods", ""),
        ("cAdvisor", "containers", " (or in /metrics/resource too)"),
    ):
        if rows := answers[f"twice by {name}"]:
            yield (
                f"{rows[0].value:.0f} {what} are told of more than once by {name}{maybe}: they count once,"
                " and cost the server twice"
            )
    if answers["ahead"]:
        yield (
            "there are samples more than a minute ahead of this machine's clock: what is asked at its time"
            " misses the latest"
        )
    by_name = {each.input.name: each for each in found}
    for each in found:
        if each.gaps and each.state == "there":
            at = ", ".join(duration(ago) for ago in each.gaps)
            yield f"{each.input.name} has a gap: there was none {at} ago"
    yield from _notes_of_usage([by_name[name] for name in (CPU, MEMORY)], settings)


def _notes_of_usage(found: Iterable[Found], settings: SizingSettings) -> Iterable[str]:
    for each in found:
        if each.state != "there":
            continue
        if each.interval is None:
            yield f"{each.input.name} was scraped less than twice within {duration(SCRAPES_WITHIN)}"
        elif (ranges := window(timedelta(days=settings.history), HOUR / each.interval, None)).cpu > 300:
            yield (
                f"{each.input.name} is scraped each {each.interval} s: what comes in between is not seen, and"
                f" windows are {duration(ranges.cpu)} long instead of 5m"
            )
        back, farthest = each.back or 0, settings.history * DAY - HOUR
        if back < min(settings.minimum_history_hours * HOUR, farthest):
            yield (
                f"{each.input.name} goes back less than {settings.minimum_history_hours:g} h"
                " (KUBEFINOPS_MINIMUM_HISTORY_HOURS): nothing is proposed before"
            )
        elif back < farthest:
            yield (
                f"{each.input.name} goes back {duration(back)} or somewhat more, of the"
                f" {settings.history} days that are asked for (KUBEFINOPS_HISTORY_DAYS)"
            )
