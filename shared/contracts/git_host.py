"""The Git host's Protocol: branches, commits and pull requests, through an API and never a working tree.

Apart from its implementation, so that who only decides with it loads no client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

AUTHOR = "kubefinops"
AUTHOR_EMAIL = "autopilot@kubefinops.io"


class PullState(StrEnum):
    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


class Relation(StrEnum):
    """How `head` lies to `base`, in GitHub's words."""

    IDENTICAL = "identical"
    AHEAD = "ahead"
    BEHIND = "behind"
    DIVERGED = "diverged"


class MergeOutcome(StrEnum):
    MERGED = "merged"
    WAITING = "waiting"  # the host merges by itself when reviews and checks are there
    BLOCKED = "blocked"  # not now, and the host will not by itself: a person merges it


@dataclass(frozen=True)
class Pull:
    """A pull request. `ended_by` and `mergeable` are known only where a single one was asked for."""

    repository: str
    number: int
    url: str
    title: str
    body: str
    labels: tuple[str, ...]
    base: str
    branch: str
    head: str
    state: PullState
    opened_at: datetime
    merge_commit: str | None = None
    ended_by: str | None = None
    ended_at: datetime | None = None
    mergeable: bool | None = None
    auto_merge: bool = False


@dataclass(frozen=True)
class Commit:
    sha: str
    parents: tuple[str, ...]
    author: str
    author_email: str
    message: str

    @property
    def is_ours(self) -> bool:
        return self.author_email == AUTHOR_EMAIL


@dataclass(frozen=True)
class Comparison:
    """`head` against `base`; `commits` are those of `head` that `base` has not, oldest first, at most 250."""

    relation: Relation
    merge_base: str
    commits: tuple[Commit, ...]

    @property
    def contains_base(self) -> bool:
        """Whether `base` is `head` or an ancestor of it."""
        return self.relation in (Relation.IDENTICAL, Relation.AHEAD)


class GitHost(Protocol):
    """What the stages need of a Git host. `repository` is `owner/name`, commits are full hashes.

    Every method raises Temporary (down, wrong token), Throttled (rate limits) or Refused (no such
    repository, no rights, protected) beside what it names itself.
    """

    def default_branch(self, repository: str) -> str: ...

    def head(self, repository: str, branch: str) -> str | None:
        """The branch's commit; None if there is no such branch."""
        ...

    def files(self, repository: str, commit: str) -> Mapping[str, str]:
        """Path to text of every regular file at a commit.

        A text is fetched when it is asked for, which raises ValueError where it is not UTF-8.
        """
        ...

    def commit(self, repository: str, sha: str) -> Commit: ...

    def compare(self, repository: str, base: str, head: str) -> Comparison: ...

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
        """Makes a commit that no branch has yet: the tree of the commit `onto` with `files` written into it.

        Author, committer and date are given, so the same arguments make the same commit.
        """
        ...

    def create_branch(self, repository: str, branch: str, commit: str) -> None:
        """Raises Moved if there is one of this name."""
        ...

    def move_branch(self, repository: str, branch: str, commit: str) -> None:
        """Only forward. Raises Moved if `commit` does not descend from where the branch is by now."""
        ...

    def delete_branch(self, repository: str, branch: str) -> None:
        """Nothing happens if it is not there."""
        ...

    def pull_requests(self, repository: str, branch: str) -> list[Pull]:
        """The latest (at most 30) whose head is `branch`, in any state, newest first."""
        ...

    def pull_request(self, repository: str, number: int) -> Pull: ...

    def open_pull_request(self, repository: str, *, branch: str, base: str, title: str, body: str) -> Pull:
        """Raises Moved if there is nothing to merge or an open one cannot be found after all."""
        ...

    def edit_pull_request(self, repository: str, number: int, *, title: str, body: str) -> None: ...

    def label_pull_request(self, repository: str, number: int, labels: Sequence[str]) -> None:
        """Adds labels; those that do not exist come into being."""
        ...

    def close_pull_request(self, repository: str, number: int) -> None: ...

    def merge(self, repository: str, number: int, head: str) -> MergeOutcome:
        """Merges if the head still is `head`, now or as soon as the host's rules are met.

        Raises:
            Moved: the head is another, or the base moved at the same moment.
        """
        ...

    def disable_auto_merge(self, repository: str, number: int) -> None:
        """Nothing happens if it is not enabled."""
        ...


def repository_of(repo_url: str) -> str:
    """`owner/name` of a clone URL, as Argo CD's `repoURL` has it: https, ssh, scp-like or a path.

    Raises:
        ValueError: the URL has not the two parts.
    """
    text = repo_url.strip().rstrip("/").removesuffix(".git")
    # git@host:owner/name is no URL; a colon after a scheme, or before a port, is not that one.
    if "://" not in text and ":" in text.split("/", 1)[0]:
        text = text.split(":", 1)[1]
    elif "://" in text:
        text = text.split("://", 1)[1].partition("/")[2]
    parts = [part for part in text.split("/") if part]
    if len(parts) < 2:
        raise ValueError(f"{repo_url!r} names no repository as owner/name")
    return "/".join(parts[-2:])
