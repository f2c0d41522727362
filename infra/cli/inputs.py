"""What the engine reads from Prometheus: what each series is for, and how a cluster comes to have it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from functions.recommender import jvm_annotations, nodes
from functions.recommender.queries import (
    ANNOTATIONS,
    CPU,
    CPU_RULE,
    CRON_JOB,
    ENDED_REASON,
    HPA_REPLICAS,
    INIT_INFO,
    INIT_LAST_REASON,
    INIT_LIMITS,
    INIT_REQUESTS,
    INIT_RESTARTS,
    JVM_MAX,
    JVM_USED,
    LAST_REASON,
    LIMIT_RANGE,
    MAX_UNAVAILABLE,
    MEMORY,
    PERIODS,
    QUOTA,
    RESTARTS,
    ROLLOUT_REPLICAS,
    THROTTLED,
    VPA_MODES,
)

CADVISOR = (
    "scrape /metrics/cadvisor of each kubelet (kube-prometheus-stack: kubelet.serviceMonitor.cAdvisor),"
    " and look for what drops it in that job's metric_relabel_configs (cAdvisorMetricRelabelings)"
)
_CONTAINERS = (
    f"{CADVISOR}; it needs the label container, which there is none of where Docker runs them (cri-dockerd):"
    " scrape /metrics/resource there"
)
# Since kubernetes-mixin 1.1.0 there is CPU_RULE too.
OLDER_CPU_RULE = "node_namespace_pod_container:container_cpu_usage_seconds_total:sum_irate"
MIXIN = "load kubernetes-mixin's rules (kube-prometheus-stack: defaultRules.create)"


class Need(StrEnum):
    REQUIRED = "required"
    SAFETY = "safety"
    FIGURES = "figures"
    PRICES = "prices"  # read where prices go by nodes only
    RULE = "rule"


@dataclass(frozen=True)
class Older:
    """What an older version has in its place, which is not read."""

    name: str
    upgrade: str


@dataclass(frozen=True)
class Input:
    """`unless` says which clusters rightly have none; one that has `but_not` is none of these."""

    name: str
    need: Need
    switches_off: str
    get_it: str
    unless: str | None = None
    older: Older | None = None
    but_not: str | None = None


def _of(resources: str, more: str = "") -> str:
    return (
        f"run kube-state-metrics, with {resources} in its --resources if that is set{more}; a list of what is"
        " kept of it has to have this too, such as managed offers come with (docs/servers.md)"
    )


_NO_INIT = "no pod has an init container"
_LABELS = "and the names in --metric-labels-allowlist, such as {}=[*]: there is none without"

INPUTS = (
    Input(
        CPU,
        Need.REQUIRED,
        "everything: no usage of CPU is known",
        _CONTAINERS,
    ),
    Input(
        MEMORY,
        Need.REQUIRED,
        "everything: no usage of memory is known",
        _CONTAINERS,
    ),
    Input("kube_pod_owner", Need.REQUIRED, "everything: pods belong to no workload", _of("pods")),
    Input(
        "kube_replicaset_owner",
        Need.REQUIRED,
        "Deployments and Rollouts: their pods belong to ReplicaSets, which are not sized",
        _of("replicasets"),
    ),
    Input(
        "kube_pod_container_resource_requests",
        Need.REQUIRED,
        "everything: what containers ask for is not known",
        _of("pods"),
    ),
    Input(
        "kube_pod_container_resource_limits",
        Need.SAFETY,
        "limits are neither kept above requests nor raised, and a Guaranteed pod passes for Burstable",
        _of("pods"),
        "no container has a limit",
    ),
    Input(
        LAST_REASON,
        Need.SAFETY,
        "OOM kills are not told from other restarts: once anything restarted, memory is not lowered",
        _of("pods"),
        "no container was ever ended",
    ),
    Input(
        RESTARTS,
        Need.SAFETY,
        "memory is never lowered: OOM kills cannot be seen",
        _of("pods"),
    ),
    Input(
        ENDED_REASON,
        Need.SAFETY,
        "memory of Jobs and CronJobs is not lowered: kills of those that are not begun anew cannot be seen",
        _of("pods"),
        "no container has ended",
    ),
    *(
        Input(
            name,
            Need.SAFETY,
            f"where there are native sidecars, memory is not lowered{once}: their OOM kills cannot be seen",
            _of("pods"),
            unless,
        )
        for name, once, unless in (
            (
                INIT_LAST_REASON,
                " once any init container restarted",
                "no init container was ever ended, and begun anew",
            ),
            (INIT_RESTARTS, "", _NO_INIT),
        )
    ),
    Input(
        "kube_horizontalpodautoscaler_info",
        Need.SAFETY,
        "requests that an autoscaler scales on are changed, and with them the number of pods; where"
        f" {HPA_REPLICAS} is there, what has its name is left alone, or else all that may be scaled in its"
        " namespace",
        _of("horizontalpodautoscalers", ", of version 2.3 or later"),
        "it has no HorizontalPodAutoscaler",
        but_not=HPA_REPLICAS,
    ),
    Input(
        "kube_horizontalpodautoscaler_spec_target_metric",
        Need.SAFETY,
        "of what an autoscaler scales nothing changes but memory limits that are raised: what it scales on is"
        " not known",
        _of("horizontalpodautoscalers"),
        "it has no HorizontalPodAutoscaler",
        but_not=HPA_REPLICAS,
    ),
    Input(
        HPA_REPLICAS,
        Need.FIGURES,
        "costs of what is autoscaled follow the pods that are wanted now, not their mean",
        _of("horizontalpodautoscalers"),
        "it has no HorizontalPodAutoscaler",
    ),
    *(
        Input(
            name,
            Need.SAFETY,
            "what a VerticalPodAutoscaler sizes is sized in Git besides, which moves its limits",
            "configure kube-state-metrics for VerticalPodAutoscalers, as its customresourcestate-metrics.md"
            f" does (some have it as {other})",
            "it has no VerticalPodAutoscaler, or all are told of by the other name",
        )
        for name, other in (VPA_MODES, VPA_MODES[::-1])
    ),
    Input(
        LIMIT_RANGE,
        Need.SAFETY,
        "values beyond a LimitRange are proposed, with which no pod would be admitted",
        _of("limitranges"),
        "it has no LimitRange",
    ),
    Input(
        QUOTA,
        Need.SAFETY,
        "values are raised for which a ResourceQuota has no room: a rollout with them does not end",
        _of("resourcequotas"),
        "it has no ResourceQuota",
    ),
    Input(
        MAX_UNAVAILABLE,
        Need.FIGURES,
        "where a ResourceQuota has no room for one pod more, Deployments are left alone that are rolled out"
        " without",
        _of("deployments"),
        "all Deployments are recreated",
    ),
    Input(
        nodes.ALLOCATABLE,
        Need.SAFETY,
        "requests may be raised beyond what the largest node has: such pods are not scheduled",
        _of("nodes"),
    ),
    Input(
        "kube_job_owner",
        Need.FIGURES,
        "CronJobs are told by the names of their Jobs alone (nightly-29384532): one named otherwise is"
        " a workload of its own",
        _of("jobs"),
        "it has no CronJob",
    ),
    Input(
        CRON_JOB,
        Need.FIGURES,
        "CronJobs of which neither a Job nor a pod is kept are not seen between their runs",
        _of("cronjobs"),
        "it has no CronJob",
    ),
    Input(
        "kube_pod_container_info",
        Need.FIGURES,
        "containers that ask for nothing are not seen, nor which images are a JVM's",
        _of("pods"),
    ),
    Input(
        INIT_INFO,
        Need.FIGURES,
        "native sidecars are neither sized nor priced",
        _of("pods", ", of version 2.11 or later: former ones do not tell which are sidecars"),
        _NO_INIT,
    ),
    Input(
        INIT_REQUESTS,
        Need.SAFETY,
        "native sidecars pass for such that ask for nothing; what init containers keep reserved is not known,"
        " and savings are overstated",
        _of("pods"),
        "no init container asks for anything",
    ),
    Input(
        INIT_LIMITS,
        Need.SAFETY,
        "limits of native sidecars are neither kept above requests nor raised, and a Guaranteed pod with init"
        " containers passes for Burstable",
        _of("pods"),
        "no init container has a limit",
    ),
    Input(
        "kube_deployment_spec_replicas",
        Need.FIGURES,
        "costs follow the pods that are there now; Deployments without pods are not seen",
        _of("deployments"),
    ),
    Input(
        THROTTLED,
        Need.FIGURES,
        "throttling is not told, and does not keep a CPU request from being lowered",
        CADVISOR,
        "no container has a CPU limit",
    ),
    Input(
        PERIODS,
        Need.FIGURES,
        "throttling is not told, and does not keep a CPU request from being lowered",
        CADVISOR,
        "no container has a CPU limit",
    ),
    Input(
        ROLLOUT_REPLICAS,
        Need.FIGURES,
        "costs of Rollouts follow the pods that are there now",
        "scrape the controller of Argo Rollouts (port 8090), with honor_labels",
        "it has no Argo Rollouts",
    ),
    *(
        Input(
            name,
            Need.FIGURES,
            "requests for memory of JVMs are not lowered: what their heaps may take is not known",
            f"scrape JVMs that export it (Micrometer, client_java, jmx_exporter; some as {other}), with the"
            " labels namespace, pod and container of their pods",
            "no JVM is there, or all tell it by the other name",
        )
        for names in (JVM_MAX, JVM_USED)
        for name, other in (names, names[::-1])
    ),
    Input(
        ANNOTATIONS,
        Need.FIGURES,
        "what people say of JVMs: those that neither images nor metrics tell are sized by use, and requests"
        " for memory of those without metrics of their own are not lowered",
        _of(
            "pods",
            ", and --metric-annotations-allowlist=pods=["
            f"{','.join(jvm_annotations.LABELS)}]: there is none without",
        ),
        "no JVM is there, or images and metrics tell all of them",
    ),
    Input(
        "kube_node_labels",
        Need.FIGURES,
        "spot nodes are priced as others; prices by a node's label or instance type are not found",
        _of("nodes", f", {_LABELS.format('nodes')}"),
        "no node is spot, and prices do not go by nodes",
    ),
    Input(
        "kube_pod_info",
        Need.PRICES,
        "spot nodes are priced as others, and prices do not go by nodes: where pods run is not known",
        _of("pods"),
    ),
    *(
        Input(name, Need.PRICES, f"{what} (where prices go by nodes)", _of("nodes"))
        for name, what in (
            ("kube_node_status_capacity", "a node's price is not split into its cores and memory"),
            ("kube_node_info", "a file's prices are not found by spec.providerID"),
        )
    ),
    Input(
        CPU_RULE,
        Need.RULE,
        "nothing: the raw series are read, which costs Prometheus more",
        MIXIN,
        older=Older(
            OLDER_CPU_RULE,
            "upgrade kubernetes-mixin to 1.1.0 (kube-prometheus-stack to 70.7.0) or later: an older version's"
            f" {OLDER_CPU_RULE} is there, which is no use: it tells of two scrapes alone (irate over 5m)",
        ),
    ),
    *(
        Input(name, Need.RULE, switches_off, MIXIN)
        for name, switches_off in (
            (
                "node_namespace_pod_container:container_memory_working_set_bytes",
                "nothing: the raw series are read, which cost no more",
            ),
            (
                "namespace_workload_pod:kube_pod_owner:relabel",
                "nothing: owners are read from labels, which costs less",
            ),
        )
    ),
)
