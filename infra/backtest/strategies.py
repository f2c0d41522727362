"""Every way of sizing under its name: ours, its peers', what an oracle would have said, and what was set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from functions.recommender.container import LEAST_CPU_LIMIT_M, LEAST_MEMORY_LIMIT
from functions.recommender.fitted import Constants, constants
from functions.recommender.rules import Rules
from functions.recommender.sizing import FILLED, MOSTLY_THERE, RISEN
from infra.backtest.digests import Digests, Floats
from infra.backtest.estimating import Estimates, Sizes, estimate, kept
from infra.backtest.fleet import Fleet
from infra.backtest.peers import PEERS, Windows, highest, quantile
from infra.backtest.walking import Past, Strategy

RULES = Rules()  # what the engine does unless told otherwise
CPU_FLOOR = RULES.cpu_floor_m / 1000  # cores
MEMORY_FLOOR = RULES.memory_floor_bytes
# No limit is lowered below these, cores and bytes.
CPU_LIMIT_FLOOR = max(CPU_FLOOR, LEAST_CPU_LIMIT_M / 1000)
MEMORY_LIMIT_FLOOR = max(MEMORY_FLOOR, LEAST_MEMORY_LIMIT)
ORACLE, AS_PROVISIONED = "oracle", "as provisioned"


@dataclass(frozen=True)
class Estimator:
    """Ours, as the engine applies it: with its floors, and with its thresholds for what is worth a change."""

    name: str
    fitted: Constants

    def __call__(self, past: Past) -> Sizes:
        found, before = estimate(past.digests, self.fitted), past.set_before
        filled = fills(past.digests, before.memory_limit)
        usual, tied = applied(found, before, filled), applied_to_guaranteed(found, before, filled)
        return Sizes(
            np.where(past.guaranteed, tied.cpu_request, usual.cpu_request),
            np.where(past.guaranteed, tied.memory_request, usual.memory_request),
            np.where(past.guaranteed, tied.memory_limit, usual.memory_limit),
        )


def fills(digests: Digests, limit: Floats) -> NDArray[np.bool_]:
    """Of each container whether memory came up to its limit for a week, or near it for four, on each day on
    which it was there, risen by hardly anything and not killed: what is killed counts as just above it.
    """
    found = np.zeros(len(limit), dtype=bool)
    known, every = np.isfinite(digests.memory[:, :, -1]), np.arange(len(limit))
    for days, share in FILLED:
        tops, there = digests.memory[:, -days:, -1], known[:, -days:]
        was_there = known[:, : max(0, digests.days - days + 1)].any(axis=1)
        if tops.shape[1] == days:
            is_near = (tops >= share * limit[:, None]) & (tops <= limit[:, None])
            first, last = there.argmax(axis=1), days - 1 - there[:, ::-1].argmax(axis=1)
            found |= (
                was_there
                & (there.mean(axis=1) >= MOSTLY_THERE)
                & (is_near | ~there).all(axis=1)
                & (tops[every, last] <= tops[every, first] * RISEN)
            )
    return found


def applied(found: Estimates, before: Sizes, filled: NDArray[np.bool_] | bool = False) -> Sizes:
    """What would be set after `before` (NaN where nothing is), in containers that were not killed, in pods
    that are not Guaranteed. What `filled` its limit, as `fills` says, is not raised above it.
    """
    # What is set below a floor is not raised to it.
    cpu = np.maximum(found.sizes.cpu_request, np.fmin(CPU_FLOOR, before.cpu_request))
    memory_floor = np.fmin(MEMORY_FLOOR, before.memory_request)
    memory = np.maximum(found.sizes.memory_request, memory_floor)
    cpu = kept(cpu, before.cpu_request, found.cpu_fits, RULES.relative_change, RULES.cpu_change_m / 1000)
    # What lies between is enough to stay, and not so much that few days allow to lower it.
    enough = np.maximum(found.peak * found.margin, memory_floor)
    stays = np.isnan(memory) | (before.memory_request >= memory)
    memory = kept(
        np.minimum(
            np.where(stays, memory, np.fmax(enough, before.memory_request)),
            np.where(filled, before.memory_limit, np.inf),
        ),
        before.memory_request,
        found.memory_fits,
        RULES.relative_change,
        RULES.memory_change_bytes,
    )
    # A limit is never lowered, and raised where the peak has no headroom below it: to twice what is set, at
    # most.
    least = np.maximum(memory, found.peak * RULES.memory_limit_headroom)
    most = 2 * np.fmax(before.memory_limit, memory)
    raised = np.where(
        np.isnan(before.memory_limit), found.sizes.memory_limit, np.fmin(found.sizes.memory_limit, most)
    )
    limit = np.where((before.memory_limit >= least) | filled, before.memory_limit, np.maximum(raised, least))
    return Sizes(cpu, memory, limit)


def applied_to_guaranteed(found: Estimates, before: Sizes, filled: NDArray[np.bool_] | bool = False) -> Sizes:
    """What would be set in Guaranteed pods, where a request is the limit as well.

    It throttles and kills, so it holds the peak and a limit's headroom, and memory is lowered to the limit's
    estimate only. It is raised by any amount, if the share is worth it.
    """
    cpu = np.maximum(found.sizes.cpu_request, found.cpu_peak * RULES.cpu_headroom)
    cpu = np.maximum(cpu, np.fmin(CPU_LIMIT_FLOOR, before.cpu_request))
    fits = np.fmax(found.cpu_fits, found.cpu_peak)
    change = np.where(cpu > before.cpu_request, 0, RULES.cpu_change_m / 1000)
    cpu = kept(cpu, before.cpu_request, fits, RULES.relative_change, change)
    least = found.peak * RULES.memory_limit_headroom
    holds = (least <= before.memory_request) & (least <= found.sizes.memory_limit)
    memory = np.where(
        holds,
        np.fmin(before.memory_request, found.sizes.memory_limit),
        np.maximum(found.peak * found.margin, least),
    )
    memory = np.minimum(memory, np.where(filled, before.memory_limit, np.inf))
    memory = np.maximum(memory, np.fmin(MEMORY_LIMIT_FLOOR, before.memory_request))
    change = np.where(memory > before.memory_request, 0, RULES.memory_change_bytes)
    memory = kept(memory, before.memory_request, np.inf, RULES.relative_change, change)
    return Sizes(cpu, memory, memory)


@dataclass(frozen=True)
class Peer:
    """Another tool's rule. `memory_factor` raises its memory, to compare at equal risk."""

    name: str
    rule: Callable[[Windows], tuple[Floats, Floats]]
    memory_factor: float = 1.0

    def __call__(self, past: Past) -> Sizes:
        cpu, memory = self.rule(past.windows)
        return Sizes(cpu, memory * self.memory_factor, memory * self.memory_factor)


@dataclass(frozen=True)
class Oracle:
    """Knows what comes: its p95 of CPU and its peak of memory. Nobody can do this; it shows what is left."""

    name: str = ORACLE

    def __call__(self, past: Past) -> Sizes:
        memory = highest(past.coming.memory)
        return Sizes(quantile(past.coming.cpu, 0.95), memory, memory)


@dataclass(frozen=True)
class AsProvisioned:
    """What the containers requested when they were recorded, where the trace tells it; of a live cluster,
    what they request now.
    """

    fleet: Fleet
    name: str = AS_PROVISIONED

    def __call__(self, past: Past) -> Sizes:  # noqa: ARG002  (the past changes nothing)
        return Sizes(self.fleet.cpu_request, self.fleet.memory_request, self.fleet.memory_limit)


def names() -> list[str]:
    """In the order in which they are shown."""
    return [AS_PROVISIONED, *constants(), *PEERS, ORACLE]


def all_of(fleet: Fleet) -> Mapping[str, Strategy]:
    """By name, in the order of `names`."""
    found: dict[str, Strategy] = {AS_PROVISIONED: AsProvisioned(fleet)}
    found |= {name: Estimator(name, fitted) for name, fitted in constants().items()}
    found |= {name: Peer(name, rule) for name, rule in PEERS.items()}
    return found | {ORACLE: Oracle()}
