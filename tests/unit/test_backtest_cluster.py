"""A Prometheus' last weeks as a fleet: the shape, what is joined, halved, chunked and left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from functions.recommender import asking, queries
from functions.recommender.cluster import Cluster, Controller, Pod
from infra.backtest import cluster
from infra.backtest.cluster import (
    Found,
    LeftOut,
    Measured,
    find,
    fleet,
    read,
    with_enough,
    with_some_to_size,
)
from infra.backtest.strategies import all_of
from infra.backtest.walking import Pace, walk
from infra.cli import tested
from shared.contracts.errors import Temporary
from shared.contracts.prometheus import AT_ONCE, Curve, QueryTooLarge, Series
from tests.fakes.prometheus import Busy, FakePod, FakePrometheus, deployment

# Two minutes after a window's end.
NOW = datetime(2026, 11, 23, 12, 2, tzinfo=UTC)
END = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
STEP = timedelta(minutes=5)
WEEK = timedelta(weeks=1)
WINDOWS = 7 * 288

Values = Callable[[str, int], float | None]
"""Of a pod in the window that ends so many windows before END."""


class Recorded(FakePrometheus):
    """Range queries are answered with `cpu` (`memory` is a thousand times that) of each pod that is known.

    `kills` tells of a pod's limit in a window in which it was killed.
    `ranges` are the windows that were asked for, as numbers before END.
    """

    address = "http://fake"

    def __init__(self, cpu: Values, *pods: FakePod, past: tuple[FakePod, ...] = ()) -> None:
        super().__init__(*pods)
        self._cpu, self._past = cpu, past
        self.kills: Values = lambda pod, ago: None
        self.ranges: list[tuple[int, int]] = []

    def series(
        self, matchers: str, begin: datetime, end: datetime, timeout: float | None = None
    ) -> list[Mapping[str, str]]:
        past = [row for pod in self._past for row in self._state(pod) if "owner_kind" in row.labels]
        return super().series(matchers, begin, end, timeout) + [row.labels for row in past]

    def query_range(
        self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
    ) -> list[Curve]:
        assert step == STEP
        assert (END - begin) % STEP == (END - end) % STEP == timedelta(0)
        self.ranges.append(((END - begin) // STEP, (END - end) // STEP))
        of_kills = "restarts" in promql
        rows = super().query(re.sub("restarts|last_terminated_reason", "", promql), end, timeout)
        known = {row.labels["pod"]: row.labels for row in rows}
        known |= {
            pod.name: {"namespace": pod.namespace, "pod": pod.name, "container": pod.container}
            for pod in self._past
        }
        value_of = self.kills if of_kills else self._cpu
        factor = 1.0 if of_kills or "cpu" in promql else 1000.0
        numbers = range((END - begin) // STEP, (END - end) // STEP - 1, -1)
        curves = [
            Curve.of(
                labels,
                tuple(
                    ((END - ago * STEP).timestamp(), value * factor)
                    for ago in numbers
                    if (value := value_of(pod, ago)) is not None
                ),
            )
            for pod, labels in known.items()
        ]
        return [curve for curve in curves if curve.points]


def of(pod: FakePod, owner: str) -> FakePod:
    pod.owner = ("ReplicaSet", owner)
    return pod


def seen(prometheus: FakePrometheus, span: timedelta = WEEK) -> tuple[Found, Measured]:
    found = find(prometheus, NOW, span)
    return found, read(prometheus, found)


def test_a_window_is_the_worst_pods_and_pods_of_the_past_count_as_well() -> None:
    now, also = deployment("shop", "web"), of(deployment("shop", "web"), "web-5d8e6")
    gone, stranger = of(deployment("shop", "web"), "web-11111"), deployment("shop", "other")
    stranger.owner = ("Node", "n1")
    uses = {
        now.name: (0, 9, 0.1),
        also.name: (8, 12, 0.3),
        gone.name: (12, 20, 0.2),
        stranger.name: (0, 9, 7),
    }

    def cpu(pod: str, ago: int) -> float | None:
        last, first, cores = uses[pod]
        return cores if last <= ago <= first else None

    found, measured = seen(Recorded(cpu, now, also, past=(gone, stranger)))
    assert measured.cpu.shape == (1, WINDOWS)
    whole = fleet("local", found, measured)
    assert whole.containers == (("shop/Deployment/web", "app"),)
    assert whole.window == 300
    assert whole.begin == (END - 21 * STEP).timestamp()
    np.testing.assert_array_equal(whole.cpu[0], [0.2] * 8 + [0.3] * 5 + [0.1] * 8)
    np.testing.assert_array_equal(whole.memory[0], [200.0] * 8 + [300.0] * 5 + [100.0] * 8)
    assert whole.pods[0].tolist() == [1] * 8 + [2] + [1] * 2 + [2] * 2 + [1] * 8


def test_what_was_not_measured_is_no_number() -> None:
    web = deployment("shop", "web")
    found, measured = seen(Recorded(lambda pod, ago: 0.1 if ago in (0, 3) else None, web))
    whole = fleet("local", found, measured)
    assert np.isfinite(whole.cpu).tolist() == [[True, False, False, True]]


def test_a_window_in_which_others_alone_were_measured_is_paid_for_by_no_pod_and_a_gap_of_all_by_one() -> None:
    now, later = deployment("shop", "web"), deployment("shop", "later")
    times = {now.name: (0, 1, 3), later.name: (0,)}
    found, measured = seen(Recorded(lambda pod, ago: 0.1 if ago in times[pod] else None, now, later))
    whole = fleet("local", found, measured)
    assert [name for name, _ in whole.containers] == ["shop/Deployment/later", "shop/Deployment/web"]
    assert whole.pods.tolist() == [[0, 1, 0, 1], [1, 1, 1, 1]]


def test_what_is_provisioned_is_that_of_the_pods_that_live_and_what_is_unset_is_0() -> None:
    evicted = [of(deployment("shop", "web", requests={"cpu": 4.0}), f"web-{n}") for n in range(2)]
    lives, bare = deployment("shop", "web"), deployment("shop", "bare", requests={}, limits={})
    dead = {pod.name for pod in evicted}
    prometheus = Recorded(lambda pod, ago: None if pod in dead and ago < 50 else 0.1, *evicted, lives, bare)
    whole = fleet("local", *seen(prometheus))
    assert [name for name, _ in whole.containers] == ["shop/Deployment/bare", "shop/Deployment/web"]
    assert whole.cpu_request.tolist() == [0.0, 1.0]
    assert whole.memory_request.tolist() == [0.0, 2**30]
    assert np.isnan(whole.memory_limit[0])
    assert whole.memory_limit[1] == 2**30


def test_a_kill_is_memory_just_above_the_limit_of_its_time() -> None:
    web = deployment("shop", "web")
    prometheus = Recorded(lambda pod, ago: 0.1, web)
    prometheus.kills = lambda pod, ago: 150.0 if ago == 1 else 50.0 if ago == 3 else None
    _, measured = seen(prometheus)
    assert measured.memory[0, -4:].tolist() == [100.0, 100.0, np.nextafter(150.0, 151.0), 100.0]


def test_no_answer_is_longer_than_a_server_gives_nor_larger_than_we_can_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    web = deployment("shop", "web")
    long = Recorded(lambda pod, ago: 0.1, web)
    found, measured = seen(long, timedelta(weeks=6))
    assert np.isfinite(measured.cpu).all()
    assert measured.cpu.shape[1] == 6 * WINDOWS
    assert sorted(first - last + 1 for first, last in long.ranges) == [1096] * 3 + [11_000] * 3
    assert found.queries == 6

    monkeypatch.setattr(cluster, "MOST_VALUES", 1000)
    many = Recorded(lambda pod, ago: ago / 1000, web, deployment("shop", "cart"))
    found, measured = seen(many)
    chunks = [(2015, 1516), (1515, 1016), (1015, 516), (515, 16), (15, 0)]
    assert sorted(many.ranges, reverse=True) == [chunk for chunk in chunks for _ in range(3)]
    np.testing.assert_array_equal(measured.cpu[0], np.arange(WINDOWS)[::-1] / 1000)
    assert (measured.pods == 1).all()


class BusyRecorded(Busy, Recorded):
    def __init__(self, *pods: FakePod) -> None:
        super().__init__(lambda pod, ago: 0.1 if ago < 9 else None, *pods)


def test_a_large_cluster_is_asked_as_often_as_is_told_before() -> None:
    number = asking.MOST_OVER_WINDOWS + 1
    prometheus = BusyRecorded(*(deployment("shop", f"web{each:03}") for each in range(number)))
    found, measured = seen(prometheus, timedelta(days=2))
    assert found.queries == len(prometheus.ranges) == 3
    assert measured.pods.sum() == 9 * number


def test_a_very_large_cluster_is_in_pieces_that_are_asked_about_four_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for most in ("MOST_WORKLOADS", "MOST_OVER_WINDOWS"):
        monkeypatch.setattr(asking, most, 2)
    monkeypatch.setattr(cluster, "MOST_WORKLOADS", 2, raising=False)
    monkeypatch.setattr(cluster, "MOST_VALUES", 576)
    # Pods whose names begin alike are in the answers about several pieces, and still are one pod each.
    prometheus = BusyRecorded(*(deployment("shop", "web" * number) for number in range(1, 9)))
    found, measured = seen(prometheus, timedelta(days=2))
    # Four pieces of two, each of which has 288 windows of its two pods in an answer.
    assert found.queries == len(prometheus.ranges) == 3 * 4 * 2
    assert prometheus.most <= AT_ONCE
    assert measured.pods.max() == 1
    assert measured.pods.sum() == 9 * 8


def test_who_owns_which_pods_is_made_out_once_for_all_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    prometheus = Recorded(
        lambda pod, ago: 0.1 if ago < 9 else None, *(deployment("shop", f"web{each}") for each in range(20))
    )
    found, measured = seen(prometheus)
    made: list[Cluster] = []
    controllers = Cluster.controllers

    def counted(now: Cluster) -> dict[Controller, list[Pod]]:
        made.append(now)
        return controllers(now)

    monkeypatch.setattr(Cluster, "controllers", counted)
    assert fleet("local", found, measured).cpu_request.tolist() == [1.0] * 20
    assert len(made) == 1


def test_what_a_server_refuses_for_its_size_is_read_in_halves() -> None:
    prometheus = Recorded(lambda pod, ago: 0.1, *(deployment(space, f"{space}-web") for space in "abc"))
    found = find(prometheus, NOW, WEEK)

    def small_server(promql: str) -> None:
        if not re.search(r'namespace=~"\w"', promql):
            raise QueryTooLarge("too many samples")

    prometheus.before = small_server
    measured = read(prometheus, found)
    # The whole, a and the others, b and c: of CPU, memory, kills.
    assert len(prometheus.ranges) == 3 * 5
    assert np.isfinite(measured.cpu).all()
    assert np.isfinite(measured.memory).all()


def test_what_cannot_be_read_whole_is_not_read() -> None:
    prometheus = Recorded(lambda pod, ago: 0.1, deployment("shop", "web"))
    found = find(prometheus, NOW, WEEK)
    prometheus.down = True
    with pytest.raises(Temporary):
        read(prometheus, found)


def test_runs_and_what_has_no_pods_are_left_out_and_told() -> None:
    run = FakePod("shop", ("Job", "backup-1"))
    found = find(Recorded(lambda pod, ago: 0.1, run, deployment("shop", "web")), NOW, WEEK)
    assert found.left_out == (LeftOut(1, "workload", "run to completion: sized by run, not by week"),)
    assert found.namespaces == {"shop"}
    assert len(found.rows) == 1


def test_containers_with_too_little_data_are_left_out_by_number_and_reason() -> None:
    begins = {"whole": WINDOWS, "young": 400, "new": 50, "gone": WINDOWS, "never": -1}
    ends = {"gone": 2 * 288 + 200}

    def cpu(pod: str, ago: int) -> float | None:
        name = pod.partition("-")[0]
        return 0.1 if ends.get(name, 0) <= ago < begins[name] else None

    whole = fleet("local", *seen(Recorded(cpu, *(deployment("shop", name) for name in begins))))
    # Refits after 2 and 4 days, judged until 4 and 6: what begins later has no week, what ends earlier one.
    kept, left_out = with_enough(whole, Pace(2, 2), 288)
    assert [name for name, _ in kept.containers] == ["shop/Deployment/gone", "shop/Deployment/whole"]
    assert left_out == (
        LeftOut(1, "container", "CPU or memory was never measured"),
        LeftOut(1, "container", "less than 288 windows of 5 minutes"),
        LeftOut(1, "container", "too young to be judged, or gone too early"),
    )
    assert kept.cpu.shape == kept.memory.shape == kept.pods.shape == (2, WINDOWS)
    assert len(kept.cpu_request) == len(kept.memory_request) == len(kept.memory_limit) == 2


BEST_EFFORT = "BestEffort: it sets no requests, and setting some would change its QoS class"
JVM = "it is a JVM, whose heap flags decide what it uses"
ON_CPU = "a HorizontalPodAutoscaler scales on its CPU"
TIED = {"cpu": 1.0, "memory": float(2**30)}


def treated_apart() -> Recorded:
    """A workload for each way in which the engine treats what it was not asked to size by usage alone."""
    prometheus = Recorded(
        lambda pod, ago: 0.1,
        deployment("shop", "bare", requests={}, limits={}),
        deployment("shop", "java", image="registry/openjdk:21"),
        deployment("shop", "scaled"),
        deployment("shop", "scaled-java", image="registry/openjdk:21"),
        deployment("shop", "tied", requests=TIED, limits=TIED),
        deployment("shop", "tied-java", image="registry/openjdk:21", requests=TIED, limits=TIED),
        deployment("shop", "usual"),
        FakePod("shop", ("StrimziPodSet", "kafka")),
        deployment("shop", "on-memory"),
    )
    prometheus.scaled = {("shop", name): "cpu" for name in ("scaled", "scaled-java")}
    prometheus.scaled["shop", "on-memory"] = "memory"
    return prometheus


def test_what_the_engine_leaves_alone_stays_and_is_left_out_where_nothing_of_it_is_sized() -> None:
    whole, left_out = with_some_to_size(fleet("local", *seen(treated_apart())))
    assert left_out == (
        LeftOut(1, "container", BEST_EFFORT),
        LeftOut(1, "container", f"{ON_CPU}; {JVM}"),
        LeftOut(1, "container", f"it is a JVM, which chooses its collector by the limit; {JVM}"),
        LeftOut(1, "container", "kind StrimziPodSet is not sized"),
    )
    assert {
        workload.rpartition("/")[2]: (each.cpu_stays, each.memory_stays, each.is_guaranteed)
        for (workload, _), each in zip(whole.containers, whole.treatments, strict=True)
    } == {
        "java": ("", JVM, False),
        "on-memory": ("", "a HorizontalPodAutoscaler scales on its memory", False),
        "scaled": (ON_CPU, "", False),
        "tied": ("", "", True),
        "usual": ("", "", False),
    }
    at = {workload.rpartition("/")[2]: row for row, (workload, _) in enumerate(whole.containers)}
    for name in ("balanced", "krr", "oracle"):
        sizes = next(walk(whole, all_of(whole)[name], Pace(2, 2))).sizes
        assert sizes.cpu_request[at["scaled"]] == 1.0 > sizes.cpu_request[at["java"]]
        assert sizes.memory_request[at["java"]] == 2**30 > sizes.memory_request[at["scaled"]]


def test_what_scales_on_nobody_knows_what_is_left_out() -> None:
    class WithoutTargets(Recorded):
        def _rows(self, promql: str, at: datetime) -> list[Series]:
            target = "kube_horizontalpodautoscaler_spec_target_metric"
            return [row for row in super()._rows(promql, at) if row.labels.get("__name__") != target]

    prometheus = WithoutTargets(lambda pod, ago: 0.1, deployment("shop", "web"))
    prometheus.scaled = {("shop", "web"): "cpu"}
    whole, (left_out,) = with_some_to_size(fleet("local", *seen(prometheus)))
    assert not whole.containers
    assert left_out.why.startswith("a HorizontalPodAutoscaler scales it, or may, and nothing tells on what")


def test_what_a_vertical_autoscaler_sizes_and_what_tells_no_requests_is_left_out() -> None:
    class Resized(Recorded):
        def _rows(self, promql: str, at: datetime) -> list[Series]:
            mode = {"namespace": "shop", "target_kind": "Deployment", "target_name": "resized"}
            mode |= {"__name__": queries.VPA_MODES[0], "update_mode": "Initial"}
            is_asked = queries.VPA_MODES[0] in promql
            return super()._rows(promql, at) + ([Series(mode, 1.0)] if is_asked else [])

    untold = deployment("shop", "untold", requests={"cpu": 1.0})
    pods = (deployment("shop", "resized"), deployment("shop", "usual"), untold)
    whole, left_out = with_some_to_size(fleet("local", *seen(Resized(lambda pod, ago: 0.1, *pods))))
    assert whole.containers == (("shop/Deployment/usual", "app"),)
    assert {each.why for each in left_out} == {
        "a VerticalPodAutoscaler sets its requests and limits (mode Initial), whatever they are in Git",
        "its limits are told, and not its requests (kubefinops doctor)",
    }


def test_memory_stays_where_the_engine_would_see_no_kill() -> None:
    prometheus = Recorded(lambda pod, ago: 0.1, deployment("shop", "web"))
    (sized,) = fleet("local", *seen(prometheus)).treatments
    prometheus.tells_kills = False
    (blind,) = fleet("local", *seen(prometheus)).treatments
    assert (sized.cpu_stays, sized.memory_stays) == ("", "")
    assert (blind.cpu_stays, blind.memory_stays) == (
        "",
        "OOM kills would not be seen, so the engine lowers none",
    )


def test_what_is_best_effort_is_sized_where_the_engine_may_change_it() -> None:
    found, measured = seen(Recorded(lambda pod, ago: 0.1, deployment("shop", "web", requests={}, limits={})))
    (kept,) = fleet("local", found, measured).treatments
    assert kept.cpu_stays == kept.memory_stays == BEST_EFFORT
    (sized,) = fleet("local", found, measured, keep_qos=False).treatments
    assert sized.cpu_stays == sized.memory_stays == ""


def test_what_stays_and_what_is_left_out_is_told_and_at_which_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    prometheus = treated_apart()
    killed = ("bare-", "usual-")
    prometheus.kills = lambda pod, ago: 2.0**30 if pod.startswith(killed) and ago % 99 == 0 else None
    monkeypatch.setattr("infra.cli.tested.prometheus_of", lambda *_: prometheus)
    monkeypatch.setenv("KUBEFINOPS_PRICE_PROVIDER", "azure")
    given = tested.tested(tested.Live("http://fake", [], [], 1), Pace(3, 2))
    notes = "\n".join(given.notes)
    assert f"1 container: CPU stays as provisioned, whoever sizes, because {ON_CPU}" in notes
    assert f"1 container: memory stays as provisioned, whoever sizes, because {JVM}" in notes
    assert "1 container of Guaranteed pods: ours set request and limit alike" in notes
    assert "priced at 0.039 USD a core-hour and 0.001917 a GiB-hour (OpenCost's default for azure)" in notes
    # Of the two that were killed, the one that is walked through.
    assert "1 container with OOM kills" in notes
    assert sum(each.number for each in given.left_out) == 4
    assert given.rates.core_hour == 0.039


def test_what_is_in_a_namespace_that_hides_others_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    pods = (deployment("shop", "web"), deployment("monitoring", "other"))
    prometheus = Recorded(lambda pod, ago: 0.1, *pods)
    prometheus.hidden = ["monitoring"]
    monkeypatch.setattr("infra.cli.tested.prometheus_of", lambda *_: prometheus)
    given = tested.tested(tested.Live("http://fake", [], [], 1), Pace(3, 2))
    assert [each.containers for each in given.fleets] == [(("shop/Deployment/web", "app"),)]
    (left_out,) = given.left_out
    assert left_out.number == 1
    assert "without honor_labels (job ksm)" in left_out.why
