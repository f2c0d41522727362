"""Turns approved recommendations into pull requests, one for each Argo CD Application, and keeps them so."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from functions.gitops.branch import documents_in
from functions.gitops.grouping import group_of, ignored_by, is_paused, owners, target_of
from functions.gitops.layers import NotLocated, Target
from functions.gitops.planning import Rejected
from functions.gitops.reconciling import Members, Reconciler, Task, ended
from functions.gitops.rendering import Render
from shared.contracts.documents import Change, Recommendation
from shared.contracts.errors import Refused
from shared.contracts.events import FailureReason, RecommendationApproved, ReconcileRequested
from shared.contracts.git_host import Pull, PullState
from shared.contracts.states import State
from shared.runtime.isolation import Isolation
from shared.runtime.ledger import Ledger

if TYPE_CHECKING:
    from shared.adapters.mongo import Changes, Policies, Recommendations
    from shared.contracts.argocd import Application, ArgoCD
    from shared.contracts.envelope import Event
    from shared.contracts.git_host import GitHost

log = logging.getLogger(__name__)

GROUPED = (State.APPROVED, State.PR_OPEN, State.MERGED)


@dataclass(frozen=True)
class Surroundings:
    """What holds while one event is handled."""

    cluster: str
    owners: dict[Target, Application]


class GitOpsHandler:
    """`pause` stops new pull requests and merges everywhere; a policy's does where the policy applies.

    A merge that was left to the host is taken back by the first event that finds it paused, whoever asked for
    it. The first event that no longer does asks again for those that settings and policies leave to us; one
    that only a person had asked for stays taken back.

    The policies are read anew with a group's documents, before its branch is written, and before its merge is
    asked for. A pause that is stored in between holds from the next of these on.
    """

    def __init__(
        self,
        ledger: Ledger,
        recommendations: Recommendations,
        changes: Changes,
        policies: Policies,
        *,
        git_host: GitHost,
        argocd: ArgoCD,
        render: Render,
        auto_merge: bool,
        pause: bool,
    ) -> None:
        self._ledger = ledger
        self._recommendations = recommendations
        self._changes = changes
        self._policies = policies
        self._host = git_host
        self._argocd = argocd
        self._pause = pause
        self._reconciler = Reconciler(ledger, changes, git_host, render, auto_merge=auto_merge)

    def handle(self, event: Event) -> None:
        """Raises Temporary."""
        isolation = Isolation()
        if isinstance(event.data, RecommendationApproved):
            self._approved(event.data.recommendation_id, event, isolation)
        else:
            wish = event.data
            assert isinstance(wish, ReconcileRequested)
            self._reconcile(wish, event, isolation)
            if isolation.failed and wish.reason != "schedule":
                # While it comes again, the ticks wait behind it: so it does what they would do.
                everything = ReconcileRequested(cluster=wish.cluster, reason="schedule")
                self._reconcile(everything, event, isolation)
        isolation.raise_first()

    def _approved(self, recommendation_id: str, event: Event, isolation: Isolation) -> None:
        recommendation = self._recommendations.find(recommendation_id)
        if recommendation is None or recommendation.state is not State.APPROVED:
            self._ledger.settle(recommendation_id, event, {State.APPROVED}, lambda _: None)
        else:
            self._of_groups([recommendation], event, recommendation.workload.cluster, isolation)

    def _reconcile(self, wish: ReconcileRequested, event: Event, isolation: Isolation) -> None:
        approved = self._recommendations.in_states(wish.cluster, {State.APPROVED})
        looked_at: set[str] = set()
        # An Argo CD that is down keeps from new pull requests, not from tending those that there are.
        isolation.each(
            [approved],
            lambda those: looked_at.update(
                self._of_groups(those, event, wish.cluster, isolation, meant=partial(_is_meant, wish=wish))
            ),
        )
        if wish.reason == "argocd":
            return
        opened = self._recommendations.in_states(wish.cluster, {State.PR_OPEN})
        by_pull: dict[tuple[str, int], list[Recommendation]] = {}
        changes = self._changes.in_state(wish.cluster, "open")
        for change in changes:
            by_pull[change.repository, change.number] = []
        for one in opened:
            if one.pull_request is not None:
                place = one.pull_request.repository, one.pull_request.number
                by_pull.setdefault(place, []).append(one)
        of_pull = {(change.repository, change.number): change for change in changes}

        def tend(place: tuple[str, int]) -> None:
            found = of_pull.get(place)
            asked = _names(wish, place[0]) and wish.pull_request in (None, place[1])
            if asked and (found is None or found.application not in looked_at):
                self._tend(*place, found, by_pull[place], event)

        isolation.each(by_pull, tend)

    def _of_groups(
        self,
        approved: Iterable[Recommendation],
        event: Event,
        cluster: str,
        isolation: Isolation,
        *,
        meant: Callable[[str, str], bool] = lambda _application, _repository: True,
    ) -> set[str]:
        """Reconciles the groups of approved recommendations; returns the Applications looked at.

        Args:
            approved: what the event asks for; it may end them.
            event: the cause of whatever follows.
            cluster: theirs.
            isolation: of one Application from another.
            meant: whether a group is, by its Application's name and its repository.
        """
        approved = list(approved)
        if not approved or self._pause:
            return set()
        around = Surroundings(cluster, owners(self._argocd.applications()))
        policies = self._policies.active()
        own: dict[str, set[str]] = {}
        applications: dict[str, Application] = {}
        for one in approved:
            application = around.owners.get(target_of(one.workload))
            if is_paused(policies, one.workload):
                log.info("paused", extra={"recommendation": one.id})
            elif application is None:
                said = "no single Argo CD Application manages it: there is no manifest to change"
                self._advise(one, event, FailureReason.NOT_LOCATED, said)
            elif ignored := ignored_by(application, one.workload):
                self._advise(one, event, FailureReason.MANAGED_ELSEWHERE, f"managed-elsewhere: {ignored}")
            else:
                own.setdefault(application.qualified_name, set()).add(one.id)
                applications[application.qualified_name] = application
        isolation.each(own, lambda name: self._of_group(applications[name], own[name], event, around, meant))
        return set(own)

    def _of_group(
        self,
        application: Application,
        own: set[str],
        event: Event,
        around: Surroundings,
        meant: Callable[[str, str], bool],
    ) -> None:
        try:
            group = group_of(around.cluster, application)
        except NotLocated as error:
            for one in self._members(application, around).approved:
                if one.id in own:
                    self._advise(one, event, FailureReason.NOT_LOCATED, str(error))
            return
        if meant(application.name, group.repository):
            self._reconciler.reconcile(
                Task(
                    group,
                    event,
                    own,
                    partial(self._members, application, around),
                    self._is_paused,
                    self._recommendations.find,
                )
            )

    def _members(self, application: Application, around: Surroundings) -> Members:
        """The group's, as they are now; without those approved that are paused now."""
        policies = self._policies.active()
        by_state: dict[State, list[Recommendation]] = {state: [] for state in GROUPED}
        for one in self._recommendations.in_states(around.cluster, GROUPED):
            if one.state is State.APPROVED:
                belongs = (
                    around.owners.get(target_of(one.workload)) is application
                    and not is_paused(policies, one.workload)
                    and ignored_by(application, one.workload) is None
                )
            else:
                belongs = one.application == application.qualified_name
            if belongs:
                by_state[one.state].append(one)
        return Members(*(tuple(by_state[state]) for state in GROUPED))

    def _tend(
        self,
        repository: str,
        number: int,
        change: Change | None,
        members: list[Recommendation],
        event: Event,
    ) -> None:
        """Looks after a pull request whose group has nothing new: merge, heal, close or give up."""
        try:
            pull = self._host.pull_request(repository, number)
            if pull.state is PullState.MERGED:
                self._give_up_what_came_late(pull, members, event)
            elif pull.state is PullState.OPEN:
                self._tend_open(pull, change, members, event)
        except Refused as refused:
            log.warning("%s#%d: %s", repository, number, refused)

    def _tend_open(
        self, pull: Pull, change: Change | None, members: list[Recommendation], event: Event
    ) -> None:
        known = self._known(change, members)
        held = known
        if change is None or pull.head != change.head:
            # A crash may have kept from the records what was pushed: by then only the branch tells of it.
            held = known + documents_in(self._host, pull, known, self._recommendations.find)
        if self._is_paused(held):
            self._reconciler.hold_back(pull)
            return
        if change is None:
            return
        # What a crash kept from becoming a member is what it is for as well.
        if not any(one.state in (State.APPROVED, State.PR_OPEN) for one in held):
            log.info("nothing is left in it", extra={"pull_request": pull.url})
            self._host.close_pull_request(change.repository, change.number)
            return
        if pull.mergeable is False:
            applications = owners(self._argocd.applications())
            around = Surroundings(change.cluster, applications)
            named = (one for one in applications.values() if one.qualified_name == change.application)
            application = next(named, None)
            if application is not None:
                self._of_group(application, set(), event, around, lambda _application, _repository: True)
        elif members:
            self._reconciler.merge(change, pull)

    def _is_paused(self, members: Iterable[Recommendation]) -> bool:
        """Whether merging is stopped for one of them, as the policies are now."""
        policies = self._policies.active()
        return self._pause or any(is_paused(policies, one.workload) for one in members)

    def _known(self, change: Change | None, members: list[Recommendation]) -> list[Recommendation]:
        """What the pull request is for, by the documents: its members, and those that are to become such."""
        known = {one.id for one in members}
        others = () if change is None else (one for one in change.members if one not in known)
        found = (self._recommendations.find(one) for one in others)
        return [
            *members,
            *(one for one in found if one is not None and one.state in (State.APPROVED, State.PR_OPEN)),
        ]

    def _give_up_what_came_late(self, pull: Pull, members: list[Recommendation], event: Event) -> None:
        """What was pushed in the moment of the merge is in no pull request; the next scan proposes it.

        It is not put into another one: its one `gitops.pr.created` has told of this one.
        """
        for one in members:
            where = one.pull_request
            if where is None or self._contains(pull, where.commit):
                continue
            said = "the pull request was merged before these values reached it; the next scan proposes them"
            decide = partial(ended, state=State.CLOSED, why=Rejected(FailureReason.MISSED_MERGE, said))
            self._ledger.settle(one.id, event, {State.PR_OPEN}, decide)

    def _contains(self, pull: Pull, commit: str) -> bool:
        return commit == pull.head or self._host.compare(pull.repository, commit, pull.head).contains_base

    def _advise(self, one: Recommendation, event: Event, reason: FailureReason, said: str) -> None:
        decide = partial(ended, state=State.ADVISORY, why=Rejected(reason, said))
        self._ledger.settle(one.id, event, {State.APPROVED}, decide)


def _is_meant(application: str, repository: str, *, wish: ReconcileRequested) -> bool:
    """Whether the wish's hint, if it has one, names the Application or its repository."""
    return wish.application in (None, application) and _names(wish, repository)


def _names(wish: ReconcileRequested, repository: str) -> bool:
    """Whether the wish's hint, if it has one, is the repository: a clone URL may write it in other case."""
    return wish.repository is None or wish.repository.lower() == repository.lower()
