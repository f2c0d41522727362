"""Quantiles of several days together, of each of which a few points of its distribution are known."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise, repeat


class Mixing:
    """Of days whose values at `shares` are known: each is the least at or below which so large a share of the
    day lies. The last share is 1.
    """

    def __init__(self, shares: Sequence[float]) -> None:
        self._shares = tuple(shares)
        self._up_to = (0.0, *shares)
        self._masses = tuple(after - before for before, after in pairwise(self._up_to))

    def quantile(self, days: Sequence[tuple[float, Sequence[float]]], share: float) -> float:
        """How much each day weighs, and its values; there is one day at least, and `share` is no more than 1.

        What lies between two points counts as the upper one: it is never less than the quantile of all.
        """
        up_to = self._up_to
        wanted = share * sum([weight for weight, _ in days]) * (1 - 1e-9)
        # It lies between the days' own quantiles: below the least of them all days have less than the share,
        # up to the highest at least as much. Between which two of them is looked for by halving: most points
        # lie outside, and need not be sorted.
        own = bisect_left(self._shares, share - 1e-9)
        ends = sorted([values[own] for _, values in days])
        low, high = 0, len(ends) - 1
        while high - low > 1:
            middle = (low + high) // 2
            end = ends[middle]
            if sum([weight * up_to[bisect_right(values, end)] for weight, values in days]) >= wanted:
                high = middle
            else:
                low = middle
        least, most = ends[low], ends[high]
        reached = 0.0
        between: list[tuple[float, float, float]] = []
        for weight, values in days:
            first, last = bisect_left(values, least), bisect_right(values, most)
            reached += weight * up_to[first]
            between += zip(values[first:last], repeat(weight), self._masses[first:last], strict=False)
        between.sort()
        for value, weight, mass in between:
            reached += weight * mass
            if reached >= wanted:
                return value
        return most
