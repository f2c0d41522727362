"""One container's requests and limits, each with the sentence that says why it is what it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, inf
from operator import itemgetter

from functions.recommender.jvm import Jvm
from functions.recommender.rules import WORTH_RAISING, Rules
from shared.contracts.events import ContainerProposal, Resources, Usage
from shared.contracts.quantities import GIB, MIB, MOST, format_cpu, format_memory
from shared.contracts.wording import LABELS, counted, quantity

# A limit is not lowered below these: what is idle has to start some time, and a shell to fit in beside it.
LEAST_CPU_LIMIT_M, LEAST_MEMORY_LIMIT = 100, 64 * MIB
_UNSEEN = "OOM kills would not be seen, so it is not lowered (kubefinops doctor says what is missing)"
# Use that comes so near its CPU limit is kept by it, if it is throttled in most periods; and so many times as
# much is the most that such a limit is raised to at once, as a limit of memory is.
AT_LIMIT, _MOST_STEP = 0.9, 2
# A burst of half a window, or one that lies in two of them, is told as half of what it was.
_BURST = 2
_STARTED = "day of its last start"
# Where a limit throttles in so many periods, bursts come up to it, though the mean be far below.
REACHED = 0.01
# What rose, or fell, by so much of its memory limit's change, in proportion, depends on it; and the least
# change that tells.
FOLLOWED, RAISED = 0.5, 1.04


@dataclass  # not frozen, as Digest is not
class Day:
    """One day's digest, `ago` days before the scan's.

    `windows` are of 5 minutes. CPU is told at digests.POINTS (not without windows), memory by its
    peak and at the same points. `samples` are the windows of all `pods`. `near_limit_bytes`: see Digest.
    """

    ago: int
    windows: int
    cpu_m: tuple[float, ...]
    memory_bytes: int
    memory_points: tuple[int, ...] = ()
    pods: int = 0
    samples: int = 0
    near_limit_bytes: int = 0


@dataclass(frozen=True)
class Estimate:
    """What a strategy would request, and why.

    A request that holds `cpu_fits_m`, or `memory_fits_bytes`, is not raised: use fits in it. Memory's is
    lowered to `memory_request_bytes` and raised to `memory_raise_bytes`, which is less where few days are
    known. `cpu_throttled_m` is for what is throttled: its peak is its limit's, and bounds nothing.
    """

    strategy: str
    cpu_request_m: float
    memory_request_bytes: int
    memory_raise_bytes: int
    memory_limit_bytes: int
    why_cpu: str
    why_memory: str
    why_raise: str = ""
    why_limit: str = ""
    cpu_fits_m: float = inf
    cpu_throttled_m: float = 0.0
    memory_fits_bytes: float = inf


@dataclass(frozen=True)
class Remembered:
    """What is known of a container beside its days, some of it for longer. CPU in millicores.

    `cpu_held_m` is what it used at most on a day of the history on which its limit throttled it in most
    periods, since its last start, `cpu_least_held_m` the least that it did so on any day. `cpu_follows`: its
    use rose with its limit from that to several times as much, and was throttled as before.
    `started_cpu_m`, where it has a limit, and `started_memory_bytes` are the most that its pods used on the
    day of its last start. `fell_from_bytes` is the memory limit before it was lowered, if use fell with it.
    `former_memory_bytes` is the peak of five weeks, without the history, `former_killed_limit_bytes` the
    largest limit that it was killed under then.
    """

    cpu_held_m: float = 0.0
    cpu_least_held_m: float = 0.0
    cpu_follows: bool = False
    started_cpu_m: float = 0.0
    started_memory_bytes: int = 0
    fell_from_bytes: int = 0
    former_memory_bytes: int = 0
    former_killed_limit_bytes: int = 0


NOTHING = Remembered()
_NONE = Resources()


@dataclass(frozen=True)
class Stance:
    """What the pod around a container demands of it.

    `guaranteed`: request and limit must stay equal. `by_peak`: sized per run. `oom_killed`,
    `killed_limit_bytes`, `remembered`, `estimate`, `jvm`: see ObservedContainer. `tells_kills`: see Observed.
    `fills_limit` says why its memory comes up to its limit without a need, where it does. `least` is what
    LimitRanges have it request at least: a part of the rules' floors.
    """

    guaranteed: bool = False
    by_peak: bool = False
    oom_killed: bool = False
    killed_limit_bytes: int = 0
    tells_kills: bool = True
    fills_limit: str = ""
    remembered: Remembered = NOTHING
    estimate: Estimate | None = None
    jvm: Jvm | None = None
    least: Resources = _NONE


def size_container(
    current: Resources, usage: Usage, stance: Stance, rules: Rules
) -> tuple[Resources, tuple[str, ...]]:
    """The resources to propose, and one sentence for each value."""
    cpu_request, why_cpu = _cpu_request(current, usage, stance, rules)
    cpu_limit, why_cpu_limit = _cpu_limit(current, cpu_request, usage, stance, rules)
    if stance.jvm is not None:
        memory_request, why_memory = _memory_request_of_jvm(stance.jvm, current, usage, stance, rules)
        why_memory += f"; {stance.jvm.wrong}" if stance.jvm.wrong else ""
    else:
        memory_request, why_memory = _memory_request(current, usage, stance, rules)
    memory_limit, why_memory_limit = _memory_limit(current, memory_request, usage, stance, rules)
    proposed = Resources(
        cpu_request_m=cpu_request,
        cpu_limit_m=cpu_limit,
        memory_request_bytes=memory_request,
        memory_limit_bytes=memory_limit,
    )
    return proposed, (why_cpu, why_cpu_limit, why_memory, why_memory_limit)


def left_alone(
    current: Resources, usage: Usage, stance: Stance, rules: Rules, why: str
) -> tuple[Resources, tuple[str, ...]]:
    """The resources as they are, because of `why`, but for memory that killed: that is raised at once."""
    reasons = {
        field: f"{label} stays {quantity(field, getattr(current, field))}: {why}"
        for field, label in LABELS.items()
    }
    new = {}
    for field, raised in (
        ("memory_request_bytes", _request_after_oom_kill(current, usage, stance, rules, 0)),
        ("memory_limit_bytes", _after_oom_kill(current, usage, stance, rules)),
    ):
        now = getattr(current, field)
        if now is not None and raised is not None and (target := round_memory(raised[0])) > now:
            new[field] = target
            reasons[field] = f"{from_to(field, now, target)}: {raised[1]}"
    return current.model_copy(update=new), tuple(reasons.values())


def _cpu_request(current: Resources, usage: Usage, stance: Stance, rules: Rules) -> tuple[int, str]:
    now = current.cpu_request_m
    throttled = usage.throttled_share or 0.0
    is_throttled = throttled > rules.throttled_share
    wanted, fits, why = _cpu_wanted(usage, stance, rules)
    if stance.guaranteed and (needed := _cpu_of_guaranteed(current, usage, stance, rules))[0] > wanted:
        wanted, why = needed
    most = inf
    if (why_not := _not_above_limit(current, usage, stance)) and wanted > (limit := current.cpu_limit_m or 0):
        wanted, most, why = limit, limit, f"{why}; not above the limit: {why_not}"
    floor = max(rules.cpu_floor_m, LEAST_CPU_LIMIT_M) if stance.guaranteed else rules.cpu_floor_m
    if (lifted := _lifted(wanted, floor, now)) > wanted:
        whose = _whose(lifted, stance.least.cpu_request_m)
        wanted, why = lifted, f"{why}, not below {told_cores(lifted)}{whose}"
    target = int(min(round_cpu(wanted), most))
    if now is not None and target < now and (kept := _why_cpu_is_kept(throttled, stance, rules)) is not None:
        return now, f"CPU request stays {format_cpu(now)}: {kept}"
    if now is not None and target > now >= fits and not is_throttled:
        return now, (
            f"CPU request stays {format_cpu(now)}: {told_cores(fits)} of use fit in it, so it is not raised"
            f" to {format_cpu(target)} ({why})"
        )
    if now is not None and not _request_is_worth(now, target, rules.cpu_change_m, stance, rules):
        return now, f"CPU request stays {format_cpu(now)}: {format_cpu(target)} ({why}) is not worth a change"
    return target, f"{from_to('cpu_request_m', now, target)}: {why}"


def _cpu_wanted(usage: Usage, stance: Stance, rules: Rules) -> tuple[float, float, str]:
    """Millicores to request, what has to fit in a request that is not raised, and why."""
    percent = _percent(rules.cpu_headroom)
    if stance.by_peak:
        runs = "one run" if usage.pods == 1 else f"{usage.pods} runs"
        why = f"the peak of its {runs} is {told_cores(usage.cpu_max_m)}, plus {percent}"
        return usage.cpu_max_m * rules.cpu_headroom, inf, why
    if (told := stance.estimate) is None:
        why = f"p95 over 5-minute windows is {told_cores(usage.cpu_p95_m)} {_pods(usage)}, plus {percent}"
        return usage.cpu_p95_m * rules.cpu_headroom, inf, why
    wanted, why = told.cpu_request_m, told.why_cpu
    fits = max(told.cpu_fits_m, usage.cpu_max_m if stance.guaranteed else 0)
    more = told.cpu_throttled_m and max(told.cpu_throttled_m, told.cpu_fits_m * rules.cpu_headroom)
    throttled = usage.throttled_share or 0.0
    if throttled > rules.throttled_share and more > wanted:
        wanted = more
        why = f"{why}; {told_cores(more)}, because it is throttled in {throttled:.0%} of periods"
    return wanted, fits, why


def _cpu_of_guaranteed(current: Resources, usage: Usage, stance: Stance, rules: Rules) -> tuple[float, str]:
    """Millicores that it needs because the request is the limit as well, and why: it must throttle no peak,
    nor be lowered to where it throttled a start.
    """
    also, percent = "in a Guaranteed pod it is the limit too", _percent(rules.cpu_headroom)
    throttled, started = usage.throttled_share or 0.0, stance.remembered.started_cpu_m
    peak = f"{also}: the peak of {told_cores(usage.cpu_max_m)}, plus {percent}"
    if throttled > rules.throttled_share:
        peak = f"{peak}; it is throttled in {throttled:.0%} of periods"
    start = f"{also}, and not lowered below {told_cores(started)}, used on the {_STARTED}, plus {percent}"
    step, why_step = _step(current, stance.remembered, rules)
    # A request that is not set is the limit.
    now = current.cpu_request_m or current.cpu_limit_m or 0
    needs = (
        (usage.cpu_max_m * rules.cpu_headroom, peak),
        (min(started * rules.cpu_headroom, now), start),
        (step, f"{also}: {why_step}"),
    )
    return max(needs, key=itemgetter(0))


def _held_to(current: Resources, remembered: Remembered) -> float:
    """CPU, in millicores, to which the present limit keeps it; 0 where it does not."""
    held = remembered.cpu_held_m
    return held if held >= AT_LIMIT * (current.cpu_limit_m or inf) else 0.0


def follows(current: Resources, remembered: Remembered) -> str:
    """Why its CPU limit is not raised, if use would only rise with it, again and again."""
    if not remembered.cpu_follows or not _held_to(current, remembered):
        return ""
    before = told_cores(remembered.cpu_least_held_m)
    return f"use rose with it from {before}, throttled in most periods as then, and would again"


def _not_above_limit(current: Resources, usage: Usage, stance: Stance) -> str:
    """Why its CPU limit is not raised, nor the request above it, if anything keeps them. Of runs no days tell
    whether use only rises with it, and one that is throttled is late and no more.
    """
    if stance.by_peak and usage.cpu_max_m >= AT_LIMIT * (current.cpu_limit_m or inf):
        return f"its runs use {told_cores(usage.cpu_max_m)} of it, and may take whatever they are given"
    return follows(current, stance.remembered)


def _step(current: Resources, remembered: Remembered, rules: Rules) -> tuple[float, str]:
    """Millicores to which a limit that throttles in most periods is raised at least, and why; 0 for none.

    What it would use is not known. So the step is the headroom first, and as much more as the limit had to be
    raised before: little where little lacked, and few steps where much does.
    """
    if not (held := _held_to(current, remembered)) or follows(current, remembered):
        return 0.0, ""
    before = remembered.cpu_least_held_m
    step = held * min(_MOST_STEP, rules.cpu_headroom * held / before)
    why = f"it is throttled in most periods at {told_cores(held)}"
    return step, f"{why}, as it was at {told_cores(before)}" if before < held else why


def _why_cpu_is_kept(throttled: float, stance: Stance, rules: Rules) -> str | None:
    """Why a request is not lowered, if anything keeps it."""
    if throttled > rules.throttled_share or (stance.guaranteed and throttled >= REACHED):
        return f"it is throttled in {throttled:.0%} of periods, so what it would use is not known"
    if stance.guaranteed and stance.jvm is not None:
        return (
            f"in a Guaranteed pod it is the limit too, and a JVM ({stance.jvm.known_by}) chooses its"
            " collector and its threads by that"
        )
    return None


def _cpu_limit(
    current: Resources, request: int, usage: Usage, stance: Stance, rules: Rules
) -> tuple[int | None, str]:
    limit = current.cpu_limit_m
    if limit is None:
        return None, "no CPU limit is set, and none is introduced"
    if stance.guaranteed:
        return request, f"{from_to('cpu_limit_m', limit, request)}: equal to the request (Guaranteed)"
    stays = f"CPU limit stays {format_cpu(limit)}"
    if why_not := _not_above_limit(current, usage, stance):
        return limit, f"{stays}: {why_not}"
    step, why_step = _step(current, stance.remembered, rules)
    if request == current.cpu_request_m:
        if step <= limit:
            return limit, f"{stays}, as the request does"
        target, why = limit, ""
    else:
        target, why = _scaled_cpu_limit(limit, request, current.cpu_request_m, usage, stance)
    if target < limit and (kept := _why_cpu_limit_is_kept(usage, stance)):
        return limit, f"{stays}: {kept}"
    if step > target:
        target, why = round_cpu(step), why_step
    return target, f"{from_to('cpu_limit_m', limit, target)}: {why}"


def _scaled_cpu_limit(
    limit: int, request: int, former: int | None, usage: Usage, stance: Stance
) -> tuple[int, str]:
    """The limit that goes with a request that was another, and why."""
    scaled = round_cpu(limit * request / former) if former else limit
    # A limit throttles: it is not lowered into bursts, nor to where it would throttle a start, and never lies
    # below the request.
    started = stance.remembered.started_cpu_m
    bursts = round_cpu(max(usage.cpu_max_m, started) * _BURST)
    most = 2 * max(limit, request)
    target = max(min(scaled, most), min(limit, max(bursts, LEAST_CPU_LIMIT_M)), request)
    why = "scales with the request"
    if scaled > most:
        why += ", no further than twice what is set or requested"
    if target > max(scaled, request):
        peak = f"the peak of {told_cores(usage.cpu_max_m)}"
        if started > usage.cpu_max_m:
            peak = f"{told_cores(started)}, used on the {_STARTED}"
        why += ", but not below " + (
            f"twice {peak}, for bursts shorter than 5 minutes"
            if bursts >= LEAST_CPU_LIMIT_M
            else f"{LEAST_CPU_LIMIT_M}m"
        )
    return target, why


def _why_cpu_limit_is_kept(usage: Usage, stance: Stance) -> str:
    """Why a limit is not lowered, if anything keeps it."""
    if (throttled := usage.throttled_share or 0.0) >= REACHED:
        return f"it throttles in {throttled:.0%} of periods already"
    if stance.jvm is not None:
        return (
            f"a JVM ({stance.jvm.known_by}) chooses its collector and its threads by it, and a limit costs"
            " nothing"
        )
    return ""


def _memory_request(current: Resources, usage: Usage, stance: Stance, rules: Rules) -> tuple[int, str]:
    now, told = current.memory_request_bytes, None if stance.by_peak else stance.estimate
    wanted, fits, why = _memory_wanted(current, usage, stance, rules)
    most = inf
    if stance.fills_limit and wanted > (limit := current.memory_limit_bytes or 0):
        wanted, most, why = limit, limit, f"{why}; not above the limit: {stance.fills_limit}"
    floor = (
        max(rules.memory_floor_bytes, LEAST_MEMORY_LIMIT) if stance.guaranteed else rules.memory_floor_bytes
    )
    if (lifted := _lifted(wanted, floor, now)) > wanted:
        whose = _whose(lifted, stance.least.memory_request_bytes)
        wanted, why = lifted, f"{why}, not below {_mebibytes(lifted)}{whose}"
    raised = _request_after_oom_kill(current, usage, stance, rules, wanted)
    if raised is not None and raised[0] >= max(wanted, now or 0):
        target = round_memory(raised[0])
        return target, f"{from_to('memory_request_bytes', now, target)}: {raised[1]}"
    if (stance.guaranteed or told is not None) and wanted == now:
        return now, f"memory request stays {format_memory(now)}: {why}"
    target = int(min(round_memory(wanted), most))
    if now is not None and target < now and (usage.oom_kills or not stance.tells_kills):
        kills = f"{counted(usage.oom_kills, 'OOM kill')} within {rules.oom_days} days, it is not lowered"
        return now, f"memory request stays {format_memory(now)}: {kills if usage.oom_kills else _UNSEEN}"
    if now is not None and target > now >= fits and not usage.oom_kills:
        return now, (
            f"memory request stays {format_memory(now)}: {_mebibytes(fits)}, the peak and a little more, fit"
            f" in it, so it is not raised to {format_memory(target)} ({why})"
        )
    if now is not None and not _request_is_worth(now, target, rules.memory_change_bytes, stance, rules):
        return now, (
            f"memory request stays {format_memory(now)}: {format_memory(target)} ({why})"
            " is not worth a change"
        )
    return target, f"{from_to('memory_request_bytes', now, target)}: {why}"


def _memory_wanted(
    current: Resources, usage: Usage, stance: Stance, rules: Rules
) -> tuple[float, float, str]:
    """Bytes to request, what has to fit in a request that is not raised, and why."""
    if stance.guaranteed:
        wanted, why = _memory_of_guaranteed(current, usage, stance, rules)
        return wanted, inf, why
    now, peak, fits = current.memory_request_bytes, usage.memory_max_bytes, inf
    if stance.estimate is not None and not stance.by_peak:
        wanted, fits, why = _memory_by_estimate(now, peak, stance.estimate)
    else:
        wanted = peak * rules.memory_headroom
        why = f"the peak is {_mebibytes(peak)} {_pods(usage)}, plus {_percent(rules.memory_headroom)}"
    wanted, why = _kept_for_start((wanted, why), now, usage, stance, rules)
    return wanted, fits, why


def _kept_for_start(
    wanted: tuple[float, str], now: int | None, usage: Usage, stance: Stance, rules: Rules
) -> tuple[float, str]:
    """The same bytes and why, or more: to lower a request starts its pods anew, and by what they use then it
    would be raised again.
    """
    started, percent = stance.remembered.started_memory_bytes, _percent(rules.memory_limit_headroom)
    kept = min(now or 0, started * rules.memory_limit_headroom)
    # Within the history it is part of the peak.
    if started <= usage.memory_max_bytes or kept <= wanted[0]:
        return wanted
    return (
        kept,
        f"{wanted[1]}; not lowered below {_mebibytes(started)} used on the {_STARTED}, plus {percent}",
    )


def _memory_by_estimate(now: int | None, peak: int, told: Estimate) -> tuple[float, float, str]:
    """Bytes to request, what has to fit in a request that is not raised, and why."""
    wanted, fits, why = told.memory_request_bytes, told.memory_fits_bytes, told.why_memory
    if now is not None and told.memory_raise_bytes <= now < wanted:
        wanted, why = (
            now,
            f"it holds what use needs, and less than {_mebibytes(wanted)} is not lowered ({why})",
        )
    elif now is None or now < wanted:
        # To set one where none is only helps, however few days are known.
        wanted, why = told.memory_raise_bytes, told.why_raise
        if now is not None and peak <= now < fits:
            # Of a peak that lies below what is set nothing else would tell why that is raised.
            short = f"{_mebibytes(fits)}, the peak and a little more, no longer fit in {format_memory(now)}"
            why = f"{why}; {short}"
    if wanted < peak:  # a history may be longer than what the estimator looks back at
        return peak, peak, f"{why}; not below the peak of {_mebibytes(peak)} before"
    return wanted, fits, why


def _memory_of_guaranteed(
    current: Resources, usage: Usage, stance: Stance, rules: Rules
) -> tuple[float, str]:
    """Bytes for request and limit alike, and why.

    It kills as a limit does, so it is lowered to the limit's estimate and no further. It is paid for as a
    request is, so it is raised where the peak has no headroom left, and then to the request's estimate.
    """
    # A request that is not set is the limit.
    peak, now = usage.memory_max_bytes, current.memory_request_bytes or current.memory_limit_bytes or 0
    least = peak * rules.memory_limit_headroom
    percent = _percent(rules.memory_limit_headroom)
    told = None if stance.by_peak else stance.estimate
    held, why = kept_for(stance.killed_limit_bytes, stance.remembered, rules)
    if (held := min(now, held)) > max(least, told.memory_limit_bytes if told is not None else 0):
        # Though it be longer ago than days are looked back at: it would be killed.
        return held, f"in a Guaranteed pod it is the limit too, and lowered no further: {why}"
    if (former := stance.remembered.fell_from_bytes) and least <= now <= former:
        return now, (
            f"in a Guaranteed pod it is the limit too, and lowered no further: use fell with it from"
            f" {format_memory(former)}, as with a heap that is a share of its limit, and would again"
        )
    if told is not None and least <= now < told.memory_limit_bytes:
        return now, (
            f"in a Guaranteed pod it is the limit too: it holds the peak of {_mebibytes(peak)} and {percent}"
            f" more, and less than {_mebibytes(told.memory_limit_bytes)} is not lowered ({told.why_limit})"
        )
    if told is not None and least <= now and least <= told.memory_limit_bytes:
        return told.memory_limit_bytes, f"{told.why_limit} (in a Guaranteed pod it is both)"
    if told is not None and told.memory_raise_bytes > least:
        return told.memory_raise_bytes, told.why_raise
    why = f"the peak is {_mebibytes(peak)} {_pods(usage)}, plus {percent}"
    return least, f"{why} (in a Guaranteed pod it is the limit too)"


def kept_for(killed: int, remembered: Remembered, rules: Rules) -> tuple[float, str]:
    """Bytes below which a limit is not lowered for what was once seen, and what that was."""
    former, started = remembered.former_memory_bytes, remembered.started_memory_bytes
    killed = max(killed, remembered.former_killed_limit_bytes)
    headroom, more = rules.memory_limit_headroom, f"plus {_percent(rules.memory_limit_headroom)}"
    needs = (
        (above_kill(killed) if killed else 0.0, f"killed under a limit of {format_memory(killed)}"),
        (former * headroom, f"its peak of five weeks is {_mebibytes(former)}, {more}"),
        (started * headroom, f"{_mebibytes(started)} used on the {_STARTED}, {more}"),
    )
    return max(needs, key=itemgetter(0))


def _memory_request_of_jvm(
    jvm: Jvm, current: Resources, usage: Usage, stance: Stance, rules: Rules
) -> tuple[int | None, str]:
    """Lowered to what the heap and the memory beside it can take; raised after a kill alone.

    Use says little: a heap grows to its bound without need. And it may be a share of the limit, so that a
    raise for use would feed itself.
    """
    now, raised = current.memory_request_bytes, _request_after_oom_kill(current, usage, stance, rules, 0)
    if raised is not None and raised[0] >= (now or 0):
        target = round_memory(raised[0])
        return target, f"{from_to('memory_request_bytes', now, target)}: {raised[1]}"
    if now is None:
        return None, f"no memory request is set, and none is introduced: it is {_jvm(jvm)}"
    stays = f"memory request stays {format_memory(now)}"
    if not _is_told(jvm) or stance.guaranteed or usage.oom_kills:
        return now, f"{stays}: {_why_kept(jvm, usage, stance, rules)}"
    wanted, why = _kept_for_start(_most_of_jvm(jvm, usage, rules), now, usage, stance, rules)
    if (lifted := _lifted(wanted, rules.memory_floor_bytes, now)) > wanted:
        whose = _whose(lifted, stance.least.memory_request_bytes)
        wanted, why = lifted, f"{why}, not below {_mebibytes(lifted)}{whose}"
    target = round_memory(wanted)
    if target > now or not _request_is_worth(now, target, rules.memory_change_bytes, stance, rules):
        end = "more, and it is raised after OOM kills alone" if target > now else "not worth a change"
        return now, f"{stays}: {format_memory(target)} ({why}) is {end}"
    if not stance.tells_kills:
        return now, f"{stays}: {_UNSEEN}"
    return target, f"{from_to('memory_request_bytes', now, target)}: {why}"


def _why_kept(jvm: Jvm, usage: Usage, stance: Stance, rules: Rules) -> str:
    if usage.oom_kills:
        kills = counted(usage.oom_kills, "OOM kill")
        return f"it is {_jvm(jvm)}, with {kills} within {rules.oom_days} days"
    if not _is_told(jvm):
        return f"it is {_jvm(jvm)}, and no metrics of its own tell how much"
    assert stance.guaranteed
    return (
        f"it is {_jvm(jvm)}; in a Guaranteed pod the limit would be lowered too, and with it a heap that is a"
        " share of the limit"
    )


def _is_told(jvm: Jvm) -> bool:
    """Whether it is known how large it can become. Who says a heap says that no metrics do."""
    return jvm.heap_max_bytes is not None and (jvm.heap_annotated or jvm.non_heap_bytes is not None)


def _most_of_jvm(jvm: Jvm, usage: Usage, rules: Rules) -> tuple[float, str]:
    """Bytes that a JVM can take, or what it was seen to take with the headroom if that is more.

    Classes and code that no metrics tell are taken to be as much as the overhead is.
    """
    heap = jvm.heap_max_bytes
    assert heap is not None
    overhead = max(heap * rules.jvm_overhead, rules.jvm_overhead_bytes)
    non_heap = jvm.non_heap_bytes if jvm.non_heap_bytes is not None else overhead
    wanted = heap + non_heap + overhead
    by = " (by its annotation)" if jvm.heap_annotated else ""
    assumed = " (no metrics tell: as much as the following)" if jvm.non_heap_bytes is None else ""
    why = (
        f"a JVM ({jvm.known_by}) with a heap of at most {_mebibytes(heap)}{by}, {_mebibytes(non_heap)} of"
        f" classes and code{assumed}, and {_mebibytes(overhead)} for threads, buffers and the collector"
    )
    seen = usage.memory_max_bytes * rules.memory_headroom
    if seen > wanted:
        wanted = seen
        why = (
            f"{why}; but the peak is {_mebibytes(usage.memory_max_bytes)} {_pods(usage)},"
            f" plus {_percent(rules.memory_headroom)}"
        )
    return wanted, why


def _jvm(jvm: Jvm) -> str:
    return f"a JVM ({jvm.known_by}), whose heap flags decide what it uses"


def _memory_limit(
    current: Resources, request: int | None, usage: Usage, stance: Stance, rules: Rules
) -> tuple[int | None, str]:
    limit, peak = current.memory_limit_bytes, usage.memory_max_bytes
    if limit is None:
        return None, "no memory limit is set, and none is introduced"
    raised = _after_oom_kill(current, usage, stance, rules)
    if stance.jvm is not None and (raised is None or raised[0] <= limit):
        return limit, (
            f"memory limit stays {format_memory(limit)}: it is a JVM ({stance.jvm.known_by}), whose heap may"
            " be a share of it"
        )
    assert request is not None
    if stance.guaranteed:
        return request, (
            f"{from_to('memory_limit_bytes', limit, request)}: equal to the request (Guaranteed)"
        )
    percent = _percent(rules.memory_limit_headroom)
    wanted = max(round_memory(peak * rules.memory_limit_headroom), request)
    why = f"at least {percent} above the peak of {_mebibytes(peak)}, and not below the request"
    told = None if stance.by_peak else stance.estimate
    most = 2 * max(limit, request)
    if wanted > limit and told is not None and min(told.memory_limit_bytes, most) > wanted:
        # It is not paid for: where it has to be raised, then so far that the next week's peak finds room. But
        # what leaks finds room on no node.
        wanted, why = round_memory(told.memory_limit_bytes), told.why_limit
        if wanted > most:
            wanted, why = round_memory(most), f"{why}; no further than twice what is set or requested"
    if raised is not None and raised[0] > limit:
        # No less than where it had not killed yet: else it would go on killing until it got there.
        target = round_memory(raised[0])
        if stance.jvm is None and not stance.fills_limit and wanted > max(target, request):
            why = f"{_told_kills(current, usage, rules)}; {why}"
        elif request > target:
            wanted, why = request, f"{raised[1]}; not below the request"
        else:
            wanted, why = target, raised[1]
        return wanted, f"{from_to('memory_limit_bytes', limit, wanted)}: {why}"
    # However few the mebibytes: they keep a small container from being killed.
    worth = is_worth(limit, wanted, rules.relative_change, 0)
    if wanted > limit and not stance.fills_limit and (worth or request > limit):
        return wanted, f"memory limit {format_memory(limit)} -> {format_memory(wanted)}: {why}"
    why = f"the peak is {_mebibytes(peak)}; a limit costs nothing, and lowering one can only kill"
    return limit, f"memory limit stays {format_memory(limit)}: {stance.fills_limit or why}"


def _after_oom_kill(
    current: Resources, usage: Usage, stance: Stance, rules: Rules
) -> tuple[float, str] | None:
    """Bytes after a kill under the present limit, and why: max(used x 1.2, used + 100 MiB), as the
    VerticalPodAutoscaler does; what was used is the limit itself, because no scrape saw that moment.
    """
    if not stance.oom_killed or not usage.oom_kills:
        return None
    # A peak that nothing can have says nothing.
    peak = usage.memory_max_bytes if usage.memory_max_bytes < MOST else 0
    used = max(peak, current.memory_limit_bytes or 0)
    what = "the limit" if used == current.memory_limit_bytes else "the peak"
    return above_kill(used), (
        f"{_told_kills(current, usage, rules)}: at once a fifth more than {what} of {_mebibytes(used)},"
        " or 100Mi if that is more"
    )


def _told_kills(current: Resources, usage: Usage, rules: Rules) -> str:
    # Of what has none a node ran short, or a pod's limit of all its containers.
    under = "without a limit" if current.memory_limit_bytes is None else "under this limit"
    return f"{counted(usage.oom_kills, 'OOM kill')} within {rules.oom_days} days {under}"


def above_kill(used: int) -> float:
    """Bytes that are set after a kill under so many."""
    return max(used * 1.2, used + 100 * MIB)


def _request_after_oom_kill(
    current: Resources, usage: Usage, stance: Stance, rules: Rules, wanted: float
) -> tuple[float, str] | None:
    """The same for the request, which does not kill, but is reserved: beside a limit that is many times what
    is set and used, no node may have room for it. In a Guaranteed pod it is the limit.
    """
    if (raised := _after_oom_kill(current, usage, stance, rules)) is None:
        return None
    most = 2 * max(wanted, current.memory_request_bytes or 0, usage.memory_max_bytes)
    if stance.guaranteed or raised[0] <= most:
        return raised
    return most, f"{raised[1]}; no further than twice what is set or use needs"


def is_worth(current: int, target: int, relative: float, absolute: float) -> bool:
    """Whether a difference reaches the relative threshold, and the absolute one too.

    A fifth of 12m is nothing on any node, and a step that is small in proportion lies within the headroom.
    """
    difference = abs(target - current)
    return difference > 0 and difference >= current * relative and difference >= absolute


def raises(proposals: Iterable[ContainerProposal]) -> bool:
    """Whether a value is raised, or set where none is."""
    return any(
        (getattr(each.proposed, field) or 0) > (getattr(each.current, field) or 0)
        for each in proposals
        for field in LABELS
    )


def _request_is_worth(now: int, target: int, absolute: int, stance: Stance, rules: Rules) -> bool:
    # An estimate is raised where use no longer fits: to wait for as much as lowering has to gain would harm.
    share = WORTH_RAISING if target > now and stance.estimate is not None else 1
    # In a Guaranteed pod the request is the limit too, and a limit that is short does harm at any size.
    raises_limit = stance.guaranteed and target > now
    return is_worth(now, target, rules.relative_change * share, 0 if raises_limit else absolute * share)


def round_cpu(millicores: float) -> int:
    """Up, to steps that people write: 1m below 50m, 5m below a core, 10m above."""
    step = 1 if millicores <= 50 else 5 if millicores <= 1000 else 10
    # The least excess is a float's own error, not use: 0.1 x 3 shall not become one step more.
    return max(1, ceil(round(millicores / step, 6))) * step


def round_memory(amount: float) -> int:
    """Up, to MiB, and to 16 MiB above one GiB."""
    step = MIB if amount <= GIB else 16 * MIB
    return max(1, ceil(round(amount / step, 6))) * step


def _lifted(wanted: float, floor: int, current: int | None) -> float:
    """A floor keeps from lowering too far; what is set below it and suffices is not raised to it."""
    return floor if current is None else max(wanted, min(floor, current))


def _whose(lifted: float, least: int | None) -> str:
    return ", which a LimitRange of its namespace wants" if lifted == least else ""


def told_cores(millicores: float) -> str:
    """For a sentence."""
    return f"{millicores:.1f}m" if millicores < 10 else f"{millicores:.0f}m"


def _mebibytes(amount: float) -> str:
    return f"{amount / MIB:.0f}Mi"


def _percent(headroom: float) -> str:
    return f"{headroom - 1:.0%}"


def _pods(usage: Usage) -> str:
    return "in its one pod" if usage.pods == 1 else f"in the worst of {usage.pods} pods"


def from_to(field: str, now: int | None, target: int | None) -> str:
    """A value of LABELS: `memory request 1Gi -> 2Gi`, or `memory request stays 1Gi`; a dash for none."""
    if now == target:
        return f"{LABELS[field]} stays {quantity(field, target)}"
    return (
        f"{LABELS[field]} {'(not set)' if now is None else quantity(field, now)} -> {quantity(field, target)}"
    )
