"""From what containers use to what they should ask for: a percentile engine with the safety rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import ceil

from functions.recommender import admission, init_containers
from functions.recommender.bounds import QUOTA, SHARED, added_by_rollout, together
from functions.recommender.container import (
    FOLLOWED,
    NOTHING,
    RAISED,
    REACHED,
    Day,
    Estimate,
    Remembered,
    Stance,
    follows,
    from_to,
    kept_for,
    left_alone,
    size_container,
)
from functions.recommender.fitted import MEMORY_DAYS, STEADY_DAYS
from functions.recommender.jvm import Jvm
from functions.recommender.rules import PERCENTILE, Rules
from shared.contracts.events import ContainerProposal, Resources, Usage
from shared.contracts.identity import Workload
from shared.contracts.quantities import MIB, MOST, format_cpu, format_memory
from shared.contracts.wording import LABELS, counted, quantity

__all__ = [
    "Day",
    "Estimate",
    "Jvm",
    "Observed",
    "ObservedContainer",
    "QosClass",
    "Rules",
    "Sized",
    "engine",
    "qos_class",
    "size",
    "size_all",
]

# Their pods come and go: they are sized per run, by peak.
RUN_TO_COMPLETION = ("Job", "CronJob")
# Of a memory limit: beyond these there is no headroom that it is raised for, if it has been so for a week, or
# for four. What has risen by so much meanwhile is on its way to it.
FILLED, RISEN = ((STEADY_DAYS, 0.9), (MEMORY_DAYS - 1, 0.75)), 1.02
# Share of these days on which it has to be there: many a namespace has no pods at weekends.
MOSTLY_THERE = 2 / 3
# A peak that rises on so many days one after the other, by so much in all, is no chance.
_RISING_DAYS, _RISING = 5, 1.1
_AS_CACHE = "as with cache, which the kernel takes back and which would fill more"
_FILLS = f"it comes up to its limit day by day and is not killed, {_AS_CACHE}"
_RUNS_FILL = f"its runs come up to it and are not killed, {_AS_CACHE}"
# Days since the last that use is told of: today may be minutes old, and who tells some hours behind.
_SILENT_DAYS = 1
# Why what is so is left alone, here and in a backtest.
BEST_EFFORT_STAYS = "BestEffort: it sets no requests, and setting some would change its QoS class"
SCALED_ON_UNKNOWN = (
    "a HorizontalPodAutoscaler scales it, or may, and nothing tells on what (kubefinops doctor)"
)
REQUESTS_UNTOLD = "its limits are told, and not its requests (kubefinops doctor)"
SUPPORTED = ("Deployment", "StatefulSet", "DaemonSet", "Rollout", *RUN_TO_COMPLETION)


class QosClass(StrEnum):
    """https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/"""

    GUARANTEED = "Guaranteed"
    BURSTABLE = "Burstable"
    BEST_EFFORT = "BestEffort"


@dataclass(frozen=True)
class ObservedContainer:
    """One container of a workload: what it asks for, and what it used in the worst of its pods.

    `usage` is None where nothing was measured. `oom_killed` says that it was ended for its memory under a
    limit that was no less than the present one, `killed_limit_bytes` is the largest limit that it was killed
    under on any day that is looked back at. `estimate` is what a strategy says, where one is asked. `jvm`
    is the Java virtual machine that it is known to run. `days` are the digests that `usage` and `estimate`
    rest on, `remembered` is what is known beside them; none where pods run to completion. `bounds` are what
    LimitRanges have it request at least, and set at most. `torn`: two answers about its memory, or its kills,
    contradict each other. `sidecar`: a native one.
    """

    name: str
    current: Resources
    usage: Usage | None
    history_seconds: int = 0
    oom_killed: bool = False
    killed_limit_bytes: int = 0
    remembered: Remembered = NOTHING
    estimate: Estimate | None = None
    jvm: Jvm | None = None
    days: tuple[Day, ...] = ()
    bounds: tuple[Resources, Resources] = (Resources(), Resources())
    torn: bool = False
    sidecar: bool = False


@dataclass(frozen=True)
class Observed:
    """One workload as Prometheus shows it at the scan's time.

    `replicas` is what is wanted now, `pods` the mean number that runs. `scales_on` names the resources
    whose utilisation, a share of the request, drives a HorizontalPodAutoscaler; `unknown` if there is one
    and nothing tells what it scales on, or whether it is this. `resized_by` is the mode of a
    VerticalPodAutoscaler that sets what its pods ask for. `windows_per_day` is how many samples a full
    day has. `nodes` has the node of each pod that lives, where that was asked. `tells_kills`: an OOM kill
    would be seen. `init` has what each init container asks for; native sidecars are containers. `pod_bounds`
    is what a pod's containers may set together at most, by what bounds it, `pod_least` what LimitRanges have
    them set at least, and `pod_ratios` how many times their requests their limits may be, by resource.
    """

    workload: Workload
    replicas: int
    pods: float
    containers: tuple[ObservedContainer, ...]
    scales_on: frozenset[str] = frozenset()
    resized_by: str = ""
    windows_per_day: float = 288.0
    nodes: tuple[str, ...] = ()
    tells_kills: bool = True
    init: Mapping[str, Resources] = field(default_factory=dict)
    pod_bounds: Mapping[str, Resources] = field(default_factory=dict)
    pod_least: Resources = field(default_factory=Resources)
    pod_ratios: Mapping[str, float] = field(default_factory=dict)

    @property
    def unmeasured(self) -> list[Resources]:
        """What is set for containers without usage."""
        return [container.current for container in self.containers if container.usage is None]


@dataclass(frozen=True)
class Sized:
    """A workload's proposal; `skipped` says why there is none, and the containers then tell what was seen."""

    containers: tuple[ContainerProposal, ...]
    confidence: float
    history_seconds: int
    qos: QosClass
    skipped: str | None = None

    @property
    def is_sized(self) -> bool:
        """Whether values were found, proposed or not: then there are sentences that say why."""
        return bool(self.containers) and all(each.reasons for each in self.containers)


def engine(strategy: str) -> str:
    """Goes into every report: figures can be reproduced by the engine of the same version."""
    return f"{strategy}/{8 if strategy == PERCENTILE else 12}"


def size_all(
    workloads: Iterable[Observed],
    rules: Rules,
    is_refused: Callable[[Observed, Sized], bool] = lambda _observed, _sized: False,
) -> Iterator[tuple[Observed, Sized]]:
    """Each in turn, as it is seen then: what one is raised by, those after it have not of their namespace's
    ResourceQuotas, unless nothing will come of it. What one would give back is not had before it is rolled
    out.
    """
    taken: dict[str, Counter[str]] = {}
    added: dict[str, Counter[str]] = {}
    for each in workloads:
        namespace, observed = each.workload.namespace, each
        quota, pods = each.pod_bounds.get(QUOTA), max(1, each.replicas)
        if quota is not None and namespace in taken:
            observed = replace(each, pod_bounds=_shared(each, quota, taken[namespace] + added[namespace]))
        sized = size(observed, rules)
        yield observed, sized
        if quota is not None and sized.skipped is None and not is_refused(observed, sized):
            by_rollout = added_by_rollout(each.workload.kind, pods)
            for name in LABELS:
                if (more := _more(sized.containers, name)) > 0:
                    taken.setdefault(namespace, Counter())[name] += pods * more
                    # One rollout after the other: the room that the largest wants for a while will do.
                    surge = added.setdefault(namespace, Counter())
                    surge[name] = max(surge[name], by_rollout * more)


def _shared(observed: Observed, quota: Resources, taken: Mapping[str, int]) -> dict[str, Resources]:
    """Its bounds, where others take so much of the quota. It keeps what it has."""
    shared = {}
    for name, high in quota.model_dump(include=set(taken), exclude_none=True).items():
        now = together((each.current for each in observed.containers), name)
        if high > now:
            shared[name] = max(now, high - ceil(taken[name] / max(1, observed.replicas)))
    alone = quota.model_copy(update=dict.fromkeys(shared))
    bounds = {**observed.pod_bounds, QUOTA: alone, SHARED: Resources(**shared)}
    return {who: most for who, most in bounds.items() if most != Resources()}


def size(observed: Observed, rules: Rules) -> Sized:
    """What each container of the workload should ask for, or the reason to leave it alone."""
    qos = qos_class([*(container.current for container in observed.containers), *observed.init.values()])
    used = [container for container in observed.containers if container.usage is not None]
    enough = [container for container in used if _too_little(container, observed, rules) is None] or used
    sized = Sized(
        containers=tuple(_as_it_is(container) for container in used),
        confidence=min((_confidence(container, observed) for container in enough), default=0.0),
        history_seconds=min((container.history_seconds for container in enough), default=0),
        qos=qos,
    )
    reason = resized(observed.resized_by) or _torn(used) or _unfit(observed, used, qos, rules)
    if reason is not None:
        return replace(sized, skipped=reason)
    proposals = tuple(_propose(container, observed, qos, rules) for container in used)
    beside = tuple(_beside_autoscaler(proposal, observed, qos) for proposal in proposals)
    if any(each.proposed != each.current for each in beside):
        proposals = beside
    pod = _pod(observed, qos)
    proposals = _within_bounds(proposals, used, pod, rules)
    if pod.ratios or pod.least != Resources():
        # What is lowered less leaves less to others.
        proposals = admission.not_below_least(proposals, pod, rules)
        proposals = _within_bounds(proposals, used, pod, rules)
        proposals = admission.within_pod_ratios(proposals, pod, rules)
    if qos is QosClass.BURSTABLE and rules.keep_qos:
        proposals = _kept_burstable(observed, proposals)
    proposals = init_containers.told(proposals, observed.init, observed.unmeasured)
    sized = replace(sized, containers=proposals)
    if (reason := _unwanted(observed, proposals, pod, qos, rules)) is not None:
        return replace(sized, skipped=reason)
    return sized


def _more(proposals: Sequence[ContainerProposal], name: str) -> int:
    """What these together are raised by; less than 0 where they are lowered."""
    proposed, current = ([getattr(each, which) for each in proposals] for which in ("proposed", "current"))
    return together(proposed, name) - together(current, name)


def qos_class(containers: list[Resources]) -> QosClass:
    """The class that Kubernetes gives to a pod of these containers, of which init containers are some too."""
    if all(each == Resources() for each in containers):
        return QosClass.BEST_EFFORT
    for each in containers:
        for request, limit in (
            (each.cpu_request_m, each.cpu_limit_m),
            (each.memory_request_bytes, each.memory_limit_bytes),
        ):
            # An unset request takes the limit's value.
            if limit is None or (request is not None and request != limit):
                return QosClass.BURSTABLE
    return QosClass.GUARANTEED


def resized(mode: str) -> str | None:
    """Who else sizes it, by the mode that Observed.resized_by has. A VerticalPodAutoscaler keeps the ratio of
    limit to request that Git has: by another ratio its next limits would be others.
    """
    if not mode:
        return None
    return f"a VerticalPodAutoscaler sets its requests and limits (mode {mode}), whatever they are in Git"


def _torn(used: list[ObservedContainer]) -> str | None:
    """Whose usage was not read whole."""
    if names := ", ".join(container.name for container in used if container.torn):
        return (
            f"memory of {names} was read in part: of some day its peak is told and no window, or windows and"
            " no peak, or an OOM kill in one answer and not in another; several servers behind one address"
            " may have answered"
        )
    return None


def _unfit(observed: Observed, used: list[ObservedContainer], qos: QosClass, rules: Rules) -> str | None:
    """Why it cannot be sized at all."""
    kind = observed.workload.kind
    if kind not in SUPPORTED:
        return f"kind {kind} is not sized; {', '.join(SUPPORTED)} are"
    if not observed.containers:
        return "no pod of it is there: its requests cannot be seen"
    if not used:
        return (
            "no CPU and memory usage is known of its containers: none is recorded, or for less than half an"
            " hour"
        )
    lacking = [_too_little(container, observed, rules) for container in used]
    if (
        lacking[0] is not None
        and None not in lacking
        and not any(each.oom_killed and each.usage and each.usage.oom_kills for each in used)
    ):
        return f"too little data: {lacking[0]}"
    if qos is QosClass.BEST_EFFORT and rules.keep_qos:
        return BEST_EFFORT_STAYS
    untold = any(lacks_requests(each.current) for each in observed.containers)
    return REQUESTS_UNTOLD if untold else None


def lacks_requests(current: Resources) -> bool:
    """Whether some are not told: Kubernetes sets a request to the limit where a manifest has none."""
    return any(
        limit is not None and request is None
        for request, limit in (
            (current.cpu_request_m, current.cpu_limit_m),
            (current.memory_request_bytes, current.memory_limit_bytes),
        )
    )


def _too_little(container: ObservedContainer, observed: Observed, rules: Rules) -> str | None:
    """What is known too little of it for."""
    assert container.usage is not None
    hours = container.history_seconds / 3600
    if hours < rules.minimum_history_hours:
        return f"{container.name}: {hours:.1f} h of history, {rules.minimum_history_hours:g} h wanted"
    if observed.workload.kind in RUN_TO_COMPLETION:
        if container.usage.pods < rules.minimum_runs:
            return f"{container.name}: {counted(container.usage.pods, 'run')}, {rules.minimum_runs} wanted"
    elif container.usage.samples < rules.minimum_samples:
        return (
            f"{container.name}: {counted(container.usage.samples, 'sample')}, {rules.minimum_samples} wanted"
        )
    # What there is may be of another load by now.
    for what, told in (
        ("CPU", [day.ago for day in container.days if day.cpu_m]),
        ("memory", [day.ago for day in container.days if day.memory_bytes]),
    ):
        if (ago := min(told, default=0)) > _SILENT_DAYS:
            return f"{container.name}: nothing is told of its {what} for {ago} days"
    for what, most in (("CPU", container.usage.cpu_max_m), ("memory", container.usage.memory_max_bytes)):
        if most >= MOST:
            return f"{container.name}: its {what} is told to be more than anything uses"
    return None


def _unwanted(
    observed: Observed,
    proposals: tuple[ContainerProposal, ...],
    pod: admission.Pod,
    qos: QosClass,
    rules: Rules,
) -> str | None:
    """Why a proposal that could be made is not."""
    changed = [each for each in proposals if each.proposed != each.current]
    # What goes on killing meanwhile is for a person to see to.
    killed = "".join(
        f"; {each.name} has {counted(each.usage.oom_kills, 'OOM kill')} within {rules.oom_days} days"
        for each in proposals
        if each.usage.oom_kills
    )
    if not changed:
        unmet = admission.unmet(proposals)
        return f"{unmet}{killed}" if unmet else _not_worth_it(observed, proposals, qos, rules)
    bounds = {each.name: each.bounds for each in observed.containers}
    if (refused := admission.refused(proposals, bounds, pod)) is not None:
        return f"its new pods may not be admitted: {refused}{killed}"
    moved = set()
    if any(each.proposed.cpu_request_m != each.current.cpu_request_m for each in changed):
        moved.add("cpu")
    if any(each.proposed.memory_request_bytes != each.current.memory_request_bytes for each in changed):
        moved.add("memory")
    if moved and "unknown" in observed.scales_on:
        return f"{SCALED_ON_UNKNOWN}{killed}"
    if scaled := sorted(moved & observed.scales_on):
        return (
            f"a HorizontalPodAutoscaler scales it on the utilisation of {' and '.join(scaled)}:"
            f" another request would change the number of its pods{killed}"
        )
    after = _qos_after(observed, proposals)
    if after is not qos and rules.keep_qos:
        return f"the proposal would change its QoS class from {qos} to {after}"
    return None


def _not_worth_it(
    observed: Observed,
    proposals: tuple[ContainerProposal, ...],
    qos: QosClass,
    rules: Rules,
) -> str:
    """What is true of values that all stay, and of which it is not said."""
    jvms = {each.name: each.jvm for each in observed.containers if each.jvm is not None}
    besides = f"; memory of {', '.join(jvms)} aside, a JVM's, whose heap flags decide" if jvms else ""
    if jvms and qos is QosClass.GUARANTEED:
        besides += f"; CPU of {', '.join(jvms)} aside, by whose limit a JVM chooses its collector"
    besides += "".join(f"; {text}" for text in sorted({jvm.wrong for jvm in jvms.values() if jvm.wrong}))
    remembered = {each.name: each.remembered for each in observed.containers}
    for each in proposals:
        if each.usage.oom_kills:
            kills = counted(each.usage.oom_kills, "OOM kill")
            besides += f"; memory of {each.name} aside, with {kills} within {rules.oom_days} days"
        elif why := _kept_for(each, observed, qos, rules):
            besides += f"; memory of {each.name} aside: {why}"
        share = REACHED if qos is QosClass.GUARANTEED else rules.throttled_share
        if (throttled := each.usage.throttled_share or 0.0) >= share:
            besides += f"; CPU of {each.name} aside, throttled in {throttled:.0%} of periods"
            if why := follows(each.current, remembered[each.name]):
                besides += f" at its limit: {why}"
    used = [each for each in observed.containers if each.usage is not None]
    lacking = [reason for each in used if (reason := _too_little(each, observed, rules)) is not None]
    besides += f"; too little data of others: {', '.join(lacking)}" if lacking else ""
    besides += "" if observed.tells_kills else "; memory is not lowered, as OOM kills would not be seen"
    return (
        f"not worth a change: every value is within {rules.relative_change:.0%} of what is set,"
        f" or within {format_cpu(rules.cpu_change_m)} and {format_memory(rules.memory_change_bytes)} of it,"
        f" or above it though use fits in what is set{besides}"
    )


def _kept_for(proposal: ContainerProposal, observed: Observed, qos: QosClass, rules: Rules) -> str:
    """What was seen longer ago than is told of, if that keeps its memory as it is."""
    its = next(each for each in observed.containers if each.name == proposal.name)
    needed, why = kept_for(its.killed_limit_bytes, its.remembered, rules)
    by_use = proposal.usage.memory_max_bytes * rules.memory_limit_headroom
    is_kept = by_use < needed and (proposal.current.memory_limit_bytes or 0) <= needed
    return why if qos is QosClass.GUARANTEED and is_kept else ""


def _qos_after(observed: Observed, proposals: tuple[ContainerProposal, ...]) -> QosClass:
    new = {each.name: each.proposed for each in proposals}
    others = observed.init.values()
    return qos_class([*(new.get(each.name, each.current) for each in observed.containers), *others])


def _kept_burstable(
    observed: Observed, proposals: tuple[ContainerProposal, ...]
) -> tuple[ContainerProposal, ...]:
    """The same, with a request a step below its limit where both are raised to one value, if the pod were
    Guaranteed by that: else its containers would go on being killed for the sake of the class.
    """
    if _qos_after(observed, proposals) is not QosClass.GUARANTEED:
        return proposals
    for index, each in enumerate(proposals):
        for request, limit, step in (
            ("memory_request_bytes", "memory_limit_bytes", MIB),
            ("cpu_request_m", "cpu_limit_m", 1),
        ):
            now, new = getattr(each.current, request), getattr(each.proposed, request)
            if new is None or new != getattr(each.proposed, limit) or new - step < (now or 0):
                continue
            told, less = dict(zip(LABELS, each.reasons, strict=True)), new - step
            told[request] = (
                f"{from_to(request, now, less)}: at its limit's {quantity(request, new)} the pod would be"
                f" Guaranteed (else {told[request]})"
            )
            proposed = each.proposed.model_copy(update={request: less})
            kept = each.model_copy(update={"proposed": proposed, "reasons": tuple(told.values())})
            return (*proposals[:index], kept, *proposals[index + 1 :])
    return proposals


def _pod(observed: Observed, qos: QosClass) -> admission.Pod:
    others = [each for each in observed.containers if each.usage is None]
    return admission.Pod(
        guaranteed=qos is QosClass.GUARANTEED,
        others=tuple(each.current for each in others),
        init=tuple(observed.init.values()),
        sidecars=frozenset(each.name for each in observed.containers if each.sidecar),
        other_sidecars=tuple(each.current for each in others if each.sidecar),
        most=observed.pod_bounds,
        least=observed.pod_least,
        ratios=observed.pod_ratios,
    )


def _within_bounds(
    proposals: Sequence[ContainerProposal],
    used: Sequence[ObservedContainer],
    pod: admission.Pod,
    rules: Rules,
) -> tuple[ContainerProposal, ...]:
    proposals = _within_limit_ranges(proposals, used)
    # The most of a limit goes with its request, which may be less then.
    return _within_limit_ranges(admission.within_pod_bounds(proposals, pod, rules), used)


def _within_limit_ranges(
    proposals: Sequence[ContainerProposal], used: Sequence[ObservedContainer]
) -> tuple[ContainerProposal, ...]:
    return tuple(
        admission.within_limit_range(each, container.bounds[1])
        for each, container in zip(proposals, used, strict=True)
    )


def _propose(
    container: ObservedContainer, observed: Observed, qos: QosClass, rules: Rules
) -> ContainerProposal:
    assert container.usage is not None
    by_peak, (least, _) = observed.workload.kind in RUN_TO_COMPLETION, container.bounds
    stance = Stance(
        guaranteed=qos is QosClass.GUARANTEED,
        by_peak=by_peak,
        oom_killed=container.oom_killed,
        killed_limit_bytes=container.killed_limit_bytes,
        tells_kills=observed.tells_kills,
        fills_limit=_fills_limit(container, by_peak=by_peak) if observed.tells_kills else "",
        remembered=container.remembered,
        estimate=container.estimate,
        jvm=container.jvm,
        least=least,
    )
    rules = replace(
        rules,
        cpu_floor_m=max(rules.cpu_floor_m, least.cpu_request_m or 0),
        memory_floor_bytes=max(rules.memory_floor_bytes, least.memory_request_bytes or 0),
    )
    if (lacking := _too_little(container, observed, rules)) is None:
        proposed, reasons = size_container(container.current, container.usage, stance, rules)
    else:
        why = f"too little data: {lacking}"
        proposed, reasons = left_alone(container.current, container.usage, stance, rules, why)
    return ContainerProposal(
        name=container.name,
        current=container.current,
        proposed=proposed,
        usage=container.usage,
        reasons=_told_rise(container, proposed, reasons),
    )


def _told_rise(
    container: ObservedContainer, proposed: Resources, reasons: tuple[str, ...]
) -> tuple[str, ...]:
    """The same, where memory is raised that rose day by day: by peaks more load and a leak look alike, and
    more memory is no end to a leak.
    """
    raised = next(
        (
            name
            for name in ("memory_request_bytes", "memory_limit_bytes")
            if (getattr(proposed, name) or 0) > (getattr(container.current, name) or 0)
        ),
        None,
    )
    if raised is None:
        return reasons
    peaks = {day.ago: day.memory_bytes for day in container.days if day.ago and day.memory_bytes}
    days = 1  # whole ones, up to yesterday, each above the one before
    while peaks.get(days, 0) > peaks.get(days + 1, MOST):
        days += 1
    if days < _RISING_DAYS or peaks[1] < peaks[days] * _RISING:
        return reasons
    told = dict(zip(LABELS, reasons, strict=True))
    told[raised] += (
        f"; the peaks of the last {days} days rose each day, by {peaks[1] / peaks[days] - 1:.0%} in all: if"
        " that is a leak, more memory does not end it"
    )
    return tuple(told.values())


def _fills_limit(container: ObservedContainer, *, by_peak: bool) -> str:
    """Why its memory is taken to come up to its limit without a need: by its peak the limit would be doubled
    again and again. Empty where that is not known, or the limit killed.

    Working set counts the cache of files that are read again, which grows into any limit, and a runtime may
    size its heap as a share of it. Such use rises as soon as the limit is raised; or it came up to the limit
    on each whole day of a week that it was there on, no further at its end than at its beginning. What leaks
    does not stay there.
    Of runs no days are told: what comes up to it in one, and ends, had enough.
    """
    limit = container.current.memory_limit_bytes
    if limit is None or container.usage is None:
        return ""
    if by_peak:
        is_near = FILLED[0][1] * limit <= container.usage.memory_max_bytes <= limit
        return _RUNS_FILL if is_near and not container.usage.oom_kills else ""
    if former := _followed(container, limit):
        return (
            f"use rose with it from {format_memory(former)}, as with a heap that is a share of its limit, or"
            " with cache, and would again"
        )
    peaks = {day.ago: day.memory_bytes for day in container.days if day.ago and day.memory_bytes}
    fills = any(_is_near(peaks, days, share * limit, limit) for days, share in FILLED)
    # What was killed some time needed more than it had: it may be that which comes up to the limit.
    return _FILLS if fills and not container.usage.oom_kills and not container.killed_limit_bytes else ""


def _is_near(peaks: Mapping[int, int], days: int, least: float, limit: int) -> bool:
    """Whether it was there so many whole days ago, and on most of those since, and each of these had that
    much, the last no more than the first. What was above the limit was under another one.
    """
    known = [peaks[ago] for ago in range(1, days + 1) if ago in peaks]
    return (
        max(peaks, default=0) >= days
        and len(known) >= days * MOSTLY_THERE
        and least <= min(known) <= max(known) <= limit
        and known[0] <= known[-1] * RISEN
    )


def _followed(container: ObservedContainer, limit: int) -> int:
    """The limit that was set before it was raised to this one, if use rose with it and has not risen in a
    week since; else 0. A limit that killed tells nothing: use ended at it.
    """
    assert container.usage is not None
    killed = container.killed_limit_bytes
    before = [
        day for day in container.days if day.memory_bytes and killed < day.near_limit_bytes <= limit / RAISED
    ]
    if not before or (container.oom_killed and container.usage.oom_kills):
        return 0
    last = min(before, key=lambda day: day.ago)
    former = last.near_limit_bytes
    then = max(day.memory_bytes for day in before if day.near_limit_bytes == former)
    since = {day.ago: day.memory_bytes for day in container.days if day.ago < last.ago and day.memory_bytes}
    rose = max(since.values(), default=0) / then - 1 >= (limit / former - 1) * FOLLOWED
    rises = STEADY_DAYS in since and since.get(1, 0) > since[STEADY_DAYS] * RISEN
    return former if rose and not rises else 0


def _beside_autoscaler(proposal: ContainerProposal, observed: Observed, qos: QosClass) -> ContainerProposal:
    """The same, with what a HorizontalPodAutoscaler scales on as it is.

    A limit of memory that is raised is not part of its utilisation, except in a Guaranteed pod.
    """
    proposed, reasons = proposal.proposed, dict(zip(LABELS, proposal.reasons, strict=True))
    is_unknown = "unknown" in observed.scales_on
    for name, label in LABELS.items():
        resource = name.partition("_")[0]
        now, new = getattr(proposal.current, name), getattr(proposal.proposed, name)
        is_raised_limit = name == "memory_limit_bytes" and (new or 0) > (now or 0)
        if new == now or (is_raised_limit and qos is not QosClass.GUARANTEED):
            continue
        if is_unknown or resource in observed.scales_on:
            on_it = f"a HorizontalPodAutoscaler scales the pods, on the utilisation of {resource}"
            why = SCALED_ON_UNKNOWN if is_unknown else on_it
            proposed = proposed.model_copy(update={name: now})
            reasons[name] = f"{label} stays {quantity(name, now)}: {why} (else {reasons[name]})"
    return proposal.model_copy(update={"proposed": proposed, "reasons": tuple(reasons.values())})


def _as_it_is(container: ObservedContainer) -> ContainerProposal:
    assert container.usage is not None
    return ContainerProposal(
        name=container.name,
        current=container.current,
        proposed=container.current,
        usage=container.usage,
        reasons=(),
    )


def _confidence(container: ObservedContainer, observed: Observed) -> float:
    """Half after one day, 0.93 after 14: c / (1 + c) with c = min(days of history, samples in days).

    It is the inverse of the factor by which Kubernetes' VerticalPodAutoscaler widens its upper bound,
    1 + 1/c, with c as it computes it (samples/1440 there, one a minute).
    """
    assert container.usage is not None
    c = min(container.history_seconds / 86400, container.usage.samples / observed.windows_per_day)
    return round(c / (1 + c), 4)
