"""What is known of a container for longer than its days are looked back at: each digest takes it over from
that of the day before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import chain
from operator import attrgetter
from statistics import median_low

from functions.recommender.container import FOLLOWED, NOTHING, RAISED, Remembered
from functions.recommender.fitted import STEADY_DAYS
from shared.contracts.digests import Digest

# What comes once a month: on the same weekday of the next it is five weeks later at most.
REMEMBERED = timedelta(days=35)
# A limit that throttles in so many of a day's periods keeps it from using more. On the day of a start nearly
# all have to be: some may be of a smaller limit before.
_MOSTLY, _NEARLY_ALWAYS = 0.5, 0.95
# Days after that of a start, until one of them is over.
_WHOLE = 2
# What a limit keeps so to this many times what another did takes whatever it is given, as far as use can
# tell: of what needs more than that a person has to say so.
_FOLLOWED = 4
_NOTHING = Digest("", date.min)


def last_before(digests: Iterable[Digest], end: date) -> Digest:
    """That of the last day before `end`: after days that nothing can tell of any more, it may be."""
    return max((each for each in digests if each.day < end), key=attrgetter("day"), default=_NOTHING)


def inherited(digest: Digest, before: Digest, days: Iterable[Digest]) -> Digest:
    """The same with what goes to it from the last day before it; `days` are all of these that are known."""
    if digest.near_limit_bytes or before.fell_from_bytes:
        days = list(days)
        digest = replace(digest, fell_from_bytes=_fell_from(digest, before, days))
    last = _held_at(digest, _NEARLY_ALWAYS if digest.started_memory_bytes else _MOSTLY)
    if not digest.started_memory_bytes and before.started_memory_bytes:
        digest = replace(
            digest,
            started_cpu_m=before.started_cpu_m,
            started_memory_bytes=before.started_memory_bytes,
        )
    if not last and not before.followed_cpu_m:
        return digest
    held = [cpu for each in chain(days, (digest,)) if (cpu := _held_at(each))]
    least = min(held, default=0.0)
    if last and last >= least * _FOLLOWED:
        return replace(digest, followed_cpu_m=min(least, before.followed_cpu_m or least))
    # Until nothing keeps it on any day that is known: what is to be judged by one's use shows by that.
    return replace(digest, followed_cpu_m=before.followed_cpu_m if held else 0.0)


def _fell_from(digest: Digest, before: Digest, days: Sequence[Digest]) -> int:
    """The limit of memory, in bytes, before it was lowered to the present one and use fell with it, as with a
    heap that is a share of its limit; 0 where that is not so. Of the day of that change a part was before it.
    """
    limit = digest.near_limit_bytes
    if before.fell_from_bytes and before.fell_from_bytes >= limit * RAISED:
        # Until on no day that is known it comes near its limit: such a heap does.
        return before.fell_from_bytes if any(each.near_limit_bytes for each in (*days, digest)) else 0
    used = [each for each in (*days, digest) if each.memory_bytes]
    number = len(used) - 1
    while number and used[number - 1].near_limit_bytes in (0, limit):
        number -= 1
    former = used[number - 1].near_limit_bytes if number else 0
    first, since = used[max(0, number - STEADY_DAYS) : number], used[number + 1 :]
    if former < limit * RAISED or used[number].near_limit_bytes != limit or len(since) < STEADY_DAYS:
        return 0
    then, now = (median_low([each.memory_bytes[-1] for each in some]) for some in (first, since))
    return former if 1 - now / max(then, 1) >= (1 - limit / former) * FOLLOWED else 0


def _held_at(digest: Digest, share: float = _MOSTLY) -> float:
    """CPU, in millicores, to which a limit kept it on that day; 0 where none did."""
    return digest.at_limit_cpu_m if (digest.throttled_share or 0.0) >= share else 0.0


def remembered(digests: Sequence[Digest], begin: date) -> Remembered:
    """Of all digests of a container that are known; the history begins at `begin`."""
    if not digests:
        return NOTHING
    last, former = digests[-1], [each for each in digests if each.day < begin]
    return replace(
        _kept_by_limit(digests, begin),
        started_cpu_m=last.started_cpu_m,
        started_memory_bytes=last.started_memory_bytes,
        fell_from_bytes=last.fell_from_bytes,
        former_memory_bytes=max([each.memory_bytes[-1] for each in former if each.memory_bytes], default=0),
        former_killed_limit_bytes=max([each.killed_limit_bytes for each in former], default=0),
    )


def _kept_by_limit(digests: Sequence[Digest], begin: date) -> Remembered:
    """What is remembered of CPU, by all days of the history that its limit is known to be the present one on:
    those since its last start. Of the last some hours may be over, in which it mostly idles.
    """
    if not (every := [cpu for each in digests if (cpu := _held_at(each))]):
        return NOTHING
    number = len(digests) - 1
    while number and _started(digests[number]) == _started(digests[number - 1]):
        number -= 1
    start, *since = digests[number:]
    share = _NEARLY_ALWAYS if any(_started(start)) else _MOSTLY
    told = zip((start, *since), (_held_at(start, share), *map(_held_at, since)), strict=True)
    held = max([cpu for each, cpu in told if each.day >= begin], default=0.0)
    followed, least = digests[-1].followed_cpu_m, min(every)
    most = followed or least * _FOLLOWED
    if not held and len(since) < _WHOLE and (doubtful := _held_at(start)) >= most:
        # That shows on a day without a start, of which there is none if its limit is raised now.
        held = doubtful
    if not held:
        return NOTHING
    # Below that it is as any other.
    follows = held >= most
    return Remembered(held, (followed or least) if follows else least, follows)


def _started(digest: Digest) -> tuple[int, float]:
    """On the day of a start it is another than on the day before."""
    return digest.started_memory_bytes, digest.started_cpu_m
