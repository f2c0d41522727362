"""Usage generated from a seed, for a cluster that has no measured traces.

The shape is what production services show: a day with one broad peak, quieter weekends, noise that has some
memory from minute to minute, short bursts, and memory that is steady apart from a slow swing and rare
spikes.
"""

from __future__ import annotations

import hashlib
import math
import random
from array import array

from infra.standins.cluster.traces import Trace
from infra.standins.scenario import Profile

STEP_SECONDS = 60.0
_DAY = 86400.0
_NOISE_KEPT = 0.8  # share of a minute's deviation that the next minute still has


def seed_of(*parts: object) -> int:
    """A seed that depends on every part and on nothing else (the built-in hash differs by process)."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:8], "big")


def generate(profile: Profile, *, end: float, seed: int, start: float | None = None) -> Trace:
    """A trace in steps of 60 s whose last sample is at `end` (Unix seconds), `profile.days` long.

    Equal arguments give equal samples. A later `start` only cuts the beginning off: the samples that remain
    do not change.
    """
    steps = int(profile.days * _DAY / STEP_SECONDS)
    rng = random.Random(seed)  # noqa: S311  (usage, not secrets)
    gauss, uniform = rng.gauss, rng.random
    burst_chance = profile.bursts_per_day * STEP_SECONDS / _DAY
    spike_chance = profile.memory_spikes_per_day * STEP_SECONDS / _DAY
    burst_steps = max(1, round(profile.burst_seconds / STEP_SECONDS))
    spike_steps = max(1, round(profile.memory_spike_seconds / STEP_SECONDS))
    fresh_noise = profile.noise * math.sqrt(1 - _NOISE_KEPT**2)
    first = end - (steps - 1) * STEP_SECONDS
    times, cpu, memory = array("d"), array("d"), array("d")
    deviation = 0.0
    bursting = spiking = 0
    for step in range(steps):
        at = first + step * STEP_SECONDS
        daylight = math.cos(2 * math.pi * ((at % _DAY) / 3600 - profile.peak_hour) / 24)
        # 1970-01-01 was a Thursday: days 2 and 3 of each week since then are Saturday and Sunday.
        weekday = 1 - profile.weekend if int(at // _DAY) % 7 in (2, 3) else 1.0
        level = (1 + profile.daily * daylight) * weekday
        deviation = _NOISE_KEPT * deviation + fresh_noise * gauss(0, 1)
        bursting = burst_steps if uniform() < burst_chance else max(0, bursting - 1)
        spiking = spike_steps if uniform() < spike_chance else max(0, spiking - 1)
        cores = profile.cpu_cores * max(0.0, level * (1 + deviation))
        size = profile.memory_bytes * (
            1 + profile.memory_swing * (0.7 * daylight + 0.3 * math.tanh(deviation))
        )
        times.append(at)
        cpu.append(cores + (profile.burst_cores if bursting else 0.0))
        memory.append(size + (profile.memory_spike_bytes if spiking else 0.0))
    cut = 0 if start is None else max(0, min(steps - 1, math.ceil((start - first) / STEP_SECONDS)))
    return Trace("", "", "", times[cut:], cpu[cut:], memory[cut:])
