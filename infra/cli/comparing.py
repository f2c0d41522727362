"""What another tool's published rule says of a cluster, to look at beside ours: nothing is proposed by it.

The rules are those of the backtest, on the same windows. None of our engine's safety rules applies; what a
tool leaves alone by itself is left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from functions.recommender.reading import Reading
from functions.recommender.rules import Peer, Rules
from functions.recommender.sizing import RUN_TO_COMPLETION, Estimate, Observed, Sized, size
from infra.backtest import cluster
from infra.backtest.peers import PEERS, Windows
from shared.contracts.quantities import MIB, format_cpu, format_memory

if TYPE_CHECKING:
    from infra.backtest.digests import Floats
    from shared.contracts.events import ContainerProposal
    from shared.contracts.prometheus import Prometheus

ALIKE = (
    "It is given what the backtest gives it: CPU as the rate over five minutes (longer where scrapes are"
    " rare) and the highest working set, of the worst pod in each window; a window with an OOM kill has the"
    " memory limit. Requests are compared, rounded up to 1m and 1Mi; limits are shown as they are"
)


@dataclass(frozen=True)
class Rule:
    """One tool's: what it says, where that is published, and what the tool itself reads or does otherwise.

    `days` of usage are read. With less than `least_seconds` of one pod it says nothing, and, where
    `leaves_autoscaled`, nothing of a resource on whose utilisation an autoscaler scales.
    """

    name: Peer
    days: int
    says: str
    source: str
    differs: str
    least_seconds: int = 0
    leaves_autoscaled: bool = False

    @property
    def heading(self) -> str:
        """For people, in one line."""
        return (
            f"{self.name}'s rule as published, for comparison only: {self.says} ({self.source})."
            " Nothing is proposed by it, and none of our safety rules applies."
        )

    @property
    def reading(self) -> str:
        """What it is given, and what the tool itself does otherwise."""
        return f"{ALIKE}. {self.differs}."

    def document(self) -> dict[str, str]:
        """For programs."""
        return {
            "name": self.name,
            "note": "for comparison only: nothing is proposed",
            "says": self.says,
            "source": self.source,
            "reading": self.reading,
        }

    def compared(
        self, reading: Reading, prometheus: Prometheus, at: datetime, namespaces: Collection[str]
    ) -> Reading:
        """The reading with the rule's figures as each container's estimate, where it says something.

        Raises:
            Temporary: Prometheus cannot be reached, or will not run a query.
        """
        span = timedelta(days=self.days)
        found = cluster.find(prometheus, at, span, namespaces, labels=reading.labels)
        if not found.rows:
            return reading
        estimates = _estimates(found, cluster.read(prometheus, found), self)
        return replace(
            reading,
            workloads=tuple(
                replace(
                    observed,
                    containers=tuple(
                        replace(each, estimate=estimates.get((*_controller(observed), each.name)))
                        for each in observed.containers
                    ),
                )
                for observed in reading.workloads
            ),
        )

    def size(self, observed: Observed, rules: Rules) -> Sized:
        """What the rule would set of each container; `rules` tell how sure that is, and change no figure."""
        estimates = {each.name: each.estimate for each in observed.containers}
        known = size(observed, rules)
        containers = tuple(
            each if (estimate := estimates[each.name]) is None else _would_be(each, estimate, observed, self)
            for each in (_as_it_is(each) for each in known.containers)
        )
        sized = replace(known, containers=containers, skipped=None)
        if observed.workload.kind in RUN_TO_COMPLETION:
            return replace(
                sized, skipped="runs to completion: rules of other tools are compared for what lasts"
            )
        if not any(estimates.values()):
            return replace(sized, skipped=f"{self.name} says nothing of it: no usage, or too little")
        if all(each.proposed == each.current for each in containers):
            return replace(sized, skipped=f"{self.name} says what is set, or leaves it to its autoscaler")
        return sized


RULES: Mapping[Peer, Rule] = MappingProxyType(
    {
        "krr": Rule(
            "krr",
            14,
            "p95 of CPU, maximum of memory plus 15%, over 14 days; at least 10m and 100Mi",
            "https://github.com/robusta-dev/krr, strategy simple",
            "krr itself takes the p95 pod by pod, over windows of 75 s",
            least_seconds=100 * 75,  # its points_required, at its distance of two points
            leaves_autoscaled=True,
        ),
        "vpa": Rule(
            "vpa",
            8,
            "p90 of CPU and of daily memory peaks over 8 days, weights halved every 24 hours, plus 15%; at"
            " least 25m and 250Mi",
            "https://github.com/kubernetes/autoscaler, vertical-pod-autoscaler, target",
            "VPA itself samples the metrics API once a minute, raises memory after an OOM kill, and divides"
            " its least values among the containers of a pod",
        ),
        "goldilocks": Rule(
            "goldilocks",
            8,
            "VPA's target as it is: p90 of CPU and of daily memory peaks over 8 days, weights halved every 24"
            " hours, plus 15%; at least 25m and 250Mi",
            "https://github.com/FairwindsOps/goldilocks, Guaranteed QoS",
            "Goldilocks itself asks a VerticalPodAutoscaler, and shows its bounds beside: the lower one as a"
            " request and the upper one as a limit, for Burstable QoS",
        ),
        "crane": Rule(
            "crane",
            7,
            "p99 of CPU and memory over 7 days, each window weighing as much as was used in it, up to whole"
            " 100m and 100Mi, plus 15%; at least 115m and 115Mi",
            "https://github.com/gocrane/crane, resource recommendation",
            "Crane itself samples once a minute, and raises memory after an OOM kill",
        ),
        "kubecost": Rule(
            "kubecost",
            14,
            "maximum of CPU and memory, divided by a target utilisation of 0.7; at least 10m and 20Mi",
            "https://docs.kubecost.com, container request right sizing recommendation API v2, its defaults",
            "Kubecost itself reads maxima from a store of its own, over a window without a default: 14 days"
            " here",
        ),
    }
)


def _controller(observed: Observed) -> tuple[str, str, str]:
    return observed.workload.namespace, observed.workload.kind, observed.workload.name


def _estimates(
    found: cluster.Found, measured: cluster.Measured, rule: Rule
) -> dict[tuple[str, str, str, str], Estimate]:
    past = Windows(measured.cpu, measured.memory, round(86400 / found.window.step))
    cpu, memory = PEERS[rule.name](past)
    seconds: Floats = measured.pods.sum(axis=1) * float(found.window.step)
    return {
        (*controller, container): Estimate(
            strategy=rule.name,
            cpu_request_m=round(float(cpu[row]) * 1000, 3),
            memory_request_bytes=round(float(memory[row])),
            memory_raise_bytes=round(float(memory[row])),
            memory_limit_bytes=round(float(memory[row])),
            why_cpu=f"{rule.name}'s rule, for comparison only",
            why_memory=f"{rule.name}'s rule, for comparison only",
        )
        for (controller, container), row in found.rows.items()
        if np.isfinite([cpu[row], memory[row]]).all() and seconds[row] >= rule.least_seconds
    }


def _as_it_is(container: ContainerProposal) -> ContainerProposal:
    return container.model_copy(update={"proposed": container.current, "reasons": ()})


def _would_be(
    container: ContainerProposal, estimate: Estimate, observed: Observed, rule: Rule
) -> ContainerProposal:
    left = observed.scales_on if rule.leaves_autoscaled else frozenset()
    current, values, whys = container.current, {}, {}
    for resource, field, value, form, why in (
        ("cpu", "cpu_request_m", ceil(estimate.cpu_request_m), format_cpu, estimate.why_cpu),
        (
            "memory",
            "memory_request_bytes",
            ceil(estimate.memory_request_bytes / MIB) * MIB,
            format_memory,
            estimate.why_memory,
        ),
    ):
        if left & {resource, "unknown"}:
            whys[resource] = f"{rule.name} leaves what an autoscaler scales on as it is"
        else:
            now = getattr(current, field)
            values[field] = value
            whys[resource] = f"{'-' if now is None else form(now)} -> {form(value)}: {why}"
    return container.model_copy(
        update={
            "proposed": current.model_copy(update=values),
            "reasons": (
                f"CPU request {whys['cpu']}",
                "CPU limit: not compared",
                f"memory request {whys['memory']}",
                "memory limit: not compared",
            ),
        }
    )
