"""A gitops stage among fakes: a repository, an Application, the documents, and what was published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from functions.gitops.handler import GitOpsHandler
from functions.gitops.rendering import Render, renderer
from shared.adapters.kustomize import build
from shared.contracts.argocd import Application, ResourceRef, Source
from shared.contracts.decision import Decision
from shared.contracts.documents import Recommendation, Transition
from shared.contracts.envelope import Event
from shared.contracts.events import (
    ContainerProposal,
    Outcome,
    RecommendationApproved,
    ReconcileRequested,
)
from shared.contracts.git_host import GitHost
from shared.contracts.identity import Workload
from shared.contracts.policy import Policy
from shared.contracts.states import SLOT_OF, State
from shared.runtime.ledger import Ledger
from tests.examples import NOW, container, created, draft, event
from tests.fakes.argocd import FakeArgoCD
from tests.fakes.git_host import FakeGitHost
from tests.fakes.kafka import FakePublisher
from tests.fakes.mongo import FakeChanges, FakePolicies, FakeRecommendations

REPOSITORY = "acme/shop"
BRANCH = "finops/local/shop"
CURRENT = "{requests: {cpu: 1, memory: 1Gi}, limits: {memory: 1Gi}}"
render = renderer(build)
PROPOSED = "{requests: {cpu: 600m, memory: 640Mi}, limits: {memory: 768Mi}}"


def workload(name: str, namespace: str = "shop") -> Workload:
    return Workload(cluster="local", namespace=namespace, kind="Deployment", name=name)


def manifest(name: str, resources: str = CURRENT) -> str:
    return (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\n  namespace: shop\nspec:\n"
        f"  template:\n    spec:\n      containers:\n      - name: app\n        resources: {resources}\n"
    )


def path(name: str) -> str:
    return f"apps/shop/{name}.yaml"


def application(
    *names: str, name: str = "shop", folder: str = "apps/shop", url: str = "https://git.example/acme/shop.git"
) -> Application:
    return Application(
        name=name,
        project="default",
        namespace="argocd",
        sources=(Source(url, folder, "HEAD"),),
        resources=tuple(ResourceRef("apps", "Deployment", "shop", one) for one in names),
        sync_status="Synced",
        sync_revisions=("abc",),
        health="Healthy",
        health_message="",
        operation=None,
    )


@dataclass
class Stage:
    """The handler and everything that it is wired to."""

    host: GitHost
    repository: str = REPOSITORY
    argocd: FakeArgoCD = field(default_factory=FakeArgoCD)
    recommendations: FakeRecommendations = field(default_factory=FakeRecommendations)
    changes: FakeChanges = field(default_factory=FakeChanges)
    policies: FakePolicies = field(default_factory=FakePolicies)
    publisher: FakePublisher = field(default_factory=FakePublisher)

    def handler(
        self,
        *,
        auto_merge: bool = False,
        pause: bool = False,
        crash: CrashBefore | None = None,
        render: Render = render,
    ) -> GitOpsHandler:
        """A fresh one, as after a restart."""

        def guarded(inner: Any) -> Any:
            return inner if crash is None else crash.stand_before(inner)

        recommendations = guarded(self.recommendations)
        return GitOpsHandler(
            Ledger("gitops", recommendations, guarded(self.publisher), clock=self.clock),
            recommendations,
            guarded(self.changes),
            self.policies,
            git_host=guarded(self.host),
            argocd=self.argocd,
            render=render,
            auto_merge=auto_merge,
            pause=pause,
        )

    def clock(self) -> datetime:
        return NOW + timedelta(hours=1)

    def approve(
        self,
        name: str,
        *,
        scan_id: str = "scan-1",
        proposed: ContainerProposal | tuple[ContainerProposal, ...] | None = None,
        outcome: Outcome = Outcome.ALLOW,
        namespace: str = "shop",
    ) -> Event:
        """Stores an approved recommendation and returns the event that says so."""
        containers = proposed if isinstance(proposed, tuple) else (proposed or container(),)
        proposal = created(workload(name, namespace), scan_id, containers)
        moved = Transition(before=State.CREATED, after=State.APPROVED, at=NOW, stage="policy", cause="c")
        document = draft(proposal).model_copy(
            update={
                "state": State.APPROVED,
                "slot": SLOT_OF[State.APPROVED],
                "outcome": outcome,
                "policies": {"default": 1},
                "transitions": (moved,),
            }
        )
        self.recommendations.insert(document)
        return approved_event(document)

    def tick(
        self,
        number: int = 1,
        *,
        reason: str = "schedule",
        pull_request: int | None = None,
        repository: str | None = None,
        application: str | None = None,
    ) -> Event:
        wish = ReconcileRequested.model_validate(
            {
                "cluster": "local",
                "reason": reason,
                "pull_request": pull_request,
                "repository": repository,
                "application": application,
            }
        )
        return event(wish, id=f"tick-{number}")

    def of(self, caused: Event) -> Recommendation:
        """The recommendation that an approval is about, as it is now."""
        assert isinstance(caused.data, RecommendationApproved)
        found = self.recommendations.find(caused.data.recommendation_id)
        assert found is not None
        return found

    def move(self, caused: Event, state: State, stage: str) -> None:
        """What another stage does with it."""
        document = self.of(caused)
        Ledger(stage, self.recommendations, self.publisher, clock=self.clock).settle(
            document.id,
            event(self.tick().data, id=f"{stage}-{state}"),
            {document.state},
            lambda _: Decision(state),
        )

    def manifest(self, name: str, branch: str = BRANCH) -> str | None:
        head = self.host.head(self.repository, branch)
        return None if head is None else self.host.files(self.repository, head).get(path(name))


def approved_event(document: Recommendation) -> Event:
    assert document.outcome is not None
    payload = RecommendationApproved(
        recommendation_id=document.id,
        workload=document.workload,
        outcome=document.outcome,
        verdicts=document.verdicts,
        policies=document.policies,
        containers=document.containers,
        monthly_saving=document.monthly_saving,
    )
    return event(payload, id=f"approved-{document.id[:8]}", workload=document.workload)


def stage(*names: str, files: Mapping[str, str] | None = None, policies: tuple[Policy, ...] = ()) -> Stage:
    """One Application `shop` with these Deployments in one folder of acme/shop."""
    host = FakeGitHost()
    host.push(REPOSITORY, "main", files or {path(name): manifest(name) for name in names}, "initial")
    made = Stage(host, policies=FakePolicies(*policies))
    made.argocd.put(application(*names))
    return made


class Crash(Exception):
    """The process is gone."""


class CrashBefore:
    """Passes calls on to what it stands before, and ends the process before its call number `call`.

    Or before the first one of `name`.
    """

    def __init__(self, call: int, name: str | None = None) -> None:
        self._left = call
        self._name = name
        self.calls: list[str] = []

    def stand_before(self, inner: object) -> Any:
        return _Guarded(inner, self)

    def count(self, name: str) -> None:
        if name == self._name:
            self._left = 0
        if self._left == 0:
            raise Crash(name)
        self._left -= 1
        self.calls.append(name)


class MeanwhileBefore(CrashBefore):
    """Lets somebody else do something before call number `call`."""

    def __init__(self, call: int, act: Callable[[], None]) -> None:
        super().__init__(call)
        self._act = act

    def count(self, name: str) -> None:
        if self._left == 0:
            self._act()
        self._left -= 1
        self.calls.append(name)


class _Guarded:
    def __init__(self, inner: object, crash: CrashBefore) -> None:
        self._inner = inner
        self._crash = crash

    def __getattr__(self, name: str) -> Callable[..., object]:
        method: Callable[..., object] = getattr(self._inner, name)

        def call(*args: object, **kwargs: object) -> object:
            self._crash.count(name)
            return method(*args, **kwargs)

        return call
