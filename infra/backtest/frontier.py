"""What memory costs at which risk: each strategy a point, krr's and our own rule a line by their margin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jinja2 import Environment

from functions.recommender.fitted import constants
from infra.backtest.fleet import Fleet
from infra.backtest.peers import krr
from infra.backtest.scoring import Rates, Score, score
from infra.backtest.strategies import Estimator, Peer
from infra.backtest.walking import Pace, Strategy

KRR_FACTORS = (0.8, 0.9, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.3, 2.6, 3.0)
OWN_SCALES = (0.45, 0.55, 0.65, 0.75, 0.85, 1.0, 1.2, 1.4, 1.7)
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 760, 460, 70, 56, 24, 130
LINE = 12  # between two names, one below the other


@dataclass(frozen=True)
class Point:
    """Shares of weeks in which memory exceeded the request, against memory requested (of the oracle's, for as
    much use: one may have been judged in fewer weeks than another).
    """

    name: str
    above: float
    requested: float


@dataclass(frozen=True)
class Frontier:
    """Lines by rule, ordered by their margin, and the points of the strategies."""

    lines: dict[str, list[Point]]
    points: list[Point]

    def krr_at(self, above: float) -> float | None:
        """What krr's rule requests where it is exceeded in this share of weeks; None beyond its line."""
        line = sorted(self.lines["krr"], key=lambda point: point.above)
        for low, high in pairwise(line):
            if low.above <= above <= high.above:
                part = (above - low.above) / ((high.above - low.above) or 1.0)
                return low.requested + part * (high.requested - low.requested)
        return None

    def beside_krr(self) -> list[tuple[Point, float]]:
        """Each of our strategies, with what krr's rule requests where it is exceeded in as many weeks."""
        own = [(each, self.krr_at(each.above)) for each in self.points if each.name in constants()]
        return [(each, krr) for each, krr in own if krr]


def frontier(
    fleets: Sequence[Fleet],
    scores: dict[str, Score],
    oracle: Score,
    pace: Pace,
    progress: Callable[[], object],
) -> Frontier:
    """Walks through the fleets with each margin; `progress` is called after each. Raises TraceError."""
    balanced = constants()["balanced"]

    def point(name: str, strategy: Strategy) -> Point:
        found = _point(name, score(fleets, lambda _: strategy, pace, Rates()), oracle)
        progress()
        return found

    lines = {
        "krr": [point(f"krr x {factor:g}", Peer("krr", krr, factor)) for factor in KRR_FACTORS],
        "balanced": [
            point(
                f"balanced x {scale:g}",
                Estimator("balanced", replace(balanced, memory_scale=balanced.memory_scale * scale)),
            )
            for scale in OWN_SCALES
        ],
    }
    return Frontier(lines, [_point(name, each, oracle) for name, each in scores.items()])


def _point(name: str, found: Score, oracle: Score) -> Point:
    return Point(
        name,
        found.weeks_memory_above / max(1, found.weeks),
        found.memory_requested * oracle.memory_used / max(1.0, oracle.memory_requested * found.memory_used),
    )


def svg(found: Frontier) -> str:
    """A picture: the nearer to the lower left corner, the better."""
    everything = [*found.points, *(point for line in found.lines.values() for point in line)]
    # Beyond a third of all weeks nobody wants to be: what lies there stands at the edge.
    right = min(0.35, max(point.above for point in everything) * 1.05) or 0.01
    top = max(point.requested for point in everything if point.above <= right) * 1.05

    def x(above: float) -> float:
        return round(LEFT + min(above, right) / right * (WIDTH - LEFT - RIGHT), 1)

    def y(requested: float) -> float:
        return round(HEIGHT - BOTTOM - requested / top * (HEIGHT - BOTTOM - TOP), 1)

    lines = []
    for name, line in found.lines.items():
        places = [(x(each.above), y(each.requested)) for each in line if each.requested <= top]
        lines.append((name, " ".join(f"{across},{up}" for across, up in places), *places[-1]))
    named: dict[tuple[float, float], list[str]] = {}
    for each in found.points:
        named.setdefault((x(each.above), y(each.requested)), []).append(each.name)
    points = [_Place(", ".join(names), *place) for place, names in named.items()]
    across = [(x(share), f"{share:.0%}") for share in np.arange(0.0, right, 0.05)]
    up = [(y(times), f"{times:g}x") for times in (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4) if times <= top]
    return _TEMPLATE.render(
        width=WIDTH, height=HEIGHT, left=LEFT, bottom=HEIGHT - BOTTOM, top=TOP, right=WIDTH - RIGHT,
        lines=lines, points=points, names=[
            (each, each.across - 16 - each.width >= LEFT and any(map(each.would_cover, points)))
            for each in _names(points, [_Place(name, across, up) for name, _, across, up in lines])
        ],
        across=across, up=up,
    )  # fmt: skip


@dataclass(frozen=True)
class _Place:
    """A point of the picture."""

    name: str
    across: float
    up: float

    def touches(self, other: _Place) -> bool:
        """Whether the names of the two, both beside their points, would lie upon each other."""
        return abs(other.across - self.across) < 16 and abs(other.up - self.up) < LINE

    def would_cover(self, other: _Place) -> bool:
        """Whether the other lies where this one's name would be, on its right."""
        return 0 < other.across - self.across < 16 + self.width and abs(other.up - self.up) < LINE

    @property
    def width(self) -> int:
        """Of its name, somewhat more than less."""
        return 7 * len(self.name)


def _names(points: Sequence[_Place], ends: Sequence[_Place]) -> list[_Place]:
    """What is written where: points that lie upon each other have one name together, from the top down, and
    one at the end of its own line, where that line's name is, none.

    On a small cluster many points have the same share of weeks, and nearly the same height.
    """
    groups: list[list[_Place]] = []
    for each in sorted(points, key=lambda place: place.up):
        near = (group for group in groups if any(map(each.touches, group)))
        if any(each.name == end.name and each.touches(end) for end in ends):
            continue
        if (group := next(near, None)) is None:
            groups.append([each])
        else:
            group.append(each)
    return [
        _Place(
            ", ".join(each.name for each in group),
            max(each.across for each in group),
            round(sum(each.up for each in group) / len(group), 1),
        )
        for group in groups
    ]


_TEMPLATE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{ width }} {{ height }}" font-family="sans-serif" \
font-size="12" role="img" aria-label="memory requested against weeks in which memory exceeded the request">
<rect width="100%" height="100%" fill="#fff"/>
{% for at, text in across %}
<line x1="{{ at }}" x2="{{ at }}" y1="{{ top }}" y2="{{ bottom }}" stroke="#e5e7eb"/>
<text x="{{ at }}" y="{{ bottom + 18 }}" text-anchor="middle" fill="#4b5563">{{ text }}</text>
{% endfor %}
{% for at, text in up %}
<line x1="{{ left }}" x2="{{ right }}" y1="{{ at }}" y2="{{ at }}" stroke="#e5e7eb"/>
<text x="{{ left - 8 }}" y="{{ at + 4 }}" text-anchor="end" fill="#4b5563">{{ text }}</text>
{% endfor %}
<text x="{{ (left + right) / 2 }}" y="{{ bottom + 40 }}" text-anchor="middle" fill="#111827">\
weeks in which memory exceeded the request</text>
<text transform="translate(18 {{ (top + bottom) / 2 }}) rotate(-90)" text-anchor="middle" fill="#111827">\
memory requested, of the oracle's</text>
{% for name, places, across, up in lines %}
<polyline points="{{ places }}" fill="none" stroke-width="2" stroke="{{ '#2563eb' if name == 'balanced' \
else '#9ca3af' }}"/>
<text x="{{ across + 8 }}" y="{{ up + 4 }}" fill="{{ '#2563eb' if name == 'balanced' else '#6b7280' }}">\
{{ name }}, with other margins</text>
{% endfor %}
{% for each in points %}
<circle cx="{{ each.across }}" cy="{{ each.up }}" r="4.5" fill="{{ '#2563eb' if each.name in ('balanced', \
'cautious', 'lean') else '#111827' }}"><title>{{ each.name }}</title></circle>
{% endfor %}
{% for each, is_left in names %}
<text x="{{ each.across + (-8 if is_left else 8) }}" y="{{ each.up + 4 }}" fill="#111827" stroke="#fff" \
stroke-width="3" paint-order="stroke"{{ ' text-anchor="end"' | safe if is_left }}>{{ each.name }}</text>
{% endfor %}
</svg>
"""
)
