"""What becomes of a container whose use answers to what is set, when each day's proposal is applied."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.recommender import daily, digesting, remembering
from functions.recommender.container import AT_LIMIT, Day
from functions.recommender.digesting import NEAR
from functions.recommender.fitted import MEMORY_DAYS, constants
from functions.recommender.remembering import REMEMBERED
from functions.recommender.rules import PERCENTILE, Rules
from functions.recommender.sizing import Observed, ObservedContainer, Sized, qos_class, size
from shared.contracts.digests import POINTS, Digest
from shared.contracts.events import Resources, Usage
from shared.contracts.identity import Workload
from shared.contracts.quantities import MIB

RULES = Rules()
WEEKS, WINDOWS, HISTORY = 9, 99, 14
BEGIN = date(2026, 1, 1)


@dataclass(frozen=True)
class Demand:
    """What it needs, and the share of the rest up to its limit that it fills besides, as a heap or cache.

    At its start, and once in so many days, it needs so many times as much. A limit on its CPU throttles it in
    a share of periods; in the `idle` hours of a day that are over at a scan it uses next to none.
    """

    cpu_m: float
    memory: int
    fills: float
    grows: float = 0.0  # a week, for ever
    at_start: float = 1.0
    monthly: float = 1.0
    month: int = 30
    throttled: float = 1.0
    idle: bool = False

    def factor(self, day: int, *, starts: bool) -> float:
        return max(self.at_start if starts else 1.0, 1.0 if (day + 1) % self.month else self.monthly)

    def memory_on(self, day: int, limit: int | None, *, starts: bool = False) -> int:
        need: float = self.memory * (1 + self.grows) ** (day / 7) * self.factor(day, starts=starts)
        return round(need + max(0, (limit or 0) - need) * self.fills)


@dataclass
class Loop:
    """Days that were lived through."""

    demand: Demand
    strategy: str
    current: Resources
    lived: list[Digest] = field(default_factory=list)
    starts: bool = True
    # The share of a day that is over as a proposal of the evening before goes live.
    live_at: float = 0.0
    former_cpu_limit_m: int | None = None

    def live(self) -> None:
        """A day: memory that is needed beyond the limit is killed there, and CPU throttled."""
        number, limit, cpu_limit = len(self.lived), self.current.memory_limit_bytes, self.current.cpu_limit_m
        used = self.demand.memory_on(number, limit, starts=self.starts)
        needed = self.demand.cpu_m * self.demand.factor(number, starts=self.starts)
        killed = limit is not None and used > limit
        peak, cpu = min(used, limit or used), min(needed, cpu_limit or needed)
        # At the very begin of a day it is not seen.
        has_started = self.starts and (self.demand.at_start > 1 or self.live_at > 0)
        former = self.former_cpu_limit_m or cpu_limit
        before, after = (float(self.demand.cpu_m > (each or inf)) for each in (former, cpu_limit))
        digest = Digest(
            "shop/Deployment/checkout/app",
            BEGIN + timedelta(days=number),
            pods=1,
            windows=WINDOWS,
            samples=WINDOWS,
            cpu_m=(min(self.demand.cpu_m, cpu),) * (len(POINTS) - 1) + (cpu,),
            memory_bytes=(peak,) * len(POINTS),
            oom_kills=int(killed),
            killed_limit_bytes=(limit or 0) * killed,
            throttled_share=(
                self.demand.throttled * (before * self.live_at + after * (1 - self.live_at))
                if cpu_limit
                else None
            ),
            near_limit_bytes=(limit or 0) * (peak >= NEAR * (limit or 0)),
            at_limit_cpu_m=cpu * (cpu >= AT_LIMIT * (cpu_limit or inf)),
            started_cpu_m=cpu * has_started,
            started_memory_bytes=peak * has_started,
        )
        last = self.lived[-1] if self.lived else Digest("", date.min)
        self.lived.append(remembering.inherited(digest, last, self.lived[-REMEMBERED.days :]))
        self.starts, self.former_cpu_limit_m = False, cpu_limit

    @property
    def kills(self) -> list[int]:
        """The days on which it was killed."""
        return [number for number, each in enumerate(self.lived) if each.oom_kills]

    def observed(self) -> Observed:
        today = BEGIN + timedelta(days=len(self.lived))
        known = [each for each in self.lived if today - each.day <= REMEMBERED]
        looked_back = HISTORY if self.strategy == PERCENTILE else MEMORY_DAYS
        days = tuple(
            Day(
                (today - each.day).days,
                each.windows,
                each.cpu_m,
                each.memory_bytes[-1],
                each.memory_bytes,
                each.pods,
                each.samples,
                each.near_limit_bytes,
            )
            for each in known
            if (today - each.day).days <= looked_back
        )
        if self.demand.idle:
            last = known[-1]
            idle = Digest(
                last.container, today, windows=4, cpu_m=(1.0,) * len(POINTS), memory_bytes=last.memory_bytes
            )
            known.append(remembering.inherited(replace(idle, throttled_share=0.0), last, known))
        used = digesting.used([day for day in days if day.ago <= HISTORY])
        assert used is not None
        limit = self.current.memory_limit_bytes
        kills = [(each.killed_limit_bytes, (today - each.day).days) for each in known if each.oom_kills]
        lately = [killed_by for killed_by, ago in kills if ago <= RULES.oom_days]
        shares = [each.throttled_share or 0.0 for each in known[-HISTORY:]]
        container = ObservedContainer(
            "app",
            self.current,
            Usage(**vars(used), oom_kills=len(lately), throttled_share=sum(shares) / len(shares)),
            len(self.lived) * 86400,
            oom_killed=limit is not None and max(lately, default=0) >= limit,
            killed_limit_bytes=max((killed_by for killed_by, ago in kills if ago <= looked_back), default=0),
            remembered=remembering.remembered(known, today - timedelta(days=HISTORY)),
            estimate=(
                daily.estimates({0: days}, self.strategy, constants()[self.strategy])[0]
                if self.strategy != PERCENTILE
                else None
            ),
            days=days,
        )
        workload = Workload(cluster="local", namespace="shop", kind="Deployment", name="checkout")
        return Observed(workload, 1, 1.0, (container,), windows_per_day=WINDOWS)

    def run(self, days: int) -> list[Resources]:
        """What was proposed, day after day, and applied; each proposal is held to what always holds."""
        made = []
        for _ in range(days):
            self.live()
            observed = self.observed()
            if (sized := size(observed, RULES)).skipped is None:
                self._check(observed, sized)
                self.current = sized.containers[0].proposed
                self.starts = True
                made.append(self.current)
        return made

    def _check(self, observed: Observed, sized: Sized) -> None:
        (container,), now, then = observed.containers, self.current, sized.containers[0].proposed
        assert qos_class([then]) is sized.qos
        for before, after, request in (
            (now.cpu_limit_m, then.cpu_limit_m, then.cpu_request_m),
            (now.memory_limit_bytes, then.memory_limit_bytes, then.memory_request_bytes),
        ):
            assert (before is None) == (after is None)
            assert after is None or (request is not None and request <= after)
        peak = max(day.memory_bytes for day in container.days if day.ago < MEMORY_DAYS)
        for field_ in ("memory_request_bytes", "memory_limit_bytes"):
            before, after = getattr(now, field_), getattr(then, field_)
            if before is not None and after < before:
                assert after >= peak
                if field_ == "memory_limit_bytes":
                    assert after > container.killed_limit_bytes
        # What is applied is enough, until use is another.
        again = replace(container, current=then, oom_killed=False)
        assert size(replace(observed, containers=(again,)), RULES).skipped is not None


def given_(qos: str, demand: Demand, provisioned: float) -> Resources:
    cpu, memory = max(1, round(demand.cpu_m * provisioned)), round(demand.memory * provisioned)
    match qos:
        case "guaranteed":
            return Resources(
                cpu_request_m=cpu, cpu_limit_m=cpu, memory_request_bytes=memory, memory_limit_bytes=memory
            )
        case "limited":
            return Resources(
                cpu_request_m=cpu, cpu_limit_m=2 * cpu, memory_request_bytes=memory, memory_limit_bytes=memory
            )
        case "twice":
            return Resources(cpu_request_m=cpu, memory_request_bytes=memory, memory_limit_bytes=2 * memory)
    return Resources(cpu_request_m=cpu, memory_request_bytes=memory)


QOS = ("guaranteed", "limited", "twice", "none")
demands = st.builds(
    Demand,
    st.floats(1, 8000),
    st.integers(4 * MIB, 16_000 * MIB),
    st.sampled_from((0.0, 0.0, 0.3, 0.7, 0.8, 0.85, 0.9, 0.97)),
    at_start=st.sampled_from((1.0, 1.0, 1.5, 4.0)),
)


@settings(max_examples=60, deadline=None)
@given(demands, st.sampled_from(QOS), st.sampled_from(tuple(constants())), st.floats(0.3, 4))
def test_what_does_not_change_is_left_alone_after_some_weeks(
    demand: Demand, qos: str, strategy: str, provisioned: float
) -> None:
    """However memory fills its limit: in two raises, of six times at most, it shows that it does."""
    loop = Loop(demand, strategy, given_(qos, demand, provisioned))
    first, most = loop.current.memory_limit_bytes, demand.memory * demand.at_start
    loop.run(7 * WEEKS)
    assert loop.run(7 * 3) == []
    assert not any(day.oom_kills for day in loop.lived[-7 * WEEKS // 2 :])
    if first is not None:
        assert loop.current.memory_limit_bytes is not None
        assert loop.current.memory_limit_bytes <= 50 * (max(first, most) + 100 * MIB)


@pytest.mark.parametrize("strategy", constants())
@pytest.mark.parametrize("qos", QOS)
def test_an_oom_loop_is_left_in_few_days(qos: str, strategy: str) -> None:
    demand = Demand(200, 900 * MIB, 0.0)
    loop = Loop(demand, strategy, given_(qos, demand, 0.3))
    loop.run(7 * WEEKS)
    assert loop.kills == list(range(len(loop.kills)))
    assert len(loop.kills) <= 7


@pytest.mark.parametrize("strategy", constants())
@pytest.mark.parametrize("qos", QOS)
def test_what_grows_is_raised_before_it_is_killed(qos: str, strategy: str) -> None:
    demand = Demand(200, 500 * MIB, 0.0, grows=0.15)
    loop = Loop(demand, strategy, given_(qos, demand, 1.5))
    loop.run(7 * 2 * WEEKS)
    assert not loop.kills


def hog(qos: str) -> tuple[Demand, Resources]:
    """It uses whatever CPU there is; the limit is one core."""
    needs = Demand(1000 if qos == "guaranteed" else 500, 200 * MIB, 0.0)
    return replace(needs, cpu_m=1e6), given_(qos, needs, 1)


LIMITED = ("guaranteed", "limited")
STRATEGIES = (*constants(), PERCENTILE)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("qos", LIMITED)
@pytest.mark.parametrize("live_at", [0, 0.5, 0.99])
@pytest.mark.parametrize(("throttled", "idle"), [(1, False), (0.6, True)])
def test_what_uses_all_that_its_cpu_limit_gives_is_not_given_more_and_more(
    live_at: float, throttled: float, idle: bool, qos: str, strategy: str
) -> None:
    """Though the days on which it used less be forgotten, no day pass without a start, or scans come while it
    idles.
    """
    demand, current = hog(qos)
    loop = Loop(replace(demand, throttled=throttled, idle=idle), strategy, current, live_at=live_at)
    # A raise a day by the headroom alone, where no day proves more.
    assert len(loop.run(7 * WEEKS)) <= (6 if throttled == 1 else 12)
    assert loop.run(7 * WEEKS) == []
    assert loop.current.cpu_limit_m is not None
    assert 4000 <= loop.current.cpu_limit_m <= 6000
    told = size(loop.observed(), RULES).skipped
    assert told is not None
    assert "of periods at its limit: use rose with it from 1000m, throttled in most" in told


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("weeks", [3, WEEKS])
def test_what_used_all_that_it_was_given_is_sized_by_its_use_once_it_does_no_more(
    weeks: int, strategy: str
) -> None:
    demand, current = hog("guaranteed")
    loop = Loop(demand, strategy, current)
    loop.run(7 * WEEKS)
    loop.demand = replace(demand, cpu_m=500.0)
    loop.run(7 * weeks)
    assert loop.current.cpu_limit_m == 575
    loop.demand = replace(demand, cpu_m=800.0)
    loop.run(7)
    assert loop.current.cpu_limit_m is not None
    assert 800 < loop.current.cpu_limit_m <= 1.2 * 800


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("qos", LIMITED)
@pytest.mark.parametrize("lacks", [1.1, 1.3, 2, 3, 5])
@pytest.mark.parametrize("live_at", [0, 0.5])
def test_a_limit_that_throttles_is_left_in_few_steps_and_not_far_behind(
    live_at: float, lacks: float, qos: str, strategy: str
) -> None:
    """The less it lacked, the closer at once, and close once the days that were throttled are over. A day of
    which a part was under the limit before proves nothing.
    """
    demand = Demand(1000 * lacks, 200 * MIB, 0.0)
    loop = Loop(demand, strategy, given_(qos, demand, 1 / lacks), live_at=live_at)
    loop.run(7)
    throttled = [day.throttled_share for day in loop.lived]
    assert sum(map(bool, throttled)) <= (5 if live_at else 4)
    assert not throttled[-1]
    assert (loop.current.cpu_request_m or 0) <= demand.cpu_m * min(1.15 * lacks, 2)
    loop.run(7 * 3)
    assert demand.cpu_m <= (loop.current.cpu_request_m or 0) <= demand.cpu_m * 1.2


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("share", [0.22, 0.5, 0.7])
def test_a_heap_that_is_a_share_of_a_guaranteed_pods_limit_is_not_made_smaller_again_and_again(
    share: float, strategy: str
) -> None:
    """By its image nothing tells that it is a JVM: it is lowered once, and use falls with it."""
    demand = Demand(200, 60 * MIB, share)
    both = {"memory_request_bytes": 4096 * MIB, "memory_limit_bytes": 4096 * MIB}
    loop = Loop(demand, strategy, given_("guaranteed", demand, 1).model_copy(update=both))
    loop.run(7 * 4 * WEEKS)
    limits = {each.near_limit_bytes for each in loop.lived}
    assert len(limits) <= 2
    if len(limits) == 2:
        told = loop.observed()
        assert told.containers[0].remembered.fell_from_bytes == 4096 * MIB
        assert (
            "lowered no further: use fell with it from 4Gi, as with a heap"
            in (size(told, RULES).containers[0].reasons[2])
        )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_fell_with_its_limit_once_is_lowered_when_it_has_used_little_of_it_for_five_weeks(
    strategy: str,
) -> None:
    """A release that used less on the days of that change looked like such a heap."""
    demand = Demand(200, 60 * MIB, 0.5)
    loop = Loop(demand, strategy, given_("guaranteed", demand, 1))
    loop.run(2)
    limit = 4096 * MIB
    loop.current = loop.current.model_copy(
        update={"memory_request_bytes": limit, "memory_limit_bytes": limit}
    )
    loop.lived[-1] = replace(loop.lived[-1], fell_from_bytes=2 * limit)
    loop.run(14)
    assert loop.current.memory_limit_bytes == limit
    loop.demand = Demand(200, 100 * MIB, 0.0)
    loop.run(7)
    assert loop.current.memory_limit_bytes == limit
    loop.run(7 * 5)
    assert not loop.lived[-1].fell_from_bytes
    assert (loop.current.memory_limit_bytes or 0) <= 300 * MIB


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_guaranteed_pod_of_which_use_did_not_fall_with_its_limit_is_lowered_again(strategy: str) -> None:
    demand = Demand(200, 3000 * MIB, 0.0)
    loop = Loop(demand, strategy, given_("guaranteed", demand, 4))
    loop.run(7 * 2 * WEEKS)
    first = loop.current.memory_limit_bytes or 0
    assert 3000 * MIB < first < 12000 * MIB
    loop.demand = replace(demand, memory=1000 * MIB)
    loop.run(7 * WEEKS)
    assert (loop.current.memory_limit_bytes or 0) <= first / 2
    assert not loop.lived[-1].fell_from_bytes


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("month", [28, 31, 35])
def test_a_guaranteed_pod_is_not_killed_by_each_months_peak(month: int, strategy: str) -> None:
    demand = Demand(500, 8000 * MIB, 0.0, monthly=1.6, month=month)
    loop = Loop(demand, strategy, given_("guaranteed", demand, 1.5))
    loop.run(month * 12)
    # One kill raises by a fifth, or 100Mi, and a peak lasts for a day.
    assert len(loop.kills) <= 4
    assert loop.kills == [month * (number + 1) - 1 for number in range(len(loop.kills))]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("qos", QOS)
def test_what_a_start_takes_is_kept_however_long_ago_it_was(qos: str, strategy: str) -> None:
    """To lower it starts the pods anew."""
    demand = Demand(500, 300 * MIB, 0.0, at_start=3)
    loop = Loop(demand, strategy, given_(qos, demand, 4))
    assert len(loop.run(7 * 2 * WEEKS)) <= 2
    assert not loop.kills
    assert (loop.current.cpu_limit_m or 9999) >= 1500
