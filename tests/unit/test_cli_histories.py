"""Usage over the history, step by step, in the worst pod of each container."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from functions.recommender import reading
from functions.recommender.asking import MOST_OVER_WINDOWS, Part, pieces
from functions.recommender.queries import Scope
from functions.recommender.queries import window as window_of
from functions.recommender.reading import Reading
from infra.cli.histories import MOST_POINTS, cpu_query, histories, memory_query, step_of
from shared.contracts.prometheus import Curve, QueryTooLarge
from tests.fakes.prometheus import FakePrometheus, deployment

NOW = datetime(2026, 11, 23, tzinfo=UTC)
FORTNIGHT = window_of(timedelta(days=14), 60, 10)


def read(prometheus: FakePrometheus, days: int = 14) -> Reading:
    return reading.read(prometheus, "local", NOW, history=timedelta(days=days), oom_days=7)


class TwoPods(FakePrometheus):
    """Answers range queries with two pods of one workload, and one that nobody owns."""

    def query_range(
        self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
    ) -> list[Curve]:
        def curve(pod: str, figure: str, *points: tuple[int, float]) -> Curve:
            labels = {"namespace": "shop", "pod": pod, "container": "app", "figure": figure}
            # A third of a step off, as servers that round times may be.
            return Curve.of(
                labels, tuple(((begin + (n + 0.3) * step).timestamp(), value) for n, value in points)
            )

        return [
            curve(self.pods[0].name, "p95", (0, 0.1), (1, 0.4)),
            curve(self.pods[1].name, "p95", (1, 0.2), (23, 0.3)),
            curve(self.pods[1].name, "max", (23, 0.9), (24, 7.0)),
            curve("stranger", "p95", (0, 9.0)),
        ]


def test_each_step_tells_of_the_worst_pod_and_a_gap_of_none() -> None:
    first, second = deployment("shop", "web"), deployment("shop", "web")
    second.owner = ("ReplicaSet", "web-5d8e6")
    prometheus = TwoPods(first, second)
    seen = read(prometheus, days=1)
    (workload,) = seen.pods
    assert seen.pods[workload] == {("shop", first.name), ("shop", second.name)}
    found = histories(prometheus, seen, NOW)
    assert (found.begin, found.end, found.step) == (NOW - timedelta(days=1), NOW, timedelta(hours=1))
    cpu = found.cpu[workload, "app"]
    assert cpu.p95 == [100.0, 400.0, *[None] * 21, 300.0]
    assert cpu.peak == [*[None] * 23, 900.0]
    assert found.memory[workload, "app"].p95[0] == 0.1
    assert list(found.cpu) == [(workload, "app")]


@pytest.mark.parametrize(("days", "hours"), [(1, 1), (4, 1), (7, 2), (14, 4), (30, 8), (90, 24)])
def test_a_plot_has_an_hour_a_point_or_as_many_points_as_it_can_show(days: int, hours: int) -> None:
    window = window_of(timedelta(days=days), 60, 10)
    assert step_of(window) == hours * 3600
    assert window.history / step_of(window) <= MOST_POINTS


def test_rare_scrapes_have_longer_steps() -> None:
    window = window_of(timedelta(days=1), 2, 1)
    assert step_of(window) >= window.cpu


def test_one_query_asks_for_both_figures_of_a_resource() -> None:
    prometheus = FakePrometheus(deployment("shop", "web"))
    seen = read(prometheus)
    prometheus.asked.clear()
    histories(prometheus, seen, NOW, ["shop"])
    scope = Scope(("shop",))
    expected = {cpu_query(scope, FORTNIGHT, 14400), memory_query(scope, 14400)}
    assert set(prometheus.asked) == expected
    assert len(prometheus.asked) == 2
    assert all('namespace=~"shop"' in each and '"p95"' in each and '"max"' in each for each in expected)


def test_no_query_is_about_very_many_workloads() -> None:
    number = 2 * MOST_OVER_WINDOWS + 1
    prometheus = FakePrometheus(*(deployment(f"team-{each % 3}", f"web{each}") for each in range(number)))
    seen = read(prometheus)
    prometheus.asked.clear()
    found = histories(prometheus, seen, NOW)
    names = frozenset((each.workload.namespace, each.workload.name) for each in seen.workloads)
    cut = pieces(Part(Scope(), names), MOST_OVER_WINDOWS)
    assert len(cut) > 2
    assert sorted(prometheus.asked) == sorted(
        question
        for piece in cut
        for question in (cpu_query(piece.scope, FORTNIGHT, 14400), memory_query(piece.scope, 14400))
    )
    assert len(found.cpu) == len(found.memory) == number


def test_what_a_server_refuses_for_its_size_is_asked_for_in_halves() -> None:
    prometheus = FakePrometheus(*(deployment(space, "web") for space in ("a", "b", "c")))
    seen = read(prometheus)

    def small_server(promql: str) -> None:
        if 'namespace!=""' in promql or "|" in promql.partition("pod=")[0].partition("namespace=~")[2][:8]:
            raise QueryTooLarge("too many samples")

    prometheus.before = small_server
    found = histories(prometheus, seen, NOW)
    assert {workload.namespace for workload, _ in found.cpu} == {"a", "b", "c"}
    assert len(found.memory) == 3


def test_what_is_too_large_for_a_single_workload_is_not_drawn() -> None:
    prometheus = FakePrometheus(deployment("shop", "web"))
    seen = read(prometheus)

    def refuse(promql: str) -> None:
        raise QueryTooLarge("too many samples")

    prometheus.before = refuse
    with pytest.raises(QueryTooLarge):
        histories(prometheus, seen, NOW)
