"""Usage in short, day by day: the port to where it is kept, so that a scan reads only what is new."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Protocol

# Shares of a day's windows that lie at or below the stored points; dense at the top, where requests lie.
POINTS = (0.25, 0.5, 0.75, 0.8, 0.85, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 1.0)


@dataclass(slots=True)  # not frozen, which takes three times as long: a scan makes one a container and day
class Digest:
    """What one container of a workload used on one day (UTC), in the worst of its pods.

    `container` is <namespace>/<kind>/<name>/<container>. `windows` are those of the pod that has most,
    `samples` those of all `pods`; `first` is when the first of them began, in Unix seconds. CPU in millicores
    and memory in bytes at POINTS; empty where nothing was measured, for that too is known of a day then.
    `throttled_share` is of CPU periods. `killed_limit_bytes`, of a day with OOM kills, is the least limit of
    memory that was set then; 0 where that is not known. So is `near_limit_bytes`, the limit at its end, of a
    day on which memory came near it; and `at_limit_cpu_m`, the most that was used, of one on which that was
    up to its CPU limit.

    What is known of longer ago than days are looked back at goes from each day to the next. `started_cpu_m`,
    where a limit throttles, and `started_memory_bytes` are the most that pods used on the day of the last
    start that was seen. `followed_cpu_m` is CPU to which a limit kept it before larger ones, up to several
    times as large, did so too; 0 where that is not so. `fell_from_bytes` is a limit of memory before it was
    lowered, and use fell with it; 0 likewise.
    """

    container: str
    day: date
    pods: int = 0
    windows: int = 0
    samples: int = 0
    first: int | None = None
    cpu_m: tuple[float, ...] = ()
    memory_bytes: tuple[int, ...] = ()
    oom_kills: int = 0
    killed_limit_bytes: int = 0
    throttled_share: float | None = None
    near_limit_bytes: int = 0
    started_cpu_m: float = 0.0
    started_memory_bytes: int = 0
    followed_cpu_m: float = 0.0
    fell_from_bytes: int = 0
    at_limit_cpu_m: float = 0.0


def midnight(day: date) -> datetime:
    """When it begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


class Digests(Protocol):
    """Digests of days that are over. They can be made again from Prometheus: to lose them costs one scan."""

    def since(self, cluster: str, day: date, between: tuple[str, str] | None = None) -> Iterable[Digest]:
        """Those from `day` on, in no order; of all containers, or of those whose names lie between the two,
        both included. Raises Temporary.
        """
        ...

    def add(self, cluster: str, digests: Collection[Digest]) -> None:
        """Keeps them; of a container and day that is there already that one, unless it is damaged.

        Raises Temporary.
        """
        ...
