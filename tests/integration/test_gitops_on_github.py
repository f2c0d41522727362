"""The gitops stage on the GitHub stand-in, through PyGithub: many at once, lost answers, one pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest

from shared.adapters.github import GitHubHost
from shared.contracts.envelope import NO_TIME, Event
from shared.contracts.errors import Temporary
from shared.contracts.events import FailureReason
from shared.contracts.git_host import PullState
from shared.contracts.policy import Policy, Rules
from shared.contracts.states import State
from tests.fakes.gitops import BRANCH, PROPOSED, Stage, application, manifest, path
from tests.github_standin_process import (
    GitHubStandin,
    create_repository,
    git,
    github_standin,
    push_files,
)

NAMES = tuple(f"w{index}" for index in range(6))


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHubStandin]:
    with github_standin(tmp_path_factory.mktemp("github")) as running:
        yield running


@pytest.fixture
def stage(standin: GitHubStandin, request: pytest.FixtureRequest) -> Stage:
    name = "acme/" + re.sub(r"\W+", "-", request.node.name).strip("-")
    bare = create_repository(standin.root, name, {path(one): manifest(one) for one in NAMES})
    made = Stage(another(standin), name)
    made.argocd.put(application(*NAMES, url=str(bare)))
    return made


def another(standin: GitHubStandin) -> GitHubHost:
    return GitHubHost(standin.url, standin.token, write_pause=0)


def deliver(stage: Stage, event: Event, *, auto_merge: bool = False) -> None:
    """As KafkaSource does: again, while it may help."""
    handler = stage.handler(auto_merge=auto_merge)
    for _ in range(10):
        try:
            handler.handle(event)
        except Temporary:
            continue
        return
    raise AssertionError("never handled")


@pytest.mark.parametrize("auto_merge", [False, True])
def test_deliveries_at_once_from_several_processes_end_in_one_pull_request(
    stage: Stage, standin: GitHubStandin, auto_merge: bool
) -> None:
    events = [stage.approve(name) for name in NAMES]
    # Each with its own client, as replicas have; the documents are shared.
    stages = [
        Stage(
            another(standin),
            stage.repository,
            stage.argocd,
            stage.recommendations,
            stage.changes,
            publisher=stage.publisher,
        )
        for _ in events
    ]
    with ThreadPoolExecutor(len(events)) as pool:
        list(pool.map(lambda both: deliver(*both, auto_merge=auto_merge), zip(stages, events, strict=True)))
    pulls = stage.host.pull_requests(stage.repository, BRANCH)
    assert len(pulls) == 1
    assert pulls[0].state is (PullState.MERGED if auto_merge else PullState.OPEN)
    (change,) = stage.changes.documents.values()
    assert change.head == pulls[0].head
    assert set(change.members) == {stage.of(one).id for one in events}
    for name, event in zip(NAMES, events, strict=True):
        assert stage.of(event).state is State.PR_OPEN
        assert stage.manifest(name, "main" if auto_merge else BRANCH) == manifest(name, PROPOSED)
    assert len({record.event_id for record in stage.publisher.records}) == len(NAMES)


@pytest.mark.parametrize(
    ("route", "method"),
    [("/git/refs$", "POST"), ("/git/refs/heads", "PATCH"), ("/pulls$", "POST"), ("/merge$", "PUT")],
)
def test_an_answer_that_is_lost_is_no_second_pull_request(
    stage: Stage, standin: GitHubStandin, route: str, method: str
) -> None:
    if method == "PATCH":
        deliver(stage, stage.approve("w1"))
    fault = {"path": f"{stage.repository}.*{route}", "method": method, "status": 502, "after": True}
    assert standin.call("POST", "/_standin/faults", json=fault).status_code < 300
    event = stage.approve("w0")
    with pytest.raises(Temporary):
        stage.handler(auto_merge=True).handle(event)
    deliver(stage, event, auto_merge=True)
    assert [pull.number for pull in stage.host.pull_requests(stage.repository, BRANCH)] == [1]
    assert stage.of(event).state is State.PR_OPEN
    assert stage.manifest("w0", "main") == manifest("w0", PROPOSED)


def test_a_throttled_or_missing_host_loses_nothing(stage: Stage, standin: GitHubStandin) -> None:
    event = stage.approve("w0")
    fault = {"path": stage.repository, "status": 429, "times": 3}
    assert standin.call("POST", "/_standin/faults", json=fault).status_code < 300
    deliver(stage, event)
    assert stage.of(event).state is State.PR_OPEN


def test_a_conflict_with_the_base_is_healed_and_the_commits_are_ours(
    stage: Stage, standin: GitHubStandin
) -> None:
    deliver(stage, stage.approve("w0"))
    bare = standin.root / f"{stage.repository}.git"
    moved = manifest("w0").replace("resources:", "image: new\n        resources:")
    push_files(bare, "main", {path("w0"): moved}, "by hand")
    assert stage.host.pull_request(stage.repository, 1).mergeable is False
    deliver(stage, replace(stage.tick(), time=NO_TIME), auto_merge=True)
    assert stage.host.pull_request(stage.repository, 1).state is PullState.MERGED
    assert git("show", f"main:{path('w0')}", directory=bare).rstrip() == (
        manifest("w0", PROPOSED).replace("resources:", "image: new\n        resources:").rstrip()
    )
    log = git("log", "--format=%an <%ae> %aI", f"refs/heads/{BRANCH}", "-1", directory=bare)
    assert log == "kubefinops <autopilot@kubefinops.io> 2026-11-23T12:00:00+00:00"


@pytest.mark.parametrize("by", ["setting", "policy"])
def test_a_pause_takes_back_the_merge_that_was_left_to_github(
    stage: Stage, standin: GitHubStandin, by: str
) -> None:
    as_alice = partial(standin.call, login="alice")
    here = f"/repos/{stage.repository}"
    rules = {
        "required_status_checks": None,
        "enforce_admins": True,
        "restrictions": None,
        "required_pull_request_reviews": {"required_approving_review_count": 1},
    }
    assert as_alice("PUT", f"{here}/branches/main/protection", json=rules).ok
    assert as_alice("PATCH", here, json={"allow_auto_merge": True}).ok
    deliver(stage, stage.approve("w0"), auto_merge=True)
    assert stage.host.pull_request(stage.repository, 1).auto_merge
    if by == "policy":
        stage.policies.policies.append(Policy(name="stop", version=1, rules=Rules(pause=True)))
    stage.handler(auto_merge=True, pause=by == "setting").handle(stage.tick(1))
    assert not stage.host.pull_request(stage.repository, 1).auto_merge
    assert as_alice("POST", f"{here}/pulls/1/reviews", json={"event": "APPROVE"}).ok
    stage.handler(auto_merge=True, pause=by == "setting").handle(stage.tick(2))
    assert stage.host.pull_request(stage.repository, 1).state is PullState.OPEN
    stage.policies.policies.clear()
    deliver(stage, stage.tick(3), auto_merge=True)
    assert stage.host.pull_request(stage.repository, 1).state is PullState.MERGED


def test_a_token_without_rights_to_the_repository_is_a_failure(stage: Stage) -> None:
    stage.argocd.put(application(*NAMES, url="https://git.example/acme/unknown.git"))
    event = stage.approve("w0")
    stage.handler().handle(event)
    assert (stage.of(event).state, stage.of(event).reason) == (State.FAILED, FailureReason.REFUSED)
