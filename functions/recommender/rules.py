"""The engine's settings, apart from the rest: a function reads them before it loads what uses them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shared.contracts.quantities import MIB

PERCENTILE = "percentile"
# Of both thresholds for what is worth a change: for raising what use no longer fits in.
WORTH_RAISING = 0.5
Strategy = Literal["percentile", "balanced", "cautious", "lean"]
# Other tools' published rules (peers.py), by which nothing is ever proposed.
Peer = Literal["krr", "vpa", "goldilocks", "crane", "kubecost"]


@dataclass(frozen=True)
class Rules:
    """The engine's settings. CPU in millicores, memory in bytes, headrooms as factors, shares of 1.

    15 % of headroom is what krr gives to memory and the VerticalPodAutoscaler to both. A memory limit has
    more, because it kills. Seven days without lowering memory after an OOM kill are Crane's. Beside a JVM's
    heap, its classes and its code, `jvm_overhead` of the heap, and `jvm_overhead_bytes` at least, is for what
    no metric tells: stacks of threads, the collector's own books, buffers.
    """

    minimum_history_hours: float = 24.0
    minimum_samples: int = 30
    minimum_runs: int = 5
    cpu_headroom: float = 1.15
    memory_headroom: float = 1.15
    memory_limit_headroom: float = 1.3
    cpu_floor_m: int = 10
    memory_floor_bytes: int = 32 * MIB
    relative_change: float = 0.10
    cpu_change_m: int = 10
    memory_change_bytes: int = 16 * MIB
    oom_days: int = 7
    throttled_share: float = 0.10
    jvm_overhead: float = 0.20
    jvm_overhead_bytes: int = 128 * MIB
    keep_qos: bool = True

    def least_change(self, name: str) -> int:
        """Of a field of Resources, in its unit: what is less is not worth a change, whatever its share."""
        return self.cpu_change_m if name.startswith("cpu") else self.memory_change_bytes
