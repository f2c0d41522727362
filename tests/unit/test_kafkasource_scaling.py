from __future__ import annotations

import pytest

from infra.emulator.manifests import Scaling
from infra.emulator.scaling import Lag, wanted

TEN = Scaling(least=1, most=4, lag_threshold=10)


@pytest.mark.parametrize(("lag", "consumers"), [(0, 1), (1, 1), (10, 1), (11, 2), (35, 4), (1000, 4)])
def test_there_is_one_consumer_for_each_threshold_of_lag_between_least_and_most(
    lag: int, consumers: int
) -> None:
    assert wanted(TEN, Lag(lag, partitions=12)) == consumers


def test_no_consumer_is_wanted_that_would_have_no_partition() -> None:
    assert wanted(TEN, Lag(1000, partitions=3)) == 3


@pytest.mark.parametrize(("lag", "consumers"), [(0, 0), (5, 0), (6, 1), (25, 3)])
def test_down_to_none_it_goes_only_where_that_is_the_least_and_lag_is_below_the_activation(
    lag: int, consumers: int
) -> None:
    scaling = Scaling(least=0, most=4, lag_threshold=10, activation_lag_threshold=5)
    assert wanted(scaling, Lag(lag, partitions=12)) == consumers
