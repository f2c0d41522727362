"""Brings one group's pull request in line with its recommendations, whatever delivery asks for it.

Every step outside is repeated without harm: a commit of the same members on the same head is the same commit,
a branch moves only forward from the head that was read, an open pull request is found before one is opened.
Killed between any two steps, the next delivery sees what is there and goes on. What the event is itself about
is advanced last: as long as it is not, a redelivery does everything again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from functions.gitops.body import body_of, marker_of, title_of
from functions.gitops.branch import (
    View,
    beside_base,
    documents_in,
    look,
    members_of,
    open_pull,
    person_on,
    push,
)
from functions.gitops.grouping import Group, target_of
from functions.gitops.layers import NotLocated
from functions.gitops.message import Held
from functions.gitops.planning import Edits, Rejected, WorkloadChange, plan_edits
from functions.gitops.rendering import Render
from shared.contracts.decision import Decision
from shared.contracts.documents import Change, PullRequest, Recommendation
from shared.contracts.errors import Moved, Refused
from shared.contracts.events import ChangeFailed, FailureReason, Outcome, PullRequestCreated
from shared.contracts.git_host import GitHost, MergeOutcome, Pull, PullState
from shared.contracts.pricing import saving_of
from shared.contracts.states import State

if TYPE_CHECKING:
    from shared.adapters.mongo import Changes
    from shared.contracts.envelope import Event
    from shared.runtime.ledger import Ledger

log = logging.getLogger(__name__)

# A race is lost to somebody who made progress; so many in a row and KafkaSource shall wait a little.
ATTEMPTS = 8
LABEL = "kubefinops"
APPROVAL_LABEL = "needs-approval"
MESSAGE_LENGTH = 2000  # an event stays small


@dataclass(frozen=True)
class Members:
    """The group's recommendations as they are: `merged` are on their way to the cluster."""

    approved: tuple[Recommendation, ...]
    open: tuple[Recommendation, ...]
    merged: tuple[Recommendation, ...]


@dataclass(frozen=True)
class Task:
    """What one delivery wants of one group.

    `own` are the recommendations that it may end: without a manifest, refused. `members` reads the group's
    documents anew, without what is paused and not in a pull request yet. `paused` tells whether merging is
    stopped by now for one of those given. `find` reads one document, whatever group it is of.
    """

    group: Group
    event: Event
    own: Collection[str]
    members: Callable[[], Members]
    paused: Callable[[Sequence[Recommendation]], bool]
    find: Callable[[str], Recommendation | None]


class Reconciler:
    def __init__(
        self, ledger: Ledger, changes: Changes, git_host: GitHost, render: Render, *, auto_merge: bool
    ) -> None:
        self._ledger = ledger
        self._changes = changes
        self._host = git_host
        self._render = render
        self._auto_merge = auto_merge

    def reconcile(self, task: Task) -> None:
        """Raises Temporary; Moved among it, if others were faster every time."""
        for _ in range(ATTEMPTS):
            try:
                self._once(task)
            except Moved as moved:
                log.info("again: %s", moved, extra={"group": task.group.name})
                continue
            except Refused as refused:
                self._end_own(task, State.FAILED, Rejected(FailureReason.REFUSED, str(refused)))
            except NotLocated as error:
                self._end_own(task, State.ADVISORY, Rejected(FailureReason.NOT_LOCATED, str(error)))
            return
        raise Moved(f"group {task.group.name}: something moved {ATTEMPTS} times while it was looked at")

    def merge(self, change: Change, pull: Pull) -> None:
        """Has the host merge an open pull request that holds what we put there, where settings permit it."""
        if not self._auto_merge or change.awaits_approval or pull.auto_merge or pull.head != change.head:
            return
        try:
            outcome = self._host.merge(change.repository, change.number, change.head)
        except Refused as refused:
            log.warning("not merged: %s", refused, extra={"pull_request": change.url})
            return
        if outcome is MergeOutcome.BLOCKED:
            log.warning("the host will not merge it by itself", extra={"pull_request": change.url})

    def hold_back(self, pull: Pull) -> None:
        """Takes back what the host was to merge by itself, whoever asked for it.

        A host that refuses says nothing about the recommendations: it may have merged it a moment ago. The
        next event tries again, if it is still open.
        """
        if not pull.auto_merge:
            return
        log.info("paused: the host shall not merge it by itself", extra={"pull_request": pull.url})
        try:
            self._host.disable_auto_merge(pull.repository, pull.number)
        except Refused as refused:
            log.warning("not taken back: %s", refused, extra={"pull_request": pull.url})

    def _once(self, task: Task) -> None:
        branch = look(self._host, task.group)
        members = task.members()
        if branch.last_ended is not None and self._adopt(task, branch.last_ended, members):
            members = task.members()
        pull = branch.open_pull
        in_flight = {one.workload for one in members.merged}
        approved = [one for one in members.approved if one.workload not in in_flight]
        opened = [one for one in members.open if pull is not None and _number(one) == pull.number]
        if pull is not None and pull.auto_merge:
            # By the branch too: a member whose push was not recorded is approved, and missing here if paused.
            held_by_it = [*opened, *documents_in(self._host, pull, opened, task.find)]
            if task.paused(held_by_it):
                self.hold_back(pull)
        if not approved and not opened:
            return
        view = beside_base(self._host, branch)
        edits, held = self._plan(task, view, approved, opened)
        for one in approved:
            if one.id in edits.rejected and one.id in task.own:
                self._end(task, one, State.ADVISORY, edits.rejected[one.id])
        if not held or not (pull or any(one.state is State.APPROVED for one in held)):
            return
        person = person_on(self._host, view)
        if person is not None:
            said = (
                f"{person.author} committed {person.sha[:10]} to {task.group.branch}: merge or close it first"
            )
            self._end_own(task, State.ADVISORY, Rejected(FailureReason.EDITED_BY_PERSON, said))
            return
        self._propose(task, view, edits, held, superseded=[one for one in opened if one not in held])

    def _adopt(self, task: Task, ended: Pull, members: Members) -> bool:
        """Members in the head of a pull request that ended before they were advanced: they were in it."""
        if not members.approved:
            return False
        held = members_of(self._host, ended)
        adopted = [one for one in members.approved if one.id in held]
        if adopted:
            change = self._change(task, ended, held, awaits_approval=any(map(_awaits, adopted)))
            if self._changes.find(change.id) is None:
                self._changes.put(change, None)
            # The open ones too: a crash may have left an event of theirs unsent.
            self._advance(task, [*adopted, *(one for one in members.open if one.id in held)], ended, held)
        return bool(adopted)

    def _plan(
        self,
        task: Task,
        view: View,
        approved: Sequence[Recommendation],
        opened: Sequence[Recommendation],
    ) -> tuple[Edits, list[Recommendation]]:
        """The edits over the base as it is now, and the recommendations whose values they are, without
        the containers that the base does not have.

        The newer recommendation of a workload takes the place of the older, unless it cannot be written.
        """
        files = self._host.files(task.group.repository, view.base_head)
        by_workload = {one.workload: one for one in (*opened, *approved)}
        plan = partial(plan_edits, files, task.group.path, render=self._render)
        edits = plan([_workload_change(one) for one in by_workload.values()])
        older = [one for one in opened if one.id != by_workload[one.workload].id]
        instead = [one for one in older if by_workload[one.workload].id in edits.rejected]
        if instead:
            rejected = edits.rejected
            by_workload |= {one.workload: one for one in instead}
            edits = plan([_workload_change(one) for one in by_workload.values()])
            edits.rejected |= rejected
        accepted = [one for one in by_workload.values() if one.id in edits.accepted]
        return edits, [
            one.model_copy(update=_left_alone(one, edits.not_in_git.get(one.id, ()))) for one in accepted
        ]

    def _propose(
        self,
        task: Task,
        view: View,
        edits: Edits,
        held: Sequence[Recommendation],
        superseded: Sequence[Recommendation],
    ) -> None:
        # Before anything is superseded for it, and after all that takes long: the next look leaves it out.
        if task.paused([one for one in held if one.state is State.APPROVED]):
            raise Moved("a pause has begun for what was about to be pushed")
        awaits_approval = any(map(_awaits, held))
        pull = view.open_pull
        if pull is not None and pull.auto_merge and awaits_approval:
            # Before the branch holds what a person must see.
            self._disarm(pull)
        for one in superseded:
            self._supersede(task, one, held)
        members: dict[str, Held] = {one.id: Held(edits.accepted[one.id], one.not_in_git) for one in held}
        head = push(
            self._host,
            view,
            files=edits.files,
            members=members,
            title=title_of(task.group.application, held),
            at=_decided_at(held),
        )
        pull = self._ensure_pull(task, view, held, awaits_approval=awaits_approval)
        change = self._change(task, pull, members, head=head, awaits_approval=awaits_approval)
        self._record(change)
        if not task.paused(held):
            self.merge(change, _at(pull, head))
        self._advance(task, held, _at(pull, head), members)

    def _disarm(self, pull: Pull) -> None:
        """Raises Refused; Moved if the host refused because there is nothing left to take back."""
        try:
            self._host.disable_auto_merge(pull.repository, pull.number)
        except Refused as refused:
            now = self._host.pull_request(pull.repository, pull.number)
            if now.state is PullState.OPEN and now.auto_merge:
                raise
            raise Moved(f"{pull.url} was merged, closed or disarmed meanwhile: {refused}") from None

    def _supersede(self, task: Task, older: Recommendation, held: Sequence[Recommendation]) -> None:
        newer = next((one for one in held if one.workload == older.workload), None)
        if newer is None:
            return
        facts: dict[str, object] = {"reason": "superseded", "message": f"by recommendation {newer.id}"}
        moved = self._ledger.settle(
            older.id, task.event, {State.PR_OPEN}, lambda _: Decision(State.SUPERSEDED, facts=facts)
        )
        if moved is None or moved.state is not State.SUPERSEDED:
            raise Moved(f"recommendation {older.id} was merged or closed meanwhile")

    def _ensure_pull(
        self, task: Task, view: View, held: Sequence[Recommendation], *, awaits_approval: bool
    ) -> Pull:
        """The open pull request of the branch, saying what it holds."""
        group = task.group
        title, body = title_of(group.application, held), body_of(group.application, held)
        # Anew, and after the push: one that was merged a moment ago does not have what was just pushed.
        pulls = self._host.pull_requests(group.repository, group.branch)
        pull = open_pull(pulls, view.base)
        if pull is None:
            if view.has_other(pulls):
                raise Moved(f"a pull request of {group.branch} has ended: what it had is not proposed again")
            pull = self._host.open_pull_request(
                group.repository, branch=group.branch, base=view.base, title=title, body=body
            )
        # The marker, not the text: what a person adds to the body stays until the content changes.
        if pull.title != title or marker_of(sorted_by_subject(held)) not in pull.body:
            self._host.edit_pull_request(group.repository, pull.number, title=title, body=body)
        labels = [LABEL, APPROVAL_LABEL] if awaits_approval else [LABEL]
        if not set(labels) <= set(pull.labels):
            with suppress(Refused):  # a token that may open pull requests need not be one that may label
                self._host.label_pull_request(group.repository, pull.number, labels)
        return pull

    def _change(
        self,
        task: Task,
        pull: Pull,
        members: Collection[str],
        *,
        head: str | None = None,
        awaits_approval: bool,
    ) -> Change:
        return Change.model_validate(
            {
                "id": f"{pull.repository}#{pull.number}",
                "cluster": task.group.cluster,
                "group": task.group.name,
                "application": task.group.application,
                "repository": pull.repository,
                "number": pull.number,
                "url": pull.url,
                "base": pull.base,
                "branch": pull.branch,
                "head": head or pull.head,
                "members": sorted(members),
                "state": pull.state.value,
                "awaits_approval": awaits_approval,
                "merge_commit": pull.merge_commit,
                "opened_at": pull.opened_at,
                "ended_at": pull.ended_at,
            }
        )

    def _record(self, change: Change) -> None:
        there = self._changes.open_of(change.group)
        if there is not None and there.id != change.id:
            # Its pull request has ended, or goes to a base that the Application follows no more.
            old = self._host.pull_request(there.repository, there.number)
            state = PullState.CLOSED if old.state is PullState.OPEN else old.state
            self._changes.end(there.id, state.value, old.ended_at or change.opened_at, old.merge_commit)
            there = None
        if there is None:
            known = self._changes.find(change.id)
            if known is None:
                self._changes.put(change, None)
            elif known.state != PullState.OPEN.value:
                log.warning("a person opened it again: its record stays %s", known.state)
            return
        if change != there:
            self._changes.put(change, there.head)

    def _advance(
        self,
        task: Task,
        members: Sequence[Recommendation],
        pull: Pull,
        held: Mapping[str, Held],
    ) -> None:
        """Moves the approved to pr_open, the event's own last, and publishes what a crash left unsent."""
        mine = [
            one
            for one in members
            if one.state is State.APPROVED or one.entry_caused_by(task.event.id) is not None
        ]
        for one in sorted(mine, key=lambda one: one.id in task.own):
            decide = partial(_opened, group=task.group, pull=pull, held=held[one.id])
            moved = self._ledger.settle(one.id, task.event, {State.APPROVED}, decide)
            if moved is None or moved.pull_request is None:
                raise Moved(f"recommendation {one.id} ended while its values were pushed")

    def _end_own(self, task: Task, state: State, why: Rejected) -> None:
        for one in task.members().approved:
            if one.id in task.own:
                self._end(task, one, state, why)

    def _end(self, task: Task, recommendation: Recommendation, state: State, why: Rejected) -> None:
        self._ledger.settle(
            recommendation.id, task.event, {State.APPROVED}, partial(ended, state=state, why=why)
        )


def ended(recommendation: Recommendation, *, state: State, why: Rejected) -> Decision:
    """The end of a recommendation that does not become a pull request, or not in the one it was for."""
    message = why.message[:MESSAGE_LENGTH]
    payload = ChangeFailed(
        recommendation_id=recommendation.id,
        workload=recommendation.workload,
        reason=why.reason,
        message=message,
        url=recommendation.pull_request.url if recommendation.pull_request else None,
    )
    return Decision(state, payload, {"reason": why.reason, "message": message})


def sorted_by_subject(members: Sequence[Recommendation]) -> list[Recommendation]:
    return sorted(members, key=lambda one: one.workload.subject)


def _left_alone(recommendation: Recommendation, not_in_git: tuple[str, ...]) -> dict[str, object]:
    """The fields of a recommendation that differ where some of its containers are not in Git.

    What is told of the pull request, looked for in the cluster and counted as saved is of the others alone.
    """
    if not not_in_git:
        return {}
    containers = tuple(one for one in recommendation.containers if one.name not in not_in_git)
    return {
        "containers": containers,
        "not_in_git": not_in_git,
        "monthly_saving": saving_of(containers, recommendation.proposal),
    }


def _opened(recommendation: Recommendation, *, group: Group, pull: Pull, held: Held) -> Decision:
    awaits_approval = _awaits(recommendation)
    payload = PullRequestCreated(
        recommendation_id=recommendation.id,
        workload=recommendation.workload,
        group=group.application,
        repository=pull.repository,
        base=pull.base,
        branch=pull.branch,
        commit=pull.head,
        number=pull.number,
        url=pull.url,
        files=held.files,
        awaits_approval=awaits_approval,
        not_in_git=held.not_in_git,
    )
    where = PullRequest(
        repository=pull.repository,
        number=pull.number,
        url=pull.url,
        base=pull.base,
        branch=pull.branch,
        commit=pull.head,
        awaits_approval=awaits_approval,
    )
    facts: dict[str, object] = {"application": group.application, "pull_request": where}
    return Decision(State.PR_OPEN, payload, facts | _left_alone(recommendation, held.not_in_git))


def _workload_change(recommendation: Recommendation) -> WorkloadChange:
    return WorkloadChange(
        recommendation.id,
        target_of(recommendation.workload),
        recommendation.containers,
        is_open=recommendation.state is State.PR_OPEN,
    )


def _decided_at(held: Sequence[Recommendation]) -> datetime:
    """When the newest of them was approved: the date of the commit.

    Not the delivery's time: whatever delivery asks for the same content makes the same commit, and what a
    webhook tells of may bear any time, such as one that a committer chose.
    """
    return max(one.moved_at(State.APPROVED) or one.scanned_at for one in held)


def _at(pull: Pull, head: str) -> Pull:
    """The pull request at the head that was just pushed; the host may tell of it a moment later."""
    return replace(pull, head=head)


def _awaits(recommendation: Recommendation) -> bool:
    return recommendation.outcome is Outcome.REQUIRE_APPROVAL


def _number(recommendation: Recommendation) -> int | None:
    return None if recommendation.pull_request is None else recommendation.pull_request.number
