"""Whether a Prometheus has what the engine reads; what each missing series switches off, how to get it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from functions.recommender.deadline import UntilDeadline
from functions.recommender.queries import duration
from infra.cli.examining import HOUR, Examined, Found, examine
from infra.cli.looking import sizing_settings
from infra.cli.tables import say_folded, show, table
from shared.contracts.events import rfc3339
from shared.runtime.world import prometheus_of

if TYPE_CHECKING:
    from functions.recommender.settings import SizingSettings
    from shared.contracts.prometheus import Build

LACKING = 3  # the exit code where something required is missing
QUERY_SECONDS, ALL_SECONDS = 30.0, 60.0
CLOCKS_DIFFER = 30


def doctor(prometheus_url: str, labels: list[str], form: Literal["table", "json"]) -> int:
    """Prints what is there; returns 0, or LACKING if something is not without which nothing is sized.

    Raises:
        BadSetting: the address, a label or a variable is wrong.
        Temporary: Prometheus cannot be reached, or does not answer.
    """
    settings = sizing_settings(prometheus_url, labels)
    client = prometheus_of(settings, QUERY_SECONDS)
    build = client.build()
    at = datetime.now(UTC).replace(microsecond=0)
    examined = examine(UntilDeadline(client, ALL_SECONDS, time.monotonic), at, settings)
    if form == "json":
        print(json.dumps(_document(examined, build, client.address, at, settings), indent=2))
    else:
        _print(examined, build, client.address, at, settings)
    return 0 if examined.is_ready else LACKING


def _clock(build: Build, at: datetime) -> str | None:
    ahead = 0.0 if build.clock is None else (at - build.clock).total_seconds()
    if abs(ahead) < CLOCKS_DIFFER:
        return None
    return (
        f"this machine's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server's:"
        " what is asked at its time misses the latest samples"
    )


def _document(
    examined: Examined, build: Build, address: str, at: datetime, settings: SizingSettings
) -> dict[str, object]:
    clock = _clock(build, at)
    return {
        "server": {"address": address, "kind": build.kind, "version": build.version},
        "at": rfc3339(at),
        "labels": settings.prometheus_labels,
        "history_seconds": examined.history,
        "inputs": [
            {
                **asdict(each.input),
                "state": each.state,
                "series": each.series,
                "interval_seconds": each.interval,
                "newest_sample_seconds_ago": each.age,
                "at_least_seconds_back": each.back,
                "gaps_seconds_ago": each.gaps,
            }
            for each in examined.found
        ],
        "notes": [*examined.notes, *([clock] if clock else [])],
        "unjoined": examined.unjoined,
        "ready": examined.is_ready,
    }


def _print(examined: Examined, build: Build, address: str, at: datetime, settings: SizingSettings) -> None:
    labels = f", {settings.prometheus_labels}" if settings.prometheus_labels else ""
    named = " ".join(each for each in (build.kind or "an unknown server", build.version) if each)
    say_folded(f"{address}: {named}{labels}")
    made = table(["series", "for", "state"], ["how many", "interval", "newest", "back"])
    for each in examined.found:
        made.add_row(
            each.input.name,
            each.input.need,
            each.state,
            str(each.series or "-"),
            "-" if each.interval is None else f"{each.interval}s",
            "-" if each.age is None else f"{each.age:.0f}s ago",
            _back(each, examined.history),
        )
    show(made)
    absent = [each for each in examined.found if each.state != "there"]
    if absent:
        say_folded("what is not there, what that switches off, and how to get it:")
    for each in absent:
        unless = f" (right if {each.input.unless})" if each.input.unless else ""
        stopped = f" stopped: it was there {duration(min(each.seen))} ago" if each.seen else ""
        say_folded(f"  {each.input.name}{stopped or unless}")
        say_folded(f"    off: {each.input.switches_off}")
        say_folded(f"    get: {each.input.get_it}")
    for note in (*examined.notes, _clock(build, at)):
        if note:
            say_folded(f"note: {note}")
    names = [each.input.name for each in examined.lacking]
    if examined.unjoined:
        say_folded(f"usage is of no workload: {examined.unjoined}")
        names.append("owners of the pods that are measured")
    say_folded(
        f"required, and not there: {', '.join(names)}" if names else "everything that is required is there"
    )


def _back(each: Found, history: int) -> str:
    if each.back is None:
        return "-"
    return duration(history) if each.back == history - HOUR else f">= {duration(each.back)}"
