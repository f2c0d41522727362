"""A plot of a container's usage over time, against what it asks for: geometry only, in whole numbers.

The drawing is WIDTH x HEIGHT units, stretched to whatever place it gets; y grows downwards, as SVG has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from math import ceil, log2, log10

from infra.cli.histories import Usage, Values
from shared.contracts.quantities import GIB, MIB

WIDTH, HEIGHT = 420, 100
# A limit further above all else would press the rest flat: it is told at the upper edge instead.
FAR = 1.8
HEADROOM = 1.08
TICKS = 3


@dataclass(frozen=True)
class Level:
    """A line across the plot. `what` is request or limit, `when` is now, new, or stays (both in one)."""

    what: str
    when: str
    value: int
    y: int
    beyond: bool = False


@dataclass(frozen=True)
class Plot:
    """`p95` and `peak` are SVG paths; `top` is the value at the upper edge; `band` the y of its two ends,
    between the request that is and a new one.
    """

    p95: str
    peak: str
    top: float
    levels: tuple[Level, ...]
    band: tuple[int, int] | None
    lower: bool  # whether the new request is the lower one


def plot(
    usage: Usage | None, request: tuple[int | None, int | None], limit: tuple[int | None, int | None]
) -> Plot:
    """`request` and `limit` are each what is set and what it should be, in the usage's unit."""
    peaks = [value for value in usage.peak if value is not None] if usage else []
    requests = [value for value in request if value is not None]
    base = max([*peaks, *requests], default=0) or max([value for value in limit if value], default=1)
    limits = [value for value in limit if value is not None and value <= base * FAR]
    top = max([base, *limits]) * HEADROOM

    def y(value: float) -> int:
        return HEIGHT - round(min(value / top, 1.0) * HEIGHT)

    levels = [
        Level(what, when, value, y(value), value > top)
        for what, values in (("limit", limit), ("request", request))
        for when, value in _both(*values)
    ]
    now, new = request
    moved = now is not None and new is not None and now != new
    return Plot(
        p95=_line(usage.p95, y) if usage else "",
        peak=_steps(usage.peak, y) if usage else "",
        top=top,
        levels=tuple(levels),
        band=(y(max(requests)), y(min(requests))) if moved else None,
        lower=moved and requests[0] > requests[1],
    )


def _both(now: int | None, new: int | None) -> Iterator[tuple[str, int]]:
    if now is not None and now == new:
        yield "stays", now
        return
    if now is not None:
        yield "now", now
    if new is not None:
        yield "new", new


def _stretches(values: Values) -> Iterator[tuple[int, list[float]]]:
    """Parts without a gap: the place of each one's first value, and its values."""
    place = 0
    for there, group in groupby(values, key=lambda value: value is not None):
        part = list(group)
        if there:
            yield place, [value for value in part if value is not None]
        place += len(part)


def _line(values: Values, y: Callable[[float], int]) -> str:
    """A line through the middle of each step, relative, which is half as long; alone, a value is a dot."""

    def x(place: int) -> int:
        return round((place + 0.5) * WIDTH / len(values))

    path = []
    for begin, part in _stretches(values):
        last = (x(begin), y(part[0]))
        path.append(f"M{last[0]} {last[1]}" + ("h0" if len(part) == 1 else ""))
        for number, value in enumerate(part[1:], begin + 1):
            here = (x(number), y(value))
            path.append(_move(here[0] - last[0], here[1] - last[1]))
            last = here
    return "".join(path)


def _move(right: int, down: int) -> str:
    return f"l{right}{'' if down < 0 else ' '}{down}"


def _steps(values: Values, y: Callable[[float], int]) -> str:
    """An area under steps, each as wide as the time that it tells of."""

    def x(place: int) -> int:
        return round(place * WIDTH / len(values))

    path = []
    for begin, part in _stretches(values):
        level = HEIGHT
        path.append(f"M{x(begin)} {HEIGHT}")
        for number, value in enumerate(part, begin):
            if y(value) != level:
                path.append(f"v{y(value) - level}")
                level = y(value)
            path.append(f"h{x(number + 1) - x(number)}")
        path.append(f"V{HEIGHT}z")
    return "".join(path)


@dataclass(frozen=True)
class Tick:
    y: float  # as a share of the height, from above
    text: str


def ticks(top: float, *, memory: bool) -> list[Tick]:
    """Round values for an axis up to `top`, some three of them, and zero."""
    step = _memory_step(top) if memory else _cpu_step(top)
    written = memory_text if memory else cpu_text
    return [Tick(1 - n * step / top, written(n * step)) for n in range(int(top / step) + 1)]


def _cpu_step(top: float) -> float:
    """1, 2 or 5 times a power of ten."""
    raw = top / TICKS
    power = 10.0 ** int(log10(raw)) if raw >= 1 else 1.0
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw or factor == 10)


def _memory_step(top: float) -> float:
    """A power of two of mebibytes."""
    return MIB * 2.0 ** max(0, ceil(log2(max(top / TICKS / MIB, 1))))


def cpu_text(millicores: float) -> str:
    """Use, which is no setting: three digits say enough."""
    if millicores >= 1000:
        return f"{millicores / 1000:.3g}"
    return f"{millicores:.1f}m" if 0 < millicores < 10 else f"{millicores:.0f}m" if millicores else "0"


def memory_text(amount: float) -> str:
    if amount >= GIB:
        return f"{amount / GIB:.3g}Gi" if amount < 1000 * GIB else f"{amount / GIB:.0f}Gi"
    return f"{amount / MIB:.0f}Mi" if amount else "0"


def spread(places: list[float], least: float, lowest: float) -> list[float]:
    """The places of labels, in order, moved apart to at least `least`, and none below `lowest`."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + least) if moved else place)
    limit = lowest
    for index in range(len(moved) - 1, -1, -1):
        moved[index] = min(moved[index], limit)
        limit = moved[index] - least
    return moved
