"""A container's counters: what it may use, is refused, and is killed for."""

from __future__ import annotations

import math
from array import array
from itertools import pairwise

import pytest

from infra.standins.cluster.container import Container, relive
from infra.standins.cluster.demand import Demand, Startup
from infra.standins.cluster.traces import Trace

_MIB = 1024.0 * 1024


def _container(
    cores: float = 0.5,
    mebibytes: float = 100,
    *,
    cpu_limit: float | None = None,
    memory_limit: float | None = None,
    startup: Startup | None = None,
) -> Container:
    """One that always wants the same, from time 0 on, which is now."""
    trace = Trace(
        "w", "p", "c", array("d", [-60.0, 0.0]), array("d", [cores] * 2), array("d", [mebibytes * _MIB] * 2)
    )
    demand = Demand(trace, now=0.0, startup=startup)
    return Container("app", "image", demand, start=0.0, cpu_limit=cpu_limit, memory_limit=memory_limit)


def test_without_limits_it_uses_what_it_wants() -> None:
    container = _container(0.5, 100)
    container.advance(120)
    assert container.cpu_seconds == pytest.approx(60)
    assert container.working_set == 100 * _MIB
    assert container.periods == 0


def test_wanting_more_cpu_than_the_limit_is_throttled_in_every_period() -> None:
    container = _container(2.0, cpu_limit=0.5)
    container.advance(100)
    assert container.cpu_seconds == pytest.approx(50)
    assert container.periods == pytest.approx(1000)
    assert container.throttled_periods == pytest.approx(1000)
    assert container.throttled_seconds == pytest.approx(150)


def test_far_below_its_limit_it_is_never_throttled() -> None:
    container = _container(0.2, cpu_limit=1.0)
    container.advance(100)
    assert container.throttled_periods == 0
    assert container.periods == pytest.approx(1000)


def test_wanting_more_memory_than_the_limit_is_killed_and_restarted_empty() -> None:
    container = _container(0.1, 100, memory_limit=80 * _MIB)
    container.advance(60)
    assert container.oom_killed
    assert container.restarts >= 1
    assert container.cpu_seconds < 0.1 * 60
    assert math.isnan(container.working_set) or container.working_set < 80 * _MIB


def test_restarts_come_ever_later_up_to_five_minutes_apart() -> None:
    container = _container(0.1, 1000, memory_limit=10 * _MIB)  # dies at once, whenever it starts
    killed: list[float] = []
    for second in range(1, 2400):
        before = container.restarts
        container.advance(float(second))
        killed += [float(second)] * (container.restarts - before)
    waits = [later - earlier for earlier, later in pairwise(killed[1:])]
    assert waits[0] < waits[1] < waits[2]
    assert waits[-1] == pytest.approx(300, abs=6)


def test_while_it_waits_for_its_restart_it_is_not_running() -> None:
    container = _container(0.1, 1000, memory_limit=10 * _MIB)
    container.advance(60)
    assert not container.running
    assert container.waiting_reason == "CrashLoopBackOff"


def test_a_start_takes_more_than_the_ordinary_run() -> None:
    startup = Startup(seconds=30, cores=1.0, memory_bytes=300 * _MIB)
    container = _container(0.1, 100, startup=startup)
    container.advance(30)
    assert container.working_set == 300 * _MIB
    assert container.cpu_seconds == pytest.approx(33)
    container.advance(130)
    assert container.cpu_seconds == pytest.approx(43)
    assert container.working_set == 100 * _MIB


def test_a_fresh_process_needs_time_to_fill_its_memory() -> None:
    container = _container(0.1, 100)
    container.advance(5)
    assert container.working_set < 60 * _MIB


def test_a_recording_stands_whatever_the_limits_are() -> None:
    times = array("d", [60.0 * k for k in range(11)])
    trace = Trace("w", "p", "c", times, array("d", [0.9] * 11), array("d", [100 * _MIB] * 11))
    demand = Demand(trace, now=600.0, measured=True)
    container = Container("app", "i", demand, start=0.0, cpu_limit=0.2, memory_limit=50 * _MIB)
    assert list(relive(container, list(times)[1:])) == list(times)[1:]
    assert container.cpu_seconds == pytest.approx(540)
    assert container.restarts == 0


def test_a_gap_in_the_recording_counts_nothing() -> None:
    times = array("d", [0.0, 60.0, 120.0, 3600.0, 3660.0])
    trace = Trace("w", "p", "c", times, array("d", [1.0] * 5), array("d", [1.0] * 5))
    container = Container("app", "i", Demand(trace, now=3660.0, measured=True), start=-60.0)
    seen: dict[float, tuple[float, float]] = {}
    for t in relive(container, [60.0 * k for k in range(62)]):
        seen[t] = (container.cpu_seconds, container.working_set)
    assert seen[1800.0][0] == seen[120.0][0]
    assert math.isnan(seen[1800.0][1])
    assert seen[3660.0][0] > seen[120.0][0]
