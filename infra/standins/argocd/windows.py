"""May an application be synced now? Sync windows of its AppProject, by Argo CD's rules. Pure.

Rules: github.com/argoproj/argo-cd, pkg/apis/application/v1alpha1/types.go (SyncWindows.Matches, CanSync).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

Window = dict[str, Any]

_NAMES = {
    **{name: number for number, name in enumerate("sun mon tue wed thu fri sat".split())},  # noqa: SIM905
    **{
        name: number
        for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)  # noqa: SIM905
    },
}
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))  # minute, hour, day of month, month, day of week
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def matching(windows: Sequence[Window], application: dict[str, Any]) -> list[Window]:
    """The windows that are meant for an application."""
    return [window for window in windows if _meant_for(window, application)]


def active(windows: Sequence[Window], now: datetime) -> list[Window]:
    """Those of `windows` that are open at `now`. Raises ValueError for a wrong schedule, duration or zone."""
    return [window for window in windows if _is_open(window, now)]


def can_sync(windows: Sequence[Window], now: datetime, *, manual: bool) -> bool:
    """Whether a sync may begin at `now`: no open deny window, and an open allow window where there is any."""
    open_now = active(windows, now)
    denying = [window for window in open_now if window["kind"] == "deny"]
    if denying:
        return manual and all(window.get("manualSync") for window in denying)
    if any(window["kind"] == "allow" for window in open_now):
        return True
    closed_allows = [window for window in windows if window["kind"] == "allow" and window not in open_now]
    return not closed_allows or (manual and all(window.get("manualSync") for window in closed_allows))


def _meant_for(window: Window, application: dict[str, Any]) -> bool:
    destination = application["spec"].get("destination") or {}
    subjects = (
        ("applications", [application["metadata"]["name"]]),
        ("clusters", [destination.get("name"), destination.get("server")]),
        ("namespaces", [destination.get("namespace")]),
    )
    verdicts = [
        any(fnmatch.fnmatchcase(value, pattern) for value in values if value for pattern in window[field])
        for field, values in subjects
        if window.get(field)
    ]
    return all(verdicts) and bool(verdicts) if window.get("andOperator") else any(verdicts)


def _is_open(window: Window, now: datetime) -> bool:
    length = parse_duration(window["duration"])
    local = now.astimezone(ZoneInfo(window.get("timeZone") or "UTC"))
    minute = local.replace(second=0, microsecond=0)
    while minute > local - length:
        if minute < local and _fires(window["schedule"], minute):
            return True
        minute -= timedelta(minutes=1)
    return False


def _fires(schedule: str, minute: datetime) -> bool:
    fields = schedule.split()
    if len(fields) != len(_RANGES):
        raise ValueError(f"cannot parse schedule '{schedule}': expected 5 fields, found {len(fields)}")
    values = (minute.minute, minute.hour, minute.day, minute.month, minute.isoweekday() % 7)
    hits = [
        value in _field(text, low, high)
        for text, value, (low, high) in zip(fields, values, _RANGES, strict=True)
    ]
    on_day = hits[2] and hits[4] if "*" in (fields[2][0], fields[4][0]) else hits[2] or hits[4]
    return hits[0] and hits[1] and hits[3] and on_day


def _field(text: str, low: int, high: int) -> set[int]:
    chosen: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        if span in {"*", "?"}:
            first, last = low, high
        else:
            begin, _, end = span.partition("-")
            first = _number(begin)
            last = _number(end) if end else (high if step else first)
        if not low <= first <= last <= high:
            raise ValueError(f"cannot parse schedule: {part!r} is not within {low}-{high}")
        chosen.update(range(first, last + 1, int(step or 1)))
    return chosen


def _number(text: str) -> int:
    return _NAMES[text.lower()] if text.lower() in _NAMES else int(text)


def parse_duration(text: str) -> timedelta:
    """A Go duration (`1h30m`, `45s`); a bare number is seconds. Raises ValueError."""
    if text.isdigit():
        return timedelta(seconds=int(text))
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"cannot parse duration '{text}'")
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))


def utc_now() -> datetime:
    return datetime.now(UTC)
