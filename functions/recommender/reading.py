"""Reads from Prometheus what workloads ask for and use, for many of them at once.

Every query is asked at the scan's time, so a repetition sees the same past.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from functions.recommender import queries
from functions.recommender.asking import Asked, Asking, Part, Question
from functions.recommender.cluster import Cluster, Controller, Owners, Pod
from functions.recommender.nodes import Node, nodes_of
from functions.recommender.queries import Scope, Window
from functions.recommender.rules import PERCENTILE
from functions.recommender.sizing import RUN_TO_COMPLETION, Estimate, Observed, ObservedContainer
from shared.contracts.events import Usage
from shared.contracts.identity import Workload

if TYPE_CHECKING:
    from shared.contracts.prometheus import Prometheus, Series

Key = tuple[str, str, str]  # namespace, pod, container


@dataclass(frozen=True)
class Reading:
    """What was seen: workloads in the order of their names, and how it was asked for.

    `pods` are each one's that were measured, past ones included: whose series are the workload's.
    `labels` are the matchers that were in every query, for who asks more about the same. `nodes` are told of
    where prices go by them; `spot` are the names of those that are spot.
    """

    workloads: tuple[Observed, ...]
    window: Window
    asked: tuple[Asked, ...]
    pods: Mapping[Workload, frozenset[Pod]] = field(default_factory=dict)
    labels: str = ""
    nodes: Mapping[str, Node] = field(default_factory=dict)
    spot: frozenset[str] = frozenset()


def discover(
    prometheus: Prometheus, cluster: str, at: datetime, namespaces: Collection[str] = (), *, labels: str = ""
) -> list[Workload]:
    """Every workload that is there at `at`, in the order of namespace, kind and name.

    `labels` are the matchers of this cluster's series, as PROMETHEUS_LABELS has them. Raises Temporary.
    """
    scope = Scope(tuple(namespaces), labels=labels)
    rows = _told(Asking(prometheus, at), "workloads", partial(queries.workloads, scope), queries.WORKLOADS)
    return [_workload(cluster, controller) for controller in sorted(Cluster.of(rows).controllers())]


def read(
    prometheus: Prometheus,
    cluster: str,
    at: datetime,
    *,
    history: timedelta,
    oom_days: int,
    namespaces: Collection[str] = (),
    wanted: Collection[Workload] | None = None,
    labels: str = "",
    strategy: str = PERCENTILE,
    by_node: bool = False,
    spot_matters: bool = False,
) -> Reading:
    """What the workloads of `namespaces` (empty: of all), or the `wanted` ones among them, ask for and use.

    `labels` are the matchers of this cluster's series, as PROMETHEUS_LABELS has them. With another
    `strategy` than PERCENTILE, daily digests are read too, and each container gets its estimate.

    `by_node` asks what bears on the prices of nodes, and `spot_matters`, where some are spot, on which nodes
    pods are: at most two queries more.

    Raises:
        Temporary: Prometheus cannot be reached, or will not run a query.
    """
    asking = Asking(prometheus, at)
    scope = Scope(tuple(sorted(namespaces)), labels=labels)
    now = Cluster.of(state(asking, scope))
    controllers = now.controllers()
    whole = _part(scope, controllers)
    if wanted is not None:
        # A part of a large namespace, maybe: the other parts' containers are read by other shards.
        names = {(workload.namespace, workload.kind, workload.name) for workload in wanted}
        controllers = {controller: pods for controller, pods in controllers.items() if controller in names}
        whole = whole.narrowed((namespace, name) for namespace, _, name in controllers)
        scope = whole.scope
    # How often scrapes come is seen in the best-scraped container of all, not in a half.
    placing: dict[str, Question] = {}
    if by_node or (spot_matters and now.spot):
        placing["pod_nodes"] = queries.pod_nodes
    if by_node:
        placing["nodes"] = partial(_as_it_is, queries.node_facts(labels))
    frequencies = {
        "samples_in_hour": queries.samples_in_hour(history, labels),
        "samples_in_ten_minutes": queries.samples_in_ten_minutes(scope),
    }
    first = asking.all(
        {
            **{name: partial(_as_it_is, promql) for name, promql in frequencies.items()},
            "owners": partial(queries.owners, history=history),
            **placing,
        },
        whole,
    )
    window = queries.window(history, *(_scalar(first[name]) for name in frequencies))
    owners = Owners.of(first["owners"])
    owners.update(now.owners)
    places = _places(first.get("pod_nodes", ()))
    usage = partial(queries.usage, window=window, oom_days=oom_days)
    questions = {name: _question(usage, name) for name in usage(scope)}
    figures = _Figures(asking.all(questions, whole, queries.OVER_WINDOWS), owners)
    if restarted := figures.with_several_runs(controllers):
        several = partial(queries.of_several_runs, window=window)
        questions = {f"{name}_of_several_runs": _question(several, name) for name in several(scope)}
        found = asking.all(
            questions, whole.narrowed((namespace, name) for namespace, _, name in restarted), questions
        )
        figures.replace({name.removesuffix("_of_several_runs"): rows for name, rows in found.items()})
    if of_runs := [controller for controller in controllers if controller[1] in RUN_TO_COMPLETION]:
        scope = replace(scope, names=tuple(sorted({name for _, _, name in of_runs})))
        runs = partial(queries.runs, window=window)
        questions = {f"{name}_of_runs": _question(runs, name) for name in runs(scope)}
        found = asking.all(questions, _part(scope, of_runs), questions)
        figures.sharpen({name.removesuffix("_of_runs"): rows for name, rows in found.items()})
    estimates: Mapping[tuple[Controller, str], Estimate] = {}
    lasting = [controller for controller in controllers if controller[1] not in RUN_TO_COMPLETION]
    if strategy != PERCENTILE and lasting:
        from functions.recommender import daily

        owned = {controller: figures.pods(controller) for controller in lasting}
        estimates = daily.estimates(asking, _part(whole.scope, lasting), window, owned, strategy)
    workloads = tuple(
        _observed(
            _workload(cluster, controller),
            pods,
            now=now,
            figures=figures,
            window=window,
            at=at,
            estimates=estimates,
            places=places,
        )
        for controller, pods in sorted(controllers.items())
    )
    pods = {_workload(cluster, controller): frozenset(figures.pods(controller)) for controller in controllers}
    return Reading(
        workloads,
        window,
        tuple(asking.asked),
        pods,
        labels,
        nodes=nodes_of(first.get("nodes", ())),
        spot=frozenset(now.spot),
    )


def state(asking: Asking, scope: Scope) -> list[Series]:
    """The rows of `queries.state`. Raises Temporary."""
    return _told(asking, "state", partial(queries.state, scope), queries.STATE)


def _told(asking: Asking, name: str, question: Callable[..., str], metrics: tuple[str, ...]) -> list[Series]:
    """What kube-state-metrics tells now; or, if it tells of no pod, what it told lately.

    After one failed scrape Prometheus takes all of its series for gone until the next.
    """
    rows = asking.metrics(name, question, metrics)
    if any(row.labels["__name__"] == queries.OWNERS[0] for row in rows):
        return rows
    return asking.metrics(f"{name}_lately", partial(question, lately=True), metrics)


def _places(rows: Iterable[Series]) -> dict[Pod, str]:
    """The node of each pod that is on one."""
    return {
        (row.labels.get("namespace", ""), row.labels.get("pod", "")): row.labels.get("node", "")
        for row in rows
    }


def _part(scope: Scope, controllers: Iterable[Controller]) -> Part:
    return Part(scope, frozenset((namespace, name) for namespace, _, name in controllers))


def _question(queries_of: Callable[[Scope], dict[str, str]], name: str) -> Question:
    return lambda scope: queries_of(scope)[name]


def _as_it_is(promql: str, scope: Scope) -> str:  # noqa: ARG001
    """A question about all at once, whose answers of halves could not be put together."""
    return promql


class _Figures:
    """Each query's figures by container of a pod, and the pods of each controller, past ones included."""

    def __init__(self, rows: dict[str, list[Series]], owners: Owners) -> None:
        self._values: dict[str, dict[Key, float]] = {}
        self._several_runs: set[Key] = set()
        for name, series in rows.items():
            values = self._values[name] = {}
            for row in series:
                key = _key(row)
                if key in values:
                    self._several_runs.add(key)
                values[key] = max(row.value, values.get(key, row.value))
        self._pods: dict[Controller, set[Pod]] = {}
        for namespace, pod, _ in self._values["memory_max"]:
            controller = owners.controller((namespace, pod))
            if controller is not None:
                self._pods.setdefault(controller, set()).add((namespace, pod))

    def with_several_runs(self, controllers: Iterable[Controller]) -> list[Controller]:
        """Those with a pod in which a container ran more than once."""
        pods = {key[:2] for key in self._several_runs}
        return [controller for controller in controllers if not pods.isdisjoint(self.pods(controller))]

    def replace(self, rows: dict[str, list[Series]]) -> None:
        """Takes these figures for the containers that ran more than once."""
        for name, series in rows.items():
            found = {key: row.value for row in series if (key := _key(row)) in self._several_runs}
            self._values[name] |= found

    def sharpen(self, rows: dict[str, list[Series]]) -> None:
        """Takes these figures for the pods of runs: the queries match names, and so other pods as well."""
        runs = {pod for (_, kind, _), pods in self._pods.items() if kind in RUN_TO_COMPLETION for pod in pods}
        for name, series in rows.items():
            values = {key: row.value for row in series if (key := _key(row))[:2] in runs}
            self._values[name] = self._values.get(name, {}) | values

    def pods(self, controller: Controller) -> set[Pod]:
        return self._pods.get(controller, set())

    def each(self, name: str, pods: Iterable[Pod], container: str) -> list[float]:
        """The figure in those pods that have it."""
        values = self._values[name]
        return [values[key] for pod in sorted(pods) if (key := (*pod, container)) in values]

    def worst(self, name: str, pods: Iterable[Pod], container: str) -> float | None:
        return max(self.each(name, pods, container), default=None)

    def has_recent(self, pod: Pod, containers: Iterable[str]) -> bool:
        return any((*pod, container) in self._values["memory_p95_recent"] for container in containers)

    def windows(self, pods: Iterable[Pod], container: str, window: Window, at: datetime) -> int:
        """Samples over all pods; a pod has at most one sample a window."""
        total = 0.0
        for pod in pods:
            for samples in self.each("samples", [pod], container):
                lived = at.timestamp() - min(self.each("first_seen", [pod], container), default=0.0)
                total += min(samples, lived // window.step + 1 + queries.FIRST_STEP // window.step)
        return int(total)


def _observed(
    workload: Workload,
    pods: list[Pod],
    *,
    now: Cluster,
    figures: _Figures,
    window: Window,
    at: datetime,
    estimates: Mapping[tuple[Controller, str], Estimate],
    places: Mapping[Pod, str],
) -> Observed:
    controller = (workload.namespace, workload.kind, workload.name)
    names = now.container_names(pods)
    # Evicted and finished pods are still told of, with what they asked for in their time.
    live = [pod for pod in pods if figures.has_recent(pod, names)] or pods
    ever = figures.pods(controller)
    containers = tuple(
        ObservedContainer(
            name=name,
            current=now.resources(live, name),
            usage=_usage(ever, name, figures, window, at),
            history_seconds=_history(ever, name, figures, at),
            oom_killed=any((*pod, name) in now.oom_killed for pod in live),
            estimate=estimates.get((controller, name)),
            jvm=now.jvms.of(live, name),
        )
        for name in names
    )
    replicas = now.wanted_replicas(controller)
    replicas = len(live) if replicas is None else replicas
    mean = float(replicas)
    if workload.kind in RUN_TO_COMPLETION:
        # The pods that are told of have mostly ended; as many run as scrapes saw.
        mean = _mean_pods(containers, ever, figures, window)
        replicas = max(1, round(mean))
    return Observed(
        workload=workload,
        replicas=replicas,
        pods=mean,
        containers=containers,
        scales_on=now.scales_on(controller),
        windows_per_day=window.samples_per_day,
        nodes=tuple(sorted(places[pod] for pod in live if pod in places)),
    )


def _usage(pods: set[Pod], container: str, figures: _Figures, window: Window, at: datetime) -> Usage | None:
    """The figures of the worst pod; None where CPU or memory was not measured."""
    cpu, cpu_max = figures.worst("cpu_p95", pods, container), figures.worst("cpu_max", pods, container)
    memory = figures.worst("memory_p95", pods, container)
    memory_max = figures.worst("memory_max", pods, container)
    if cpu is None or cpu_max is None or memory is None or memory_max is None:
        return None
    recent_cpu = figures.worst("cpu_p95_recent", pods, container)
    recent_memory = figures.worst("memory_p95_recent", pods, container)
    throttled = figures.worst("throttled_share", pods, container)
    return Usage(
        cpu_p95_recent_m=None if recent_cpu is None else _millicores(recent_cpu),
        cpu_p95_m=_millicores(cpu),
        cpu_max_m=_millicores(cpu_max),
        memory_p95_recent_bytes=None if recent_memory is None else round(recent_memory),
        memory_p95_bytes=round(memory),
        memory_max_bytes=round(memory_max),
        samples=figures.windows(pods, container, window, at),
        pods=len(figures.each("cpu_p95", pods, container)),
        # `increase` extrapolates to the ends of its range: kills are whole, and one that was seen is one.
        oom_kills=sum(
            max(1, round(kills)) for kills in figures.each("oom_kills", pods, container) if kills > 0
        ),
        throttled_share=None if throttled is None else round(throttled, 4),
    )


def _history(pods: set[Pod], container: str, figures: _Figures, at: datetime) -> int:
    first = min(figures.each("first_seen", pods, container), default=None)
    return 0 if first is None else max(0, int(at.timestamp() - first))


def _mean_pods(
    containers: tuple[ObservedContainer, ...], pods: set[Pod], figures: _Figures, window: Window
) -> float:
    """How many ran on average since the first: a run counts for as many intervals as it was scraped in."""
    shares = [
        sum(figures.each("scrapes", pods, each.name)) * window.interval / each.history_seconds
        for each in containers
        if each.history_seconds
    ]
    return round(max(shares, default=0.0), 4)


def _workload(cluster: str, controller: Controller) -> Workload:
    namespace, kind, name = controller
    return Workload(cluster=cluster, namespace=namespace, kind=kind, name=name)


def _key(row: Series) -> Key:
    return row.labels.get("namespace", ""), row.labels.get("pod", ""), row.labels.get("container", "")


def _scalar(rows: list[Series]) -> float | None:
    return rows[0].value if rows else None


def _millicores(cores: float) -> float:
    """To a thousandth of a millicore: beyond that, floats of two servers differ."""
    return round(cores * 1000, 3)
