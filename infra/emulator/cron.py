"""Whether Knative accepts a PingSource's schedule: its parser is robfig/cron's, with optional seconds."""

from __future__ import annotations

import re

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
DESCRIPTORS = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})

# Name, lowest and highest value, names of values. Sunday is 0: robfig/cron refuses the 7 that crontab takes.
FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("second", 0, 59, {}),
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(MONTHS, 1)}),
    ("day of week", 0, 6, {name: number for number, name in enumerate(DAYS)}),
)
_PART = re.compile(r"(?P<low>\*|\?|\w+)(?:-(?P<high>\w+))?(?:/(?P<step>\w+))?")


def check(schedule: str) -> None:
    """Raises ValueError, which says what is wrong with the schedule."""
    if schedule.startswith("@"):
        if schedule not in DESCRIPTORS:
            raise ValueError(f"{schedule!r} is none of {', '.join(sorted(DESCRIPTORS))}")
        return
    texts = schedule.split()
    if len(texts) not in (5, 6):
        raise ValueError(f"{schedule!r} has {len(texts)} fields; minute, hour, day, month, weekday are five")
    for text, (name, lowest, highest, names) in zip(texts, FIELDS[-len(texts) :], strict=True):
        for part in text.split(","):
            _check_part(part, name, lowest, highest, names)


def _check_part(part: str, name: str, lowest: int, highest: int, names: dict[str, int]) -> None:
    found = _PART.fullmatch(part)
    if found is None:
        raise ValueError(f"{name}: {part!r} is no value, range or step")
    low, high, step = found["low"], found["high"], found["step"]
    if low in ("*", "?"):
        if high is not None:
            raise ValueError(f"{name}: {part!r} is no range")
        bounds = [lowest, highest]
    else:
        bounds = [_number(text, name, names) for text in (low, high) if text is not None]
    if any(not lowest <= bound <= highest for bound in bounds):
        raise ValueError(f"{name}: {part!r} is not within {lowest}-{highest}")
    if bounds != sorted(bounds):
        raise ValueError(f"{name}: {part!r} ends before it begins")
    if step is not None and _number(step, name, {}) == 0:
        raise ValueError(f"{name}: {part!r} has a step of 0")


def _number(text: str, name: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not text.isdecimal():
        raise ValueError(f"{name}: {text!r} is no number")
    return int(text)
