"""What containers used, day by day: digests that are stored, and of the days that are not, their windows.

A day is one of UTC. Once it is over, and what came late is there, its digest is made of all of its windows
and never again: a scan reads the days that are new, and today so far. Windows come as they are, because one
pass over them tells every quantile, while each quantile that a server finds is another pass.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from functions.recommender import queries
from functions.recommender.asking import Part, at_once, pieces
from shared.contracts.digests import POINTS, Digest

if TYPE_CHECKING:
    from functions.recommender.asking import Asked, Asking
    from functions.recommender.cluster import Controller, Owners, Pod
    from functions.recommender.container import Day
    from functions.recommender.queries import Window
    from shared.contracts.digests import Digests
    from shared.contracts.prometheus import Curve

N = TypeVar("N", int, float)
Of = tuple["Controller", str]  # whose container, and its name

DAY = timedelta(days=1)
# A day is over for good after this much: samples may come late, by remote write, or out of order.
LATE = timedelta(hours=1)
# In one answer, so that neither side holds much: some 20 MB of text.
# While one is read, the server finds the next: more would only wait, with all their text in memory.
_AT_ONCE = 2
MOST_POINTS = 700_000


@dataclass(frozen=True)
class Span:
    """The containers of workloads whose days from `begin` on are to be read."""

    begin: date
    containers: Mapping[Controller, Sequence[str]]


@dataclass
class Days:
    """Each container's digests, in the order of their days, and the pods that they are known of."""

    digests: dict[Of, list[Digest]] = field(default_factory=dict)
    pods: dict[Controller, set[Pod]] = field(default_factory=dict)


def midnight(day: date) -> datetime:
    """When it begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def first_day(at: datetime, history: timedelta) -> date:
    """The first of the whole days before today that a history of so many has."""
    return at.astimezone(UTC).date() - timedelta(days=history.days)


def spans(
    cluster: str,
    containers: Mapping[Controller, Sequence[str]],
    since: date,
    today: date,
    stored: Digests | None,
) -> tuple[Days, list[Span]]:
    """What is stored of these containers, and what is to be read, from the earliest day on that is not.

    Raises:
        Temporary: the digests cannot be had.
    """
    names = {
        _name(controller, each): (controller, each) for controller, its in containers.items() for each in its
    }
    days = Days()
    for digest in stored.since(cluster, list(names), since) if stored is not None and names else ():
        if digest.day < today:
            days.digests.setdefault(names[digest.container], []).append(digest)
    begins: dict[date, dict[Controller, Sequence[str]]] = {}
    for controller, its in containers.items():
        begin = min(
            (_missing(days.digests.get((controller, each), ()), since, today) for each in its), default=today
        )
        begins.setdefault(begin, {})[controller] = its
    # What is read again from a day on is not taken from what is stored.
    for begin, some in begins.items():
        for controller, its in some.items():
            for each in its:
                known = days.digests.get((controller, each), [])
                days.digests[controller, each] = sorted(
                    (digest for digest in known if digest.day < begin), key=lambda digest: digest.day
                )
    return days, [Span(begin, some) for begin, some in sorted(begins.items())]


def read(
    asking: Asking, whole: Part, window: Window, *, span: Span, owners: Owners, days: Days
) -> list[Digest]:
    """Adds the span's days to `days`, today so far the last; returns those that can be kept.

    That are those that are over, of which the server has usage at all, and knows whose it is.

    Raises:
        Temporary: Prometheus cannot be reached, or will not run a query.
    """
    part = whole.narrowed((namespace, name) for namespace, _, name in span.containers)
    grid = _Grid(span.begin, asking.at, window.step)
    usage = _Usage(span, owners, grid)
    if grid.windows:
        pods = max(1.0, sum(len(its) for its in usage.expected.values()) / max(1, len(span.containers)))
        most = max(1, int(MOST_POINTS // (grid.windows * pods)))
        calls = [partial(_piece, asking, piece, window, usage) for piece in pieces(part, most)]
        for found, asked in at_once(calls, _AT_ONCE):
            asking.asked += asked
            for container, digests in found.items():
                usage.found.setdefault(container, {}).update(digests)
    troubles = _troubles(asking, part, usage)
    sure = usage.sure(days)
    fresh: list[Digest] = []
    for controller, its in span.containers.items():
        days.pods.setdefault(controller, set()).update(usage.pods.get(controller, ()))
        for each in its:
            made = usage.days((controller, each), troubles)
            days.digests.setdefault((controller, each), []).extend(made)
            fresh += (
                digest
                for digest in made
                if digest.day in sure and (controller[0], digest.day) not in usage.doubtful
            )
    return fresh


def _missing(known: Iterable[Digest], since: date, today: date) -> date:
    """The first day before `today` that is not there; `today` if all are."""
    there = {digest.day for digest in known}
    day = since
    while day < today and day in there:
        day += DAY
    return day


def _name(controller: Controller, container: str) -> str:
    return "/".join((*controller, container))


@dataclass(frozen=True)
class _Grid:
    """The ends of windows from a day's begin to `at`, `step` seconds apart."""

    begin: date
    at: datetime
    step: int

    @property
    def start(self) -> datetime:
        return midnight(self.begin)

    @property
    def windows(self) -> int:
        return int((self.at - self.start).total_seconds() // self.step)

    @property
    def days(self) -> list[date]:
        """Every day of it, today included."""
        count = (self.at.astimezone(UTC).date() - self.begin).days + 1
        return [self.begin + DAY * number for number in range(count)]

    def is_over(self, day: date) -> bool:
        return self.start + DAY * ((day - self.begin).days + 1) + LATE <= self.at

    def parts(self, times: Sequence[float]) -> Iterator[tuple[date, slice]]:
        """Which of these times belong to each day: a window belongs to the day that it ends in, or with."""
        begin, low = self.start.timestamp(), 0
        for number, day in enumerate(self.days, 1):
            high = bisect_right(times, begin + number * 86400, low)
            if high > low:
                yield day, slice(low, high)
            low = high


class _Usage:
    """What the windows of a span tell, and whose they are."""

    def __init__(self, span: Span, owners: Owners, grid: _Grid) -> None:
        self.span = span
        self.grid = grid
        self.found: dict[Of, dict[date, Digest]] = {}
        self.pods: dict[Controller, set[Pod]] = {}
        self.expected: dict[Controller, list[Pod]] = {}
        # Namespaces in which a pod was used on a day, of which nobody told whose it is.
        self.doubtful: set[tuple[str, date]] = set()
        self._owners = owners
        self._owner: dict[Pod, Controller] = {}
        for pod in owners.pods:
            controller = owners.controller(pod)
            if controller is not None and controller in span.containers:
                self._owner[pod] = controller
                self.expected.setdefault(controller, []).append(pod)

    def container(self, labels: Mapping[str, str]) -> tuple[Of, Pod] | None:
        """Whose row it is, with its pod; None if nobody's that is looked for."""
        pod = labels.get("namespace", ""), labels.get("pod", "")
        controller = self._owner.get(pod)
        name = labels.get("container", "")
        if controller is None or name not in self.span.containers[controller]:
            return None
        return (controller, name), pod

    def doubt(self, curve: Curve) -> None:
        """Looks at a row that is nobody's: kube-state-metrics may have been away while its pod lived."""
        pod = curve.labels.get("namespace", ""), curve.labels.get("pod", "")
        if not self._owners.is_known(pod):
            self.doubtful.update((pod[0], day) for day, _ in self.grid.parts(curve.times))

    def sure(self, days: Days) -> set[date]:
        """The days that are over, and of which there is usage, be it stored: else an empty digest might be of
        a server that has not got its past, or lost it.
        """
        seen = {day for digests in self.found.values() for day in digests}
        seen.update(each.day for digests in days.digests.values() for each in digests if each.windows)
        return {day for day in seen if self.grid.is_over(day)}

    def days(
        self, container: Of, troubles: Mapping[tuple[Of, date], tuple[int, float | None]]
    ) -> list[Digest]:
        """One digest for every day of the span, empty ones too."""
        name, found = _name(*container), self.found.get(container, {})
        made = []
        for day in self.grid.days:
            kills, share = troubles.get((container, day), (0, None))
            digest = found.get(day) or Digest(name, day)
            made.append(replace(digest, oom_kills=kills, throttled_share=share))
        return made


def _piece(
    asking: Asking, piece: Part, window: Window, usage: _Usage
) -> tuple[dict[Of, dict[date, Digest]], list[Asked]]:
    """The digests of one piece's windows. One metric after the other: as text they take much memory."""
    grid, step = usage.grid, timedelta(seconds=window.step)
    between = grid.start + step, grid.start + step * grid.windows, step
    found: dict[Of, dict[date, Digest]] = {}
    asked: list[Asked] = []

    def days(name: str) -> Iterator[tuple[dict[date, Digest], Digest, Sequence[float], list[float]]]:
        """Of each pod and day with windows: where its digest lies, the digest, their ends, and the points."""
        curves, puts = asking.piece(name, queries.windows(window)[name], piece, between)
        asked.extend(puts)
        for container, pods in _by_pod(curves, usage).items():
            digests = found.setdefault(container, {})
            for times, values in pods.values():
                for day, part in grid.parts(times):
                    digest = digests.get(day) or Digest(_name(*container), day)
                    yield digests, digest, times[part], _points(values[part])

    for digests, digest, ends, cores in days("cpu_windows"):
        first = int(ends[0]) - window.step
        digests[digest.day] = replace(
            digest,
            pods=digest.pods + 1,
            windows=max(digest.windows, len(ends)),
            samples=digest.samples + len(ends),
            first=first if digest.first is None else min(digest.first, first),
            cpu_m=_worst(digest.cpu_m, tuple(round(each * 1000, 3) for each in cores)),
        )
    for digests, digest, _, sizes in days("memory_windows"):
        memory = _worst(digest.memory_bytes, tuple(round(each) for each in sizes))
        digests[digest.day] = replace(digest, memory_bytes=memory)
    return found, asked


def _by_pod(
    curves: Iterable[Curve], usage: _Usage
) -> dict[Of, dict[Pod, tuple[Sequence[float], Sequence[float]]]]:
    """Times and values of each pod's windows: a window's value is the highest of those told of it.

    Several are told where a container ran more than once, and where two scrapers see it.
    """
    found: dict[Of, dict[Pod, tuple[Sequence[float], Sequence[float]]]] = {}
    for curve in curves:
        whose = usage.container(curve.labels)
        if whose is None:
            usage.doubt(curve)
            continue
        container, pod = whose
        usage.pods.setdefault(container[0], set()).add(pod)
        its = found.setdefault(container, {})
        if pod in its:
            times, values = its[pod]
            highest: dict[float, float] = {}
            for at, value in chain(zip(times, values, strict=True), curve.points):
                highest[at] = max(value, highest.get(at, value))
            ordered = sorted(highest)
            its[pod] = ordered, [highest[at] for at in ordered]
        else:
            its[pod] = curve.times, curve.values
    return found


def _troubles(asking: Asking, part: Part, usage: _Usage) -> dict[tuple[Of, date], tuple[int, float | None]]:
    """OOM kills and the throttled share of each container and day that had any."""
    grid = usage.grid
    *over, today = grid.days
    found: dict[tuple[Of, date], tuple[int, float | None]] = {}

    def take(name: str, rows: Iterable[tuple[Mapping[str, str], date, float]]) -> None:
        for labels, day, value in rows:
            if (whose := usage.container(labels)) is None:
                continue
            kills, share = found.get((whose[0], day), (0, None))
            if name == "oom_kills":
                # `increase` extrapolates to the ends of its range: kills are whole, and one seen is one.
                kills += max(1, round(value)) if value > 0 else 0
            else:
                share = round(max(share or 0.0, value), 4)
            found[whose[0], day] = kills, share

    if over:
        begin = grid.start + DAY
        curves = asking.ranges(queries.troubles(86400), part, begin, begin + DAY * (len(over) - 1), DAY)
        for name, answered in curves.items():
            take(name, ((curve.labels, _day(at), value) for curve in answered for at, value in curve.points))
    seconds = int((grid.at - grid.start).total_seconds()) - 86400 * len(over)
    if seconds > 0:
        rows = asking.all(queries.troubles(seconds), part)
        for name, answers in rows.items():
            take(name.removesuffix("_today"), ((row.labels, today, row.value) for row in answers))
    return found


def _day(end: float) -> date:
    """The day that ends then; some servers move a range's points a little."""
    return datetime.fromtimestamp(round(end / 86400) * 86400 - 1, UTC).date()


def _points(values: Sequence[float]) -> list[float]:
    """At POINTS, between two values by a straight line, as PromQL's quantile_over_time has it."""
    ordered = sorted(values)
    last = len(ordered) - 1
    found = []
    for share in POINTS:
        place = share * last
        low = int(place)
        high = min(low + 1, last)
        found.append(ordered[low] + (ordered[high] - ordered[low]) * (place - low))
    return found


def _worst(one: tuple[N, ...], other: tuple[N, ...]) -> tuple[N, ...]:
    return tuple(map(max, one, other)) if one else other


@dataclass(frozen=True)
class Used:
    """What days come to. CPU in millicores, memory in bytes."""

    cpu_p95_m: float
    cpu_max_m: float
    memory_p95_bytes: int
    memory_max_bytes: int
    samples: int
    pods: int


def used(days: Collection[Day]) -> Used | None:
    """The figures of a history; None where CPU or memory was not measured."""
    cpu = quantile([(day.windows, day.cpu_m) for day in days], 0.95)
    memory = quantile([(max(1, day.windows), day.memory_points) for day in days], 0.95)
    if cpu is None or memory is None:
        return None
    return Used(
        # To a thousandth of a millicore: beyond that, floats of two servers differ.
        cpu_p95_m=round(cpu, 3),
        cpu_max_m=max(day.cpu_m[-1] for day in days if day.cpu_m),
        memory_p95_bytes=round(memory),
        memory_max_bytes=max(day.memory_bytes for day in days),
        samples=sum(day.samples for day in days),
        pods=max(day.pods for day in days),
    )


def quantile(days: Collection[tuple[int, Sequence[float]]], share: float) -> float | None:
    """Over several days' windows: how many a day has, and its values at POINTS; None without any.

    Each day's distribution is straight between its points.
    """
    days = [(windows, points) for windows, points in days if windows and points]
    if not days:
        return None
    wanted = share * sum(windows for windows, _ in days) * (1 - 1e-12)

    def up_to(value: float, *, and_at: bool = True) -> float:
        return sum(windows * _share(points, value, and_at=and_at) for windows, points in days)

    values = sorted({value for _, points in days for value in points})
    place = bisect_left(values, wanted, key=up_to)
    high, low = values[place], values[max(0, place - 1)]
    reached, before = up_to(high, and_at=False), up_to(low)
    if reached <= max(before, wanted):
        return high  # so many have this very value
    return low + (high - low) * (wanted - before) / (reached - before)


def _share(points: Sequence[float], value: float, *, and_at: bool) -> float:
    """The share of a day's windows up to a value, those at it included or not."""
    place = (bisect_right if and_at else bisect_left)(points, value)
    if place in {0, len(points)}:
        return float(place > 0)
    low, high = points[place - 1], points[place]
    return POINTS[place - 1] + (POINTS[place] - POINTS[place - 1]) * (value - low) / (high - low)
