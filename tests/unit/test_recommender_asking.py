"""How a reading's queries are put: few at once, in halves where a server refuses them, and all or none."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.recommender import reading
from functions.recommender.asking import (
    MOST_OVER_WINDOWS,
    MOST_WORKLOADS,
    Asked,
    Asking,
    Part,
    at_once,
    pieces,
)
from functions.recommender.queries import Scope
from shared.contracts.errors import Temporary
from shared.contracts.prometheus import AT_ONCE, QueryTooLarge, QueryTooSlow, Series
from tests.fakes.prometheus import FakePod, FakePrometheus, deployment

AT = datetime(2026, 11, 20, tzinfo=UTC)
WORKLOADS = [("pay", "ledger"), *[("shop", f"web{number}") for number in range(5)], ("stock", "db")]


class Limited:
    """Tells of one container of each workload, and refuses to tell of more than `most` at once."""

    def __init__(self, most: int, refuses: type[Temporary] = QueryTooLarge) -> None:
        self.most = most
        self.refuses = refuses
        self.put: list[str] = []

    def query(self, promql: str, at: datetime, timeout: float | None = None) -> list[Series]:
        self.put.append(promql)
        matchers = dict(re.findall(r'(namespace|pod)=~"([^"]*)"', promql))
        rows = [
            Series({"namespace": namespace, "pod": f"{name}-0"}, float(len(name)))
            for namespace, name in WORKLOADS
            if re.fullmatch(matchers.get("namespace", ".*"), namespace)
            and re.fullmatch(matchers.get("pod", ".*"), f"{name}-0")
        ]
        if len(rows) > self.most:
            raise self.refuses(f"more than {self.most}")
        return rows

    def query_range(
        self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
    ) -> list[object]:
        self.put.append(promql)
        return []


def question(scope: Scope) -> str:
    return f"usage{{{scope.containers}}}"


def ask(prometheus: Limited, part: Part | None = None) -> tuple[list[Series], list[Asked]]:
    asking = Asking(prometheus, AT)  # type: ignore[arg-type]
    rows = asking.all({"usage": question}, part or Part(Scope(), frozenset(WORKLOADS)))["usage"]
    return sorted(rows, key=lambda row: (row.labels["namespace"], row.labels["pod"])), asking.asked


@pytest.mark.parametrize("most", [1, 2, 3, 6])
def test_what_is_refused_for_its_size_is_had_in_parts_that_make_the_whole(most: int) -> None:
    rows, asked = ask(Limited(most))
    assert rows == ask(Limited(len(WORKLOADS)))[0]
    assert sum(each.rows for each in asked) == len(WORKLOADS)
    assert all(0 < each.rows <= most for each in asked)


def test_namespaces_stay_whole_as_long_as_there_are_several() -> None:
    _, asked = ask(Limited(6))
    assert [re.findall(r'namespace=~"([^"]*)"', each.promql) for each in asked] == [["pay"], ["shop|stock"]]
    assert "pod=~" not in asked[0].promql + asked[1].promql


def test_names_that_narrow_a_part_stay_in_its_halves() -> None:
    some = frozenset(each for each in WORKLOADS if each != ("shop", "web0"))
    part = Part(Scope(names=tuple(name for _, name in some), labels='cluster="eu"'), some)
    rows, asked = ask(Limited(2), part)
    assert len(rows) == len(some)
    assert all("pod=~" in each.promql and 'cluster="eu"' in each.promql for each in asked)


def test_only_queries_that_were_answered_are_kept_and_the_same_ones_each_time() -> None:
    first, again = (ask(Limited(2)) for _ in range(2))
    assert first == again


def test_a_workload_that_is_too_large_alone_fails_the_reading() -> None:
    with pytest.raises(QueryTooLarge, match="more than 0"):
        ask(Limited(0))


def test_a_question_about_all_at_once_is_not_halved() -> None:
    prometheus = Limited(2)
    with pytest.raises(QueryTooLarge):
        Asking(prometheus, AT).all(  # type: ignore[arg-type]
            {"x": lambda scope: "usage{}"}, Part(Scope(), frozenset(WORKLOADS))
        )
    assert len(prometheus.put) == 1


def test_what_is_asked_before_workloads_are_known_is_had_metric_by_metric() -> None:
    pods = [deployment("shop", "web"), FakePod("stock", ("CronJob", "night"))]

    class AtMostTwoMetrics(FakePrometheus):
        def _rows(self, promql: str, at: datetime) -> list[Series]:
            names = set(re.findall(r"\bkube_\w+", promql.partition("label_replace(count(")[0]))
            if len(names) > 2:
                raise QueryTooLarge("the number of matching timeseries exceeds 300000")
            return [row for pod in self.pods for row in self._state(pod) if row.labels["__name__"] in names]

    limited = AtMostTwoMetrics(*pods)
    assert reading.discover(limited, "local", AT) == reading.discover(FakePrometheus(*pods), "local", AT)
    assert len(limited.asked) == 5


def test_what_takes_as_long_in_eighths_does_so_for_another_reason_than_its_size() -> None:
    prometheus = Limited(0, QueryTooSlow)
    many = frozenset(("shop", f"web{number}") for number in range(350))
    with pytest.raises(QueryTooSlow):
        ask(prometheus, Part(Scope(), many))
    assert len(prometheus.put) == 4


def test_time_is_given_three_halvings_also_to_what_was_halved_for_its_size_before() -> None:
    class SlowWhereNotTooLarge(Limited):
        def query(self, promql: str, at: datetime, timeout: float | None = None) -> list[Series]:
            self.refuses = QueryTooLarge if len(self.put) < 5 else QueryTooSlow
            return super().query(promql, at, timeout)

    prometheus = SlowWhereNotTooLarge(-1)
    many = frozenset(("shop", f"web{number:04}") for number in range(350))
    with pytest.raises(QueryTooSlow):
        ask(prometheus, Part(Scope(), many))
    assert len(prometheus.put) == 5 + 4


def test_a_large_cluster_is_asked_about_in_pieces_and_what_is_about_all_once() -> None:
    prometheus = Limited(10_000, QueryTooLarge)
    many = frozenset((f"team-{number % 7}", f"web{number}") for number in range(1000))
    asking = Asking(prometheus, AT)  # type: ignore[arg-type]
    asking.all({"usage": question, "all": lambda _: "up"}, Part(Scope(), many), {"usage"})
    cut = pieces(Part(Scope(), many), MOST_OVER_WINDOWS)
    assert max(len(piece.workloads) for piece in cut) <= MOST_OVER_WINDOWS
    assert frozenset[tuple[str, str]]().union(*(piece.workloads for piece in cut)) == many
    assert sorted(prometheus.put) == sorted([*(question(piece.scope) for piece in cut), "up"])


@given(st.frozensets(st.tuples(st.sampled_from("abcde"), st.integers(100, 140).map(str))), st.integers(1, 30))
def test_pieces_are_few_and_of_whole_namespaces_where_these_fit(
    workloads: frozenset[tuple[str, str]], most: int
) -> None:
    cut = pieces(Part(Scope(), workloads), most)
    assert sorted(each for piece in cut for each in piece.workloads) == sorted(workloads)
    assert all(len(piece.workloads) <= most for piece in cut)
    sizes = Counter(namespace for namespace, _ in workloads)
    for piece in cut:
        if piece.scope.names:  # a part of one that does not fit, as large as the others
            [namespace] = piece.scope.namespaces
            assert sizes[namespace] > most
            assert len(piece.workloads) >= sizes[namespace] // ceil(sizes[namespace] / most)
        else:
            namespaces = {namespace for namespace, _ in piece.workloads}
            assert len(piece.workloads) == sum(sizes[namespace] for namespace in namespaces)
    for one, other in pairwise(cut):
        if not one.scope.names and not other.scope.names:
            assert len(one.workloads) + sizes[min(other.scope.namespaces)] > most


def test_another_error_ends_the_reading_at_once() -> None:
    prometheus = Limited(2, Temporary)
    with pytest.raises(Temporary, match="more than 2"):
        ask(prometheus)
    assert len(prometheus.put) == 1


@given(
    workloads=st.frozensets(st.tuples(st.sampled_from("abc"), st.sampled_from("uvwxyz")), max_size=18),
    names=st.booleans(),
)
def test_halves_are_smaller_and_have_the_same_workloads(
    workloads: frozenset[tuple[str, str]], names: bool
) -> None:
    part = Part(Scope(names=tuple(name for _, name in workloads) if names else ()), workloads)
    halves = part.halves()
    if len(workloads) < 2:
        assert halves == []
        return
    first, second = halves
    assert first.workloads | second.workloads == workloads
    assert not first.workloads & second.workloads
    assert first.workloads
    assert second.workloads
    for half in halves:
        assert {namespace for namespace, _ in half.workloads} == set(half.scope.namespaces)
        assert not half.scope.names or {name for _, name in half.workloads} == set(half.scope.names)


def test_four_run_side_by_side_and_results_keep_their_order() -> None:
    running = most = 0
    lock = threading.Lock()

    def call(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        # The earlier, the longer.
        time.sleep(0.02 / (number + 1))
        with lock:
            running -= 1
        return number

    assert at_once([partial(call, number) for number in range(20)]) == list(range(20))
    assert 1 < most <= AT_ONCE
    assert at_once([]) == []


def test_after_an_error_no_more_are_begun_and_the_first_in_order_is_told() -> None:
    begun: list[int] = []
    both = threading.Barrier(2)

    def call(number: int) -> None:
        begun.append(number)
        if number < 2:
            both.wait(5)
            raise Temporary(f"number {number}")
        time.sleep(0.05)

    with pytest.raises(Temporary, match="number 0"):
        at_once([partial(call, number) for number in range(50)])
    assert len(begun) < 10


def test_a_cluster_that_is_read_in_halves_is_read_alike() -> None:
    pods = [
        *(deployment("shop", f"web{number}", cpu_p95=0.1 * number) for number in range(9)),
        FakePod("stock", ("CronJob", "night"), cpu_p95=0.7),
        FakePod("stock", ("StatefulSet", "db")),
    ]

    def read(prometheus: FakePrometheus) -> reading.Reading:
        return reading.read(prometheus, "local", AT, history=timedelta(days=14), oom_days=7)

    limited = FakePrometheus(*pods)

    def refuse(promql: str) -> None:
        matchers = dict(re.findall(r'(namespace|pod)=~"([^"]*)"', promql))
        here = [
            pod
            for pod in pods
            if re.fullmatch(matchers.get("namespace", ".*"), pod.namespace)
            and re.fullmatch(matchers.get("pod", ".*"), pod.name)
        ]
        if len(here) > 3 and "quantile_over_time(0.95" in promql:
            raise QueryTooLarge("query processing would load too many samples")

    limited.before = refuse
    whole, parts = read(FakePrometheus(*pods)), read(limited)
    assert parts.workloads == whole.workloads
    assert len(parts.workloads) == 11
    assert len(parts.asked) > len(whole.asked)
    assert [each.name for each in parts.asked] == sorted(
        (each.name for each in parts.asked), key=[each.name for each in whole.asked].index
    )


@pytest.mark.parametrize("forgets", [False, True])
def test_a_server_that_forgets_labels_of_one_namespace_is_trusted_about_none(forgets: bool) -> None:
    """Of a large cluster that is read in parts few pods are known to have been there: none of some parts."""

    class LooksBackForHours(FakePrometheus):
        def series(
            self, matchers: str, begin: datetime, end: datetime, timeout: float | None = None
        ) -> list[Mapping[str, str]]:
            namespaces = re.findall(r"[ab]", matchers.partition("namespace=~")[2])
            names = ("now",) if forgets else ("now", "gone")
            return [{"namespace": each, "pod": name} for each in namespaces for name in names]

        def query(self, promql: str, at: datetime, timeout: float | None = None) -> list[Series]:
            self.asked.append(promql)
            return []

    server = LooksBackForHours()
    workloads = frozenset((space, f"web{number}") for space in "ab" for number in range(MOST_WORKLOADS))
    asking = Asking(server, AT)
    asking.owners(Part(Scope(), workloads), timedelta(days=14), [("a", "gone"), ("deleted", "gone")])
    assert len(server.asked) == (2 if forgets else 0)
    assert len(asking.asked) == 2
