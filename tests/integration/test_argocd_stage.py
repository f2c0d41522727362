"""The stage argocd over the Git host's API and Argo CD's, as both are spoken over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from functions.argocd.handler import ArgoCDHandler
from shared.adapters.argocd import HttpArgoCD
from shared.adapters.github import GitHubHost
from shared.contracts.documents import PullRequest, Recommendation, Transition
from shared.contracts.events import ChangeApplied, ReconcileRequested, Resources
from shared.contracts.identity import Workload
from shared.contracts.states import Slot, State
from shared.runtime.ledger import Ledger, utc_now
from tests.argocd_standin import TOKEN, ArgoCD, Repository, Starter, cpu_of, deployment
from tests.examples import NOW, container, created, draft, event
from tests.fakes.kafka import FakePublisher
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.mongo import FakeChanges, FakeRecommendations
from tests.github_standin_process import github_standin

REPOSITORY = "acme/shop"
WEB = Workload(cluster="local", namespace="shop", kind="Deployment", name="web")


@dataclass
class Loop:
    """The half of the loop behind a pull request."""

    host: GitHubHost
    standin: ArgoCD
    kubernetes: FakeKubernetes
    recommendations: FakeRecommendations
    publisher: FakePublisher
    handler: ArgoCDHandler
    member: str
    ticks: int = 0

    def merge(self) -> None:
        change = self.document.pull_request
        assert change is not None
        self.host.merge(REPOSITORY, change.number, change.commit)

    def tick(self) -> State:
        self.ticks += 1
        wish = ReconcileRequested(cluster="local", reason="schedule")
        self.handler.handle(event(wish, id=f"tick-{self.ticks}"))
        return self.document.state

    @property
    def document(self) -> Recommendation:
        return self.recommendations.documents[self.member]


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    """A pull request that lowers web's CPU request from 500m to 150m, open."""
    repository = Repository(tmp_path)
    base = repository.commit({"apps/shop/web.yaml": deployment("web")})
    with FakeKubernetes() as kubernetes, github_standin(tmp_path) as github:
        starter = Starter(tmp_path, kubernetes)
        standin = starter()
        standin.controller.reconcile()
        host = GitHubHost(github.url, github.token, write_pause=0)
        wanted = {"apps/shop/web.yaml": deployment("web", cpu="150m")}
        commit = host.write_commit(
            REPOSITORY, onto=base, parents=[base], files=wanted, message="Fit web", at=NOW
        )
        host.create_branch(REPOSITORY, "finops/local/shop", commit)
        pull = host.open_pull_request(
            REPOSITORY, branch="finops/local/shop", base="main", title="Fit", body=""
        )
        document = _document(pull.number, pull.url, commit)
        recommendations, publisher = FakeRecommendations(), FakePublisher()
        recommendations.documents[document.id] = document
        argocd = HttpArgoCD(standin.server.url, TOKEN)
        handler = ArgoCDHandler(
            Ledger("argocd", recommendations, publisher),
            recommendations,
            FakeChanges(),
            host,
            argocd,
            deadline=timedelta(hours=1),
        )
        yield Loop(host, standin, kubernetes, recommendations, publisher, handler, document.id)
        argocd.close()
        starter.stop()


def _document(number: int, url: str, commit: str) -> Recommendation:
    change = PullRequest(
        repository=REPOSITORY,
        number=number,
        url=url,
        base="main",
        branch="finops/local/shop",
        commit=commit,
        awaits_approval=False,
    )
    sized = container("app", Resources(cpu_request_m=500), Resources(cpu_request_m=150))
    arrived = Transition(
        before=State.APPROVED, after=State.PR_OPEN, at=utc_now(), stage="gitops", cause="approved"
    )
    return draft(created(WEB, containers=(sized,))).model_copy(
        update={
            "state": State.PR_OPEN,
            "slot": Slot.CHANGE,
            "application": "shop",
            "pull_request": change,
            "transitions": (arrived,),
        }
    )


def test_a_merged_pull_request_is_live_and_applied_at_the_next_look(loop: Loop) -> None:
    assert loop.tick() is State.PR_OPEN
    loop.merge()
    assert loop.tick() is State.APPLIED
    assert cpu_of(loop.kubernetes.live("web")) == "150m"
    [published] = loop.publisher.events
    assert isinstance(published.data, ChangeApplied)
    assert published.data.revision == loop.host.head(REPOSITORY, "main")


def test_a_rollout_is_waited_for(loop: Loop) -> None:
    loop.kubernetes.holding = True
    loop.merge()
    assert loop.tick() is State.MERGED
    assert loop.tick() is State.MERGED
    loop.kubernetes.settle("web")
    assert loop.tick() is State.APPLIED


def test_a_refused_sync_fails_and_a_later_one_that_goes_through_heals(loop: Loop) -> None:
    loop.kubernetes.refusing["web"] = "spec.template: Forbidden"
    loop.merge()
    assert loop.tick() is State.FAILED
    assert "spec.template: Forbidden" in str(loop.document.message)
    assert loop.tick() is State.FAILED
    loop.kubernetes.refusing.clear()
    loop.standin.ask("POST", "/api/v1/applications/shop/sync", json={})
    loop.standin.controller.reconcile()
    assert loop.tick() is State.APPLIED


def test_a_degraded_rollout_fails(loop: Loop) -> None:
    loop.kubernetes.holding = True
    loop.merge()
    assert loop.tick() is State.MERGED
    loop.kubernetes.exceed_deadline("web")
    assert loop.tick() is State.FAILED
    assert loop.document.message == 'Deployment "web" exceeded its progress deadline'
