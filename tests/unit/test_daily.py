"""What the estimator says of containers, from the days that are stored of them."""

from __future__ import annotations

import pytest

from functions.recommender.container import Day, Estimate
from functions.recommender.daily import estimates
from functions.recommender.estimating import STEADY_DAYS
from functions.recommender.fitted import Constants
from shared.contracts.digests import POINTS

MIB = 2**20
FITTED = Constants(
    cpu_half_life=2.0,
    cpu_quantile=0.95,
    cpu_pad=0.01,
    memory_scale=2.0,
    memory_exponent=0.0,
    memory_least_margin=1.1,
    memory_most_margin=3.0,
    memory_spread_slope=1.0,
    memory_raise_at=1.2,
    memory_limit_factor=4.0,
)


def day(ago: int, usual: int = 100, peak: int = 125, *, told: bool = True) -> Day:
    """Memory in MiB; `told` says that more than its peak is known."""
    points = tuple((usual if share < 1 else peak) * MIB for share in POINTS)
    return Day(ago, 288, (100.0,) * len(POINTS), peak * MIB, points if told else ())


def of(*days: Day) -> Estimate:
    return estimates({"app": days}, "balanced", FITTED)["app"]


def test_a_steady_week_is_told_with_how_far_the_peak_stood_above_the_usual_level() -> None:
    found = of(*(day(ago) for ago in range(STEADY_DAYS)))
    assert found.memory_request_bytes == round(125 * MIB * 1.35)
    assert found.memory_limit_bytes == round(125 * MIB * 2.4)
    assert found.memory_fits_bytes == 150 * MIB
    assert found.why_memory == (
        "balanced: the peak of 28 days is 125Mi, times 1.35 because it is steady: 25% above the usual level"
    )
    assert found.why_limit == (
        "balanced: the peak of 28 days is 125Mi, times 2.40, because a limit kills:"
        " 4 times the request's margin"
    )


def test_cpu_is_told_with_what_was_used_and_what_is_added() -> None:
    found = of(day(0))
    assert (found.cpu_request_m, found.cpu_fits_m) == (110.0, 100.0)
    assert found.why_cpu == "balanced: the p95 of 14 days, weights halved every 2, is 100m, plus 10m"


@pytest.mark.parametrize(
    "days",
    [
        [day(ago) for ago in range(STEADY_DAYS - 1)],
        [day(ago, usual=20) for ago in range(STEADY_DAYS)],
        # Older reports tell a day's peak alone: it could be as steady as can be.
        [day(ago, told=False) for ago in range(STEADY_DAYS)],
    ],
    ids=["less than a week", "a peak far above the usual", "days of which only the peak is known"],
)
def test_without_proof_of_steadiness_the_margin_is_the_one_for_the_size(days: list[Day]) -> None:
    assert of(*days).memory_request_bytes == 250 * MIB
    assert of(*days).why_memory == "balanced: the peak of 28 days is 125Mi, times 2.00 for its size"


def test_a_peak_at_the_start_counts_as_any_other_and_older_days_do_not() -> None:
    assert of(day(0), day(27, peak=400)).memory_request_bytes == 800 * MIB
    assert of(day(0), day(28, peak=400)).memory_request_bytes == 250 * MIB


def test_nothing_is_said_where_cpu_or_memory_was_not_measured() -> None:
    silent = Day(0, 288, (100.0,) * len(POINTS), 0)
    assert estimates({"app": [silent], "none": []}, "balanced", FITTED) == {}
