"""Prometheus without a server: a history to load into a real one, and a fake that answers our own queries."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from shared.contracts.errors import Temporary
from shared.contracts.prometheus import Curve, Series

Labels = dict[str, str]


class History:
    """Samples, written as the OpenMetrics text that `promtool tsdb create-blocks-from` reads."""

    def __init__(self) -> None:
        self.families: dict[str, list[str]] = {}

    def add(self, metric: str, labels: Labels, samples: Iterable[tuple[float, float]]) -> None:
        """A series; times in Unix seconds. A name that ends with `_total` is a counter."""
        text = ",".join(f'{name}="{value}"' for name, value in labels.items())
        lines = self.families.setdefault(metric, [])
        lines.extend(f"{metric}{{{text}}} {value!r} {at}\n" for at, value in samples)

    def write(self, path: Path) -> Path:
        with path.open("w", encoding="utf-8") as file:
            for metric, lines in self.families.items():
                family = metric.removesuffix("_total")
                file.write(f"# TYPE {family} {'gauge' if family == metric else 'counter'}\n")
                file.writelines(lines)
            file.write("# EOF\n")
        return path


@dataclass
class FakePod:
    """A pod of one container, and the figures that Prometheus would compute for it.

    CPU in cores, memory in bytes. `owner` is the controller as the pod names it; a ReplicaSet's name is
    that of what owns it, of the kind `above`, with one part more. `jvm` is what a JVM tells of itself, in
    bytes by metric and area; `annotations` are labels as kube-state-metrics has them. `oom_killed`: it runs,
    and was last ended for its memory; `former_limit` is
    the least limit of memory that it had. Without `measured` it has no series of usage. `init`: its manifest
    has it among the init containers, with this `restart_policy` of its own.
    """

    namespace: str
    owner: tuple[str, str]
    cpu_p95: float = 0.2
    cpu_max: float = 0.4
    memory_p95: float = 200 * 2**20
    memory_max: float = 220 * 2**20
    samples: float = 4032
    history_days: float = 14
    requests: dict[str, float] = field(default_factory=lambda: {"cpu": 1.0, "memory": float(2**30)})
    limits: dict[str, float] = field(default_factory=lambda: {"memory": float(2**30)})
    oom_kills: float = 0.0
    container: str = "app"
    above: str = "Deployment"
    image: str = ""
    jvm: dict[tuple[str, str], float] = field(default_factory=dict)
    annotations: Labels = field(default_factory=dict)
    suffix: str = "x2b4c"
    oom_killed: bool = False
    former_limit: float | None = None
    throttled: float | None = None
    measured: bool = True
    node: str = ""
    init: bool = False
    restart_policy: str = ""

    @property
    def name(self) -> str:
        return f"{self.owner[1]}-{self.suffix}"


@dataclass
class FakeNode:
    """A node as kube-state-metrics tells of it; labels have the names that it exports."""

    name: str
    cores: float = 4.0
    gib: float = 16.0
    labels: Labels = field(default_factory=dict)
    provider_id: str = ""

    @property
    def is_spot(self) -> bool:
        return self.labels.get("label_karpenter_sh_capacity_type") == "spot"

    def rows(self) -> list[Series]:
        here = {"node": self.name}
        sizes = {"cpu": self.cores, "memory": self.gib * 2**30}
        return [
            Series({"__name__": "kube_node_labels", **here, **self.labels}, 1.0),
            Series({"__name__": "kube_node_info", **here, "provider_id": self.provider_id}, 1.0),
            *(
                Series({"__name__": "kube_node_status_capacity", **here, "resource": resource}, size)
                for resource, size in sizes.items()
            ),
        ]


class FakePrometheus:
    """Answers the recommender's queries for `pods`, which a test may change; `down` makes it unreachable.

    `scaled` has, by namespace and Deployment, the resource on whose utilisation an autoscaler scales it.
    `before` is called with each query: where a test lets something else happen in the midst of a scan.
    `timeouts` are the seconds that each query was given. Without `tells_kills`
    restarts are not told. What is autoscaled had `mean_replicas` pods. The series are those of `clusters`;
    some name a namespace of `hidden` in place of those that they are about. `quotas` have, by namespace, the
    cores that may be requested, and are.
    """

    def __init__(self, *pods: FakePod) -> None:
        self.pods = list(pods)
        self.nodes: list[FakeNode] = []
        self.clusters = ["local"]
        self.hidden: list[str] = []
        self.scaled: dict[tuple[str, str], str] = {}
        self.quotas: dict[str, tuple[float, float]] = {}
        self.down = False
        self.tells_kills = True
        self.mean_replicas = 3.0
        self.asked: list[str] = []
        self.timeouts: list[float | None] = []
        self.now: datetime | None = None
        self.before: Callable[[str], None] = lambda promql: None

    def query(self, promql: str, at: datetime, timeout: float | None = None) -> list[Series]:
        self.now = at
        return self._told(promql, at, timeout)

    def _told(self, promql: str, at: datetime, timeout: float | None) -> list[Series]:
        self.before(promql)
        if self.down:
            raise Temporary("Prometheus http://fake: ConnectionError")
        self.asked.append(promql)
        self.timeouts.append(timeout)
        matchers = {
            name: re.compile(pattern) for name, pattern in re.findall(r'(namespace|pod)=~"([^"]*)"', promql)
        }
        return [
            row
            for row in self._rows(promql, at)
            if "namespace" not in row.labels
            or all(pattern.fullmatch(row.labels.get(name, "")) for name, pattern in matchers.items())
        ]

    def query_range(
        self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
    ) -> list[Curve]:
        """Of windows the p95 at every step and the peak at each day's first; of OOM kills those of the last
        day; of a day's memory the peak, if the pod lived then; of other things the same value at every step.
        """
        count = int((end - begin) / step) + 1
        times = [(begin + number * step).timestamp() for number in range(count)]
        if promql == "vector(1)":
            return [Curve({}, times, (1.0,) * count)]
        asked_at = self.now
        rows = self._told(promql, end, timeout)
        if "restarts" in promql:
            if asked_at is not None and asked_at - end >= timedelta(days=1):
                return []
            return [Curve(row.labels, times[-1:], (row.value,)) for row in rows]
        pods = {(pod.namespace, pod.name, pod.container): pod for pod in self.pods}
        of = [pods[row.labels["namespace"], row.labels["pod"], row.labels["container"]] for row in rows]
        if step == timedelta(days=1) and "memory" in promql:
            born = [(self.now or end).timestamp() - pod.history_days * 86400 for pod in of]
            return [
                Curve.of(row.labels, ((at, row.value) for at in times if at > first))
                for row, first in zip(rows, born, strict=True)
                if times[-1] > first
            ]
        if step >= timedelta(hours=1):
            return [Curve(row.labels, times, (row.value,) * count) for row in rows]
        return [
            _windows(row.labels, pod, "cpu" in promql, times, self.now or end)
            for row, pod in zip(rows, of, strict=True)
        ]

    def series(
        self, matchers: str, begin: datetime, end: datetime, timeout: float | None = None
    ) -> list[Mapping[str, str]]:
        rows = self._told(matchers, end, timeout)
        if "owner" in matchers:
            return [row.labels for row in rows if "owner_kind" in row.labels]
        now = self.now or end
        ages = {(pod.namespace, pod.name): timedelta(days=pod.history_days) for pod in self.pods}
        pods = [(row.labels, (row.labels["namespace"], row.labels["pod"])) for row in rows]
        return [labels for labels, pod in pods if now - ages[pod] < end]

    def _rows(self, promql: str, at: datetime) -> list[Series]:
        if "[1h]" in promql:
            often = [Series({"in": "1h"}, 60.0), Series({"in": "10m"}, 10.0)]
            by = ("restarts", "reasons", "init restarts", "init reasons", "ended")
            kills = [Series({"in": name}, 1.0) for name in by]
            return often + kills if self.tells_kills else often
        if "owner_kind" in promql or "kube_pod_owner" in promql:
            state = [row for pod in self.pods for row in self._state(pod)]
            state += [row for scaled in self.scaled.items() for row in _autoscaler(*scaled)]
            state += [row for quota in self.quotas.items() for row in _quota(*quota)]
            spot = [node.name for node in self.nodes if node.is_spot]
            state += [Series({"__name__": "kube_node_labels", "node": name}, 1.0) for name in spot]
            asked = set(re.findall(r"\w+", promql))
            clusters = [Series({"cluster": name}, 1.0) for name in self.clusters]
            clusters += [
                Series({"namespace": each, "job": "ksm", "hidden": "yes"}, 1.0) for each in self.hidden
            ]
            told = [row for row in state if row.labels["__name__"] in asked]
            return clusters if "count by (cluster, " in promql else told
        if "kube_node_status_capacity" in promql:
            return [row for node in self.nodes for row in node.rows()]
        if "kube_pod_info" in promql:
            return [
                Series({"namespace": pod.namespace, "pod": pod.name, "node": pod.node}, 1.0)
                for pod in self.pods
                if pod.node
            ]
        if "status_current_replicas" in promql:
            return [
                Series({"namespace": namespace, "horizontalpodautoscaler": name}, self.mean_replicas)
                for namespace, name in self.scaled
            ]
        figure = self._figure(promql)
        return [
            Series({"namespace": pod.namespace, "pod": pod.name, "container": pod.container}, value)
            for pod in self.pods
            if pod.measured and (value := figure(pod, at)) is not None
        ]

    def _figure(self, promql: str) -> Callable[[FakePod, datetime], float | None]:
        """Which figure a query asks for, by what no other one has in it."""
        kinds: list[tuple[str, Callable[[FakePod, datetime], float | None]]] = [
            ("throttled|cfs_periods", lambda pod, at: pod.throttled),
            ("status_terminated_reason", lambda pod, at: None),
            # Those of today so far are none.
            (r"restarts.*\[\d+[smh]\]", lambda pod, at: None),
            ("^min by.*resource_limits", lambda pod, at: pod.former_limit or pod.limits.get("memory")),
            # Who was killed some time: as it is told now, that was so at all times since.
            (
                r"^max by.*last_terminated_reason",
                lambda pod, at: 1.0 if pod.oom_killed or pod.oom_kills else None,
            ),
            (r"restarts|last_terminated_reason", lambda pod, at: pod.oom_kills or None),
            ("timestamp", lambda pod, at: at.timestamp() - pod.history_days * 86400),
            (r"sum by|max by.*\(count_over_time", lambda pod, at: pod.samples),
            (r"quantile.*cpu.*\[5m:", lambda pod, at: pod.cpu_p95),
            (r"quantile.*cpu", lambda pod, at: pod.cpu_p95),
            ("cpu", lambda pod, at: pod.cpu_max),
            (r"quantile.*memory", lambda pod, at: pod.memory_p95),
            ("memory", lambda pod, at: pod.memory_max),
        ]
        return next(figure for pattern, figure in kinds if re.search(pattern, promql))

    def _state(self, pod: FakePod) -> list[Series]:
        kind, name = pod.owner
        here = {"namespace": pod.namespace, "pod": pod.name}
        metrics = "kube_pod_init_container" if pod.init else "kube_pod_container"
        info = {"image": pod.image, "restart_policy": pod.restart_policy}
        rows = [
            Series({"__name__": "kube_pod_owner", **here, "owner_kind": kind, "owner_name": name}, 1.0),
            Series(
                {"__name__": f"{metrics}_info", **here, "container": pod.container}
                | {label: value for label, value in info.items() if value},
                1.0,
            ),
            *(
                Series({"__name__": metric, **here, "container": pod.container, "area": area}, value)
                for (metric, area), value in pod.jvm.items()
            ),
        ]
        if pod.annotations:
            rows.append(Series({"__name__": "kube_pod_annotations", **here, **pod.annotations}, 1.0))
        if kind == "ReplicaSet":
            deployment = name.rpartition("-")[0]
            owner = {"owner_kind": pod.above, "owner_name": deployment}
            replicas = {"__name__": "kube_deployment_spec_replicas", "deployment": deployment}
            if pod.above == "Rollout":
                replicas = {"__name__": "rollout_info_replicas_desired", "name": deployment}
            rows += [
                Series(
                    {"__name__": "kube_replicaset_owner", "namespace": pod.namespace, "replicaset": name}
                    | owner,
                    1.0,
                ),
                Series({**replicas, "namespace": pod.namespace}, 3.0),
            ]
        if pod.oom_killed:
            reason = f"{metrics}_status_last_terminated_reason"
            rows.append(Series({"__name__": reason, **here, "container": pod.container}, 1.0))
        for metric, values in (("requests", pod.requests), ("limits", pod.limits)):
            rows += [
                Series(
                    {
                        "__name__": f"{metrics}_resource_{metric}",
                        **here,
                        "container": pod.container,
                        "resource": resource,
                    },
                    value,
                )
                for resource, value in values.items()
            ]
        return rows


class Busy(FakePrometheus):
    """Takes some time for each range query, and tells how many of them were under way at once."""

    def __init__(self, *told: Any) -> None:
        super().__init__(*told)
        self.most = self._running = 0
        self._lock = threading.Lock()

    def query_range(
        self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
    ) -> list[Curve]:
        with self._lock:
            self._running += 1
            self.most = max(self.most, self._running)
        time.sleep(0.01)
        try:
            return super().query_range(promql, begin, end, step, timeout)
        finally:
            with self._lock:
                self._running -= 1


def _windows(labels: Mapping[str, str], pod: FakePod, cpu: bool, times: list[float], now: datetime) -> Curve:
    first = now.timestamp() - pod.history_days * 86400
    lived = [at for at in times if at > first]
    # As many as it has in all its days, evenly.
    share = min(1.0, pod.samples / max(1.0, (now.timestamp() - first) / 300))
    count = round(share * len(lived))
    lived = [lived[number * len(lived) // count] for number in range(count)]
    usual, peak = (pod.cpu_p95, pod.cpu_max) if cpu else (pod.memory_p95, pod.memory_max)
    days: set[int] = set()
    values = []
    for at in lived:
        day = int((at - 1) // 86400)
        values.append(usual if day in days else peak)
        days.add(day)
    return Curve(labels, lived, values)


def _quota(namespace: str, cores: tuple[float, float]) -> list[Series]:
    labels = {"__name__": "kube_resourcequota", "namespace": namespace, "resourcequota": "compute"}
    labels["resource"] = "requests.cpu"
    return [
        Series({**labels, "type": kind}, value) for kind, value in zip(("hard", "used"), cores, strict=True)
    ]


def _autoscaler(target: tuple[str, str], resource: str) -> list[Series]:
    namespace, deployment = target
    here = {"namespace": namespace, "horizontalpodautoscaler": deployment}
    whose = {"scaletargetref_kind": "Deployment", "scaletargetref_name": deployment}
    by = {"metric_name": resource, "metric_target_type": "utilization"}
    return [
        Series({"__name__": "kube_horizontalpodautoscaler_info", **here, **whose}, 1.0),
        Series({"__name__": "kube_horizontalpodautoscaler_spec_target_metric", **here, **by}, 80.0),
    ]


def deployment(namespace: str, name: str, **figures: object) -> FakePod:
    return FakePod(namespace, ("ReplicaSet", f"{name}-6c9f7"), **figures)  # type: ignore[arg-type]


def rollout(namespace: str, name: str, revision: str = "6c9f7", **figures: object) -> FakePod:
    """A pod of one of a Rollout's revisions: stable and canary are two."""
    return FakePod(namespace, ("ReplicaSet", f"{name}-{revision}"), above="Rollout", **figures)  # type: ignore[arg-type]
