"""What the estimator says of containers, from the days that are stored of them."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from functions.recommender.container import Day, Estimate
from functions.recommender.daily import estimates
from functions.recommender.fitted import (
    CPU_DAYS,
    ENOUGH_DAYS,
    MEMORY_DAYS,
    POINTS,
    STEADY_DAYS,
    Constants,
    constants,
)
from infra.backtest.digests import Digests
from infra.backtest.estimating import estimate
from shared.contracts.digests import POINTS as STORED
from shared.contracts.wording import counted

MIB = 2**20
FITTED = Constants(
    cpu_half_life=2.0,
    cpu_quantile=0.95,
    cpu_pad=0.01,
    cpu_above_peak=0.003,
    memory_scale=2.0,
    memory_exponent=0.0,
    memory_least_margin=1.1,
    memory_most_margin=3.0,
    memory_spread_slope=1.0,
    memory_days_exponent=0.5,
    memory_young_margin=3.0,
    memory_raise_at=1.2,
    memory_limit_factor=4.0,
)


def day(ago: int, usual: int = 100, peak: int = 125, *, told: bool = True) -> Day:
    """Memory in MiB; `told` says that more than its peak is known."""
    points = tuple((usual if share < 1 else peak) * MIB for share in STORED)
    return Day(ago, 288, (100.0,) * len(STORED), peak * MIB, points if told else ())


def of(*days: Day) -> Estimate:
    return estimates({"app": days}, "balanced", FITTED)["app"]


def test_a_steady_week_is_told_with_how_far_the_peak_stood_above_the_usual_level() -> None:
    found = of(*(day(ago) for ago in range(1, STEADY_DAYS + 1)))
    assert found.memory_raise_bytes == round(125 * MIB * 1.35)
    assert found.memory_request_bytes == pytest.approx(125 * MIB * (1 + 0.35 * 2**0.5), abs=1)
    assert found.memory_limit_bytes == round(125 * MIB * 2.4)
    assert found.memory_fits_bytes == 150 * MIB
    told = "by how far it leaves its usual level: 25%"
    assert found.why_raise == f"balanced: the peak of 7 days is 125Mi, times 1.35 {told}"
    assert found.why_memory == (
        f"balanced: the peak of 7 days is 125Mi, times 1.49 {told}, and because only 7 whole days are known"
    )
    assert found.why_limit == (
        f"balanced: the peak of 7 days is 125Mi, times 2.40, because a limit kills: 4 times the margin {told}"
    )


def test_of_two_weeks_no_more_is_needed_for_few_days() -> None:
    found = of(*(day(ago) for ago in range(1, ENOUGH_DAYS + 1)))
    assert found.memory_request_bytes == found.memory_raise_bytes == round(125 * MIB * 1.35)
    assert found.why_memory == found.why_raise


def test_a_limit_does_not_lie_below_what_few_days_make_the_request() -> None:
    found = of(day(0))
    assert found.memory_request_bytes == pytest.approx(125 * MIB * (1 + 14**0.5), abs=1)
    assert found.memory_limit_bytes == round(125 * MIB * 5)
    assert "because only 1 whole day is known" in found.why_memory
    close = estimates({"app": [day(0)]}, "balanced", replace(FITTED, memory_limit_factor=3.0))["app"]
    assert close.memory_limit_bytes == close.memory_request_bytes
    assert close.why_limit.endswith("because a limit kills, and because only 1 whole day is known")


def test_cpu_is_told_with_what_was_used_and_what_is_added() -> None:
    found = of(replace(day(0), cpu_m=(*(100.0,) * (len(STORED) - 1), 150.0)))
    assert (found.cpu_request_m, found.cpu_fits_m) == (110.0, 100.0)
    assert found.why_cpu == "balanced: the p95 of 1 day, weights halved every 2, is 100m, plus 10m"


def test_cores_are_told_in_figures_that_a_person_reads() -> None:
    large = replace(day(0), cpu_m=(*(2123.4,) * (len(STORED) - 1), 4000.0))
    assert of(large).why_cpu.endswith("is 2123m, plus 10m")


def test_what_is_throttled_is_bounded_by_no_peak() -> None:
    assert of(day(0)).cpu_throttled_m == 110.0


def test_of_less_than_a_week_a_request_is_raised_no_further_than_such_have_needed() -> None:
    days = {"app": [day(ago, usual=20) for ago in range(STEADY_DAYS)]}
    found = estimates(days, "balanced", replace(FITTED, memory_young_margin=1.5))["app"]
    assert found.memory_raise_bytes == round(125 * MIB * 1.5)
    told = "times 1.50 and no more, as less than 7 whole days are known"
    assert found.why_raise == f"balanced: the peak of 7 days is 125Mi, {told}"
    assert "times 2.53 for its size" in found.why_memory


def test_today_which_is_not_over_is_not_a_day_that_is_known() -> None:
    found = of(day(0), *(day(ago) for ago in range(1, STEADY_DAYS)))
    assert "times 2.53 for its size, and because only 6 whole days are known" in found.why_memory
    assert found.memory_request_bytes == pytest.approx(125 * MIB * (1 + (14 / 6) ** 0.5), abs=1)
    assert "only 1 whole day is known" in of(day(0)).why_memory


def test_what_is_steady_gets_hardly_more_than_it_used_at_most() -> None:
    found = of(day(0), replace(day(1), cpu_m=(*(100.0,) * (len(STORED) - 1), 101.5)))
    assert (found.cpu_request_m, found.cpu_fits_m) == (104.5, 100.0)
    assert found.why_cpu.endswith("is 100m, plus 4.5m, no further than 3.0m above the peak")


def test_a_peak_of_cpu_that_is_too_old_for_the_rest_is_too_old_here() -> None:
    old = replace(day(CPU_DAYS), cpu_m=(900.0,) * len(STORED))
    assert of(day(0), old).cpu_request_m == 103.0


@pytest.mark.parametrize(
    "days",
    [
        [day(ago) for ago in range(STEADY_DAYS)],
        [day(ago, usual=20) for ago in range(1, STEADY_DAYS + 1)],
        # Older reports tell a day's peak alone: it could be as steady as can be.
        [day(ago, told=False) for ago in range(1, STEADY_DAYS + 1)],
    ],
    ids=["less than a week", "a peak far above the usual", "days of which only the peak is known"],
)
def test_without_proof_of_steadiness_the_margin_is_the_one_for_the_size(days: list[Day]) -> None:
    assert of(*days).memory_raise_bytes == 250 * MIB
    told = counted(len(days), "day")
    assert of(*days).why_raise == f"balanced: the peak of {told} is 125Mi, times 2.00 for its size"


def test_a_peak_at_the_start_counts_as_any_other_and_older_days_do_not() -> None:
    assert of(day(0), day(27, peak=400)).memory_raise_bytes == 800 * MIB
    assert of(day(0), day(28, peak=400)).memory_raise_bytes == 250 * MIB


def test_nothing_is_said_where_cpu_or_memory_was_not_measured() -> None:
    silent = Day(0, 288, (100.0,) * len(POINTS), 0)
    assert estimates({"app": [silent], "none": []}, "balanced", FITTED) == {}


def history(random: Random) -> list[Day]:
    """Days as they are stored: some are lacking, without windows or memory, or told by the peak alone."""
    scale, spread, size = (
        random.choice((1, 500, 1e5)),
        random.choice((0, 0.1, 2)),
        random.choice((22, 28, 34)),
    )
    lacking, days = random.choice((0.1, 0.8)), []
    # Of today, which is not over, the walk-forward test knows nothing.
    for ago in range(1, MEMORY_DAYS + 3):
        if random.random() < lacking:
            continue
        cpu = sorted(scale * (1 + spread * random.random()) for _ in STORED)
        memory = sorted(int(2**size * (1 + spread * random.random())) for _ in STORED)
        windows = random.choice((0, 1, 100, 288))
        told = random.choice(("points", "points", "points", "peak", "nothing"))
        days.append(
            Day(
                ago,
                windows,
                tuple(cpu) if windows else (),
                memory[-1] if told != "nothing" else 0,
                tuple(memory) if told == "points" else (),
            )
        )
    return days


@pytest.mark.parametrize("strategy", ["balanced", "cautious", "lean"])
def test_the_walk_forward_test_sizes_a_fleet_just_so(strategy: str) -> None:
    random, fitted = Random(11), constants()[strategy]
    steady = 0
    for _ in range(300):
        days = history(random)
        found = estimates({"app": days}, strategy, fitted).get("app")
        check(found, fleet_of(days), fitted)
        steady += found is not None and "leaves its usual level" in found.why_raise
    assert 20 < steady < 280


def fleet_of(days: list[Day]) -> Digests:
    counts = np.zeros((1, MEMORY_DAYS))
    cpu, memory = (np.full((1, MEMORY_DAYS, len(POINTS)), np.nan) for _ in range(2))
    kept = [STORED.index(share) for share in POINTS]
    for day in days:
        if (at := MEMORY_DAYS - 1 - day.ago) >= 0:
            counts[0, at] = day.windows
            if day.windows:
                cpu[0, at] = [day.cpu_m[one] / 1000 for one in kept]
            if day.memory_points:
                memory[0, at] = [day.memory_points[one] for one in kept]
            if day.memory_bytes:
                memory[0, at, -1] = day.memory_bytes
    return Digests(counts, cpu, memory)


def check(found: Estimate | None, digests: Digests, fitted: Constants) -> None:
    fleet = estimate(digests, fitted)
    sizes = fleet.sizes
    if found is None:
        assert not np.isfinite([sizes.cpu_request[0], sizes.memory_request[0]]).all()
        return
    assert found.cpu_request_m == pytest.approx(sizes.cpu_request[0] * 1000, abs=0.001)
    assert found.memory_request_bytes == pytest.approx(sizes.memory_request[0], rel=1e-9, abs=1)
    assert found.memory_raise_bytes == pytest.approx(fleet.peak[0] * fleet.margin[0], rel=1e-9, abs=1)
    assert found.memory_limit_bytes == pytest.approx(sizes.memory_limit[0], rel=1e-9, abs=1)
    assert found.cpu_fits_m == pytest.approx(fleet.cpu_fits[0] * 1000, abs=0.001)
    assert found.memory_fits_bytes == pytest.approx(fleet.memory_fits[0], rel=1e-9, abs=1)
    assert ("leaves its usual level" in found.why_memory) == bool(fleet.steady[0])
