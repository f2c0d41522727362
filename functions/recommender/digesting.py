"""What containers used, day by day: digests that are stored, and of the days that are not, their windows.

A day is one of UTC. Once it is over, and what came late is there, its digest is made of its windows, of
memory's some and the day's peak, and never again: a scan reads the days that are new, and today so far.
Windows come as they are, because one pass over them tells every quantile, while each quantile that a server
finds is another pass.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache, partial
from itertools import chain, groupby, pairwise, repeat
from math import ceil, inf
from operator import itemgetter
from statistics import median_low
from typing import TYPE_CHECKING

from functions.recommender import queries
from functions.recommender.asking import MOST_WORKLOADS, at_once, both, pieces
from functions.recommender.container import AT_LIMIT
from functions.recommender.remembering import inherited, last_before
from shared.contracts.digests import POINTS, Digest, midnight
from shared.contracts.errors import Temporary
from shared.contracts.quantities import MOST, within

if TYPE_CHECKING:
    from functions.recommender.asking import Asked, Asking, Part
    from functions.recommender.cluster import Controller, Owners, Pod
    from functions.recommender.container import Day
    from functions.recommender.queries import Question, Window
    from shared.contracts.digests import Digests
    from shared.contracts.prometheus import Curve

Of = tuple["Controller", str]  # whose container, and its name

DAY = timedelta(days=1)
# A day is over for good after this much: samples may come late, by remote write, or out of order.
LATE = timedelta(hours=1)
# In one answer, so that neither side holds much: some 2 MB of text. So many answers at once, of all that
# the process reads: one that is digested, while the next is asked for.
MOST_POINTS = 72_000
_MOST_HELD = 2
_HELD = threading.BoundedSemaphore(_MOST_HELD)
# That one waits for a place. With the time that a delivery has for its queries it stays below its Service's.
_HELD_SECONDS = 100
# Read at a time, the oldest first: where it is kept, what was read stays so though there be no time for more.
_MOST_DAYS, _MOST_KEPT_DAYS = 15, 3
# Into so many parts of its days a span is cut before its workloads are parted further. Measured where blocks
# are of 18 hours, as Prometheus makes them where it keeps 15 days: with three or seven a server is slower by
# some 10 % or 5 %, with one by 40 %, for each series it brings all blocks of a part together.
_MOST_CUTS = 5
# A daily burst of a window's length is seen by every third on a day of fourteen still.
_MOST_APART = 3
# So many days of workloads, and of one, one question by the day is about: for each a server holds where its
# samples are; or all of its windows.
_PLAIN, _OVER_WINDOWS = (5_250, _MOST_DAYS), (1_400, 3)
# Of a memory limit, from which on the day's is kept: whether use goes with it shows by that. A JVM's heap is
# a quarter of it, unless told otherwise.
NEAR = 0.2
# Of a day's windows: those at or below the points before each, and those that it stands for.
_UP_TO = (0.0, *POINTS)
_MASSES = tuple(after - before for before, after in pairwise(_UP_TO))
# Of a span, at which what is recorded is compared with what it was made of: a rule is evaluated up to a
# minute before, so at one of them a bursting container may differ. And so many windows may lack
# in a day's CPU that is recorded, beside those that memory has: at a container's begin and end.
_MOMENTS, _MOST_UNRECORDED = 6, 2
# Sorts behind all that a name may have in it.
_LAST = "~"
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
    memory_alone: bool = False


@dataclass(frozen=True)
class Plan:
    """`apart`: by namespace, how many of a Window's steps lie between two windows that are looked at;
    `limited`: namespace and name of what has a CPU limit, of which the peaks of all windows are asked for.
    `pods` are there now, and `cpu_limits` (millicores) and `memory_limits` (bytes) are set for their
    containers: in most pods, where that of memory is `unsettled`, as in the midst of a rollout. Of those in
    `killed` it is told now that they were killed for their memory, and begun anew.
    """

    apart: Mapping[str, int]
    limited: frozenset[tuple[str, str]]
    pods: frozenset[Pod] = frozenset()
    cpu_limits: Mapping[Of, int] = field(default_factory=dict)
    memory_limits: Mapping[Of, int] = field(default_factory=dict)
    unsettled: frozenset[Of] = frozenset()
    killed: frozenset[Of] = frozenset()


@dataclass
class Days:
    """Each container's digests, in the order of their days, and the pods that they are known of.

    `torn` are containers of which two answers contradict each other: what was read of them is not all.
    """

    digests: dict[Of, list[Digest]] = field(default_factory=dict)
    pods: dict[Controller, set[Pod]] = field(default_factory=dict)
    torn: set[Of] = field(default_factory=set)


def apart(replicas: Mapping[Controller, int]) -> dict[str, int]:
    """As a Plan has it: two steps where most workloads run in two pods or more, three where in three or more,
    for each of them is looked at. So of most a window is looked at as often as of what runs in one.
    """
    counts: dict[str, list[int]] = {}
    for (namespace, _, _), count in replicas.items():
        counts.setdefault(namespace, []).append(count)
    return {namespace: max(1, min(median_low(its), _MOST_APART)) for namespace, its in counts.items()}


def first_day(at: datetime, history: timedelta) -> date:
    """The first of the whole days before today that a history of so many has."""
    return at.astimezone(UTC).date() - timedelta(days=history.days)


def recall(
    stored: Digests | None,
    cluster: str,
    since: date,
    namespaces: Collection[str],
    wanted: Collection[Controller] | None,
) -> list[Digest]:
    """What is stored of the namespaces (empty: of all), or of the wanted workloads in them; and of others, if
    their names lie between. A shard's follow one another. Raises Temporary.
    """
    if stored is None or (wanted is not None and not wanted):
        return []
    # With what follows them: web-api comes before web, for "-" sorts before "/".
    whose = wanted if wanted is not None else [(namespace,) for namespace in namespaces]
    names = ["/".join((*each, "")) for each in whose]
    return list(stored.since(cluster, since, (min(names), max(names) + _LAST) if names else None))


def known(
    recalled: Iterable[Digest], containers: Mapping[Controller, Sequence[str]], today: date, most_windows: int
) -> Days:
    """What is stored of these containers. A day that was stored when more windows were looked at, or scrapes
    came more often, weighs no more for it.
    """
    names = {
        _name(controller, each): (controller, each) for controller, its in containers.items() for each in its
    }
    days = Days({container: [] for container in names.values()})
    for digest in recalled:
        if digest.day < today and (container := names.get(digest.container)) is not None:
            days.digests[container].append(_of_at_most(most_windows, digest))
    return days


def _of_at_most(windows: int, digest: Digest) -> Digest:
    if digest.windows <= windows:
        return digest
    return replace(digest, windows=windows, samples=round(digest.samples * windows / digest.windows))


def spans(
    days: Days,
    containers: Mapping[Controller, Sequence[str]],
    since: date,
    today: date,
    *,
    cpu_since: date,
    kept: bool,
) -> list[Span]:
    """What is to be read, the oldest first: each day that one of a workload's containers lacks, and today.

    Of days before `cpu_since` memory alone, unless they are kept: then the whole day is.
    """
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
        Span(begin, count, some, memory_alone=begin < cpu_since and not kept)
        for lacks, some in lacking.items()
        if some
        for part in (
            [day for day in lacks if day < cpu_since and not kept],
            [*(day for day in lacks if day >= cpu_since or kept), today],
        )
        if part
        for begin, count in _runs(sorted(part), most)
    ]
    return sorted(found, key=lambda span: span.begin)


def _runs(days: Sequence[date], most: int) -> Iterator[tuple[date, int]]:
    """Days that follow one another: the first of each run and how many, at most so many; the last run is as
    long as it can be, so that yesterday is read with today.
    """
    end, count = days[-1], 0
    for day in reversed(days):
        if count == most or day != end - DAY * count:
            yield end - DAY * (count - 1), count
            end, count = day, 0
        count += 1
    yield end - DAY * (count - 1), count


def read(
    asking: Asking,
    whole: Part,
    window: Window,
    *,
    span: Span,
    owners: Owners,
    days: Days,
    plan: Plan,
    rule: bool = False,
    exactly: bool = True,
) -> list[Digest]:
    """Adds the span's days to `days` where they are not known; returns those that can be kept.

    That are those that are over, and of which it is sure that all is there: the server has usage of the day
    and knows whose it is, has usage now, and has CPU, memory and its peak, or none of them. `exactly` takes
    no windows other than those that were asked for. `rule`: kubernetes-mixin records CPU; it is read where it
    tells the same.

    Raises:
        BegunLater: there were others; nothing was added.
        Temporary: Prometheus cannot be reached, or will not run a query.
    """
    part = whole.narrowed((namespace, name) for namespace, _, name in span.containers)
    usage = _Usage(asking, window, span, owners, plan, exactly=exactly)
    usage.is_recorded = rule and not span.memory_alone and window.is_of_rule and _tells_the_same(usage, part)
    calls = [
        partial(take, usage, its, piece)
        for take, step in ((_take_cpu, window.cpu_step), (_take_memory, window.memory_step))
        if not (span.memory_alone and take is _take_cpu)
        for steps, some in usage.by_apart(part)
        for its in (replace(usage.grid, step=step * steps),)
        if its.windows
        for piece in pieces(some, MOST_POINTS / ceil(its.count / _MOST_CUTS), partial(usage.points, its))
    ]
    windows = partial(at_once, most=_MOST_HELD)
    facts, asked = both(partial(_facts, usage, part), partial(windows, calls))
    asking.asked += chain.from_iterable(asked)
    if usage.is_recorded and usage.lacks():
        usage.is_recorded = False
        usage.found.clear()
        usage.started.clear()
        asking.asked += chain.from_iterable(windows([call for call in calls if call.func is _take_cpu]))
    if not span.memory_alone:
        _add_peaks(usage, part, facts)
    sure = usage.sure(days, facts) if window.is_scraped else set()
    behind, yesterday = usage.behind(), asking.at.astimezone(UTC).date() - DAY
    fresh: list[Digest] = []
    for controller, its in span.containers.items():
        days.pods.setdefault(controller, set()).update(usage.pods.get(controller, ()))
        for each in its:
            there = days.digests[controller, each]
            made = usage.days((controller, each), facts, there)
            there.extend(made)
            there.sort(key=lambda digest: digest.day)
            if (controller, each) in usage.untold or any(
                usage.is_torn((controller, each), digest, facts) for digest in made
            ):
                days.torn.add((controller, each))
            fresh += (
                digest
                for digest in made
                if digest.day in sure
                and (controller, each) not in usage.untold
                and usage.is_whole((controller, each), digest, facts)
                and not usage.is_doubtful(controller, digest.day)
                and not (digest.day == yesterday and ((controller, each) in behind or _is_gap(digest, there)))
            )
    return fresh


def _name(controller: Controller, container: str) -> str:
    return "/".join((*controller, container))


def _is_gap(digest: Digest, its: Collection[Digest]) -> bool:
    """Whether nothing is told of the day, while the container used some on the days before and after: of
    several servers behind one address another may have answered about it, which was away then.
    """
    used = {each.day for each in its if each.windows or each.memory_bytes}
    return digest.day not in used and used >= {digest.day - DAY, digest.day + DAY}


def _workload(container: Of) -> tuple[str, str]:
    """Namespace and name, as a Part has it."""
    (namespace, _, name), _ = container
    return namespace, name


@dataclass(frozen=True)
class _Grid:
    """The ends of the windows of some days, `step` seconds apart since 1970, up to `at`: the same, whichever
    days are read together.
    """

    begin: date
    count: int
    at: datetime
    step: int

    @property
    def start(self) -> datetime:
        return midnight(self.begin)

    @property
    def windows(self) -> int:
        return self._number(self.start + DAY * self.count) - self._number(self.start)

    @property
    def last(self) -> datetime:
        """The end of the last window, if there is any."""
        return self._end(self._number(self.start + DAY * self.count))

    @property
    def days(self) -> list[date]:
        """Each of them; the last may be today."""
        return [self.begin + DAY * number for number in range(self.count)]

    @property
    def whole(self) -> _Grid:
        """The same without today."""
        return replace(self, count=sum(1 for day in self.days if midnight(day) + DAY <= self.at))

    def cut(self, days: int) -> Iterator[tuple[datetime, datetime, timedelta]]:
        """The windows of so many days at a time: the first and last of each part, and the step."""
        for day in range(0, self.count, days):
            first = self._number(self.start + DAY * day) + 1
            last = self._number(self.start + DAY * min(day + days, self.count))
            if first <= last:
                yield self._end(first), self._end(last), timedelta(seconds=self.step)

    def _number(self, time: datetime) -> int:
        """Of the last window that is over then."""
        return int(min(time, self.at).timestamp() // self.step)

    def _end(self, number: int) -> datetime:
        return datetime.fromtimestamp(number * self.step, UTC)

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

    def __init__(
        self,
        asking: Asking,
        window: Window,
        span: Span,
        owners: Owners,
        plan: Plan,
        *,
        exactly: bool,
    ) -> None:
        self.asking = asking
        self.window = window
        self.span = span
        self.grid = _Grid(span.begin, span.days, asking.at, window.cpu_step)
        self.plan = plan
        self.exactly = exactly
        self.is_recorded = False
        # Where CPU is recorded: how many windows each pod and day has of it, and of memory.
        self._told: dict[str, Counter[tuple[Of, Pod, date]]] = {
            "cpu_windows": Counter(),
            "memory_windows": Counter(),
        }
        # By container and day: what is known by CPU, and memory at POINTS.
        self.found: dict[Of, dict[date, Digest]] = {}
        self.memory: dict[Of, dict[date, tuple[int, ...]]] = {}
        self.memory_windows: Counter[tuple[Of, date]] = Counter()
        self.pods: dict[Controller, set[Pod]] = {}
        # When the last window of CPU ended, of those pods that are there now; and the days of their starts.
        self.last: dict[tuple[Of, Pod], float] = {}
        self.started: dict[Of, set[date]] = {}
        # Killed, as was told when it was asked what there is, and not when it was asked who was killed.
        self.untold: set[Of] = set()
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

    def workloads(self, rows: Iterable[Mapping[str, str]]) -> set[tuple[str, str]]:
        """Namespace and name of each whose row is among these."""
        all_whose = (self.container(labels) for labels in rows)
        return {_workload(whose[0]) for whose in all_whose if whose is not None}

    def unseen(self, killed: Iterable[Mapping[str, str]]) -> set[Of]:
        """Those of which it is told now that they were killed, and which are not among these rows: of several
        servers behind one address another answered, which knows of no kills.
        """
        whose = (self.container(labels) for labels in killed)
        seen = {each[0] for each in whose if each is not None}
        return {each for each in self.plan.killed - seen if each[0] in self.span.containers}

    def tell(self, name: str, whose: tuple[Of, Pod, date], count: int) -> None:
        """So many windows are told of it."""
        self._told[name][whose] += count

    def by_apart(self, part: Part) -> Iterator[tuple[int, Part]]:
        """The part by how far its windows lie apart, in steps."""

        def steps_of(workload: tuple[str, str]) -> int:
            return self.plan.apart[workload[0]]

        ordered = sorted(part.workloads, key=steps_of)
        groups = [(steps, list(some)) for steps, some in groupby(ordered, steps_of)]
        for steps, some in groups:
            yield steps, part.cut_to(some) if len(groups) > 1 else part

    def lacks(self) -> bool:
        """Whether recorded CPU lacks what memory has: a rule may fail for hours, or know not each pod."""
        each = self.window.memory_step // self.window.cpu_step  # of CPU, from one of memory to the next
        cpu = self._told["cpu_windows"]
        for whose, count in self._told["memory_windows"].items():
            namespace, _ = _workload(whose[0])
            lacking = (count - 1) * each + 1 - cpu[whose]
            if not cpu[whose] or lacking > max(1, _MOST_UNRECORDED // self.plan.apart[namespace]):
                return True
        return False

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

    def behind(self) -> set[Of]:
        """The containers of pods that are there, used some yesterday, and have told of nothing today: who
        sends what they use is behind, it may be.
        """
        today = midnight(self.grid.at.astimezone(UTC).date())
        if self.grid.last <= today:
            return set()
        begin, end = (today - DAY).timestamp(), today.timestamp()
        return {container for (container, _), last in self.last.items() if begin < last <= end}

    def points(self, grid: _Grid, part: Part) -> int:
        """Windows that a day has of all containers of the pods that are known of."""
        return sum(self._rows.get(each, 1) for each in part.workloads) * ceil(86400 / grid.step)

    def is_whole(self, container: Of, digest: Digest, facts: Mapping[tuple[Of, date], _Facts]) -> bool:
        """Whether CPU, memory and its peak all tell of the day, if any does. What one lacks may come late; or
        of two servers behind one address another answered, which has less.

        Around its midnights, and of what lived for minutes, one may have a window where another has none.
        """
        if self.is_torn(container, digest, facts):
            return False
        cpu, memory = digest.windows, self.memory_windows[container, digest.day]
        if facts.get((container, digest.day), _NO_FACTS).memory_max is None:
            return cpu <= self._most(container, self._longer)
        return bool(cpu or memory < 2)

    def is_torn(self, container: Of, digest: Digest, facts: Mapping[tuple[Of, date], _Facts]) -> bool:
        """Whether memory's windows and its peak, which are of the same series, contradict each other: one of
        the two is there without the other. That is no lack of series: an answer was not whole.
        """
        memory = self.memory_windows[container, digest.day]
        if facts.get((container, digest.day), _NO_FACTS).memory_max is None:
            return memory >= 2
        alone = self.window.memory_step * self.plan.apart[container[0][0]] - self.window.step + self._longer
        return not memory and digest.windows > self._most(container, alone)

    @property
    def _longer(self) -> float:
        """Use is told by windows of CPU as long as one is, and of memory as long as a scrape counts."""
        return self.window.cpu - self.window.interval

    def _most(self, container: Of, seconds: float) -> int:
        """Windows of CPU that end within so many seconds, as a digest counts them."""
        apart = self.plan.apart[container[0][0]]
        return (int(seconds / (self.window.cpu_step * apart)) + 1) * apart

    def sure(self, days: Days, facts: Mapping[tuple[Of, date], _Facts]) -> set[date]:
        """The days that are over, and of which there is usage, be it stored: else an empty digest might be of
        a server that has not got its past, or lost it.
        """
        seen = {day for digests in self.found.values() for day in digests}
        seen.update(each.day for digests in days.digests.values() for each in digests if each.windows)
        # Of its first day a server may have no more than the last minutes, which lie between two windows:
        # the peak of memory tells of them. Of any other day, or of hours, it would be CPU that lacks.
        windowed = {day for _, day in self.memory_windows}
        first = min(seen, default=self.span.begin)
        told = {day for (_, day), its in facts.items() if its.memory_max}
        seen.update(day for day in told - windowed if day < first)
        return {day for day in seen if self.grid.is_over(day)}

    def start(self, container: Of, at: float) -> None:
        """The first window of a pod that is there now ends then."""
        day = datetime.fromtimestamp(at - self.window.cpu, UTC).date()
        self.started.setdefault(container, set()).add(day)

    def days(
        self, container: Of, facts: Mapping[tuple[Of, date], _Facts], there: Sequence[Digest]
    ) -> list[Digest]:
        """One digest for every day of the span that is not there, in the order of days; empty ones too."""
        name, found, memory = _name(*container), self.found.get(container, {}), self.memory.get(container, {})
        started, known = self.started.get(container, ()), {digest.day: digest for digest in there}
        made: list[Digest] = []
        # Most days are made while the limit is as it was on them.
        at_limit = AT_LIMIT * self.plan.cpu_limits.get(container, inf)
        before = known.get(self.grid.begin - DAY) or last_before(there, self.grid.begin)
        for day in self.grid.days:
            if (stored := known.get(day)) is not None:
                before = stored
                continue
            its = facts.get((container, day), _NO_FACTS)
            digest = found.get(day) or Digest(name, day)
            cpu = its.topped_cpu(digest.cpu_m)
            digest = replace(
                digest,
                cpu_m=cpu,
                at_limit_cpu_m=cpu[-1] if cpu and cpu[-1] >= at_limit else 0.0,
                memory_bytes=its.topped(memory.get(day, ())),
                oom_kills=its.oom_kills,
                killed_limit_bytes=its.killed_limit if its.oom_kills else 0,
                throttled_share=its.throttled_share,
                near_limit_bytes=its.near_limit,
                started_cpu_m=its.present_cpu if day in started else 0.0,
                started_memory_bytes=its.present_memory if day in started else 0,
            )
            before = inherited(digest, before, (each for each in chain(there, made) if each.day < day))
            made.append(before)
        return made


def _tells_the_same(usage: _Usage, part: Part) -> bool:
    """Whether of no container the recorded CPU differs from what its series tell at most of some moments, as
    it does where the rule sums what two scrapers tell. What it lacks shows beside memory's windows.
    """
    grid, step, last = usage.grid, timedelta(seconds=usage.grid.step), usage.grid.last
    if not grid.windows:
        return False
    apart = max(1, (grid.windows - 1) // _MOMENTS)
    begin = last - step * ((grid.windows - 1) // apart * apart)
    answer = usage.asking.ranges({"rule_differs": queries.rule_differs}, part, begin, last, step * apart)
    return all(len(curve.times) <= _MOMENTS // 2 for curve in answer["rule_differs"])


def _take_cpu(usage: _Usage, grid: _Grid, piece: Part) -> list[Asked]:
    """Adds what the windows of CPU tell; returns what was asked."""
    steps, most = grid.step // usage.window.cpu_step, usage.window.most_cpu_windows
    asked: list[Asked] = []
    for container, day, pods in _days(usage, grid, piece, "cpu_windows", asked):
        usage.found.setdefault(container, {})[day] = Digest(
            _name(*container),
            day,
            pods=len(pods),
            windows=min(max([pod.windows for pod in pods]) * steps, most),
            samples=sum([pod.windows for pod in pods]),
            first=int(min([pod.first for pod in pods])) - usage.window.step,
            cpu_m=tuple([round(cores * 1000, 3) for cores in _worst(pods, MOST / 1000)]),
        )
    return asked


def _take_memory(usage: _Usage, grid: _Grid, piece: Part) -> list[Asked]:
    """Adds what the windows of memory tell; returns what was asked."""
    asked: list[Asked] = []
    for container, day, pods in _days(usage, grid, piece, "memory_windows", asked):
        usage.memory_windows[container, day] = max([pod.windows for pod in pods])
        usage.memory.setdefault(container, {})[day] = tuple([round(size) for size in _worst(pods, MOST)])
    return asked


@dataclass(slots=True)
class _PodsDay:
    """How many windows of a pod's day were told, when the first of them ended, and their values at POINTS."""

    windows: int
    first: float
    points: Sequence[float]


def _worst(pods: Sequence[_PodsDay], most: float) -> Sequence[float]:
    """Of each of POINTS the highest, `most` where it is higher than any can be."""
    points = list(map(max, *[pod.points for pod in pods])) if len(pods) > 1 else pods[0].points
    if points[0] >= 0 and points[-1] <= most:
        return points
    return [min(max(point, 0.0), most) for point in points]


def _days(
    usage: _Usage, grid: _Grid, piece: Part, name: str, asked: list[Asked]
) -> Iterator[tuple[Of, date, list[_PodsDay]]]:
    """Each container and day with windows, and what they are in each of its pods.

    Each container is in one piece alone, and a day of it in one answer, so pieces may be taken side by side.
    """
    question = queries.windows(usage.window, recorded=usage.is_recorded)[name]
    # Each part of time is taken before the next is asked for: as text windows take much memory.
    cuts = ceil(grid.count / max(1, MOST_POINTS // max(1, usage.points(grid, piece))))
    for between in grid.cut(ceil(grid.count / cuts)):
        with _held():
            curves, puts = usage.asking.piece(name, question, piece, between)
            asked += puts
            if usage.exactly and _is_off(curves, *between):
                raise BegunLater
            starts = between[0].timestamp() + grid.step if name == "cpu_windows" else inf
            for container, pods in _by_pod(curves, usage, piece, starts).items():
                days: dict[date, list[_PodsDay]] = {}
                for pod, (times, values) in pods.items():
                    for day, part in grid.parts(times):
                        if day < between[0].date():
                            continue  # moved by the server; the day is in another answer
                        if name == "cpu_windows" and pod in usage.plan.pods:
                            usage.last[container, pod] = times[part.stop - 1]
                        count = part.stop - part.start
                        if usage.is_recorded:
                            usage.tell(name, (container, pod, day), count)
                        its = _PodsDay(count, times[part.start], _points(values[part]))
                        days.setdefault(day, []).append(its)
                for day, each in days.items():
                    yield container, day, each


@contextmanager
def _held() -> Iterator[None]:
    if not _HELD.acquire(timeout=_HELD_SECONDS):
        raise Temporary(f"other readings of this process held their answers for {_HELD_SECONDS} s")
    try:
        yield
    finally:
        _HELD.release()


def _is_off(curves: Iterable[Curve], begin: datetime, _end: datetime, step: timedelta) -> bool:
    """Whether points lie between the times that were asked about; those of an answer all do, or none."""
    first = next((curve.times[0] for curve in curves if curve.times), begin.timestamp())
    steps = (first - begin.timestamp()) / step.total_seconds()
    return abs(steps - round(steps)) > 1e-4


def _by_pod(
    curves: Iterable[Curve], usage: _Usage, piece: Part, starts: float
) -> dict[Of, dict[Pod, tuple[Sequence[float], Sequence[float]]]]:
    """Times and values of each pod's windows: a window's value is the highest of those told of it.

    Several are told where a container ran more than once, and where two scrapers see it. What begins after
    `starts` did so then.
    """
    found: dict[Of, dict[Pod, tuple[Sequence[float], Sequence[float]]]] = {}
    for curve in curves:
        whose = usage.container(curve.labels)
        if whose is None:
            usage.doubt(curve)
            continue
        container, pod = whose
        if _workload(container) not in piece.workloads:
            continue  # its pods' names begin as another's do; it is in another piece
        usage.pods.setdefault(container[0], set()).add(pod)
        if curve.times and curve.times[0] > starts and pod in usage.plan.pods:
            usage.start(container, curve.times[0])
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


@dataclass
class _Facts:
    """What a day had, beside its windows: peaks of memory in bytes and, where there is a limit, of CPU in
    millicores, and troubles; of limits of memory the least, in bytes. `present` are the same peaks of the
    pods that are there now.
    """

    memory_max: int | None = None
    cpu_max: float = 0.0
    present_memory: int = 0
    present_cpu: float = 0.0
    oom_kills: int = 0
    killed_limit: int = 0
    memory_limit: int = 0
    throttled_share: float | None = None
    is_of_gone: bool = False

    def take(self, name: str, value: float, *, is_present: bool) -> None:
        """One pod's. Of the pods the worst counts, and every kill."""
        self.is_of_gone |= not is_present
        match name:
            case "memory_max":
                memory = round(within(value))
                self.memory_max = max(self.memory_max or 0, memory)
                self.present_memory = max(self.present_memory, memory * is_present)
            case "cpu_max":
                cpu = round(within(value * 1000), 3)
                self.cpu_max = max(self.cpu_max, cpu)
                self.present_cpu = max(self.present_cpu, cpu * is_present)
            case "oom_kills":
                self.oom_kills += round(within(value))
            case "killed_limit":
                self.killed_limit = min(self.killed_limit or MOST, round(within(value)))
            case "memory_limit":
                self.memory_limit = min(self.memory_limit or MOST, round(within(value)))
            case _:
                self.throttled_share = round(max(self.throttled_share or 0.0, min(value, 1.0)), 4)

    def topped_cpu(self, cpu: tuple[float, ...]) -> tuple[float, ...]:
        """CPU at POINTS up to the peak, if there are windows that were looked at."""
        return (*cpu[:-1], max(cpu[-1], self.cpu_max)) if cpu else cpu

    def topped(self, memory: tuple[int, ...]) -> tuple[int, ...]:
        """Memory at POINTS up to the peak, which the windows that were looked at need not have seen."""
        if not self.memory_max:
            return memory
        return (
            (*memory[:-1], max(memory[-1], self.memory_max)) if memory else (self.memory_max,) * len(POINTS)
        )

    @property
    def near_limit(self) -> int:
        return self.memory_limit if (self.memory_max or 0) >= NEAR * self.memory_limit else 0


_NO_FACTS = _Facts()


def _facts(usage: _Usage, part: Part) -> dict[tuple[Of, date], _Facts]:
    """Those of each container and day that had any."""
    found: dict[tuple[Of, date], _Facts] = {}
    ask = partial(_ask, usage, found)
    ask({"memory_max": queries.memory_max}, part)
    if usage.span.memory_alone:
        return found
    if changed := _limits_from_now(usage, found):
        limits = {"memory_limit": queries.memory_limits}
        ask(limits, part.narrowed(changed), _PLAIN, grid=usage.grid.whole)
    end = min(usage.grid.at, usage.grid.start + DAY * usage.grid.count)
    told = usage.asking.told("limited", queries.periods, part, usage.grid.start, end)
    # Who has a limit now is asked about though nothing be told of it: some servers forget the older series.
    limited = part.workloads if told is None else usage.workloads(told) | usage.plan.limited
    if limited := part.workloads & limited:
        ask({"throttled_share": queries.throttled_share}, part.narrowed(limited))
    # To count kills, restarts are read three times: of those alone that were killed some time.
    since = int((usage.grid.at - usage.grid.start).total_seconds())
    rows = usage.asking.all({"oom_killed": queries.oom_killed(since)}, part)["oom_killed"] if since else []
    if since >= LATE.total_seconds():  # else what is told of now may have been told before
        usage.untold = usage.unseen(row.labels for row in rows)
    if some := usage.workloads(row.labels for row in rows):
        ask({"oom_kills": queries.oom_kills, "killed_limit": queries.killed_limit}, part.narrowed(some))
    return found


def _limits_from_now(usage: _Usage, found: Mapping[tuple[Of, date], _Facts]) -> set[tuple[str, str]]:
    """Gives their present memory limit to the whole days near it on which no other pods than the present ones
    ran: a pod keeps its limit. Returns namespace and name of the workloads of which others ran on such a day,
    or may have.
    """
    days, limits = set(usage.grid.whole.days), usage.plan.memory_limits
    others = set()
    for (container, day), its in found.items():
        limit = limits.get(container, inf)
        if day in days and (its.memory_max or 0) >= NEAR * limit:
            # A StatefulSet's pod has the name of the one before it.
            if its.is_of_gone or container in usage.plan.unsettled or container[0][1] == "StatefulSet":
                others.add(_workload(container))
            else:
                its.memory_limit = int(limit)
    return others


def _add_peaks(usage: _Usage, part: Part, facts: dict[tuple[Of, date], _Facts]) -> None:
    """Adds the highest windows of CPU of what has a limit, which throttles what lies above it, however short;
    of all else quantiles alone matter.
    """
    if some := part.workloads & usage.plan.limited:
        peaks = queries.cpu_max(usage.window, recorded=usage.is_recorded)
        most = _PLAIN if usage.is_recorded else _OVER_WINDOWS
        _ask(usage, facts, {"cpu_max": peaks}, part.narrowed(some), most)


def _ask(
    usage: _Usage,
    facts: dict[tuple[Of, date], _Facts],
    questions: Mapping[str, Callable[[int], Question]],
    part: Part,
    most: tuple[int, int] = _PLAIN,
    *,
    grid: _Grid | None = None,
) -> None:
    """Adds the answers about the part's workloads."""
    for name, labels, day, value in _by_day(usage.asking, grid or usage.grid, questions, part, most):
        whose = usage.container(labels)
        # Narrowed by the beginnings of names, or not at all, it is about others too.
        if whose is not None and _workload(whose[0]) in part.workloads:
            its = facts.setdefault((whose[0], day), _Facts())
            its.take(name, value, is_present=whose[1] in usage.plan.pods)


def _by_day(
    asking: Asking,
    grid: _Grid,
    questions: Mapping[str, Callable[[int], Question]],
    part: Part,
    most: tuple[int, int],
) -> Iterator[tuple[str, Mapping[str, str], date, float]]:
    """The answers about each whole day, and about today so far: which question, whose row, day and value.
    `most` days of workloads are in one, and of one of them.
    """
    over = grid.whole.count
    of_a_day = {name: question(86400) for name, question in questions.items()}
    for first in range(0, over, most[1]):
        last = min(first + most[1], over)
        begin, end = grid.start + DAY * (first + 1), grid.start + DAY * last
        workloads = max(1, min(MOST_WORKLOADS, most[0] // (last - first)))
        for name, curves in asking.ranges(of_a_day, part, begin, end, DAY, most=workloads).items():
            for curve in curves:
                yield from ((name, curve.labels, _day(at), value) for at, value in curve.points)
    seconds = int((grid.at - grid.start).total_seconds()) - 86400 * over
    if over < grid.count and seconds > 0:
        so_far = {name: question(seconds) for name, question in questions.items()}
        for name, rows in asking.all(so_far, part).items():
            yield from ((name, row.labels, grid.days[-1], row.value) for row in rows)


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


def quantile(days: Iterable[tuple[float, Sequence[float]]], share: float) -> float | None:
    """Over several days' windows: how much a day weighs, and its values at POINTS; None without any.

    The windows between two points count as the upper one: it is never less than the quantile of all windows.
    `share` is one of POINTS at least.
    """
    weighed = [(weight, points) for weight, points in days if weight and len(points) == len(POINTS)]
    if not weighed:
        return None
    wanted = share * sum(weight for weight, _ in weighed) * (1 - 1e-9)
    # It lies between the days' own quantiles: below the least of them all days have less than the share, up
    # to the highest at least as much. Between which two of them is looked for by halving: most points lie
    # outside, and need not be sorted.
    own = bisect_left(POINTS, share - 1e-9)
    ends = sorted([points[own] for _, points in weighed])
    low, high = 0, len(ends) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if sum([weight * _UP_TO[bisect_right(its, ends[middle])] for weight, its in weighed]) >= wanted:
            high = middle
        else:
            low = middle
    least, most = ends[low], ends[high]
    reached = 0.0
    between: list[tuple[float, float, float]] = []
    for weight, points in weighed:
        first, last = bisect_left(points, least), bisect_right(points, most)
        reached += weight * _UP_TO[first]
        between += zip(points[first:last], repeat(weight), _MASSES[first:last], strict=False)
    between.sort()
    for value, weight, mass in between:
        reached += weight * mass
        if reached >= wanted:
            return value
    return most
