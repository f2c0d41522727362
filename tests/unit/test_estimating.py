from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.recommender.container import Stance, round_cpu, round_memory, size_container
from functions.recommender.fitted import POINTS, STEADY_DAYS, Constants, constants
from functions.recommender.rules import Rules
from functions.recommender.sizing import Estimate
from infra.backtest.digests import Digests, digest
from infra.backtest.estimating import Sizes, estimate, kept, margin, mixture, peak, usual
from infra.backtest.peers import Windows
from infra.backtest.strategies import MEMORY_FLOOR, Estimator, applied, applied_to_guaranteed
from infra.backtest.walking import Past
from shared.contracts.events import Resources, Usage
from shared.contracts.quantities import MIB

GIB = 2**30
FITTED = Constants(
    cpu_half_life=2.0,
    cpu_quantile=0.95,
    cpu_pad=0.01,
    cpu_above_peak=0.02,
    memory_scale=2.0,
    memory_exponent=0.3,
    memory_least_margin=1.1,
    memory_most_margin=3.0,
    memory_spread_slope=1.0,
    memory_days_exponent=0.0,
    memory_young_margin=3.0,
    memory_raise_at=1.2,
    memory_limit_factor=4.0,
)

UNSET = Sizes(*(np.array([np.nan]) for _ in range(3)))


def of(cpu: list[list[float]], memory: list[list[float]], per_day: int = 4) -> Digests:
    return digest(np.array(cpu, dtype=float), np.array(memory, dtype=float), per_day, 86400 / per_day)


def test_a_digest_has_each_days_points_and_leaves_the_last_part_of_a_day_out() -> None:
    found = of([[1, 2, 3, 4, 10, 10, 10, 10, 99]], [[1, 1, 1, 5, 2, 2, 2, 2, 99]])
    assert found.counts.tolist() == [[4, 4]]
    assert found.cpu[0, 0].tolist() == pytest.approx(np.quantile([1, 2, 3, 4], POINTS).tolist())
    assert found.cpu[0, 1].tolist() == [10] * len(POINTS)
    assert found.memory[0, :, -1].tolist() == [5, 2]


def test_a_day_without_samples_is_not_a_number_and_counts_none() -> None:
    found = of([[np.nan] * 4 + [1.0] * 4], [[np.nan] * 4 + [1.0] * 4])
    assert found.counts.tolist() == [[0, 4]]
    assert np.isnan(found.cpu[0, 0]).all()


def test_the_same_usage_every_day_is_requested_whatever_the_half_life() -> None:
    steady = of([[0.2] * 40], [[1.0] * 40])
    for half_life in (0.5, 2.0, 100.0):
        assert mixture(steady, half_life, 0.95).tolist() == pytest.approx([0.2])


def test_recent_days_outweigh_old_ones_and_a_long_half_life_remembers() -> None:
    fell = of([[1.0] * 40 + [0.1] * 16], [[1.0] * 56])  # ten busy days, then four quiet ones
    assert mixture(fell, 0.5, 0.95)[0] < 0.2
    assert mixture(fell, 100.0, 0.95)[0] == pytest.approx(1.0)


def test_a_level_shift_upwards_is_followed_within_a_day() -> None:
    rose = of([[0.1] * 52 + [1.0] * 4], [[1.0] * 56])
    assert mixture(rose, 2.0, 0.95)[0] == pytest.approx(1.0)


def test_days_that_were_not_measured_have_no_say() -> None:
    gap = of([[0.5] * 20 + [np.nan] * 20], [[1.0] * 20 + [np.nan] * 20])
    assert mixture(gap, 1.0, 0.95).tolist() == pytest.approx([0.5])
    assert peak(gap.memory).tolist() == [1.0]
    assert peak(gap.cpu).tolist() == [0.5]


def test_what_was_never_measured_has_no_size() -> None:
    sizes = estimate(of([[np.nan] * 8], [[np.nan] * 8]), FITTED).sizes
    assert np.isnan([sizes.cpu_request[0], sizes.memory_request[0], sizes.memory_limit[0]]).all()


@given(st.lists(st.floats(1e6, 1e12), min_size=2, max_size=20))
def test_a_larger_peak_has_no_larger_margin_but_never_a_smaller_request(peaks: list[float]) -> None:
    tops = np.sort(np.array(peaks))
    factors, steady = margin(tops, np.full(len(tops), np.nan), FITTED)
    assert not steady.any()
    assert (np.diff(factors) <= 1e-12).all()
    assert ((factors >= 1.1) & (factors <= 3.0)).all()
    assert (np.diff(tops * factors) >= -1e-3).all()


def test_memory_is_its_peak_times_the_margin_and_its_limit_has_a_multiple_of_the_margin() -> None:
    found = estimate(of([[0.1] * 8], [[GIB] * 4 + [GIB / 2] * 4]), FITTED)
    assert found.sizes.memory_request.tolist() == [2.0 * GIB]
    assert found.sizes.memory_limit.tolist() == [5.0 * GIB]  # four times as far above the peak
    assert found.sizes.cpu_request.tolist() == pytest.approx([0.11])
    assert found.cpu_fits.tolist() == pytest.approx([0.1])
    assert found.memory_fits.tolist() == [1.2 * GIB]


def test_what_was_steady_for_a_week_has_a_small_margin_and_what_was_not_the_one_for_its_size() -> None:
    day = [0.8, 0.8, 0.8, 1.0]  # the peak is a quarter above the usual level
    week = estimate(of([[0.1] * 4 * STEADY_DAYS], [[GIB * each for each in day] * STEADY_DAYS]), FITTED)
    assert week.steady.tolist() == [True]
    assert week.margin.tolist() == pytest.approx([1.35])
    shorter = estimate(of([[0.1] * 4 * 6], [[GIB * each for each in day] * 6]), FITTED)
    assert shorter.steady.tolist() == [False]
    assert shorter.margin.tolist() == [2.0]
    wild = estimate(of([[0.1] * 28], [[GIB * 0.2, GIB * 0.2, GIB * 0.2, GIB] * 7]), FITTED)
    assert wild.steady.tolist() == [False]
    assert wild.margin.tolist() == [2.0]


@given(
    st.lists(st.floats(1e6, 1e12), min_size=1, max_size=20),
    st.floats(0.01, 1.0),
)
def test_steadiness_never_makes_a_margin_larger_nor_smaller_than_the_least(
    peaks: list[float], share: float
) -> None:
    tops = np.array(peaks)
    by_size, _ = margin(tops, np.full(len(tops), np.nan), FITTED)
    factors, steady = margin(tops, tops * share, FITTED)
    assert (factors <= by_size).all()
    assert (factors >= FITTED.memory_least_margin).all()
    assert ((factors < by_size) == steady).all()


def test_the_usual_level_is_not_moved_by_a_day_that_was_not_measured() -> None:
    week = of([[1.0] * 32], [[1.0] * 4 + [np.nan] * 4 + [2.0] * 24])
    assert usual(week).tolist() == [2.0]
    assert np.isnan(usual(of([[1.0] * 28], [[1.0] * 24 + [np.nan] * 4]))).all()


@given(
    st.lists(st.lists(st.floats(1e6, 1e11), min_size=4, max_size=4), min_size=1, max_size=28),
    st.sampled_from(["lean", "balanced", "cautious"]),
)
def test_no_request_lies_below_what_was_ever_used_start_up_included(
    days: list[list[float]], strategy: str
) -> None:
    used = [each for day in days for each in day]
    found = estimate(of([[0.1] * len(used)], [used]), constants()[strategy]).sizes
    assert found.memory_request[0] >= max(used)
    assert found.memory_limit[0] >= found.memory_request[0]


def kept_of(new: float, before: float, fits: float) -> float:
    return float(kept(np.array([new]), np.array([before]), np.array([fits]), 0.1, 10.0)[0])


def test_a_change_has_to_reach_both_thresholds() -> None:
    assert kept_of(95.0, 100.0, np.inf) == 100.0  # a twentieth
    assert kept_of(41.0, 50.0, np.inf) == 50.0  # nine
    assert kept_of(40.0, 50.0, np.inf) == 40.0
    assert kept_of(110.0, 100.0, np.inf) == 110.0


def test_what_raises_has_to_reach_half_of_them() -> None:
    assert kept_of(104.0, 100.0, np.inf) == 100.0
    assert kept_of(105.0, 100.0, np.inf) == 105.0
    assert kept_of(54.0, 50.0, np.inf) == 50.0
    assert kept_of(55.0, 50.0, np.inf) == 55.0


def test_nothing_is_raised_while_use_fits_and_all_that_is_too_much_is_lowered() -> None:
    assert kept_of(300.0, 200.0, 200.0) == 200.0
    assert kept_of(300.0, 200.0, 201.0) == 300.0
    assert kept_of(150.0, 200.0, 100.0) == 150.0


def test_what_was_not_set_yet_is_set() -> None:
    assert kept_of(300.0, np.nan, 100.0) == 300.0


def test_a_backtest_sets_what_is_worth_it_and_never_lowers_a_limit() -> None:
    found = estimate(of([[0.1] * 8], [[GIB] * 8]), FITTED)
    first = applied(found, UNSET)
    assert first.memory_request.tolist() == [2.0 * GIB]
    near = Sizes(np.array([0.115]), np.array([1.3 * GIB]), np.array([9.0 * GIB]))
    assert [each.tolist() for each in vars(applied(found, near)).values()] == [
        [0.115],
        [1.3 * GIB],
        [9.0 * GIB],
    ]
    short = Sizes(np.array([0.05]), np.array([1.1 * GIB]), np.array([1.2 * GIB]))
    assert applied(found, short).cpu_request.tolist() == pytest.approx([0.11])
    assert applied(found, short).memory_request.tolist() == [2.0 * GIB]
    assert applied(found, short).memory_limit.tolist() == [4.0 * GIB]  # twice what is requested
    assert first.memory_limit.tolist() == [5.0 * GIB]


@pytest.mark.parametrize("cores", [[0.02] * 100, [0.1] * 100, [0.05] * 99 + [0.9]])
@pytest.mark.parametrize("mebibytes", [[20.0] * 100, [200.0] * 100, [200.0] * 99 + [600.0]])
@pytest.mark.parametrize("days", [3, 14])
def test_a_backtest_sets_in_guaranteed_pods_what_the_engine_sets(
    cores: list[float], mebibytes: list[float], days: int
) -> None:
    usage = of([cores * days], [[MIB * each for each in mebibytes] * days], per_day=100)
    found = estimate(usage, constants()["balanced"])
    told = Estimate(
        strategy="balanced",
        cpu_request_m=float(found.sizes.cpu_request[0]) * 1000,
        memory_request_bytes=round(float(found.sizes.memory_request[0])),
        memory_raise_bytes=round(float(found.peak[0] * found.margin[0])),
        memory_limit_bytes=round(float(found.sizes.memory_limit[0])),
        why_cpu="",
        why_memory="",
        cpu_fits_m=float(found.cpu_fits[0]) * 1000,
        memory_fits_bytes=float(found.memory_fits[0]),
    )
    used = Usage(
        cpu_p95_m=0.0,
        cpu_max_m=max(cores) * 1000,
        memory_p95_bytes=0,
        memory_max_bytes=round(max(mebibytes)) * MIB,
        samples=days * 100,
        pods=1,
    )
    for cpu_m, size in itertools.product((19, 50, 100, 110, 500, 1200), (22, 64, 240, 400, 640, 960, 4096)):
        current = Resources(
            cpu_request_m=cpu_m,
            cpu_limit_m=cpu_m,
            memory_request_bytes=size * MIB,
            memory_limit_bytes=size * MIB,
        )
        engine, _ = size_container(current, used, Stance(guaranteed=True, estimate=told), Rules())
        before = Sizes(np.array([cpu_m / 1000]), *(np.array([float(size * MIB)]) for _ in range(2)))
        ours = applied_to_guaranteed(found, before)
        assert round_cpu(ours.cpu_request[0] * 1000) == engine.cpu_request_m == engine.cpu_limit_m
        assert round_memory(ours.memory_request[0]) == engine.memory_request_bytes
        assert round_memory(ours.memory_limit[0]) == engine.memory_limit_bytes


@pytest.mark.parametrize("guaranteed", [False, True])
@pytest.mark.parametrize(
    ("peaks", "is_filled"),
    [
        ([0.2, *[0.99] * 7], True),
        # What rests at weekends was not there; but on most days it was.
        ([0.99, 0.99, np.nan, np.nan, *[0.99] * 4], True),
        ([0.99, *[np.nan] * 3, *[0.99] * 4], False),
        # What has not been so for a week, or rises, or is killed, is raised.
        ([0.99] * 6, False),
        ([0.95, 0.95, *[0.99] * 6], False),
        ([*[0.99] * 7, 1.0000001], False),
    ],
)
def test_a_backtest_raises_no_limit_that_is_filled_day_by_day(
    peaks: list[float], is_filled: bool, guaranteed: bool
) -> None:
    none = Windows(np.array([[np.nan]]), np.array([[np.nan]]), 4)
    request = GIB if guaranteed else 0.5 * GIB
    before = Sizes(np.array([0.2]), np.array([request]), np.array([1.0 * GIB]))
    usage = of([[0.1] * 4 * len(peaks)], [[GIB * each for each in peaks for _ in range(4)]])
    sizes = Estimator("balanced", FITTED)(Past(none, usage, none, before, np.array([guaranteed])))
    assert (sizes.memory_request[0] == sizes.memory_limit[0] == GIB) == is_filled
    assert (sizes.memory_request[0] > GIB) != is_filled


def test_a_backtest_introduces_no_limit_and_raises_nothing_to_a_floor() -> None:
    found = estimate(of([[0.001] * 8], [[1e6] * 8]), FITTED)
    low = Sizes(np.array([0.005]), np.array([2.0 * MEMORY_FLOOR / 32]), np.array([np.inf]))
    assert [each.tolist() for each in vars(applied(found, low)).values()] == [
        [0.005],
        [2.0 * MEMORY_FLOOR / 32],
        [np.inf],
    ]


def test_where_memory_was_not_measured_nothing_is_told_of_it() -> None:
    found = estimate(of([[0.1] * 8], [[np.nan] * 8]), FITTED)
    told = applied(found, Sizes(np.array([0.2]), np.array([2.0 * GIB]), np.array([np.nan])))
    assert np.isnan([told.memory_request[0], told.memory_limit[0]]).all()


def test_where_nothing_is_set_few_days_are_no_reason_for_more() -> None:
    few = replace(FITTED, memory_days_exponent=1.0)
    found = estimate(of([[0.1] * 8], [[GIB] * 8]), few)
    assert found.sizes.memory_request.tolist() == [8.0 * GIB]  # what it would be lowered to
    assert applied(found, UNSET).memory_request.tolist() == [2.0 * GIB]
    large = replace(UNSET, memory_request=np.array([9.0 * GIB]))
    assert applied(found, large).memory_request.tolist() == [8.0 * GIB]


def test_of_less_than_a_week_a_request_is_raised_no_further_than_such_have_needed() -> None:
    young = replace(FITTED, memory_young_margin=1.5, memory_days_exponent=1.0)
    days = of([[0.1] * 4 * 6], [[1.0 * GIB] * 4 * 6])
    assert estimate(days, young).margin.tolist() == [1.5]
    assert estimate(days, young).sizes.memory_request.tolist() == pytest.approx([(1 + 14 / 6) * GIB])
    assert applied(estimate(days, young), UNSET).memory_request.tolist() == [1.5 * GIB]
    week = of([[0.1] * 28], [[0.2 * GIB, 0.2 * GIB, 0.2 * GIB, GIB] * 7])
    assert estimate(week, young).margin.tolist() == [2.0]


def test_where_nothing_is_told_what_was_set_stays() -> None:
    told = Sizes(np.array([0.2, np.nan]), np.array([np.nan, 2.0]), np.array([np.nan, np.nan]))
    stays = told.after(Sizes(np.array([1.0, 1.0]), np.array([3.0, 3.0]), np.array([4.0, np.nan])))
    assert stays.cpu_request.tolist() == [0.2, 1.0]
    assert stays.memory_request.tolist() == [3.0, 2.0]
    assert stays.memory_limit[0] == 4.0
    assert np.isnan(stays.memory_limit[1])


def test_what_comes_on_top_of_cpu_leads_hardly_above_what_was_used_at_most() -> None:
    near = replace(FITTED, cpu_pad=0.05, cpu_above_peak=0.002)
    steady = estimate(of([[0.1] * 8], [[GIB] * 8]), near)
    assert steady.sizes.cpu_request.tolist() == pytest.approx([0.102])
    # Most at 100m, and a window a day at a core.
    spiky = estimate(of([([0.1] * 99 + [1.0]) * 2], [[GIB] * 200], per_day=100), near)
    assert spiky.sizes.cpu_request.tolist() == pytest.approx([0.15])


def test_floors_hold_in_a_backtest_too() -> None:
    found = applied(estimate(of([[0.0] * 8], [[1e6] * 8]), FITTED), UNSET)
    assert found.memory_request.tolist() == [MEMORY_FLOOR]
    assert Rules().memory_floor_bytes == MEMORY_FLOOR


def test_the_fitted_strategies_are_ordered_by_their_care() -> None:
    fitted = constants()
    assert set(fitted) == {"balanced", "cautious", "lean"}
    # Like most: the same day after day, with peaks.
    usage = of([[0.1, 0.1, 0.2, 1.0] * 14], [[GIB] * 56])
    lean, balanced, cautious = (
        estimate(usage, fitted[name]).sizes for name in ("lean", "balanced", "cautious")
    )
    assert lean.cpu_request[0] <= balanced.cpu_request[0] <= cautious.cpu_request[0]
    assert lean.memory_request[0] <= balanced.memory_request[0] <= cautious.memory_request[0]
