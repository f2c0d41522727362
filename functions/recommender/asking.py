"""Puts a reading's queries: few at once, none about very many, and what a server refuses in halves.

What a query over windows holds in a server's memory grows with the containers that it is about: a whole large
cluster at once would take gigabytes from a Prometheus that others use. Servers also bound what one query may
read: samples (Prometheus), series, memory and text (VictoriaMetrics), series and chunks (Mimir), time (all);
how large a question may be cannot be known beforehand. A half that is refused is halved again; where a single
workload is too large, the whole reading fails: none is ever incomplete. Halves of time would help none of the
questions about a whole history: quantiles need all of it. Windows by the day are parted by time (digesting).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import chain, groupby, pairwise
from math import ceil, inf
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from functions.recommender import queries
from functions.recommender.queries import Question, Scope
from shared.contracts.digests import midnight
from shared.contracts.errors import Temporary, Throttled
from shared.contracts.prometheus import AT_ONCE, QueryRefused, QueryTooLarge, QueryTooSlow

if TYPE_CHECKING:
    from shared.contracts.prometheus import Curve, Prometheus, Series

T = TypeVar("T")
U = TypeVar("U")
P = TypeVar("P", bound="Halved")
R = TypeVar("R", "Series", "Curve")
Between = tuple[datetime, datetime, timedelta]
"""From the one to the other, both included, in steps."""

# In one query. Windows are all held at once, some 20 MB for fourteen days of a hundred workloads of 3 pods;
# of other ranges one series at a time is.
MOST_WORKLOADS = 2_000
MOST_OVER_WINDOWS = 100
# What takes as long for an eighth does not take long for its size: the server is busy.
MOST_HALVINGS_FOR_TIME = 3


@dataclass(frozen=True)
class Asked:
    """One query as it was put, and how many rows came."""

    name: str
    promql: str
    rows: int


class Halved(Protocol):
    def halves(self) -> list[Self]:
        """Two that make the whole; none where it cannot be parted."""
        ...


@dataclass(frozen=True)
class Metrics:
    """What is asked for before it is known which workloads there are: some metrics, of all of them."""

    names: tuple[str, ...]

    def halves(self) -> list[Metrics]:
        middle = len(self.names) // 2
        return [Metrics(self.names[:middle]), Metrics(self.names[middle:])] if middle else []


@dataclass(frozen=True)
class Part:
    """A scope, and the namespace and name of each workload that is looked for in it."""

    scope: Scope
    workloads: frozenset[tuple[str, str]] = frozenset()

    def halves(self) -> list[Part]:
        """Two that have the same workloads: of whole namespaces, or else by name; none if there is one."""
        ordered = sorted(self.workloads)
        if len(ordered) < 2:
            return []
        middle = ordered[len(ordered) // 2]
        if ordered[0][0] == ordered[-1][0]:
            return [
                self.cut_to(each for each in ordered if each < middle),
                self.cut_to(each for each in ordered if each >= middle),
            ]
        # The middle's namespace goes to the side where there would be none.
        begins_with_it = ordered[0][0] == middle[0]
        first = {each for each in ordered if each[0] < middle[0] or (begins_with_it and each[0] == middle[0])}
        return [self.cut_to(first), self.cut_to(set(ordered) - first)]

    def narrowed(self, workloads: Iterable[tuple[str, str]]) -> Part:
        """The part that has these workloads of this one, looked for by name where they are few."""
        some = frozenset(workloads)
        few = len(some) * 2 < len(self.workloads)
        names = tuple(sorted({name for _, name in some}))
        return Part(replace(self.scope, names=names) if few else self.scope, some)

    def cut_to(self, workloads: Iterable[tuple[str, str]]) -> Part:
        """The part that has these of its workloads, looked for by namespace; by name, if it is one's."""
        part = frozenset(workloads)
        namespaces = tuple(sorted({namespace for namespace, _ in part}))
        by_name = bool(self.scope.names) or len({namespace for namespace, _ in self.workloads}) == 1
        names = tuple(sorted({name for _, name in part})) if by_name else ()
        return Part(replace(self.scope, namespaces=namespaces, names=names), part)


@dataclass
class Asking:
    """Puts queries that end at one time, and keeps them, in the order of the questions, for the report."""

    prometheus: Prometheus
    at: datetime
    asked: list[Asked] = field(default_factory=list)

    def metrics(
        self, name: str, question: Callable[[tuple[str, ...]], str], names: tuple[str, ...]
    ) -> list[Series]:
        """The rows of these metrics. Raises what Prometheus.query does."""

        def whole(some: tuple[str, ...]) -> tuple[list[Series], list[Asked]]:
            return _whole(self._now, name, lambda its: question(its.names), Metrics(some))

        try:
            answers = [whole(names)]
        except QueryTooLarge:
            raise
        except QueryRefused:
            if len(names) == 1:
                raise
            # Google's takes no pattern for the name of a metric.
            answers = at_once([partial(whole, (each,)) for each in names])
        self.asked += [each for _, asked in answers for each in asked]
        return [row for rows, _ in answers for row in rows]

    def has_nothing(self, matchers: str, first: date, end: date) -> bool:
        """Whether the server says that no such series has samples from the day `first` on, before `end`."""
        # What is of the very midnight is of the next day: to servers the end of a range is part of it.
        before = midnight(end) - timedelta(seconds=1)
        found = self._series(matchers, midnight(first), before) if first < end else None
        if found is None:
            return False
        self.asked.append(Asked("history", matchers, len(found)))
        return not found

    def told(
        self, name: str, matchers: Callable[[Scope], str], part: Part, begin: datetime, end: datetime
    ) -> list[Mapping[str, str]] | None:
        """The labels of all such series that have samples then; None where they are not told."""
        cut = list(dict.fromkeys(matchers(piece.scope) for piece in pieces(part, MOST_WORKLOADS)))
        found = at_once([partial(self._series, each, begin, end) for each in cut])
        self.asked += [Asked(name, each, len(its or ())) for each, its in zip(cut, found, strict=True)]
        return None if None in found else [labels for its in found for labels in its or ()]

    def _series(self, matchers: str, begin: datetime, end: datetime) -> list[Mapping[str, str]] | None:
        """None where they are not told: not each server, nor each proxy before one, tells of series, or of so
        many at once.
        """
        try:
            return self.prometheus.series(matchers, begin, end)
        except Throttled:
            raise
        except Temporary:
            return None

    def answered(self, begin: datetime) -> datetime:
        """When a range that begins then is answered from. Raises what Prometheus.query_range does."""
        curves = self.prometheus.query_range("vector(1)", begin, self.at, timedelta(days=1))
        self.asked.append(Asked("answered", "vector(1)", len(curves)))
        first = min((each.times[0] for each in curves if each.times), default=0)
        return max(begin, datetime.fromtimestamp(first, UTC))

    def all(
        self, questions: Mapping[str, Question], part: Part, over_windows: Collection[str] = ()
    ) -> dict[str, list[Series]]:
        """The answers about `part` by name; `over_windows` names the questions that take a server's memory.

        Raises what Prometheus.query does, if a half cannot be had.
        """
        return self._all(self._now, questions, part, over_windows)

    def owners(
        self, part: Part, history: timedelta, gone: Collection[tuple[str, str]]
    ) -> list[Mapping[str, str]]:
        """Labels that tell who owned the pods, ReplicaSets and Jobs of the history.

        Of the pods in `gone` it is known that they were there: a server that does not tell of them looks less
        far back for labels than it says. Azure's looks for twelve hours, Mimir as its tenant's limit has it.
        Raises what Prometheus.query does.
        """
        # What is asked about all alike is asked once.
        cut = {queries.owner_series(piece.scope): piece for piece in pieces(part, MOST_WORKLOADS)}
        told = at_once([partial(self._series, matchers, self.at - history, self.at) for matchers in cut])
        # One that forgets what one piece's pods were forgets the others' too.
        forgets = _lacks(gone, cut.values(), chain.from_iterable(filter(None, told)))
        answers = at_once(
            [
                partial(self._owners, history, piece, matchers, () if forgets else found)
                for (matchers, piece), found in zip(cut.items(), told, strict=True)
            ]
        )
        self.asked += [asked for _, puts in answers for asked in puts]
        return [labels for found, _ in answers for labels in found]

    def _owners(
        self, history: timedelta, piece: Part, matchers: str, told: Sequence[Mapping[str, str]] | None
    ) -> tuple[Sequence[Mapping[str, str]], list[Asked]]:
        """`told` by labels, or by a query: where there are workloads, somebody owns their pods."""
        if told:
            return told, [Asked("owners", matchers, len(told))]
        question = _of_scope(partial(queries.owners, history=history))
        rows, asked = _whole(self._now, "owners", question, piece)
        return [row.labels for row in rows], asked

    def ranges(
        self,
        questions: Mapping[str, Question],
        part: Part,
        begin: datetime,
        end: datetime,
        step: timedelta,
        *,
        most: int = MOST_WORKLOADS,
    ) -> dict[str, list[Curve]]:
        """The same at `begin` and every `step` after it up to `end`, about so many workloads at `most`."""
        return self._all(partial(self._between, begin, end, step), questions, part, most=most)

    def piece(
        self, name: str, question: Question, piece: Part, between: Between
    ) -> tuple[list[Curve], list[Asked]]:
        """One question about one piece: for who asks of many at once, and adds in order what was asked."""
        return _whole(partial(self._between, *between), name, _of_scope(question), piece)

    def _between(self, begin: datetime, end: datetime, step: timedelta, promql: str) -> list[Curve]:
        return self.prometheus.query_range(promql, begin, end, step)

    def _now(self, promql: str) -> list[Series]:
        return self.prometheus.query(promql, self.at)

    def _all(
        self,
        put: Callable[[str], list[R]],
        questions: Mapping[str, Question],
        part: Part,
        over_windows: Collection[str] = (),
        *,
        most: int = MOST_WORKLOADS,
    ) -> dict[str, list[R]]:
        calls = {
            # What is asked about all alike is asked once.
            (name, ask(piece.scope)): partial(_whole, put, name, _of_scope(ask), piece)
            for name, ask in questions.items()
            for piece in pieces(part, MOST_OVER_WINDOWS if name in over_windows else most)
        }
        answers = at_once(list(calls.values()))
        self.asked += [asked for _, puts in answers for asked in puts]
        found: dict[str, list[list[R]]] = {name: [] for name in questions}
        for (name, _), (rows, _) in zip(calls, answers, strict=True):
            found[name].append(rows)
        return {name: together(answered) for name, answered in found.items()}


def _lacks(
    pods: Collection[tuple[str, str]], parts: Collection[Part], told: Iterable[Mapping[str, str]]
) -> bool:
    """Whether one of these pods is in the parts' namespaces, and is not among what is told."""
    spaces = {namespace for part in parts for namespace in part.scope.namespaces}
    of_all = any(not part.scope.namespaces for part in parts)
    looked_for = {pod for pod in pods if of_all or pod[0] in spaces}
    return bool(looked_for.difference((each.get("namespace", ""), each.get("pod", "")) for each in told))


def _whole(
    put: Callable[[str], list[R]], name: str, question: Callable[[P], str], part: P, slow: int = 0
) -> tuple[list[R], list[Asked]]:
    """`slow` is how many of the halvings that made `part` were for time."""
    promql = question(part)
    try:
        rows = put(promql)
    except (QueryTooLarge, QueryTooSlow) as error:
        slow += isinstance(error, QueryTooSlow)
        if slow > MOST_HALVINGS_FOR_TIME:
            raise
        halves = part.halves()
        # Not each question is narrowed by names, nor by namespaces: the same again would fail again.
        if not halves or any(question(half) == promql for half in halves):
            raise
    else:
        return rows, [Asked(name, promql, len(rows))]
    answers = [_whole(put, name, question, half, slow) for half in halves]
    return together([rows for rows, _ in answers]), [asked for _, puts in answers for asked in puts]


def together(answers: Sequence[list[R]]) -> list[R]:
    """Pods whose names begin as those of two parts' workloads are in both answers, with the same figure."""
    if len(answers) == 1:
        return answers[0]
    return list({tuple(sorted(row.labels.items())): row for rows in answers for row in rows}.values())


def count(part: Part) -> int:
    """Of workloads."""
    return len(part.workloads)


def pieces(part: Part, most: float, size: Callable[[Part], int] = count) -> list[Part]:
    """The part in as few as it takes for none to be larger: of whole namespaces, or of one by name. One
    workload is not parted.
    """
    if size(part) <= most or len(part.workloads) < 2:
        return [part]
    by_namespace = [list(its) for _, its in groupby(sorted(part.workloads), itemgetter(0))]
    if len(by_namespace) == 1:
        [names] = by_namespace
        number = min(ceil(size(part) / most), len(names))
        ends = [len(names) * each // number for each in range(number + 1)]
        cut = [names[begin:end] for begin, end in pairwise(ends)]
    else:
        cut, filled = [], inf
        for its in by_namespace:
            more = size(Part(part.scope, frozenset(its)))
            if filled + more > most:
                cut.append([])
                filled = 0
            cut[-1] += its
            filled += more
    return [piece for each in cut for piece in pieces(part.cut_to(each), most, size)]


def _of_scope(question: Question) -> Callable[[Part], str]:
    return lambda part: question(part.scope)


def both(one: Callable[[], T], other: Callable[[], U]) -> tuple[T, U]:
    """What the two return, that run side by side."""
    calls: list[Callable[[], Any]] = [one, other]
    first, second = at_once(calls)
    return first, second


def at_once(calls: Sequence[Callable[[], T]], most: int = AT_ONCE) -> list[T]:
    """What they return, in their order; so many of them run side by side.

    If some fail, no more are begun, and the error of the first of them, in that order, is raised.
    """
    futures: list[Future[T]] = [Future() for _ in calls]
    left = iter(zip(futures, calls, strict=True))
    lock = threading.Lock()
    failed = threading.Event()

    def work() -> None:
        while True:
            with lock:
                future, call = next(left, (None, None))
            if future is None or call is None:
                return
            if failed.is_set():
                future.cancel()
                continue
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001  it is raised where the result is asked for
                failed.set()
                future.set_exception(error)

    # Daemons, unlike an executor's: Ctrl-C does not wait for a slow server.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(most, len(calls)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for future in futures:
        if not future.cancelled() and (error := future.exception()):
            raise error
    return [future.result() for future in futures]
