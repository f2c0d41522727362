"""What a kubelet's cAdvisor says of the containers.

Names and labels are as the kubelet serves them under `/metrics/cadvisor`, with cgroupfs paths, the series
of the pod's own control group under `container=""`, and those of its sandbox under `container="POD"`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from infra.standins.cluster.container import Container
from infra.standins.cluster.metrics import Row, labels
from infra.standins.cluster.names import container_id
from infra.standins.cluster.pods import Pod, qos_class

if TYPE_CHECKING:
    from infra.standins.cluster.cluster import Cluster

# History and scrapes are the same series whatever port the process has: the page says itself what its job and
# instance are. Prometheus keeps that where it scrapes with `honor_labels: true`, as is usual for this page.
SOURCE = 'instance="cluster",job="cadvisor"'

CPU = "container_cpu_usage_seconds_total"
MEMORY = "container_memory_working_set_bytes"
PERIODS = "container_cpu_cfs_periods_total"
THROTTLED = "container_cpu_cfs_throttled_periods_total"
_THROTTLED_SECONDS = "container_cpu_cfs_throttled_seconds_total"

_PAUSE_IMAGE = "registry.k8s.io/pause:3.9"
_PAUSE_BYTES = 256 * 1024
_PAUSE_CPU_SECONDS = 0.02


def container_labels(pod: Pod, container: Container, restarts: int) -> str:
    name = container_id(pod.uid, container.name, restarts)
    return labels(
        container=container.name,
        id=f"{_cgroup(pod)}/{name}",
        image=container.image,
        name=name,
        namespace=pod.namespace,
        pod=pod.name,
    )


def _pod_labels(pod: Pod) -> str:
    """Of the pod's own control group, which has the sum of its containers."""
    return labels(container="", id=_cgroup(pod), image="", name="", namespace=pod.namespace, pod=pod.name)


def _sandbox_labels(pod: Pod) -> str:
    name = container_id(pod.uid, "POD", 0)
    return labels(
        container="POD",
        id=f"{_cgroup(pod)}/{name}",
        image=_PAUSE_IMAGE,
        name=name,
        namespace=pod.namespace,
        pod=pod.name,
    )


def _cgroup(pod: Pod) -> str:
    qos = qos_class(pod.spec).lower()
    return f"/kubepods/pod{pod.uid}" if qos == "guaranteed" else f"/kubepods/{qos}/pod{pod.uid}"


def total_cpu(text: str) -> str:
    """The labels of the CPU counter: the kubelet's is the total over all CPUs."""
    return f'{text},cpu="total"'


def rows(cluster: Cluster) -> Iterator[Row]:
    for pod in sorted(cluster.pods.values(), key=lambda each: (each.namespace, each.name)):
        if pod.phase(cluster.now) == "Running":
            yield from _pod_usage(pod)


def _pod_usage(pod: Pod) -> Iterator[Row]:
    running = [each for each in pod.containers if each.running]
    for each in running:
        text = container_labels(pod, each, each.restarts)
        yield Row(CPU, total_cpu(text), each.cpu_seconds)
        if not math.isnan(each.working_set):
            yield Row(MEMORY, text, each.working_set)
        if each.cpu_limit is not None:
            yield Row(PERIODS, text, float(int(each.periods)))
            yield Row(THROTTLED, text, float(int(each.throttled_periods)))
            yield Row(_THROTTLED_SECONDS, text, each.throttled_seconds)
    used = [each.working_set for each in running if not math.isnan(each.working_set)]
    yield Row(CPU, total_cpu(_pod_labels(pod)), sum(each.cpu_seconds for each in running))
    yield Row(MEMORY, _pod_labels(pod), sum(used) + _PAUSE_BYTES)
    yield Row(CPU, total_cpu(_sandbox_labels(pod)), _PAUSE_CPU_SECONDS)
    yield Row(MEMORY, _sandbox_labels(pod), _PAUSE_BYTES)
