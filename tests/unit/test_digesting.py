"""Days of usage: what is stored is not read again, and figures come out of digests as out of windows."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.recommender import digesting, queries, remembering
from functions.recommender.asking import Asking
from functions.recommender.cluster import Cluster, Owners
from functions.recommender.container import Remembered
from functions.recommender.digesting import LATE, Plan, Span, _Facts, _Usage, quantile
from functions.recommender.reading import Reading, _running, read
from functions.recommender.sizing import Observed
from shared.contracts.digests import POINTS, Digest, midnight
from shared.contracts.errors import Temporary
from shared.contracts.prometheus import Curve, Series
from tests.fakes.mongo import FakeDigests
from tests.fakes.prometheus import FakePod, FakePrometheus, deployment

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TODAY = NOON.date()
DAY = timedelta(days=1)
FORTNIGHT = timedelta(days=14)
STEP = timedelta(seconds=870)


def opening(day: date) -> datetime:
    """The end of the first window of CPU that is looked at on that day."""
    return datetime.fromtimestamp((midnight(day).timestamp() // 870 + 1) * 870, UTC)


def closing(at: datetime) -> datetime:
    """The end of the last one until then."""
    return datetime.fromtimestamp(at.timestamp() // 870 * 870, UTC)


class Server(FakePrometheus):
    """Keeps the range of each question about windows, and since or until when series were told of."""

    def __init__(self, *pods: FakePod) -> None:
        super().__init__(*pods)
        self.ranges: list[tuple[datetime, datetime]] = []
        self.told_until: list[datetime] = []
        self.limits_told_until: list[datetime] = []
        self.owned_since: list[datetime] = []

    def series(
        self, matchers: str, begin: datetime, end: datetime, timeout: float | None = None
    ) -> list[Mapping[str, str]]:
        if "memory" in matchers:
            self.told_until.append(end)
        if "cfs_periods" in matchers:
            self.limits_told_until.append(end)
        if "kube_pod_owner" in matchers:
            self.owned_since.append(begin)
        return super().series(matchers, begin, end, timeout)

    def query_range(
        self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
    ) -> list[Curve]:
        if "rate(" in promql:
            self.ranges.append((begin, end))
        return super().query_range(promql, begin, end, step, timeout)


class Young(Server):
    """Of the hours that are asked about it tells of none more than so many days ago."""

    def __init__(self, pod: FakePod, days: int) -> None:
        super().__init__(pod)
        self.days = days

    def _rows(self, promql: str, at: datetime) -> list[Series]:
        if "[1h]" not in promql:
            return super()._rows(promql, at)
        hours = [int(ago) for ago in re.findall(r"1h, (\d+)h ago", promql)]
        told = [Series({"in": f"1h, {ago}h ago"}, 60.0) for ago in hours if ago <= self.days * 24]
        return [*told, *([Series({"in": "10m"}, 10.0)] if "[10m]" in promql else [])]


def scan(
    server: Server,
    at: datetime,
    stored: FakeDigests | None,
    history: timedelta = FORTNIGHT,
    oom_days: int = 7,
) -> Reading:
    server.ranges.clear()
    return read(server, "local", at, history=history, oom_days=oom_days, stored=stored)


def test_a_first_scan_reads_the_history_and_the_next_one_what_is_new() -> None:
    server, stored = Server(deployment("shop", "web")), FakeDigests()
    first = scan(server, NOON, stored)
    begins = [begin for begin, _ in server.ranges]
    assert begins == [opening(TODAY - DAY * ago) for ago in (14, 11, 8, 5, 2)]
    assert server.ranges[-1][1] == closing(NOON)
    assert {day for _, _, day in stored.kept} == {TODAY - DAY * ago for ago in range(1, 15)}
    again = scan(server, NOON, stored)
    assert server.ranges == [(opening(TODAY), closing(NOON))]
    assert again.workloads == first.workloads
    scan(server, NOON + DAY, stored)
    assert server.ranges == [(opening(TODAY), closing(NOON + DAY))]
    assert len(stored.kept) == 15


def test_a_scan_that_comes_days_late_reads_those_days() -> None:
    server, stored = Server(deployment("shop", "web", history_days=99, samples=99999)), FakeDigests()
    scan(server, NOON - 4 * DAY, stored)
    late = scan(server, NOON, stored)
    assert server.ranges[0][0] == opening(TODAY - 4 * DAY)
    assert forgetful(late) == forgetful(scan(server, NOON, None))


def forgetful(reading: Reading) -> list[Observed]:
    """Without what only days that are older than the history tell."""
    return [
        replace(each, containers=tuple(replace(one, remembered=Remembered()) for one in each.containers))
        for each in reading.workloads
    ]


def test_what_a_month_ago_was_killed_or_a_peak_is_remembered_without_a_question() -> None:
    server, stored = Server(deployment("shop", "web", history_days=99, samples=99999)), FakeDigests()
    scan(server, NOON, stored)
    asked = len(server.asked)
    (before,) = scan(server, NOON, stored).workloads
    asked = len(server.asked) - asked
    for ago, peak in ((35, 900), (36, 999)):
        name, day = "shop/Deployment/web/app", TODAY - DAY * ago
        sizes = (peak * 2**20,) * 16
        stored.kept["local", name, day] = Digest(
            name, day, 1, 99, 99, 0, (100.0,) * 16, sizes, oom_kills=1, killed_limit_bytes=peak * 2**20
        )
    count = len(server.asked)
    (web,) = scan(server, NOON, stored).workloads
    assert len(server.asked) - count == asked
    (container,), (other,) = web.containers, before.containers
    assert container.remembered == replace(
        other.remembered, former_memory_bytes=900 * 2**20, former_killed_limit_bytes=900 * 2**20
    )
    assert container == replace(other, remembered=container.remembered)


def test_what_a_start_took_is_remembered_until_the_next() -> None:
    pod = deployment(
        "shop", "web", history_days=1, samples=99999, cpu_max=2.0, memory_max=900 * 2.0**20,
        limits={"cpu": 3.0, "memory": 2.0**30},
    )  # fmt: skip
    # Of before the server tells of others.
    server, stored = Server(pod, deployment("shop", "api", history_days=99, samples=99999)), FakeDigests()

    def started(at: datetime) -> tuple[float, int]:
        observed = {each.workload.name: each.containers[0] for each in scan(server, at, stored).workloads}
        assert not observed["api"].remembered.started_memory_bytes
        its = observed["web"].remembered
        return its.started_cpu_m, its.started_memory_bytes

    assert started(NOON) == (2000.0, 900 * 2**20)
    pod.cpu_max, pod.memory_max = 0.3, 300 * 2.0**20
    for days in range(1, 41):
        pod.history_days = days + 1
        assert started(NOON + DAY * days) == (2000.0, 900 * 2**20)
    pod.history_days, pod.suffix, pod.cpu_max = 0.2, "later", 0.5
    assert started(NOON + DAY * 41) == (500.0, 300 * 2**20)


def test_what_a_start_took_is_remembered_across_days_that_nothing_tells_of_any_more() -> None:
    server, stored = Server(deployment("shop", "web", history_days=99, samples=99999)), FakeDigests()
    scan(server, NOON - 20 * DAY, stored)
    name, last = "shop/Deployment/web/app", TODAY - DAY * 21
    day = stored.kept["local", name, last]
    stored.kept["local", name, last] = replace(day, started_cpu_m=9.0, started_memory_bytes=2**30)
    (web,) = scan(server, NOON, stored, DAY * 3, 3).workloads
    assert web.containers[0].remembered.started_memory_bytes == 2**30
    assert stored.kept["local", name, TODAY - DAY].started_cpu_m == 9.0


def test_a_day_that_is_read_late_knows_nothing_of_later_ones() -> None:
    pod = deployment(
        "shop", "web", history_days=99, samples=99999, throttled=0.9, cpu_max=2.9, limits={"cpu": 3.0}
    )
    server, stored = Server(pod), FakeDigests()
    scan(server, NOON, stored)
    name = "shop/Deployment/web/app"
    for ago in (1, 2, 3):
        key = "local", name, TODAY - DAY * ago
        stored.kept[key] = replace(stored.kept[key], at_limit_cpu_m=1.0)
    assert stored.kept.pop(("local", name, TODAY - DAY * 4)).followed_cpu_m == 0
    scan(server, NOON, stored)
    assert stored.kept["local", name, TODAY - DAY * 4].followed_cpu_m == 0


@pytest.mark.parametrize(("cpu_max", "kept_m"), [(2.75, 2750), (2.65, 0), (0.05, 0)])
def test_use_is_kept_by_a_limit_that_it_comes_up_to_alone(cpu_max: float, kept_m: float) -> None:
    """Periods count in which something runs: short bursts are throttled in all of theirs, far below it."""
    pod = deployment(
        "shop", "web", history_days=99, samples=99999, throttled=1.0, cpu_max=cpu_max, limits={"cpu": 3.0}
    )
    stored = FakeDigests()
    (web,) = scan(Server(pod), NOON, stored).workloads
    assert {each.at_limit_cpu_m for each in stored.kept.values()} == {kept_m}
    assert web.containers[0].remembered.cpu_held_m == kept_m


def held(day: int, cpu: float, share: float = 1.0) -> Digest:
    cpus = (cpu,) * 16
    return Digest("web", TODAY + DAY * day, 1, 99, 99, 0, cpus, throttled_share=share, at_limit_cpu_m=cpu)


def lived(digests: Collection[Digest]) -> list[Digest]:
    days: list[Digest] = []
    for digest in digests:
        before = days[-1] if days else Digest("", date.min)
        days.append(remembering.inherited(digest, before, days[-35:]))
    return days


def test_use_that_rose_with_a_limit_to_four_times_as_much_follows_it_for_as_long_as_it_is_held() -> None:
    raised = [held(day, cpu) for day, cpu in enumerate((1000, 2000, 3999))]
    assert not any(day.followed_cpu_m for day in lived(raised))
    followed = lived([*raised, *(held(day, 4000) for day in range(3, 99))])
    assert {day.followed_cpu_m for day in followed[3:]} == {1000}
    its = remembering.remembered(followed[-36:], TODAY)
    assert (its.cpu_held_m, its.cpu_least_held_m, its.cpu_follows) == (4000, 1000, True)
    free = lived([*followed, *(held(day, 3000, 0.4) for day in range(99, 136))])
    assert [day.followed_cpu_m for day in free[99:]] == [1000] * 35 + [0.0] * 2
    assert not remembering.remembered(free[-36:], TODAY).cpu_held_m


def test_a_day_of_a_start_proves_that_a_limit_keeps_use_if_nearly_all_of_it_was_throttled() -> None:
    for share, held_m in ((0.9, 0), (0.96, 5000)):
        started = replace(held(1, 5000, share), started_memory_bytes=1)
        days = lived([held(0, 1000), started])
        assert days[-1].followed_cpu_m == (1000 if held_m else 0)
        for known in (days, [*days, Digest("web", TODAY + DAY * 2, started_memory_bytes=1)]):
            its = remembering.remembered(known, TODAY)
            # At four times as much a day is waited for that proves it.
            assert (its.cpu_held_m, its.cpu_least_held_m, its.cpu_follows) == (5000, 1000, True)
    less = lived([held(0, 2000), replace(started, throttled_share=0.9)])
    assert remembering.remembered(less, TODAY) == Remembered(started_memory_bytes=1)
    # Hours of today in which it idles say nothing.
    idle = [*days, replace(held(2, 10, 0.0), windows=4)]
    assert remembering.remembered(lived(idle), TODAY) == remembering.remembered(days, TODAY)
    after = remembering.remembered(lived([*days, held(2, 5000, 0.6)]), TODAY)
    assert (after.cpu_held_m, after.started_memory_bytes) == (5000, 1)
    assert remembering.remembered([Digest("web", TODAY)], TODAY) == Remembered()


def test_use_that_grows_slowly_beyond_one_limit_after_the_other_follows_none() -> None:
    growing = lived([held(day, 1000 * 1.15 ** (day / 7)) for day in range(200)])
    assert not any(day.followed_cpu_m for day in growing)


def test_a_day_that_was_only_just_over_is_read_again() -> None:
    server, stored = Server(deployment("shop", "web")), FakeDigests()
    early = midnight(TODAY) + LATE - timedelta(minutes=1)
    scan(server, early, stored)
    assert max(day for _, _, day in stored.kept) == TODAY - 2 * DAY
    scan(server, early + timedelta(minutes=1), stored)
    assert max(day for _, _, day in stored.kept) == TODAY - DAY


def test_a_scan_of_an_earlier_time_takes_nothing_from_what_came_later() -> None:
    server, stored = Server(deployment("shop", "web", history_days=99, samples=99999)), FakeDigests()
    scan(server, NOON, stored)
    before = scan(server, NOON - 3 * DAY, stored)
    assert before.workloads == scan(server, NOON - 3 * DAY, None).workloads


def test_what_is_new_in_the_cluster_is_read_alone() -> None:
    server, stored = Server(deployment("shop", "web")), FakeDigests()
    scan(server, NOON, stored)
    server.pods.append(deployment("shop", "young", history_days=0.25))
    server.asked.clear()
    scan(server, NOON, stored)
    assert len(server.ranges) == 5 + 1
    # That it was not there before is known from now on.
    scan(server, NOON, stored)
    assert len(server.ranges) == 1


def test_a_longer_history_is_read_from_its_first_day_on() -> None:
    server, stored = Server(deployment("shop", "web", history_days=40, samples=99999)), FakeDigests()
    scan(server, NOON, stored)
    scan(server, NOON, stored, 30 * DAY)
    assert server.ranges[0][0] == opening(TODAY - 30 * DAY)
    assert len(stored.kept) == 30


def test_digests_that_were_lost_are_made_again() -> None:
    server, stored = Server(deployment("shop", "web")), FakeDigests()
    first = scan(server, NOON, stored)
    kept = dict(stored.kept)
    for key in list(stored.kept):
        if key[2] < TODAY - 5 * DAY:
            del stored.kept[key]
    assert scan(server, NOON, stored).workloads == first.workloads
    assert stored.kept == kept


def test_oom_kills_count_within_their_days_alone() -> None:
    server, stored = Server(deployment("shop", "web", oom_kills=2.0)), FakeDigests()

    def kills(at: datetime) -> int:
        (web,) = scan(server, at, stored).workloads
        assert web.containers[0].usage is not None
        return web.containers[0].usage.oom_kills

    assert kills(NOON) == 2
    server.pods[0].oom_kills = 0.0
    assert kills(NOON + 5 * DAY) == 2
    assert kills(NOON + 8 * DAY) == 0


def test_runs_are_not_digested() -> None:
    server, stored = Server(FakePod("shop", ("CronJob", "night"))), FakeDigests()
    scan(server, NOON, stored)
    assert not server.ranges
    assert not stored.kept


def points(values: list[float]) -> tuple[float, ...]:
    return tuple(float(each) for each in np.quantile(values, POINTS, method="inverted_cdf"))


def exact(days: list[list[float]], share: float) -> float:
    return float(np.quantile([each for day in days for each in day], share, method="inverted_cdf"))


def test_a_quantile_over_days_that_are_alike_is_that_of_each() -> None:
    day = points([random.Random(1).random() for _ in range(288)])
    for share, point in zip(POINTS, day, strict=True):
        assert quantile([(288, day)] * 14, share) == point


def test_a_quantile_over_days_is_little_more_than_that_of_all_their_windows() -> None:
    random_ = random.Random(2)
    for _ in range(50):
        days = [
            [random_.gammavariate(4, size) for _ in range(288)]
            for size in (random_.uniform(0.8, 1.2) for _ in range(14))
        ]
        found = quantile([(288, points(day)) for day in days], 0.95)
        assert found is not None
        assert 1 <= found / exact(days, 0.95) <= 1.06


@pytest.mark.parametrize(("busy_days", "busy_windows"), [(2, 110), (10, 21), (14, 15), (14, 16), (1, 288)])
def test_of_two_levels_the_quantile_is_the_one_that_it_is(busy_days: int, busy_windows: int) -> None:
    days = [
        [1000.0] * busy_windows + [100.0] * (288 - busy_windows) if number < busy_days else [100.0] * 288
        for number in range(14)
    ]
    assert quantile([(288, points(day)) for day in days], 0.95) == exact(days, 0.95) == 1000.0


@given(
    st.lists(
        st.tuples(
            st.integers(1, 288),
            st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=16, max_size=16)
            .map(sorted)
            .map(tuple),
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([0.5, 0.9, 0.95, 1.0]),
)
def test_a_quantile_lies_among_the_days_own(days: list[tuple[int, tuple[float, ...]]], share: float) -> None:
    found = quantile(days, share)
    assert found is not None
    place = POINTS.index(share)
    own = [each[place] for _, each in days]
    assert min(own) * (1 - 1e-9) <= found <= max(own) * (1 + 1e-9)


def test_a_day_counts_as_much_as_it_has_windows() -> None:
    low, high = (1.0,) * 16, (2.0,) * 16
    assert quantile([(97, low), (3, high)], 0.95) == 1.0
    assert quantile([(90, low), (10, high)], 0.95) == 2.0
    assert quantile([(0, high), (1, low), (5, ())], 0.95) == 1.0
    assert quantile([], 0.95) is None


def test_what_is_stored_stays_though_the_server_has_lost_its_past() -> None:
    server, stored = Server(deployment("shop", "web", memory_max=900.0 * 2**20)), FakeDigests()
    scan(server, NOON, stored)
    server.pods[0].history_days, server.pods[0].memory_max = 3, 210.0 * 2**20
    del stored.kept["local", "shop/Deployment/web/app", TODAY - 10 * DAY]
    server.pods.append(deployment("shop", "web", container="sidecar", history_days=0.2))
    (web,) = scan(server, NOON, stored).workloads
    usage = web.containers[0].usage
    assert usage is not None
    assert usage.memory_max_bytes == 900 * 2**20


def test_what_was_read_before_the_time_was_up_is_kept() -> None:
    class Slow(Server):
        def query_range(
            self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
        ) -> list[Curve]:
            if len(self.ranges) == 2:
                raise Temporary("too late")
            return super().query_range(promql, begin, end, step, timeout)

    server, stored = Slow(deployment("shop", "web", history_days=99, samples=99999)), FakeDigests()
    for tries in (1, 2):
        with pytest.raises(Temporary):
            scan(server, NOON, stored, 59 * DAY)
        assert len(stored.kept) == 3 * tries


def test_no_answer_has_more_points_than_a_server_gives() -> None:
    server = Server(deployment("shop", "web"))
    scan(server, NOON, None, 90 * DAY)
    assert all((end - begin) / STEP < 11_000 for begin, end in server.ranges)
    lengths = [end - begin + STEP for begin, end in server.ranges]
    assert sum(lengths, STEP) == closing(NOON) - opening(TODAY - 90 * DAY) + 2 * STEP


def test_a_workload_with_very_many_pods_is_read_some_days_at_a_time() -> None:
    pods = [FakePod("shop", ("DaemonSet", "agent"), suffix=f"{number:04d}") for number in range(400)]
    server = Server(*pods)
    (agent,) = scan(server, NOON, None).workloads
    assert len(server.ranges) > 2
    assert agent.containers[0].usage is not None
    assert (agent.containers[0].usage.pods, agent.containers[0].usage.cpu_max_m) == (400, 400.0)
    assert [day.ago for day in agent.containers[0].days] == list(range(14, -1, -1))


def test_while_nothing_comes_in_no_day_is_kept() -> None:
    class Behind(Server):
        def query(self, promql: str, at: datetime, timeout: float | None = None) -> list[Series]:
            return [row for row in super().query(promql, at, timeout) if row.labels.get("in") != "10m"]

    server, stored = Behind(deployment("shop", "web")), FakeDigests()
    assert scan(server, NOON, stored).workloads[0].containers[0].usage is not None
    assert not stored.kept


def test_days_that_many_workloads_lack_in_different_ways_are_read_together() -> None:
    server, stored = Server(*(deployment("shop", f"web{number}") for number in range(8))), FakeDigests()
    scan(server, NOON, stored)
    for number in range(8):
        for ago in range(1, number + 1):
            del stored.kept["local", f"shop/Deployment/web{number}/app", TODAY - DAY * ago]
    scan(server, NOON, stored)
    assert len(server.ranges) == 3 + 1
    assert len(stored.kept) == 8 * 14


def test_just_after_midnight_the_last_peak_counts() -> None:
    server = Server(deployment("shop", "web", memory_max=900.0 * 2**20))
    (web,) = scan(server, midnight(TODAY) + timedelta(minutes=3), None).workloads
    usage = web.containers[0].usage
    assert usage is not None
    assert usage.memory_p95_recent_bytes == 200 * 2**20
    assert usage.memory_max_bytes == 900 * 2**20


def test_a_digest_with_other_points_than_ours_tells_no_quantile() -> None:
    assert quantile([(288, (1.0,) * 5)], 0.95) is None
    assert quantile([(288, (1.0,) * 5), (1, (2.0,) * 16)], 0.95) == 2.0


def test_an_empty_digest_says_that_nothing_was_there() -> None:
    server, stored = Server(deployment("shop", "quiet", measured=False)), FakeDigests()
    (quiet,) = scan(server, NOON, stored).workloads
    assert quiet.containers[0].usage is None
    assert not stored.kept, "a server without any usage may have lost it"
    server.pods.append(deployment("shop", "web"))
    scan(server, NOON, stored)
    kept = [each for each in stored.kept.values() if "quiet" in each.container]
    assert sorted(kept, key=attrgetter("day")) == [
        Digest("shop/Deployment/quiet/app", TODAY - DAY * ago) for ago in range(14, 0, -1)
    ]


def test_a_day_with_a_pod_of_which_nobody_tells_whose_it_is_is_not_kept() -> None:
    class Forgetful(Server):
        """kube-state-metrics was away while one pod lived."""

        def _told(self, promql: str, at: datetime, timeout: float | None) -> list[Series]:
            rows = super()._told(promql, at, timeout)
            names = {"owner_name": "web-5d8e6"}
            return [row for row in rows if not names.items() <= row.labels.items() or "rate(" in promql]

    lost = FakePod("shop", ("ReplicaSet", "web-5d8e6"), history_days=2.5)
    others = deployment("shop", "api"), deployment("mail", "smtp")
    server, stored = Forgetful(deployment("shop", "web"), *others, lost), FakeDigests()
    scan(server, NOON, stored)
    kept = {
        name: {TODAY - day for _, of, day in stored.kept if name in of} for name in ("web", "api", "smtp")
    }
    assert kept["api"] == kept["smtp"] == {DAY * ago for ago in range(1, 15)}
    assert kept["web"] == {DAY * ago for ago in range(3, 15)}
    server.pods.remove(lost)
    scan(server, NOON, stored)
    assert len(stored.kept) == 3 * 14


def test_a_peak_counts_though_no_window_that_is_looked_at_has_seen_it() -> None:
    class Short(Server):
        """Lives for ten minutes, between two of the windows that are looked at: every 58 minutes."""

        def query_range(
            self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
        ) -> list[Curve]:
            curves = super().query_range(promql, begin, end, step, timeout)
            if step == DAY:
                return [Curve.of(curve.labels, curve.points[-1:]) for curve in curves]
            born = opening(TODAY - DAY).timestamp() + 51 * 870 - 100
            lived = (
                (curve.labels, [point for point in curve.points if born < point[0] <= born + 600])
                for curve in curves
            )
            return [Curve.of(labels, points) for labels, points in lived if points]

    web = deployment("shop", "web", memory_max=900.0 * 2**20)
    (read_web,) = scan(Short(web), NOON, None).workloads
    yesterday = next(day for day in read_web.containers[0].days if day.ago == 1)
    assert yesterday.windows == 1
    assert yesterday.memory_points == (900 * 2**20,) * 16


def test_where_most_workloads_run_in_several_pods_fewer_windows_of_each_are_looked_at() -> None:
    class Stepping(Server):
        def query_range(
            self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
        ) -> list[Curve]:
            if "[5m]" in promql:
                steps.setdefault(re.findall(r'namespace=~"(\w+)"', promql)[0], set()).add(step)
            return super().query_range(promql, begin, end, step, timeout)

    steps: dict[str, set[timedelta]] = {}
    pods = [
        deployment("many", name, suffix=f"x{number}", history_days=20, samples=9999)
        for name in ("web", "api")
        for number in (1, 2)
    ]
    alone = [deployment(space, "alone", history_days=20, samples=9999) for space in ("many", "few")]
    three = [deployment("three", "web", suffix=f"x{n}", history_days=20, samples=9999) for n in (1, 2, 3)]
    server, stored = Stepping(*pods, *alone, *three), FakeDigests()
    seen = scan(server, NOON, stored).workloads
    read_ = {(each.workload.namespace, each.workload.name): each for each in seen}
    assert steps == {
        "many": {timedelta(seconds=2 * 870), timedelta(seconds=2 * 3480)},
        "few": {timedelta(seconds=870), timedelta(seconds=3480)},
        "three": {timedelta(seconds=3 * 870), timedelta(seconds=3 * 3480)},
    }
    # Days weigh as much, whichever way they were looked at.
    assert {digest.windows for digest in stored.kept.values()} <= {98, 99, 100}
    samples = {of: each.containers[0].usage.samples for of, each in read_.items() if each.containers[0].usage}
    assert samples["many", "web"] == pytest.approx(samples["few", "alone"], abs=2)
    assert samples["three", "web"] == pytest.approx(samples["few", "alone"], abs=3)
    assert samples["many", "alone"] == pytest.approx(samples["few", "alone"] / 2, abs=2)
    # To be looked at less often is no reason to trust it less.
    assert read_["many", "alone"].windows_per_day == read_["few", "alone"].windows_per_day / 2
    assert scan(server, NOON, stored).workloads == tuple(read_[of] for of in sorted(read_))


def test_pods_that_have_ended_make_no_several() -> None:
    controller = ("shop", "Deployment", "web")
    assert digesting.apart({controller: 1, ("shop", "Deployment", "api"): 2}) == {"shop": 1}
    assert digesting.apart({controller: 0, ("jobs", "StatefulSet", "db"): 2}) == {"shop": 1, "jobs": 2}
    several = {("shop", "Deployment", name): pods for name, pods in (("a", 1), ("b", 3), ("c", 9))}
    assert digesting.apart(several) == {"shop": 3}
    rows = [
        Series({"__name__": "kube_deployment_spec_replicas", "namespace": "shop", "deployment": "web"}, 1.0)
    ]
    assert _running(Cluster.of(rows), controller, [("shop", "web-1"), ("shop", "web-evicted")]) == 1
    assert _running(Cluster.of([]), controller, [("shop", "web-1"), ("shop", "web-2")]) == 2


def test_throttling_is_asked_about_of_what_has_a_limit_alone() -> None:
    limits = {"web": 0.2, "api": None, "db": None}
    server = Server(*(deployment("shop", name, throttled=share) for name, share in limits.items()))
    read_ = {each.workload.name: each.containers[0].usage for each in scan(server, NOON, None).workloads}
    assert {name: usage.throttled_share for name, usage in read_.items() if usage} == limits
    about = [promql for promql in server.asked if "increase(container_cpu_cfs_throttled" in promql]
    assert about
    assert all('pod=~"(?:web).*"' in promql for promql in about)
    unlimited = Server(deployment("shop", "web"))
    scan(unlimited, NOON, FakeDigests())
    # Of the days that are read together, not of all that have been since.
    assert unlimited.limits_told_until == [*(midnight(TODAY - ago * DAY) for ago in (11, 8, 5, 2)), NOON]
    assert not any("increase(container_cpu_cfs_throttled" in promql for promql in unlimited.asked)


def test_a_burst_that_no_window_saw_counts_where_a_limit_would_throttle_it() -> None:
    class Bursting(Server):
        """Of a day's whole peak it tells more than any of the windows that are looked at has."""

        def _told(self, promql: str, at: datetime, timeout: float | None = None) -> list[Series]:
            rows = super()._told(promql, at, timeout)
            return [replace(row, value=0.9) for row in rows] if "max_over_time(rate(" in promql else rows

    requests, memory = {"cpu": 1.0, "memory": 2.0**30}, {"memory": 2.0**30}
    pods = [
        deployment("shop", "limited", limits={"cpu": 2.0, **memory}, requests=requests),
        deployment("shop", "free", limits=memory, requests=requests),
    ]
    stored = FakeDigests()
    read_ = scan(Bursting(*pods), NOON, stored).workloads
    seen = {each.workload.name: each.containers[0].usage for each in read_}
    assert {name: usage.cpu_max_m for name, usage in seen.items() if usage} == {"limited": 900, "free": 400}
    assert {(digest.container[16:], digest.cpu_m[-1]) for digest in stored.kept.values()} == {
        ("limited/app", 900.0),
        ("free/app", 400.0),
    }


def test_a_server_that_has_forgotten_series_is_asked_about_what_has_a_limit_now() -> None:
    class Forgetful(Server):
        def series(
            self, matchers: str, begin: datetime, end: datetime, timeout: float | None = None
        ) -> list[Mapping[str, str]]:
            return [] if "cfs_periods" in matchers else super().series(matchers, begin, end, timeout)

    limits = {"cpu": 2.0, "memory": 2.0**30}
    (web,) = scan(Forgetful(deployment("shop", "web", throttled=0.2, limits=limits)), NOON, None).workloads
    assert web.containers[0].usage is not None
    assert web.containers[0].usage.throttled_share == 0.2


def test_a_server_that_does_not_tell_of_limits_is_asked_about_all() -> None:
    class Mute(Server):
        def series(
            self, matchers: str, begin: datetime, end: datetime, timeout: float | None = None
        ) -> list[Mapping[str, str]]:
            raise Temporary("nothing here tells of series")

    (web,) = scan(Mute(deployment("shop", "web", throttled=0.2)), NOON, None).workloads
    assert web.containers[0].usage is not None
    assert web.containers[0].usage.throttled_share == 0.2


def test_a_shard_and_a_namespace_recall_their_own_and_what_lies_between_is_left() -> None:
    pods = [
        deployment(space, name) for space, name in (("a", "one"), ("b", "one"), ("b", "two"), ("c", "one"))
    ]
    server, stored = Server(*pods), FakeDigests()
    whole = scan(server, NOON, stored)
    server.ranges.clear()
    everything = [(opening(TODAY), closing(NOON))]
    for namespaces in ((), ("b",), ("a", "c")):
        again = read(
            server, "local", NOON, history=FORTNIGHT, oom_days=7, stored=stored, namespaces=namespaces
        )
        assert again.workloads == tuple(
            each for each in whole.workloads if not namespaces or each.workload.namespace in namespaces
        )
        for each in again.workloads:
            (alone,) = read(
                server,
                "local",
                NOON,
                history=FORTNIGHT,
                oom_days=7,
                stored=stored,
                wanted=[each.workload],
                namespaces=[each.workload.namespace],
            ).workloads
            assert alone == each
    assert set(server.ranges) == set(everything), "all but today was stored"


def test_of_days_before_the_history_a_scan_that_keeps_nothing_reads_memory_alone() -> None:
    server = Server(deployment("shop", "web", history_days=40, samples=99999))
    reading_ = read(server, "local", NOON, history=FORTNIGHT, oom_days=7, strategy="balanced")
    assert min(begin for begin, _ in server.ranges) == opening(TODAY - FORTNIGHT)
    days = {day.ago: day for day in reading_.workloads[0].containers[0].days}
    assert sorted(days) == list(range(29))
    assert all((day.windows == 0) is (ago > 14) for ago, day in days.items())
    assert all(day.memory_bytes and len(day.memory_points) == 16 for day in days.values())
    stored = FakeDigests()
    kept = read(server, "local", NOON, history=FORTNIGHT, oom_days=7, strategy="balanced", stored=stored)
    assert all(digest.windows in {99, 100} for digest in stored.kept.values())
    assert len(stored.kept) == 28
    assert kept.workloads[0].containers[0].estimate == reading_.workloads[0].containers[0].estimate


def test_days_before_the_first_that_anything_is_stored_of_are_not_asked_for_again() -> None:
    # Of an hour in those ten days something is told, of the days around it nothing.
    server, stored = Young(deployment("shop", "web", history_days=6, samples=99999), 10), FakeDigests()
    scan(server, NOON, stored)
    assert {day for _, _, day in stored.kept} == {TODAY - DAY * ago for ago in range(1, 7)}
    scan(server, NOON, stored)
    assert server.ranges == [(opening(TODAY), closing(NOON))]
    # To servers the end of a range is part of it, and what is of that midnight is known.
    assert server.told_until[-1] < midnight(TODAY - 6 * DAY)
    # But where the server does have something of them, it is read.
    server.pods[0].history_days = 8
    scan(server, NOON, stored)
    assert {day for _, _, day in stored.kept} == {TODAY - DAY * ago for ago in range(1, 9)}


def test_a_day_that_was_stored_with_more_windows_weighs_no_more() -> None:
    pod = deployment("shop", "web", history_days=40, samples=99999, throttled=0.0)
    server, stored = Server(pod), FakeDigests()
    scan(server, NOON, stored)
    key = "local", "shop/Deployment/web/app", TODAY - DAY
    stored.kept[key] = replace(
        stored.kept[key], windows=288, samples=576, cpu_m=(900.0,) * 16, throttled_share=0.29
    )
    (web,) = scan(server, NOON, stored).workloads
    container = web.containers[0]
    assert {day.windows for day in container.days if day.ago} == {99, 100}
    assert container.usage is not None
    assert container.usage.throttled_share == pytest.approx(0.29 / 14.5, rel=0.01)
    assert container.usage.samples == pytest.approx(99.3 * 13.5 + 200, rel=0.01)
    # One day of fourteen and a half is 7 %; by 288 windows it would be 19.
    assert container.usage.cpu_p95_m == 900.0
    assert quantile([(day.windows, day.cpu_m) for day in container.days], 0.91) == 200.0


def test_a_day_in_which_it_lived_between_two_windows_is_kept() -> None:
    class Short(Server):
        """From ten minutes before midnight on: no window is looked at then, and the day has its peak."""

        def query_range(
            self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
        ) -> list[Curve]:
            curves = super().query_range(promql, begin, end, step, timeout)
            born = midnight(TODAY).timestamp() - 600
            return [
                Curve.of(curve.labels, (point for point in curve.points if point[0] > born + 600))
                if step < DAY and curve.labels["pod"].startswith("windowless")
                else curve
                for curve in curves
            ]

    pods = deployment("shop", "web"), deployment("shop", "windowless", history_days=0.507)
    server, stored = Short(*pods), FakeDigests()
    scan(server, NOON, stored)
    kept = stored.kept["local", "shop/Deployment/windowless/app", TODAY - DAY]
    assert (kept.windows, kept.memory_bytes) == (0, (220 * 2**20,) * 16)
    scan(server, NOON, stored)
    assert len(server.ranges) == 1


def test_what_cannot_be_stored_ends_the_scan_that_read_it() -> None:
    class Full(FakeDigests):
        tried = 0

        def add(self, cluster: str, digests: Collection[Digest]) -> None:
            self.tried += 1
            raise Temporary(f"MongoDB: no place for {len(digests)} of {cluster}")

    server, stored = Server(*(deployment("shop", name) for name in ("web", "api", "cart"))), Full()
    with pytest.raises(Temporary, match="no place for 9 of local"):
        scan(server, NOON, stored)
    assert stored.tried == 1
    assert len(server.ranges) <= 2, "more is read though nothing can be stored"


def test_what_was_read_is_stored_though_the_next_cannot_be_read() -> None:
    class Slow(FakeDigests):
        def add(self, cluster: str, digests: Collection[Digest]) -> None:
            time.sleep(0.2)
            super().add(cluster, digests)

    class Ending(Server):
        def query_range(
            self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
        ) -> list[Curve]:
            if begin.date() >= TODAY - 8 * DAY:
                raise Temporary("it has gone away")
            return super().query_range(promql, begin, end, step, timeout)

    stored = Slow()
    with pytest.raises(Temporary, match="gone away"):
        scan(Ending(deployment("shop", "web")), NOON, stored)
    assert {day for _, _, day in stored.kept} == {TODAY - DAY * ago for ago in range(9, 15)}


@pytest.mark.parametrize(("steps", "seconds"), [(1, 200), (2, 120), (3, 150)])
def test_a_burst_that_comes_daily_is_seen_whenever_it_comes(steps: int, seconds: int) -> None:
    step = queries.CPU_APART * steps
    begin = int(midnight(TODAY - FORTNIGHT).timestamp())
    ends = range((begin // step + 1) * step, begin + 14 * 86400 + 1, step)
    for burst in range(0, 86400, 60):  # of five minutes
        shares = (300 - abs((end - 300 - begin) % 86400 - burst) for end in ends)
        assert max(shares) >= seconds, f"{burst} s after midnight"


def test_days_are_not_asked_for_before_the_first_hour_that_anything_is_told_of() -> None:
    server, stored = Young(deployment("shop", "web", history_days=15, samples=99999), 15), FakeDigests()
    read(server, "local", NOON, history=FORTNIGHT, oom_days=7, strategy="balanced", stored=stored)
    first = min(begin for begin, _ in server.ranges)
    assert TODAY - 22 * DAY <= first.date() <= TODAY - 15 * DAY
    assert len(stored.kept) == 15


def test_of_a_shard_whose_names_begin_alike_all_is_recalled() -> None:
    server, stored = Server(*(deployment("shop", name) for name in ("web", "web-api"))), FakeDigests()
    scan(server, NOON, stored)
    server.pods[1].history_days = 1  # it has lost its past
    whole = [each.workload for each in scan(server, NOON, stored).workloads]
    again = read(
        server,
        "local",
        NOON,
        history=FORTNIGHT,
        oom_days=7,
        stored=stored,
        namespaces=["shop"],
        wanted=whole,
    )
    assert [len(each.containers[0].days) for each in again.workloads] == [15, 15]


def test_one_whose_name_begins_as_anothers_is_digested_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digesting, "MOST_POINTS", 500)
    server, stored = (
        Server(*(deployment("shop", name, history_days=20, samples=9999) for name in ("web", "web-api"))),
        FakeDigests(),
    )
    for each in scan(server, NOON, stored).workloads:
        assert each.containers[0].usage is not None
        assert each.containers[0].usage.pods == 1
    assert {(digest.pods, digest.samples) for digest in stored.kept.values()} <= {(1, 99), (1, 100)}


def test_beside_jobs_the_estimators_whole_past_has_its_owners() -> None:
    server = Server(deployment("shop", "web"), FakePod("shop", ("CronJob", "night")))
    read(server, "local", NOON, history=FORTNIGHT, oom_days=7, strategy="balanced")
    assert server.owned_since == [midnight(TODAY - 28 * DAY)]


def test_a_first_day_of_a_few_minutes_is_read_once() -> None:
    minutes = 8
    begun = 13.5 + minutes / 1440  # so many before the midnight of the day
    server, stored = Young(deployment("shop", "web", history_days=begun), 13), FakeDigests()
    first = TODAY - FORTNIGHT
    before = scan(server, NOON, stored).workloads
    kept = {day: digest for (_, _, day), digest in stored.kept.items()}
    assert (kept[first].windows, kept[first].memory_bytes[-1] > 0) == (0, True)
    assert scan(server, NOON, stored).workloads == before
    assert {begin.date() for begin, _ in server.ranges} == {TODAY}


def test_a_day_of_which_all_cpu_is_late_is_not_kept_for_its_memory() -> None:
    class Late(Server):
        """Of yesterday it tells no CPU yet, and nothing at all of the pods of api."""

        is_late = True

        def query_range(
            self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
        ) -> list[Curve]:
            first, last = midnight(TODAY - DAY).timestamp(), midnight(TODAY).timestamp()
            found = []
            for curve in super().query_range(promql, begin, end, step, timeout):
                lacks = self.is_late and ("rate(" in promql or curve.labels.get("pod", "").startswith("api"))
                points = [each for each in curve.points if not (lacks and first < each[0] <= last)]
                found += [Curve.of(curve.labels, points)] if points else []
            return found

    server, stored = Late(*(deployment("shop", name) for name in ("web", "api"))), FakeDigests()
    scan(server, NOON, stored, DAY, oom_days=1)
    assert not [day for _, _, day in stored.kept if day == TODAY - DAY]
    server.is_late = False
    again = scan(server, NOON, stored, DAY, oom_days=1).workloads
    assert [[day.ago for day in each.containers[0].days if day.windows] for each in again] == [[1, 0]] * 2


@pytest.mark.parametrize(
    ("is_peaks", "asks"), [(True, "memory"), (False, "container_memory"), (False, "rate(")]
)
def test_a_day_of_which_an_answer_lacks_cpu_memory_or_its_peak_is_read_again(
    is_peaks: bool, asks: str
) -> None:
    class Several(Server):
        """Behind its address another answers one of the questions, which has nothing before today."""

        is_young = True

        def query_range(
            self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
        ) -> list[Curve]:
            curves = super().query_range(promql, begin, end, step, timeout)
            if not (self.is_young and asks in promql and (step == DAY) is is_peaks):
                return curves
            today = midnight(TODAY).timestamp()
            cut = ([each for each in curve.points if each[0] > today] for curve in curves)
            return [Curve.of(curve.labels, its) for curve, its in zip(curves, cut, strict=True) if its]

    server, stored = (
        Several(deployment("shop", "web", memory_max=9e8, history_days=20, samples=9999)),
        FakeDigests(),
    )
    [web] = scan(server, NOON, stored).workloads
    assert not stored.kept
    # Of CPU it may be that there is none, but memory has a peak if it has windows: nothing is proposed.
    assert web.containers[0].torn == ("memory" in asks)
    server.is_young = False
    [web] = scan(server, NOON, stored).workloads
    assert not web.containers[0].torn
    assert {day.memory_bytes for day in web.containers[0].days} == {9e8}
    assert len(stored.kept) == 14


def test_a_day_of_no_memory_at_all_is_kept_where_the_server_says_so() -> None:
    """As cAdvisor does where the kernel counts no memory for control groups: each day has a peak, of 0."""
    server, stored = Server(deployment("shop", "web", memory_p95=0.0, memory_max=0.0)), FakeDigests()
    scan(server, NOON, stored)
    assert len(stored.kept) == 14


@pytest.mark.parametrize("days", [1, 3])
def test_a_day_of_a_pod_that_tells_nothing_since_is_read_again_until_the_next_is_over(days: int) -> None:
    class Behind(Server):
        """One agent does not get its samples through: those of api, which runs."""

        until = midnight(TODAY - DAY) + timedelta(hours=20)

        def query_range(
            self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
        ) -> list[Curve]:
            found = []
            for curve in super().query_range(promql, begin, end, step, timeout):
                is_late = step < DAY and curve.labels.get("pod", "").startswith("api")
                points = [each for each in curve.points if not is_late or each[0] <= self.until.timestamp()]
                found += [Curve.of(curve.labels, points)] if points else []
            return found

    def kept(name: str) -> bool:
        return ("local", f"shop/Deployment/{name}/app", TODAY - DAY) in stored.kept

    long = {"history_days": 20, "samples": 9999}
    server, stored = Behind(*(deployment("shop", name, **long) for name in ("web", "api"))), FakeDigests()
    scan(server, NOON, stored, days * DAY, oom_days=1)
    assert (kept("web"), kept("api")) == (True, False)
    server.until = NOON
    caught_up, fresh = (scan(server, NOON, some, days * DAY, oom_days=1) for some in (stored, FakeDigests()))
    assert kept("api")
    assert caught_up.workloads == fresh.workloads

    server, stored = Behind(*server.pods), FakeDigests()
    scan(server, NOON + DAY, stored, (days + 1) * DAY, oom_days=1)
    assert kept("api"), "it will not come any more"


def test_where_the_answer_about_kills_lacks_one_that_is_told_of_it_is_read_again() -> None:
    class Several(Server):
        """Behind its address another answers who was killed, which knows of no kill."""

        is_other = True

        def query(self, promql: str, at: datetime, timeout: float | None = None) -> list[Series]:
            about = self.is_other and promql.startswith(
                f"max {queries.CONTAINER} (max_over_time({queries.LAST_REASON}"
            )
            return [] if about else super().query(promql, at, timeout)

    long = {"history_days": 20, "samples": 9999}
    killed = deployment("shop", "web", oom_killed=True, oom_kills=2.0, **long)
    server, stored = Several(killed, deployment("shop", "api", **long)), FakeDigests()
    api, web = scan(server, NOON, stored).workloads
    assert (api.containers[0].torn, web.containers[0].torn) == (False, True)
    assert {container for _, container, _ in stored.kept} == {"shop/Deployment/api/app"}
    server.is_other = False
    _, web = scan(server, NOON, stored).workloads
    assert not web.containers[0].torn
    assert len(stored.kept) == 2 * 14


def test_an_empty_yesterday_between_days_of_use_is_read_again_until_the_next_is_over() -> None:
    class Several(Server):
        """Behind its address another answers about api, in all it is asked, which was away yesterday."""

        away = TODAY - DAY

        def query_range(
            self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
        ) -> list[Curve]:
            first, last = midnight(self.away).timestamp(), midnight(self.away + DAY).timestamp()
            found = []
            for curve in super().query_range(promql, begin, end, step, timeout):
                lacks = curve.labels.get("pod", "").startswith("api")
                points = [each for each in curve.points if not (lacks and first < each[0] <= last)]
                found += [Curve.of(curve.labels, points)] if points else []
            return found

    def kept(name: str, day: date) -> Digest | None:
        return stored.kept.get(("local", f"shop/Deployment/{name}/app", day))

    long = {"history_days": 20, "samples": 9999}
    server, stored = Several(*(deployment("shop", name, **long) for name in ("web", "api"))), FakeDigests()
    scan(server, NOON, stored)
    assert kept("web", TODAY - DAY)
    assert kept("api", TODAY - 2 * DAY)
    assert kept("api", TODAY - DAY) is None
    # The one that was there answers; had nothing run, each would say so again.
    scan(server, NOON + DAY, once_more := FakeDigests())
    empty = once_more.kept["local", "shop/Deployment/api/app", TODAY - DAY]
    assert (empty.windows, empty.memory_bytes) == (0, ())
    server.away = TODAY + DAY
    scan(server, NOON, stored)
    found = kept("api", TODAY - DAY)
    assert found is not None
    assert found.windows


@pytest.mark.parametrize("apart", [1, 2, 3])
@pytest.mark.parametrize("interval", [60, 300, 600, 900])
def test_whatever_a_short_life_has_between_two_windows_its_day_is_whole(interval: int, apart: int) -> None:
    window = queries.window(FORTNIGHT, 3600 / interval + (interval > 60), None)
    day, app = TODAY - DAY, (("shop", "Deployment", "web"), "app")
    begin, end = midnight(day).timestamp(), midnight(TODAY).timestamp()
    plan, asking = Plan({"shop": apart}, frozenset()), Asking(FakePrometheus(), NOON)

    def seen(scrapes: list[float], step: int, back: int, least: int) -> int:
        """Windows of the day that have so many scrapes."""
        ends = range((int(begin) // step + 1) * step, int(end) + 1, step)
        return sum(1 for at in ends if sum(at - back <= each <= at for each in scrapes) >= least)

    random_ = random.Random(interval)
    for _ in range(300):
        first = begin + random_.choice([random_.uniform(-9000, 0), random_.uniform(0, 86400)])
        scrapes = [first + interval * number for number in range(random_.randint(1, 9000 // interval))]
        usage = _Usage(asking, window, Span(day, 1, {}), Owners.of([]), plan, exactly=True)
        usage.memory_windows[app, day] = seen(scrapes, window.memory_step * apart, window.step, 1)
        windows = seen(scrapes, window.cpu_step * apart, window.cpu, 2) * apart
        is_peak = any(begin < each <= end for each in scrapes)
        facts = {(app, day): _Facts(memory_max=1)} if is_peak else {}
        assert usage.is_whole(app, Digest("shop/Deployment/web/app", day, windows=windows), facts)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_that_recorded_cpu_begins_a_window_after_memory_is_no_lack(steps: int) -> None:
    def lacks(cpu_windows: int) -> bool:
        window, plan = queries.window(FORTNIGHT, 60, 10), Plan({"shop": steps}, frozenset())
        span, asking = Span(TODAY - DAY, 1, {}), Asking(FakePrometheus(), NOON)
        usage = _Usage(asking, window, span, Owners.of([]), plan, exactly=True)
        whose = ((("shop", "Deployment", "web"), "app"), ("shop", "web-1"), TODAY - DAY)
        usage.tell("memory_windows", whose, 5)
        usage.tell("cpu_windows", whose, cpu_windows)
        return usage.lacks()

    assert [lacks(count) for count in (17, 16, 14)] == [False, False, True]


def test_though_the_last_minutes_cannot_be_read_the_days_are_kept() -> None:
    class Busy(Server):
        def query(self, promql: str, at: datetime, timeout: float | None = None) -> list[Series]:
            if "quantile_over_time" in promql:
                raise Temporary("it is busy")
            return super().query(promql, at, timeout)

    stored = FakeDigests()
    with pytest.raises(Temporary, match="it is busy"):
        scan(Busy(deployment("shop", "web")), NOON, stored)
    assert len(stored.kept) == 14


def test_a_window_that_a_server_has_moved_into_another_answers_day_replaces_no_day(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Moving(Server):
        def query_range(
            self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
        ) -> list[Curve]:
            curves = super().query_range(promql, begin, end, step, timeout)
            if step >= DAY or promql == "vector(1)":
                return curves
            return [
                Curve.of(each.labels, ((at - 600, value) for at, value in each.points)) for each in curves
            ]

    monkeypatch.setattr(digesting, "MOST_POINTS", 110)
    stored = FakeDigests()
    scan(Moving(deployment("shop", "web", history_days=20, samples=9999)), NOON, stored)
    assert {digest.windows for digest in stored.kept.values()} <= {98, 99, 100}
    assert {digest.pods for digest in stored.kept.values()} == {1}


def test_owners_are_asked_for_since_the_first_day_that_is_read() -> None:
    server, stored = Server(deployment("shop", "web", history_days=40, samples=99999)), FakeDigests()
    scan(server, NOON - 3 * DAY, stored)
    assert server.owned_since == [midnight(TODAY - 17 * DAY)]
    for at, ago in ((NOON, 3), (NOON, 1), (NOON + DAY, 0)):
        server.owned_since.clear()
        scan(server, at, stored)
        assert server.owned_since == [midnight(TODAY - ago * DAY)]
    server.pods.append(FakePod("shop", ("CronJob", "night")))
    server.owned_since.clear()
    scan(server, NOON + DAY, stored)
    assert server.owned_since == [midnight(TODAY + DAY) - FORTNIGHT]


def test_pods_that_were_gone_long_before_a_backfill_count_in_it() -> None:
    class Replaced(Server):
        """The last of its pods is gone, and is told of as far as it was there."""

        gone_at = midnight(TODAY - 5 * DAY)

        def is_there(self, labels: Mapping[str, str], begin: datetime) -> bool:
            return labels.get("pod") != self.pods[-1].name or begin < self.gone_at

        def query(self, promql: str, at: datetime, timeout: float | None = None) -> list[Series]:
            return [row for row in super().query(promql, at, timeout) if self.is_there(row.labels, at)]

        def series(
            self, matchers: str, begin: datetime, end: datetime, timeout: float | None = None
        ) -> list[Mapping[str, str]]:
            rows = super().series(matchers, begin, end, timeout)
            return [labels for labels in rows if self.is_there(labels, begin)]

        def query_range(
            self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
        ) -> list[Curve]:
            curves = super().query_range(promql, begin, end, step, timeout)
            cut = (
                [
                    each
                    for each in curve.points
                    if self.is_there(curve.labels, datetime.fromtimestamp(each[0], UTC))
                ]
                for curve in curves
            )
            return [
                Curve.of(curve.labels, points) for curve, points in zip(curves, cut, strict=True) if points
            ]

    long = {"history_days": 99, "samples": 99999}
    server, stored = (
        Replaced(deployment("shop", "web", **long), deployment("shop", "web", suffix="gone0", **long)),
        FakeDigests(),
    )
    [first] = scan(server, NOON, stored).workloads
    assert {each.ago: each.pods for each in first.containers[0].days} == {
        ago: 2 if ago > 5 else 1 for ago in range(15)
    }
    assert len(stored.kept) == 14
    assert scan(server, NOON, stored).workloads == (first,)


def test_an_hour_in_which_scrapes_failed_is_no_end_of_the_past() -> None:
    class Failed(Server):
        """Nothing was scraped in the oldest hours that are looked at, but there is usage before."""

        def _rows(self, promql: str, at: datetime) -> list[Series]:
            if "[1h]" not in promql:
                return super()._rows(promql, at)
            lately = [Series({"in": "1h, 0h ago"}, 60.0), Series({"in": "10m"}, 10.0)]
            return lately if "[10m]" in promql else []

        def series(
            self, matchers: str, begin: datetime, end: datetime, timeout: float | None = None
        ) -> list[Mapping[str, str]]:
            if "container_memory" in matchers:
                return [{"namespace": "shop"}]
            return super().series(matchers, begin, end, timeout)

    (web,) = scan(Failed(deployment("shop", "web")), NOON, None).workloads
    assert len(web.containers[0].days) == 15


def test_an_empty_answer_about_owners_is_not_believed_where_pods_are_told_of() -> None:
    class Empty(Server):
        def series(
            self, matchers: str, begin: datetime, end: datetime, timeout: float | None = None
        ) -> list[Mapping[str, str]]:
            return []

    server = Empty(deployment("shop", "web"))
    reading_ = scan(server, NOON, None)
    (owners,) = (each for each in reading_.asked if each.name == "owners")
    assert owners.promql.startswith("max by")
