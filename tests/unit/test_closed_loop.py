"""What becomes of a container whose use answers to what is set, when each day's proposal is applied."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.recommender import daily, digesting
from functions.recommender.container import Day
from functions.recommender.digesting import NEAR
from functions.recommender.fitted import MEMORY_DAYS, constants
from functions.recommender.rules import Rules
from functions.recommender.sizing import Observed, ObservedContainer, Sized, qos_class, size
from shared.contracts.digests import POINTS
from shared.contracts.events import Resources, Usage
from shared.contracts.identity import Workload
from shared.contracts.quantities import MIB

RULES = Rules()
WEEKS, WINDOWS = 9, 99


@dataclass(frozen=True)
class Demand:
    """What it needs, and the share of the rest up to its limit that it fills besides, as a heap or cache."""

    cpu_m: float
    memory: int
    fills: float
    grows: float = 0.0  # a week, for ever

    def memory_on(self, day: int, limit: int | None) -> int:
        need: float = self.memory * (1 + self.grows) ** (day / 7)
        return round(need + max(0, (limit or 0) - need) * self.fills)


@dataclass
class Loop:
    """Days that were lived through: the peak, kills and the limit of each."""

    demand: Demand
    strategy: str
    current: Resources
    lived: list[tuple[int, int, int]] = field(default_factory=list)

    def live(self) -> None:
        """A day: what is needed beyond the limit is killed there."""
        limit = self.current.memory_limit_bytes
        used = self.demand.memory_on(len(self.lived), limit)
        killed = limit is not None and used > limit
        self.lived.append((min(used, limit or used), int(killed), limit or 0))

    def observed(self) -> Observed:
        today = len(self.lived)
        points = (min(self.demand.cpu_m, self.current.cpu_limit_m or 1e9),) * len(POINTS)
        past = [(today - day, *each) for day, each in enumerate(self.lived) if today - day <= MEMORY_DAYS]
        days = tuple(
            Day(ago, WINDOWS, points, peak, (peak,) * len(POINTS), 1, WINDOWS, limit * (peak >= NEAR * limit))
            for ago, peak, _, limit in past
        )
        used = digesting.used(days)
        assert used is not None
        limit = self.current.memory_limit_bytes
        kills = [(killed_by, ago) for ago, _, killed, killed_by in past if killed]
        lately = [killed_by for killed_by, ago in kills if ago <= RULES.oom_days]
        container = ObservedContainer(
            "app",
            self.current,
            Usage(**vars(used), oom_kills=len(lately)),
            today * 86400,
            oom_killed=limit is not None and max(lately, default=0) >= limit,
            killed_limit_bytes=max((killed_by for killed_by, _ in kills), default=0),
            estimate=daily.estimates({0: days}, self.strategy, constants()[self.strategy])[0],
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
)


@settings(max_examples=60, deadline=None)
@given(demands, st.sampled_from(QOS), st.sampled_from(tuple(constants())), st.floats(0.3, 4))
def test_what_does_not_change_is_left_alone_after_some_weeks(
    demand: Demand, qos: str, strategy: str, provisioned: float
) -> None:
    """However memory fills its limit: in two raises, of six times at most, it shows that it does."""
    loop = Loop(demand, strategy, given_(qos, demand, provisioned))
    first = loop.current.memory_limit_bytes
    loop.run(7 * (WEEKS - 3))
    assert loop.run(7 * 3) == []
    assert not any(killed for _, killed, _ in loop.lived[-7 * WEEKS // 2 :])
    if first is not None:
        assert loop.current.memory_limit_bytes is not None
        assert loop.current.memory_limit_bytes <= 50 * (max(first, demand.memory) + 100 * MIB)


@pytest.mark.parametrize("strategy", constants())
@pytest.mark.parametrize("qos", QOS)
def test_an_oom_loop_is_left_in_few_days(qos: str, strategy: str) -> None:
    demand = Demand(200, 900 * MIB, 0.0)
    loop = Loop(demand, strategy, given_(qos, demand, 0.3))
    loop.run(7 * WEEKS)
    kills = [day for day, (_, killed, _) in enumerate(loop.lived) if killed]
    assert kills == list(range(len(kills)))
    assert len(kills) <= 7


@pytest.mark.parametrize("strategy", constants())
@pytest.mark.parametrize("qos", QOS)
def test_what_grows_is_raised_before_it_is_killed(qos: str, strategy: str) -> None:
    demand = Demand(200, 500 * MIB, 0.0, grows=0.15)
    loop = Loop(demand, strategy, given_(qos, demand, 1.5))
    loop.run(7 * 2 * WEEKS)
    assert not any(killed for _, killed, _ in loop.lived)
