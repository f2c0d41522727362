"""Native sidecars and init containers, as kube-state-metrics tells of them, read from a real Prometheus."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from functions.recommender import reading
from functions.recommender.sizing import Observed
from shared.adapters.prometheus import HttpPrometheus
from shared.contracts.events import Resources
from shared.contracts.quantities import GIB
from tests.contract.test_prometheus import BEGIN, DAY, DAYS, END, MIB, NOW, SCRAPE, Written, blocks
from tests.servers import prometheus_server

MIDDAY = END - END % DAY - DAY / 2
CONTAINER, INIT = "kube_pod_container", "kube_pod_init_container"


def killed(written: Written, metrics: str, begin: float, end: float, **labels: str) -> None:
    """Once, at the middle."""
    here = {"namespace": "shop", "container": "proxy", **labels}
    times = range(int(begin), int(end) + 1, SCRAPE)
    counts = [(at, float(at >= (begin + end) / 2)) for at in times]
    written.history.add(f"{metrics}_status_restarts_total", here, counts)
    reason = {**here, "reason": "OOMKilled"}
    written.history.add(f"{metrics}_status_last_terminated_reason", reason, [(at, 1.0) for at, _ in counts])


def init(
    written: Written,
    pod: str,
    container: str,
    instance: str,
    values: tuple[float, ...] = (),
    **labels: str,
) -> None:
    """An init container with cores and bytes of request and limit."""
    here = {"pod": pod, "container": container, "instance": instance}
    written.told(f"{INIT}_info", 1, BEGIN, END, image="x", **here, **labels)
    for resource, value in zip(("cpu", "memory"), values, strict=False):
        written.told(f"{INIT}_resource_requests", value, BEGIN, END, resource=resource, **here)
        written.told(f"{INIT}_resource_limits", value, BEGIN, END, resource=resource, **here)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Observed]:
    written = Written()
    web = written.simple("web", blocks())
    for name in ("db", "cache"):
        written.pod(f"{name}-0", ("StatefulSet", name))
        written.run(f"{name}-0", blocks())
    for pod in (web, "db-0", "cache-0"):
        written.run(pod, blocks(cores=0.02, size=40 * MIB), container="proxy")
        # Told by two kube-state-metrics.
        for instance in ("one", "other"):
            init(written, pod, "proxy", instance, (0.2, 128 * MIB), restart_policy="Always")
            init(written, pod, "migrate", instance, (2, 64 * MIB))
            init(written, pod, "wait", instance)
    killed(written, INIT, BEGIN, END, pod=web)
    for instance in ("one", "other"):
        for kind, free in (("hard", 10.0), ("used", 6.0)):
            written.told(
                "kube_resourcequota",
                free,
                resourcequota="compute",
                resource="requests.cpu",
                type=kind,
                instance=instance,
            )
        for name, most in (("pods", 4096.0), ("older", 8192.0)):
            written.told(
                "kube_limitrange",
                most * MIB,
                limitrange=name,
                type="Pod",
                resource="memory",
                constraint="max",
                instance=instance,
            )
        for node, cores, gib in (
            ("cpu", 32.0, 2.0),
            ("memory", 2.0, 64.0),
            ("both", 16.0, 32.0),
            ("no", 8, 8),
        ):
            metric = "kube_node_status_allocatable"
            written.told(metric, cores, node=node, resource="cpu", unit="core", instance=instance)
            written.told(metric, gib * GIB, node=node, resource="memory", unit="byte", instance=instance)
    # Containers until they became sidecars; the one's uid is not kept.
    for pod, former, later in (("db-0", {"uid": "a"}, {"uid": "b"}), ("cache-0", {}, {})):
        killed(written, CONTAINER, BEGIN, MIDDAY, pod=pod, **former)
        killed(written, INIT, MIDDAY + SCRAPE, END, pod=pod, **later)
    history = written.history.write(tmp_path_factory.mktemp("history") / "history.om")
    return read_all(history)


def read_all(history: Path) -> dict[str, Observed]:
    with prometheus_server(openmetrics=history) as server:
        client = HttpPrometheus(str(server.address))
        found = reading.read(client, "local", NOW, history=timedelta(days=DAYS), oom_days=DAYS)
    return {each.workload.name: each for each in found.workloads}


def test_a_native_sidecar_has_requests_usage_days_and_kills(seen: dict[str, Observed]) -> None:
    app, proxy = seen["web"].containers
    assert (app.name, proxy.name) == ("app", "proxy")
    assert proxy.current == Resources(
        cpu_request_m=200,
        cpu_limit_m=200,
        memory_request_bytes=128 * MIB,
        memory_limit_bytes=128 * MIB,
    )
    assert proxy.usage is not None
    assert 10 < proxy.usage.cpu_p95_m < 30
    assert 40 * MIB <= proxy.usage.memory_max_bytes <= 60 * MIB
    assert (proxy.usage.oom_kills, proxy.oom_killed) == (1, True)
    assert [day.ago for day in proxy.days] == [day.ago for day in app.days] == [2, 1, 0]


def test_the_other_init_containers_are_known_with_what_they_ask_for(seen: dict[str, Observed]) -> None:
    assert seen["web"].init == {
        "migrate": Resources(
            cpu_request_m=2000,
            cpu_limit_m=2000,
            memory_request_bytes=64 * MIB,
            memory_limit_bytes=64 * MIB,
        ),
        "wait": Resources(),
    }


def test_what_a_pod_may_have_is_known(seen: dict[str, Observed]) -> None:
    """The init container asks for two cores, and a quota counts these; of four that are free the pod that a
    rollout adds takes as many as the one that is there. Of the nodes one has most for such a pod, though
    others have more of either.
    """
    assert seen["web"].pod_bounds == {
        "LimitRange": Resources(memory_request_bytes=4096 * MIB, memory_limit_bytes=4096 * MIB),
        "ResourceQuota": Resources(cpu_request_m=3000),
        "node": Resources(cpu_request_m=14400, memory_request_bytes=int(28.8 * GIB)),
    }


def test_kills_count_across_the_day_on_which_a_container_became_a_sidecar(seen: dict[str, Observed]) -> None:
    (db,), (cache,) = ([each.usage for each in seen[name].containers[1:]] for name in ("db", "cache"))
    assert db is not None
    assert cache is not None
    # Without a uid the second count passes for the first one's going on: it is read, and one is missed.
    assert (db.oom_kills, cache.oom_kills) == (2, 1)
