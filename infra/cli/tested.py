"""What backtest walks through: a folder of traces, or the last weeks of a Prometheus."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from infra.backtest import cluster
from infra.backtest.cluster import NEVER_MEASURED, LeftOut
from infra.backtest.fleet import Fleet, TraceError, read
from infra.backtest.scoring import Rates
from infra.cli.looking import (
    ABOUT_WHOSE,
    QUERY_SECONDS,
    NothingFound,
    matching,
    of_one_cluster,
    require,
    sizing_settings,
    told,
)
from shared.contracts.errors import BadSetting
from shared.contracts.wording import counted
from shared.runtime.world import prometheus_of

if TYPE_CHECKING:
    from functions.recommender.settings import SizingSettings
    from infra.backtest.walking import Pace


@dataclass(frozen=True)
class Live:
    """A Prometheus, asked for the last `weeks`, bounded by what is there; the rest is as scan has it."""

    address: str
    namespaces: Sequence[str]
    labels: Sequence[str]
    weeks: int


@dataclass(frozen=True)
class Tested:
    """Fleets with the rates and currency to judge them by; `notes` are what a reader has to know."""

    fleets: list[Fleet]
    rates: Rates
    currency: str = "USD"
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()


def tested(source: Path | Live, pace: Pace) -> Tested:
    """All that is long enough for the pace.

    Raises:
        BadSetting: the address, a label or a variable is wrong, or the weeks are too few for the pace.
        TraceError: a trace cannot be read, or nothing is long enough.
        NothingFound: Prometheus tells of no workload that was asked for, or of none with enough data.
        Temporary: Prometheus cannot be reached, or does not answer.
    """
    return _live(source, pace) if isinstance(source, Live) else _recorded(source, pace)


def _recorded(folder: Path, pace: Pace) -> Tested:
    every = read(folder)
    fleets = [fleet for fleet in every if pace.fits(fleet)]
    if not fleets:
        pace.require(every[0])
    for fleet in every:
        if not pace.fits(fleet):
            print(f"left out, too short for the pace: {fleet.name}", file=sys.stderr)
    missing = sum(int((~fleet.is_measured).sum()) for fleet in fleets)
    left_out = [LeftOut(missing, "container", NEVER_MEASURED)] if missing else []
    found = [fleet.only(fleet.is_measured) for fleet in fleets if fleet.is_measured.any()]
    if not found:
        raise TraceError(f"{folder}: no container has both CPU and memory")
    return Tested(found, Rates(), left_out=tuple(left_out))


def _live(live: Live, pace: Pace) -> Tested:
    span = timedelta(weeks=live.weeks)
    if timedelta(days=pace.learn + pace.hold) > span:
        raise BadSetting(
            f"--weeks: {live.weeks} are {span.days} days, --learn-days and --hold-days take"
            f" {pace.learn + pace.hold:g}"
        )
    settings = sizing_settings(live.address, live.labels)
    client = prometheus_of(settings, QUERY_SECONDS)
    at, labels = datetime.now(UTC), settings.prometheus_labels
    with told(client, cluster.ABOUT_QUERIES + ABOUT_WHOSE) as prometheus:
        namespaces = matching(live.namespaces, prometheus, at, labels, client.address)
        owners = of_one_cluster(prometheus, at, labels, namespaces, client.address)
        found = cluster.find(prometheus, at, span, namespaces, labels=labels)
        require(found.namespaces, namespaces, prometheus, at, labels=labels, address=client.address)
    with told(client, found.queries) as prometheus:
        measured = cluster.read(prometheus, found)
    whole = every = cluster.fleet(settings.cluster, found, measured, keep_qos=settings.keep_qos)
    left_out = found.left_out
    if whole.seconds:
        pace.require(whole)
        whole, hidden = cluster.but_hidden(whole, owners)
        whole, too_little = cluster.with_enough(whole, pace, _least(settings, whole))
        whole, stay = cluster.with_some_to_size(whole)
        left_out += hidden + too_little + stay
    if not whole.containers or not whole.seconds:
        why = "; ".join(said(each) for each in left_out) or "no container was measured"
        raise NothingFound(f"nothing to walk through at {client.address}: {why}")
    rates = Rates(float(settings.core_hour), float(settings.gib_hour))
    killed = {every.containers[row] for row, _, _ in measured.kills}.intersection(whole.containers)
    notes = [*_notes(whole, len(killed), live.weeks), *_treated(whole), _priced(settings)]
    return Tested([whole], rates, settings.currency, left_out, tuple(notes))


def _least(settings: SizingSettings, whole: Fleet) -> int:
    """Windows without which nothing is sized, as the engine has it."""
    return max(settings.minimum_samples, round(settings.minimum_history_hours * 3600 / whole.window))


def said(left_out: LeftOut) -> str:
    """`2 containers: why`."""
    return f"{counted(left_out.number, left_out.what)}: {left_out.why}"


def _notes(whole: Fleet, killed: int, weeks: int) -> list[str]:
    begin, end = (
        datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
        for at in (whole.begin, whole.begin + whole.seconds)
    )
    days = whole.seconds / 86_400
    short = f" (asked for: {weeks * 7})" if days < weeks * 7 - 1 else ""
    notes = [
        f"{days:.1f} days{short} in windows of {whole.window // 60} minutes, {begin} to {end} UTC",
        "of several pods the worst counts, in each window, and is paid for as many as there were",
        "as provisioned: requests and limits as they are now, whatever they were in those weeks",
        "ours start from these, and raise none that use fits in (--start nothing: they do not)",
    ]
    if killed:
        notes.append(
            f"{counted(killed, 'container')} with OOM kills: memory counts as just above the limit then,"
            " because usage ends at it"
        )
    unset = int(((whole.cpu_request == 0) | (whole.memory_request == 0)).sum())
    if unset:
        notes.append(f"{counted(unset, 'container')} without a request of CPU or memory: that counts as 0")
    return notes


def _treated(whole: Fleet) -> list[str]:
    """What stays as it is, of a container of which something is sized, and where a request is the limit."""
    stay = Counter(("CPU", each.cpu_stays) for each in whole.treatments if each.cpu_stays)
    stay += Counter(("memory", each.memory_stays) for each in whole.treatments if each.memory_stays)
    notes = [
        f"{counted(number, 'container')}: {resource} stays as provisioned, whoever sizes, because {why}"
        for (resource, why), number in stay.items()
    ]
    if tied := sum(each.is_guaranteed for each in whole.treatments):
        notes.append(f"{counted(tied, 'container')} of Guaranteed pods: ours set request and limit alike")
    return notes


def _priced(settings: SizingSettings) -> str:
    base = settings.price_list.base
    return (
        f"priced at {settings.core_hour} {settings.currency} a core-hour and {settings.gib_hour} a GiB-hour"
        f" ({base.source}), whichever nodes they run on"
    )
