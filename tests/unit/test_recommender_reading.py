"""The queries' ranges and matchers, who owns what, and the parts of a scan."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from functions.recommender import queries
from functions.recommender.bounds import Pods
from functions.recommender.cluster import Cluster
from functions.recommender.queries import (
    Scope,
    duration,
    owners,
    runs,
    state,
    usage,
    window,
    workloads,
)
from functions.recommender.reading import discover, read
from functions.recommender.report import entry
from functions.recommender.rules import Rules
from functions.recommender.settings import RecommenderSettings
from functions.recommender.sharding import shards
from functions.recommender.sizing import Jvm, size
from infra.cli.looking import Ownerless
from shared.contracts.errors import BadSetting
from shared.contracts.events import Resources
from shared.contracts.identity import Workload
from shared.contracts.prometheus import Curve, QueryFailed, Series
from tests.fakes.prometheus import FakeNode, FakePod, FakePrometheus, deployment, rollout

FORTNIGHT = timedelta(days=14)
MIB = 2**20


@pytest.mark.parametrize("interval", [15, 30, 60, 75, 120, 300, 900])
@pytest.mark.parametrize("more", [0, 1])
def test_ranges_hold_four_scrapes_whether_or_not_a_range_has_both_its_ends(interval: int, more: int) -> None:
    ranges = window(FORTNIGHT, 3600 // interval + more, max(1, 600 // interval) + more)
    assert ranges.cpu >= 4 * interval
    assert ranges.step >= interval
    assert ranges.cpu % 300 == ranges.step % 300 == 0
    if interval <= 75:
        assert (ranges.cpu, ranges.step) == (300, 300)
    if interval <= 120:
        assert max(60, 4 * interval) <= ranges.recent_cpu <= 600
        assert max(30, interval) <= ranges.recent_step <= 150
    if interval == 15:
        # As contracts.md has it: rate(...[1m])[5m:30s].
        assert (ranges.recent_cpu, ranges.recent_step) == (60, 30)


def test_without_any_sample_a_scrape_a_minute_is_assumed() -> None:
    ranges = window(FORTNIGHT, None, None)
    assert (ranges.cpu, ranges.step, ranges.recent_cpu, ranges.recent_step) == (300, 300, 240, 60)


@pytest.mark.parametrize("interval", [15, 30, 60, 90])
def test_a_young_servers_windows_are_no_longer_though_scrapes_failed_in_its_only_hour(interval: int) -> None:
    def ranges(in_hour: int) -> tuple[int, int]:
        told = [Series({"in": "1h, 0h ago"}, in_hour), Series({"in": "10m"}, 600 // interval)]
        found = window(FORTNIGHT, *queries.samples(told))
        return found.cpu, found.step

    assert ranges(1200 // interval) == ranges(3600 // interval)


def test_a_longer_past_tells_how_often_scrapes_came_in_most_of_it() -> None:
    told = [Series({"in": f"1h, {ago}h ago"}, 12) for ago in (77, 174, 255)]
    lately = [Series({"in": "1h, 0h ago"}, 60), Series({"in": "10m"}, 20)]
    assert queries.samples([*told, *lately]) == (12, 20)


def test_where_scrapes_have_become_rare_windows_are_long_enough_for_them() -> None:
    before = [Series({"in": f"1h, {ago}h ago"}, 60) for ago in (77, 174, 255)]

    def samples(in_hour: float, in_ten_minutes: float | None) -> tuple[float | None, float | None]:
        last = Series({"in": "1h, 0h ago"}, in_hour)
        return queries.samples(
            [*before, last, *([Series({"in": "10m"}, in_ten_minutes)] if in_ten_minutes else [])]
        )

    assert samples(12, 2) == (12, 2)
    assert samples(13, 3) == (13, 3)
    # The server was down in a part of the hour, or is; or its containers are some minutes old.
    assert samples(20, 10) == (60, 10)
    assert samples(20, None) == (60, None)
    assert samples(5, 5) == (60, 5)


@pytest.mark.parametrize(
    ("seconds", "text"), [(1209600, "14d"), (3600, "1h"), (300, "5m"), (90, "90s"), (0, "0s")]
)
def test_a_duration_is_written_as_promql_has_it(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def test_names_match_as_they_are_written() -> None:
    scope = Scope(("shop", "a.b"), ("check.out", "x" * 60))
    assert scope.namespace_matcher == r'namespace=~"shop|a\\.b"'
    assert scope.pod_matcher == r'pod=~"(?:check\\.out|' + "x" * 46 + ').*", '
    hostile = Scope(('"} or up{a="',))
    assert '\\"' in hostile.namespace_matcher
    assert '"} or' not in hostile.namespace_matcher.replace('\\"', "").removesuffix('"')


def test_every_query_of_usage_leaves_out_what_is_no_container() -> None:
    for promql in usage(Scope(("shop",)), window(FORTNIGHT, 60, 10)).values():
        for selector in promql.split("{")[1:]:
            assert 'namespace=~"shop", container!="", container!="POD"' in selector


LABELS = 'cluster="eu-1", env="prod"'
EVERYTHING = Scope(labels=LABELS)
NARROW = Scope(("shop",), ("web",), LABELS)


@pytest.mark.parametrize("scope", [EVERYTHING, NARROW])
def test_the_clusters_labels_are_in_every_selector_of_every_query(scope: Scope) -> None:
    ranges = window(FORTNIGHT, 60, 10)
    asked = [
        state(scope),
        workloads(scope),
        owners(scope, FORTNIGHT),
        *queries.frequencies(scope, FORTNIGHT, timedelta(days=1)).values(),
        queries.node_facts(LABELS),
        queries.pod_nodes(scope),
        *usage(scope, ranges).values(),
        *queries.now(scope, ranges).values(),
        *(ask(scope) for ask in queries.windows(ranges).values()),
        queries.windows(ranges, recorded=True)["cpu_windows"](scope),
        queries.rule_differs(scope),
        queries.owner_series(scope),
        *(
            ask(86400)(scope)
            for ask in (
                queries.oom_kills,
                queries.killed_limit,
                queries.memory_limits,
                queries.killed_runs,
                lambda _: lambda scope: queries.mean_replicas(scope, FORTNIGHT),
                queries.throttled_share,
                queries.memory_max,
            )
        ),
        *runs(scope, ranges).values(),
    ]
    for promql in asked:
        selectors = re.findall(r"\{(.*?)\}", promql)
        assert selectors
        assert all(LABELS in selector for selector in selectors), promql
        # A selector without braces would be none of these: each metric's name is followed by one.
        assert not re.search(r"\b(?<!:)(kube|container|rollout|jvm)_\w+(?![\w{|\":])", promql), promql


def test_a_reading_and_a_discovery_put_them_into_whatever_they_ask() -> None:
    prometheus = FakePrometheus(deployment("shop", "web"), FakePod("shop", ("CronJob", "night")))
    at = datetime(2026, 11, 20, tzinfo=UTC)
    found = discover(prometheus, "local", at, labels=LABELS)
    read(prometheus, "local", at, history=FORTNIGHT, oom_days=7, wanted=found[:1], labels=LABELS)
    assert len(prometheus.asked) > 14
    assert all(LABELS in promql for promql in prometheus.asked)


AT = datetime(2026, 11, 20, tzinfo=UTC)


def asked(prometheus: FakePrometheus, *, by_node: bool = False, spot_matters: bool = True) -> list[str]:
    """The queries of a reading."""
    before = len(prometheus.asked)
    read(
        prometheus,
        "local",
        AT,
        history=FORTNIGHT,
        oom_days=7,
        labels=LABELS,
        by_node=by_node,
        spot_matters=spot_matters,
    )
    return prometheus.asked[before:]


def test_hours_that_are_looked_at_for_scrapes_are_not_the_same_of_each_day() -> None:
    for days in (7, 14, 28, 30):
        asked_at = queries._hours(timedelta(days=days))
        assert len({hour % 24 for hour in asked_at}) == len(asked_at) == 4


def test_prices_cost_no_query_where_nothing_asks_for_them_and_at_most_two_else() -> None:
    prometheus = FakePrometheus(deployment("shop", "web", node="n1"), deployment("shop", "api", node="n2"))
    prometheus.nodes = [FakeNode("n1")]
    plain = asked(prometheus)
    assert len(plain) == 14
    assert not any("kube_pod_info" in promql or "status_capacity" in promql for promql in plain)
    by_node = asked(prometheus, by_node=True)
    more = set(by_node) - set(plain)
    assert more == {queries.pod_nodes(EVERYTHING), queries.node_facts(LABELS)}
    prometheus.nodes = [FakeNode("n1", labels={"label_karpenter_sh_capacity_type": "spot"})]
    assert sorted(set(asked(prometheus)) - set(plain)) == [queries.pod_nodes(EVERYTHING)]
    assert sorted(asked(prometheus, spot_matters=False)) == sorted(plain)
    assert len(asked(prometheus, by_node=True)) == len(plain) + 2


def test_a_workload_has_the_nodes_of_its_pods() -> None:
    prometheus = FakePrometheus(
        deployment("shop", "web", node="n1"), deployment("shop", "api"), deployment("data", "web", node="n2")
    )
    prometheus.nodes = [
        FakeNode("n1", 4, 16),
        FakeNode("n2", labels={"label_karpenter_sh_capacity_type": "spot"}),
    ]
    found = read(prometheus, "local", AT, history=FORTNIGHT, oom_days=7, namespaces=["shop"], by_node=True)
    assert {each.workload.name: each.nodes for each in found.workloads} == {"api": (), "web": ("n1",)}
    assert found.nodes["n1"].gib == 16
    assert found.spot == {"n2"}


def test_a_server_that_refuses_the_state_is_asked_for_nodes_by_themselves() -> None:
    only = state(NARROW, ("kube_node_labels",))
    assert only.startswith("label_replace(max by (node) (last_over_time(kube_node_labels{")
    assert "namespace" not in only
    assert "kube_node_labels" not in state(NARROW, ("kube_pod_owner",))


def row(metric: str, value: float = 1.0, **labels: str) -> Series:
    return Series({"__name__": metric, "namespace": "shop"} | labels, value)


def owned(pod: str, kind: str, name: str, *, controller: str = "true") -> Series:
    return row("kube_pod_owner", pod=pod, owner_kind=kind, owner_name=name, owner_is_controller=controller)


def test_a_pod_belongs_to_what_owns_its_owner() -> None:
    cluster = Cluster.of(
        [
            owned("web-1-a", "ReplicaSet", "web-1"),
            owned("lone-1-a", "ReplicaSet", "lone-1"),
            owned("night-7-a", "Job", "night-7"),
            owned("once-a", "Job", "once"),
            owned("db-0", "StatefulSet", "db"),
            owned("kube-proxy-node-1", "Node", "node-1"),
            owned("bare", "<none>", "<none>"),
            # The exporter's own pod, as a scrape configuration without labeldrop leaves it.
            row(
                "kube_replicaset_owner",
                replicaset="web-1",
                owner_kind="Deployment",
                owner_name="web",
                pod="ksm",
            ),
            row("kube_replicaset_owner", replicaset="lone-1", owner_kind="<none>", owner_name="<none>"),
            row("kube_job_owner", job_name="night-7", owner_kind="CronJob", owner_name="night"),
            row("kube_job_owner", job_name="week-3", owner_kind="CronJob", owner_name="week"),
            row("kube_deployment_spec_replicas", 0.0, deployment="asleep"),
            row("kube_cronjob_info", cronjob="night"),
            row("kube_cronjob_info", cronjob="month"),
        ]
    )
    assert cluster.controllers() == {
        ("shop", "Deployment", "asleep"): [],
        ("shop", "Deployment", "web"): [("shop", "web-1-a")],
        ("shop", "ReplicaSet", "lone-1"): [("shop", "lone-1-a")],
        ("shop", "CronJob", "month"): [],
        ("shop", "CronJob", "night"): [("shop", "night-7-a")],
        ("shop", "CronJob", "week"): [],
        ("shop", "Job", "once"): [("shop", "once-a")],
        ("shop", "StatefulSet", "db"): [("shop", "db-0")],
    }


@pytest.mark.parametrize(
    ("job", "told", "controller", "is_known"),
    [
        ("nightly-29384532", None, ("CronJob", "nightly"), True),
        ("nightly-29384532", ("CronJob", "other"), ("CronJob", "other"), True),
        ("nightly-29384532", ("<none>", "<none>"), ("Job", "nightly-29384532"), True),
        ("migrate-20260101", None, ("Job", "migrate-20260101"), False),
        ("migrate-1", None, ("Job", "migrate-1"), False),
    ],
)
def test_where_nothing_tells_of_a_job_its_name_tells_of_the_cron_job(
    job: str, told: tuple[str, str] | None, controller: tuple[str, str], is_known: bool
) -> None:
    rows = [owned("a", "Job", job)]
    if told is not None:
        rows.append(row("kube_job_owner", job_name=job, owner_kind=told[0], owner_name=told[1]))
    owners = Cluster.of(rows).owners
    assert owners.controller(("shop", "a")) == ("shop", *controller)
    # Whose it is that is not known may be any workload's whose name begins as the pod's.
    assert owners.is_known(("shop", "a")) is is_known


def test_an_owner_that_is_not_the_controller_owns_nothing() -> None:
    cluster = Cluster.of(
        [
            owned("db-0", "StatefulSet", "db"),
            owned("db-0", "ConfigMap", "note", controller="false"),
        ]
    )
    assert list(cluster.controllers()) == [("shop", "StatefulSet", "db")]


def requests(pod: str, cpu: float, memory: float) -> list[Series]:
    def told(metric: str, resource: str, value: float) -> Series:
        return row(
            f"kube_pod_container_resource_{metric}", value, pod=pod, container="app", resource=resource
        )

    return [
        told("requests", "cpu", cpu),
        told("requests", "memory", memory),
        told("limits", "memory", memory),
    ]


def test_in_a_rollout_the_values_of_most_pods_count() -> None:
    rows = [*requests("a", 0.1, 1e8), *requests("b", 0.25, 2e8), *requests("c", 0.25, 2e8)]
    pods = [("shop", pod) for pod in "abc"]
    assert Cluster.of(rows).resources(pods, "app") == Resources(
        cpu_request_m=250, memory_request_bytes=200_000_000, memory_limit_bytes=200_000_000
    )
    assert Cluster.of(rows).resources(pods, "sidecar") == Resources()


@pytest.mark.parametrize(
    ("metrics", "scales_on"),
    [
        ([("cpu", "utilization"), ("queue_length", "average")], {"cpu"}),
        ([("memory", "utilization")], {"memory"}),
        # An absolute amount does not depend on the request.
        ([("cpu", "average")], set()),
        ([], {"unknown"}),
    ],
)
def test_an_autoscaler_is_judged_by_what_it_scales_on(
    metrics: list[tuple[str, str]], scales_on: set[str]
) -> None:
    rows = [
        row(
            "kube_horizontalpodautoscaler_info",
            horizontalpodautoscaler="web",
            scaletargetref_kind="Deployment",
            scaletargetref_name="web",
        ),
        *(
            row(
                "kube_horizontalpodautoscaler_spec_target_metric",
                horizontalpodautoscaler="web",
                metric_name=name,
                metric_target_type=kind,
            )
            for name, kind in metrics
        ),
    ]
    assert Cluster.of(rows).scales_on(("shop", "Deployment", "web")) == scales_on
    assert Cluster.of(rows).scales_on(("shop", "Deployment", "other")) == frozenset()


@pytest.mark.parametrize("metric", queries.VPA_MODES)
def test_a_vertical_autoscaler_is_known_by_the_mode_that_is_set(metric: str) -> None:
    target = {"target_kind": "Deployment", "target_name": "web"}
    modes = {"Off": 0.0, "Initial": 0.0, "Recreate": 0.0, "Auto": 1.0}
    rows = [row(metric, value, update_mode=mode, **target) for mode, value in modes.items()]
    assert Cluster.of(rows).resized_by(("shop", "Deployment", "web")) == "Auto"
    assert Cluster.of(rows).resized_by(("shop", "StatefulSet", "web")) == ""
    advice = [row(metric, float(mode == "Off"), update_mode=mode, **target) for mode in modes]
    assert Cluster.of(advice).resized_by(("shop", "Deployment", "web")) == ""


def test_an_autoscaler_that_does_not_tell_what_it_scales_scales_what_has_its_name_or_else_maybe_all() -> None:
    """As several managed offers keep them: how many pods there are, and neither target nor metrics."""

    def scaled(namespace: str, *autoscalers: str) -> Cluster:
        rows = [
            row(queries.HPA_REPLICAS, 2.0, namespace=namespace, horizontalpodautoscaler=name)
            for name in autoscalers
        ]
        owners = {"web-1": "ReplicaSet", "db": "StatefulSet", "agent": "DaemonSet", "nightly-1": "Job"}
        rows += [owned(f"{name}-0", kind, name) for name, kind in owners.items()]
        return Cluster.of([*rows, row("kube_deployment_spec_replicas", deployment="web-1")])

    def unknown(cluster: Cluster) -> list[str]:
        return [name for _, kind, name in cluster.controllers() if cluster.scales_on(("shop", kind, name))]

    by_name = scaled("shop", "db")
    assert unknown(by_name) == ["db"]
    assert by_name.scales_on(("shop", "StatefulSet", "db")) == {"unknown"}
    mean = Series({"namespace": "shop", "horizontalpodautoscaler": "db"}, 1.5)
    assert by_name.means([mean]) == {("shop", "StatefulSet", "db"): 1.5}
    assert unknown(scaled("elsewhere", "keda-hpa-db")) == []
    # Of a Deployment and a ReplicaSet of one name it may be either.
    assert set(unknown(scaled("shop", "web-1"))) == {"web-1", "db"}
    assert set(unknown(scaled("shop", "keda-hpa-db"))) == {"web-1", "db"}


AT = datetime(2026, 11, 20, tzinfo=UTC)
CANARY = (
    rollout("shop", "web", cpu_p95=0.2, memory_max=300 * MIB),
    rollout("shop", "web", "7d8e1", cpu_p95=0.5, memory_max=200 * MIB),
)


def test_a_rollout_owns_the_pods_of_all_its_replica_sets_and_is_there_without_any() -> None:
    prometheus = FakePrometheus(*CANARY)
    web = Workload(cluster="local", namespace="shop", kind="Rollout", name="web")
    assert discover(prometheus, "local", AT) == [web]
    assert shards([web])[0].workloads == ("shop/Rollout/web",)
    asleep = row("kube_replicaset_owner", replicaset="asleep-1", owner_kind="Rollout", owner_name="asleep")
    assert Cluster.of([asleep]).controllers() == {("shop", "Rollout", "asleep"): []}
    # As it is scraped without honor_labels: of the controller's own namespace, and of no workload there.
    elsewhere = row("rollout_info_replicas_desired", 3.0, name="web", exported_namespace="other")
    assert Cluster.of([elsewhere]).controllers() == {}


def test_a_rollout_is_read_and_sized_as_a_deployment_is() -> None:
    prometheus = FakePrometheus(*CANARY)
    reading = read(prometheus, "local", AT, history=FORTNIGHT, oom_days=7)
    (web,) = reading.workloads
    asked = len(prometheus.asked)
    assert (web.replicas, web.pods) == (3, 3.0)
    assert reading.pods[web.workload] == {("shop", "web-6c9f7-x2b4c"), ("shop", "web-7d8e1-x2b4c")}
    (app,) = web.containers
    assert app.usage is not None
    assert (app.usage.pods, app.usage.cpu_p95_m, app.usage.memory_max_bytes) == (2, 500, 300 * MIB)
    sized = size(web, RecommenderSettings.read({}).rules)
    assert sized.skipped is None
    assert sized.containers[0].proposed.cpu_request_m == 575
    others = FakePrometheus(deployment("shop", "web"))
    read(others, "local", AT, history=FORTNIGHT, oom_days=7)
    assert len(others.asked) == asked


def test_without_its_own_controllers_metric_a_rollout_has_the_pods_that_live() -> None:
    prometheus = FakePrometheus(*CANARY)
    told = prometheus.query
    prometheus.query = lambda promql, at, timeout=None: [  # type: ignore[method-assign]
        each for each in told(promql, at, timeout) if "rollout" not in each.labels.get("__name__", "")
    ]
    (web,) = read(prometheus, "local", AT, history=FORTNIGHT, oom_days=7).workloads
    assert (web.replicas, web.pods) == (2, 2.0)


def test_of_limit_ranges_the_strictest_bounds_what_a_container_may_set() -> None:
    def told(name: str, resource: str, constraint: str, value: float, kind: str = "Container") -> Series:
        labels = {"__name__": "kube_limitrange", "namespace": "shop", "limitrange": name, "type": kind}
        return Series({**labels, "resource": resource, "constraint": constraint}, value)

    cluster = Cluster.of(
        [
            told("a", "cpu", "min", 0.05),
            told("b", "cpu", "min", 0.1),
            told("a", "memory", "max", 2**30),
            told("b", "memory", "max", 2**31),
            told("a", "memory", "maxLimitRequestRatio", 4),
            told("a", "memory", "default", 2**20),
            told("pods", "cpu", "min", 3, "Pod"),
            told("pods", "memory", "maxLimitRequestRatio", 3, "Pod"),
            told("b", "memory", "maxLimitRequestRatio", 2.5, "Pod"),
        ]
    )
    current = Resources(memory_request_bytes=2**28, memory_limit_bytes=2**29)
    least, most = cluster.bounds.of_container("shop", current)
    assert least == Resources(cpu_request_m=100)
    assert most == Resources(memory_request_bytes=2**30, memory_limit_bytes=2**30)
    assert cluster.bounds.of_container("other", current) == (Resources(), Resources())
    assert cluster.bounds.least_of_pod("shop") == Resources(cpu_request_m=3000, cpu_limit_m=3000)
    assert cluster.bounds.ratios_of_pod("shop") == {"memory": 2.5}
    assert cluster.bounds.ratios_of_pod("other") == {}


def test_a_pod_may_set_what_limit_ranges_quotas_and_nodes_have_for_it() -> None:
    def quota(name: str, resource: str, hard: float, used: float, namespace: str = "shop") -> list[Series]:
        labels = {"__name__": "kube_resourcequota", "namespace": namespace, "resourcequota": name}
        return [
            Series({**labels, "resource": resource, "type": kind}, value)
            for kind, value in (("hard", hard), ("used", used))
        ]

    pods = {"__name__": "kube_limitrange", "namespace": "shop", "limitrange": "a", "type": "Pod"}
    node = {"__name__": "kube_node_status_allocatable", "resource": "memory"}
    rows = [
        Series({**pods, "resource": "cpu", "constraint": "max"}, 4),
        Series({**pods, "resource": "cpu", "constraint": "min"}, 1),
        Series(node, 2**34),
        *quota("compute", "requests.cpu", 10, 8),
        *quota("older", "cpu", 10, 9),
        *quota("compute", "limits.memory", 2**34, 2**33),
        *quota("compute", "pods", 10, 1),
        # For other pods: less of it is used than these have.
        *quota("batch", "requests.memory", 2**33, 0),
        *quota("full", "limits.cpu", 1, 2, "other"),
    ]
    bounds = Cluster.of(rows).bounds
    set_now = [Resources(cpu_request_m=1000, memory_request_bytes=2**29, memory_limit_bytes=2**30)] * 2
    four = Pods(4, set_now={"cpu_request_m": 8000, "memory_request_bytes": 2**32})
    ranges = Resources(cpu_request_m=4000, cpu_limit_m=4000)
    assert bounds.of_pod("shop", set_now, [], four) == {
        "LimitRange": ranges,
        "ResourceQuota": Resources(cpu_request_m=2250, memory_limit_bytes=2**32),
        "node": Resources(memory_request_bytes=int(0.9 * 2**34)),
    }
    # What an init container asks for is counted where it is more.
    init = [Resources(cpu_request_m=4000)]
    assert bounds.of_pod("shop", set_now, init, Pods(2))["ResourceQuota"].cpu_request_m == 4500
    # More is used than there is: one that ends makes no room for another.
    over = bounds.of_pod("other", [Resources(cpu_limit_m=1000)], [], Pods(2))
    assert over["ResourceQuota"] == Resources(cpu_limit_m=0)
    # What runs to completion is not counted in between.
    assert bounds.of_pod("shop", set_now, [], Pods())["ResourceQuota"].cpu_request_m == 2000
    assert bounds.of_pod("shop", set_now[:1], [], Pods())["ResourceQuota"].memory_request_bytes == 2**33
    assert Cluster.of([]).bounds.of_pod("shop", set_now, [], four) == {}


@pytest.mark.parametrize(
    ("pods", "room", "most"),
    [
        # Of those that are there one is ended first, or one more has to fit beside all of them: the next time
        # too, once they are raised.
        (Pods(3), 600, 1200),
        (Pods(3, added=1), 1800, 1200),
        (Pods(3, added=1), 900, 900),
        (Pods(3, added=1), -100, 0),
        (Pods(3), -100, 900),
        (Pods(3, added=3), 4200, 1200),
        (Pods(3, added=3), 2400, 800),
        (Pods(), 600, 1000),
    ],
)
def test_a_quota_has_room_for_the_pods_of_a_rollout(pods: Pods, room: int, most: int) -> None:
    assert pods.most(1000, room) == most


def test_a_quota_is_not_filled_so_far_that_another_could_not_be_rolled_out() -> None:
    pods = Pods(2, kept={"cpu_request_m": 500})
    assert pods.most(1000, 700, "cpu_request_m") == 1100
    assert pods.most(1000, 700, "cpu_limit_m") == 1350
    # It could not before.
    assert pods.most(1000, 400, "cpu_request_m") == 1200


def test_what_a_quota_counts_of_pods_is_what_is_wanted_and_is_there() -> None:
    def told(name: str, value: float, **labels: str) -> Series:
        return Series({"__name__": name, "namespace": "shop", **labels}, value)

    def cluster(*more: Series) -> Cluster:
        replicas = told("kube_deployment_spec_replicas", 2, deployment="web")
        metric = "kube_pod_container_resource_requests"
        values = (("a", 1), ("b", 1), ("evicted", 1), ("new", 0.5))
        return Cluster.of(
            [
                replicas,
                *more,
                *(
                    told(metric, value, pod=pod, container=name, resource="cpu")
                    for pod, value in values
                    for name in ("app", "proxy")
                ),
            ]
        )

    web, pods = ("shop", "Deployment", "web"), [("shop", name) for name in ("a", "b", "evicted", "new")]
    unknown = cluster()
    assert unknown.counted(web, pods, pods[:2]) == Pods(2, 1, {"cpu_request_m": 4000})
    assert unknown.counted(web, pods, pods[:3]).set_now == {"cpu_request_m": 4000}
    assert unknown.counted(web, pods, pods).set_now == {"cpu_request_m": 3000}
    assert unknown.counted(("shop", "StatefulSet", "db"), pods, pods[:1]) == Pods(
        4, 0, {"cpu_request_m": 2000}
    )
    assert unknown.counted(("shop", "Rollout", "web"), pods, pods[:1]).added == 4
    metric = "kube_deployment_spec_strategy_rollingupdate_max_unavailable"
    for unavailable, name, added in ((0, "web", 1), (1, "web", 0), (0, "other", 0)):
        known = cluster(told(metric, unavailable, deployment=name))
        assert known.counted(web, pods, pods).added == added
    quota = told("kube_resourcequota", 9, resourcequota="q", resource="requests.cpu", type="hard")
    owner = {"owner_kind": "ReplicaSet", "owner_name": "web-1", "owner_is_controller": "true"}
    above = {"owner_kind": "Deployment", "owner_name": "web", "owner_is_controller": "true"}
    owned = cluster(
        quota,
        told("kube_replicaset_owner", 1, replicaset="web-1", **above),
        *(told("kube_pod_owner", 1, pod=pod, **owner) for pod in ("a", "new")),
    )
    assert owned.counted(web, pods, pods).kept == {"cpu_request_m": 2000}


def test_where_an_autoscaler_sets_how_many_pods_run_their_mean_is_paid_for() -> None:
    """Three are wanted of each now."""
    prometheus = FakePrometheus(deployment("shop", "web"), deployment("shop", "api"))
    prometheus.scaled, prometheus.mean_replicas = {("shop", "web"): "cpu"}, 1.4971
    found = read(prometheus, "local", AT, history=FORTNIGHT, oom_days=7).workloads
    assert {each.workload.name: (each.replicas, each.pods) for each in found} == {
        "api": (3, 3.0),
        "web": (3, 1.5),
    }
    (promql,) = [each for each in prometheus.asked if "avg_over_time" in each]
    assert "[14d]" in promql


def test_pods_of_no_workload_that_run_are_told_with_what_they_request() -> None:
    own = FakePod("kube-system", ("Node", "n1"), suffix="etcd")
    gone = FakePod("shop", ("", ""), suffix="gone", measured=False)
    by_hand = FakePod("shop", ("<none>", "<none>"), suffix="shell", requests={"cpu": 0.25})
    found = read(
        FakePrometheus(deployment("shop", "web"), own, gone, by_hand),
        "local",
        AT,
        history=FORTNIGHT,
        oom_days=7,
    )
    assert [each.workload.name for each in found.workloads] == ["web"]
    assert found.ownerless == {
        ("kube-system", own.name): Resources(cpu_request_m=1000, memory_request_bytes=2**30),
        ("shop", by_hand.name): Resources(cpu_request_m=250, memory_request_bytes=0),
    }
    both = Ownerless.of(found)
    assert both == Ownerless(2, 1250, 2**30)
    assert both.told == (
        "2 pods of no workload (a node's own, or made by hand) are left out: asked for are 1.25 cores and"
        " 1.0 GiB."
    )
    assert Ownerless().told == ""


def test_an_autoscaler_may_scale_a_rollout() -> None:
    scaled = row(
        "kube_horizontalpodautoscaler_info",
        horizontalpodautoscaler="web",
        scaletargetref_kind="Rollout",
        scaletargetref_name="web",
    )
    cluster = Cluster.of([scaled])
    assert cluster.scales_on(("shop", "Rollout", "web")) == {"unknown"}
    assert cluster.scales_on(("shop", "Deployment", "web")) == frozenset()


def test_a_jvm_is_read_with_the_state_and_its_memory_follows_its_heap() -> None:
    told = {("jvm_memory_max_bytes", "heap"): 400.0 * MIB, ("jvm_memory_used_bytes", "nonheap"): 100.0 * MIB}
    java = deployment("shop", "java", image="registry.example/shop/java:1", jvm=told)
    unscraped = deployment("shop", "silent", image="registry.example/shop/api:4-jre21")
    label = {"annotation_kubefinops_io_jvm_max_heap": "app=300Mi"}
    prometheus = FakePrometheus(
        java,
        unscraped,
        deployment("shop", "web", image="shop/javascript:2"),
        deployment("shop", "annotated", image="shop/api:4", annotations=label),
    )
    reading = read(prometheus, "local", AT, history=FORTNIGHT, oom_days=7)
    seen = {each.workload.name: each.containers[0].jvm for each in reading.workloads}
    assert seen == {
        "java": Jvm("image java:1", 400 * MIB, 100 * MIB),
        "silent": Jvm("image api:4-jre21"),
        "web": None,
        "annotated": Jvm("its annotation", 300 * MIB, heap_annotated=True),
    }
    settings = RecommenderSettings.read({})
    entries = {
        each.workload.name: entry(each, size(each, settings.rules), settings.price_list.base)
        for each in reading.workloads
    }
    # The heap, what lies beside it, and the overhead; as it was; the peak of 220 MiB with the headroom.
    assert {name: each.containers[0].proposed.memory_request_bytes for name, each in entries.items()} == {
        "java": (400 + 100 + 128) * MIB,
        "silent": 1024 * MIB,
        "web": 253 * MIB,
        "annotated": (300 + 128 + 128) * MIB,
    }
    # The report has what it takes to compute that again.
    found = entries["java"].model_dump(mode="json")["jvms"]
    assert {name: Jvm(**each) for name, each in found.items()} == {"app": seen["java"]}
    assert entries["web"].jvms == {}
    plain = FakePrometheus(deployment("shop", "web"))
    read(plain, "local", AT, history=FORTNIGHT, oom_days=7)
    assert len(prometheus.asked) == len(plain.asked)


def workload(namespace: str, name: str) -> Workload:
    return Workload(cluster="local", namespace=namespace, kind="Deployment", name=name)


def test_small_namespaces_share_a_shard_and_a_large_one_is_cut() -> None:
    small = [workload(f"small-{number}", "web") for number in range(5)]
    large = [workload("large", f"web-{number:03d}") for number in range(450)]
    parts = shards([*small, *large])
    assert [len(part.workloads) for part in parts] == [200, 200, 55]
    assert [part.name.rpartition("-")[0] for part in parts] == ["large", "large", "large-to-small-4"]
    assert {name for part in parts for name in part.workloads} == {each.subject for each in small + large}


def test_a_shard_is_named_after_what_is_in_it() -> None:
    web, api = workload("shop", "web"), workload("shop", "api")
    assert shards([web, api]) == shards([api, web])
    assert shards([web])[0].name != shards([api])[0].name


def test_long_names_make_smaller_shards() -> None:
    parts = shards([workload("n" * 63, f"{number:03d}" + "w" * 250) for number in range(200)])
    assert len(parts) > 1
    assert all(sum(len(name) for name in part.workloads) < 40 * 1024 for part in parts)


def test_the_state_is_asked_for_in_one_query() -> None:
    promql = state(Scope(("shop",)))
    for metric in (
        "kube_pod_owner",
        "kube_pod_container_resource_limits",
        "kube_horizontalpodautoscaler_info",
    ):
        assert metric in promql


def test_settings_are_read_as_people_write_them() -> None:
    settings = RecommenderSettings.read(
        {
            "KUBEFINOPS_CPU_FLOOR": "20m",
            "KUBEFINOPS_MEMORY_FLOOR": "64Mi",
            "KUBEFINOPS_CPU_HEADROOM_PERCENT": "25",
            "KUBEFINOPS_CURRENCY": "EUR",
            "KUBEFINOPS_PRICE_CORE_HOUR": "0.03",
            "KUBEFINOPS_PRICE_GIB_HOUR": "0.004",
            "KUBEFINOPS_KEEP_QOS": "false",
        }
    )
    assert (settings.rules.cpu_floor_m, settings.rules.memory_floor_bytes) == (20, 64 * MIB)
    assert settings.rules.cpu_headroom == pytest.approx(1.25)
    assert not settings.rules.keep_qos
    assert settings.price_list.base.core_hour.currency == "EUR"
    with pytest.raises(BadSetting, match=r"KUBEFINOPS_CPU_FLOOR.*quantity"):
        RecommenderSettings.read({"KUBEFINOPS_CPU_FLOOR": "ten"})
    with pytest.raises(
        BadSetting, match=r"^setting KUBEFINOPS_CURRENCY: EUR .*: set KUBEFINOPS_PRICE_GIB_HOUR$"
    ):
        RecommenderSettings.read({"KUBEFINOPS_CURRENCY": "EUR", "KUBEFINOPS_PRICE_CORE_HOUR": "0.03"})


class LooksBack(FakePrometheus):
    """Moves a range's begin up to how far back it looks, as Mimir does, and counts steps from there."""

    def __init__(self, *pods: FakePod, at: datetime, back: timedelta) -> None:
        super().__init__(*pods)
        self.earliest = at - back
        self.moved: list[str] = []

    def query_range(
        self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
    ) -> list[Curve]:
        if begin < self.earliest:
            self.moved.append(promql)
            begin = self.earliest
        return super().query_range(promql, begin, end, step, timeout)


@pytest.mark.parametrize(("hours", "days"), [(77, 2), (91, 3)])
def test_where_a_server_looks_less_far_back_whole_days_are_read_from_there_on(hours: int, days: int) -> None:
    at = datetime(2026, 11, 20, 12, 34, 56, tzinfo=UTC)
    prometheus = LooksBack(deployment("shop", "web"), at=at, back=timedelta(hours=hours))
    (web,) = read(prometheus, "local", at, history=FORTNIGHT, oom_days=7).workloads
    assert [day.ago for day in web.containers[0].days] == [*range(days, -1, -1)]
    assert {day.windows for day in web.containers[0].days if day.ago} <= {99, 100}
    # The first windows and what asks how far back it looks; all others begin where they were asked to.
    assert len([promql for promql in prometheus.moved if promql.startswith("rate(")]) == 1


def test_a_server_that_counts_its_steps_from_elsewhere_is_read_as_it_answers() -> None:
    class Shifted(FakePrometheus):
        def query_range(
            self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
        ) -> list[Curve]:
            shift = timedelta(0) if promql == "vector(1)" else timedelta(seconds=7)
            return super().query_range(promql, begin + shift, end + shift, step, timeout)

    prometheus = Shifted(deployment("shop", "web"))
    (web,) = read(prometheus, "local", AT, history=FORTNIGHT, oom_days=7).workloads
    assert len(web.containers[0].days) >= 14


@pytest.mark.parametrize(("is_scraped", "running"), [(True, 0), (False, 2)])
def test_that_nothing_is_measured_any_more_tells_of_no_pod_that_it_has_ended(
    is_scraped: bool, running: int
) -> None:
    class Silent(FakePrometheus):
        """Tells of no use lately: of these two pods, or of none at all."""

        def _rows(self, promql: str, at: datetime) -> list[Series]:
            rows = super()._rows(promql, at)
            if "quantile_over_time(0.95, " in promql and "[5m" in promql:
                return []
            return rows if is_scraped else [each for each in rows if each.labels.get("in") != "10m"]

    pods = (FakePod("shop", ("Workflow", "flow"), suffix=suffix) for suffix in "ab")
    (flow,) = read(Silent(*pods), "local", AT, history=FORTNIGHT, oom_days=7).workloads
    assert flow.replicas == running


def test_of_some_kinds_alone_nothing_else_is_read() -> None:
    others = [deployment("shop", f"web-{number}") for number in range(3)]
    by_hand = FakePod("shop", ("<none>", "<none>"), suffix="shell")
    prometheus = FakePrometheus(*others, FakePod("shop", ("StatefulSet", "db")), by_hand)
    found = read(prometheus, "local", AT, history=FORTNIGHT, oom_days=7, kinds=["StatefulSet", "CronJob"])
    assert [each.workload.name for each in found.workloads] == ["db"]
    of_use = [each for each in prometheus.asked if re.search(r"container_(cpu|memory)\w+\{.*\[", each)]
    narrowed = [each for each in of_use if 'pod=~"(?:db).*"' in each]
    # How often scrapes come is asked about one of all.
    assert len(narrowed) > 4
    assert {each for each in of_use if each not in narrowed} == {
        each for each in prometheus.asked if "[1h]" in each
    }
    assert not found.ownerless
    none = read(FakePrometheus(*others), "local", AT, history=FORTNIGHT, oom_days=7, kinds=["CronJob"])
    assert none.workloads == ()


def test_a_cron_job_of_which_nothing_is_kept_between_its_runs_is_seen_for_no_query_more() -> None:
    class Idle(FakePrometheus):
        def _rows(self, promql: str, at: datetime) -> list[Series]:
            rows = super()._rows(promql, at)
            told = "kube_cronjob_info" in promql
            return [*rows, row("kube_cronjob_info", cronjob="month")] if told else rows

    def seen(prometheus: FakePrometheus) -> list[tuple[str, str | None]]:
        found = read(prometheus, "local", AT, history=FORTNIGHT, oom_days=7).workloads
        return [(each.workload.name, size(each, Rules()).skipped) for each in found]

    lasting, idle = FakePrometheus(deployment("shop", "web")), Idle(deployment("shop", "web"))
    [web] = seen(lasting)
    assert seen(idle) == [("month", "no pod of it is there: its requests cannot be seen"), web]
    assert len(idle.asked) == len(lasting.asked)
    names = [each.name for each in discover(idle, "local", AT)]
    assert names == ["month", "web"]


@pytest.mark.parametrize("in_a_namespace", [1, 27, 77, 100, 200, 300, 1000])
def test_a_thousand_deployments_take_fifty_queries_however_they_are_spread(in_a_namespace: int) -> None:
    prometheus = FakePrometheus(
        *(
            deployment(f"team-{number // in_a_namespace}", f"web-{number}", suffix=suffix, measured=False)
            for number in range(1000)
            for suffix in ("x2b4c", "d7f9g", "h5k8m")
        )
    )
    late = datetime(2026, 11, 20, 23, 57, tzinfo=UTC)  # today has as many windows as a day can have
    found = read(prometheus, "local", late, history=FORTNIGHT, oom_days=7)
    assert len(found.workloads) == 1000
    assert 20 < len(prometheus.asked) <= 50


class _Nameless(FakePrometheus):
    """Leaves metrics' names out, as what stands before a server may."""

    def query(self, promql: str, at: datetime, timeout: float | None = None) -> list[Series]:
        return [
            Series({name: text for name, text in row.labels.items() if name != "__name__"}, row.value)
            for row in super().query(promql, at, timeout)
        ]


def test_where_the_names_of_metrics_are_left_out_that_is_told_with_the_query() -> None:
    with pytest.raises(QueryFailed, match=r"without the metrics' names.*kube_pod_owner"):
        discover(_Nameless(deployment("shop", "web")), "local", datetime(2026, 11, 20, tzinfo=UTC))
