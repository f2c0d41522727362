"""Native sidecars are read and sized as containers are; other init containers say what is around those."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from functions.recommender import queries
from functions.recommender.cluster import Cluster
from functions.recommender.init_containers import held_at_least
from functions.recommender.reading import read
from functions.recommender.report import Entry, entry
from functions.recommender.settings import RecommenderSettings
from functions.recommender.sizing import Observed, ObservedContainer, QosClass, Rules, size
from functions.recommender.whose import Whose
from infra.cli.looking import _notes
from shared.contracts.events import Resources, Usage
from shared.contracts.identity import Workload
from shared.contracts.prometheus import Series
from tests.fakes.prometheus import FakePod, FakePrometheus, deployment

AT = datetime(2026, 11, 20, tzinfo=UTC)
FORTNIGHT = timedelta(days=14)
MIB = 2**20
SETTINGS = RecommenderSettings.read({})
EQUAL = {"cpu": 1.0, "memory": float(2**30)}


def sidecar(name: str = "web", **figures: object) -> FakePod:
    told = {"container": "proxy", "init": True, "restart_policy": "Always", **figures}
    return deployment("shop", name, **told)


def ending(name: str = "web", container: str = "migrate", **figures: object) -> FakePod:
    return deployment("shop", name, container=container, init=True, measured=False, **figures)


def seen(*pods: FakePod) -> Observed:
    (found,) = read(FakePrometheus(*pods), "local", AT, history=FORTNIGHT, oom_days=7).workloads
    return found


def entry_of(observed: Observed) -> Entry:
    return entry(observed, size(observed, SETTINGS.rules), SETTINGS.price_list.base)


def test_a_native_sidecar_is_a_container_like_any_other() -> None:
    pods = (deployment("shop", "web"), sidecar(cpu_p95=0.05, cpu_max=0.08, oom_killed=True, oom_kills=1.0))
    found = seen(*pods, ending(container="migrate", requests={}, limits={}))
    app, proxy = found.containers
    beside = seen(replace(pods[0], container="app"), replace(pods[1], init=False, restart_policy=""))
    assert (app, replace(proxy, sidecar=False)) == beside.containers
    assert proxy.sidecar
    assert proxy.usage is not None
    assert (proxy.usage.cpu_p95_m, proxy.usage.oom_kills, proxy.oom_killed) == (50, 1, True)
    assert found.init == {"migrate": Resources()}
    made = entry_of(found)
    assert [each.name for each in made.containers] == ["app", "proxy"]
    assert made.costs.keys() == {"app", "proxy"}
    assert made.not_measured == ()
    assert made.monthly_saving == entry_of(beside).monthly_saving


def test_where_their_own_kills_would_not_be_seen_memory_of_their_pods_and_of_runs_stays() -> None:
    """As where kube-state-metrics' metrics are kept by a list that has those of other containers alone."""

    class Some(FakePrometheus):
        def _rows(self, promql: str, at: datetime) -> list[Series]:
            rows = super()._rows(promql, at)
            return [each for each in rows if each.labels.get("in") not in ("init reasons", "ended")]

    pods = (deployment("shop", "web"), sidecar(), deployment("shop", "api"), FakePod("shop", ("Job", "once")))
    found = read(Some(*pods), "local", AT, history=FORTNIGHT, oom_days=7).workloads
    told = {each.workload.name: each.tells_kills for each in found}
    assert told == {"web": False, "api": True, "once": False}
    (note,) = _notes([entry_of(each) for each in found], Whose(), None, None)
    assert note.startswith(
        "memory of 2 workloads is not lowered, as OOM kills would not be seen: `kubefinops"
    )


def test_it_costs_no_query_more() -> None:
    plain, meshed = (FakePrometheus(deployment("shop", "web"), *more) for more in ((), (sidecar(), ending())))
    for server in (plain, meshed):
        read(server, "local", AT, history=FORTNIGHT, oom_days=7)
    assert len(meshed.asked) == len(plain.asked)


@pytest.mark.parametrize("policy", ["", "OnFailure", "Never"])
def test_what_is_not_told_to_go_on_is_no_sidecar(policy: str) -> None:
    """So it is of all where kube-state-metrics is older than 2.11."""
    found = seen(deployment("shop", "web"), sidecar(restart_policy=policy))
    assert [each.name for each in found.containers] == ["app"]
    assert found.init.keys() == {"proxy"}


def row(metric: str, pod: str, container: str, value: float = 1.0, **labels: str) -> Series:
    told = {"__name__": metric, "namespace": "shop", "pod": pod, "container": container, **labels}
    return Series(told, value)


def test_where_a_container_becomes_a_sidecar_what_most_pods_set_counts() -> None:
    pods = [("shop", pod) for pod in ("old", "new-1", "new-2", "pending")]
    rows = [
        row("kube_pod_container_info", "old", "app"),
        row("kube_pod_container_info", "old", "proxy"),
        row("kube_pod_container_resource_requests", "old", "proxy", 0.1, resource="cpu"),
        # Of one that waits for a node nothing but the specification is told.
        row(queries.INIT_REQUESTS, "pending", "proxy", 0.2, resource="cpu"),
    ]
    for pod in ("new-1", "new-2"):
        rows += [
            row(queries.INIT_REQUESTS, pod, "proxy", 0.2, resource="cpu"),
            row("kube_pod_container_info", pod, "app"),
            row(queries.INIT_INFO, pod, "proxy", restart_policy="Always"),
        ]
    cluster = Cluster.of(rows)
    assert cluster.container_names(pods) == ["app", "proxy"]
    assert cluster.resources(pods, "proxy") == Resources(cpu_request_m=200)
    assert cluster.init_containers(pods) == {}
    assert not cluster.limits_cpu(pods)


def test_a_sidecar_hides_no_container_that_only_its_requests_tell_of() -> None:
    rows = [
        row("kube_pod_container_resource_requests", "a", "app", 1.0, resource="cpu"),
        row(queries.INIT_INFO, "a", "proxy", restart_policy="Always"),
        row(queries.INIT_INFO, "a", "migrate"),
        row(queries.INIT_LIMITS, "a", "migrate", 2.0, resource="cpu"),
    ]
    cluster = Cluster.of(rows)
    assert cluster.container_names([("shop", "a")]) == ["app", "proxy"]
    # The limit of what has ended throttles nothing that is looked at.
    assert not cluster.limits_cpu([("shop", "a")])
    assert cluster.init_containers([("shop", "a")]) == {"migrate": Resources(cpu_limit_m=2000)}


@pytest.mark.parametrize(
    ("requests", "limits", "qos"),
    [
        (EQUAL, EQUAL, QosClass.GUARANTEED),
        ({}, {}, QosClass.BURSTABLE),
        (EQUAL, {"memory": float(2**30)}, QosClass.BURSTABLE),
    ],
)
def test_the_qos_class_is_that_of_init_containers_too(
    requests: dict[str, float], limits: dict[str, float], qos: QosClass
) -> None:
    found = seen(deployment("shop", "web", limits=EQUAL), ending(requests=requests, limits=limits))
    sized = size(found, SETTINGS.rules)
    assert sized.qos is qos
    # In a Guaranteed pod alone request and limit go together, and it stays one.
    after = sized.containers[0].proposed
    assert (after.cpu_limit_m == after.cpu_request_m) == (qos is QosClass.GUARANTEED)
    assert sized.skipped is None


def test_a_pod_whose_init_container_alone_asks_for_something_is_not_best_effort() -> None:
    nothing = deployment("shop", "web", requests={}, limits={})
    assert size(seen(nothing), SETTINGS.rules).qos is QosClass.BEST_EFFORT
    assert size(seen(nothing, ending()), SETTINGS.rules).qos is QosClass.BURSTABLE


def observed(init: dict[str, Resources], *unmeasured: Resources) -> Observed:
    """Of a container that asks for a core and 1 GiB, and would do with 230m and 230Mi."""
    used = Usage(
        cpu_p95_m=200,
        cpu_max_m=300,
        memory_p95_bytes=180 * MIB,
        memory_max_bytes=200 * MIB,
        samples=4032,
        pods=1,
    )
    current = Resources(cpu_request_m=1000, memory_request_bytes=1024 * MIB)
    others = (ObservedContainer(f"other{n}", each, None) for n, each in enumerate(unmeasured))
    workload = Workload(cluster="local", namespace="shop", kind="Deployment", name="web")
    app = ObservedContainer("app", current, used, 14 * 86400)
    return Observed(workload, 1, 1.0, (app, *others), init=init)


def asks(cpu: int | None = None, memory: int | None = None) -> Resources:
    """CPU in millicores, memory in MiB."""
    return Resources(cpu_request_m=cpu, memory_request_bytes=None if memory is None else memory * MIB)


def test_what_an_init_container_asks_for_is_not_saved_and_the_sentence_says_so() -> None:
    plain, small, large = (
        entry_of(observed(init))
        for init in ({}, {"copy": asks(230, 230)}, {"copy": asks(100), "migrate": asks(600, 64)})
    )
    assert small.containers == plain.containers
    assert small.monthly_saving == plain.monthly_saving
    assert large.decision == "proposed"
    assert large.containers[0].proposed == plain.containers[0].proposed
    cpu, cpu_limit, memory, memory_limit = large.containers[0].reasons
    assert cpu == (
        f"{plain.containers[0].reasons[0]}; init container migrate asks for 600m, which stays reserved"
    )
    assert (cpu_limit, memory, memory_limit) == plain.containers[0].reasons[1:]
    # Of 770 millicores 400.
    rate = SETTINGS.price_list.base.core_hour.amount
    lost = plain.monthly_saving.amount - large.monthly_saving.amount
    assert float(lost) == pytest.approx(0.37 * 730 * float(rate), abs=0.01)
    assert large.monthly_cost_before == plain.monthly_cost_before
    (cost,) = large.costs.values()
    assert cost.monthly_saving == large.monthly_saving


def test_what_containers_without_usage_ask_for_is_reserved_beside() -> None:
    assert held_at_least({"migrate": asks(600, 64)}, [asks(500), asks(memory=100)]) == asks(100, 0)
    assert held_at_least({"migrate": asks(600, 64)}, [asks(600, 64)]) is None
    assert held_at_least({}, []) is None
    # 500 and 230 millicores are more than 600.
    found = entry_of(observed({"migrate": asks(600)}, asks(500)))
    assert "init container" not in found.containers[0].reasons[0]
    assert found.monthly_saving == entry_of(observed({}, asks(500))).monthly_saving


def test_of_containers_without_any_usage_an_init_container_is_paid_for_too() -> None:
    others = (ObservedContainer("one", asks(100), None), ObservedContainer("two", asks(200), None))
    plain, large = (
        entry_of(replace(observed(init), containers=others)) for init in ({}, {"migrate": asks(2000)})
    )
    rate = SETTINGS.price_list.base.core_hour.amount
    more = large.monthly_cost_before.amount - plain.monthly_cost_before.amount
    assert float(more) == pytest.approx(1.7 * 730 * float(rate), abs=0.01)
    assert large.monthly_cost_after == large.monthly_cost_before
    parts = [cost.monthly_cost_before.amount for cost in large.costs.values()]
    assert sum(parts) == large.monthly_cost_before.amount


def test_where_an_init_container_asks_for_all_of_it_nothing_is_saved_and_nothing_proposed() -> None:
    found = entry_of(observed({"migrate": asks(1000, 2048)}))
    assert (found.decision, found.reason) == (
        "skipped",
        "it would be lowered, and save nothing: an init container asks for as much",
    )
    # The 2 GiB are paid for.
    assert found.monthly_cost_before.amount > entry_of(observed({})).monthly_cost_before.amount
    assert found.monthly_saving.amount == 0


def test_a_request_that_is_raised_says_nothing_of_init_containers() -> None:
    raised = observed({"migrate": asks(4000, 4096)})
    (app,) = raised.containers
    raised = replace(raised, containers=(replace(app, current=asks(100, 100)),))
    made = size(raised, Rules())
    assert made.skipped is None
    assert not any("init container" in why for why in made.containers[0].reasons)
