"""The GitHub stand-in through PyGithub and plain requests: it does what GitHub does."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from github import (
    Auth,
    BadCredentialsException,
    Github,
    GithubException,
    InputGitAuthor,
    InputGitTreeElement,
    UnknownObjectException,
)
from github.GitCommit import GitCommit
from github.PullRequest import PullRequest
from github.Repository import Repository

from tests.github_standin_process import (
    BOT,
    PERSON,
    GitHubStandin,
    create_repository,
    git,
    github_standin,
    push_files,
)

FILES = {"README.md": "# shop\n", "apps/shop/deployment.yaml": "cpu: 500m\nmemory: 1Gi\n"}
AUTHOR = InputGitAuthor("KubeFinOps", "bot@example.com", "2026-01-02T03:04:05Z")


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHubStandin]:
    with github_standin(tmp_path_factory.mktemp("github")) as running:
        yield running


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return create_repository(tmp_path_factory.mktemp("template"), "acme/template", FILES)


@pytest.fixture
def repo(standin: GitHubStandin, template: Path, request: pytest.FixtureRequest) -> Repository:
    name = "acme/" + re.sub(r"\W+", "-", request.node.name).strip("-")
    shutil.copytree(template, standin.root / f"{name}.git")
    return standin.client().get_repo(name)


def bare(standin: GitHubStandin, repo: Repository) -> Path:
    return standin.root / f"{repo.full_name}.git"


def commit_on(repo: Repository, parent: str, path: str, content: str | None, message: str) -> GitCommit:
    """A commit through the Git data API, as the gitops stage makes it."""
    commit = repo.get_git_commit(parent)
    element = (
        InputGitTreeElement(path, "100644", "blob", sha=None)
        if content is None
        else InputGitTreeElement(path, "100644", "blob", content=content)
    )
    tree = repo.create_git_tree([element], commit.tree)
    return repo.create_git_commit(message, tree, [commit], author=AUTHOR, committer=AUTHOR)


def branch_with(repo: Repository, branch: str, content: str = "cpu: 250m\n") -> GitCommit:
    head = repo.get_branch("main").commit.sha
    commit = commit_on(repo, head, "apps/shop/deployment.yaml", content, f"Right-size on {branch}")
    repo.create_git_ref(f"refs/heads/{branch}", commit.sha)
    return commit


def open_pull(repo: Repository, branch: str = "finops/local/shop") -> PullRequest:
    branch_with(repo, branch)
    return repo.create_pull("main", branch, title="Right-size shop", body="Saves money")


def require_reviews(repo: Repository, count: int = 1) -> None:
    repo.get_branch("main").edit_protection(required_approving_review_count=count)


def error(standin: GitHubStandin, method: str, path: str, status: int, **options: Any) -> dict[str, object]:
    answer = standin.call(method, path, **options)
    assert answer.status_code == status, answer.text
    body: dict[str, object] = answer.json()
    assert body["status"] == str(status)
    assert str(body["documentation_url"]).startswith("https://docs.github.com/")
    return body


# The whole life of a pull request


def test_a_pull_request_lives_from_branch_to_merge(standin: GitHubStandin, repo: Repository) -> None:
    head = branch_with(repo, "finops/local/shop")
    pull = repo.create_pull("main", "finops/local/shop", title="Right-size shop", body="Saves money")
    assert pull.raw_data["mergeable_state"] in ("unknown", "clean")

    assert [one.number for one in repo.get_pulls(state="open", head="acme:finops/local/shop")] == [
        pull.number
    ]
    assert repo.get_pulls(head="acme:other").totalCount == 0
    assert repo.get_pulls(base="other").totalCount == 0
    pull = repo.get_pull(pull.number)
    assert (pull.mergeable, pull.mergeable_state, pull.merged, pull.draft) == (True, "clean", False, False)
    assert (pull.head.sha, pull.head.ref, pull.head.label) == (
        head.sha,
        "finops/local/shop",
        "acme:finops/local/shop",
    )
    assert (pull.user.login, pull.changed_files, pull.additions, pull.deletions, pull.commits) == (
        BOT,
        1,
        1,
        2,
        1,
    )
    assert [file.filename for file in pull.get_files()] == ["apps/shop/deployment.yaml"]
    assert "-cpu: 500m" in next(iter(pull.get_files())).patch
    assert [commit.sha for commit in pull.get_commits()] == [head.sha]

    pull.edit(title="Right-size the shop", body="Saves more")
    pull.add_to_labels("finops", "cost")
    pull.remove_from_labels("cost")
    comment = pull.create_issue_comment("Please look")
    comment.edit("Please look soon")
    pull = repo.get_pull(pull.number)
    assert (pull.title, pull.body) == ("Right-size the shop", "Saves more")
    assert [label.name for label in pull.labels] == ["finops"]
    assert [one.body for one in pull.get_issue_comments()] == ["Please look soon"]

    pull.create_review_request(reviewers=[PERSON])
    reviewed = standin.client(PERSON).get_repo(repo.full_name).get_pull(pull.number)
    reviewed.create_review(body="Good", event="APPROVE")
    assert [(one.user.login, one.state) for one in pull.get_reviews()] == [(PERSON, "APPROVED")]

    merged = pull.merge(sha=head.sha, merge_method="merge")
    assert merged.merged
    pull = repo.get_pull(pull.number)
    assert (pull.merged, pull.state, pull.merge_commit_sha) == (True, "closed", merged.sha)
    assert pull.merged_by.login == BOT
    assert pull.merged_at is not None
    assert repo.get_branch("main").commit.sha == merged.sha
    assert repo.compare(merged.sha, "main").status == "identical"
    assert [parent.sha for parent in repo.get_git_commit(merged.sha).parents][1] == head.sha
    content = repo.get_contents("apps/shop/deployment.yaml", ref="main")
    assert not isinstance(content, list)
    assert content.decoded_content == b"cpu: 250m\n"

    pull.delete_branch()
    assert [branch.name for branch in repo.get_branches()] == ["main"]
    assert git("fsck", "--strict", "--no-dangling", directory=bare(standin, repo)) == ""


def test_github_knows_mergeability_only_after_a_first_look(standin: GitHubStandin, repo: Repository) -> None:
    branch_with(repo, "later")
    path = f"/repos/{repo.full_name}/pulls"
    created = standin.call("POST", path, json={"title": "t", "head": "later", "base": "main"}).json()
    assert (created["mergeable"], created["mergeable_state"]) == (None, "unknown")
    looked = standin.call("GET", f"{path}/{created['number']}").json()
    assert (looked["mergeable"], looked["mergeable_state"]) == (True, "clean")
    # The sha of a test merge, as GitHub has it before merging: no sign of having been merged.
    assert looked["merge_commit_sha"]
    assert looked["merged"] is False


@pytest.mark.parametrize("method", ["merge", "squash", "rebase"])
def test_each_merge_method_writes_its_kind_of_history(repo: Repository, method: str) -> None:
    first = branch_with(repo, "two-commits")
    second = commit_on(repo, first.sha, "new.txt", "new\n", "Second")
    repo.get_git_ref("heads/two-commits").edit(second.sha, force=False)
    pull = repo.create_pull("main", "two-commits", title="Two", body="")
    other = commit_on(repo, repo.get_branch("main").commit.sha, "other.txt", "other\n", "Meanwhile")
    repo.get_git_ref("heads/main").edit(other.sha)
    merged = repo.get_git_commit(pull.merge(merge_method=method).sha)
    parents = {"merge": [other.sha, second.sha], "squash": [other.sha]}
    if method == "rebase":
        below = repo.get_git_commit(merged.parents[0].sha)
        assert (merged.message, below.message) == ("Second", "Right-size on two-commits")
        assert [parent.sha for parent in below.parents] == [other.sha]
        assert merged.author.name == "KubeFinOps"
    else:
        assert [parent.sha for parent in merged.parents] == parents[method]
    paths = {element.path for element in repo.get_git_tree("main", recursive=True).tree}
    assert {"new.txt", "other.txt", "README.md"} <= paths
    assert repo.get_pull(pull.number).merged


def test_pull_requests_that_cannot_be_opened_are_refused_as_github_does(
    standin: GitHubStandin, repo: Repository
) -> None:
    path = f"/repos/{repo.full_name}/pulls"
    repo.create_git_ref("refs/heads/same", repo.get_branch("main").commit.sha)
    same = error(standin, "POST", path, 422, json={"title": "t", "head": "same", "base": "main"})
    assert same["message"] == "Validation Failed"
    assert same["errors"] == [
        {"resource": "PullRequest", "code": "custom", "message": "No commits between main and same"}
    ]
    open_pull(repo, "twice")
    twice = error(standin, "POST", path, 422, json={"title": "t", "head": "acme:twice", "base": "main"})
    assert twice["errors"] == [
        {
            "resource": "PullRequest",
            "code": "custom",
            "message": "A pull request already exists for acme:twice.",
        }
    ]
    missing = error(standin, "POST", path, 422, json={"title": "t", "head": "nowhere", "base": "main"})
    assert missing["errors"] == [{"resource": "PullRequest", "code": "invalid", "field": "head"}]
    untitled = error(standin, "POST", path, 422, json={"title": "", "head": "twice", "base": "main"})
    assert untitled["errors"] == [{"resource": "PullRequest", "code": "missing_field", "field": "title"}]
    assert repo.get_pulls(state="all").totalCount == 1


def test_merging_is_conditional_on_the_head_that_was_seen(standin: GitHubStandin, repo: Repository) -> None:
    pull = open_pull(repo)
    path = f"/repos/{repo.full_name}/pulls/{pull.number}/merge"
    stale = error(standin, "PUT", path, 409, json={"sha": repo.get_branch("main").commit.sha})
    assert stale["message"] == "Head branch was modified. Review and try the merge again."
    pull.merge(sha=pull.head.sha)
    again = error(standin, "PUT", path, 405, json={})
    assert again["message"] == "Pull Request is not mergeable"


def test_a_conflict_makes_a_pull_request_dirty_and_unmergeable(
    standin: GitHubStandin, repo: Repository
) -> None:
    pull = open_pull(repo)
    branch_with(repo, "rival", "cpu: 100m\n")
    repo.create_pull("main", "rival", title="Rival", body="").merge()
    pull = repo.get_pull(pull.number)
    assert (pull.mergeable, pull.mergeable_state) == (False, "dirty")
    refused = error(standin, "PUT", f"/repos/{repo.full_name}/pulls/{pull.number}/merge", 405, json={})
    assert refused["message"] == "Pull Request is not mergeable"


def test_a_merge_method_that_is_switched_off_is_refused(standin: GitHubStandin, repo: Repository) -> None:
    repo.edit(allow_squash_merge=False)
    pull = open_pull(repo)
    path = f"/repos/{repo.full_name}/pulls/{pull.number}/merge"
    refused = error(standin, "PUT", path, 405, json={"merge_method": "squash"})
    assert refused["message"] == "Squash merges are not allowed on this repository."


def test_a_draft_is_not_merged_until_it_is_ready(standin: GitHubStandin, repo: Repository) -> None:
    branch_with(repo, "draft")
    pull = repo.create_pull("main", "draft", title="Draft", body="", draft=True)
    path = f"/repos/{repo.full_name}/pulls/{pull.number}/merge"
    assert error(standin, "PUT", path, 405, json={})["message"] == "Pull Request is still a draft"
    pull.mark_ready_for_review()
    assert pull.merge().merged


def test_closing_and_reopening_by_a_person(standin: GitHubStandin, repo: Repository) -> None:
    pull = open_pull(repo)
    standin.client(PERSON).get_repo(repo.full_name).get_pull(pull.number).edit(state="closed")
    assert repo.get_pull(pull.number).closed_at is not None
    assert repo.get_pull(pull.number).as_issue().raw_data["closed_by"]["login"] == PERSON
    assert [one.number for one in repo.get_pulls(state="closed")] == [pull.number]
    pull.edit(state="open")
    assert repo.get_pull(pull.number).closed_at is None
    pull.edit(state="closed")
    repo.get_git_ref("heads/finops/local/shop").delete()
    path = f"/repos/{repo.full_name}/pulls/{pull.number}"
    gone = error(standin, "PATCH", path, 422, json={"state": "open"})
    assert "branch has been deleted" in str(gone["errors"])


def test_a_pull_requests_link_shows_it_to_a_person(standin: GitHubStandin, repo: Repository) -> None:
    page = standin.session.get(open_pull(repo).html_url, timeout=10)
    assert page.headers["Content-Type"].startswith("text/plain")
    assert page.text.startswith("#1 Right-size shop\nopen: finops/local/shop -> main")
    assert "Saves money" in page.text
    assert "+cpu: 250m" in page.text


# What follows when branches move


def test_a_pull_request_closes_when_its_branch_is_deleted(repo: Repository) -> None:
    pull = open_pull(repo)
    repo.get_git_ref("heads/finops/local/shop").delete()
    pull = repo.get_pull(pull.number)
    assert (pull.state, pull.merged) == ("closed", False)
    assert repo.get_git_commit(pull.head.sha).message == "Right-size on finops/local/shop"


def test_a_pull_request_follows_its_branch(repo: Repository) -> None:
    pull = open_pull(repo)
    more = commit_on(repo, pull.head.sha, "more.txt", "more\n", "More")
    repo.get_git_ref("heads/finops/local/shop").edit(more.sha, force=False)
    pull = repo.get_pull(pull.number)
    assert (pull.head.sha, pull.commits, pull.changed_files) == (more.sha, 2, 2)


@pytest.mark.parametrize("flags", [["--no-ff"], ["--ff-only"]], ids=["merge", "fast-forward"])
def test_a_merge_pushed_past_the_api_counts_as_merged(
    standin: GitHubStandin, repo: Repository, flags: list[str], tmp_path: Path
) -> None:
    pull = open_pull(repo)
    git("clone", "--quiet", repo.clone_url, "clone", directory=tmp_path)
    clone = tmp_path / "clone"
    git("merge", "--quiet", *flags, "origin/finops/local/shop", directory=clone)
    git("push", "--quiet", "origin", "main", directory=clone)
    pull = repo.get_pull(pull.number)
    assert (pull.state, pull.merged) == ("closed", True)
    assert pull.merge_commit_sha == git("rev-parse", "main", directory=clone)


# Git data


def test_the_same_commit_is_the_same_sha(repo: Repository) -> None:
    parent = repo.get_branch("main").commit.sha
    first = commit_on(repo, parent, "a.txt", "a\n", "Same")
    second = commit_on(repo, parent, "a.txt", "a\n", "Same")
    assert first.sha == second.sha
    assert first.author.date == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert commit_on(repo, parent, "a.txt", "a\n", "Other").sha != first.sha


def test_a_tree_can_add_replace_and_delete(standin: GitHubStandin, repo: Repository) -> None:
    base = repo.get_git_tree("main")
    blob = repo.create_git_blob(base64.b64encode(b"\x00binary").decode(), "base64")
    tree = repo.create_git_tree(
        [
            InputGitTreeElement("bin/run", "100755", "blob", sha=blob.sha),
            InputGitTreeElement("apps/shop/deployment.yaml", "100644", "blob", content="new\n"),
            InputGitTreeElement("README.md", "100644", "blob", sha=None),
        ],
        base,
    )
    found = repo.get_git_tree(tree.sha, recursive=True)
    assert found.raw_data["truncated"] is False
    assert [(one.path, one.mode, one.type) for one in found.tree] == [
        ("apps", "040000", "tree"),
        ("apps/shop", "040000", "tree"),
        ("apps/shop/deployment.yaml", "100644", "blob"),
        ("bin", "040000", "tree"),
        ("bin/run", "100755", "blob"),
    ]
    assert base64.b64decode(repo.get_git_blob(blob.sha).content) == b"\x00binary"
    path = f"/repos/{repo.full_name}/git/trees"
    for name, sha in (("no/such", None), ("missing", "1" * 40), ("a-tree", base.sha)):
        item = {"path": name, "mode": "100644", "type": "blob", "sha": sha}
        refused = error(standin, "POST", path, 422, json={"base_tree": base.sha, "tree": [item]})
        assert refused["message"] == "GitRPC::BadObjectState"


def test_references_refuse_what_github_refuses(standin: GitHubStandin, repo: Repository) -> None:
    refs = f"/repos/{repo.full_name}/git/refs"
    main = repo.get_branch("main").commit.sha
    taken = error(standin, "POST", refs, 422, json={"ref": "refs/heads/main", "sha": main})
    assert taken["message"] == "Reference already exists"
    unknown = error(standin, "POST", refs, 422, json={"ref": "refs/heads/x", "sha": "1" * 40})
    assert unknown["message"] == "Object does not exist"
    for method in ("PATCH", "DELETE"):
        absent = error(standin, method, f"{refs}/heads/absent", 422, json={"sha": main})
        assert absent["message"] == "Reference does not exist"
    below = error(standin, "POST", refs, 422, json={"ref": "refs/heads/main/below", "sha": main})
    assert below["message"] == "Reference update failed"
    with pytest.raises(UnknownObjectException):
        repo.get_git_ref("heads/absent").object  # noqa: B018
    # PyGithub's lazy references ask at /git/ref; only /git/refs can be written.
    error(standin, "PATCH", f"/repos/{repo.full_name}/git/ref/heads/main", 404, json={"sha": main})
    repo.create_git_ref("refs/heads/finops/a", main)
    repo.create_git_ref("refs/heads/finops/b", main)
    assert [one.ref for one in repo.get_git_matching_refs("heads/finops/")] == [
        "refs/heads/finops/a",
        "refs/heads/finops/b",
    ]


def test_only_a_forced_update_rewinds_a_branch(standin: GitHubStandin, repo: Repository) -> None:
    main = repo.get_branch("main").commit.sha
    branch_with(repo, "work")
    path = f"/repos/{repo.full_name}/git/refs/heads/work"
    for body in ({"sha": main}, {"sha": main, "force": False}):
        refused = error(standin, "PATCH", path, 422, json=body)
        assert refused["message"] == "Update is not a fast forward"
    repo.get_git_ref("heads/work").edit(main, force=True)
    assert repo.get_branch("work").commit.sha == main


def test_of_concurrent_updates_exactly_one_wins(standin: GitHubStandin, repo: Repository) -> None:
    start = branch_with(repo, "race").sha
    commits = [commit_on(repo, start, "race.txt", f"{n}\n", f"Racer {n}").sha for n in range(6)]
    path = f"/repos/{repo.full_name}/git/refs/heads/race"

    def update(sha: str) -> int:
        return standin.call("PATCH", path, json={"sha": sha, "force": False}).status_code

    with ThreadPoolExecutor(len(commits)) as pool:
        statuses = list(pool.map(update, commits))
    assert sorted(statuses) == [200] + [422] * (len(commits) - 1)
    assert repo.get_branch("race").commit.sha == commits[statuses.index(200)]


def test_comparison_tells_ahead_behind_diverged_and_identical(repo: Repository) -> None:
    main = repo.get_branch("main").commit.sha
    left = commit_on(repo, main, "left.txt", "l\n", "Left")
    right = commit_on(repo, main, "right.txt", "r\n", "Right")
    repo.create_git_ref("refs/heads/group/left", left.sha)
    ahead = repo.compare("main", "group/left")
    assert (ahead.status, ahead.ahead_by, ahead.behind_by, ahead.total_commits) == ("ahead", 1, 0, 1)
    assert [(file.filename, file.status) for file in ahead.files] == [("left.txt", "added")]
    assert [commit.sha for commit in ahead.commits] == [left.sha]
    assert repo.get_commit("group/left").sha == left.sha
    assert repo.compare(left.sha, main).status == "behind"
    assert repo.compare(main, main).status == "identical"
    diverged = repo.compare(left.sha, right.sha)
    assert (diverged.status, diverged.ahead_by, diverged.behind_by) == ("diverged", 1, 1)
    assert diverged.merge_base_commit.sha == main


def test_changed_files_know_renames_and_removals(repo: Repository) -> None:
    main = repo.get_git_commit(repo.get_branch("main").commit.sha)
    readme = next(one for one in repo.get_git_tree(main.tree.sha).tree if one.path == "README.md")
    tree = repo.create_git_tree(
        [
            InputGitTreeElement("README.md", "100644", "blob", sha=None),
            InputGitTreeElement("docs/README.md", "100644", "blob", sha=readme.sha),
            InputGitTreeElement("apps/shop/deployment.yaml", "100644", "blob", sha=None),
        ],
        main.tree,
    )
    commit = repo.create_git_commit("Move", tree, [main], author=AUTHOR, committer=AUTHOR)
    files = {file.filename: file for file in repo.get_commit(commit.sha).files}
    assert files["docs/README.md"].status == "renamed"
    assert (files["docs/README.md"].previous_filename, files["docs/README.md"].sha) == (
        "README.md",
        readme.sha,
    )
    assert (files["apps/shop/deployment.yaml"].status, files["apps/shop/deployment.yaml"].deletions) == (
        "removed",
        2,
    )


def test_contents_are_read_and_written_by_path(standin: GitHubStandin, repo: Repository) -> None:
    listed = repo.get_contents("apps/shop")
    assert isinstance(listed, list)
    assert [(one.path, one.type) for one in listed] == [("apps/shop/deployment.yaml", "file")]
    made = repo.create_file("note.txt", "Note", "one\n", branch="main")
    content = made["content"]
    repo.update_file("note.txt", "Note again", "two\n", content.sha, branch="main")
    path = f"/repos/{repo.full_name}/contents/note.txt"
    body = {"message": "m", "content": base64.b64encode(b"x").decode()}
    inside = error(standin, "PUT", f"/repos/{repo.full_name}/contents/a/.git/config", 422, json=body)
    assert inside["message"] == "path contains a malformed path component"
    assert "wasn't supplied" in str(error(standin, "PUT", path, 422, json=body)["message"])
    stale = error(standin, "PUT", path, 409, json={**body, "sha": content.sha})
    assert stale["message"] == f"note.txt does not match {content.sha}"
    current = repo.get_contents("note.txt")
    assert not isinstance(current, list)
    repo.delete_file("note.txt", "Remove", current.sha)
    with pytest.raises(UnknownObjectException):
        repo.get_contents("note.txt")
    raw = standin.call(
        "GET",
        f"/repos/{repo.full_name}/contents/README.md",
        headers={"Accept": "application/vnd.github.raw+json"},
    )
    assert raw.text == FILES["README.md"]
    lost = error(standin, "GET", f"/repos/{repo.full_name}/contents/README.md?ref=nowhere", 404)
    assert lost["message"] == "No commit found for the ref nowhere"
    twice = f"{repo.get_branch('main').commit.sha} and more"
    error(standin, "GET", f"/repos/{repo.full_name}/commits/{twice}", 422)


def test_history_is_listed_by_branch_and_path(repo: Repository) -> None:
    work = branch_with(repo, "work")
    assert next(iter(repo.get_commits(sha="work"))).sha == work.sha
    assert repo.get_commits(sha="work").totalCount == 2
    assert [one.sha for one in repo.get_commits(sha="work", path="README.md")] == [
        repo.get_branch("main").commit.sha
    ]
    assert repo.get_commit("work").get_combined_status().total_count == 0
    assert repo.get_commit("work").get_check_runs().totalCount == 0


def test_an_empty_repository_says_so(standin: GitHubStandin) -> None:
    create_repository(standin.root, "acme/empty")
    empty = error(standin, "GET", "/repos/acme/empty/git/refs", 409)
    assert empty["message"] == "Git Repository is empty."
    assert error(standin, "GET", "/repos/acme/empty/commits", 409)["message"] == "Git Repository is empty."
    repo = standin.client().get_repo("acme/empty")
    assert list(repo.get_branches()) == []
    repo.create_file("README.md", "First", "hello\n")
    assert repo.get_branch("main").commit.commit.message == "First"


# Reviews, protection, automatic merging


def test_nobody_approves_their_own_pull_request(standin: GitHubStandin, repo: Repository) -> None:
    pull = open_pull(repo)
    path = f"/repos/{repo.full_name}/pulls/{pull.number}/reviews"
    refused = error(standin, "POST", path, 422, json={"event": "APPROVE"})
    assert refused["errors"] == ["Can not approve your own pull request"]
    assert pull.create_review(body="For the record", event="COMMENT").state == "COMMENTED"


def test_a_protected_branch_waits_for_reviews(standin: GitHubStandin, repo: Repository) -> None:
    path = f"/repos/{repo.full_name}/branches/main/protection"
    assert error(standin, "GET", path, 404)["message"] == "Branch not protected"
    pull = open_pull(repo)
    require_reviews(repo)
    protection = repo.get_branch("main").get_protection()
    assert protection.required_pull_request_reviews.required_approving_review_count == 1
    assert repo.get_branch("main").protected
    assert not repo.get_branch("finops/local/shop").protected
    slashed = f"/repos/{repo.full_name}/branches/finops/local/shop/protection"
    assert error(standin, "GET", slashed, 404)["message"] == "Branch not protected"
    assert repo.get_pull(pull.number).mergeable_state == "blocked"
    merge = f"/repos/{repo.full_name}/pulls/{pull.number}/merge"
    refused = error(standin, "PUT", merge, 405, json={})
    assert refused["message"] == "At least 1 approving review is required by reviewers with write access."
    person = standin.client(PERSON).get_repo(repo.full_name).get_pull(pull.number)
    person.create_review(body="No", event="REQUEST_CHANGES")
    assert repo.get_pull(pull.number).mergeable_state == "blocked"
    person.create_review(event="APPROVE")
    assert repo.get_pull(pull.number).mergeable_state == "clean"
    assert pull.merge().merged


def test_a_protected_branch_cannot_be_changed_directly(standin: GitHubStandin, repo: Repository) -> None:
    work = branch_with(repo, "work")
    require_reviews(repo)
    path = f"/repos/{repo.full_name}/git/refs/heads/main"
    refused = error(standin, "PATCH", path, 422, json={"sha": work.sha})
    assert refused["message"] == "Changes must be made through a pull request."
    error(standin, "DELETE", path, 422)
    body = {"message": "m", "content": ""}
    contents = error(standin, "PUT", f"/repos/{repo.full_name}/contents/x", 409, json=body)
    assert contents["message"] == "Could not create file: Changes must be made through a pull request."


def test_automatic_merging_waits_for_the_review(standin: GitHubStandin, repo: Repository) -> None:
    pull = open_pull(repo)
    with pytest.raises(GithubException, match="400") as not_allowed:
        pull.enable_automerge("SQUASH")
    assert "Auto merge is not allowed for this repository" in str(not_allowed.value.data)
    repo.edit(allow_auto_merge=True)
    with pytest.raises(GithubException) as clean:
        pull.enable_automerge("SQUASH")
    assert "Pull request Pull request is in clean status" in str(clean.value.data)

    require_reviews(repo)
    answer = pull.enable_automerge("SQUASH", client_mutation_id="m1")
    assert (answer["actor"]["login"], answer["clientMutationId"]) == (BOT, "m1")
    waiting = repo.get_pull(pull.number)
    assert (waiting.merged, waiting.raw_data["auto_merge"]["merge_method"]) == (False, "squash")

    standin.client(PERSON).get_repo(repo.full_name).get_pull(pull.number).create_review(event="APPROVE")
    merged = repo.get_pull(pull.number)
    assert (merged.merged, merged.merged_by.login) == (True, BOT)
    assert repo.get_branch("main").commit.commit.message.startswith("Right-size shop (#1)")


def test_automatic_merging_can_be_taken_back(standin: GitHubStandin, repo: Repository) -> None:
    repo.edit(allow_auto_merge=True)
    require_reviews(repo)
    pull = open_pull(repo)
    pull.enable_automerge("MERGE")
    pull.disable_automerge()
    standin.client(PERSON).get_repo(repo.full_name).get_pull(pull.number).create_review(event="APPROVE")
    assert repo.get_pull(pull.number).merged is False


def test_graphql_errors_are_answers_with_status_200(standin: GitHubStandin, repo: Repository) -> None:
    unknown = standin.call("POST", "/graphql", json={"query": "query { viewer { login } }"})
    assert unknown.status_code == 200
    assert unknown.json()["errors"][0]["message"]
    mutation = (
        "mutation M($input: XInput!) { enablePullRequestAutoMerge(input: $input) { clientMutationId } }"
    )
    nobody = standin.call(
        "POST", "/graphql", json={"query": mutation, "variables": {"input": {"pullRequestId": "PR_x"}}}
    )
    assert nobody.status_code == 200
    assert nobody.json()["errors"][0]["type"] == "NOT_FOUND"


# The HTTP side


def test_identity_decides_who_sees_what(standin: GitHubStandin, repo: Repository) -> None:
    assert standin.client(PERSON).get_user().login == PERSON
    path = f"/repos/{repo.full_name}"
    wrong = error(standin, "GET", path, 401, headers={"Authorization": "token wrong"})
    assert wrong["message"] == "Bad credentials"
    anonymous = standin.session.get(standin.url + path, timeout=10)
    assert (anonymous.status_code, anonymous.json()["message"]) == (404, "Not Found")
    old_scheme = standin.call("GET", path, headers={"Authorization": f"token {standin.token}"})
    assert old_scheme.status_code == 200
    with pytest.raises(UnknownObjectException):
        standin.client().get_repo("acme/none")
    error(standin, "GET", "/repos/../etc", 404)
    client = Github(base_url=standin.url, auth=Auth.Token("wrong"), retry=None)
    with pytest.raises(BadCredentialsException):
        client.get_repo(repo.full_name)


def test_answers_carry_rate_limit_and_request_id(standin: GitHubStandin) -> None:
    answer = standin.call("GET", "/rate_limit")
    assert answer.json()["resources"]["core"]["limit"] == 5000
    assert answer.headers["X-RateLimit-Limit"] == "5000"
    assert answer.headers["X-GitHub-Request-Id"]
    assert answer.headers["X-GitHub-Media-Type"] == "github.v3; format=json"
    assert standin.client().get_rate_limit().resources.core.limit == 5000


def test_an_unchanged_answer_is_304_and_costs_nothing(standin: GitHubStandin, repo: Repository) -> None:
    path = f"/repos/{repo.full_name}/pulls"
    first = standin.call("GET", path)
    second = standin.call("GET", path, headers={"If-None-Match": first.headers["ETag"]})
    assert (second.status_code, second.content) == (304, b"")
    assert second.headers["X-RateLimit-Used"] == first.headers["X-RateLimit-Used"]
    open_pull(repo)
    third = standin.call("GET", path, headers={"If-None-Match": first.headers["ETag"]})
    assert third.status_code == 200


def test_lists_come_in_pages(standin: GitHubStandin, repo: Repository) -> None:
    main = repo.get_branch("main").commit.sha
    for number in range(5):
        repo.create_git_ref(f"refs/heads/b{number}", main)
    path = f"/repos/{repo.full_name}/branches"
    first = standin.call("GET", path, params={"per_page": "2"})
    assert len(first.json()) == 2
    assert set(first.links) == {"next", "last"}
    last = standin.session.get(
        first.links["last"]["url"], headers={"Authorization": f"token {standin.token}"}, timeout=10
    )
    assert [one["name"] for one in last.json()] == ["b4", "main"]
    assert set(last.links) == {"first", "prev"}
    client = standin.client()
    client.per_page = 2
    assert client.get_repo(repo.full_name).get_branches().totalCount == 6
    assert len(list(client.get_repo(repo.full_name).get_branches())) == 6


def test_what_is_no_json_is_a_problem_with_parsing(standin: GitHubStandin, repo: Repository) -> None:
    path = f"/repos/{repo.full_name}/git/refs"
    assert error(standin, "POST", path, 400, data="{nope")["message"] == "Problems parsing JSON"
    assert error(standin, "POST", path, 400, data="[]")["message"] == "Body should be a JSON object"
    missing = error(standin, "POST", path, 422, json={"ref": "refs/heads/x"})
    assert missing["message"] == 'Invalid request.\n\n"sha" wasn\'t supplied.'
    error(standin, "POST", "/repos/acme/nothing/here", 404, json={})


def test_settings_survive_in_git_so_that_clones_work(
    standin: GitHubStandin, repo: Repository, tmp_path: Path
) -> None:
    open_pull(repo)
    subprocess.run(["git", "clone", "--quiet", repo.ssh_url, str(tmp_path / "c")], check=True)
    assert (tmp_path / "c" / "apps/shop/deployment.yaml").read_text() == FILES["apps/shop/deployment.yaml"]
    pushed = push_files(bare(standin, repo), "by-hand", {"x.txt": "x\n"}, "By hand")
    assert repo.get_branch("by-hand").commit.sha == pushed
