"""Reads the daily digests of a shard's containers, and has them estimated.

Loaded only where a strategy is asked for that needs it: numpy is heavy, and the percentile engine has no use
for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from functions.recommender import queries
from functions.recommender.digests import POINTS, Digests
from functions.recommender.estimating import (
    CPU_DAYS,
    MEMORY_DAYS,
    Constants,
    constants,
    estimate,
    margin,
    mixture,
    peak,
)
from functions.recommender.sizing import Day, Estimate

if TYPE_CHECKING:
    from functions.recommender.asking import Asking, Part, Question
    from functions.recommender.cluster import Controller, Pod
    from functions.recommender.queries import Scope, Window
    from shared.contracts.prometheus import Curve

DAY = timedelta(days=1)
Of = tuple["Controller", str]  # whose container, and its name


def estimates(
    asking: Asking, part: Part, window: Window, pods: Mapping[Controller, Collection[Pod]], strategy: str
) -> dict[Of, Estimate]:
    """What the strategy says of each container that has daily digests.

    A day ends at the time of the asking, as the next one before it does; a container's figure of a day is
    that of the worst of its pods.

    Raises:
        Temporary: Prometheus cannot be reached, or will not run a query.
    """
    cpu = _cpu(asking, part, window, pods)
    memory = asking.ranges({"memory_by_day": _memory_question}, part, DAY, MEMORY_DAYS)["memory_by_day"]
    grid = _Grid(asking.at.timestamp(), pods)
    points = [grid.filled(cpu[_name(share)]) for share in POINTS]
    peaks, counts = grid.filled(memory), grid.filled(cpu["samples_by_day"])
    keys = sorted({*peaks, *counts}.intersection(*points))
    if not keys:
        return {}
    # As exact as the report holds them, for the same to come out of it again: 0.001m, bytes, whole days.
    cpu_points = np.stack([np.stack([each[key] for key in keys]) for each in points], axis=2)
    cpu_points = np.round(cpu_points * 1000, 3) / 1000
    windows = np.nan_to_num(np.stack([counts[key] for key in keys]))
    digests = Digests(
        counts=np.where(np.isfinite(cpu_points).all(axis=2), np.trunc(windows), 0.0),
        cpu=cpu_points,
        memory=np.repeat(np.round(np.stack([peaks[key] for key in keys]))[:, :, None], len(POINTS), axis=2),
    )
    return _estimated(keys, digests, strategy, constants()[strategy])


def _cpu(
    asking: Asking, part: Part, window: Window, pods: Mapping[Controller, Collection[Pod]]
) -> dict[str, list[Curve]]:
    """Each question's answer; of pods in which a container ran more than once, over its own windows."""
    questions = _cpu_questions(window, queries.RUN)
    found = asking.ranges(questions, part, DAY, CPU_DAYS, over_windows=questions)
    runs = Counter(_container(curve) for curve in found[_name(1.0)])
    restarted = {container[:2] for container, count in runs.items() if count > 1}
    owners = [owner for owner, its in pods.items() if not restarted.isdisjoint(its)]
    if not owners:
        return found
    some = part.narrowed((namespace, name) for namespace, _, name in owners)
    questions = _cpu_questions(window, queries.CONTAINER)
    again = asking.ranges(questions, some, DAY, CPU_DAYS, over_windows=questions)
    return {
        name: [curve for curve in curves if _container(curve)[:2] not in restarted]
        + [curve for curve in again[name] if _container(curve)[:2] in restarted]
        for name, curves in found.items()
    }


def _container(curve: Curve) -> tuple[str, str, str]:
    labels = curve.labels
    return labels.get("namespace", ""), labels.get("pod", ""), labels.get("container", "")


def again(days: Sequence[Day], strategy: str, fitted: Constants) -> Estimate | None:
    """The estimate that rests on these days of a container, as a report holds them; None if they tell
    nothing.
    """
    counts = np.zeros((1, MEMORY_DAYS))
    cpu, memory = (np.full((1, MEMORY_DAYS, len(POINTS)), np.nan) for _ in range(2))
    for day in days:
        at = MEMORY_DAYS - 1 - day.ago
        counts[0, at] = day.windows
        if day.windows:
            cpu[0, at] = np.array(day.cpu_m) / 1000
        memory[0, at] = day.memory_bytes
    one: Of = (("", "", ""), "")
    return _estimated([one], Digests(counts, cpu, memory), strategy, fitted).get(one)


def _estimated(keys: list[Of], digests: Digests, strategy: str, fitted: Constants) -> dict[Of, Estimate]:
    sizes = estimate(digests, fitted)
    mixed = mixture(digests.before(digests.days, CPU_DAYS), fitted.cpu_half_life, fitted.cpu_quantile)
    tops = peak(digests)
    factors = margin(tops, fitted)
    found = {}
    for index, key in enumerate(keys):
        if not np.isfinite([sizes.cpu_request[index], sizes.memory_request[index]]).all():
            continue
        found[key] = Estimate(
            strategy=strategy,
            cpu_request_m=round(float(sizes.cpu_request[index]) * 1000, 3),
            memory_request_bytes=round(float(sizes.memory_request[index])),
            memory_limit_bytes=round(float(sizes.memory_limit[index])),
            why_cpu=(
                f"{strategy}: the p{fitted.cpu_quantile * 100:g} of {CPU_DAYS} days, weights halved every"
                f" {fitted.cpu_half_life:g}, is {mixed[index] * 1000:.0f}m, plus {fitted.cpu_pad * 1000:g}m"
            ),
            why_memory=(
                f"{strategy}: the peak of {MEMORY_DAYS} days is {tops[index] / 2**20:.0f}Mi, times"
                f" {factors[index]:.2f} for its size"
            ),
            days=_days(digests, index),
        )
    return found


def _days(digests: Digests, index: int) -> tuple[Day, ...]:
    """What the report keeps, for the estimate to be made again: the days that have something.

    A day without memory is one of 0 bytes: it raises no peak.
    """
    return tuple(
        Day(
            ago=digests.days - 1 - at,
            windows=int(digests.counts[index, at]),
            cpu_m=tuple(round(float(cores) * 1000, 3) for cores in digests.cpu[index, at])
            if digests.counts[index, at]
            else (),
            memory_bytes=round(float(np.nan_to_num(digests.memory[index, at, -1]))),
        )
        for at in range(digests.days)
        if digests.counts[index, at] or np.isfinite(digests.memory[index, at, -1])
    )


class _Grid:
    """The days before `end` (Unix seconds), the last one the latest."""

    def __init__(self, end: float, pods: Mapping[Controller, Collection[Pod]]) -> None:
        self._end = end
        self._owner = {pod: controller for controller, its in pods.items() for pod in its}

    def filled(self, curves: list[Curve]) -> dict[Of, np.ndarray]:
        """By container the worst pod's value of each day, NaN where there is none."""
        found: dict[Of, np.ndarray] = {}
        for curve in curves:
            labels = curve.labels
            owner = self._owner.get((labels.get("namespace", ""), labels.get("pod", "")))
            if owner is None:
                continue
            days = found.setdefault((owner, labels.get("container", "")), np.full(MEMORY_DAYS, np.nan))
            for at, value in curve.points:
                # Some servers move a range's points to round times: to the nearest day then.
                place = MEMORY_DAYS - 1 - round((self._end - at) / DAY.total_seconds())
                if 0 <= place < MEMORY_DAYS:
                    days[place] = np.fmax(days[place], value)
        return found


def _cpu_questions(window: Window, by: str) -> dict[str, Question]:
    """`by` the container the windows are first merged, which is dear; by its run they are not."""
    asked: dict[str, Question] = {
        "samples_by_day": partial(_cpu_question, function="count_over_time(", window=window, by=by)
    }
    for share in POINTS:
        function = "max_over_time(" if share == 1 else f"quantile_over_time({share:g}, "
        asked[_name(share)] = partial(_cpu_question, function=function, window=window, by=by)
    return asked


def _name(share: float) -> str:
    return "cpu_max_by_day" if share == 1 else f"cpu_p{share * 100:g}_by_day"


def _cpu_question(scope: Scope, function: str, window: Window, by: str) -> str:
    rate = f"rate({queries.CPU}{{{scope.containers}}}[{queries.duration(window.cpu)}])"
    over = f"[1d:{queries.duration(window.step)}]"
    if by == queries.CONTAINER:
        return f"{function}max {by} ({rate}){over})"
    return f"max {by} ({function}{rate}{over}))"


def _memory_question(scope: Scope) -> str:
    return f"max {queries.CONTAINER} (max_over_time({queries.MEMORY}{{{scope.containers}}}[1d]))"
