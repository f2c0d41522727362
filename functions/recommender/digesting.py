"""What containers used, day by day: digests that are stored, and of the days that are not, their windows.

A day is one of UTC. Once it is over, and what came late is there, its digest is made of all of its windows
and never again: a scan reads the days that are new, and today so far. Windows come as they are, because one
pass over them tells every quantile, while each quantile that a server finds is another pass.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache, partial
from itertools import chain, pairwise
from math import ceil
from operator import itemgetter
from typing import TYPE_CHECKING, TypeVar

from functions.recommender import queries
from functions.recommender.asking import at_once, pieces
from shared.contracts.digests import POINTS, Digest, midnight

if TYPE_CHECKING:
    from functions.recommender.asking import Asked, Asking, Part
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
# In one answer, so that neither side holds much: some 20 MB of text. And so many answers at once, of all that
# the process reads: while one is taken in, the server finds the next.
MOST_POINTS = 700_000
_PLACES = threading.BoundedSemaphore(2)
# Read at a time, the oldest first: where it is kept, what was read stays so though there be no time for more.
_MOST_DAYS, _MOST_KEPT_DAYS = 15, 3
# Of workloads that lack different days; beyond, days are read again that are known.
_MOST_KINDS = 4


class BegunLater(Exception):
    """A range was answered from a later moment than it was asked from: the server looks no further back."""


@dataclass(frozen=True)
class Span:
    """The containers of workloads of which so many days from `begin` on are to be read."""

    begin: date
    days: int
    containers: Mapping[Controller, Sequence[str]]


@dataclass
class Days:
    """Each container's digests, in the order of their days, and the pods that they are known of."""

    digests: dict[Of, list[Digest]] = field(default_factory=dict)
    pods: dict[Controller, set[Pod]] = field(default_factory=dict)


def first_day(at: datetime, history: timedelta) -> date:
    """The first of the whole days before today that a history of so many has."""
    return at.astimezone(UTC).date() - timedelta(days=history.days)


def known(
    cluster: str,
    containers: Mapping[Controller, Sequence[str]],
    since: date,
    today: date,
    stored: Digests | None,
) -> Days:
    """What is stored of these containers.

    Raises:
        Temporary: the digests cannot be had.
    """
    names = {
        _name(controller, each): (controller, each) for controller, its in containers.items() for each in its
    }
    days = Days({container: [] for container in names.values()})
    for digest in stored.since(cluster, list(names), since) if stored is not None and names else ():
        if digest.day < today:
            days.digests[names[digest.container]].append(digest)
    return days


def spans(
    days: Days, containers: Mapping[Controller, Sequence[str]], since: date, today: date, *, kept: bool
) -> list[Span]:
    """What is to be read, the oldest first: each day that one of a workload's containers lacks, and today."""
    most = _MOST_KEPT_DAYS if kept else _MOST_DAYS
    every = [since + DAY * number for number in range((today - since).days)]
    lacking: dict[frozenset[date], dict[Controller, Sequence[str]]] = {}
    for controller, its in containers.items():
        if not its:  # it has no pods: nothing would come of what they used
            continue
        there = [{digest.day for digest in days.digests[controller, each]} for each in its]
        lacks = frozenset(day for day in every if any(day not in some for some in there))
        lacking.setdefault(lacks, {})[controller] = its
    if len(lacking) > _MOST_KINDS:
        nothing = lacking.pop(frozenset(), {})
        together: dict[Controller, Sequence[str]] = {}
        for some in lacking.values():
            together |= some
        lacking = {frozenset[date]().union(*lacking): together, frozenset(): nothing}
    found = [
        Span(begin, count, some)
        for lacks, some in lacking.items()
        if some
        for begin, count in _runs(sorted({*lacks, today}), most)
    ]
    return sorted(found, key=lambda span: span.begin)


def _runs(days: Sequence[date], most: int) -> Iterator[tuple[date, int]]:
    """Days that follow one another: the first of each run and how many, at most so many."""
    begin, count = days[0], 0
    for day in days:
        if count == most or day != begin + DAY * count:
            yield begin, count
            begin, count = day, 0
        count += 1
    yield begin, count


def read(
    asking: Asking,
    whole: Part,
    window: Window,
    *,
    span: Span,
    owners: Owners,
    days: Days,
    exactly: bool = True,
) -> list[Digest]:
    """Adds the span's days to `days` where they are not known; returns those that can be kept.

    That are those that are over, and of which it is sure that all is there: the server has usage of the day
    and knows whose it is, has usage now, and has CPU where it has memory. `exactly` takes no windows other
    than those that were asked for.

    Raises:
        BegunLater: there were others; nothing was added.
        Temporary: Prometheus cannot be reached, or will not run a query.
    """
    part = whole.narrowed((namespace, name) for namespace, _, name in span.containers)
    grid = _Grid(span.begin, span.days, asking.at, window.step)
    usage = _Usage(span, owners, grid)
    if grid.windows:
        # A single workload that has more is read some days at a time.
        cut = pieces(part, MOST_POINTS, usage.points)
        calls = [partial(_piece, asking, piece, window, usage, exactly=exactly) for piece in cut]
        for found, asked in at_once(calls):
            asking.asked += asked
            for container, digests in found.items():
                usage.found.setdefault(container, {}).update(digests)
    troubles = _troubles(asking, part, usage)
    sure = usage.sure(days) if window.is_scraped else set()
    fresh: list[Digest] = []
    for controller, its in span.containers.items():
        days.pods.setdefault(controller, set()).update(usage.pods.get(controller, ()))
        for each in its:
            there = days.digests[controller, each]
            known_days = {digest.day for digest in there}
            made = [
                digest for digest in usage.days((controller, each), troubles) if digest.day not in known_days
            ]
            there.extend(made)
            there.sort(key=lambda digest: digest.day)
            fresh += (
                digest
                for digest in made
                if digest.day in sure
                and (digest.windows or not digest.memory_bytes)
                and not usage.is_doubtful(controller, digest.day)
            )
    return fresh


def _name(controller: Controller, container: str) -> str:
    return "/".join((*controller, container))


@dataclass(frozen=True)
class _Grid:
    """The ends of the windows of some days, `step` seconds apart, up to `at`."""

    begin: date
    count: int
    at: datetime
    step: int

    @property
    def start(self) -> datetime:
        return midnight(self.begin)

    @property
    def windows(self) -> int:
        end = min(self.at, self.start + DAY * self.count)
        return int((end - self.start).total_seconds() // self.step)

    @property
    def days(self) -> list[date]:
        """Each of them; the last may be today."""
        return [self.begin + DAY * number for number in range(self.count)]

    def cut(self, parts: int) -> Iterator[tuple[datetime, datetime, timedelta]]:
        """The windows in about so many parts of whole days: the first and last of each, and the step."""
        step, whole = timedelta(seconds=self.step), 86400 // self.step
        size = max(1, self.count // parts) * whole
        for first in range(1, self.windows + 1, size):
            last = min(first + size - 1, self.windows)
            yield self.start + step * first, self.start + step * last, step

    def is_over(self, day: date) -> bool:
        return midnight(day) + DAY + LATE <= self.at

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
        # By namespace and day, pods that were used of which nobody told whose they are.
        self._doubtful: dict[tuple[str, date], set[str]] = {}
        self._owners = owners
        self._owner: dict[Pod, Controller] = {}
        self._rows: Counter[tuple[str, str]] = Counter()
        for pod in owners.pods:
            controller = owners.controller(pod)
            if controller is not None and controller in span.containers:
                self._owner[pod] = controller
                namespace, _, name = controller
                self._rows[namespace, name] += len(span.containers[controller])

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
        namespace, pod = curve.labels.get("namespace", ""), curve.labels.get("pod", "")
        if not self._owners.is_known((namespace, pod)):
            for day, _ in self.grid.parts(curve.times):
                self._doubtful.setdefault((namespace, day), set()).add(pod)

    def is_doubtful(self, controller: Controller, day: date) -> bool:
        """Whether one of those may have been its own, by the name."""
        namespace, _, name = controller
        beginning = name[: queries.POD_NAME_BEGINNING]
        return any(pod.startswith(beginning) for pod in self._doubtful.get((namespace, day), ()))

    def points(self, part: Part) -> int:
        """Windows of all containers of the pods that are known of."""
        rows = sum(self._rows.get(each, 1) for each in part.workloads)
        return rows * self.grid.windows

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
    asking: Asking, piece: Part, window: Window, usage: _Usage, *, exactly: bool
) -> tuple[dict[Of, dict[date, Digest]], list[Asked]]:
    """The digests of one piece's windows. One metric after the other: as text they take much memory."""
    grid = usage.grid
    found: dict[Of, dict[date, Digest]] = {}
    asked: list[Asked] = []

    def days(name: str) -> Iterator[tuple[dict[date, Digest], Digest, Sequence[float], Sequence[float]]]:
        """Of each pod and day with windows: where its digest lies, the digest, their ends, and the points."""
        for between in grid.cut(max(1, ceil(usage.points(piece) / MOST_POINTS))):
            with _PLACES:
                curves, puts = asking.piece(name, queries.windows(window)[name], piece, between)
                asked.extend(puts)
                if exactly and _is_off(curves, *between):
                    raise BegunLater
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


def _is_off(curves: Iterable[Curve], begin: datetime, _end: datetime, step: timedelta) -> bool:
    """Whether points lie between the times that were asked about; those of an answer all do, or none."""
    first = next((curve.times[0] for curve in curves if curve.times), begin.timestamp())
    steps = (first - begin.timestamp()) / step.total_seconds()
    return abs(steps - round(steps)) > 1e-4


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
    over = [day for day in grid.days if midnight(day) + DAY <= grid.at]
    found: dict[tuple[Of, date], tuple[int, float | None]] = {}

    def take(name: str, rows: Iterable[tuple[Mapping[str, str], date, float]]) -> None:
        for labels, day, value in rows:
            if (whose := usage.container(labels)) is None:
                continue
            kills, share = found.get((whose[0], day), (0, None))
            if name == "oom_kills":
                kills += round(value)
            else:
                share = round(max(share or 0.0, value), 4)
            found[whose[0], day] = kills, share

    if over:
        begin = grid.start + DAY
        curves = asking.ranges(queries.troubles(86400), part, begin, begin + DAY * (len(over) - 1), DAY)
        for name, answered in curves.items():
            take(name, ((curve.labels, _day(at), value) for curve in answered for at, value in curve.points))
    seconds = int((grid.at - grid.start).total_seconds()) - 86400 * len(over)
    if len(over) < grid.count and seconds > 0:
        today = grid.days[-1]
        rows = asking.all(queries.troubles(seconds), part)
        for name, answers in rows.items():
            take(name, ((row.labels, today, row.value) for row in answers))
    return found


def _day(end: float) -> date:
    """The day that ends then; some servers move a range's points a little."""
    return datetime.fromtimestamp(round(end / 86400) * 86400 - 1, UTC).date()


def _points(values: Sequence[float]) -> Sequence[float]:
    """At POINTS: each is the least value at or below which so large a share of all lies."""
    ordered = sorted(values)
    found: Sequence[float] = _ranks(len(ordered))(ordered)
    return found


@cache
def _ranks(count: int) -> Callable[[Sequence[float]], Sequence[float]]:
    return itemgetter(*(max(0, ceil(round(share * count, 9)) - 1) for share in POINTS))


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


def quantile(days: Iterable[tuple[int, Sequence[float]]], share: float) -> float | None:
    """Over several days' windows: how many a day has, and its values at POINTS; None without any.

    The windows between two points count as the upper one: it is never less than the quantile of all windows.
    """
    masses = [after - before for before, after in pairwise((0.0, *POINTS))]
    weighed = sorted(
        (value, windows * mass)
        for windows, points in days
        if windows and len(points) == len(POINTS)
        for value, mass in zip(points, masses, strict=True)
    )
    wanted = share * sum(weight for _, weight in weighed) * (1 - 1e-9)
    reached = 0.0
    for value, weight in weighed:
        reached += weight
        if reached >= wanted:
            return value
    return None
