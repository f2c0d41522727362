"""Follows every open change from its pull request to the cluster, and tells how it ended.

Webhooks and events only say where to look first: what is decided comes from the Git host and Argo CD as they
are now, so a lost webhook costs time and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from functions.argocd.correlating import Failure, Rollout, failure_of
from functions.argocd.looking import Look
from shared.contracts.decision import Decision
from shared.contracts.documents import PullRequest, Recommendation
from shared.contracts.events import (
    ChangeApplied,
    ChangeFailed,
    FailureReason,
    PullRequestCreated,
    ReconcileRequested,
)
from shared.contracts.git_host import PullState
from shared.contracts.states import State
from shared.runtime.isolation import Isolation
from shared.runtime.ledger import Ledger, utc_now

if TYPE_CHECKING:
    from shared.adapters.mongo import Changes, Recommendations
    from shared.contracts.argocd import ArgoCD
    from shared.contracts.envelope import Event
    from shared.contracts.git_host import GitHost, Pull

log = logging.getLogger(__name__)

PROPOSED = {State.CREATED, State.APPROVED}
OPEN = {State.PR_OPEN, State.MERGED}
FOLLOWED = {*OPEN, State.FAILED}
EXPIRES_AFTER = timedelta(hours=24)
# A failed change is live after all when a later revision carries it; after so long nobody waits for that.
HOPE = timedelta(days=7)
MESSAGE_LENGTH = 2000  # an event stays small; an API server may quote a whole object
MAY_HEAL = {FailureReason.SYNC_FAILED, FailureReason.DEGRADED, FailureReason.DEADLINE}


class ArgoCDHandler:
    """`deadline` is how long a change may take from its merge to the cluster."""

    def __init__(
        self,
        ledger: Ledger,
        recommendations: Recommendations,
        changes: Changes,
        git_host: GitHost,
        argocd: ArgoCD,
        *,
        deadline: timedelta,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._ledger = ledger
        self._recommendations = recommendations
        self._changes = changes
        self._git_host = git_host
        self._argocd = argocd
        self._deadline = deadline
        self._clock = clock

    def handle(self, event: Event) -> None:
        """Looks at the changes that the event is about, or at all. Raises Temporary."""
        look, isolation = Look(self._git_host, self._argocd), Isolation()
        if isinstance(event.data, PullRequestCreated):
            self._follow([event.data.recommendation_id], event, look, isolation)
        else:
            wish = event.data
            assert isinstance(wish, ReconcileRequested)
            self._reconcile(wish, event, look, isolation)
            if isolation.failed and wish.reason != "schedule":
                # While it comes again, the ticks wait behind it: so it does what they would do.
                everything = ReconcileRequested(cluster=wish.cluster, reason="schedule")
                self._reconcile(everything, event, look, isolation)
        isolation.each(look.pulls, self._end_change)
        isolation.raise_first()

    def _reconcile(self, wish: ReconcileRequested, event: Event, look: Look, isolation: Isolation) -> None:
        if wish.reason == "schedule":
            isolation.each([self._ledger], Ledger.publish_unsent)
            expired = filter(self._is_expired, self._recommendations.in_states(wish.cluster, PROPOSED))
            isolation.each(expired, lambda one: self._ledger.settle(one.id, event, PROPOSED, self._expire))
            changes = self._changes.in_state(wish.cluster, "open")
            isolation.each(changes, lambda change: look.pull(change.repository, change.number))
        followed = self._followed(wish.cluster)
        meant = [one for one in followed if self._is_followed(one) and _is_meant(one, wish)]
        # Pull requests first: an Argo CD that is down shall not hide what the Git host knows.
        self._follow([one.id for one in meant if one.state is State.PR_OPEN], event, look, isolation)
        self._follow([one.id for one in meant if one.state is not State.PR_OPEN], event, look, isolation)

    def _followed(self, cluster: str) -> list[Recommendation]:
        since = self._clock() - HOPE
        return [
            *self._recommendations.in_states(cluster, OPEN),
            *self._recommendations.in_states(cluster, {State.FAILED}, since=since),
        ]

    def _follow(
        self, recommendation_ids: Sequence[str], event: Event, look: Look, isolation: Isolation
    ) -> None:
        just_merged: list[str] = []

        def settle(recommendation_id: str, *, eager: bool) -> None:
            decide = partial(self._decide, look=look, eager=eager)
            seen = self._ledger.settle(recommendation_id, event, FOLLOWED, decide)
            if seen and seen.state is State.MERGED and seen.transitions[-1].cause == event.id and not eager:
                just_merged.append(recommendation_id)

        isolation.each(recommendation_ids, partial(settle, eager=False))
        # Argo CD shall look as well, and may have it live already.
        isolation.each(just_merged, partial(settle, eager=True))

    def _end_change(self, pull: Pull) -> None:
        if pull.state is not PullState.OPEN:
            change = f"{pull.repository}#{pull.number}"
            self._changes.end(change, pull.state, pull.ended_at or self._clock(), pull.merge_commit)

    def _decide(self, recommendation: Recommendation, *, look: Look, eager: bool) -> Decision | None:
        change = recommendation.pull_request
        if change is None or not self._is_followed(recommendation):
            return None
        if recommendation.state is State.PR_OPEN:
            return self._of_pull_request(recommendation, change, look)
        return self._of_rollout(recommendation, change, look, eager=eager)

    def _of_pull_request(
        self, recommendation: Recommendation, change: PullRequest, look: Look
    ) -> Decision | None:
        pull = look.pull(change.repository, change.number)
        if pull is None or pull.state is PullState.OPEN:
            return None
        if pull.state is PullState.CLOSED:
            by = f" by {pull.ended_by}" if pull.ended_by else ""
            failure = Failure(FailureReason.CLOSED_BY_PERSON, f"the pull request was closed{by}, not merged")
            return _failed(recommendation, State.CLOSED, failure)
        if pull.merge_commit is None or not look.contains(change.repository, change.commit, pull.head):
            # It came to the branch after the merge: gitops closes it, and the next scan proposes it again.
            log.info("%s was merged without it", pull.url, extra={"recommendation": recommendation.id})
            return None
        merged = change.model_copy(update={"merge_commit": pull.merge_commit})
        return Decision(State.MERGED, facts={"pull_request": merged})

    def _of_rollout(
        self, recommendation: Recommendation, change: PullRequest, look: Look, *, eager: bool
    ) -> Decision | None:
        rollout = None
        application = look.application_of(recommendation)
        if application:
            rollout = look.rollout(application, recommendation, change)
            # A failed one that still is Degraded is not worth a comparison at every tick.
            hopeless = recommendation.state is State.FAILED and rollout.health == "Degraded"
            if eager or (rollout.revision and not hopeless):
                application = look.fresh(application)
                rollout = look.rollout(application, recommendation, change)
            if rollout.revision:
                rollout = replace(rollout, differences=look.differences(application, recommendation))
            if rollout.live:
                return self._applied(recommendation, change, application.qualified_name, rollout)
        if recommendation.state is State.FAILED:
            return None
        merged_at = recommendation.moved_at(State.MERGED)
        assert merged_at is not None
        failure = failure_of(rollout, self._clock() - merged_at, self._deadline)
        return None if failure is None else _failed(recommendation, State.FAILED, failure, rollout)

    def _applied(
        self, recommendation: Recommendation, change: PullRequest, application: str, rollout: Rollout
    ) -> Decision:
        assert rollout.revision is not None
        assert change.merge_commit is not None
        operation = rollout.operation
        by_operation = operation is not None and operation.revision is not None
        payload = ChangeApplied(
            recommendation_id=recommendation.id,
            workload=recommendation.workload,
            application=application,
            revision=rollout.revision,
            merge_commit=change.merge_commit,
            url=change.url,
            applied_at=(operation.finished_at if operation and by_operation else None) or self._clock(),
            monthly_saving=recommendation.monthly_saving,
        )
        return Decision(State.APPLIED, payload, {"reason": None, "message": None})

    def _expire(self, recommendation: Recommendation) -> Decision | None:
        if not self._is_expired(recommendation):
            return None
        hours = int(EXPIRES_AFTER.total_seconds() // 3600)
        failure = Failure(FailureReason.EXPIRED, f"{recommendation.state} for more than {hours} hours")
        return _failed(recommendation, State.CLOSED, failure)

    def _is_expired(self, recommendation: Recommendation) -> bool:
        created_at = recommendation.moved_at(State.CREATED) or recommendation.scanned_at
        return self._clock() - created_at > EXPIRES_AFTER

    def _is_followed(self, recommendation: Recommendation) -> bool:
        """Whether it is open, or failed in a way and at a time that leave hope."""
        if recommendation.state is not State.FAILED:
            return True
        failed_at = recommendation.moved_at(State.FAILED)
        return (
            recommendation.reason in MAY_HEAL and failed_at is not None and self._clock() - failed_at < HOPE
        )


def _failed(
    recommendation: Recommendation, state: State, failure: Failure, rollout: Rollout | None = None
) -> Decision:
    change = recommendation.pull_request
    operation = rollout.operation if rollout else None
    payload = ChangeFailed(
        recommendation_id=recommendation.id,
        workload=recommendation.workload,
        reason=failure.reason,
        message=failure.message[:MESSAGE_LENGTH],
        url=change.url if change else None,
        revision=(operation.revision if operation else None) or (rollout.revision if rollout else None),
    )
    return Decision(state, payload, {"reason": failure.reason, "message": payload.message})


def _is_meant(recommendation: Recommendation, wish: ReconcileRequested) -> bool:
    """Whether the wish's hint, if it has one, names the recommendation's pull request or Application."""
    change = recommendation.pull_request
    if wish.application is not None:
        # Argo CD's notifications name it without its namespace.
        return (recommendation.application or "").rpartition("/")[2] == wish.application
    if wish.repository is None or change is None:
        return True
    same = change.repository.lower() == wish.repository.lower()
    return same and wish.pull_request in {None, change.number}
