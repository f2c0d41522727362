"""What the Git host and Argo CD say, each thing asked for once while one event is handled."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from functions.argocd.correlating import Operation, Rollout, differences
from shared.adapters.argocd import owner_of
from shared.adapters.git_host import repository_of
from shared.contracts.errors import Refused

if TYPE_CHECKING:
    from shared.adapters.argocd import Application, ArgoCD
    from shared.adapters.git_host import GitHost, Pull
    from shared.contracts.documents import PullRequest, Recommendation
    from shared.contracts.identity import Workload

log = logging.getLogger(__name__)


class Look:
    """Made for one event and thrown away with it. Methods raise Temporary when somebody is down."""

    def __init__(self, git_host: GitHost, argocd: ArgoCD) -> None:
        self._git_host = git_host
        self._argocd = argocd
        self._pulls: dict[tuple[str, int], Pull | None] = {}
        self._listed: list[Application] | None = None
        self._fresh: dict[tuple[str, str], Application] = {}
        self._live: dict[tuple[str, str], list[Mapping[str, Any]]] = {}

    @property
    def pulls(self) -> list[Pull]:
        """Every pull request that was looked at."""
        return [pull for pull in self._pulls.values() if pull is not None]

    def pull(self, repository: str, number: int) -> Pull | None:
        """The pull request; None where the Git host will not show it."""
        key = repository, number
        if key not in self._pulls:
            try:
                self._pulls[key] = self._git_host.pull_request(repository, number)
            except Refused as error:
                log.warning("%s#%d cannot be looked at: %s", repository, number, error)
                self._pulls[key] = None
        return self._pulls[key]

    def contains(self, repository: str, commit: str, revision: str) -> bool:
        """Whether `commit` is `revision` or an ancestor of it."""
        if commit == revision:
            return True
        try:
            return self._git_host.compare(repository, commit, revision).contains_base
        except Refused:
            return False  # a revision of another repository, or a chart's version

    def application_of(self, recommendation: Recommendation) -> Application | None:
        """The Application that the pull request was made for, as Argo CD last compared it."""
        if self._listed is None:
            self._listed = self._argocd.applications()
        named = [one for one in self._listed if one.name == recommendation.application]
        if len(named) == 1:
            return named[0]
        workload = recommendation.workload
        return owner_of(named or self._listed, workload.kind, workload.namespace, workload.name)

    def fresh(self, application: Application) -> Application:
        """The same Application, compared anew.

        Argo CD writes the end of an operation before the health that follows from it: an answer that was
        there already may praise the rollout before.
        """
        key = application.namespace, application.name
        if key not in self._fresh:
            name, project, namespace = application.name, application.project, application.namespace
            found = self._argocd.application(name, project, namespace, refresh=True)
            self._fresh[key] = found or application
        return self._fresh[key]

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
        key = application.namespace, application.name
        if key not in self._live:
            name, project, namespace = application.name, application.project, application.namespace
            self._live[key] = list(self._argocd.live_resources(name, project, namespace))
        for live in self._live[key]:
            metadata = live.get("metadata") or {}
            if (live.get("kind"), metadata.get("namespace"), metadata.get("name")) == (
                workload.kind,
                workload.namespace,
                workload.name,
            ):
                return live
        return None


def _is(repo_url: str, repository: str) -> bool:
    try:
        return repository_of(repo_url).lower() == repository.lower()
    except ValueError:
        return False
