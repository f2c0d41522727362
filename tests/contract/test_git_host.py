"""One suite for every Git host: the fake in memory, and the GitHub stand-in through PyGithub."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from shared.adapters import github
from shared.adapters.github import GitHubHost
from shared.contracts.errors import Moved, Refused, Temporary, Throttled
from shared.contracts.git_host import GitHost, MergeOutcome, PullState, Relation
from tests.fakes.git_host import FakeGitHost
from tests.github_standin_process import (
    PERSON,
    GitHubStandin,
    create_repository,
    git,
    github_standin,
    push_files,
)
from tests.trickling import TRICKLES, sending

AT = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
FILES = {"README.md": "# shop\n", "apps/shop/app.yaml": "cpu: 500m\n", "apps/pay/app.yaml": "cpu: 1\n"}
BRANCH = "finops/local/shop"


class People(Protocol):
    """What people and the repository's owner do, on any backend."""

    repository: str

    @property
    def host(self) -> GitHost: ...

    def push(self, branch: str, files: Mapping[str, str]) -> str: ...
    def require_reviews(self, count: int) -> None: ...
    def allow_auto_merge(self) -> None: ...
    def approve(self, number: int) -> None: ...
    def merge(self, number: int) -> None: ...
    def close(self, number: int) -> None: ...


@dataclass
class OnFake:
    host: FakeGitHost
    repository: str

    def push(self, branch: str, files: Mapping[str, str]) -> str:
        return self.host.push(self.repository, branch, files)

    def require_reviews(self, count: int) -> None:
        self.host.required_reviews = count

    def allow_auto_merge(self) -> None:
        self.host.allow_auto_merge = True

    def approve(self, number: int) -> None:
        self.host.approve(self.repository, number)

    def merge(self, number: int) -> None:
        self.host.merge_by_hand(self.repository, number)

    def close(self, number: int) -> None:
        self.host.close_by_hand(self.repository, number)


@dataclass
class OnStandin:
    standin: GitHubStandin
    host: GitHubHost
    repository: str

    def _as_person(self, method: str, path: str, body: object) -> None:
        done = self.standin.call(method, f"/repos/{self.repository}{path}", login=PERSON, json=body)
        assert done.status_code < 300, done.text

    def push(self, branch: str, files: Mapping[str, str]) -> str:
        return push_files(self.standin.root / f"{self.repository}.git", branch, files, "by hand")

    def require_reviews(self, count: int) -> None:
        rules = {
            "required_status_checks": None,
            "enforce_admins": True,
            "restrictions": None,
            "required_pull_request_reviews": {"required_approving_review_count": count},
        }
        self._as_person("PUT", "/branches/main/protection", rules)

    def allow_auto_merge(self) -> None:
        self._as_person("PATCH", "", {"allow_auto_merge": True})

    def approve(self, number: int) -> None:
        self._as_person("POST", f"/pulls/{number}/reviews", {"event": "APPROVE"})

    def merge(self, number: int) -> None:
        self._as_person("PUT", f"/pulls/{number}/merge", {})

    def close(self, number: int) -> None:
        self._as_person("PATCH", f"/pulls/{number}", {"state": "closed"})


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHubStandin]:
    with github_standin(tmp_path_factory.mktemp("github")) as running:
        yield running


@pytest.fixture(params=["fake", "standin"])
def people(request: pytest.FixtureRequest) -> People:
    if request.param == "fake":
        host = FakeGitHost()
        host.allow_auto_merge = False
        host.push("acme/shop", "main", FILES, "initial")
        return OnFake(host, "acme/shop")
    running: GitHubStandin = request.getfixturevalue("standin")
    name = "acme/" + re.sub(r"\W+", "-", request.node.name).strip("-")
    create_repository(running.root, name, FILES)
    return OnStandin(running, GitHubHost(running.url, running.token, write_pause=0), name)


def write(
    people: People, files: Mapping[str, str], *parents: str, onto: str | None = None, at: datetime = AT
) -> str:
    base = people.host.head(people.repository, "main")
    assert base is not None
    return people.host.write_commit(
        people.repository,
        onto=onto or base,
        parents=parents or (base,),
        files=files,
        message="Right-size shop\n\nFinops-Recommendation: abc",
        at=at,
    )


def open_pull(people: People, files: Mapping[str, str]) -> int:
    people.host.create_branch(people.repository, BRANCH, write(people, files))
    pull = people.host.open_pull_request(
        people.repository, branch=BRANCH, base="main", title="Right-size shop", body="body"
    )
    return pull.number


CHANGED = {"apps/shop/app.yaml": "cpu: 250m\r\n"}


def test_reads_files_at_a_commit_and_knows_missing_branches(people: People) -> None:
    assert people.host.default_branch(people.repository) == "main"
    assert people.host.head(people.repository, "no/such/branch") is None
    before = people.host.head(people.repository, "main")
    assert before is not None
    after = people.push("main", {"apps/shop/app.yaml": "cpu: 900m\n"})
    assert people.host.head(people.repository, "main") == after
    assert dict(people.host.files(people.repository, before)) == FILES
    assert people.host.files(people.repository, after)["apps/shop/app.yaml"] == "cpu: 900m\n"
    assert "apps/none.yaml" not in people.host.files(people.repository, after)


def test_the_same_arguments_make_the_same_commit_and_leave_other_files(people: People) -> None:
    first, again = write(people, CHANGED), write(people, CHANGED)
    assert first == again
    assert write(people, CHANGED, at=datetime(2026, 1, 1, tzinfo=UTC)) != first
    assert dict(people.host.files(people.repository, first)) == FILES | CHANGED
    commit = people.host.commit(people.repository, first)
    assert commit.is_ours
    assert commit.message.endswith("Finops-Recommendation: abc")
    assert commit.parents == (people.host.head(people.repository, "main"),)


def test_a_commit_without_files_has_the_tree_it_is_put_onto(people: People) -> None:
    base = people.host.head(people.repository, "main")
    assert base is not None
    other = write(people, CHANGED)
    assert dict(people.host.files(people.repository, write(people, {}, other, base, onto=base))) == FILES


def test_a_branch_is_created_once_and_moves_only_forward(people: People) -> None:
    host, repository = people.host, people.repository
    first = write(people, CHANGED)
    host.create_branch(repository, BRANCH, first)
    with pytest.raises(Moved):
        host.create_branch(repository, BRANCH, first)
    rival = write(people, {"apps/pay/app.yaml": "cpu: 3\n"})
    with pytest.raises(Moved):
        host.move_branch(repository, BRANCH, rival)
    assert host.head(repository, BRANCH) == first
    second = write(people, CHANGED | {"apps/pay/app.yaml": "cpu: 3\n"}, first)
    host.move_branch(repository, BRANCH, second)
    assert host.head(repository, BRANCH) == second
    with pytest.raises(Moved):
        host.move_branch(repository, "finops/local/none", second)
    host.delete_branch(repository, BRANCH)
    host.delete_branch(repository, BRANCH)
    assert host.head(repository, BRANCH) is None


def test_a_commit_that_nobody_has_is_refused(people: People) -> None:
    host, repository, nobody = people.host, people.repository, "0" * 40
    base = host.head(repository, "main")
    assert base is not None
    for ask in (
        lambda: host.compare(repository, nobody, base),
        lambda: host.compare(repository, base, nobody),
        lambda: host.commit(repository, nobody),
        lambda: dict(host.files(repository, nobody)),
        lambda: write(people, CHANGED, onto=nobody),
    ):
        with pytest.raises(Refused) as caught:
            ask()
        assert caught.value.reason == "not_found"


def test_compares_commits_and_tells_whose_they_are(people: People) -> None:
    host, repository = people.host, people.repository
    base = host.head(repository, "main")
    assert base is not None
    ours = write(people, CHANGED)
    host.create_branch(repository, BRANCH, ours)
    assert host.compare(repository, base, base).relation is Relation.IDENTICAL
    ahead = host.compare(repository, base, ours)
    assert (ahead.relation, ahead.merge_base, ahead.contains_base) == (Relation.AHEAD, base, True)
    assert [(commit.sha, commit.is_ours) for commit in ahead.commits] == [(ours, True)]
    assert host.compare(repository, ours, base).relation is Relation.BEHIND
    theirs = people.push("main", {"README.md": "# new\n"})
    diverged = host.compare(repository, theirs, ours)
    assert (diverged.relation, diverged.merge_base) == (Relation.DIVERGED, base)
    both = write(people, CHANGED, ours, theirs)
    assert host.compare(repository, theirs, both).contains_base
    person = people.push(BRANCH, {"README.md": "# mine\n"})
    assert [c.is_ours for c in host.compare(repository, base, person).commits] == [True, False]


def test_a_pull_request_is_opened_once_edited_labelled_and_found(people: People) -> None:
    host, repository = people.host, people.repository
    with pytest.raises((Moved, Refused)):
        host.open_pull_request(repository, branch=BRANCH, base="main", title="t", body="b")
    number = open_pull(people, CHANGED)
    again = host.open_pull_request(repository, branch=BRANCH, base="main", title="t", body="b")
    assert again.number == number
    host.edit_pull_request(repository, number, title="New title", body="New body")
    host.label_pull_request(repository, number, ["finops", "cost"])
    host.label_pull_request(repository, number, ["finops"])
    pull = host.pull_request(repository, number)
    assert (pull.title, pull.body, pull.labels) == ("New title", "New body", ("finops", "cost"))
    assert (pull.state, pull.base, pull.branch) == (PullState.OPEN, "main", BRANCH)
    assert pull.head == host.head(repository, BRANCH)
    assert pull.merge_commit is None
    assert pull.url.endswith(f"/pull/{number}")
    assert [found.number for found in host.pull_requests(repository, BRANCH)] == [number]
    assert host.pull_requests(repository, "finops/local/sho") == []


def test_a_pull_request_merges_only_at_the_head_that_was_looked_at(people: People) -> None:
    host, repository = people.host, people.repository
    number = open_pull(people, CHANGED)
    head = host.head(repository, BRANCH)
    assert head is not None
    people.push(BRANCH, {"README.md": "# mine\n"})
    with pytest.raises(Moved):
        host.merge(repository, number, head)
    head = host.head(repository, BRANCH)
    assert head is not None
    assert host.merge(repository, number, head) is MergeOutcome.MERGED
    pull = host.pull_request(repository, number)
    assert pull.state is PullState.MERGED
    assert pull.head == head
    assert pull.merge_commit == host.head(repository, "main")
    assert pull.ended_by is not None
    assert pull.ended_at is not None
    assert pull.opened_at <= pull.ended_at <= pull.opened_at + timedelta(minutes=5)
    assert [one.opened_at for one in host.pull_requests(repository, BRANCH)] == [pull.opened_at]
    assert host.files(repository, str(pull.merge_commit))["apps/shop/app.yaml"] == "cpu: 250m\r\n"
    assert host.compare(repository, str(pull.merge_commit), head).relation is Relation.BEHIND


def test_what_needs_a_review_waits_for_it_where_the_host_may_merge_by_itself(people: People) -> None:
    host, repository = people.host, people.repository
    people.require_reviews(1)
    number = open_pull(people, CHANGED)
    head = host.head(repository, BRANCH)
    assert head is not None
    assert host.merge(repository, number, head) is MergeOutcome.BLOCKED
    people.allow_auto_merge()
    assert host.merge(repository, number, head) is MergeOutcome.WAITING
    assert host.pull_request(repository, number).auto_merge
    host.disable_auto_merge(repository, number)
    host.disable_auto_merge(repository, number)
    assert not host.pull_request(repository, number).auto_merge
    assert host.merge(repository, number, head) is MergeOutcome.WAITING
    people.approve(number)
    assert host.pull_request(repository, number).state is PullState.MERGED


def test_a_conflict_blocks_and_a_merge_of_both_sides_heals_it(people: People) -> None:
    host, repository = people.host, people.repository
    number = open_pull(people, CHANGED)
    ours = host.head(repository, BRANCH)
    theirs = people.push("main", {"apps/shop/app.yaml": "cpu: 800m\n"})
    assert ours is not None
    assert host.pull_request(repository, number).mergeable is False
    assert host.merge(repository, number, ours) is MergeOutcome.BLOCKED
    healed = write(people, {"apps/shop/app.yaml": "cpu: 200m\n"}, ours, theirs)
    host.move_branch(repository, BRANCH, healed)
    assert host.pull_request(repository, number).mergeable is True
    assert host.merge(repository, number, healed) is MergeOutcome.MERGED


def test_closed_by_a_person_or_by_us_is_closed_and_not_merged(people: People) -> None:
    host, repository = people.host, people.repository
    number = open_pull(people, CHANGED)
    people.close(number)
    pull = host.pull_request(repository, number)
    assert (pull.state, pull.merge_commit) == (PullState.CLOSED, None)
    second = host.open_pull_request(repository, branch=BRANCH, base="main", title="t", body="b")
    assert second.number != number
    assert [one.number for one in host.pull_requests(repository, BRANCH)] == [second.number, number]
    host.close_pull_request(repository, second.number)
    assert host.pull_request(repository, second.number).state is PullState.CLOSED


def test_a_repository_that_is_not_there_is_refused(people: People) -> None:
    with pytest.raises(Refused) as refused:
        people.host.default_branch("acme/none")
    assert refused.value.reason == "not_found"
    with pytest.raises(Refused):
        people.host.pull_request(people.repository, 404)


def test_of_many_that_create_or_move_at_once_one_wins(people: People) -> None:
    host, repository = people.host, people.repository
    commits = [write(people, {"apps/shop/app.yaml": f"cpu: {index}\n"}) for index in range(8)]

    def create(commit: str) -> bool:
        try:
            host.create_branch(repository, BRANCH, commit)
        except Moved:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(create, commits))
        assert created.count(True) == 1
        pulls = list(
            pool.map(
                lambda _: (
                    host.open_pull_request(repository, branch=BRANCH, base="main", title="t", body="b").number
                ),
                commits,
            )
        )
    assert host.head(repository, BRANCH) == commits[created.index(True)]
    assert len(set(pulls)) == 1


# What only GitHub's API can say


@pytest.fixture
def on_github(standin: GitHubStandin, request: pytest.FixtureRequest) -> OnStandin:
    name = "acme/" + re.sub(r"\W+", "-", request.node.name).strip("-")
    create_repository(standin.root, name, FILES)
    return OnStandin(standin, GitHubHost(standin.url, standin.token, write_pause=0), name)


def fault(on: OnStandin, **what: object) -> None:
    assert on.standin.call("POST", "/_standin/faults", json=what).status_code < 300


def test_a_wrong_token_names_its_variable_and_is_tried_again(on_github: OnStandin) -> None:
    with pytest.raises(Temporary, match="GITHUB_TOKEN"):
        GitHubHost(on_github.standin.url, "wrong").head(on_github.repository, "main")


def test_a_host_that_is_down_is_tried_again() -> None:
    with pytest.raises(Temporary, match=r"127\.0\.0\.1:9"):
        GitHubHost("http://127.0.0.1:9", "token").head("acme/shop", "main")


@pytest.mark.parametrize(("status", "error"), [(503, Temporary), (429, Throttled), (403, Throttled)])
def test_outages_and_rate_limits_are_told_apart(
    on_github: OnStandin, status: int, error: type[Exception]
) -> None:
    path = f"/repos/{on_github.repository}/git/ref/"
    fault(on_github, path=path, status=status, times=1)
    with pytest.raises(error) as raised:
        on_github.host.head(on_github.repository, "main")
    assert type(raised.value) is error
    assert on_github.host.head(on_github.repository, "main") is not None


def test_an_answer_that_is_lost_after_the_pull_request_was_opened_does_not_open_a_second(
    on_github: OnStandin,
) -> None:
    host, repository = on_github.host, on_github.repository
    host.create_branch(repository, BRANCH, write(on_github, CHANGED))
    fault(on_github, path="/pulls$", method="POST", status=502, times=1, after=True)
    with pytest.raises(Temporary):
        host.open_pull_request(repository, branch=BRANCH, base="main", title="t", body="b")
    pull = host.open_pull_request(repository, branch=BRANCH, base="main", title="t", body="b")
    assert [one.number for one in host.pull_requests(repository, BRANCH)] == [pull.number]


def test_a_protected_branch_is_refused_for_good(on_github: OnStandin) -> None:
    on_github.require_reviews(1)
    with pytest.raises(Refused) as refused:
        on_github.host.move_branch(on_github.repository, "main", write(on_github, CHANGED))
    assert refused.value.reason == "protected"


def test_the_mode_of_a_file_and_its_neighbours_stay(on_github: OnStandin) -> None:
    bare = on_github.standin.root / f"{on_github.repository}.git"
    clone = bare.parent / f"{bare.stem}-clone"
    (clone / "apps/shop/app.yaml").chmod(0o755)
    (clone / "link.yaml").symlink_to("README.md")
    git("add", "--all", directory=clone)
    git("commit", "--quiet", "--message", "modes", directory=clone)
    git("push", "--quiet", "origin", "main", directory=clone)
    head = on_github.host.head(on_github.repository, "main")
    assert head is not None
    assert "link.yaml" not in on_github.host.files(on_github.repository, head)
    commit = write(on_github, CHANGED)
    listed = git("ls-tree", "-r", commit, directory=bare)
    assert re.search(r"100755 blob \w+\tapps/shop/app\.yaml", listed)
    assert re.search(r"120000 blob \w+\tlink\.yaml", listed)


def test_a_file_that_is_no_text_is_known_but_not_read(on_github: OnStandin) -> None:
    bare = on_github.standin.root / f"{on_github.repository}.git"
    clone = bare.parent / f"{bare.stem}-clone"
    (clone / "logo.png").write_bytes(b"\x89PNG\xff")
    git("add", "--all", directory=clone)
    git("commit", "--quiet", "--message", "logo", directory=clone)
    git("push", "--quiet", "origin", "main", directory=clone)
    head = on_github.host.head(on_github.repository, "main")
    assert head is not None
    files = on_github.host.files(on_github.repository, head)
    assert "logo.png" in files
    with pytest.raises(ValueError, match="utf-8"):
        files["logo.png"]


def test_a_list_of_pull_requests_is_one_request_and_so_are_labels(
    on_github: OnStandin, caplog: pytest.LogCaptureFixture
) -> None:
    """An attribute that PyGithub has to fetch would be one more for each that the branch ever had."""
    first = open_pull(on_github, CHANGED)
    on_github.host.close_pull_request(on_github.repository, first)
    open_again = on_github.host.open_pull_request(
        on_github.repository, branch=BRANCH, base="main", title="again", body=""
    )
    with caplog.at_level("DEBUG", logger="urllib3.connectionpool"):
        found = on_github.host.pull_requests(on_github.repository, BRANCH)
        assert [one.number for one in found] == [open_again.number, first]
        assert len([one for one in caplog.messages if "HTTP/1.1" in one]) == 1, caplog.messages
        caplog.clear()
        on_github.host.label_pull_request(on_github.repository, first, ["kubefinops"])
        assert len([one for one in caplog.messages if "HTTP/1.1" in one]) == 1, caplog.messages
    assert on_github.host.pull_request(on_github.repository, first).labels == ("kubefinops",)


@pytest.mark.parametrize("what", ["headers", "length of a chunk", "without a length"])
def test_an_answer_that_trickles_is_given_up_in_time(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github, "TIMEOUT_SECONDS", 1)
    with sending(TRICKLES[what]) as address:
        slow = GitHubHost(address, "", write_pause=0)
        began = time.monotonic()
        with pytest.raises(Temporary, match="Read timed out"):
            slow.default_branch("acme/shop")
        assert time.monotonic() - began < 5


def test_a_connection_is_kept(on_github: OnStandin, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", logger="urllib3.connectionpool"):
        for _ in range(3):
            on_github.host.head(on_github.repository, "main")
    assert len([one for one in caplog.messages if "Starting new" in one]) <= 1, caplog.messages
