"""From approvals to one pull request for each Application, whatever is late, doubled or in between."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, NoReturn

import pytest
import yaml

from functions.argocd.correlating import differences
from functions.gitops.message import members_in
from shared.contracts.envelope import NO_TIME, Event
from shared.contracts.errors import Refused, Temporary
from shared.contracts.events import FailureReason, Outcome, PullRequestCreated, Resources
from shared.contracts.git_host import Comparison, Pull, PullState
from shared.contracts.money import Money
from shared.contracts.policy import Policy, Rules
from shared.contracts.pricing import saving_of
from shared.contracts.states import State
from tests.examples import MIB, NOW, container, resources
from tests.fakes.git_host import FakeGitHost
from tests.fakes.gitops import (
    BRANCH,
    CURRENT,
    PROPOSED,
    REPOSITORY,
    Crash,
    CrashBefore,
    MeanwhileBefore,
    Stage,
    application,
    manifest,
    path,
    stage,
)


def fake(made: Stage) -> FakeGitHost:
    assert isinstance(made.host, FakeGitHost)
    return made.host


def payloads(made: Stage) -> list[PullRequestCreated]:
    return [
        one.data for one in made.publisher.on("gitops.pr.created") if isinstance(one.data, PullRequestCreated)
    ]


def test_an_approval_becomes_a_pull_request_with_exactly_its_values() -> None:
    made = stage("cart", "web")
    approved = made.approve("cart")
    made.handler().handle(approved)
    assert made.manifest("cart") == manifest("cart", PROPOSED)
    assert made.manifest("web") == manifest("web")
    assert made.manifest("cart", "main") == manifest("cart")
    document = made.of(approved)
    head = made.host.head(REPOSITORY, BRANCH)
    assert document.state is State.PR_OPEN
    assert document.application == "shop"
    assert document.pull_request is not None
    assert (document.pull_request.number, document.pull_request.commit) == (1, head)
    (payload,) = payloads(made)
    assert (payload.group, payload.files, payload.branch, payload.base) == (
        "shop",
        (path("cart"),),
        BRANCH,
        "main",
    )
    (change,) = made.changes.documents.values()
    assert (change.id, change.group, change.head, change.members) == (
        "acme/shop#1",
        "local/shop",
        head,
        (document.id,),
    )
    pull = made.host.pull_request(REPOSITORY, 1)
    assert pull.state is PullState.OPEN
    assert pull.labels == ("kubefinops",)
    for said in (
        document.id,
        "shop/Deployment/cart",
        "1 → **600m**",
        "1Gi → **640Mi**",
        "3 pods",
        "xychart-beta",
    ):
        assert said in pull.body


def test_one_delivery_takes_all_approved_of_its_application_and_the_others_are_late() -> None:
    made = stage("cart", "web", "pay")
    events = [made.approve(name) for name in ("cart", "web", "pay")]
    handler = made.handler()
    handler.handle(events[0])
    assert {made.of(one).state for one in events} == {State.PR_OPEN}
    writes = fake(made).writes
    for one in events:
        handler.handle(one)
    assert fake(made).writes == writes
    assert len(payloads(made)) == 3
    assert len(made.publisher.records) == 3
    commit = made.host.commit(REPOSITORY, str(made.host.head(REPOSITORY, BRANCH)))
    assert set(members_in(commit.message)) == {made.of(one).id for one in events}


def test_a_later_approval_joins_the_open_pull_request() -> None:
    made = stage("cart", "web")
    first = made.approve("cart")
    made.handler().handle(first)
    second = made.approve("web")
    made.handler().handle(second)
    assert (made.manifest("cart"), made.manifest("web")) == (
        manifest("cart", PROPOSED),
        manifest("web", PROPOSED),
    )
    assert [pull.number for pull in made.host.pull_requests(REPOSITORY, BRANCH)] == [1]
    assert "2 workloads" in made.host.pull_request(REPOSITORY, 1).title
    (change,) = made.changes.documents.values()
    assert change.members == tuple(sorted((made.of(first).id, made.of(second).id)))
    assert {payload.number for payload in payloads(made)} == {1}


def test_a_redelivery_changes_nothing_and_publishes_nothing_new() -> None:
    made = stage("cart")
    approved = made.approve("cart")
    made.handler().handle(approved)
    before = (made.host.head(REPOSITORY, BRANCH), dict(made.changes.documents), list(made.publisher.records))
    made.handler().handle(approved)
    made.handler().handle(made.tick())
    assert (made.host.head(REPOSITORY, BRANCH), made.changes.documents, made.publisher.records) == before


def test_what_was_not_published_is_published_by_the_redelivery() -> None:
    made = stage("cart", "web")
    cart, web = made.approve("cart"), made.approve("web")
    made.publisher.down = True
    with pytest.raises(Temporary):
        made.handler().handle(cart)
    made.publisher.down = False
    made.handler().handle(cart)
    assert {payload.recommendation_id for payload in payloads(made)} == {made.of(cart).id, made.of(web).id}


# Endings without a pull request


@pytest.mark.parametrize(
    ("change", "reason", "said"),
    [
        (
            lambda made: made.argocd.by_name.clear(),
            FailureReason.NOT_LOCATED,
            "no single Argo CD Application",
        ),
        (
            lambda made: made.argocd.put(application("cart", name="other")),
            FailureReason.NOT_LOCATED,
            "no single Argo CD Application",
        ),
        (
            lambda made: made.argocd.put(application("cart", folder="")),
            FailureReason.NOT_LOCATED,
            "deploys a Helm chart",
        ),
        (
            lambda made: made.argocd.put(application("cart", folder="apps/none")),
            FailureReason.NOT_LOCATED,
            "no manifest of Deployment shop/cart",
        ),
        (
            lambda made: fake(made).push(REPOSITORY, "main", {path("cart"): manifest("cart", PROPOSED)}),
            FailureReason.ALREADY_IN_GIT,
            "already in Git",
        ),
        (
            lambda made: fake(made).push(
                REPOSITORY, "main", {path("cart"): manifest("cart", CURRENT.replace("cpu: 1", "cpu: 2"))}
            ),
            FailureReason.MANAGED_ELSEWHERE,
            "managed-elsewhere",
        ),
    ],
)
def test_what_cannot_be_changed_in_git_becomes_advice(
    change: Callable[[Stage], object], reason: FailureReason, said: str
) -> None:
    made = stage("cart")
    change(made)
    approved = made.approve("cart")
    made.handler().handle(approved)
    document = made.of(approved)
    assert document.state is State.ADVISORY
    assert document.reason == reason
    (event,) = made.publisher.on("change.failed")
    assert said in str(document.message)
    assert event.data.reason is reason  # type: ignore[attr-defined]
    assert made.host.pull_requests(REPOSITORY, BRANCH) == []


def test_ignored_differences_would_merge_and_never_apply() -> None:
    made = stage("cart")
    rule = {
        "group": "apps",
        "kind": "Deployment",
        "jsonPointers": ["/spec/template/spec/containers/0/resources"],
    }
    made.argocd.put(
        replace(
            application("cart"), ignore_differences=(rule,), sync_options=("RespectIgnoreDifferences=true",)
        )
    )
    approved = made.approve("cart")
    made.handler().handle(approved)
    assert made.of(approved).reason == FailureReason.MANAGED_ELSEWHERE
    other = stage("cart")
    other.argocd.put(replace(application("cart"), ignore_differences=(rule,)))
    approved = other.approve("cart")
    other.handler().handle(approved)
    assert other.of(approved).state is State.PR_OPEN


def test_an_application_that_follows_a_tag_has_nothing_to_change() -> None:
    made = stage("cart")
    plain = application("cart")
    made.argocd.put(replace(plain, sources=(replace(plain.source, target_revision="v1.2"),)))
    approved = made.approve("cart")
    made.handler().handle(approved)
    assert made.of(approved).state is State.ADVISORY
    assert "'v1.2'" in str(made.of(approved).message)


def test_a_host_that_refuses_is_a_failure_with_its_reason() -> None:
    made = stage("cart")
    fake(made).refuses_branches = "422: protected branch"
    approved = made.approve("cart")
    made.handler().handle(approved)
    document = made.of(approved)
    assert (document.state, document.reason) == (State.FAILED, FailureReason.REFUSED)
    assert "protected branch" in str(document.message)


def test_a_repository_that_is_not_there_is_a_failure() -> None:
    made = stage("cart")
    made.argocd.put(application("cart", url="https://git.example/acme/none"))
    approved = made.approve("cart")
    made.handler().handle(approved)
    assert made.of(approved).state is State.FAILED


@pytest.mark.parametrize("what", ["host", "argocd"])
def test_what_is_down_is_tried_again(what: str) -> None:
    made = stage("cart")
    approved = made.approve("cart")
    system = fake(made) if what == "host" else made.argocd
    system.down = True
    with pytest.raises(Temporary):
        made.handler().handle(approved)
    assert made.of(approved).state is State.APPROVED
    system.down = False
    made.handler().handle(approved)
    assert made.of(approved).state is State.PR_OPEN


def test_what_a_webhook_says_of_the_time_dates_neither_the_commit_nor_the_pull_request() -> None:
    """A push without a commit has no time at all, and another's committer chose it."""
    heads = set()
    for moment in (NO_TIME, NOW, NOW + timedelta(days=300)):
        made = stage("cart")
        fake(made).now = NOW + timedelta(minutes=7)
        approved = made.approve("cart")
        made.handler().handle(replace(made.tick(reason="git_host", repository=REPOSITORY), time=moment))
        assert made.of(approved).state is State.PR_OPEN
        (change,) = made.changes.documents.values()
        assert change.opened_at == NOW + timedelta(minutes=7)
        heads.add(change.head)
    assert len(heads) == 1


def test_one_without_a_manifest_does_not_hold_up_the_others() -> None:
    made = stage("cart", "web")
    made.argocd.put(application("cart", "web", "gone"))
    cart, gone = made.approve("cart"), made.approve("gone")
    made.handler().handle(cart)
    assert (made.of(cart).state, made.of(gone).state) == (State.PR_OPEN, State.APPROVED)
    made.handler().handle(gone)
    assert made.of(gone).state is State.ADVISORY


# Containers that are not in Git


PROXY = container("istio-proxy", resources(500, 512), resources(100, 128))
OF_APP = Money(amount=Decimal("31.17"))  # 400m and 384Mi of three pods; the example says 40.00 for all of it


def test_a_container_that_is_injected_is_left_alone_everywhere_and_the_others_go_live() -> None:
    made = stage("cart")
    approved = made.approve("cart", proposed=(container(), PROXY))
    made.handler().handle(approved)
    assert made.manifest("cart") == manifest("cart", PROPOSED)
    document = made.of(approved)
    assert (document.containers, document.not_in_git) == ((container(),), ("istio-proxy",))
    assert document.monthly_saving == saving_of((container(),), document.proposal) == OF_APP
    assert [one.name for one in document.proposal.containers] == ["app", "istio-proxy"]
    (payload,) = payloads(made)
    assert payload.not_in_git == ("istio-proxy",)
    pull = made.host.pull_request(REPOSITORY, 1)
    assert pull.title == f"Right-size shop/Deployment/cart of shop: saves {OF_APP} a month"
    assert "**istio-proxy** (1 workload)" in pull.body
    # What the stage argocd looks for in the cluster.
    live = yaml.safe_load(manifest("cart", PROPOSED))
    assert differences(document.containers, live) == ()


def test_a_later_look_at_what_has_an_injected_container_changes_nothing() -> None:
    made = stage("cart", "web")
    made.handler().handle(made.approve("cart", proposed=(container(), PROXY)))
    pull, writes = made.host.pull_request(REPOSITORY, 1), fake(made).writes
    made.handler().handle(made.tick())
    assert (made.host.pull_request(REPOSITORY, 1), fake(made).writes) == (pull, writes)
    made.handler().handle(made.approve("web"))
    assert made.manifest("cart") == manifest("cart", PROPOSED)
    commit = made.host.commit(REPOSITORY, str(made.host.head(REPOSITORY, BRANCH)))
    assert {one.not_in_git for one in members_in(commit.message).values()} == {("istio-proxy",), ()}
    assert "**istio-proxy** (1 workload)" in made.host.pull_request(REPOSITORY, 1).body


def test_what_was_merged_before_its_document_told_of_it_is_without_what_is_not_in_git() -> None:
    made = stage("cart")
    approved = made.approve("cart", proposed=(container(), PROXY))
    with pytest.raises(Crash):
        made.handler(crash=CrashBefore(10_000, "advance")).handle(approved)
    assert made.of(approved).not_in_git == ()
    fake(made).merge_by_hand(REPOSITORY, 1)
    made.handler().handle(approved)
    document = made.of(approved)
    assert document.state is State.PR_OPEN
    assert (document.containers, document.not_in_git) == ((container(),), ("istio-proxy",))
    assert document.monthly_saving == OF_APP


def test_a_change_of_injected_containers_alone_becomes_advice_that_says_so() -> None:
    made = stage("cart")
    stays = container(proposed=container().current)
    approved = made.approve("cart", proposed=(stays, PROXY))
    made.handler().handle(approved)
    document = made.of(approved)
    assert (document.state, document.reason) == (State.ADVISORY, FailureReason.NOT_LOCATED)
    assert "'istio-proxy' in Git: most likely injected at admission" in str(document.message)


# Pause, approval, merging


PAUSE = Policy(name="stop", version=1, rules=Rules(pause=True))


@pytest.mark.parametrize("by", ["setting", "policy"])
def test_while_paused_nothing_is_opened_and_a_later_tick_goes_on(by: str) -> None:
    made = stage("cart", policies=(PAUSE,) if by == "policy" else ())
    approved = made.approve("cart")
    made.handler(pause=by == "setting").handle(approved)
    made.handler(pause=by == "setting").handle(made.tick(1))
    assert made.of(approved).state is State.APPROVED
    assert fake(made).writes == 0
    made.policies.policies.clear()
    made.handler().handle(made.tick(2))
    assert made.of(approved).state is State.PR_OPEN


def test_a_policy_pauses_only_where_it_applies() -> None:
    elsewhere = PAUSE.model_copy(update={"namespaces": ("other",)})
    made = stage("cart", policies=(elsewhere,))
    approved = made.approve("cart")
    made.handler().handle(approved)
    assert made.of(approved).state is State.PR_OPEN


def test_while_paused_nothing_is_merged() -> None:
    made = stage("cart")
    made.handler().handle(made.approve("cart"))
    made.handler(auto_merge=True, pause=True).handle(made.tick(1))
    made.policies.policies.append(PAUSE)
    made.handler(auto_merge=True).handle(made.tick(2))
    assert made.host.pull_request(REPOSITORY, 1).state is PullState.OPEN
    made.policies.policies.clear()
    made.handler(auto_merge=True).handle(made.tick(3))
    assert made.host.pull_request(REPOSITORY, 1).state is PullState.MERGED


def armed(*names: str) -> Stage:
    """A pull request that waits for a review, after which the host merges it by itself."""
    made = stage(*names)
    fake(made).required_reviews = 1
    made.handler(auto_merge=True).handle(made.approve(names[0]))
    assert made.host.pull_request(REPOSITORY, 1).auto_merge
    return made


@pytest.mark.parametrize("by", ["setting", "policy"])
def test_a_pause_takes_back_what_the_host_was_to_merge_and_its_end_asks_for_it_again(by: str) -> None:
    made = armed("cart")
    if by == "policy":
        made.policies.policies.append(PAUSE)
    made.handler(auto_merge=True, pause=by == "setting").handle(made.tick(1))
    assert not made.host.pull_request(REPOSITORY, 1).auto_merge
    fake(made).approve(REPOSITORY, 1)
    made.handler(auto_merge=True, pause=by == "setting").handle(made.tick(2))
    assert made.host.pull_request(REPOSITORY, 1).state is PullState.OPEN
    fake(made).required_reviews = 2
    made.policies.policies.clear()
    made.handler(auto_merge=True).handle(made.tick(3))
    assert made.host.pull_request(REPOSITORY, 1).auto_merge
    fake(made).approve(REPOSITORY, 1)
    assert made.host.pull_request(REPOSITORY, 1).state is PullState.MERGED


def pause_of(namespace: str) -> Policy:
    return PAUSE.model_copy(update={"namespaces": (namespace,)})


def armed_beside_front(*names: str) -> Stage:
    """As `armed("cart")`; the Application has Deployments of these names in the namespace `front` as well."""
    made = armed("cart", *names)
    own, *others = application("cart", *names).resources
    resources = (own, *(replace(one, namespace="front") for one in others))
    made.argocd.put(replace(application("cart"), resources=resources))
    moved = {path(one): manifest(one).replace("namespace: shop", "namespace: front") for one in names}
    fake(made).push(REPOSITORY, "main", moved)
    return made


def test_a_pause_of_one_member_takes_back_the_merge_while_another_comes_to_the_pull_request() -> None:
    made = armed_beside_front("web")
    made.policies.policies.append(pause_of("shop"))
    web = made.approve("web", namespace="front")
    made.handler(auto_merge=True).handle(web)
    assert made.of(web).state is State.PR_OPEN
    assert not made.host.pull_request(REPOSITORY, 1).auto_merge


@pytest.mark.parametrize("auto_merge", [False, True])
def test_a_pause_stops_what_the_event_that_began_before_it_has_not_come_to(auto_merge: bool) -> None:
    """Two Applications, one event: the second's pull request, and even the first's merge."""
    made = stage("cart", "web")
    made.argocd.put(application("cart"))
    made.argocd.put(application("web", name="front"))
    events = [made.approve("cart"), made.approve("web")]
    opened = fake(made).open_pull_request

    def pausing(*args: Any, **kwargs: Any) -> Pull:
        made.policies.policies.append(PAUSE)
        return opened(*args, **kwargs)

    fake(made).open_pull_request = pausing  # type: ignore[method-assign]
    made.handler(auto_merge=auto_merge).handle(made.tick())
    assert sorted(made.of(one).state for one in events) == [State.APPROVED, State.PR_OPEN]
    assert made.host.pull_request(REPOSITORY, 1).state is PullState.OPEN


def test_a_pause_takes_back_the_merge_that_a_crash_left_before_a_document_told_of_it() -> None:
    made = stage("cart")
    fake(made).required_reviews = 1
    with pytest.raises(Crash):
        made.handler(auto_merge=True, crash=CrashBefore(10_000, "advance")).handle(made.approve("cart"))
    assert made.host.pull_request(REPOSITORY, 1).auto_merge
    made.policies.policies.append(PAUSE)
    made.handler(auto_merge=True).handle(made.tick())
    assert not made.host.pull_request(REPOSITORY, 1).auto_merge


# The calls after the push, up to the first record of it.
@pytest.mark.parametrize("call", ["edit_pull_request", "open_of", "put"])
def test_a_pause_of_what_a_crash_left_in_the_branch_alone_takes_back_the_merge(call: str) -> None:
    """Only the branch holds it by then: its document is approved, and the change does not name it."""
    made = armed_beside_front("web")
    web = made.approve("web", namespace="front")
    with pytest.raises(Crash):
        made.handler(auto_merge=True, crash=CrashBefore(10_000, call)).handle(web)
    assert "600m" in str(made.manifest("web"))
    made.policies.policies.append(pause_of("front"))
    for number in (1, 2):
        made.handler(auto_merge=True).handle(web)
        made.handler(auto_merge=True).handle(made.tick(number))
    assert not made.host.pull_request(REPOSITORY, 1).auto_merge
    fake(made).approve(REPOSITORY, 1)
    made.handler(auto_merge=True).handle(made.tick(3))
    assert made.host.pull_request(REPOSITORY, 1).state is PullState.OPEN
    made.policies.policies.clear()
    made.handler(auto_merge=True).handle(made.tick(4))
    assert made.host.pull_request(REPOSITORY, 1).state is PullState.MERGED
    assert made.of(web).state is State.PR_OPEN


def test_such_a_merge_is_taken_back_even_while_another_member_cannot_be_rendered() -> None:
    """The group has something new, so its pull request is not tended besides."""
    made = armed_beside_front("web")
    web = made.approve("web", namespace="front")
    with pytest.raises(Crash):
        made.handler(auto_merge=True, crash=CrashBefore(10_000, "edit_pull_request")).handle(web)
    made.policies.policies.append(pause_of("front"))
    kustomize = {"apps/shop/kustomization.yaml": "resources: [cart.yaml, web.yaml]\n"}
    fake(made).push(REPOSITORY, "main", kustomize)
    made.approve("cart", scan_id="scan-2", proposed=container(proposed=resources(500, 640 * MIB)))

    def too_slow(*_: object) -> NoReturn:
        raise Temporary("kustomize took more than 30 s")

    with pytest.raises(Temporary, match="kustomize took"):
        made.handler(auto_merge=True, render=too_slow).handle(made.tick())
    assert not made.host.pull_request(REPOSITORY, 1).auto_merge


def test_a_pause_that_begins_while_a_group_is_looked_at_keeps_its_members_from_the_branch() -> None:
    """The others of the group go on."""
    made = armed_beside_front("web", "pay")
    cart = made.approve("cart", scan_id="scan-2", proposed=container(proposed=resources(500, 640 * MIB)))
    web = made.approve("web", namespace="front")
    compared = fake(made).compare

    def pausing(repository: str, base: str, head: str) -> Comparison:
        if not made.policies.policies:
            made.policies.policies.append(pause_of("front"))
        return compared(repository, base, head)

    fake(made).compare = pausing  # type: ignore[method-assign]
    made.handler(auto_merge=True).handle(made.tick())
    assert (made.of(cart).state, made.of(web).state) == (State.PR_OPEN, State.APPROVED)
    assert "500m" in str(made.manifest("cart"))
    assert "600m" not in str(made.manifest("web"))


def refuse_to_disarm(made: Stage, *, merged: bool) -> None:
    """As GitHub's GraphQL answers; `merged`: because a person has just merged it."""

    def refusing(repository: str, number: int) -> NoReturn:
        if merged and made.host.pull_request(repository, number).state is PullState.OPEN:
            fake(made).merge_by_hand(repository, number)
        raise Refused("invalid", "Can't disable auto-merge for this pull request.")

    fake(made).disable_auto_merge = refusing  # type: ignore[method-assign]


@pytest.mark.parametrize("merged", [False, True])
def test_a_host_that_does_not_take_back_a_merge_ends_no_approval(merged: bool) -> None:
    made = armed_beside_front("web")
    refuse_to_disarm(made, merged=merged)
    made.policies.policies.append(pause_of("shop"))
    web = made.approve("web", namespace="front")
    made.handler(auto_merge=True).handle(web)
    document = made.of(web)
    assert (document.state, document.reason) == (State.PR_OPEN, None)
    assert document.pull_request is not None
    assert document.pull_request.number == (2 if merged else 1)
    assert made.publisher.on("change.failed") == []
    assert merged or made.host.pull_request(REPOSITORY, 1).state is PullState.OPEN


@pytest.mark.parametrize("merged", [False, True])
def test_what_needs_a_person_comes_to_no_pull_request_that_the_host_goes_on_to_merge(merged: bool) -> None:
    """One that was merged meanwhile is none: the next one takes it."""
    made = armed("cart", "web")
    refuse_to_disarm(made, merged=merged)
    web = made.approve("web", outcome=Outcome.REQUIRE_APPROVAL)
    made.handler(auto_merge=True).handle(web)
    assert made.of(web).state is (State.PR_OPEN if merged else State.FAILED)
    assert made.manifest("web", "main") == manifest("web")
    assert len(made.host.pull_requests(REPOSITORY, BRANCH)) == (2 if merged else 1)


def test_a_merge_that_only_a_person_asked_for_stays_taken_back_after_a_pause() -> None:
    made = stage("cart")
    fake(made).required_reviews = 1
    made.handler().handle(made.approve("cart"))
    fake(made).merge(REPOSITORY, 1, str(made.host.head(REPOSITORY, BRANCH)))
    assert made.host.pull_request(REPOSITORY, 1).auto_merge
    made.policies.policies.append(PAUSE)
    made.handler().handle(made.tick(1))
    made.policies.policies.clear()
    made.handler().handle(made.tick(2))
    assert not made.host.pull_request(REPOSITORY, 1).auto_merge


def test_what_policy_allows_is_merged_where_settings_permit_it() -> None:
    made = stage("cart", "web")
    events = [made.approve("cart"), made.approve("web")]
    for one in events:
        made.handler(auto_merge=True).handle(one)
    assert made.host.pull_request(REPOSITORY, 1).state is PullState.MERGED
    assert made.manifest("cart", "main") == manifest("cart", PROPOSED)
    assert {made.of(one).state for one in events} == {State.PR_OPEN}
    assert len(made.publisher.on("gitops.pr.created")) == 2


def test_the_host_merges_later_what_its_own_rules_hold_back() -> None:
    made = stage("cart")
    fake(made).required_reviews = 1
    made.handler(auto_merge=True).handle(made.approve("cart"))
    assert made.host.pull_request(REPOSITORY, 1).auto_merge
    fake(made).approve(REPOSITORY, 1)
    assert made.host.pull_request(REPOSITORY, 1).state is PullState.MERGED


def test_what_needs_a_person_is_not_merged_and_takes_back_the_auto_merge_of_the_others() -> None:
    made = stage("cart", "web")
    fake(made).required_reviews = 1
    made.handler(auto_merge=True).handle(made.approve("cart"))
    assert made.host.pull_request(REPOSITORY, 1).auto_merge
    web = made.approve("web", outcome=Outcome.REQUIRE_APPROVAL)
    made.handler(auto_merge=True).handle(web)
    pull = made.host.pull_request(REPOSITORY, 1)
    assert not pull.auto_merge
    assert "needs-approval" in pull.labels
    assert "Needs a person's review" in pull.body
    made.handler(auto_merge=True).handle(made.tick())
    fake(made).approve(REPOSITORY, 1)
    assert made.host.pull_request(REPOSITORY, 1).state is PullState.OPEN
    document = made.of(web)
    assert document.pull_request is not None
    assert document.pull_request.awaits_approval
    assert [payload.awaits_approval for payload in payloads(made)] == [False, True]


# What came in between


def test_a_newer_recommendation_takes_the_older_ones_place() -> None:
    made = stage("cart", "web")
    old, web = made.approve("cart"), made.approve("web")
    made.handler().handle(old)
    new = made.approve("cart", scan_id="scan-2", proposed=container("app", None, resources(300, 512, 512)))
    made.handler().handle(new)
    assert (made.of(old).state, made.of(new).state, made.of(web).state) == (
        State.SUPERSEDED,
        State.PR_OPEN,
        State.PR_OPEN,
    )
    assert "cpu: 300m" in str(made.manifest("cart"))
    assert made.manifest("web") == manifest("web", PROPOSED)
    (change,) = made.changes.documents.values()
    assert set(change.members) == {made.of(new).id, made.of(web).id}


def test_a_newer_one_that_cannot_be_written_leaves_the_older_in_its_place() -> None:
    made = stage("cart")
    old = made.approve("cart")
    made.handler().handle(old)
    missing = made.approve("cart", scan_id="scan-2", proposed=container("missing"))
    made.handler().handle(missing)
    assert (made.of(old).state, made.of(missing).state) == (State.PR_OPEN, State.ADVISORY)
    assert made.manifest("cart") == manifest("cart", PROPOSED)


def test_a_newer_one_waits_while_the_older_is_on_its_way_to_the_cluster() -> None:
    made = stage("cart")
    old = made.approve("cart")
    made.handler(auto_merge=True).handle(old)
    made.move(old, State.MERGED, "argocd")
    new = made.approve(
        "cart",
        scan_id="scan-2",
        proposed=container("app", resources(600, 640, 768), resources(300, 512, 512)),
    )
    made.handler().handle(new)
    assert made.of(new).state is State.APPROVED
    made.move(old, State.APPLIED, "argocd")
    made.handler().handle(made.tick())
    assert made.of(new).state is State.PR_OPEN
    document = made.of(new)
    assert document.pull_request is not None
    assert document.pull_request.number == 2


@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize("delete", [False, True])
def test_a_branch_that_was_merged_serves_the_next_pull_request(squash: bool, delete: bool) -> None:
    made = stage("cart", "web")
    fake(made).squash, fake(made).delete_branch_on_merge = squash, delete
    made.handler(auto_merge=True).handle(made.approve("cart"))
    made.handler().handle(made.approve("web"))
    assert [pull.number for pull in made.host.pull_requests(REPOSITORY, BRANCH)] == [2, 1]
    pull = made.host.pull_request(REPOSITORY, 2)
    assert (pull.state, pull.mergeable) == (PullState.OPEN, True)
    assert made.manifest("web") == manifest("web", PROPOSED)
    fake(made).merge_by_hand(REPOSITORY, 2)
    assert made.manifest("cart", "main") == manifest("cart", PROPOSED)
    assert made.manifest("web", "main") == manifest("web", PROPOSED)
    assert {one.state for one in made.changes.documents.values()} == {"merged", "open"}


def test_a_base_that_moved_in_the_same_file_is_merged_into_the_branch() -> None:
    made = stage("cart")
    approved = made.approve("cart")
    made.handler().handle(approved)
    moved = manifest("cart").replace("spec:\n  template", "spec:\n  replicas: 7\n  template")
    theirs = fake(made).push(REPOSITORY, "main", {path("cart"): moved})
    assert made.host.pull_request(REPOSITORY, 1).mergeable is False
    made.handler(auto_merge=True).handle(made.tick())
    assert made.host.compare(REPOSITORY, theirs, str(made.host.head(REPOSITORY, BRANCH))).contains_base
    assert made.manifest("cart", "main") == moved.replace(CURRENT, PROPOSED)
    assert made.host.pull_request(REPOSITORY, 1).state is PullState.MERGED


def test_a_base_that_moved_elsewhere_makes_no_new_commit() -> None:
    made = stage("cart", "web")
    made.handler().handle(made.approve("cart"))
    head = made.host.head(REPOSITORY, BRANCH)
    fake(made).push(REPOSITORY, "main", {"README.md": "news"})
    made.handler().handle(made.tick())
    assert made.host.head(REPOSITORY, BRANCH) == head


def test_a_persons_commit_on_the_branch_stops_our_updates() -> None:
    made = stage("cart", "web")
    cart = made.approve("cart")
    made.handler().handle(cart)
    theirs = fake(made).push(REPOSITORY, BRANCH, {path("cart"): manifest("cart", CURRENT)})
    web = made.approve("web")
    made.handler(auto_merge=True).handle(web)
    made.handler(auto_merge=True).handle(made.tick())
    assert made.host.head(REPOSITORY, BRANCH) == theirs
    assert made.host.pull_request(REPOSITORY, 1).state is PullState.OPEN
    assert (made.of(cart).state, made.of(web).state) == (State.PR_OPEN, State.ADVISORY)
    assert made.of(web).reason == FailureReason.EDITED_BY_PERSON
    assert "alice" in str(made.of(web).message)


def test_a_persons_commit_in_a_pull_request_that_has_ended_stops_nothing_more() -> None:
    made = stage("cart", "web")
    fake(made).squash = True
    made.handler().handle(made.approve("cart"))
    fake(made).push(REPOSITORY, BRANCH, {"README.md": "mine"})
    fake(made).merge_by_hand(REPOSITORY, 1)
    web = made.approve("web")
    made.handler().handle(web)
    assert made.of(web).state is State.PR_OPEN
    assert made.manifest("web") == manifest("web", PROPOSED)


def test_a_pull_request_that_a_person_closed_is_not_filled_again_but_a_new_one_is_opened() -> None:
    made = stage("cart", "web")
    cart = made.approve("cart")
    made.handler().handle(cart)
    fake(made).close_by_hand(REPOSITORY, 1)
    made.move(cart, State.CLOSED, "argocd")
    web = made.approve("web")
    made.handler().handle(web)
    assert made.host.pull_request(REPOSITORY, 2).state is PullState.OPEN
    assert made.manifest("cart") == manifest("cart")
    assert made.manifest("web") == manifest("web", PROPOSED)


def test_a_persons_note_in_the_body_stays_until_the_content_changes() -> None:
    made = stage("cart", "web")
    made.handler().handle(made.approve("cart"))
    pull = made.host.pull_request(REPOSITORY, 1)
    made.host.edit_pull_request(REPOSITORY, 1, title=pull.title, body=pull.body + "\nlooks good")
    web = made.approve("web", proposed=container("missing"))
    made.handler().handle(web)
    assert made.host.pull_request(REPOSITORY, 1).body.endswith("looks good")


def test_a_group_with_nothing_left_closes_its_pull_request() -> None:
    made = stage("cart")
    cart = made.approve("cart")
    made.handler().handle(cart)
    made.move(cart, State.CLOSED, "argocd")
    made.handler().handle(made.tick())
    assert made.host.pull_request(REPOSITORY, 1).state is PullState.CLOSED


def test_one_that_expires_while_its_values_are_pushed_is_taken_out_again() -> None:
    made = stage("cart", "web")
    cart, web = made.approve("cart"), made.approve("web")
    opened = fake(made).open_pull_request

    def expiring(*args: Any, **kwargs: Any) -> Pull:
        if made.of(web).state is State.APPROVED:
            made.move(web, State.CLOSED, "argocd")
        return opened(*args, **kwargs)

    fake(made).open_pull_request = expiring  # type: ignore[method-assign]
    made.handler().handle(cart)
    assert (made.of(cart).state, made.of(web).state) == (State.PR_OPEN, State.CLOSED)
    assert made.manifest("cart") == manifest("cart", PROPOSED)
    assert made.manifest("web") == manifest("web")
    (change,) = made.changes.documents.values()
    assert change.members == (made.of(cart).id,)


def test_what_was_pushed_in_the_moment_of_the_merge_is_given_up() -> None:
    made = stage("cart", "web")
    cart = made.approve("cart")
    made.handler().handle(cart)
    document = made.of(cart)
    assert document.pull_request is not None
    base = made.host.head(REPOSITORY, "main")
    assert base is not None
    late = made.host.write_commit(REPOSITORY, onto=base, parents=(base,), files={}, message="late", at=NOW)
    fake(made).merge_by_hand(REPOSITORY, 1)
    where = document.pull_request.model_copy(update={"commit": late})
    made.recommendations.documents[document.id] = document.model_copy(update={"pull_request": where})
    made.handler().handle(made.tick())
    assert (made.of(cart).state, made.of(cart).reason) == (State.CLOSED, FailureReason.MISSED_MERGE)
    (told,) = made.publisher.on("change.failed")
    assert told.data.reason is FailureReason.MISSED_MERGE  # type: ignore[attr-defined]


def test_a_hint_looks_only_at_what_it_names() -> None:
    made = stage("cart")
    approved = made.approve("cart")
    made.handler().handle(made.tick(1, reason="git_host", repository="acme/other"))
    made.handler().handle(made.tick(2, reason="argocd", application="other"))
    assert made.of(approved).state is State.APPROVED
    made.handler().handle(made.tick(3, reason="argocd", application="shop"))
    assert made.of(approved).state is State.PR_OPEN
    made.handler(auto_merge=True).handle(
        made.tick(4, reason="git_host", repository=REPOSITORY, pull_request=2)
    )
    assert made.host.pull_request(REPOSITORY, 1).state is PullState.OPEN
    made.handler(auto_merge=True).handle(
        made.tick(5, reason="git_host", repository=REPOSITORY, pull_request=1)
    )
    assert made.host.pull_request(REPOSITORY, 1).state is PullState.MERGED


def test_a_hint_may_write_the_repository_in_other_case_than_its_clone_url() -> None:
    made = stage("cart")
    approved = made.approve("cart")
    made.handler().handle(made.tick(1, reason="git_host", repository="Acme/SHOP"))
    assert made.of(approved).state is State.PR_OPEN
    made.handler(auto_merge=True).handle(
        made.tick(2, reason="git_host", repository="Acme/SHOP", pull_request=1)
    )
    assert made.host.pull_request(REPOSITORY, 1).state is PullState.MERGED


def test_two_applications_have_two_pull_requests() -> None:
    made = stage("cart", "web")
    made.argocd.put(application("cart"))
    made.argocd.put(application("web", name="front"))
    events = [made.approve("cart"), made.approve("web")]
    made.handler().handle(made.tick())
    assert {made.of(one).application for one in events} == {"shop", "front"}
    assert {change.branch for change in made.changes.documents.values()} == {BRANCH, "finops/local/front"}


# One that fails, and the others


def two_open() -> tuple[Stage, list[Event]]:
    """Two Applications, each with an open pull request: number 1 of `shop`, number 2 of `front`."""
    made = stage("cart", "web")
    made.argocd.put(application("cart"))
    made.argocd.put(application("web", name="front"))
    events = [made.approve("cart"), made.approve("web")]
    for approved in events:
        made.handler().handle(approved)
    return made, events


@pytest.mark.parametrize("number", [1, 2])
def test_a_pull_request_that_cannot_be_looked_at_now_does_not_hold_up_the_others(number: int) -> None:
    made, _ = two_open()
    fake(made).broken.add(f"{REPOSITORY}#{number}")
    with pytest.raises(Temporary, match="502"):
        made.handler(auto_merge=True).handle(made.tick())
    fake(made).broken.clear()
    states = {one: made.host.pull_request(REPOSITORY, one).state for one in (1, 2)}
    assert states == {number: PullState.OPEN, 3 - number: PullState.MERGED}


def test_a_group_that_cannot_be_rendered_in_time_keeps_no_other_pull_request_from_its_merge() -> None:
    made, _ = two_open()
    kustomize = {"apps/slow/kustomization.yaml": "resources: [slow.yaml]\n"}
    fake(made).push(REPOSITORY, "main", {"apps/slow/slow.yaml": manifest("slow"), **kustomize})
    made.argocd.put(application("slow", name="slow", folder="apps/slow"))
    slow = made.approve("slow")

    def too_slow(*_: object) -> NoReturn:
        raise Temporary("kustomize took more than 30 s")

    with pytest.raises(Temporary, match="kustomize took"):
        made.handler(auto_merge=True, render=too_slow).handle(made.tick())
    assert made.of(slow).state is State.APPROVED
    assert {made.host.pull_request(REPOSITORY, one).state for one in (1, 2)} == {PullState.MERGED}


def test_an_argo_cd_that_is_down_keeps_no_open_pull_request_from_its_merge() -> None:
    made, _ = two_open()
    made.approve("cart", scan_id="scan-2", proposed=container(proposed=resources(500, 640 * MIB)))
    made.argocd.down = True
    with pytest.raises(Temporary):
        made.handler(auto_merge=True).handle(made.tick())
    assert {made.host.pull_request(REPOSITORY, one).state for one in (1, 2)} == {PullState.MERGED}


def test_a_webhook_that_fails_does_what_the_ticks_behind_it_would_do() -> None:
    made, _ = two_open()
    fake(made).broken.add(f"{REPOSITORY}#1")
    with pytest.raises(Temporary):
        made.handler(auto_merge=True).handle(
            made.tick(reason="git_host", repository=REPOSITORY, pull_request=1)
        )
    assert made.host.pull_request(REPOSITORY, 2).state is PullState.MERGED


def test_two_applications_of_one_name_have_two_pull_requests() -> None:
    made = stage("cart", "web")
    made.argocd.put(application("cart"))
    made.argocd.put(replace(application("web"), namespace="team-a"))
    events = [made.approve("cart"), made.approve("web")]
    for approved in events:
        made.handler().handle(approved)
    assert [made.of(one).application for one in events] == ["shop", "team-a/shop"]
    found = {(one.group, one.branch) for one in made.changes.documents.values()}
    assert found == {("local/shop", BRANCH), ("local/team-a/shop", "finops/local/team-a_shop")}
    assert made.manifest("web", "finops/local/team-a_shop") != manifest("web")
    assert made.manifest("web", BRANCH) == manifest("web")


# Killed and delivered again


@pytest.mark.parametrize("auto_merge", [False, True])
def test_killed_before_any_step_the_redelivery_ends_the_same(auto_merge: bool) -> None:
    def prepared() -> tuple[Stage, Event]:
        made = stage("cart", "web", "pay")
        made.handler().handle(made.approve("pay"))
        older = container("app", None, resources(500, 512, 512))
        made.handler().handle(made.approve("web", scan_id="scan-0", proposed=older))
        made.approve("web")
        return made, made.approve("cart")

    def end(made: Stage) -> object:
        documents = {
            name: (one.state, one.pull_request, one.application, [entry.record for entry in one.ledger])
            for name, one in made.recommendations.documents.items()
        }
        published = {record.event_id: record for record in made.publisher.records}
        assert all(published[record.event_id] == record for record in made.publisher.records)
        pulls = made.host.pull_requests(REPOSITORY, BRANCH)
        return documents, made.changes.documents, pulls, published

    made, event = prepared()
    made.handler(auto_merge=auto_merge).handle(event)
    undisturbed = end(made)
    for call in range(200):
        made, event = prepared()
        crash = CrashBefore(call)
        try:
            made.handler(auto_merge=auto_merge, crash=crash).handle(event)
            break
        except Crash:
            made.handler(auto_merge=auto_merge).handle(event)
        assert end(made) == undisturbed, f"killed after {crash.calls[-3:]}"
    assert {"move_branch", "put", "advance", "publish", "mark_sent"} <= set(crash.calls)


# Many at once


@pytest.mark.parametrize("auto_merge", [False, True])
def test_deliveries_of_one_group_at_once_end_in_one_pull_request_with_all_members(auto_merge: bool) -> None:
    names = [f"w{index}" for index in range(8)]
    made = stage(*names)
    events = [made.approve(name) for name in names]
    handler = made.handler(auto_merge=auto_merge)

    def deliver(one: Event) -> None:
        for _ in range(10):  # KafkaSource's retries
            try:
                handler.handle(one)
            except Temporary:
                continue
            return
        raise AssertionError("never handled")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(deliver, [*events, *reversed(events)]))
    pulls = made.host.pull_requests(REPOSITORY, BRANCH)
    assert len(pulls) == 1
    branch = "main" if auto_merge else BRANCH
    for name, one in zip(names, events, strict=True):
        assert made.of(one).state is State.PR_OPEN
        assert made.manifest(name, branch) == manifest(name, PROPOSED)
    published = [record.event_id for record in made.publisher.records]
    assert len(set(published)) == 8
    (change,) = made.changes.documents.values()
    assert set(change.members) == {made.of(one).id for one in events}
    assert pulls[0].head == change.head


@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize("followed", [False, True])
def test_a_merge_at_any_moment_is_never_taken_back(squash: bool, followed: bool) -> None:
    """A person merges what is open while the next one is on its way; `followed`: argocd sees it at once."""
    moments, tried = 1, -1
    while tried < moments:
        tried += 1
        made = stage("cart", "web")
        fake(made).squash = squash
        cart = made.approve("cart")
        made.handler().handle(cart)
        web = made.approve("web")

        def merge(made: Stage = made, cart: Event = cart) -> None:
            fake(made).merge_by_hand(REPOSITORY, 1)
            if followed:
                made.move(cart, State.MERGED, "argocd")

        meanwhile = MeanwhileBefore(tried, merge)
        made.handler(crash=meanwhile).handle(web)
        moments = len(meanwhile.calls)
        for number in range(3):
            made.handler(auto_merge=True).handle(made.tick(number))
        assert made.manifest("cart", "main") == manifest("cart", PROPOSED), f"merged before call {tried}"
        assert made.manifest("web", "main") == manifest("web", PROPOSED), f"merged before call {tried}"
    assert moments > 10


@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize("dies", [False, True])
def test_another_delivery_that_merges_at_any_moment_leaves_both_in_git_and_told(
    dies: bool, squash: bool
) -> None:
    """`dies`: it is killed after the merge, before a document tells of the pull request."""
    moments, tried = 1, -1
    while tried < moments:
        tried += 1
        made = stage("cart", "web")
        fake(made).squash = squash
        events = [made.approve("cart"), made.approve("web")]

        def other(made: Stage = made, cart: Event = events[0]) -> None:
            crash = CrashBefore(10_000, "advance" if dies else None)
            with suppress(Crash):
                made.handler(auto_merge=True, crash=crash).handle(cart)

        meanwhile = MeanwhileBefore(tried, other)
        made.handler(auto_merge=True, crash=meanwhile).handle(events[1])
        moments = len(meanwhile.calls)
        for approved in events:
            made.handler(auto_merge=True).handle(approved)
        for number in range(3):
            made.handler(auto_merge=True).handle(made.tick(number))
        for name, approved in zip(("cart", "web"), events, strict=True):
            assert made.of(approved).state is State.PR_OPEN, f"the other before call {tried}"
            assert made.manifest(name, "main") == manifest(name, PROPOSED), f"the other before call {tried}"
        # A host that squashes cannot tell, at that one moment, that a second one has nothing to say.
        blind = squash and meanwhile.calls[tried : tried + 1] == ["open_pull_request"]
        pulls = made.host.pull_requests(REPOSITORY, BRANCH)
        assert len(pulls) == (2 if blind else 1), f"the other before call {tried}"
    assert moments > 10


def test_a_limit_that_is_not_set_stays_so() -> None:
    made = stage("cart", files={path("cart"): manifest("cart", "{requests: {cpu: 1, memory: 1Gi}}")})
    current = Resources(cpu_request_m=1000, memory_request_bytes=1024 * MIB)
    proposed = Resources(cpu_request_m=500, memory_request_bytes=1024 * MIB)
    made.handler().handle(made.approve("cart", proposed=container("app", current, proposed)))
    assert made.manifest("cart") == manifest("cart", "{requests: {cpu: 500m, memory: 1Gi}}")
