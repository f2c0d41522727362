"""The PromQL that a shard is read with: few queries, each for all of its containers at once.

What goes on running is told by its windows, day by day, and by what each day had (from `windows` to
`throttled_share`); the rest is of pods that run to completion, whose whole history is asked about, and of
autoscalers. Plain range selectors stream through the server; subqueries materialise, so only what needs
5-minute windows of a counter is one. Answers are aggregated to (namespace, pod, container) by `max`, which
makes duplicate series (two scrapers) one; owners are joined in our code.
A container that was restarted in its pod has several series, one for each run, and a quantile of a short one
among them is not the pod's. Windows that first are the container's (`max` inside the subquery) cost four
times as much as windows of series: so quantiles are asked for by run, and once more, the dear way, where a
pod had several.
Two traps of real servers are avoided: a range below two scrape intervals gives nothing where ranges are
left-open (Prometheus 3), and `timestamp()` of a bare selector in a subquery takes minutes in 2.42.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

from functions.recommender import jvm_annotations, nodes

if TYPE_CHECKING:
    from shared.contracts.prometheus import Series

CPU = "container_cpu_usage_seconds_total"
MEMORY = "container_memory_working_set_bytes"
THROTTLED = "container_cpu_cfs_throttled_periods_total"
PERIODS = "container_cpu_cfs_periods_total"
# kubernetes-mixin's rule: the rate over 5 minutes, summed over a container's series
# (github.com/kubernetes-monitoring/kubernetes-mixin, rules/apps.libsonnet).
CPU_RULE = "node_namespace_pod_container:container_cpu_usage_seconds_total:sum_rate5m"
RESTARTS = "kube_pod_container_status_restarts_total"
LAST_REASON = "kube_pod_container_status_last_terminated_reason"
# Of what has ended and is not begun anew: a Job's pod whose restartPolicy is Never.
ENDED_REASON = "kube_pod_container_status_terminated_reason"
LIMITS = "kube_pod_container_resource_limits"
CRON_JOB = "kube_cronjob_info"
LIMIT_RANGE = "kube_limitrange"
QUOTA = "kube_resourcequota"
# Not of a Deployment that is recreated.
MAX_UNAVAILABLE = "kube_deployment_spec_strategy_rollingupdate_max_unavailable"
HPA_REPLICAS = "kube_horizontalpodautoscaler_status_current_replicas"
# As kube-state-metrics had it until 2.9, and has where it is configured as its customresourcestate-metrics.md
# says, with that prefix or the default one: a row for each mode, 1 for the one that is set.
VPA_MODES = (
    "kube_verticalpodautoscaler_spec_updatepolicy_updatemode",
    "kube_customresource_verticalpodautoscaler_spec_updatepolicy_updatemode",
)
# Of init containers, native sidecars among them, which INIT_INFO tells apart: see `is_sidecar`.
INIT_INFO = "kube_pod_init_container_info"
INIT_REQUESTS = "kube_pod_init_container_resource_requests"
INIT_LIMITS = "kube_pod_init_container_resource_limits"
INIT_RESTARTS = "kube_pod_init_container_status_restarts_total"
INIT_LAST_REASON = "kube_pod_init_container_status_last_terminated_reason"
_KILLED = ', reason="OOMKilled"'

# Of Argo Rollouts' own controller.
ROLLOUT_REPLICAS = "rollout_info_replicas_desired"
# As the JVM's client libraries name them: Micrometer and client_java, then the older simpleclient.
JVM_MAX = ("jvm_memory_max_bytes", "jvm_memory_bytes_max")
JVM_USED = ("jvm_memory_used_bytes", "jvm_memory_bytes_used")
ANNOTATIONS = "kube_pod_annotations"

OWNERS = ("kube_pod_owner", "kube_replicaset_owner", "kube_job_owner")
# What is told of pods, which come and go; other objects stay, so of them what was told lately will do, and so
# it will of what JVMs tell: who scrapes them is not who tells which pods there are.
_OF_PODS = (
    "kube_pod_owner",
    "kube_pod_container_info",
    "kube_pod_container_resource_requests",
    LIMITS,
    LAST_REASON,
    ENDED_REASON,
    INIT_INFO,
    INIT_REQUESTS,
    INIT_LIMITS,
    INIT_LAST_REASON,
)
# Of the answer about them: scrapes that just failed, and take all for gone that the ones before told.
FAILED = "failed_scrapes"
STATE = (
    *OWNERS,
    "kube_deployment_spec_replicas",
    CRON_JOB,
    "kube_pod_container_info",
    "kube_pod_container_resource_requests",
    LIMITS,
    LAST_REASON,
    ENDED_REASON,
    INIT_INFO,
    INIT_REQUESTS,
    INIT_LIMITS,
    INIT_LAST_REASON,
    "kube_horizontalpodautoscaler_info",
    "kube_horizontalpodautoscaler_spec_target_metric",
    HPA_REPLICAS,
    *VPA_MODES,
    LIMIT_RANGE,
    QUOTA,
    MAX_UNAVAILABLE,
    ROLLOUT_REPLICAS,
    *JVM_MAX,
    *JVM_USED,
    ANNOTATIONS,
    nodes.LABELS,
    nodes.ALLOCATABLE,
)
WORKLOADS = (*OWNERS, "kube_deployment_spec_replicas", CRON_JOB)
# That have several rows a pod.
_OFTEN_TOLD = (
    "kube_pod_container_resource_requests",
    LIMITS,
    INIT_REQUESTS,
    INIT_LIMITS,
)
_OWNER_LABELS = "namespace, pod, replicaset, job_name, owner_kind, owner_name, owner_is_controller"
_STATE_LABELS = (
    f"__name__, {_OWNER_LABELS}, deployment, cronjob, container, resource, horizontalpodautoscaler,"
    " scaletargetref_kind, scaletargetref_name, metric_name, metric_target_type, name, image, image_spec,"
    " area, id, restart_policy, type, constraint, limitrange, resourcequota, target_kind, target_name,"
    " update_mode"
)
_RESOURCES = "cpu|memory"
CONTAINER = "by (namespace, pod, container)"
# One row for each run of a container: its control group and id in the runtime. Some installs drop these two;
# then runs on other nodes and of other images are told apart, and one that began anew in place is one series.
RUN = "by (namespace, pod, container, id, name, image, instance, node)"
# Up to this interval of scrapes an instant is as good as the window before it: it sees five minutes back.
_OFTEN_SECONDS = 120
# Seconds from one window of what goes on running to the next that is looked at: a day has 99 of CPU and 25 of
# memory. They are no part of an hour nor of a day, so what runs by the clock is seen on some days at least,
# and in as large a share of the windows as it runs for.
CPU_APART, MEMORY_APART = 870, 3480
# By which OOM kills are seen. Of restarts the most, of reasons whether any is told.
_KILLS_BY = {
    "restarts": RESTARTS,
    "reasons": LAST_REASON,
    "init restarts": INIT_RESTARTS,
    "init reasons": INIT_LAST_REASON,
    "ended": ENDED_REASON,
}
_GONE = "gone"
# Hours: what tells of half a day (Azure) does not tell of what went before that.
_HALF_A_DAY = 13
# What is told of at a moment may have been told minutes before.
_LOOKBACK = timedelta(minutes=5)
# By what names of pods end with: a third of the letters and digits that are drawn for them
# (k8s.io/apimachinery, util/rand), and the first pods of StatefulSets. Some are gone everywhere, and scraped
# as often as the others; to look at each pod of a large cluster costs much.
_A_THIRD = 'pod=~".*[0-6b-g]"'
# Where in a history hours lie that are looked at for how often scrapes came, by its length, the latest first.
_HOURS = (0.0, 0.23, 0.52, 0.76)
_WINDOW = 300
# A pod's name begins with its controller's, cut to leave room for the generated end within 63 characters.
POD_NAME_BEGINNING = 46


@dataclass(frozen=True)
class Scope:
    """The namespaces to read; empty is all. `names`, where given, narrows to pods of such workloads.

    `labels` are matchers as `cluster="eu-1"` that every selector has: other clusters may be in the server.
    """

    namespaces: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    labels: str = ""

    @property
    def namespace_matcher(self) -> str:
        namespaces = f"namespace=~{_any_of(self.namespaces)}" if self.namespaces else 'namespace!=""'
        return f"{self.labels}, {namespaces}" if self.labels else namespaces

    @property
    def containers(self) -> str:
        """Matchers of containers' series; cAdvisor's sums of pods and its pause containers are excluded."""
        return f'{self.namespace_matcher}, {self.pod_matcher}container!="", container!="POD"'

    @property
    def pod_matcher(self) -> str:
        if not self.names:
            return ""
        beginnings = sorted({name[:POD_NAME_BEGINNING] for name in self.names})
        return f"pod=~{_any_of(beginnings, '.*')}, "


Question = Callable[[Scope], str]
"""The PromQL for a part of the containers. Each row of its answer is about what is in one part only."""


@dataclass(frozen=True)
class Window:
    """The ranges that the scrape intervals allow, in seconds.

    `history` is the whole span, `interval` the time between two scrapes. `cpu` is the range of `rate` over
    it, `step` that of one memory window, and how far apart they are where all are looked at: 5 minutes both,
    unless scrapes are so rare that 4 of them take longer. `recent_cpu` and `recent_step` are the same for the
    last 5 minutes. `is_scraped`: in the last ten there was anything.
    """

    history: int
    cpu: int
    step: int
    recent_cpu: int
    recent_step: int
    interval: float = 60.0
    is_scraped: bool = True

    @property
    def cpu_step(self) -> int:
        """From one CPU window of what goes on running to the next that is looked at: quantiles of many days
        are no others by all windows, at three times the cost (docs/digests.md).
        """
        return max(CPU_APART, self.step)

    @property
    def most_cpu_windows(self) -> int:
        """That a day has of these."""
        return ceil(86400 / self.cpu_step)

    @property
    def is_of_rule(self) -> bool:
        """Whether windows are as long as kubernetes-mixin's."""
        return self.cpu == _WINDOW

    @property
    def memory_step(self) -> int:
        """The same of memory: it moves slowly, and each day's peak is asked for beside them."""
        return max(MEMORY_APART, self.step)


def window(history: timedelta, samples_in_hour: float | None, samples_in_ten_minutes: float | None) -> Window:
    """The ranges for a history with so many samples an hour, and so many in the last ten minutes.

    None: there are none; scrapes of a minute are assumed. A range of n intervals holds n or n + 1
    samples; where that matters (few samples), the longer interval is taken.
    """
    hourly, recent = samples_in_hour or 60, samples_in_ten_minutes or 10
    interval = 3600 / (hourly if hourly >= 48 else max(1.0, hourly - 1))
    recent_interval = 600 / (recent if recent >= 10 else max(1.0, recent - 1))
    return Window(
        history=int(history.total_seconds()),
        cpu=max(_WINDOW, ceil(4 * interval / _WINDOW) * _WINDOW),
        step=max(_WINDOW, ceil(interval / _WINDOW) * _WINDOW),
        recent_cpu=max(60, ceil(4 * recent_interval / 30) * 30),
        recent_step=max(30, ceil(recent_interval / 30) * 30),
        interval=interval,
        is_scraped=samples_in_ten_minutes is not None,
    )


def in_parts(metrics: Sequence[str]) -> list[tuple[str, ...]]:
    """These metrics, owners first, in parts of which a server holds one at a time: it has all of an answer in
    its memory.
    """
    often = tuple(name for name in metrics if name in _OFTEN_TOLD)
    others = tuple(name for name in metrics if name not in _OFTEN_TOLD)
    return [others, often] if often else [others]


def state(
    scope: Scope, metrics: tuple[str, ...] = STATE, *, lately: bool = False, failed: bool = False
) -> str:
    """What kube-state-metrics tells now, and controllers and JVMs of themselves; one row a fact.

    Of annotations, those about JVMs; of nodes, which are spot, and what the largest has for pods. `lately` is
    what the scrapes of five minutes told of pods too. With `failed` there is a row of FAILED where the very
    last of one that told of them did.
    """
    more = f', resource=~"|{_RESOURCES}|(requests|limits)[.]({_RESOURCES})", reason=~"|OOMKilled"'
    apart = (ANNOTATIONS, nodes.LABELS, nodes.ALLOCATABLE)
    parts = _facts(scope, [name for name in metrics if name not in apart], more, lately)
    if failed:
        parts.append(_failed(scope))
    if ANNOTATIONS in metrics:
        # Of the pods that have one, because an installation may export annotations of every pod.
        names = jvm_annotations.LABELS.values()
        with_one = (f'{ANNOTATIONS}{{{scope.namespace_matcher}, {name}!=""}}' for name in names)
        told = " or ".join(_lately(each) for each in with_one)
        parts.append(_named(ANNOTATIONS, f"max by (namespace, pod, {', '.join(names)}) ({told})"))
    if nodes.LABELS in metrics:
        # Nodes are in no namespace: a label of that name is the exporter's, if there is one.
        kinds = (_joined(matcher, scope.labels) for matcher in nodes.spot_matchers())
        spot = " or ".join(_lately(f"{nodes.LABELS}{{{each}}}") for each in kinds)
        parts.append(_named(nodes.LABELS, f"max by (node) ({spot})"))
    if nodes.ALLOCATABLE in metrics:
        parts.append(_named(nodes.ALLOCATABLE, _largest_nodes(scope.labels)))
    return " or ".join(parts)


def _largest_nodes(labels: str) -> str:
    """What the nodes have for pods that have most CPU, most memory, and most of both: three of thousands."""

    def sizes(resource: str) -> str:
        matchers = _joined(f'resource=~"{resource}"', labels)
        return _lately(f"{nodes.ALLOCATABLE}{{{matchers}}}")

    cpu, memory = (f"max by (node) ({sizes(resource)})" for resource in _RESOURCES.split("|"))
    largest = f"topk(1, {cpu}) or topk(1, {memory}) or topk(1, {cpu} * {memory})"
    return f"max by (node, resource) ({sizes(_RESOURCES)}) and on (node) ({largest})"


def node_facts(labels: str = "") -> str:
    """What bears on the prices of all nodes, as it is told: labels are of any name."""
    matchers = _joined(labels, f'resource=~"|{_RESOURCES}"')
    return " or ".join(_lately(f"{metric}{{{matchers}}}") for metric in nodes.METRICS)


def pod_nodes(scope: Scope) -> str:
    """On which node each pod is."""
    pods = f'{scope.namespace_matcher}, {scope.pod_matcher}node!=""'
    return f"max by (namespace, pod, node) ({_lately(f'kube_pod_info{{{pods}}}')})"


def workloads(
    scope: Scope, metrics: tuple[str, ...] = WORKLOADS, *, lately: bool = False, failed: bool = False
) -> str:
    """Whose pods there are now, and Deployments and CronJobs without any; `lately` and `failed` as `state`
    has them.
    """
    return " or ".join([*_facts(scope, metrics, "", lately), *([_failed(scope)] if failed else [])])


def _facts(scope: Scope, metrics: Sequence[str], more: str, lately: bool) -> list[str]:
    """What is in a namespace, one row a fact; `more` are matchers that it takes in addition."""
    facts = []
    for of_pods in (True, False):
        if names := [name for name in metrics if (name in _OF_PODS) is of_pods]:
            name = names[0] if len(names) == 1 else ""
            pattern = "" if name else f"__name__=~{_any_of(names)}, "
            told = f"{name}{{{pattern}{scope.namespace_matcher}{more}}}"
            # A JVM may tell NaN of a gauge of which it has forgotten the source; NaN is above nothing.
            told = told if of_pods and not lately else _lately(told)
            fact = f"max by ({_STATE_LABELS}) ({told if of_pods else f'{told} > -Inf'})"
            facts.append(_named(name, fact) if name else fact)
    return facts


def _named(name: str, fact: str) -> str:
    """Rows with this for a metric's name: who takes no pattern for one may not group by it either."""
    return f'label_replace({fact}, "__name__", "{name}", "", "")'


def _failed(scope: Scope) -> str:
    told = _lately(f"{OWNERS[0]}{{{scope.namespace_matcher}}}")
    failed = f"count(up{{{scope.labels}}} == 0 and on (job) {told})"
    return _named(FAILED, failed)


def is_sidecar(labels: Mapping[str, str]) -> bool:
    """Whether a row of INIT_INFO is of a native sidecar: kube-state-metrics says so since 2.11."""
    return labels.get("restart_policy") == "Always"


def usage_series(labels: str = "") -> str:
    """Of all containers: whether there is any usage."""
    return f"{MEMORY}{{{Scope(labels=labels).containers}}}"


def owner_series(scope: Scope) -> str:
    """Who owns the pods, ReplicaSets and Jobs: all of it is in the labels."""
    return f"{{__name__=~{_any_of(OWNERS)}, {scope.namespace_matcher}}}"


def owners(scope: Scope, history: timedelta) -> str:
    """The same of every one that there was, for servers that do not tell of series without their samples."""
    span = duration(int(history.total_seconds()))
    # Without a pattern for their names, which not each server takes.
    told = (f"max_over_time({metric}{{{scope.namespace_matcher}}}[{span}])" for metric in OWNERS)
    return " or ".join(f"max by ({_OWNER_LABELS}) ({each})" for each in told)


def frequencies(scope: Scope, history: timedelta, lately: timedelta) -> dict[str, str]:
    """Samples of the best-scraped container: in some hours of the history, and in the last ten minutes; those
    of recorded CPU, if there are any; the most restarts, and whether reasons are told; pods that are gone:
    one of those that there were `lately`, as far back as owners are asked for where older days are kept. By
    the name of the question: to be asked about all at once, for the best-scraped of a half is another.

    The hours' are over all namespaces, because no pod of a shard may have lived for one; but for the last
    over a third of the pods. Each hour is a question of its own: a subquery would read all that lies between
    them, and of one for all of them a server looks each hour's series up in every block of the history.
    """

    def told(which: str, samples: str) -> str:
        return f'label_replace(max(count_over_time({samples})), "in", "{which}", "", "")'

    everyone = Scope(labels=scope.labels)
    some = f"{MEMORY}{{{everyone.containers}, {_A_THIRD}}}"
    now = (
        told(_in_hour(0), f"{usage_series(scope.labels)}[1h]"),
        told("10m", f"{MEMORY}{{{scope.containers}}}[10m]"),
        told("rule", f"{CPU_RULE}{{{scope.containers}}}[5m]"),
        *(_most(which, metric, everyone) for which, metric in _KILLS_BY.items()),
    )
    hours = [ago for ago in _hours(history) if ago]
    marks = sorted([(lately - _LOOKBACK) // timedelta(hours=1), *hours[1:]])
    # Since each mark until the next: of pods that ended between two marks none would tell.
    since = [_HALF_A_DAY if marks[0] > _HALF_A_DAY else marks[0] / 2, *marks[:-1]]
    return {"scrapes_lately": " or ".join(now)} | {
        f"scrapes_{ago}h_ago": " or ".join(
            (told(_in_hour(ago), f"{some}[1h] offset {ago}h"), _gone(scope, mark, later))
        )
        for ago, mark, later in zip(hours, marks, since, strict=True)
    }


def _gone(scope: Scope, ago: int, later: float) -> str:
    """A pod that there was so many hours ago and, if any such, no more that many ago; of a third of all."""
    was, still = (
        f"{OWNERS[0]}{{{scope.namespace_matcher}, {_A_THIRD}}} offset {duration(int(hours * 3600))}"
        for hours in (ago, later)
    )
    one = f"bottomk(1, max by (namespace, pod) ({was}) unless on (namespace, pod) {still})"
    return f'label_replace({one}, "in", "{_GONE} {ago}", "", "")'


def gone(rows: Collection[Series]) -> dict[tuple[str, str], timedelta]:
    """Pods that are gone and how long ago there was each, by the rows of `frequencies`: who tells of all that
    there was tells of them.
    """
    found = {}
    for row in rows:
        which, _, ago = row.labels.get("in", "").partition(" ")
        if which == _GONE:
            found[row.labels.get("namespace", ""), row.labels.get("pod", "")] = timedelta(hours=int(ago))
    return found


def _hours(history: timedelta) -> list[int]:
    """Some of a history, the latest first, by how long ago they ended. Not the same hour of each day."""
    seconds = int(history.total_seconds())
    return sorted({int(seconds * part) // 3600 for part in _HOURS})


def _in_hour(ago: int) -> str:
    return f"1h, {ago}h ago"


def samples(rows: Collection[Series]) -> tuple[float | None, float | None]:
    """Those in a typical hour and in ten minutes, of the rows of `frequencies`; None where there are none. In
    the last hour instead, if by it and the ten minutes scrapes come half as often by now, or less.

    Of a young server the last hour may be all that is told of, and in a part of it scrapes may have failed:
    the last ten minutes tell how many it would have at least.
    """
    lately = max((row.value for row in rows if row.labels.get("in") == "10m"), default=None)
    least = 6 * (lately - 1) if lately else 0.0
    hours: dict[str, float] = {}
    for row in rows:
        if (which := row.labels.get("in", "")).startswith("1h"):
            hours[which] = max(row.value, hours.get(which, 0))
    last = hours.get(_in_hour(0), 0)
    if last:
        hours[_in_hour(0)] = max(last, least)
    ordered = sorted(hours.values())
    typical = ordered[len(ordered) // 2] if ordered else None
    if typical and lately and least <= last <= typical / 2:
        # Windows that hold four scrapes of most of the history would tell of few that came since, or of none.
        typical = last
    return typical, lately


def now(scope: Scope, window: Window) -> dict[str, str]:
    """What the last five minutes tell. CPU in cores, memory in bytes."""
    cpu, memory = f"{CPU}{{{scope.containers}}}", f"{MEMORY}{{{scope.containers}}}"
    return {
        "cpu_p95_recent": (
            f"quantile_over_time(0.95, max {CONTAINER} (rate({cpu}[{duration(window.recent_cpu)}]))"
            f"[5m:{duration(window.recent_step)}])"
        ),
        "memory_p95_recent": f"max {CONTAINER} (quantile_over_time(0.95, {memory}[5m]))",
    }


def begins_after(rows: Collection[Series], history: timedelta) -> timedelta | None:
    """How long ago the latest of the hours was that nothing is told of, nor of any before, in the rows of
    `frequencies` about the history; None where the oldest is told of. It may be that scrapes failed then.
    """
    told = {row.labels.get("in") for row in rows}
    silent = None
    for ago in reversed(_hours(history)):
        if _in_hour(ago) in told:
            return silent
        silent = timedelta(hours=ago)
    return None


def _most(which: str, metric: str, scope: Scope) -> str:
    told = f"max_over_time({metric}{{{scope.namespace_matcher}}}[10m])"
    return f'label_replace(max({told}), "in", "{which}", "", "")'


@dataclass(frozen=True)
class Kills:
    """Of what OOM kills would be seen: of containers, of native sidecars, of what is not begun anew."""

    containers: bool = True
    sidecars: bool = True
    ended: bool = True

    def are_told(self, *, of_sidecars: bool = False, of_runs: bool = False) -> bool:
        """Whether they are of a workload that has, or is, such."""
        return self.containers and (self.sidecars or not of_sidecars) and (self.ended or not of_runs)


def kills(rows: Collection[Series]) -> Kills:
    """By the rows of `frequencies`: restarts are told, and where there were any why something was ended; of
    what runs to completion, why anything was.
    """
    most = {row.labels.get("in"): row.value for row in rows}

    def told(restarts: str, reasons: str) -> bool:
        return restarts in most and (reasons in most or most[restarts] == 0)

    return Kills(told("restarts", "reasons"), told("init restarts", "init reasons"), "ended" in most)


def has_rule(rows: Collection[Series]) -> bool:
    """Whether `frequencies` found CPU recorded."""
    return any(row.labels.get("in") == "rule" for row in rows)


def rule_differs(scope: Scope) -> str:
    """The containers whose recorded CPU is another than their own series tell, by more than a quarter."""
    recorded = f"max {CONTAINER} ({CPU_RULE}{{{scope.containers}}})"
    told = f"max {CONTAINER} (rate({CPU}{{{scope.containers}}}[5m]))"
    return f"abs({recorded} - {told}) > 0.25 * {told} + 0.01"


def windows(window: Window, *, recorded: bool = False) -> dict[str, Question]:
    """A window of the containers, as their series have it, or, of CPU, as it is `recorded`: for a range of
    whole steps.
    """
    span = duration(window.cpu)
    return {
        "cpu_windows": lambda scope: (
            f"{CPU_RULE}{{{scope.containers}}}" if recorded else f"rate({CPU}{{{scope.containers}}}[{span}])"
        ),
        # Of scrapes that are rarer than windows one is in some of them, and it is told once.
        "memory_windows": lambda scope: (
            f"max_over_time({MEMORY}{{{scope.containers}}}[{duration(window.step)}])"
        ),
    }


def memory_max(seconds: int) -> Question:
    """The peak of the last seconds, in bytes."""
    span = duration(seconds)
    return lambda scope: f"max {CONTAINER} (max_over_time({MEMORY}{{{scope.containers}}}[{span}]))"


def cpu_max(window: Window, *, recorded: bool = False) -> Callable[[int], Question]:
    """The highest window of CPU of the last seconds, in cores: of all that lie side by side, or of those that
    are `recorded`. Where none are, a server holds them, so few containers are to be asked about at once.
    """

    def question(seconds: int, scope: Scope) -> str:
        # The window that ends as they begin is not of them, and some servers count it in.
        span = duration(max(1, seconds - 1))
        used = f"{CPU_RULE}{{{scope.containers}}}[{span}]"
        if not recorded:
            used = (
                f"rate({CPU}{{{scope.containers}}}[{duration(window.cpu)}])[{span}:{duration(window.step)}]"
            )
        return f"max {CONTAINER} (max_over_time({used}))"

    return lambda seconds: partial(question, seconds)


def oom_killed(seconds: int) -> Question:
    """What was told within the last seconds to have been killed, then or before."""
    span = duration(seconds)
    of = (LAST_REASON, INIT_LAST_REASON)
    return lambda scope: f"max {CONTAINER} ({_over('max', of, scope, f'[{span}]', _KILLED)}) > 0"


def oom_kills(seconds: int) -> Question:
    """Their number in the last seconds. Dear: to be asked about those that `oom_killed` tells of."""
    span = duration(seconds)

    def question(scope: Scope) -> str:
        of = (RESTARTS, INIT_RESTARTS)
        # From what was told last before them: `increase` would miss a kill between two ranges. By uid,
        # because a StatefulSet's pod that is made anew has its name, and counts from 0.
        each = "by (namespace, pod, container, uid)"
        before = (
            f"max {each} ({_over('last', of, scope, f'[{span}] offset {span}')})"
            f" or min {each} ({_over('min', of, scope, f'[{span}]')})"
        )
        steps = f"(max {each} ({_over('max', of, scope, f'[{span}]')}) - ({before})) > 0"
        return f"sum {CONTAINER} ({steps}) and {oom_killed(seconds)(scope)}"

    return question


def killed_limit(seconds: int) -> Question:
    """The least limit of memory in the last seconds, in bytes, of what was told to have been killed."""
    span = duration(seconds)
    of = (LIMITS, INIT_LIMITS)
    memory = ', resource="memory"'
    return lambda scope: (
        f"min {CONTAINER} ({_over('min', of, scope, f'[{span}]', memory)}) and {oom_killed(seconds)(scope)}"
    )


def memory_limits(_seconds: int) -> Question:
    """As they are at the end, in bytes."""
    return lambda scope: " or ".join(
        f'min {CONTAINER} ({each}{{{scope.containers}, resource="memory"}})' for each in (LIMITS, INIT_LIMITS)
    )


def periods(scope: Scope) -> str:
    """The series of what has a CPU limit, and may be throttled."""
    return f"{PERIODS}{{{scope.containers}}}"


def throttled_share(seconds: int) -> Question:
    """Of the CPU periods of the last seconds."""
    span = duration(seconds)
    return lambda scope: (
        f"max {CONTAINER} (increase({THROTTLED}{{{scope.containers}}}[{span}])"
        f" / (increase({periods(scope)}[{span}]) > 0))"
    )


def killed_runs(seconds: int) -> Question:
    """Pods that ended for their memory in the last seconds, and were not begun anew."""
    span = duration(seconds)

    def question(scope: Scope) -> str:
        # What ended before them is told as long as the pod is kept.
        told, before = (
            f"max {CONTAINER} ({_over(function, (ENDED_REASON,), scope, span_, _KILLED)}) > 0"
            for function, span_ in (("max", f"[{span}]"), ("last", f"[5m] offset {span}"))
        )
        return f"{told} unless ({before})"

    return question


def mean_replicas(scope: Scope, history: timedelta) -> str:
    """Of each HorizontalPodAutoscaler, how many pods it had on average."""
    span = duration(int(history.total_seconds()))
    told = f"avg_over_time({HPA_REPLICAS}{{{scope.namespace_matcher}}}[{span}])"
    return f"max by (namespace, horizontalpodautoscaler) ({told})"


def usage(scope: Scope, window: Window) -> dict[str, str]:
    """Each figure of the whole history by one query. CPU in cores, memory in bytes; the p95s are by run."""
    cpu = f"{CPU}{{{scope.containers}}}"
    history, step = duration(window.history), duration(window.step)
    rate = f"rate({cpu}[{duration(window.cpu)}])"
    return {
        "cpu_p95": f"max {RUN} (quantile_over_time(0.95, {rate}[{history}:{step}]))",
        "memory_p95": (f"max {RUN} (quantile_over_time(0.95, {_memory(scope, window)}[{history}:{step}]))"),
        "memory_max": memory_max(window.history)(scope),
    }


def of_several_runs(scope: Scope, window: Window) -> dict[str, str]:
    """The p95s of the history over windows that first are the container's."""
    cpu, memory = f"{CPU}{{{scope.containers}}}", _memory(scope, window)
    over = f"[{duration(window.history)}:{duration(window.step)}]"
    rate = f"rate({cpu}[{duration(window.cpu)}])"
    return {
        "cpu_p95": f"quantile_over_time(0.95, max {CONTAINER} ({rate}){over})",
        "memory_p95": f"quantile_over_time(0.95, max {CONTAINER} ({memory}){over})",
    }


def runs(scope: Scope, window: Window) -> dict[str, str]:
    """What pods that run to completion are told with beyond `usage`; the scope has their workloads' names.

    They may live for less than one window. `rate` divides by the whole range what was used in a part of it,
    `deriv` (least squares, which a counter's reset would mislead: then `rate` is more) by the part. The
    first window is looked for, and windows are counted, at each step, because most lie between two of the
    rarer ones. `scrapes` are single ones.
    """
    cpu, memory = f"{CPU}{{{scope.containers}}}", f"{MEMORY}{{{scope.containers}}}"
    history, step, window_range = duration(window.history), duration(window.step), duration(window.cpu)
    rate, slope = f"rate({cpu}[{window_range}])", f"deriv({cpu}[{window_range}])"
    return {
        "cpu_max": f"max {CONTAINER} (max_over_time(({slope} > {rate} or {rate})[{history}:{step}]))",
        "first_seen": f"min {CONTAINER} (min_over_time(timestamp({rate})[{history}:{step}]))",
        "samples": f"sum {CONTAINER} (count_over_time({rate}[{history}:{step}]))",
        "scrapes": f"max {CONTAINER} (count_over_time({memory}[{history}]))",
    }


def _over(function: str, metrics: Sequence[str], scope: Scope, span: str, more: str = "") -> str:
    """`function` over time of any of kube-state-metrics' metrics: those of native sidecars have other names.

    One selector of all names would not do: the function drops them, and Prometheus refuses two series that do
    not differ in anything else. So it is where a StatefulSet's container became a sidecar and no uid is kept.
    """
    # Without what tells cAdvisor's own series apart: a query of these is long as it is.
    matchers = f"{scope.pod_matcher}{scope.namespace_matcher}{more}"
    return " or ".join(f"{function}_over_time({metric}{{{matchers}}}{span})" for metric in metrics)


def _lately(selector: str) -> str:
    """As far back as an instant looks, but past the marks that a failed scrape leaves: "gone"."""
    return f"last_over_time({selector}[5m])"


def _memory(scope: Scope, window: Window) -> str:
    """Memory of a window, for a subquery that has one step a window."""
    memory = f"{MEMORY}{{{scope.containers}}}"
    often = window.interval <= _OFTEN_SECONDS
    return memory if often else f"max_over_time({memory}[{duration(window.cpu)}])"


def duration(seconds: int) -> str:
    """As PromQL writes it: `14d`, `5m`, `90s`."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _joined(*matchers: str) -> str:
    return ", ".join(each for each in matchers if each)


def _any_of(names: Collection[str], end: str = "") -> str:
    """A quoted regular expression (RE2, anchored by Prometheus) that matches these beginnings."""
    # Not re.escape: RE2 takes a backslash before ASCII's punctuation alone.
    alternatives = "|".join(re.sub(r"([][\\.+*?(){}^$|])", r"\\\1", name) for name in names)
    return json.dumps(f"(?:{alternatives}){end}" if end else alternatives, ensure_ascii=False)
