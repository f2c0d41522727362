"""What a pod's init containers keep reserved for it; they end before the others begin, and are not sized.

Of CPU, and of memory, a node holds back for a pod what its containers and native sidecars ask for together,
or what one of its init containers asks for, if that is more
(https://kubernetes.io/docs/concepts/resource-management/effective-pod-requests-limits/). Sidecars that begin
before that one are held back beside it. Nothing tells in which order they begin: they are left out, so that
somewhat more may be reserved than is said here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from functions.recommender.bounds import REQUESTS, together
from shared.contracts.events import ContainerProposal, Resources
from shared.contracts.wording import LABELS, quantity


def held_at_least(init: Mapping[str, Resources], unmeasured: Iterable[Resources]) -> Resources | None:
    """The requests that are held back for a pod's measured containers together, however little these ask for:
    what an init container asks for beyond the `unmeasured` ones. None if nothing is.
    """
    others = list(unmeasured)
    held = {field: max(0, _most(init, field)[0] - together(others, field)) for field in REQUESTS.values()}
    return Resources(**held) if any(held.values()) else None


def told(
    proposals: tuple[ContainerProposal, ...], init: Mapping[str, Resources], unmeasured: Iterable[Resources]
) -> tuple[ContainerProposal, ...]:
    """The proposals, with a word to each request that is lowered where an init container asks for more than
    all containers together would.
    """
    held = held_at_least(init, unmeasured)
    if held is None:
        return proposals
    more = {}
    for field in REQUESTS.values():
        if getattr(held, field) > together((each.proposed for each in proposals), field):
            amount, name = _most(init, field)
            more[field] = f"init container {name} asks for {quantity(field, amount)}, which stays reserved"
    return tuple(_with(each, more) for each in proposals) if more else proposals


def _with(proposal: ContainerProposal, more: Mapping[str, str]) -> ContainerProposal:
    lowered = {
        field
        for field in more
        if (getattr(proposal.proposed, field) or 0) < (getattr(proposal.current, field) or 0)
    }
    reasons = (
        f"{why}; {more[field]}" if field in lowered else why
        for field, why in zip(LABELS, proposal.reasons, strict=True)
    )
    return proposal.model_copy(update={"reasons": tuple(reasons)})


def _most(init: Mapping[str, Resources], field: str) -> tuple[int, str]:
    """The highest request, and whose it is."""
    return max(((getattr(each, field) or 0, name) for name, each in init.items()), default=(0, ""))
