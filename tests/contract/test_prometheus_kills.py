"""OOM kills, as kube-state-metrics tells of them, read from a real Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from functions.recommender import queries, reading
from functions.recommender.asking import Asking
from functions.recommender.queries import Scope
from functions.recommender.sizing import Observed
from shared.adapters.prometheus import HttpPrometheus
from shared.contracts.prometheus import Series
from tests.contract.test_prometheus import DAY, END, MIB, NOW, SCRAPE, Written, blocks
from tests.servers import prometheus_server

BEGIN = END - 7 * DAY
KILLED_AT, GONE_AT = END - 5 * DAY, END - 4 * DAY
LIMIT = 200 * MIB


def replaced(written: Written, name: str, limit: float) -> None:
    """A Deployment whose pod was killed five days ago and is gone; the one in its place has this limit."""
    gone = written.simple(name, blocks(BEGIN, GONE_AT), begin=BEGIN, end=GONE_AT)
    limited = {"pod": gone, "container": "app", "resource": "memory"}
    written.told("kube_pod_container_resource_limits", LIMIT, BEGIN, GONE_AT, **limited)
    here = {"namespace": "shop", "pod": gone, "container": "app"}
    counts = [(at, float(at >= KILLED_AT)) for at in range(int(BEGIN), int(GONE_AT) + 1, SCRAPE)]
    written.history.add("kube_pod_container_status_restarts_total", here, counts)
    killed = [(at, 1.0) for at, count in counts if count]
    reason = {**here, "reason": "OOMKilled"}
    written.history.add("kube_pod_container_status_last_terminated_reason", reason, killed)
    there = f"{name}-6c9f7-later"
    written.pod(there, ("ReplicaSet", f"{name}-6c9f7"), begin=GONE_AT, limits=(1, limit))
    written.run(there, blocks(GONE_AT, END))
    counts = [(at, 0.0) for at in range(int(GONE_AT), int(END) + 1, SCRAPE)]
    written.history.add("kube_pod_container_status_restarts_total", {**here, "pod": there}, counts)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpPrometheus]:
    written = Written()
    replaced(written, "same", LIMIT)
    replaced(written, "raised", 4 * LIMIT)
    # Jobs whose pods were killed, and are not begun anew: what they left is told of still, and of one of them
    # has been for longer than kills count.
    rising = {"container": "app", "resource": "memory"}
    written.deployment("filling", ("6c9f7",))
    for pod, begin, end, limit in (
        ("filling-6c9f7-aaaaa", BEGIN, GONE_AT, LIMIT),
        ("filling-6c9f7-bbbbb", GONE_AT, END, 2 * LIMIT),
    ):
        written.pod(pod, ("ReplicaSet", "filling-6c9f7"), begin=begin, end=end)
        written.run(pod, dict.fromkeys(blocks(begin, end), (0.1, limit * 0.9)))
        written.told("kube_pod_container_resource_limits", limit, begin, end, pod=pod, **rising)
    # In the midst of a rollout most pods have the new limit, and the days are the former one's.
    written.deployment("amid", ("6c9f7", "5d8e6"), replicas=3)
    written.pod("amid-6c9f7-aaaaa", ("ReplicaSet", "amid-6c9f7"), begin=BEGIN)
    written.run("amid-6c9f7-aaaaa", dict.fromkeys(blocks(BEGIN, END), (0.1, LIMIT * 0.9)))
    metric = "kube_pod_container_resource_limits"
    written.told(metric, LIMIT, BEGIN, END, pod="amid-6c9f7-aaaaa", **rising)
    for pod in ("amid-5d8e6-bbbbb", "amid-5d8e6-ccccc"):
        written.pod(pod, ("ReplicaSet", "amid-5d8e6"), begin=END - 3600, limits=(1, 2 * LIMIT))
        written.run(pod, dict.fromkeys(blocks(END - 3600, END), (0.1, LIMIT * 0.9)))
    # A StatefulSet's has the name of the one before it.
    written.pod("stored-0", ("StatefulSet", "stored"), begin=BEGIN)
    written.run("stored-0", dict.fromkeys(blocks(BEGIN, END), (0.1, LIMIT * 0.9)))
    for uid, begin, end, limit in (("a", BEGIN, GONE_AT, LIMIT), ("b", GONE_AT + SCRAPE, END, 2 * LIMIT)):
        written.told(metric, limit, begin, end, pod="stored-0", uid=uid, **rising)
    for number, ago in enumerate((0, 1, 2, 9)):
        job, end = f"nightly-{number}", END - ago * DAY - 3600
        written.told(
            "kube_job_owner", begin=end - 1800, job_name=job, owner_kind="CronJob", owner_name="nightly",
            owner_is_controller="true",
        )  # fmt: skip
        pod = f"{job}-zzzzz"
        written.pod(pod, ("Job", job), begin=end - 1800, limits=(1, LIMIT))
        written.run(pod, blocks(end - 1800, end))
        written.told(
            "kube_pod_container_status_terminated_reason", begin=end, pod=pod, container="app",
            reason="OOMKilled",
        )  # fmt: skip
    for cluster, restarts, reasons in (
        ("blind", None, 1),
        ("mute", 2, None),
        ("quiet", 0, None),
        ("whole", 2, 0),
    ):
        for metric, value in (("restarts_total", restarts), ("last_terminated_reason", reasons)):
            if value is not None:
                name = f"kube_pod_container_status_{metric}"
                written.told(name, value, END - 600, cluster=cluster, pod="any-0", container="app")
    history = written.history.write(tmp_path_factory.mktemp("history") / "history.om")
    with prometheus_server(openmetrics=history) as running:
        yield HttpPrometheus(str(running.address))


@pytest.fixture(scope="module")
def seen(server: HttpPrometheus) -> dict[str, Observed]:
    read = reading.read(server, "local", NOW, history=timedelta(days=2), oom_days=7)
    return {each.workload.name: each for each in read.workloads}


@pytest.mark.parametrize(("name", "under"), [("same", True), ("raised", False)])
def test_a_kill_counts_beyond_the_history_and_though_its_pod_is_gone(
    seen: dict[str, Observed], name: str, under: bool
) -> None:
    """Whether it was under the present limit is known by that of the day."""
    (container,) = seen[name].containers
    assert container.usage is not None
    assert (container.usage.oom_kills, container.oom_killed) == (1, under)
    assert container.killed_limit_bytes == LIMIT


@pytest.mark.parametrize("name", ["filling", "stored"])
def test_the_limit_of_each_day_is_told_of_what_came_near_it(seen: dict[str, Observed], name: str) -> None:
    (container,) = seen[name].containers
    limits = {day.ago: day.near_limit_bytes for day in container.days if day.ago}
    assert limits == {ago: LIMIT if ago * DAY > END - GONE_AT else 2 * LIMIT for ago in limits}
    assert set(limits.values()) == {LIMIT, 2 * LIMIT}
    # A StatefulSet's pods are one, as far as its series tell.
    started = 2 * LIMIT if name == "filling" else LIMIT
    assert container.remembered.started_memory_bytes == pytest.approx(started * 0.9)
    assert not any(day.near_limit_bytes for day in seen["raised"].containers[0].days)


def test_the_limit_of_a_day_is_that_of_the_pods_that_ran_in_it(seen: dict[str, Observed]) -> None:
    (container,) = seen["amid"].containers
    assert container.current.memory_limit_bytes == 2 * LIMIT
    assert {day.near_limit_bytes for day in container.days if day.ago} == {LIMIT}


def test_each_run_that_ended_for_its_memory_is_a_kill(seen: dict[str, Observed]) -> None:
    (container,) = seen["nightly"].containers
    assert container.usage is not None
    assert (container.usage.oom_kills, container.oom_killed) == (3, True)


@pytest.mark.parametrize(
    ("cluster", "told"), [("blind", False), ("mute", False), ("quiet", True), ("whole", True)]
)
def test_kills_are_told_of_where_restarts_are_and_why(
    server: HttpPrometheus, cluster: str, told: bool
) -> None:
    scope = Scope(labels=f'cluster="{cluster}"')
    rows = reading.scrapes(Asking(server, NOW), scope, timedelta(days=2))
    assert queries.kills(rows).are_told() == told


@pytest.mark.parametrize(
    ("restarts", "reasons", "ended", "told"),
    [
        (None, None, None, (False, False)),
        (0, None, None, (True, False)),
        (2, None, 1, (False, True)),
        (2, 0, 1, (True, True)),
    ],
)
def test_kills_of_sidecars_and_of_runs_are_told_by_metrics_of_their_own(
    restarts: int | None, reasons: int | None, ended: int | None, told: tuple[bool, bool]
) -> None:
    by = {"restarts": 0, "init restarts": restarts, "init reasons": reasons, "ended": ended}
    rows = [Series({"in": name}, float(value)) for name, value in by.items() if value is not None]
    kills = queries.kills(rows)
    assert kills.are_told()
    assert (kills.are_told(of_sidecars=True), kills.are_told(of_runs=True)) == told
    assert not queries.kills([row for row in rows if row.labels["in"] != "restarts"]).are_told()
