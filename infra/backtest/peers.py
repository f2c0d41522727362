"""The rules of comparable tools, by their published formulas, to be measured beside our own.

Each takes the windows of the past (cores and bytes, one row a container, NaN where nothing was measured) and
returns cores and bytes to request, NaN where the past tells nothing. Where a tool sets no memory limit of its
own, the limit is the request, as all of them advise for memory.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from infra.backtest.digests import Floats
from shared.contracts.quantities import MIB

__all__ = ["PEERS", "Windows", "crane", "goldilocks", "highest", "krr", "kubecost", "quantile", "vpa"]


@dataclass(frozen=True)
class Windows:
    """The past: `cpu` in cores, `memory` in bytes; shape (containers, windows), the last one the latest."""

    cpu: Floats
    memory: Floats
    per_day: int

    def last(self, days: float) -> Windows:
        count = round(days * self.per_day)
        return Windows(self.cpu[:, -count:], self.memory[:, -count:], self.per_day)


def krr(past: Windows, memory_buffer: float = 0.15) -> tuple[Floats, Floats]:
    """robusta-dev/krr, strategy simple: p95 of CPU and the maximum of memory plus 15 %, over 14 days; at
    least 10m and 100 MiB (robusta_krr/strategies/simple.py, core/models/config.py).
    """
    recent = past.last(14)
    cpu = np.maximum(quantile(recent.cpu, 0.95), 0.010)
    return cpu, np.maximum(highest(recent.memory) * (1 + memory_buffer), 100 * MIB)


def vpa(past: Windows) -> tuple[Floats, Floats]:
    """kubernetes/autoscaler, VerticalPodAutoscaler, target: p90 of CPU and of daily memory peaks over 8 days,
    in histograms whose weights halve every 24 hours, plus 15 %; at least 25m and 250 MiB
    (vertical-pod-autoscaler/pkg/recommender/{logic/recommender.go,model/aggregations_config.go}).
    """
    recent = past.last(8)
    containers, count = recent.memory.shape
    # A day that is not whole has its peak so far.
    lacking = np.full((containers, -count % past.per_day), np.nan)
    peaks = highest(np.hstack([lacking, recent.memory]).reshape(containers, -1, past.per_day))
    cpu = _decayed(recent.cpu, 0.90, past.per_day, first=0.01)
    memory = _decayed(peaks, 0.90, 1, first=1e7)
    return np.maximum(cpu * 1.15, 0.025), np.maximum(memory * 1.15, 250 * MIB)


def goldilocks(past: Windows) -> tuple[Floats, Floats]:
    """FairwindsOps/goldilocks, Guaranteed QoS: the VerticalPodAutoscaler's target as it is, for request and
    limit (pkg/summary/summary.go, pkg/dashboard/templates/container.gohtml).
    """
    return vpa(past)


def crane(past: Windows) -> tuple[Floats, Floats]:
    """gocrane/crane, resource recommendation: p99 of CPU and memory over 7 days, each sample weighing as much
    as it is, in buckets of 0.1 cores and 100 MiB, so no less than one of these, plus 15 %
    (pkg/recommendation/recommender/resource/{registry,recommend}.go, pkg/prediction/percentile).

    The half-lives of 24 and 48 hours in its configuration are not applied: its histogram is a plain one
    (aggregate_signal.go).
    """
    recent = past.last(7)
    return _by_volume(recent.cpu, 0.99, 0.1) * 1.15, _by_volume(recent.memory, 0.99, 100 * MIB) * 1.15


def kubecost(past: Windows) -> tuple[Floats, Floats]:
    """Kubecost, container request right-sizing with its defaults: the maximum, divided by a target
    utilisation of 0.7, for CPU and for memory; at least 10m and 20 MiB. Its window has no default: 14 days,
    as krr's (docs.kubecost.com, container request right sizing recommendation API v2).
    """
    recent = past.last(14)
    return (
        np.maximum(highest(recent.cpu) / 0.7, 0.010),
        np.maximum(highest(recent.memory) / 0.7, 20 * MIB),
    )


PEERS: Mapping[str, Callable[[Windows], tuple[Floats, Floats]]] = MappingProxyType(
    {"krr": krr, "vpa": vpa, "goldilocks": goldilocks, "crane": crane, "kubecost": kubecost}
)


def _decayed(values: Floats, share: float, half_life: int, *, first: float) -> Floats:
    """The quantile of a histogram with exponential buckets and weights that halve every so many values, as
    VPA keeps it.

    Buckets grow by 5 %, the first is `first` wide; the quantile is the end of the bucket in which it lies
    (pkg/recommender/util/{histogram,decaying_histogram}.go).
    """
    growth = 1.05
    ages = np.arange(values.shape[1])[::-1]
    weights = np.where(np.isfinite(values), 2.0 ** (-ages / half_life), 0.0)
    bucket = np.floor(np.log1p(np.nan_to_num(values) * (growth - 1) / first) / math.log(growth))
    return first * (growth ** (_reached(bucket, weights, share) + 1) - 1) / (growth - 1)


def _by_volume(values: Floats, share: float, width: float) -> Floats:
    """The quantile of a histogram with buckets of one width, in which each value weighs as much as it is, as
    Crane keeps it (pkg/prediction/percentile/aggregate_signal.go); what is idle weighs a trifle.
    """
    weights = np.where(np.isfinite(values), np.fmax(values, 1e-5), 0.0)
    return (_reached(np.floor(np.nan_to_num(values) / width), weights, share) + 1) * width


def _reached(bucket: Floats, weights: Floats, share: float) -> Floats:
    """The bucket in which this share of all weights is reached, of the lowest on; NaN without any weight."""
    order = np.argsort(bucket, axis=1, kind="stable")
    sums = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
    at = (sums < share * sums[:, -1:]).sum(axis=1).clip(0, bucket.shape[1] - 1)
    chosen = np.take_along_axis(bucket, order, axis=1)[np.arange(len(bucket)), at]
    return np.where(sums[:, -1] > 0, chosen, np.nan)


def quantile(values: Floats, share: float) -> Floats:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN slice")
        found: Floats = np.nanquantile(values, share, axis=-1)
    return found


def highest(values: Floats) -> Floats:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN")
        found: Floats = np.nanmax(values, axis=-1)
    return found
