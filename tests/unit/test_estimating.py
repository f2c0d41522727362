from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.recommender.digests import POINTS, Digests, digest
from functions.recommender.estimating import Constants, Sizes, constants, estimate, margin, mixture, peak

GIB = 2**30
FITTED = Constants(
    cpu_half_life=2.0,
    cpu_quantile=0.95,
    cpu_pad=0.01,
    memory_scale=2.0,
    memory_exponent=0.3,
    memory_least_margin=1.1,
    memory_most_margin=3.0,
    memory_limit_factor=4.0,
    keep_below=0.9,
    keep_above=1.05,
)


def of(cpu: list[list[float]], memory: list[list[float]], per_day: int = 4) -> Digests:
    return digest(np.array(cpu, dtype=float), np.array(memory, dtype=float), per_day)


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
    assert peak(gap).tolist() == [1.0]


def test_what_was_never_measured_has_no_size() -> None:
    sizes = estimate(of([[np.nan] * 8], [[np.nan] * 8]), FITTED)
    assert np.isnan([sizes.cpu_request[0], sizes.memory_request[0], sizes.memory_limit[0]]).all()


@given(st.lists(st.floats(1e6, 1e12), min_size=2, max_size=20))
def test_a_larger_peak_has_no_larger_margin_but_never_a_smaller_request(peaks: list[float]) -> None:
    tops = np.sort(np.array(peaks))
    factors = margin(tops, FITTED)
    assert (np.diff(factors) <= 1e-12).all()
    assert ((factors >= 1.1) & (factors <= 3.0)).all()
    assert (np.diff(tops * factors) >= -1e-3).all()


def test_memory_is_its_peak_times_the_margin_and_its_limit_a_multiple() -> None:
    sizes = estimate(of([[0.1] * 8], [[GIB] * 4 + [GIB / 2] * 4]), FITTED)
    assert sizes.memory_request.tolist() == [2.0 * GIB]
    assert sizes.memory_limit.tolist() == [8.0 * GIB]
    assert sizes.cpu_request.tolist() == pytest.approx([0.11])


def test_a_small_difference_keeps_what_is_set_and_a_large_one_does_not() -> None:
    digests = of([[0.1] * 8], [[GIB] * 8])
    near = Sizes(np.array([0.12]), np.array([1.95 * GIB]), np.array([9.0 * GIB]))
    assert estimate(digests, FITTED, near).cpu_request.tolist() == [0.12]
    assert estimate(digests, FITTED, near).memory_request.tolist() == [1.95 * GIB]
    far = Sizes(np.array([0.2]), np.array([1.5 * GIB]), np.array([9.0 * GIB]))
    assert estimate(digests, FITTED, far).cpu_request.tolist() == pytest.approx([0.11])
    assert estimate(digests, FITTED, far).memory_request.tolist() == [2.0 * GIB]


def test_the_fitted_strategies_are_ordered_by_their_care() -> None:
    fitted = constants()
    assert set(fitted) == {"balanced", "cautious", "lean"}
    # Like most: the same day after day, with peaks.
    usage = of([[0.1, 0.1, 0.2, 1.0] * 14], [[GIB] * 56])
    lean, balanced, cautious = (estimate(usage, fitted[name]) for name in ("lean", "balanced", "cautious"))
    assert lean.cpu_request[0] <= balanced.cpu_request[0] <= cautious.cpu_request[0]
    assert lean.memory_request[0] <= balanced.memory_request[0] <= cautious.memory_request[0]
