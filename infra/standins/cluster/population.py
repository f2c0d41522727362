"""The pods of a workload in the past, and the demand of each of their containers, from the scenario."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path

from infra.standins.cluster import profiles, traces
from infra.standins.cluster.demand import Demand, Startup
from infra.standins.cluster.traces import Trace
from infra.standins.scenario import Profile, Recorded, Scenario, Usage

# A container that nobody described idles: what a sleeping process of a small image takes.
_IDLE = Profile(cpu_cores=0.001, memory_bytes=16 * 1024 * 1024, days=0.05, noise=0.0, memory_swing=0.0)


# Pods that overlap by less than this share of the shorter one's life took turns.
_MOST_OVERLAP = 0.1


@dataclass(frozen=True)
class Life:
    """One pod's life in the past. `pod` is its recorded name; None: the cluster names it.

    `end` is None for the pod that still runs at `now`.
    """

    start: float
    end: float | None = None
    pod: str | None = None


@dataclass
class Population:
    """What is known of one workload: its pods' lives by ordinal, and the demand of its containers."""

    seed: int
    now: float
    usages: dict[str, Usage] = field(default_factory=dict)
    _recordings: dict[str, list[_Recording]] = field(default_factory=dict)
    _demands: dict[tuple[str, int], Demand] = field(default_factory=dict)

    def add(self, usage: Usage) -> None:
        self.usages[usage.container] = usage
        if usage.recorded is not None:
            self._recordings[usage.container] = _recordings(usage.recorded, self.now, usage.created)

    def lives(self, ordinal: int) -> list[Life]:
        """The lives of the pods that took turns as this ordinal, oldest first; the last one is still alive.

        The first container of the workload that the scenario names decides, for all containers share a pod.
        """
        usage = next(iter(self.usages.values()), None)
        if usage is None:
            return [Life(self.now)]
        if usage.recorded is not None:
            recordings = self._recordings[usage.container]
            return recordings[ordinal % len(recordings)].lives
        begin = self.demand(usage.container, ordinal).begin
        turns = [begin, *sorted(t for t in usage.redeployed if begin < t < self.now)]
        return [*(Life(start, end) for start, end in pairwise(turns)), Life(turns[-1])]

    def demand(self, container: str, ordinal: int) -> Demand:
        key = (container, ordinal)
        if key not in self._demands:
            self._demands[key] = self._make(container, ordinal)
        return self._demands[key]

    def _make(self, container: str, ordinal: int) -> Demand:
        usage = self.usages.get(container)
        if usage is not None and usage.recorded is not None:
            recordings = self._recordings[container]
            return Demand(recordings[ordinal % len(recordings)].trace, now=self.now, measured=True)
        profile = usage.profile if usage is not None and usage.profile is not None else _IDLE
        trace = profiles.generate(
            profile,
            end=self.now,
            seed=profiles.seed_of(self.seed, container, ordinal),
            start=usage.created if usage else None,
        )
        startup = Startup(profile.startup_seconds, profile.startup_cores, profile.startup_memory_bytes)
        return Demand(trace, now=self.now, startup=startup)


@dataclass(frozen=True)
class _Recording:
    """The recorded pods that took turns, as one trace that ends at `now`."""

    trace: Trace
    lives: list[Life]


def populations(scenario: Scenario) -> dict[tuple[str, str, str], Population]:
    """By namespace, kind and name of the workload. Raises `TraceError` for a trace that cannot be used."""
    found: dict[tuple[str, str, str], Population] = {}
    for usage in scenario.usage:
        key = (usage.namespace, usage.kind, usage.name)
        if key not in found:
            found[key] = Population(profiles.seed_of(scenario.seed, *key), scenario.now)
        found[key].add(usage)
    return found


@cache
def _read(path: Path) -> list[Trace]:
    return traces.read(path)


def _recordings(recorded: Recorded, now: float, created: float | None) -> list[_Recording]:
    """The workload's recorded pods, shifted in time so that its last sample is at `now`.

    Pods that ran side by side are different ordinals; those that followed one another took turns as one.
    """
    path = Path(recorded.file)
    of_workload = [trace for trace in _read(path) if trace.workload == recorded.workload]
    chosen = [trace for trace in of_workload if trace.container == recorded.container]
    if not chosen:
        known = ", ".join(sorted({trace.container or "''" for trace in of_workload})) or "none at all"
        raise traces.TraceError(
            f"{path}: no samples of workload {recorded.workload!r}, container {recorded.container!r}"
            f" (the workload's containers: {known})"
        )
    shift = now - max(trace.times[-1] for trace in of_workload)
    turns: list[list[Trace]] = []
    for trace in sorted(chosen, key=lambda trace: trace.times[0]):
        turn = next((turn for turn in turns if _follows(trace, turn[-1])), None)
        if turn is None:
            turns.append([trace])
        else:
            turn.append(trace)
    return [_joined(turn, shift, recorded.memory_bytes, created) for turn in turns]


def _follows(later: Trace, earlier: Trace) -> bool:
    """Whether one pod replaced the other: a rollout lets both run for a moment, replicas run side by side."""
    overlap = earlier.times[-1] - later.times[0]
    return overlap <= _MOST_OVERLAP * min(each.times[-1] - each.times[0] for each in (earlier, later))


def _joined(turn: list[Trace], shift: float, memory: int | None, created: float | None) -> _Recording:
    times, cpu, used = array("d"), array("d"), array("d")
    begun: list[tuple[float, str]] = []
    for trace, successor in zip(turn, [*turn[1:], None], strict=True):
        until = successor.times[0] if successor else math.inf
        kept = [
            i for i, t in enumerate(trace.times) if t < until and (created is None or t + shift >= created)
        ]
        if not kept:
            continue
        begun.append((trace.times[kept[0]] + shift, trace.pod))
        times.extend(trace.times[i] + shift for i in kept)
        cpu.extend(trace.cpu_cores[i] for i in kept)
        used.extend(trace.memory_bytes[i] if memory is None else float(memory) for i in kept)
    if not times:
        raise traces.TraceError(f"no samples of {turn[0].workload!r} since it was created")
    joined = Trace(turn[0].workload, turn[-1].pod, turn[0].container, times, cpu, used)
    # A pod begins one interval before its first sample, since the sample speaks for that interval.
    step = times[1] - times[0] if len(times) > 1 else 60.0
    starts = [start - step for start, _ in begun]
    ends = [*starts[1:], None]
    past = [Life(start, end, pod or None) for start, end, (_, pod) in zip(starts, ends, begun, strict=True)]
    return _Recording(joined, [*past[:-1], Life(past[-1].start)])
