"""What kube-state-metrics tells of nodes that bears on their prices: labels, sizes, whether they are spot."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from shared.contracts.quantities import GIB

if TYPE_CHECKING:
    from shared.contracts.prometheus import Series

LABELS = "kube_node_labels"
ANNOTATIONS = "kube_node_annotations"
INFO = "kube_node_info"
ALLOCATABLE = "kube_node_status_allocatable"
SIZES = ("kube_node_status_capacity", ALLOCATABLE)
METRICS = (LABELS, ANNOTATIONS, INFO, *SIZES)

# Which labels say that a node may be taken back at any time: EKS', Karpenter's, GKE's (two), AKS'.
SPOT_LABELS = (
    ("eks.amazonaws.com/capacityType", "SPOT"),
    ("karpenter.sh/capacity-type", "spot"),
    ("cloud.google.com/gke-spot", "true"),
    ("cloud.google.com/gke-preemptible", "true"),
    ("kubernetes.azure.com/scalesetpriority", "spot"),
)
REGION = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
INSTANCE_TYPE = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")


@dataclass(frozen=True)
class Node:
    """One node; `cores` and `gib` are None where they are not told.

    `labels` and `annotations` have the names that kube-state-metrics gives them: see `exported`.
    """

    name: str
    cores: Decimal | None = None
    gib: Decimal | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    provider_id: str = ""

    def label(self, *names: str) -> str:
        """The first of these Kubernetes labels that it has; empty if none."""
        return next((value for name in names if (value := _value(self.labels, "label", name))), "")

    def annotation(self, name: str) -> str:
        return _value(self.annotations, "annotation", name)


def exported(prefix: str, name: str) -> tuple[str, ...]:
    """What kube-state-metrics makes of a label's or an annotation's name, in version 2 and in version 1.

    Characters that Prometheus does not allow become `_`; version 2 also writes capacityType as capacity_type.
    """
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
    snake = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", plain).lower()
    return tuple(dict.fromkeys((f"{prefix}_{snake}", f"{prefix}_{plain}")))


def spot_matchers() -> Iterator[str]:
    """A PromQL matcher for each name under which a spot label may be exported."""
    for label, value in SPOT_LABELS:
        for name in exported("label", label):
            yield f'{name}="{value}"'


def nodes_of(rows: Iterable[Series]) -> dict[str, Node]:
    """The nodes by name, from rows of METRICS. Capacity is what is paid for; else allocatable is taken."""
    labels: dict[str, dict[str, str]] = {}
    annotations: dict[str, dict[str, str]] = {}
    provider_ids: dict[str, str] = {}
    sizes: dict[tuple[str, str, str], float] = {}
    names: set[str] = set()
    for row in rows:
        metric, name = row.labels.get("__name__", ""), row.labels.get("node", "")
        if not name:
            continue
        names.add(name)
        if metric == LABELS:
            labels.setdefault(name, {}).update(_beginning(row.labels, "label_"))
        elif metric == ANNOTATIONS:
            annotations.setdefault(name, {}).update(_beginning(row.labels, "annotation_"))
        elif metric == INFO:
            provider_ids[name] = row.labels.get("provider_id", "")
        elif row.value > 0:
            sizes[metric, name, row.labels.get("resource", "")] = row.value
    return {
        name: Node(
            name=name,
            cores=_amount(sizes, name, "cpu"),
            gib=None if (size := _amount(sizes, name, "memory")) is None else size / GIB,
            labels=labels.get(name, {}),
            annotations=annotations.get(name, {}),
            provider_id=provider_ids.get(name, ""),
        )
        for name in sorted(names)
    }


def _amount(sizes: Mapping[tuple[str, str, str], float], name: str, resource: str) -> Decimal | None:
    found = (sizes.get((metric, name, resource)) for metric in SIZES)
    return next((Decimal(repr(size)) for size in found if size is not None), None)


def _beginning(labels: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name.startswith(prefix)}


def _value(of: Mapping[str, str], prefix: str, name: str) -> str:
    return next((of[each] for each in exported(prefix, name) if of.get(each)), "")
