"""The stage argocd: from an open pull request to what became of it, whoever is slow, down or asked twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal

import pytest

from functions.argocd.handler import ArgoCDHandler
from shared.contracts.argocd import Application, Operation, ResourceRef, Source
from shared.contracts.documents import Change, Entry, PullRequest, Recommendation, Transition
from shared.contracts.envelope import Event
from shared.contracts.errors import Temporary
from shared.contracts.events import (
    ChangeApplied,
    ChangeFailed,
    FailureReason,
    PullRequestCreated,
    ReconcileRequested,
)
from shared.contracts.identity import RecommendationId, Workload
from shared.contracts.states import SLOT_OF, State
from shared.contracts.topics import Topic
from shared.runtime.ledger import Ledger
from tests.examples import CHECKOUT, NOW, created, draft, event, scan_event
from tests.fakes.argocd import FakeArgoCD
from tests.fakes.git_host import FakeGitHost
from tests.fakes.kafka import FakePublisher
from tests.fakes.mongo import FakeChanges, FakeRecommendations

REPOSITORY = "acme/shop"
BRANCH = "finops/local/shop"
CART = Workload(cluster="local", namespace="shop", kind="Deployment", name="cart")


class Scene:
    """A cluster `local` whose Application `shop` deploys acme/shop, and the stage, on stateful fakes."""

    def __init__(self) -> None:
        self.now = NOW
        self.host = FakeGitHost()
        self.base = self.host.push(REPOSITORY, "main", {"web.yaml": "before"})
        self.argocd = FakeArgoCD()
        self.recommendations = FakeRecommendations()
        self.changes = FakeChanges()
        self.publisher = FakePublisher()
        self.deploy(self.base)
        self._ticks = 0
        ledger = Ledger("argocd", self.recommendations, self.publisher, lambda: self.now)
        self.handler = ArgoCDHandler(
            ledger,
            self.recommendations,
            self.changes,
            self.host,
            self.argocd,
            deadline=timedelta(hours=1),
            clock=lambda: self.now,
        )

    # What gitops has done

    def propose(self, workload: Workload = CHECKOUT, state: State = State.CREATED) -> Recommendation:
        proposal = created(workload)
        arrived = Transition(before=None, after=state, at=self.now, stage="recommender", cause="scan")
        document = draft(proposal).model_copy(
            update={"state": state, "slot": SLOT_OF.get(state), "transitions": (arrived,)}
        )
        self.recommendations.documents[document.id] = document
        return document

    def open(self, *workloads: Workload, application: str | None = "shop") -> list[str]:
        """A pull request with a member for each workload; their ids."""
        commit = self.host.push(REPOSITORY, BRANCH, {"web.yaml": "after"})
        pull = self.host.open_pull_request(
            REPOSITORY, branch=BRANCH, base="main", title="Right-size", body=""
        )
        opened = PullRequest(
            repository=REPOSITORY,
            number=pull.number,
            url=pull.url,
            base="main",
            branch=BRANCH,
            commit=commit,
            awaits_approval=False,
        )
        ids: list[str] = []
        for workload in workloads or (CHECKOUT,):
            document = self.propose(workload, State.PR_OPEN)
            changed = {"pull_request": opened, "application": application}
            self.recommendations.documents[document.id] = document.model_copy(update=changed)
            ids.append(document.id)
        change = Change(
            id=f"{REPOSITORY}#{pull.number}",
            cluster="local",
            group=f"local/{application or 'shop'}",
            application=application or "shop",
            repository=REPOSITORY,
            number=pull.number,
            url=pull.url,
            base="main",
            branch=BRANCH,
            head=commit,
            members=tuple(RecommendationId(one) for one in ids),
            state="open",
            opened_at=self.now,
        )
        self.changes.put(change, None)
        return ids

    def merge(self, number: int = 1) -> str:
        return self.host.merge_by_hand(REPOSITORY, number)

    # What Argo CD has done

    def deploy(
        self,
        revision: str,
        *,
        phase: str | None = None,
        synced: bool = True,
        health: str = "Healthy",
        memory: str = "640Mi",
        **changes: Any,
    ) -> Application:
        """Argo CD has compared (and with a phase, synced) `revision`."""
        done = None if phase is None else Operation(phase, "said Argo CD", (revision,), self.now, self.now)
        resources = tuple(
            ResourceRef("apps", "Deployment", "shop", name, "Synced", health, f"{name} is {health}")
            for name in ("cart", "checkout")
        )
        application = Application(
            name="shop",
            project="default",
            namespace="argocd",
            sources=(Source("https://git.example/acme/shop.git", ".", "main"),),
            resources=resources,
            sync_status="Synced" if synced else "OutOfSync",
            sync_revisions=(revision,),
            health=health,
            health_message="",
            operation=done,
        )
        application = replace(application, **changes)
        self.argocd.put(application, [live(name, memory) for name in ("cart", "checkout")])
        return application

    # What the stage is told

    def tick(
        self, reason: Literal["schedule", "git_host", "argocd"] = "schedule", **hint: Any
    ) -> ReconcileRequested:
        self._ticks += 1
        wish = ReconcileRequested(cluster="local", reason=reason, **hint)
        self.handler.handle(event(wish, id=f"tick-{self._ticks}"))
        return wish

    def tell_created(self, recommendation_id: str) -> Event:
        document = self.document(recommendation_id)
        change = document.pull_request
        assert change is not None
        told = event(
            PullRequestCreated(
                recommendation_id=recommendation_id,
                workload=document.workload,
                group="local/shop",
                repository=REPOSITORY,
                base="main",
                branch=BRANCH,
                commit=change.commit,
                number=change.number,
                url=change.url,
                files=("web.yaml",),
                awaits_approval=False,
            ),
            id="pr-created",
        )
        self.handler.handle(told)
        return told

    def document(self, recommendation_id: str) -> Recommendation:
        return self.recommendations.documents[recommendation_id]

    def state(self, recommendation_id: str) -> State:
        return self.document(recommendation_id).state

    @property
    def applied(self) -> list[ChangeApplied]:
        return [one.data for one in self.publisher.events if isinstance(one.data, ChangeApplied)]

    @property
    def failed(self) -> list[ChangeFailed]:
        return [one.data for one in self.publisher.events if isinstance(one.data, ChangeFailed)]


def live(name: str, memory: str) -> dict[str, Any]:
    asked = {"requests": {"cpu": "600m", "memory": memory}, "limits": {"memory": "768Mi"}}
    pod = {"containers": [{"name": "app", "resources": asked}]}
    metadata = {"name": name, "namespace": "shop"}
    return {"kind": "Deployment", "metadata": metadata, "spec": {"template": {"spec": pod}}}


@pytest.fixture
def scene() -> Scene:
    return Scene()


# The Git host's side


def test_an_open_pull_request_is_waited_for(scene: Scene) -> None:
    [member] = scene.open()
    scene.tick()
    assert scene.state(member) is State.PR_OPEN
    assert scene.publisher.records == []


def test_a_merged_pull_request_moves_its_member_without_an_event(scene: Scene) -> None:
    [member] = scene.open()
    merge = scene.merge()
    scene.tick()
    document = scene.document(member)
    assert document.state is State.MERGED
    assert document.pull_request is not None
    assert document.pull_request.merge_commit == merge
    assert scene.publisher.records == []
    change = scene.changes.documents[f"{REPOSITORY}#1"]
    assert (change.state, change.merge_commit) == ("merged", merge)


def test_a_pull_request_that_a_person_closed_is_a_failed_change_with_the_reason(scene: Scene) -> None:
    [member] = scene.open()
    scene.host.close_by_hand(REPOSITORY, 1)
    scene.tick()
    assert scene.state(member) is State.CLOSED
    [failed] = scene.failed
    assert failed.reason is FailureReason.CLOSED_BY_PERSON
    assert "alice" in failed.message
    assert failed.url == "https://git.example/acme/shop/pull/1"
    assert scene.changes.documents[f"{REPOSITORY}#1"].state == "closed"


def test_a_member_that_came_to_the_branch_after_the_merge_is_not_merged(scene: Scene) -> None:
    [member] = scene.open()
    scene.merge()
    late = scene.host.push(REPOSITORY, BRANCH, {"web.yaml": "later"})
    document = scene.document(member)
    assert document.pull_request is not None
    pull_request = document.pull_request.model_copy(update={"commit": late})
    scene.recommendations.documents[member] = document.model_copy(update={"pull_request": pull_request})
    scene.tick()
    assert scene.state(member) is State.PR_OPEN


def test_a_squashed_merge_is_followed_by_its_merge_commit(scene: Scene) -> None:
    scene.host.squash = True
    [member] = scene.open()
    scene.deploy(scene.merge(), phase="Succeeded")
    scene.tick()
    assert scene.state(member) is State.APPLIED


# Argo CD's side


def test_a_change_that_is_live_as_proposed_is_applied(scene: Scene) -> None:
    [member] = scene.open()
    merge = scene.merge()
    scene.deploy(merge, phase="Succeeded")
    scene.tick()
    assert scene.state(member) is State.APPLIED
    [applied] = scene.applied
    assert (applied.application, applied.revision, applied.merge_commit) == ("shop", merge, merge)
    assert applied.applied_at == scene.now
    assert scene.document(member).slot is None


def test_a_later_revision_that_contains_the_merge_will_do(scene: Scene) -> None:
    scene.open()
    merge = scene.merge()
    later = scene.host.push(REPOSITORY, "main", {"other.yaml": "x"})
    scene.deploy(later, phase="Succeeded")
    scene.tick()
    assert [(one.revision, one.merge_commit) for one in scene.applied] == [(later, merge)]


def test_the_revision_before_the_merge_will_not(scene: Scene) -> None:
    [member] = scene.open()
    scene.merge()
    scene.deploy(scene.base, phase="Succeeded")
    scene.tick()
    assert scene.state(member) is State.MERGED


def test_the_event_of_the_pull_request_is_enough_where_it_is_merged_and_live_already(scene: Scene) -> None:
    [member] = scene.open()
    scene.deploy(scene.merge(), phase="Succeeded")
    told = scene.tell_created(member)
    assert scene.state(member) is State.APPLIED
    [published] = scene.publisher.on(Topic.CHANGE_APPLIED)
    assert published.causationid == told.id


def test_argo_cd_is_asked_to_look_as_soon_as_a_merge_is_seen(scene: Scene) -> None:
    [member] = scene.open()
    before = scene.argocd.by_name["shop"]
    scene.argocd.on_refresh["shop"] = scene.deploy(scene.merge(), phase="Succeeded")
    scene.argocd.by_name["shop"] = before
    scene.tick()
    assert scene.state(member) is State.APPLIED


def test_a_health_from_before_the_rollout_is_not_believed(scene: Scene) -> None:
    [member] = scene.open()
    merge = scene.merge()
    scene.tick()
    praised = scene.deploy(merge, phase="Succeeded")
    scene.argocd.on_refresh["shop"] = replace(
        praised, resources=tuple(replace(one, health="Progressing") for one in praised.resources)
    )
    scene.tick()
    assert scene.state(member) is State.MERGED
    scene.deploy(merge, phase="Succeeded")
    scene.tick()
    assert scene.state(member) is State.APPLIED


def test_a_failed_sync_fails_the_change_with_argo_cds_words(scene: Scene) -> None:
    [member] = scene.open()
    merge = scene.merge()
    scene.deploy(merge, phase="Failed", synced=False, memory="1Gi")
    scene.tick()
    document = scene.document(member)
    assert (document.state, document.reason) == (State.FAILED, FailureReason.SYNC_FAILED)
    [failed] = scene.failed
    assert (failed.reason, failed.revision) == (FailureReason.SYNC_FAILED, merge)
    assert "said Argo CD" in failed.message


def test_only_the_member_whose_workload_is_degraded_fails(scene: Scene) -> None:
    cart, checkout = scene.open(CART, CHECKOUT)
    merge = scene.merge()
    whole = scene.deploy(merge, phase="Succeeded", health="Degraded")
    healthy = replace(whole.resources[0], health="Healthy", health_message="")
    scene.argocd.put(replace(whole, resources=(healthy, whole.resources[1])))
    scene.tick()
    assert (scene.state(cart), scene.state(checkout)) == (State.APPLIED, State.FAILED)
    [failed] = scene.failed
    assert (failed.reason, failed.message) == (FailureReason.DEGRADED, "checkout is Degraded")


def test_what_lives_otherwise_than_proposed_is_not_applied_and_told_at_the_deadline(scene: Scene) -> None:
    [member] = scene.open()
    scene.deploy(scene.merge(), phase="Succeeded", memory="1Gi")
    scene.tick()
    assert scene.state(member) is State.MERGED
    scene.now += timedelta(hours=1)
    scene.tick()
    assert scene.state(member) is State.FAILED
    [failed] = scene.failed
    assert failed.reason is FailureReason.DEADLINE
    assert "memory_request_bytes is 1073741824, not 671088640" in failed.message


def test_a_change_of_no_application_fails_at_the_deadline(scene: Scene) -> None:
    [member] = scene.open(application=None)
    scene.argocd.by_name.clear()
    scene.merge()
    scene.tick()
    scene.now += timedelta(hours=1)
    scene.tick()
    assert scene.document(member).reason is FailureReason.DEADLINE


def test_a_failed_change_is_applied_when_a_later_revision_carries_it(scene: Scene) -> None:
    [member] = scene.open()
    scene.deploy(scene.merge(), phase="Failed", synced=False)
    scene.tick()
    assert scene.state(member) is State.FAILED
    fixed = scene.host.push(REPOSITORY, "main", {"other.yaml": "fixed"})
    scene.deploy(fixed, phase="Succeeded")
    scene.tick()
    document = scene.document(member)
    assert (document.state, document.reason) == (State.APPLIED, None)
    assert [one.revision for one in scene.applied] == [fixed]
    assert len(scene.failed) == 1


@pytest.mark.parametrize("reason", [FailureReason.REFUSED, FailureReason.NOT_LOCATED])
def test_a_change_that_never_reached_git_is_not_followed(scene: Scene, reason: FailureReason) -> None:
    document = scene.propose(state=State.FAILED).model_copy(update={"reason": reason})
    scene.recommendations.documents[document.id] = document
    scene.tick()
    assert scene.state(document.id) is State.FAILED
    assert scene.publisher.records == []


def test_a_failure_of_long_ago_is_not_followed_any_more(scene: Scene) -> None:
    [member] = scene.open()
    merge = scene.merge()
    scene.deploy(merge, phase="Failed", synced=False)
    scene.tick()
    scene.now += timedelta(days=8)
    scene.deploy(merge, phase="Succeeded")
    scene.tick()
    assert scene.state(member) is State.FAILED


def test_a_tick_does_not_even_read_what_failed_long_ago(scene: Scene) -> None:
    [member] = scene.open()
    scene.deploy(scene.merge(), phase="Failed", synced=False)
    scene.tick()
    scene.recommendations.handed_out.clear()
    scene.tick()
    assert scene.recommendations.handed_out == [member]
    scene.now += timedelta(days=8)
    scene.recommendations.handed_out.clear()
    scene.tick()
    assert scene.recommendations.handed_out == []


def test_of_several_sources_the_one_of_the_repository_counts(scene: Scene) -> None:
    [member] = scene.open()
    merge = scene.merge()
    sources = (Source("git@host:acme/values.git", ".", "main"), Source("git@host:acme/shop.git", ".", "main"))
    moment = scene.now

    def deploy(values: str, shop: str) -> None:
        revisions = (values, shop)
        done = Operation("Succeeded", "", revisions, moment, moment)
        scene.deploy(shop, sources=sources, sync_revisions=revisions, operation=done)

    deploy(values=merge, shop=scene.base)
    scene.tick()
    assert scene.state(member) is State.MERGED
    deploy(values=scene.base, shop=merge)
    scene.tick()
    assert scene.state(member) is State.APPLIED


# Deliveries


def test_a_delivery_that_comes_twice_changes_nothing(scene: Scene) -> None:
    [member] = scene.open()
    scene.deploy(scene.merge(), phase="Succeeded")
    told = scene.tell_created(member)
    before = scene.document(member)
    scene.handler.handle(told)
    assert scene.document(member) == before
    assert len(scene.publisher.records) == 1


def test_a_crash_before_publishing_is_made_good_by_the_redelivery(scene: Scene) -> None:
    [member] = scene.open()
    scene.deploy(scene.merge(), phase="Succeeded")
    scene.publisher.down = True
    with pytest.raises(Temporary):
        scene.tell_created(member)
    assert scene.state(member) is State.APPLIED
    scene.publisher.down = False
    scene.tell_created(member)
    assert len(scene.applied) == 1


def test_a_tick_publishes_what_any_stage_left_unsent_for_a_minute(scene: Scene) -> None:
    document = scene.propose()
    record = event(document.proposal, id=document.id).record()
    unsent = Entry(cause=scan_event().id, record=record, at=scene.now)
    scene.recommendations.documents[document.id] = document.model_copy(update={"ledger": (unsent,)})
    scene.tick()
    assert scene.publisher.records == []
    scene.now += timedelta(seconds=61)
    scene.tick()
    assert [one.topic for one in scene.publisher.events] == [Topic.RECOMMENDATION_CREATED]
    scene.tick()
    assert len(scene.publisher.records) == 1


@pytest.mark.parametrize("state", [State.CREATED, State.APPROVED])
def test_a_proposal_that_nobody_took_up_for_a_day_is_closed(scene: Scene, state: State) -> None:
    document = scene.propose(state=state)
    scene.now += timedelta(hours=24)
    scene.tick()
    assert scene.state(document.id) is state
    scene.now += timedelta(seconds=1)
    scene.tick()
    closed = scene.document(document.id)
    assert (closed.state, closed.slot) == (State.CLOSED, None)
    [failed] = scene.failed
    assert (failed.reason, failed.message) == (FailureReason.EXPIRED, f"{state} for more than 24 hours")


def test_webhooks_leave_the_housekeeping_to_the_ticks(scene: Scene) -> None:
    document = scene.propose()
    scene.now += timedelta(hours=25)
    scene.tick("git_host", repository=REPOSITORY, pull_request=1)
    scene.tick("argocd", application="shop")
    assert scene.state(document.id) is State.CREATED


@pytest.mark.parametrize(
    ("hint", "looks"),
    [
        ({"reason": "git_host", "repository": REPOSITORY, "pull_request": 1}, True),
        ({"reason": "git_host", "repository": "ACME/Shop"}, True),
        ({"reason": "git_host", "repository": REPOSITORY, "pull_request": 2}, False),
        ({"reason": "git_host", "repository": "acme/other"}, False),
        ({"reason": "argocd", "application": "shop"}, True),
        ({"reason": "argocd", "application": "other"}, False),
        ({"reason": "schedule"}, True),
    ],
)
def test_a_hint_says_where_to_look(scene: Scene, hint: dict[str, Any], *, looks: bool) -> None:
    [member] = scene.open()
    scene.merge()
    scene.tick(**hint)
    assert scene.state(member) is (State.MERGED if looks else State.PR_OPEN)


def test_another_clusters_changes_are_left_alone(scene: Scene) -> None:
    [member] = scene.open()
    scene.merge()
    scene.handler.handle(event(ReconcileRequested(cluster="other", reason="schedule")))
    assert scene.state(member) is State.PR_OPEN


def test_an_argo_cd_that_is_down_does_not_hide_what_the_git_host_knows(scene: Scene) -> None:
    [earlier] = scene.open(CART)
    scene.merge()
    scene.tick()
    older = scene.document(earlier).model_copy(update={"scanned_at": NOW - timedelta(hours=1)})
    scene.recommendations.documents[earlier] = older
    [closed] = scene.open(CHECKOUT)
    scene.host.close_by_hand(REPOSITORY, 2)
    scene.argocd.down = True
    with pytest.raises(Temporary):
        scene.tick()
    assert (scene.state(earlier), scene.state(closed)) == (State.MERGED, State.CLOSED)


def test_a_git_host_that_is_down_loses_nothing(scene: Scene) -> None:
    [member] = scene.open()
    scene.deploy(scene.merge(), phase="Succeeded")
    scene.host.down = True
    with pytest.raises(Temporary):
        scene.tick()
    scene.host.down = False
    scene.tick()
    assert scene.state(member) is State.APPLIED


def test_a_change_document_whose_members_have_all_moved_on_is_ended_by_a_tick(scene: Scene) -> None:
    [member] = scene.open()
    scene.merge()
    scene.tick()
    stale = scene.changes.documents[f"{REPOSITORY}#1"].model_copy(update={"state": "open", "ended_at": None})
    scene.changes.documents[stale.id] = stale
    scene.deploy(scene.host.head(REPOSITORY, "main") or "", phase="Succeeded")
    scene.tick()
    assert scene.state(member) is State.APPLIED
    assert scene.changes.documents[stale.id].state == "merged"


def test_a_pull_request_that_the_git_host_will_not_show_stops_nobody_else(scene: Scene) -> None:
    cart, checkout = scene.open(CART, CHECKOUT)
    document = scene.document(cart)
    assert document.pull_request is not None
    gone = document.pull_request.model_copy(update={"number": 99})
    scene.recommendations.documents[cart] = document.model_copy(update={"pull_request": gone})
    scene.merge()
    scene.tick()
    assert (scene.state(cart), scene.state(checkout)) == (State.PR_OPEN, State.MERGED)


# One that fails, and the others

WEB = Workload(cluster="local", namespace="shop", kind="Deployment", name="web")


def two_applications(scene: Scene, other: str = "other", namespace: str = "argocd") -> tuple[list[str], str]:
    """Members of `shop` and one of another Application, all merged and live, none looked at yet."""
    several = scene.open(CART, CHECKOUT)
    scene.merge(1)
    qualified = other if namespace == "argocd" else f"{namespace}/{other}"
    [single] = scene.open(WEB, application=qualified)
    merge = scene.merge(2)
    shop = scene.deploy(merge, phase="Succeeded")
    web = replace(shop.resources[0], name="web")
    scene.argocd.put(replace(shop, name=other, namespace=namespace, resources=(web,)), [live("web", "640Mi")])
    return several, single


@pytest.mark.parametrize("hanging", ["shop", "other"])
def test_an_application_that_hangs_is_asked_once_and_holds_up_nobody_else(scene: Scene, hanging: str) -> None:
    several, single = two_applications(scene)
    scene.argocd.hangs.add(hanging)
    with pytest.raises(Temporary, match=f"ReadTimeout: {hanging}"):
        scene.tick()
    stuck, fine = (several, [single]) if hanging == "shop" else ([single], several)
    assert {scene.state(one) for one in stuck} == {State.MERGED}
    assert {scene.state(one) for one in fine} == {State.APPLIED}
    assert {change.state for change in scene.changes.documents.values()} == {"merged"}
    assert sorted(scene.argocd.asked) == ["other", "shop"]
    scene.argocd.hangs.clear()
    scene.tick()
    assert {scene.state(one) for one in stuck} == {State.APPLIED}


@pytest.mark.parametrize("number", [1, 2])
def test_a_pull_request_that_cannot_be_looked_at_now_holds_up_nobody_else(scene: Scene, number: int) -> None:
    several, single = two_applications(scene)
    scene.host.broken.add(f"{REPOSITORY}#{number}")
    with pytest.raises(Temporary, match=f"502 at pull request {REPOSITORY}#{number}"):
        scene.tick()
    stuck, fine = (several, [single]) if number == 1 else ([single], several)
    assert {scene.state(one) for one in stuck} == {State.PR_OPEN}
    assert {scene.state(one) for one in fine} == {State.APPLIED}
    ended = {change.number: change.state for change in scene.changes.documents.values()}
    assert ended == {number: "open", 3 - number: "merged"}


def test_a_webhook_that_fails_does_what_the_ticks_behind_it_would_do(scene: Scene) -> None:
    several, single = two_applications(scene)
    scene.argocd.hangs.add("shop")
    with pytest.raises(Temporary):
        scene.tick("argocd", application="shop")
    assert {scene.state(one) for one in several} == {State.MERGED}
    assert scene.state(single) is State.APPLIED


def test_a_live_object_that_cannot_be_read_holds_up_nobody_else(scene: Scene) -> None:
    several, single = two_applications(scene)
    scene.argocd.live["shop"] = [live("cart", "a lot"), live("checkout", "640Mi")]
    with pytest.raises(ValueError, match="a lot"):
        scene.tick()
    assert [scene.state(one) for one in (*several, single)] == [State.MERGED, State.APPLIED, State.APPLIED]


def test_of_two_applications_of_one_name_each_is_asked_for_its_own(scene: Scene) -> None:
    several, single = two_applications(scene, other="shop", namespace="team-a")
    scene.argocd.hangs.add("shop")
    with pytest.raises(Temporary):
        scene.tick()
    assert {scene.state(one) for one in several} == {State.MERGED}
    assert [(one.recommendation_id, one.application) for one in scene.applied] == [(single, "team-a/shop")]


def test_a_notification_names_an_application_without_its_namespace(scene: Scene) -> None:
    _, single = two_applications(scene, namespace="team-a")
    scene.tick("argocd", application="other")
    assert scene.state(single) is State.APPLIED
