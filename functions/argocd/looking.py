"""What the Git host and Argo CD say, each thing asked for once while one event is handled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from functions.argocd.correlating import Operation, Rollout, differences
from shared.contracts.argocd import owner_of
from shared.contracts.errors import Refused, Temporary
from shared.contracts.git_host import repository_of

if TYPE_CHECKING:
    from shared.contracts.argocd import Application, ArgoCD
    from shared.contracts.documents import PullRequest, Recommendation
    from shared.contracts.git_host import GitHost, Pull
    from shared.contracts.identity import Workload

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class Look:
    """Made for one event and thrown away with it. Methods raise Temporary when somebody is down.

    What failed fails again at once, with the same error: who hangs makes one wait only.
    """

    def __init__(self, git_host: GitHost, argocd: ArgoCD) -> None:
        self._git_host = git_host
        self._argocd = argocd
        self._pulls: dict[tuple[str, int], Pull] = {}
        self._answers: dict[Hashable, Any] = {}

    @property
    def pulls(self) -> list[Pull]:
        """Every pull request that was looked at."""
        return list(self._pulls.values())

    def pull(self, repository: str, number: int) -> Pull | None:
        """The pull request; None where the Git host will not show it."""

        def ask() -> Pull | None:
            try:
                pull = self._git_host.pull_request(repository, number)
            except Refused as error:
                log.warning("%s#%d cannot be looked at: %s", repository, number, error)
                return None
            self._pulls[repository, number] = pull
            return pull

        return self._once(("pull", repository, number), ask)

    def contains(self, repository: str, commit: str, revision: str) -> bool:
        """Whether `commit` is `revision` or an ancestor of it."""
        if commit == revision:
            return True

        def ask() -> bool:
            try:
                return self._git_host.compare(repository, commit, revision).contains_base
            except Refused:
                return False  # a revision of another repository, or a chart's version

        return self._once(("contains", repository, commit, revision), ask)

    def application_of(self, recommendation: Recommendation) -> Application | None:
        """The Application that the pull request was made for, as Argo CD last compared it."""
        listed = self._once("applications", self._argocd.applications)
        named = [one for one in listed if one.qualified_name == recommendation.application]
        if len(named) == 1:
            return named[0]
        workload = recommendation.workload
        return owner_of(named or listed, workload.kind, workload.namespace, workload.name)

    def fresh(self, application: Application) -> Application:
        """The same Application, compared anew.

        Argo CD writes the end of an operation before the health that follows from it: an answer that was
        there already may praise the rollout before.
        """
        name, project, namespace = application.name, application.project, application.namespace

        def ask() -> Application:
            return self._argocd.application(name, project, namespace, refresh=True) or application

        return self._once(("fresh", namespace, name), ask)

    def rollout(
        self, application: Application, recommendation: Recommendation, change: PullRequest
    ) -> Rollout:
        """What Argo CD says of the change, without a look at what lives."""
        operation, workload = application.operation, recommendation.workload
        synced = application.sync_revisions if application.sync_status == "Synced" else ()
        of = workload.kind, workload.namespace, workload.name
        own = next(
            (r for r in application.resources if (r.kind, r.namespace, r.name) == of and r.health), None
        )
        return Rollout(
            synced=self._carrying(application, change, synced),
            operation=None
            if operation is None
            else Operation(
                operation.phase,
                operation.message,
                self._carrying(application, change, operation.revisions),
                operation.finished_at,
            ),
            health=own.health if own else application.health,
            health_message=own.health_message if own else application.health_message,
            conditions=application.conditions,
        )

    def differences(self, application: Application, recommendation: Recommendation) -> tuple[str, ...]:
        """How what lives differs from the proposal."""
        live = self._live_object(application, recommendation.workload)
        return differences(recommendation.containers, live)

    def _carrying(
        self, application: Application, change: PullRequest, revisions: tuple[str, ...]
    ) -> str | None:
        """That of the revisions (one for each source) which contains the change's merge commit."""
        if change.merge_commit is None:
            return None
        pairs = list(zip(application.sources, revisions, strict=False))
        own = [revision for source, revision in pairs if _is(source.repo_url, change.repository)]
        # An address that names the repository otherwise (a mirror) is no reason not to compare.
        for revision in own or [revision for _, revision in pairs]:
            if self.contains(change.repository, change.merge_commit, revision):
                return revision
        return None

    def _live_object(self, application: Application, workload: Workload) -> Mapping[str, Any] | None:
        name, project, namespace = application.name, application.project, application.namespace

        def ask() -> list[Mapping[str, Any]]:
            return self._argocd.live_resources(name, project, namespace)

        for live in self._once(("live", namespace, name), ask):
            metadata = live.get("metadata") or {}
            if (live.get("kind"), metadata.get("namespace"), metadata.get("name")) == (
                workload.kind,
                workload.namespace,
                workload.name,
            ):
                return live
        return None

    def _once(self, question: Hashable, ask: Callable[[], Answer]) -> Answer:
        if question not in self._answers:
            try:
                self._answers[question] = ask()
            except Temporary as error:
                self._answers[question] = error
        answer: Answer | Temporary = self._answers[question]
        if isinstance(answer, Temporary):
            raise answer
        return answer


def _is(repo_url: str, repository: str) -> bool:
    try:
        return repository_of(repo_url).lower() == repository.lower()
    except ValueError:
        return False
