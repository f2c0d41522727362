"""What a container wants at any time, from a trace that ends now."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.standins.cluster.demand import Demand
from infra.standins.cluster.population import Population, populations
from infra.standins.cluster.traces import Trace, TraceError
from infra.standins.scenario import Node, Recorded, Scenario, Usage

_NOW = 1_000_000_000.0
_DAY = 86400.0


def _demand(times: list[float], value: Callable[[float], float] = lambda t: t) -> Demand:
    cpu = array("d", [value(t) for t in times])
    return Demand(Trace("w", "p", "c", array("d", times), cpu, cpu), now=_NOW)


def _minutes(start: float, end: float = _NOW, step: float = 60.0) -> list[float]:
    count = round((end - start) / step)
    return [end - k * step for k in range(count, -1, -1)]


def test_a_sample_speaks_for_the_interval_that_ends_at_its_time() -> None:
    demand = _demand(_minutes(_NOW - 3600, step=900))
    assert demand.at(_NOW - 900).cores == _NOW - 900  # type: ignore[union-attr]
    assert demand.at(_NOW - 899).cores == _NOW  # type: ignore[union-attr]
    assert demand.at(_NOW - 1).cores == _NOW  # type: ignore[union-attr]


def test_a_gap_in_the_recording_stays_a_gap() -> None:
    demand = _demand([*_minutes(_NOW - 7200, _NOW - 3600), *_minutes(_NOW - 600)])
    assert demand.at(_NOW - 3600) is not None
    assert demand.at(_NOW - 2000) is None
    assert demand.at(_NOW - 600) is not None
    assert demand.at(_NOW - 7260) is None


def test_walking_through_the_past_finds_what_looking_it_up_finds() -> None:
    demand = _demand([*_minutes(_NOW - 7200, _NOW - 3600), *_minutes(_NOW - 600)])
    grid = [_NOW - 30 * k for k in range(300, -1, -1)]
    assert list(demand.over(grid)) == [(t, demand.at(t)) for t in grid]


def test_the_future_repeats_the_last_day_at_the_same_time_of_day() -> None:
    demand = _demand(_minutes(_NOW - 3 * _DAY))
    for later in (60, 3600, _DAY - 60, _DAY, 2.5 * _DAY):
        yesterday = _NOW + later - (1 + (later - 1e-9) // _DAY) * _DAY
        assert demand.at(_NOW + later) == demand.at(yesterday)


def test_where_yesterday_is_not_recorded_the_last_unbroken_part_is_repeated() -> None:
    demand = _demand([*_minutes(_NOW - 2 * _DAY, _NOW - _DAY - 3600), *_minutes(_NOW - 600)])
    assert demand.at(_NOW + 60) == demand.at(_NOW - 600)
    assert demand.at(_NOW + 661) == demand.at(_NOW - 659)


def test_the_future_of_an_hour_goes_on_for_ever() -> None:
    demand = _demand(_minutes(_NOW - 3600))
    assert all(demand.at(_NOW + 997.0 * k) is not None for k in range(1, 300))


def _population(tmp_path: Path, rows: list[str], created: float | None = None) -> Population:
    path = tmp_path / "set.csv"
    path.write_text("\n".join(["timestamp_s,workload,pod,container,cpu_cores,memory_bytes", *rows]))
    usage = Usage(
        namespace="ns",
        kind="Deployment",
        name="w",
        container="app",
        recorded=Recorded(file=str(path), workload="w"),
        created=created,
    )
    node = Node(name="n", cpu=1, memory_bytes=1)
    return populations(Scenario(now=_NOW, nodes=[node], usage=[usage]))["ns", "Deployment", "w"]


def test_pods_that_followed_one_another_took_turns_as_one(tmp_path: Path) -> None:
    rows = [f"{60 * i},w,{'w-1-a' if i < 10 else 'w-1-b'},,0.5,1000" for i in range(1, 21)]
    old, present = _population(tmp_path, rows).lives(0)
    assert (old.pod, old.end) == ("w-1-a", present.start)
    assert (present.pod, present.end) == (None, None)
    assert present.start == _NOW - 11 * 60


def test_a_pod_that_overlaps_its_successor_for_a_moment_is_no_replica(tmp_path: Path) -> None:
    rows = [f"{60 * i},w,w-1-a,,0.5,1000" for i in range(1, 52)]
    rows += [f"{60 * i},w,w-1-b,,0.25,1000" for i in range(50, 101)]
    population = _population(tmp_path, rows)
    old, present = population.lives(0)
    assert (old.pod, old.end) == ("w-1-a", present.start)
    assert population.lives(1) == population.lives(0)
    found = [population.demand("app", 0).at(_NOW - 60 * ago) for ago in (51, 50)]
    assert [wanted.cores for wanted in found if wanted] == [0.5, 0.25]


def test_pods_at_the_same_time_are_replicas(tmp_path: Path) -> None:
    rows = [f"{60 * i},w,w-{pod},,{pod},1000" for i in range(1, 5) for pod in (1, 2)]
    population = _population(tmp_path, rows)
    found = [population.demand("app", ordinal).at(_NOW) for ordinal in (0, 1, 2)]
    assert [wanted.cores for wanted in found if wanted] == [1, 2, 1]


def test_nothing_is_shown_from_before_a_workload_was_created(tmp_path: Path) -> None:
    rows = [f"{60 * i},w,w-1,,0.5,1000" for i in range(1, 101)]
    population = _population(tmp_path, rows, created=_NOW - 600)
    assert population.lives(0)[0].start == _NOW - 660
    assert population.demand("app", 0).at(_NOW - 700) is None


def test_an_unknown_workload_or_container_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"no samples of workload 'w', container ''.*\(.*sidecar\)"):
        _population(tmp_path, ["60,w,w-1,sidecar,0.5,1000"])
