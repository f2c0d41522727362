"""Whatever scans came before: a scan that has their digests says what one says that has none."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from functions.recommender.container import NOTHING
from functions.recommender.reading import Reading, discover, read
from functions.recommender.sizing import Observed
from shared.adapters.prometheus import HttpPrometheus
from shared.contracts.digests import Digests
from tests.fakes.mongo import FakeDigests
from tests.fakes.prometheus import History
from tests.servers import prometheus_server

BEGIN = datetime(2026, 11, 10, tzinfo=UTC).timestamp()
HOUR, DAY = 3600, 86400
END = BEGIN + 5 * DAY
# Of cAdvisor and of kube-state-metrics; an instant sees five minutes back.
SCRAPE, RARELY = 60, 240


class Lived(History):
    """A namespace through five days, of which any may be a scan's today."""

    def pod(
        self,
        name: str,
        begin: float,
        end: float = END,
        *,
        containers: tuple[str, ...] = ("app",),
        limit: bool = False,
        away: tuple[float, float] = (0, 0),
        killed_at: float = END,
    ) -> None:
        """Of the Deployment and ReplicaSet that its name has; nothing of its use is scraped while `away`."""
        chance = random.Random(name)
        replica_set = name.rpartition("-")[0]
        here = {"namespace": "shop", "pod": name}
        owner = {"owner_kind": "ReplicaSet", "owner_name": replica_set, "owner_is_controller": "true"}
        rarely = [int(begin) + 7 + at for at in range(0, int(end - begin), RARELY)]
        self.add("kube_pod_owner", {**here, **owner}, ((at, 1) for at in rarely))
        for container in containers:
            each = {**here, "container": container}
            self.add("kube_pod_container_info", each, ((at, 1) for at in rarely))
            kills = [(at, int(at >= killed_at)) for at in rarely]
            self.add("kube_pod_container_status_restarts_total", each, kills)
            reason = {**each, "reason": "OOMKilled"}
            self.add("kube_pod_container_status_last_terminated_reason", reason, filter(any_kill, kills))
            if limit:
                cpu = {**each, "resource": "cpu"}
                self.add("kube_pod_container_resource_limits", cpu, ((at, 0.5) for at in rarely))
            level, used = 0.1, 0.0
            rows: list[tuple[int, float, int, int, int]] = []
            for at in range(int(begin) + 23, int(end), SCRAPE):
                level = chance.uniform(0.05, 0.4) if chance.random() < 0.05 else level
                used += level * SCRAPE
                if not away[0] <= at < away[1]:
                    rows.append((at, used, int(level * 2**30), len(rows) * 600, int(used)))
            for number, metric in enumerate(
                (
                    "container_cpu_usage_seconds_total",
                    "container_memory_working_set_bytes",
                    *(
                        ("container_cpu_cfs_periods_total", "container_cpu_cfs_throttled_periods_total")
                        * limit
                    ),
                ),
                1,
            ):
                self.add(metric, each, ((row[0], row[number]) for row in rows))

    def deployment(self, name: str, *revisions: str) -> None:
        rarely = [BEGIN + at for at in range(0, 5 * DAY + 1, RARELY)]
        here = {"namespace": "shop", "owner_kind": "Deployment", "owner_name": name}
        for each in revisions:
            labels = {**here, "replicaset": f"{name}-{each}", "owner_is_controller": "true"}
            self.add("kube_replicaset_owner", labels, ((at, 1) for at in rarely))


def any_kill(sample: tuple[float, float]) -> bool:
    return sample[1] > 0


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpPrometheus]:
    lived, began = Lived(), BEGIN + 11 * HOUR  # the server's first day is a part of one
    lived.deployment("steady", "a")
    lived.pod("steady-a-1", began, limit=True)
    lived.deployment("replaced", "a", "b", "c")
    lived.pod("replaced-a-1", began, BEGIN + DAY + 13 * HOUR)
    lived.pod("replaced-b-1", BEGIN + DAY + 13 * HOUR, BEGIN + 3 * DAY + 5)
    lived.pod("replaced-c-1", BEGIN + 3 * DAY - 30)
    lived.deployment("back", "a", "b")  # it was deleted, and made again
    lived.pod("back-a-1", began, BEGIN + DAY)
    lived.pod("back-b-1", BEGIN + 3 * DAY + 4 * HOUR)
    lived.deployment("renamed", "a", "b", "c")
    lived.pod("renamed-a-2", began, BEGIN + 2 * DAY + HOUR, containers=("app", "old"))
    lived.pod("renamed-b-1", BEGIN + 2 * DAY + HOUR, BEGIN + 4 * DAY + HOUR, containers=("app", "new"))
    lived.pod("renamed-c-1", BEGIN + 4 * DAY + HOUR, containers=("app", "old"))
    lived.deployment("killed", "a")
    lived.pod("killed-a-1", began, killed_at=BEGIN + 3 * DAY - 20)
    lived.deployment("gappy", "a")
    lived.pod("gappy-a-1", began, away=(BEGIN + DAY + 20 * HOUR, BEGIN + 3 * DAY))
    path = lived.write(tmp_path_factory.mktemp("history") / "history.om")
    with prometheus_server(openmetrics=path) as server:
        yield HttpPrometheus(str(server.address))


def scan(
    prometheus: HttpPrometheus,
    at: float,
    stored: Digests,
    days: int,
    *,
    strategy: str = "balanced",
    part: int | None = None,
) -> Reading:
    """Of all, or of a part of the workloads that are there."""
    time = datetime.fromtimestamp(at, UTC)
    some = discover(prometheus, "local", time)[part::2] if part is not None else None
    return read(
        prometheus,
        "local",
        time,
        history=timedelta(days=days),
        oom_days=2,
        namespaces=["shop"],
        wanted=some,
        strategy=strategy,
        stored=stored,
    )


# Of days that are whole some moments lie at their edges.
moments = st.builds(
    lambda day, second: BEGIN + day * DAY + second,
    st.integers(1, 4),
    st.sampled_from([0, 1, HOUR - 1, HOUR, 12 * HOUR, DAY - 1]) | st.integers(0, DAY - 1),
)
scans = st.tuples(
    moments, st.integers(1, 4), st.sampled_from(["balanced", "percentile"]), st.none() | st.integers(0, 1)
)


# To make an example smaller takes minutes.
@settings(max_examples=25, derandomize=True, phases=[Phase.generate])
@given(st.lists(scans, max_size=5), moments, st.integers(1, 4), st.sampled_from(["balanced", "percentile"]))
def test_after_any_scans_the_figures_are_those_of_a_first_one(
    prometheus: HttpPrometheus,
    before: list[tuple[float, int, str, int | None]],
    at: float,
    days: int,
    strategy: str,
) -> None:
    stored = FakeDigests()
    for time, history, by, part in before:
        scan(prometheus, time, stored, history, strategy=by, part=part)
    again = scan(prometheus, at, stored, days, strategy=strategy)
    fresh = scan(prometheus, at, FakeDigests(), days, strategy=strategy)
    assert forgetful(again) == forgetful(fresh)


def forgetful(reading: Reading) -> list[Observed]:
    """Without what is remembered for longer: days before the history, and starts amid what was read."""
    return [
        replace(each, containers=tuple(replace(one, remembered=NOTHING) for one in each.containers))
        for each in reading.workloads
    ]


def test_a_backfill_has_the_pods_that_were_gone_before_yesterday(prometheus: HttpPrometheus) -> None:
    found = {each.workload.name: each for each in scan(prometheus, END - 60, FakeDigests(), 4).workloads}
    [replaced] = found["replaced"].containers
    assert [(day.ago, day.pods) for day in replaced.days] == [(4, 1), (3, 2), (2, 1), (1, 2), (0, 1)]
    [killed] = found["killed"].containers
    assert killed.usage is not None
    assert killed.usage.oom_kills == 1


@pytest.mark.parametrize("hour", [0.5, 1.5, 8.5, 12.5, 20.5])
def test_yesterday_has_the_pods_that_are_gone_where_labels_are_told_of_half_a_day(
    prometheus: HttpPrometheus, hour: float
) -> None:
    class LooksBackForHours(HttpPrometheus):
        def series(
            self, matchers: str, begin: datetime, end: datetime, timeout: float | None = None
        ) -> list[Mapping[str, str]]:
            return super().series(matchers, max(begin, end - timedelta(hours=12)), end, timeout)

    stored, at = FakeDigests(), BEGIN + 3 * DAY + hour * HOUR
    scan(prometheus, BEGIN + 3 * DAY, stored, 4)  # what was before yesterday is kept
    again = scan(LooksBackForHours(prometheus.address), at, stored, 4)
    assert again.workloads == scan(prometheus, at, FakeDigests(), 4).workloads
