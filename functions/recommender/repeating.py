"""Whether a proposal is worth making again, given what became of the workload's former ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from functions.recommender.container import is_worth, raises
from functions.recommender.rules import Rules
from shared.contracts.documents import Recommendation
from shared.contracts.events import ContainerProposal, FailureReason, Resources
from shared.contracts.states import State
from shared.contracts.wording import LABELS

IN_FLIGHT = (State.CREATED, State.APPROVED)
ON_ITS_WAY = (State.PR_OPEN, State.MERGED)
REFUSED = (State.FAILED, State.CLOSED, State.ADVISORY, State.REGRESSED)
# Ends that say nothing against the proposal: nobody looked in time, or it came too late for its pull request.
UNJUDGED = (FailureReason.EXPIRED, FailureReason.MISSED_MERGE)
# Within it a scrape, and a rollout, may not show yet what was applied.
SETTLING = timedelta(hours=1)
# Use differs by the day of the week: what was sized on one of them is lowered on that day again, at the
# earliest. It is how often the walk-forward test changes anything (docs/accuracy.md).
RESTING = timedelta(days=7)


def why_not_again(
    containers: Sequence[ContainerProposal],
    content_hash: str,
    story: Sequence[Recommendation],
    *,
    policies: Mapping[str, int],
    at: datetime,
    rules: Rules,
) -> str | None:
    """The reason not to propose this now; None if there is none.

    `story` is the workload's recommendations, newest first; `policies` the active versions by name.
    """
    if (on_its_way := _on_its_way(containers, story, rules)) is not None:
        return on_its_way
    last = _last_same(containers, content_hash, story, rules)
    reason = None if last is None else _refused(last, policies) or _settles(last, at)
    return reason or _rests(containers, story, at, rules)


def is_refused(
    containers: Sequence[ContainerProposal],
    content_hash: str,
    story: Sequence[Recommendation],
    *,
    policies: Mapping[str, int],
    rules: Rules,
) -> bool:
    """Whether nothing will come of it, for the same was refused before, and nothing like it is on its way."""
    last = _last_same(containers, content_hash, story, rules)
    return (
        last is not None
        and _refused(last, policies) is not None
        and _on_its_way(containers, story, rules) is None
    )


def _on_its_way(
    containers: Sequence[ContainerProposal], story: Sequence[Recommendation], rules: Rules
) -> str | None:
    for former in story:
        if former.state in IN_FLIGHT:
            return f"a proposal of {former.scanned_at:%Y-%m-%d %H:%M} UTC is in flight ({former.state})"
        if former.state in ON_ITS_WAY and _are_near(containers, former, rules):
            return f"{_pull_request(former)} holds these values ({former.state})"
    return None


def _last_same(
    containers: Sequence[ContainerProposal],
    content_hash: str,
    story: Sequence[Recommendation],
    rules: Rules,
) -> Recommendation | None:
    """The last one, if it was the same proposal for the same setting."""
    last = next((former for former in story if former.state is not State.SUPERSEDED), None)
    return last if last is not None and _is_same(containers, content_hash, last, rules) else None


def _refused(last: Recommendation, policies: Mapping[str, int]) -> str | None:
    if last.state is State.VIOLATED and _judged_by(last, policies):
        return f"the same was denied by policy, which has not changed: {last.message}"
    if last.state in REFUSED and last.reason not in UNJUDGED:
        why = last.message or last.reason or "no reason given"
        return f"the same was proposed before and is {last.state}: {why}"
    return None


def _settles(last: Recommendation, at: datetime) -> str | None:
    moved = last.moved_at(State.APPLIED)
    if last.state in {State.APPLIED, State.VERIFIED} and moved is not None and at - moved < SETTLING:
        return "the same was applied within the hour, and metrics do not show it yet"
    return None


def _rests(
    containers: Sequence[ContainerProposal], story: Sequence[Recommendation], at: datetime, rules: Rules
) -> str | None:
    """What is only lowered need not be so each day: it is what a change within the week made it, and that was
    no step which a policy made smaller. What is not in Git stays as it is, whatever is proposed for it.
    """
    last = next((former for former in story if former.state in {State.APPLIED, State.VERIFIED}), None)
    moved = None if last is None else last.moved_at(State.APPLIED)
    if last is None or moved is None or at - moved >= RESTING:
        return None
    those, proposed = _in_git(containers, last), _in_git(last.proposal.containers, last)
    set_now = [each.model_copy(update={"proposed": each.current}) for each in those]
    if raises(those) or not _near(set_now, proposed, rules):
        return None
    return f"it was changed on {moved:%Y-%m-%d}, and is only lowered again after a week of use"


def _is_same(
    containers: Sequence[ContainerProposal], content_hash: str, former: Recommendation, rules: Rules
) -> bool:
    """The same proposal for the same setting, whatever a policy made of it later."""
    if former.content_hash == content_hash:
        return True
    set_before = {each.name: each.current for each in former.proposal.containers}
    set_now = {each.name: each.current for each in containers}
    return set_before == set_now and _near(containers, former.proposal.containers, rules)


def _are_near(containers: Sequence[ContainerProposal], former: Recommendation, rules: Rules) -> bool:
    """Whether its pull request holds these values, or what policy let through of them.

    It cannot hold those of a container that is not in Git.
    """
    those, proposed = _in_git(containers, former), _in_git(former.proposal.containers, former)
    return _near(those, former.containers, rules) or _near(those, proposed, rules)


def _in_git(containers: Iterable[ContainerProposal], former: Recommendation) -> list[ContainerProposal]:
    return [each for each in containers if each.name not in former.not_in_git]


def _near(containers: Sequence[ContainerProposal], others: Sequence[ContainerProposal], rules: Rules) -> bool:
    proposed = {each.name: each.proposed for each in others}
    return set(proposed) == {each.name for each in containers} and all(
        _is_near(each.proposed, proposed[each.name], rules) for each in containers
    )


def _is_near(one: Resources, other: Resources, rules: Rules) -> bool:
    for name in LABELS:
        a, b = getattr(one, name), getattr(other, name)
        if (a is None) != (b is None):
            return False
        if a is not None and is_worth(b, a, rules.relative_change, rules.least_change(name)):
            return False
    return True


def _judged_by(former: Recommendation, policies: Mapping[str, int]) -> bool:
    """Whether those that judged are still active in those versions.

    A policy that came since does not matter: the most restrictive verdict wins, so it cannot allow what
    another denies.
    """
    return all(policies.get(name) == version for name, version in former.policies.items())


def _pull_request(former: Recommendation) -> str:
    request = former.pull_request
    return "a change" if request is None else f"pull request #{request.number} of {request.repository}"
