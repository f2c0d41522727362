"""GitHub (and GitHub Enterprise) through PyGithub.

Two of its traps shape this file. Its connection object is
shared and keeps the request that is being sent, so two threads would answer each other: one lock, and
GitHub asks for requests in series anyway. A lazy GitRef changes the wrong address (`/git/ref/`), so the
reference that is moved is made with its own (`/git/refs/`).
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any
from urllib.parse import quote

import requests
from github import (
    Auth,
    Github,
    GithubException,
    InputGitAuthor,
    InputGitTreeElement,
)
from github.GitCommit import GitCommit
from github.GitRef import GitRef
from github.GitTree import GitTree
from github.NamedUser import NamedUser
from github.PullRequest import PullRequest
from github.Repository import Repository
from github.Requester import HTTPRequestsConnectionClass, HTTPSRequestsConnectionClass, Requester

from shared.adapters.bounded_requests import BoundedAdapter
from shared.contracts.errors import KubeFinOpsError, Moved, Refused, Temporary, Throttled
from shared.contracts.git_host import (
    AUTHOR,
    AUTHOR_EMAIL,
    Commit,
    Comparison,
    MergeOutcome,
    Pull,
    PullState,
    Relation,
)

TIMEOUT_SECONDS = 10  # for a connection, and for a whole answer
COMPARED_COMMITS = 250  # GitHub's first page; a branch of ours has a few
FULL_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
REGULAR_FILES = frozenset({"100644", "100755"})


class GitHubHost:
    """See GitHost.

    Args:
        base_url: the REST API; GitHub Enterprise: https://HOST/api/v3.
        token: of a GitHub App's installation or a person.
        write_pause: seconds between two writes; GitHub asks for at least one.
        request_pause: seconds between any two requests.
    """

    def __init__(
        self, base_url: str, token: str, *, write_pause: float = 1.0, request_pause: float = 0.0
    ) -> None:
        self._url = base_url
        self._lock = threading.RLock()
        # What one is made with stays its own. Once they are reset, it keeps its connection open, too.
        Requester.injectConnectionClasses(_Http, _Https)
        try:
            # No retries in here: POST would be repeated too, and KafkaSource repeats the whole event.
            self._github = Github(
                base_url=base_url,
                auth=Auth.Token(token) if token else None,
                timeout=TIMEOUT_SECONDS,
                retry=None,
                lazy=True,
                seconds_between_requests=request_pause or None,
                seconds_between_writes=write_pause or None,
            )
        finally:
            Requester.resetConnectionClasses()
        # Named by the hash of what they are, these never change.
        self._commits = lru_cache(maxsize=1024)(self._read_commit)
        self._trees = lru_cache(maxsize=64)(self._read_tree)
        self._blobs = lru_cache(maxsize=4096)(self._read_blob)
        self._comparisons = lru_cache(maxsize=256)(self._read_comparison)

    # Reading

    def default_branch(self, repository: str) -> str:
        """See GitHost."""
        with self._asking(repository, f"repository {repository}") as repo:
            return repo.complete().default_branch

    def head(self, repository: str, branch: str) -> str | None:
        """See GitHost."""
        try:
            with self._asking(repository, f"branch {branch} of {repository}") as repo:
                return repo.get_git_ref(f"heads/{branch}").object.sha
        except Refused as error:
            if error.reason == "not_found":
                return None
            raise

    def files(self, repository: str, commit: str) -> Mapping[str, str]:
        """See GitHost."""
        tree = self._commits(repository, commit)[1]
        return _Files(self, repository, self._trees(repository, tree))

    def commit(self, repository: str, sha: str) -> Commit:
        """See GitHost."""
        return self._commits(repository, sha)[0]

    def compare(self, repository: str, base: str, head: str) -> Comparison:
        """See GitHost."""
        if not all(map(FULL_HASH.fullmatch, (base, head))):
            return self._read_comparison(repository, base, head)  # a name may point elsewhere tomorrow
        return self._comparisons(repository, base, head)

    def text(self, repository: str, blob: str) -> str:
        """A blob's text. Raises ValueError if it is not UTF-8."""
        return self._blobs(repository, blob).decode()

    # Writing

    def write_commit(
        self,
        repository: str,
        *,
        onto: str,
        parents: Sequence[str],
        files: Mapping[str, str],
        message: str,
        at: datetime,
    ) -> str:
        """See GitHost."""
        base_tree = self._commits(repository, onto)[1]
        modes = self._trees(repository, base_tree)
        when = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        author = InputGitAuthor(AUTHOR, AUTHOR_EMAIL, when)
        changed = [
            InputGitTreeElement(path, modes[path][0] if path in modes else "100644", "blob", content=text)
            for path, text in sorted(files.items())
        ]
        with self._asking(repository, f"a commit in {repository}") as repo:
            tree = _tree(repo, base_tree)
            if changed:
                tree = repo.create_git_tree(changed, base_tree=tree)
            there = [_commit(repo, sha) for sha in parents]
            return repo.create_git_commit(message, tree, there, author, author).sha

    def create_branch(self, repository: str, branch: str, commit: str) -> None:
        """See GitHost."""
        with self._asking(repository, f"branch {branch} of {repository}") as repo:
            repo.create_git_ref(f"refs/heads/{branch}", commit)

    def move_branch(self, repository: str, branch: str, commit: str) -> None:
        """See GitHost."""
        with self._asking(repository, f"branch {branch} of {repository}") as repo:
            _reference(repo, branch).edit(commit, force=False)

    def delete_branch(self, repository: str, branch: str) -> None:
        """See GitHost."""
        try:
            with self._asking(repository, f"branch {branch} of {repository}") as repo:
                _reference(repo, branch).delete()
        except Moved:  # 422 "Reference does not exist"
            return
        except Refused as error:
            if error.reason != "not_found":
                raise

    # Pull requests

    def pull_requests(self, repository: str, branch: str) -> list[Pull]:
        """See GitHost."""
        owner = repository.split("/", maxsplit=1)[0]
        with self._asking(repository, f"pull requests of {repository}") as repo:
            # Without the owner GitHub ignores the filter and lists every pull request.
            found = repo.get_pulls(state="all", sort="created", direction="desc", head=f"{owner}:{branch}")
            return [_pull(repository, pull) for pull in islice(found, 30) if pull.head.ref == branch]

    def pull_request(self, repository: str, number: int) -> Pull:
        """See GitHost."""
        with self._asking(repository, f"pull request {repository}#{number}") as repo:
            pull = repo.get_pull(number).complete()
            ended_by: NamedUser | None = pull.merged_by
            if pull.state == "closed" and not pull.merged:
                ended_by = pull.as_issue().closed_by
            return _pull(
                repository, pull, complete=True, ended_by=None if ended_by is None else ended_by.login
            )

    def open_pull_request(self, repository: str, *, branch: str, base: str, title: str, body: str) -> Pull:
        """See GitHost."""
        try:
            with self._asking(repository, f"a pull request in {repository}") as repo:
                return _pull(repository, repo.create_pull(base, branch, title=title, body=body))
        except Moved:
            # 422 "already exists": another delivery's, or our own whose answer was lost.
            for pull in self.pull_requests(repository, branch):
                if pull.state is PullState.OPEN and pull.base == base:
                    return pull
            raise

    def edit_pull_request(self, repository: str, number: int, *, title: str, body: str) -> None:
        """See GitHost."""
        with self._asking(repository, f"pull request {repository}#{number}") as repo:
            repo.get_pull(number).edit(title=title, body=body)

    def label_pull_request(self, repository: str, number: int, labels: Sequence[str]) -> None:
        """See GitHost."""
        with self._asking(repository, f"labels of pull request {repository}#{number}") as repo:
            repo.get_issue(number).add_to_labels(*labels)

    def close_pull_request(self, repository: str, number: int) -> None:
        """See GitHost."""
        with self._asking(repository, f"pull request {repository}#{number}") as repo:
            repo.get_pull(number).edit(state="closed")

    def merge(self, repository: str, number: int, head: str) -> MergeOutcome:
        """See GitHost."""
        try:
            with self._asking(repository, f"merging pull request {repository}#{number}") as repo:
                repo.get_pull(number).merge(sha=head)
        except Refused as error:
            if error.reason != "not_mergeable":
                raise
            return self._merge_later(repository, number, head)
        return MergeOutcome.MERGED

    def disable_auto_merge(self, repository: str, number: int) -> None:
        """See GitHost."""
        with self._asking(repository, f"auto-merge of pull request {repository}#{number}") as repo:
            pull = repo.get_pull(number).complete()
            if pull.auto_merge:
                pull.disable_automerge()

    def _merge_later(self, repository: str, number: int, head: str) -> MergeOutcome:
        try:
            with self._asking(repository, f"auto-merge of pull request {repository}#{number}") as repo:
                repo.get_pull(number).complete().enable_automerge(expected_head_oid=head)
        except Refused:
            # Not allowed in this repository, or in conflict, or a draft: a person sees it there.
            return MergeOutcome.BLOCKED
        return MergeOutcome.WAITING

    # What never changes

    def _read_commit(self, repository: str, sha: str) -> tuple[Commit, str]:
        with self._asking(repository, f"commit {sha} of {repository}") as repo:
            found = repo.get_git_commit(sha).complete()
            parents = tuple(parent.sha for parent in found.parents)
            commit = Commit(found.sha, parents, found.author.name, found.author.email or "", found.message)
            return commit, found.tree.sha

    def _read_tree(self, repository: str, sha: str) -> dict[str, tuple[str, str]]:
        """Path to mode and blob. Trees too large for one answer are read folder by folder."""
        with self._asking(repository, f"tree {sha} of {repository}") as repo:
            whole = repo.get_git_tree(sha, recursive=True)
            if not whole.raw_data.get("truncated"):
                return {
                    entry.path: (entry.mode, entry.sha) for entry in whole.tree if entry.mode in REGULAR_FILES
                }
            entries: dict[str, tuple[str, str]] = {}
            for entry in repo.get_git_tree(sha).tree:
                if entry.type == "tree":
                    below = self._read_tree(repository, entry.sha)
                    entries |= {f"{entry.path}/{path}": found for path, found in below.items()}
                elif entry.mode in REGULAR_FILES:
                    entries[entry.path] = (entry.mode, entry.sha)
            return entries

    def _read_blob(self, repository: str, sha: str) -> bytes:
        with self._asking(repository, f"blob {sha} of {repository}") as repo:
            return base64.b64decode(repo.get_git_blob(sha).content)

    def _read_comparison(self, repository: str, base: str, head: str) -> Comparison:
        with self._asking(repository, f"commits {base} and {head} of {repository}") as repo:
            found = repo.compare(base, head).complete()
            commits = tuple(
                Commit(
                    one.sha,
                    tuple(parent.sha for parent in one.parents),
                    one.commit.author.name,
                    one.commit.author.email or "",
                    one.commit.message,
                )
                for one in islice(found.commits, COMPARED_COMMITS)
            )
            return Comparison(Relation(found.status), found.merge_base_commit.sha, commits)

    @contextmanager
    def _asking(self, repository: str, what: str) -> Iterator[Repository]:
        """The repository, one thread at a time, with GitHub's errors as ours."""
        try:
            with self._lock:
                yield self._github.get_repo(repository)
        except GithubException as error:
            raise _translated(error, self._url, what) from error
        except requests.RequestException as error:
            raise Temporary(
                f"Git host {self._url}: {type(error).__name__} at {what}: {error}"[:400]
            ) from error


class _Http(HTTPRequestsConnectionClass):
    """One answer that trickles would else hold the lock, and with it every thread."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.session.mount("http://", BoundedAdapter())


class _Https(HTTPSRequestsConnectionClass):
    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.session.mount("https://", BoundedAdapter())


class _Files(Mapping[str, str]):
    """See GitHost.files."""

    def __init__(self, host: GitHubHost, repository: str, entries: Mapping[str, tuple[str, str]]) -> None:
        self._host = host
        self._repository = repository
        self._entries = entries

    def __getitem__(self, path: str) -> str:
        return self._host.text(self._repository, self._entries[path][1])

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, path: object) -> bool:
        return path in self._entries

    def __len__(self) -> int:
        return len(self._entries)


def _reference(repo: Repository, branch: str) -> GitRef:
    return GitRef(repo.requester, url=f"{repo.url}/git/refs/heads/{quote(branch)}")


def _commit(repo: Repository, sha: str) -> GitCommit:
    return GitCommit(repo.requester, attributes={"sha": sha}, completed=True)


def _tree(repo: Repository, sha: str) -> GitTree:
    return GitTree(repo.requester, attributes={"sha": sha}, completed=True)


def _pull(repository: str, pull: PullRequest, *, complete: bool = False, ended_by: str | None = None) -> Pull:
    state = PullState.MERGED if pull.merged_at else PullState(pull.state)
    return Pull(
        repository=repository,
        number=pull.number,
        url=pull.html_url,
        title=pull.title,
        body=pull.body or "",
        labels=tuple(label.name for label in pull.labels),
        base=pull.base.ref,
        branch=pull.head.ref,
        head=pull.head.sha,
        state=state,
        opened_at=pull.created_at,
        # While it is open, this is GitHub's trial merge and nothing that the base has.
        merge_commit=pull.merge_commit_sha if state is PullState.MERGED else None,
        ended_by=ended_by,
        ended_at=pull.closed_at,
        mergeable=pull.mergeable if complete else None,
        # Not its raw_data: that would ask for each one of a list anew.
        auto_merge=bool(pull.auto_merge),
    )


# Status and words of GitHub's message -> what it means; the first row that fits. Words "" fit always.
_MEANINGS: tuple[tuple[Container[int], tuple[str, ...], Callable[[str], KubeFinOpsError]], ...] = (
    ((429,), ("",), Throttled),
    ((403,), ("rate limit", "abuse detection"), Throttled),
    ((401,), ("",), lambda text: Temporary(f"{text}: GITHUB_TOKEN is not valid there")),
    (
        (403, 422),
        ("protected", "rule violation", "through a pull request"),
        lambda text: Refused("protected", text),
    ),
    (
        (403,),
        ("",),
        lambda text: Refused("forbidden", f"{text}: GITHUB_TOKEN has not the rights for it"),
    ),
    (
        (404,),
        ("",),
        lambda text: Refused("not_found", f"{text}: it is not there, or GITHUB_TOKEN may not see it"),
    ),
    ((405,), ("was modified",), Moved),
    ((405,), ("",), lambda text: Refused("not_mergeable", text)),
    ((409,), ("",), Moved),
    (
        (400, 422),
        (
            "already exists",
            "not a fast forward",
            "does not exist",
            "update failed",
            "no commits between",
            "head sha didn't match",
        ),
        Moved,
    ),
    (range(500, 600), ("",), Temporary),
    (range(400, 500), ("",), lambda text: Refused("invalid", text)),
)


def _translated(error: GithubException, url: str, what: str) -> KubeFinOpsError:
    said = _said(error)
    text = f"Git host {url}: {error.status} at {what}: {said}"[:500]
    for statuses, words, meaning in _MEANINGS:
        if error.status in statuses and any(word in said.lower() for word in words):
            return meaning(text)
    return Temporary(text)


def _said(error: GithubException) -> str:
    """GitHub's message, with those of the fields that failed validation."""
    data = error.data
    if not isinstance(data, dict):
        return str(data or error.message or "no message")
    details = [
        str(item.get("message") or item.get("code") or item) if isinstance(item, dict) else str(item)
        for item in data.get("errors") or ()
    ]
    return "; ".join(part for part in (str(data.get("message") or ""), *details) if part)
