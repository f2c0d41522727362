"""What a cluster would admit and schedule: nothing is raised beyond it, or a rollout would wait for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from functions.recommender.bounds import NODE, POD_RANGE, QUOTA, REQUESTS
from functions.recommender.container import from_to
from functions.recommender.rules import WORTH_RAISING, Rules
from shared.contracts.events import ContainerProposal, Resources
from shared.contracts.quantities import MIB
from shared.contracts.wording import LABELS

_SAYS = {
    QUOTA: "a ResourceQuota of its namespace has no room for more in all of its pods",
    POD_RANGE: "a LimitRange of its namespace allows a pod no more",
    NODE: "no node has more to give to a pod",
}
_OF_CONTAINER = "a LimitRange of its namespace allows no more"


def within_limit_range(proposal: ContainerProposal, most: Resources) -> ContainerProposal:
    """The same, with no value raised beyond what LimitRanges let a container set.

    The most of a limit goes with the request: so far above it as that of the present request.
    """
    for name in LABELS:
        now, new = getattr(proposal.current, name), getattr(proposal.proposed, name)
        request = name.replace("limit", "request")
        highs = [high for high in (getattr(most, request),) if high is not None]
        before, after = getattr(proposal.current, request), getattr(proposal.proposed, request)
        if name != request and (by_ratio := getattr(most, name)) is not None and before and after:
            highs.append(by_ratio * after // before)
        if highs and new is not None and new > (kept := max(min(highs), now or 0)):
            proposal = _held(proposal, name, kept, _OF_CONTAINER)
    return proposal


def within_pod_bounds(
    proposals: Sequence[ContainerProposal],
    others: Sequence[Resources],
    bounds: Mapping[str, Resources],
    rules: Rules,
    *,
    guaranteed: bool,
) -> tuple[ContainerProposal, ...]:
    """The same, with no value raised so far that the pod's containers, `others` among them, would set more
    than each of `bounds` has (see Observed.pod_bounds). What is raised shares what there is.
    """
    held = list(proposals)
    for who, most in sorted(bounds.items()):
        for name in LABELS:
            highs = [getattr(most, each) for each in ((name, _twin(name)) if guaranteed else (name,))]
            if (high := min((each for each in highs if each is not None), default=None)) is None:
                continue
            raises = [_raise(each, name) for each in held]
            together = sum(getattr(each, name) or 0 for each in (*(one.proposed for one in held), *others))
            share = max(0.0, 1 - (together - high) / sum(raises)) if any(raises) else 1.0
            for index, (each, raised) in enumerate(zip(held, raises, strict=True)):
                if raised and share < 1:
                    held[index] = _held(each, name, _less(each, name, raised * share, rules), _SAYS[who])
    scaled = map(_limit_with_request, held, proposals)
    return tuple(_request_within_limit(each) for each in scaled)


def unmet(proposals: Sequence[ContainerProposal]) -> str | None:
    """Why none of these is changed, if that is because more would not be admitted."""
    said = (_OF_CONTAINER, *_SAYS.values())
    found = [
        why
        for why in said
        if any(f": {why} (else" in reason for each in proposals for reason in each.reasons)
    ]
    return f"what it needs would not be admitted: {'; '.join(found)}" if found else None


def _twin(name: str) -> str:
    """The limit of a request, or the request of a limit."""
    return name.replace("limit", "request") if "limit" in name else name.replace("request", "limit")


def _raise(proposal: ContainerProposal, name: str) -> int:
    now, new = getattr(proposal.current, name), getattr(proposal.proposed, name)
    # What is not set reserves nothing: all of it is more.
    return 0 if new is None else max(0, new - (now or 0))


def _less(proposal: ContainerProposal, name: str, more: float, rules: Rules) -> int | None:
    """The value with so much more at most; as it is, where so little more is not worth a change."""
    now: int | None = getattr(proposal.current, name)
    unit, worth = (1, rules.cpu_change_m) if name.startswith("cpu") else (MIB, rules.memory_change_bytes)
    target = int((now or 0) + more) // unit * unit
    least = max(worth, (now or 0) * rules.relative_change * WORTH_RAISING)
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
        limit, new = getattr(proposal.proposed, _twin(name)), getattr(proposal.proposed, name)
        if limit is not None and new is not None and new > limit:
            proposal = _held(proposal, name, limit, "not above its limit")
    return proposal


def _held(proposal: ContainerProposal, name: str, value: int | None, why: str) -> ContainerProposal:
    told = dict(zip(LABELS, proposal.reasons, strict=True))
    told[name] = f"{from_to(name, getattr(proposal.current, name), value)}: {why} (else {told[name]})"
    proposed = proposal.proposed.model_copy(update={name: value})
    return proposal.model_copy(update={"proposed": proposed, "reasons": tuple(told.values())})
