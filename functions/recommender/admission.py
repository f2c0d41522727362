"""What a cluster would admit and schedule: nothing beyond is proposed, or a rollout would wait for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil

from functions.recommender.bounds import NODE, POD_RANGE, QUOTA, REQUESTS, SHARED, counted, together, twin
from functions.recommender.container import from_to, is_worth
from functions.recommender.rules import WORTH_RAISING, Rules
from shared.contracts.events import ContainerProposal, Resources
from shared.contracts.quantities import MIB, MOST
from shared.contracts.wording import LABELS

_SAYS = {
    QUOTA: "a ResourceQuota of its namespace has no room for more in all of its pods and those that a rollout"
    " adds",
    SHARED: "a ResourceQuota of its namespace has no room for more beside what others of it are raised by",
    POD_RANGE: "a LimitRange of its namespace allows a pod no more",
    NODE: "no node has more to give to a pod, a tenth left for DaemonSets",
}
_OF_CONTAINER = "a LimitRange of its namespace allows no more"
_TOO_LITTLE = ", or too little to be worth a change"
_LEAST = "a LimitRange of its namespace wants no less of a pod"
_BESIDE_LIMIT = "a LimitRange of its namespace wants no less beside its limit"


@dataclass(frozen=True)
class Pod:
    """What is in a pod beside the containers that are sized, and what bounds all of it: see Observed.

    `others` were not measured. `sidecars` are the names of those that are sized, `other_sidecars` such of
    `others`: an init container is held back beside those that begin before it, which may be all of them.
    """

    guaranteed: bool = False
    others: tuple[Resources, ...] = ()
    init: tuple[Resources, ...] = ()
    sidecars: frozenset[str] = frozenset()
    other_sidecars: tuple[Resources, ...] = ()
    most: Mapping[str, Resources] = field(default_factory=dict)
    least: Resources = field(default_factory=Resources)
    ratios: Mapping[str, float] = field(default_factory=dict)

    def of_init(self, name: str) -> int:
        """The most that an init container sets."""
        return max((getattr(each, name) or 0 for each in self.init), default=0)

    def at_least(self, proposals: Iterable[ContainerProposal], name: str) -> int:
        """What counts of it, if all init containers begin before the sidecars."""
        return counted((*(each.proposed for each in proposals), *self.others), self.init, name)

    def at_most(self, proposals: Sequence[ContainerProposal], name: str) -> int:
        """What counts of it, if they begin after them."""
        init = self.of_init(name)
        beside = (each.proposed for each in proposals if each.name in self.sidecars)
        sidecars = together(beside, name) + together(self.other_sidecars, name) if init else 0
        return max(self.at_least(proposals, name), init + sidecars)


def within_limit_range(proposal: ContainerProposal, most: Resources) -> ContainerProposal:
    """The same, with no value raised beyond what LimitRanges let a container set.

    The most of a limit goes with the request: so far above it as that of the present request. A request is
    lowered no further than the limit beside it allows.
    """
    for request, limit in ((name, twin(name)) for name in REQUESTS.values()):
        if (high := getattr(most, request)) is not None:
            for name in (request, limit):
                now, new = getattr(proposal.current, name), getattr(proposal.proposed, name)
                if new is not None and new > (kept := max(high, now or 0)):
                    proposal = _held(proposal, name, kept, _OF_CONTAINER)
        by_ratio, before = getattr(most, limit), getattr(proposal.current, request)
        now, raised = getattr(proposal.current, limit), getattr(proposal.proposed, limit)
        if not by_ratio or not before or raised is None:
            continue
        wanted = min(before, _rounded(request, -(-raised * before // by_ratio)))
        if (getattr(proposal.proposed, request) or 0) < wanted:
            proposal = _held(proposal, request, wanted, _BESIDE_LIMIT)
        kept = max(by_ratio * (getattr(proposal.proposed, request) or 0) // before, now or 0)
        if raised > kept:
            proposal = _held(proposal, limit, kept, _OF_CONTAINER)
    return proposal


def within_pod_bounds(
    proposals: Sequence[ContainerProposal], pod: Pod, rules: Rules
) -> tuple[ContainerProposal, ...]:
    """The same, with no value raised so far that the pod would set more than it may at most. What is raised
    shares what there is.
    """
    held = list(proposals)
    for who, most in sorted(pod.most.items()):
        for name in LABELS:
            names = (name, twin(name)) if pod.guaranteed else (name,)
            highs = {each: high for each in names if (high := getattr(most, each)) is not None}
            share = partial(_with_share, name=name, why=_SAYS[who], rules=rules)
            held = _within(held, pod, name, highs, share)
    scaled = map(_limit_with_request, held, proposals)
    return tuple(_request_within_limit(each) for each in scaled)


def not_below_least(
    proposals: Sequence[ContainerProposal], pod: Pod, rules: Rules
) -> tuple[ContainerProposal, ...]:
    """The same, with no value lowered so far that the pod would set less than LimitRanges have it set at
    least, or too little beside its limits. What is lowered has an equal share in what is missing.
    """
    held = list(proposals)
    # Limits first: how much is to be requested goes by them.
    for name in (*map(twin, REQUESTS.values()), *REQUESTS.values()):
        # A limit that is raised with its request may want more beside it: then all stays as it is.
        for is_last in (False, True):
            least = _least(held, pod, name)
            lowered = sum(_lowered(each, name) for each in held)
            if pod.at_least(held, name) >= least or not lowered:
                break
            missing = least - together((each.proposed for each in held), name) - together(pod.others, name)
            share = 1.0 if is_last else min(1.0, missing / lowered)
            held = [_given_back(each, name, share, pod, rules) for each in held]
    return tuple(held)


def within_pod_ratios(
    proposals: Sequence[ContainerProposal], pod: Pod, rules: Rules
) -> tuple[ContainerProposal, ...]:
    """The same, with no limit raised further above what the pod requests than LimitRanges have it."""
    held = list(proposals)
    for request in REQUESTS.values():
        if ratio := pod.ratios.get(request.partition("_")[0]):
            limit, high = twin(request), int(ratio * pod.at_least(held, request))
            share = partial(_with_share, name=limit, why=_SAYS[POD_RANGE], rules=rules)
            held = _within(held, pod, limit, {limit: high}, share)
    return tuple(_request_within_limit(each) for each in held)


def refused(
    proposals: Sequence[ContainerProposal], bounds: Mapping[str, tuple[Resources, Resources]], pod: Pod
) -> str | None:
    """Why the API server would not admit a pod with these, if anything is known; `bounds` by container: see
    ObservedContainer.
    """
    for each in proposals:
        least, most = bounds[each.name]
        for request in REQUESTS.values():
            if (why := _refused_of_container(each, request, least, most)) is not None:
                return f"a LimitRange of its namespace {why}"
    reasons = (_refused_of_pod(proposals, name, pod) for name in LABELS)
    return next((why for why in reasons if why is not None), None)


def _refused_of_container(
    proposal: ContainerProposal, request: str, least: Resources, most: Resources
) -> str | None:
    asked, limit = getattr(proposal.proposed, request), getattr(proposal.proposed, twin(request)) or 0
    resource = _named(request)
    if asked is not None and asked < (getattr(least, request) or 0):
        return f"wants more {resource} of {proposal.name}"
    if (high := getattr(most, request)) is not None and max(asked or 0, limit) > high:
        return f"allows {proposal.name} less {resource}"
    by_ratio, before = getattr(most, twin(request)), getattr(proposal.current, request)
    if by_ratio and before and limit * before > by_ratio * (asked or 0):
        return f"wants more {resource} of {proposal.name} beside its limit"
    return None


def _refused_of_pod(proposals: Sequence[ContainerProposal], name: str, pod: Pod) -> str | None:
    its, limit_range = pod.at_least(proposals, name), "a LimitRange of its namespace"
    if 0 < its < (getattr(pod.least, name) or 0):
        return f"{limit_range} wants more {_named(name)} of a pod"
    for who, why in (
        (POD_RANGE, f"{limit_range} allows a pod less {_named(name)}"),
        (QUOTA, "a ResourceQuota of its namespace has no room for them beside the others"),
    ):
        if (high := getattr(pod.most.get(who), name, None)) is not None and its > high:
            return why
    ratio = pod.ratios.get(name.partition("_")[0])
    if ratio and name not in REQUESTS.values():
        requested = pod.at_least(proposals, twin(name))
        if requested and pod.at_most(proposals, name) > ratio * requested:
            return f"{limit_range} wants more {_named(name)} of a pod beside its limits"
    return None


def unmet(proposals: Sequence[ContainerProposal]) -> str | None:
    """Why none of these is changed, if that is because more, or less, would not be admitted."""
    reasons = [reason for each in proposals for reason in each.reasons]

    def found(said: Iterable[str]) -> str:
        told = (
            f"{why}{_TOO_LITTLE}" if any(f": {why}{_TOO_LITTLE}" in reason for reason in reasons) else why
            for why in said
            if any(f": {why}" in reason for reason in reasons)
        )
        return "; ".join(told)

    if more := found((_OF_CONTAINER, *_SAYS.values())):
        return f"what it needs would not be admitted: {more}"
    less = found((_LEAST, _BESIDE_LIMIT))
    return f"less would not be admitted: {less}" if less else None


def _within(
    proposals: Sequence[ContainerProposal],
    pod: Pod,
    name: str,
    highs: Mapping[str, int],
    held: Callable[[ContainerProposal, float], ContainerProposal],
) -> list[ContainerProposal]:
    """The same, each with an equal share of what it is raised by, where the pod may have `highs`: sidecars,
    beside which an init container is held back, and then all together. `held` leaves one its share.
    """
    found, every = list(proposals), range(len(proposals))
    sidecars = [index for index in every if found[index].name in pod.sidecars and pod.of_init(name)]
    for group, others, beside in ((sidecars, pod.other_sidecars, True), (every, pod.others, False)):
        high = min((high - beside * pod.of_init(each) for each, high in highs.items()), default=MOST)
        while raised := sum(_raise(found[index], name) for index in group):
            beyond = together((*others, *(found[index].proposed for index in group)), name) - high
            if beyond <= 0:
                break
            share = max(0.0, 1 - beyond / raised)
            shared = {index: held(found[index], share) for index in group}
            # What stays, for too little, leaves its share to the others.
            stay = [
                index for index in group if _raise(found[index], name) and not _raise(shared[index], name)
            ]
            for index in stay or group:
                found[index] = shared[index]
            if not stay:
                break
    return found


def _with_share(
    proposal: ContainerProposal, share: float, *, name: str, why: str, rules: Rules
) -> ContainerProposal:
    if not (raised := _raise(proposal, name)):
        return proposal
    value = _less(proposal, name, raised * share, rules)
    stays = share and value == getattr(proposal.current, name)
    return _held(proposal, name, value, f"{why}{_TOO_LITTLE}" if stays else why)


def _least(proposals: Sequence[ContainerProposal], pod: Pod, name: str) -> int:
    """What has to be set of it together."""
    least = getattr(pod.least, name) or 0
    ratio = pod.ratios.get(name.partition("_")[0])
    if not ratio or name not in REQUESTS.values():
        return least
    return max(least, ceil(pod.at_most(proposals, twin(name)) / ratio))


def _lowered(proposal: ContainerProposal, name: str) -> int:
    return max(0, (getattr(proposal.current, name) or 0) - (getattr(proposal.proposed, name) or 0))


def _given_back(
    proposal: ContainerProposal, name: str, share: float, pod: Pod, rules: Rules
) -> ContainerProposal:
    """The same, with this share of what it is lowered by; as it was, where the rest is not worth a change."""
    if not (lowered := _lowered(proposal, name)):
        return proposal
    now: int = getattr(proposal.current, name)
    value = min(now, _rounded(name, now - lowered + lowered * share))
    kept = value if is_worth(now, value, rules.relative_change, rules.least_change(name)) else now
    proposal, other = _held(proposal, name, kept, _LEAST), twin(name)
    limit = getattr(proposal.proposed, other)
    if pod.guaranteed:
        return _held(proposal, other, kept, _LEAST)
    if name in REQUESTS.values() and limit is not None:
        low = getattr(proposal.current, other) if kept == now else kept
        if limit < low:
            return _held(
                proposal, other, low, "as the request is" if kept == now else "not below its request"
            )
    return proposal


def _named(name: str) -> str:
    return LABELS[name].removesuffix(" limit").removesuffix(" request")


def _rounded(name: str, amount: float) -> int:
    """Up to what people write."""
    unit = _unit(name)
    return ceil(round(amount / unit, 6)) * unit


def _unit(name: str) -> int:
    return 1 if name.startswith("cpu") else MIB


def _raise(proposal: ContainerProposal, name: str) -> int:
    now, new = getattr(proposal.current, name), getattr(proposal.proposed, name)
    # What is not set reserves nothing: all of it is more.
    return 0 if new is None else max(0, new - (now or 0))


def _less(proposal: ContainerProposal, name: str, more: float, rules: Rules) -> int | None:
    """The value with so much more at most; as it is, where so little more is not worth a change."""
    now: int | None = getattr(proposal.current, name)
    unit = _unit(name)
    # A share's own error shall not become one step less.
    target = int(round((now or 0) + more, 3)) // unit * unit
    least = max(rules.least_change(name), (now or 0) * rules.relative_change * WORTH_RAISING)
    return target if target - (now or 0) > least else now


def _limit_with_request(proposal: ContainerProposal, wanted: ContainerProposal) -> ContainerProposal:
    """The same, with a CPU limit that is raised no further than its request, which is not raised as far as
    was wanted: else it would be raised again and again, for the sake of a request that stays.
    """
    now, limit = proposal.current.cpu_request_m, proposal.current.cpu_limit_m
    request, raised = proposal.proposed.cpu_request_m, proposal.proposed.cpu_limit_m
    if not now or limit is None or request is None or raised is None:
        return proposal
    most = max(limit, limit * request // now)
    if request == wanted.proposed.cpu_request_m or raised <= most:
        return proposal
    return _held(proposal, "cpu_limit_m", most, "it scales with the request")


def _request_within_limit(proposal: ContainerProposal) -> ContainerProposal:
    """The same, with no request above a limit that is not raised as far as was wanted."""
    for name in REQUESTS.values():
        limit, new = getattr(proposal.proposed, twin(name)), getattr(proposal.proposed, name)
        if limit is not None and new is not None and new > limit:
            proposal = _held(proposal, name, limit, "not above its limit")
    return proposal


def _held(proposal: ContainerProposal, name: str, value: int | None, why: str) -> ContainerProposal:
    told = dict(zip(LABELS, proposal.reasons, strict=True))
    told[name] = f"{from_to(name, getattr(proposal.current, name), value)}: {why} (else {told[name]})"
    proposed = proposal.proposed.model_copy(update={name: value})
    return proposal.model_copy(update={"proposed": proposed, "reasons": tuple(told.values())})
