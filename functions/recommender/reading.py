"""Reads from Prometheus what workloads ask for and use, for many of them at once.

Every query is asked at the scan's time, so a repetition sees the same past.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from functions.recommender import daily, digesting, queries
from functions.recommender.asking import Asked, Asking, Part, both
from functions.recommender.bounds import Pods
from functions.recommender.cluster import Cluster, Controller, Owners, Pod
from functions.recommender.container import NOTHING, Remembered
from functions.recommender.digesting import Days, Of, Plan, Span, first_day
from functions.recommender.fitted import CPU_DAYS, MEMORY_DAYS, constants
from functions.recommender.nodes import Node, nodes_of
from functions.recommender.queries import Kills, Question, Scope, Window
from functions.recommender.remembering import REMEMBERED, remembered
from functions.recommender.rules import PERCENTILE
from functions.recommender.sizing import (
    RUN_TO_COMPLETION,
    SUPPORTED,
    Day,
    Estimate,
    Observed,
    ObservedContainer,
)
from shared.contracts.digests import midnight
from shared.contracts.events import Resources, Usage
from shared.contracts.identity import Workload
from shared.contracts.prometheus import QueryFailed
from shared.contracts.quantities import within

if TYPE_CHECKING:
    from shared.contracts.digests import Digest, Digests
    from shared.contracts.prometheus import Prometheus, Series

Key = tuple[str, str, str]  # namespace, pod, container

# After which Python looks for objects that only refer to one another. Rows and digests do not, there are
# hundreds of thousands, and looking after each 700, as it does by itself, was a tenth of a reading.
_NEW_OBJECTS = 100_000


@dataclass(frozen=True)
class Reading:
    """What was seen: workloads in the order of their names, and how it was asked for.

    `pods` are each one's that were measured, past ones included: whose series are the workload's.
    `apart` tells of namespaces how many steps of `window` lie between two windows that were looked at.
    `labels` are the matchers that were in every query, for who asks more about the same. `nodes` are told of
    where prices go by them; `spot` are the names of those that are spot. `ownerless` are pods that run and
    belong to no workload, with what their containers request together.
    """

    workloads: tuple[Observed, ...]
    window: Window
    asked: tuple[Asked, ...]
    apart: Mapping[str, int] = field(default_factory=dict)
    pods: Mapping[Workload, frozenset[Pod]] = field(default_factory=dict)
    labels: str = ""
    nodes: Mapping[str, Node] = field(default_factory=dict)
    spot: frozenset[str] = frozenset()
    ownerless: Mapping[Pod, Resources] = field(default_factory=dict)


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
    kinds: Collection[str] = (),
    labels: str = "",
    strategy: str = PERCENTILE,
    by_node: bool = False,
    spot_matters: bool = False,
    stored: Digests | None = None,
) -> Reading:
    """What the workloads of `namespaces` (empty: of all), or the `wanted` ones among them, ask for and use;
    of these `kinds` alone, if any are named. Pods of no workload are of no kind, and not told of then.

    The history begins with a whole day, at midnight UTC, so it may be some hours longer. Of its days only
    those are read that are not `stored`; they are stored then. `labels` are the matchers of this cluster's
    series, as PROMETHEUS_LABELS has them. With another `strategy` than PERCENTILE each container gets its
    estimate.

    `by_node` asks what bears on the prices of nodes, and `spot_matters`, where some are spot, on which nodes
    pods are: at most two queries more.

    Raises:
        Temporary: Prometheus cannot be reached, or will not run a query; or the digests cannot be had.
    """
    gc.set_threshold(_NEW_OBJECTS)
    asking = Asking(prometheus, at)
    scope = Scope(tuple(sorted(namespaces)), labels=labels)
    today, begin = at.astimezone(UTC).date(), first_day(at, history)
    # Of a kill it is known though the history be shorter.
    since = cpu_since = min(begin, first_day(at, timedelta(days=oom_days)))
    if strategy != PERCENTILE:
        since = min(since, first_day(at, timedelta(days=MEMORY_DAYS)))
        cpu_since = min(cpu_since, first_day(at, timedelta(days=CPU_DAYS)))
    names = None
    if wanted is not None:
        # A part of a large namespace, maybe: the other parts' containers are read by other shards.
        names = {(workload.namespace, workload.kind, workload.name) for workload in wanted}
    there, recalled = both(
        partial(
            _survey,
            asking,
            scope,
            names,
            kinds,
            since=since,
            begin=begin,
            by_node=by_node,
            spot_matters=spot_matters,
        ),
        partial(digesting.recall, stored, cluster, min(since, today - REMEMBERED), namespaces, names),
    )
    now, controllers = there.now, there.controllers
    whole, window = there.whole, there.window
    lasting = {
        controller: now.container_names(pods)
        for controller, pods in controllers.items()
        if controller[1] not in RUN_TO_COMPLETION
    }
    runs = _with_runs(controllers)
    days = digesting.known(recalled, lasting, today, window.most_cpu_windows)
    spans_since = partial(
        digesting.spans, days, lasting, today=today, cpu_since=cpu_since, kept=stored is not None
    )
    told = (each.day for each in recalled if each.day >= since and (each.windows or each.memory_bytes))
    begun, first = there.since, min(told, default=there.since)
    if there.begun_lately and asking.has_nothing(queries.usage_series(labels), begun, first):
        begun = first
    spans = spans_since(begun)
    owned_since = min(there.since, begin)
    if stored is not None and not runs:
        # A server looks labels up in each of its blocks.
        earliest = min((span.begin for span in spans), default=today)
        owned_since = max(owned_since, min(earliest, today - digesting.DAY))
    recent, beside = partial(queries.now, window=window), Asking(prometheus, at)
    with _keeping(stored, cluster) as keep:

        def read_days() -> Owners:
            owners = _owners(asking, now, whole, owned_since, there.gone)
            read_span = partial(
                digesting.read,
                asking,
                whole,
                window,
                owners=owners,
                days=days,
                plan=there.plan,
                rule=there.has_rule,
            )
            _read_days(read_span, asking, spans, spans_since=spans_since, keep=keep)
            return owners

        # Though the last minutes fail, the days that were read are kept. Mostly they are there before the
        # days' windows are, which take a server's memory.
        owners, lately = both(
            read_days,
            partial(beside.all, {name: _question(recent, name) for name in recent(whole.scope)}, whole),
        )
        asking.asked += beside.asked
        figures = _Figures(lately, owners)
        if runs:
            _read_runs(asking, whole.scope, runs, window, figures=figures, oom_days=oom_days)
        estimates: Mapping[Of, Estimate] = {}
        past = _Past(days, figures, at, begin=begin, since=since, oom_days=oom_days)
        if strategy != PERCENTILE:
            estimates = daily.estimates(past.seen, strategy, constants()[strategy])
        workloads = tuple(
            _observed(
                _workload(cluster, controller),
                pods,
                now=now,
                figures=figures,
                window=window,
                at=at,
                past=past,
                estimates=estimates,
                places=there.places,
                plan=there.plan,
                means=there.means,
                kills=there.kills,
            )
            for controller, pods in sorted(controllers.items())
        )
    pods = {
        _workload(cluster, controller): frozenset(days.pods.get(controller) or figures.pods(controller))
        for controller in controllers
    }
    return Reading(
        workloads,
        window,
        tuple(asking.asked),
        there.plan.apart,
        pods,
        labels,
        nodes=there.nodes,
        spot=frozenset(now.spot),
        ownerless={
            pod: now.requests(pod)
            for pod in now.ownerless()
            if not kinds
            if figures.has_recent(pod, now.container_names([pod]))
        },
    )


@dataclass(frozen=True)
class _Survey:
    """What is there, and how its past can be read: since when, and in which windows. `gone` is some of what
    there was, and how long ago there was each.
    """

    now: Cluster
    controllers: dict[Controller, list[Pod]]
    whole: Part
    window: Window
    plan: Plan
    since: date
    begun_lately: bool
    has_rule: bool
    kills: Kills
    gone: Mapping[Pod, timedelta]
    places: dict[Pod, str]
    nodes: dict[str, Node]
    means: dict[Controller, float]


def _survey(
    asking: Asking,
    scope: Scope,
    names: Collection[Controller] | None,
    kinds: Collection[str],
    *,
    since: date,
    begin: date,
    by_node: bool,
    spot_matters: bool,
) -> _Survey:
    """Of the workloads of `names` (None: all) and `kinds` (empty: all). `since` is the first day to be read,
    `begin` the history's.
    """
    at, beside = asking.at, Asking(asking.prometheus, asking.at)
    rows, often = both(partial(state, asking, scope), partial(scrapes, beside, scope, at - midnight(since)))
    asking.asked += beside.asked
    now = Cluster.of(rows)
    controllers = now.controllers()
    # Of all in their namespaces, so that a workload is looked at alike whichever are wanted beside it.
    replicas = {
        controller: _running(now, controller, pods)
        for controller, pods in controllers.items()
        if controller[1] not in RUN_TO_COMPLETION
    }
    whole = _part(scope, controllers)
    if names is not None or kinds:
        controllers = {
            controller: pods
            for controller, pods in controllers.items()
            if (names is None or controller in names) and (not kinds or controller[1] in kinds)
        }
        whole = whole.narrowed((namespace, name) for namespace, _, name in controllers)
    placing: dict[str, Question] = {}
    if by_node or (spot_matters and now.spot):
        placing["pod_nodes"] = queries.pod_nodes
    if by_node:
        placing["nodes"] = partial(_as_it_is, queries.node_facts(scope.labels))
    if now.has_autoscalers:
        placing["mean_replicas"] = partial(queries.mean_replicas, history=at - midnight(begin))
    placed = asking.all(placing, whole)
    silent = queries.begins_after(often, at - midnight(since))
    if silent is not None:
        # Mostly of all of that day nothing is told.
        earliest = (at - silent).astimezone(UTC).date() + digesting.DAY
        if asking.has_nothing(queries.usage_series(scope.labels), since, earliest):
            since = max(since, earliest)
    set_now = _set_now(now, controllers)
    cpu_limits, memory_limits = (
        {of: limit for of, its in set_now.items() if (limit := getattr(its, name)) is not None}
        for name in ("cpu_limit_m", "memory_limit_bytes")
    )
    return _Survey(
        now=now,
        controllers=controllers,
        whole=whole,
        window=queries.window(at - midnight(begin), *queries.samples(often)),
        plan=Plan(
            digesting.apart(replicas),
            frozenset(
                (namespace, name)
                for (namespace, _, name), pods in controllers.items()
                if now.limits_cpu(pods)
            ),
            frozenset(pod for pods in controllers.values() for pod in pods),
            cpu_limits,
            memory_limits,
            _unsettled(now, controllers, memory_limits),
            _killed(now, controllers),
        ),
        since=since,
        begun_lately=silent is not None,
        has_rule=queries.has_rule(often),
        kills=queries.kills(often),
        gone=queries.gone(often),
        places=_places(placed.get("pod_nodes", ())),
        nodes=nodes_of(placed.get("nodes", ())),
        means=now.means(placed.get("mean_replicas", ())),
    )


def _with_runs(controllers: Mapping[Controller, Collection[Pod]]) -> list[Controller]:
    """Those that run to completion and have pods: of others nothing would come of what they used."""
    return [each for each, pods in controllers.items() if each[1] in RUN_TO_COMPLETION and pods]


def _set_now(now: Cluster, controllers: Mapping[Controller, Collection[Pod]]) -> dict[Of, Resources]:
    """What is set for each container."""
    return {
        (controller, name): now.resources(pods, name)
        for controller, pods in controllers.items()
        if controller[1] not in RUN_TO_COMPLETION
        for name in now.container_names(pods)
    }


def _killed(now: Cluster, controllers: Mapping[Controller, Collection[Pod]]) -> frozenset[Of]:
    """Of which it is told that they were killed for their memory, and begun anew."""
    whose = {pod: controller for controller, pods in controllers.items() for pod in pods}
    return frozenset(
        (whose[namespace, pod], name) for namespace, pod, name in now.last_killed if (namespace, pod) in whose
    )


def _unsettled(
    now: Cluster, controllers: Mapping[Controller, Collection[Pod]], limits: Mapping[Of, int]
) -> frozenset[Of]:
    """Those of these containers that have another limit in some pod."""
    return frozenset(
        (controller, name)
        for (controller, name), limit in limits.items()
        if any(
            (its := now.values.get(pod, {}).get(name)) and its.get("memory_limit_bytes") != limit
            for pod in controllers[controller]
        )
    )


def _owners(asking: Asking, now: Cluster, part: Part, since: date, gone: Mapping[Pod, timedelta]) -> Owners:
    """Of all that there was from that day on; where what is told now says otherwise, that is right."""
    history = max(asking.at - midnight(since), digesting.LATE)
    owners = Owners.of(asking.owners(part, history, [pod for pod, ago in gone.items() if ago < history]))
    owners.update(now.owners)
    return owners


def state(asking: Asking, scope: Scope) -> list[Series]:
    """The rows of `queries.state`. Raises Temporary."""
    return _told(asking, "state", partial(queries.state, scope), queries.STATE)


def scrapes(asking: Asking, scope: Scope, history: timedelta) -> list[Series]:
    """The rows of `queries.frequencies`. Raises Temporary."""
    lately = asking.at - midnight(asking.at.astimezone(UTC).date() - digesting.DAY)
    asked = queries.frequencies(scope, history, lately).items()
    answers = asking.all({name: partial(_as_it_is, promql) for name, promql in asked}, Part(scope))
    return [row for rows in answers.values() for row in rows]


def _told(asking: Asking, name: str, question: Callable[..., str], metrics: tuple[str, ...]) -> list[Series]:
    """What kube-state-metrics tells now; or what it told lately, if it tells of no pod or a scrape failed.

    After one that failed Prometheus takes all of its series for gone until the next. It may fail between two
    questions: it is looked for by the last of them.
    """
    *others, last = queries.in_parts(metrics)
    rows = [row for part in others for row in asking.metrics(name, question, part)]
    rows += asking.metrics(name, partial(question, failed=True), last)
    names = {row.labels.get("__name__", "") for row in rows}
    if "" in names:
        promql = asking.asked[-1].promql
        raise QueryFailed(f"an answer without the metrics' names: {promql}", promql)
    if queries.OWNERS[0] in names and queries.FAILED not in names:
        return rows
    question = partial(question, lately=True)
    return [row for part in (*others, last) for row in asking.metrics(f"{name}_lately", question, part)]


def _read_days(
    read_days: Callable[..., list[Digest]],
    asking: Asking,
    spans: Sequence[Span],
    *,
    spans_since: Callable[[date], list[Span]],
    keep: Callable[[list[Digest]], None],
) -> None:
    """Reads them by `read_days`, and gives to `keep` the days that are over for good."""
    today = asking.at.astimezone(UTC).date()
    exactly = True
    while spans:
        span, *left = spans
        try:
            fresh = read_days(span=span, exactly=exactly)
        except digesting.BegunLater:
            answered = asking.answered(midnight(span.begin))
            exactly = midnight(span.begin) < answered and span.begin < today
            if exactly:
                # Mimir looks no further back. What is only a part of a day would be kept as the whole.
                since = min(today, (answered + digesting.LATE).date() + digesting.DAY)
                spans = spans_since(since)
            continue
        spans = left
        keep(fresh)


@contextmanager
def _keeping(stored: Digests | None, cluster: str) -> Iterator[Callable[[list[Digest]], None]]:
    """Takes digests, which are stored while more is read; all of them are at the end.

    Raises Temporary if some could not be: when the next are taken, or at the end.
    """
    with ThreadPoolExecutor(1) as pool:
        under_way: list[Future[None]] = []

        def stored_so_far() -> None:
            while under_way:
                under_way.pop().result()

        def keep(digests: list[Digest]) -> None:
            if stored is not None and digests:
                stored_so_far()
                under_way.append(pool.submit(stored.add, cluster, digests))

        yield keep
        stored_so_far()


def _places(rows: Iterable[Series]) -> dict[Pod, str]:
    """The node of each pod that is on one."""
    return {
        (row.labels.get("namespace", ""), row.labels.get("pod", "")): row.labels.get("node", "")
        for row in rows
    }


def _running(now: Cluster, controller: Controller, pods: Collection[Pod]) -> int:
    """How many of its pods run: some that are told of may have ended."""
    wanted = now.wanted_replicas(controller)
    return len(pods) if wanted is None else min(wanted, len(pods))


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
        self._owners = owners
        self._pods: dict[Controller, set[Pod]] = {}
        self._several_runs: set[Key] = set()
        self.take(rows)

    def take(self, rows: dict[str, list[Series]]) -> None:
        """Adds these figures, and who is known by them to have run more than once."""
        for name, series in rows.items():
            values = self._values[name] = {}
            for row in series:
                key = _key(row)
                if key in values:
                    self._several_runs.add(key)
                values[key] = max(row.value, values.get(key, row.value))
                if (controller := self._owners.controller(key[:2])) is not None:
                    self._pods.setdefault(controller, set()).add(key[:2])

    def with_several_runs(self, controllers: Iterable[Controller]) -> list[Controller]:
        """Those with a pod in which a container ran more than once."""
        pods = {key[:2] for key in self._several_runs}
        return [controller for controller in controllers if not pods.isdisjoint(self.pods(controller))]

    def replace(self, rows: dict[str, list[Series]]) -> None:
        """Takes these figures for the containers that ran more than once."""
        for name, series in rows.items():
            found = {key: row.value for row in series if (key := _key(row)) in self._several_runs}
            self._values[name] |= found

    def pods(self, controller: Controller) -> set[Pod]:
        return self._pods.get(controller, set())

    def each(self, name: str, pods: Iterable[Pod], container: str) -> list[float]:
        """The figure in those pods that have it."""
        values = self._values.get(name, {})
        return [values[key] for pod in sorted(pods) if (key := (*pod, container)) in values]

    def worst(self, name: str, pods: Iterable[Pod], container: str) -> float | None:
        return max(self.each(name, pods, container), default=None)

    def has_recent(self, pod: Pod, containers: Iterable[str]) -> bool:
        return any((*pod, container) in self._values["memory_p95_recent"] for container in containers)


def _read_runs(
    asking: Asking,
    scope: Scope,
    controllers: Collection[Controller],
    window: Window,
    *,
    figures: _Figures,
    oom_days: int,
) -> None:
    """Adds the figures of pods that run to completion, each over the whole history."""
    part = _part(scope, controllers)
    usage = partial(queries.usage, window=window)
    runs = partial(queries.runs, window=window)
    troubles = {
        "oom_kills": queries.oom_kills(oom_days * 86400),
        "killed": queries.killed_runs(oom_days * 86400),
        "throttled_share": queries.throttled_share(window.history),
    }
    asked = {f"{name}_of_runs": _question(usage, name) for name in usage(part.scope)}
    asked |= {f"{name}_of_runs": _question(runs, name) for name in runs(part.scope)}
    asked |= {f"{name}_of_runs": question for name, question in troubles.items()}
    # Looked for by name: the other pods of their namespaces are read otherwise.
    by_name = replace(
        part, scope=replace(part.scope, names=tuple(sorted({name for _, name in part.workloads})))
    )
    found = asking.all(asked, by_name, asked)
    figures.take({name.removesuffix("_of_runs"): rows for name, rows in found.items()})
    if restarted := figures.with_several_runs(controllers):
        several = partial(queries.of_several_runs, window=window)
        questions = {f"{name}_of_several_runs": _question(several, name) for name in several(part.scope)}
        names = [(namespace, name) for namespace, _, name in restarted]
        found = asking.all(questions, by_name.narrowed(names), questions)
        figures.replace({name.removesuffix("_of_several_runs"): rows for name, rows in found.items()})


def _observed(
    workload: Workload,
    pods: list[Pod],
    *,
    now: Cluster,
    figures: _Figures,
    window: Window,
    at: datetime,
    past: _Past,
    estimates: Mapping[Of, Estimate],
    places: Mapping[Pod, str],
    plan: Plan,
    means: Mapping[Controller, float],
    kills: Kills,
) -> Observed:
    controller = (workload.namespace, workload.kind, workload.name)
    names = now.container_names(pods)
    # Evicted and finished pods are still told of, with what they asked for in their time.
    recent = [pod for pod in pods if figures.has_recent(pod, names)]
    live = recent or pods
    runs = workload.kind in RUN_TO_COMPLETION
    current = {name: now.resources(live, name) for name in names}
    found = {
        name: _of_runs(figures, controller, name, window, at) if runs else past.of((controller, name))
        for name in names
    }
    containers = tuple(
        ObservedContainer(
            name=name,
            current=current[name],
            bounds=now.bounds.of_container(workload.namespace, current[name]),
            usage=found[name].usage,
            history_seconds=found[name].history_seconds,
            oom_killed=_is_killed_under(
                current[name].memory_limit_bytes, now, pods if runs else live, name, found[name].killed_limit
            ),
            killed_limit_bytes=found[name].ever_killed_limit,
            remembered=found[name].remembered,
            estimate=estimates.get((controller, name)),
            jvm=now.jvms.of(live, name),
            days=found[name].days,
            torn=found[name].torn,
            sidecar=now.is_sidecar(live, name),
        )
        for name in names
    )
    replicas = now.wanted_replicas(controller)
    if replicas is None:
        # Pods of kinds that are not sized may have ended, as a workflow's do: measured once, and no more,
        # though others are.
        may_end = window.is_scraped and workload.kind not in SUPPORTED and past.is_measured(controller, names)
        replicas = len(recent if may_end else live)
    mean = float(replicas)
    if runs:
        # The pods that are told of have mostly ended; as many run as scrapes saw.
        mean = _mean_pods(workload, containers, figures.pods(controller), figures, window)
        replicas = max(1, round(mean))
    else:
        mean = means.get(controller, mean)
    init, counted = now.init_containers(live), Pods()
    if not runs and now.bounds.has_quotas(workload.namespace):
        counted = now.counted(controller, pods, live)
    return Observed(
        workload=workload,
        replicas=replicas,
        pods=mean,
        containers=containers,
        scales_on=now.scales_on(controller),
        resized_by=now.resized_by(controller),
        windows_per_day=86400 / (window.step if runs else window.cpu_step * plan.apart[workload.namespace]),
        nodes=tuple(sorted(places[pod] for pod in live if pod in places)),
        tells_kills=kills.are_told(of_sidecars=now.has_sidecars(live), of_runs=runs),
        init=init,
        pod_bounds=now.bounds.of_pod(workload.namespace, current.values(), init.values(), counted),
        pod_least=now.bounds.least_of_pod(workload.namespace),
        pod_ratios=now.bounds.ratios_of_pod(workload.namespace),
    )


@dataclass(frozen=True)
class _Container:
    """What one used; `usage` is None where CPU or memory was not measured. `killed_limit` is the largest that
    it was killed under within the days for which kills count, `ever_killed_limit` within all, in bytes, as
    far as days tell. `torn`: see ObservedContainer.
    """

    usage: Usage | None
    history_seconds: int
    days: tuple[Day, ...] = ()
    killed_limit: int = 0
    ever_killed_limit: int = 0
    torn: bool = False
    remembered: Remembered = NOTHING


def _is_killed_under(
    limit: int | None, now: Cluster, pods: Collection[Pod], container: str, killed_limit: int
) -> bool:
    """Whether it was killed under no less than this limit, by a pod that is told of or by one that was."""
    return now.is_killed_under(limit, pods, container) or (limit is not None and killed_limit >= limit)


class _Past:
    """The figures of what goes on running, from the digests of its days."""

    def __init__(
        self, days: Days, figures: _Figures, at: datetime, *, begin: date, since: date, oom_days: int
    ) -> None:
        self._days = days
        self._figures = figures
        self._at = at
        self._today = at.astimezone(UTC).date()
        self._begin = begin
        self._since = since
        self._oom_days = oom_days
        self.seen = {container: self._seen(container) for container in days.digests}

    def of(self, container: Of) -> _Container:
        """The figures of the worst pod."""
        digests = [digest for digest in self._days.digests[container] if digest.day >= self._begin]
        seen = self.seen[container]
        figure = digesting.used([day for day in seen if day.ago <= (self._today - self._begin).days])
        firsts = [digest.first for digest in digests if digest.first is not None]
        seconds = max(0, int(self._at.timestamp()) - min(firsts)) if firsts else 0
        if figure is None:
            return _Container(None, seconds, seen)
        every = self._days.digests[container]
        shares = [
            (each.throttled_share, each.windows) for each in digests if each.throttled_share is not None
        ]
        windows = sum(count for _, count in shares)
        lately = self._today - timedelta(days=self._oom_days)
        killed = [each for each in every if each.oom_kills and each.day >= lately]
        usage = Usage(
            **_recent(*(self._recent(name, container) for name in ("cpu_p95_recent", "memory_p95_recent"))),
            **vars(figure),
            oom_kills=sum(each.oom_kills for each in killed),
            throttled_share=(
                round(sum(share * count for share, count in shares) / windows, 4) if windows else None
            ),
        )
        limit, ever = (
            max((each.killed_limit_bytes for each in some if each.oom_kills), default=0)
            for some in (killed, [each for each in every if each.day >= self._since])
        )
        its = remembered(every, self._begin)
        return _Container(usage, seconds, seen, limit, ever, container in self._days.torn, its)

    def is_measured(self, controller: Controller, names: Collection[str]) -> bool:
        """Whether a pod of it ever was, as far as is known."""
        known = bool(self._days.pods.get(controller))
        return known or any(self.seen.get((controller, name)) for name in names)

    def _seen(self, container: Of) -> tuple[Day, ...]:
        """The days that tell something."""
        seen = []
        for digest in self._days.digests[container]:
            points = digest.memory_bytes
            if (digest.windows or points) and digest.day >= self._since:
                seen.append(
                    Day(
                        ago=(self._today - digest.day).days,
                        windows=digest.windows,
                        cpu_m=digest.cpu_m,
                        memory_bytes=points[-1] if points else 0,
                        memory_points=points,
                        pods=digest.pods,
                        samples=digest.samples,
                        near_limit_bytes=digest.near_limit_bytes,
                    )
                )
        return tuple(seen)

    def _recent(self, name: str, container: Of) -> float | None:
        pods = self._days.pods.get(container[0], set()) | self._figures.pods(container[0])
        return self._figures.worst(name, pods, container[1])


def _recent(cpu: float | None, memory: float | None) -> dict[str, Any]:
    return {
        "cpu_p95_recent_m": None if cpu is None else _millicores(cpu),
        "memory_p95_recent_bytes": None if memory is None else round(within(memory)),
    }


def _of_runs(
    figures: _Figures, controller: Controller, container: str, window: Window, at: datetime
) -> _Container:
    """The figures of the worst pod that ran to completion."""
    pods = figures.pods(controller)
    first = min(figures.each("first_seen", pods, container), default=None)
    seconds = 0 if first is None else max(0, int(at.timestamp() - first))
    cpu, cpu_max = figures.worst("cpu_p95", pods, container), figures.worst("cpu_max", pods, container)
    memory = figures.worst("memory_p95", pods, container)
    memory_max = figures.worst("memory_max", pods, container)
    if cpu is None or cpu_max is None or memory is None or memory_max is None:
        return _Container(None, seconds)
    throttled = figures.worst("throttled_share", pods, container)
    usage = Usage(
        **_recent(
            figures.worst("cpu_p95_recent", pods, container),
            figures.worst("memory_p95_recent", pods, container),
        ),
        cpu_p95_m=_millicores(cpu),
        cpu_max_m=_millicores(cpu_max),
        memory_p95_bytes=round(within(memory)),
        memory_max_bytes=round(within(memory_max)),
        samples=_windows(figures, pods, container, window, at),
        pods=len(figures.each("cpu_p95", pods, container)),
        # One may be told of both ways: as it ended, and once it was begun anew.
        oom_kills=round(
            within(
                sum(
                    max(sum(figures.each(name, [pod], container)) for name in ("oom_kills", "killed"))
                    for pod in pods
                )
            )
        ),
        throttled_share=None if throttled is None else round(min(throttled, 1.0), 4),
    )
    return _Container(usage, seconds)


def _windows(figures: _Figures, pods: Iterable[Pod], container: str, window: Window, at: datetime) -> int:
    """Samples over all pods; a pod has at most one sample a window."""
    total = 0.0
    for pod in pods:
        for samples in figures.each("samples", [pod], container):
            lived = at.timestamp() - min(figures.each("first_seen", [pod], container), default=0.0)
            total += min(samples, lived // window.step + 1)
    return int(total)


def _mean_pods(
    workload: Workload,
    containers: tuple[ObservedContainer, ...],
    pods: set[Pod],
    figures: _Figures,
    window: Window,
) -> float:
    """How many ran on average: a run counts for as many intervals as it was scraped in.

    Of a CronJob that is since the first. Nothing tells when a Job will run again, nor what ran but once: of
    these it is over the history.
    """
    is_once = workload.kind == "Job" or len(pods) == 1
    shares = [
        sum(figures.each("scrapes", pods, each.name))
        * window.interval
        / (window.history if is_once else each.history_seconds)
        for each in containers
        if each.history_seconds
    ]
    return round(max(shares, default=0.0), 4)


def _workload(cluster: str, controller: Controller) -> Workload:
    namespace, kind, name = controller
    return Workload(cluster=cluster, namespace=namespace, kind=kind, name=name)


def _key(row: Series) -> Key:
    return row.labels.get("namespace", ""), row.labels.get("pod", ""), row.labels.get("container", "")


def _millicores(cores: float) -> float:
    """To a thousandth of a millicore: beyond that, floats of two servers differ."""
    return round(within(cores * 1000), 3)
