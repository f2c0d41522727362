"""A Git host in memory: trees as dictionaries, commits by hash, pull requests that merge as GitHub's do."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from shared.contracts.errors import Moved, Refused, Temporary
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

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@dataclass
class _Repository:
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    trees: dict[str, dict[str, str]] = field(default_factory=dict)
    pulls: dict[int, Pull] = field(default_factory=dict)


class FakeGitHost:
    """See GitHost. Attributes set what the repository's owner sets.

    `down` makes every call fail, `broken` every look at these pull requests, `repository#number`.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, _Repository] = {}
        self.required_reviews = 0
        self.allow_auto_merge = True
        self.squash = False
        self.delete_branch_on_merge = False
        self.refuses_branches: str | None = None
        self.down = False
        self.broken: set[str] = set()
        self.writes = 0
        self.now = NOW  # when pull requests are opened
        self._reviews: dict[tuple[str, int], int] = {}
        self._lock = threading.RLock()

    # What people do

    def push(self, repository: str, branch: str, files: Mapping[str, str], message: str = "by hand") -> str:
        """A person's commit on a branch, which is made if it is not there; returns the commit."""
        with self._lock:
            there = self.repositories.setdefault(repository, _Repository())
            parent = there.branches.get(branch) or there.branches.get("main")
            tree = {**(there.trees[parent] if parent else {}), **files}
            sha = self._store(
                there, tree, (parent,) if parent else (), message, ("alice", "alice@example.com")
            )
            there.branches[branch] = sha
            self._settle(repository)
            return sha

    def approve(self, repository: str, number: int) -> None:
        self._reviews[repository, number] = self._reviews.get((repository, number), 0) + 1
        self._settle(repository)

    def merge_by_hand(self, repository: str, number: int) -> str:
        with self._lock:
            return self._merge(repository, number, "alice")

    def close_by_hand(self, repository: str, number: int) -> None:
        with self._lock:
            self._change(repository, number, state=PullState.CLOSED, ended_by="alice", ended_at=NOW)

    def text(self, repository: str, branch: str, path: str) -> str | None:
        there = self.repositories[repository]
        return there.trees[there.branches[branch]].get(path)

    # GitHost

    def default_branch(self, repository: str) -> str:
        self._repository(repository)
        return "main"

    def head(self, repository: str, branch: str) -> str | None:
        return self._repository(repository).branches.get(branch)

    def files(self, repository: str, commit: str) -> Mapping[str, str]:
        there = self._repository(repository)
        return dict(there.trees[_known(there, commit).sha])

    def commit(self, repository: str, sha: str) -> Commit:
        return _known(self._repository(repository), sha)

    def compare(self, repository: str, base: str, head: str) -> Comparison:
        there = self._repository(repository)
        of_base, of_head = (_history(there, _known(there, one).sha) for one in (base, head))
        ahead = [sha for sha in reversed(of_head) if sha not in of_base]
        behind = [sha for sha in of_base if sha not in of_head]
        shared = next((sha for sha in of_head if sha in of_base), None)
        if shared is None:
            raise Refused("not_found", "no common ancestor")
        relation = (
            (Relation.DIVERGED if behind else Relation.AHEAD)
            if ahead
            else (Relation.BEHIND if behind else Relation.IDENTICAL)
        )
        return Comparison(relation, shared, tuple(there.commits[sha] for sha in ahead))

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
        with self._lock:
            there = self._written(repository)
            tree = {**there.trees[_known(there, onto).sha], **files}
            return self._store(there, tree, tuple(parents), message, (AUTHOR, AUTHOR_EMAIL), at=at)

    def create_branch(self, repository: str, branch: str, commit: str) -> None:
        with self._lock:
            there = self._written(repository)
            if self.refuses_branches:
                raise Refused("protected", self.refuses_branches)
            if branch in there.branches:
                raise Moved(f"{branch}: Reference already exists")
            there.branches[branch] = commit
            self._settle(repository)

    def move_branch(self, repository: str, branch: str, commit: str) -> None:
        with self._lock:
            there = self._written(repository)
            if self.refuses_branches:
                raise Refused("protected", self.refuses_branches)
            if branch not in there.branches or there.branches[branch] not in _history(there, commit):
                raise Moved(f"{branch}: Update is not a fast forward")
            there.branches[branch] = commit
            self._settle(repository)

    def delete_branch(self, repository: str, branch: str) -> None:
        with self._lock:
            self._written(repository).branches.pop(branch, None)
            self._settle(repository)

    def pull_requests(self, repository: str, branch: str) -> list[Pull]:
        pulls = self._repository(repository).pulls.values()
        found = [
            replace(pull, mergeable=None, ended_by=None, merge_commit=pull.merge_commit)
            for pull in pulls
            if pull.branch == branch
        ]
        return sorted(found, key=lambda pull: pull.number, reverse=True)

    def pull_request(self, repository: str, number: int) -> Pull:
        if f"{repository}#{number}" in self.broken:
            raise Temporary(f"Git host: 502 at pull request {repository}#{number}")
        pull = self._pull(repository, number)
        if pull.state is not PullState.OPEN:
            return pull
        there = self._repository(repository)
        return replace(pull, mergeable=_merged(there, there.branches[pull.base], pull.head) is not None)

    def open_pull_request(self, repository: str, *, branch: str, base: str, title: str, body: str) -> Pull:
        with self._lock:
            there = self._written(repository)
            for pull in there.pulls.values():
                if pull.branch == branch and pull.base == base and pull.state is PullState.OPEN:
                    return pull
            head = there.branches.get(branch)
            if head is None or head in _history(there, there.branches[base]):
                raise Moved(f"No commits between {base} and {branch}")
            number = len(there.pulls) + 1
            there.pulls[number] = Pull(
                repository=repository,
                number=number,
                url=f"https://git.example/{repository}/pull/{number}",
                title=title,
                body=body,
                labels=(),
                base=base,
                branch=branch,
                head=head,
                state=PullState.OPEN,
                opened_at=self.now,
            )
            return there.pulls[number]

    def edit_pull_request(self, repository: str, number: int, *, title: str, body: str) -> None:
        with self._lock:
            self._written(repository)
            self._change(repository, number, title=title, body=body)

    def label_pull_request(self, repository: str, number: int, labels: Sequence[str]) -> None:
        with self._lock:
            self._written(repository)
            there = self._pull(repository, number).labels
            self._change(repository, number, labels=tuple(dict.fromkeys((*there, *labels))))

    def close_pull_request(self, repository: str, number: int) -> None:
        with self._lock:
            self._written(repository)
            self._change(repository, number, state=PullState.CLOSED, ended_by=AUTHOR, ended_at=NOW)

    def merge(self, repository: str, number: int, head: str) -> MergeOutcome:
        with self._lock:
            self._written(repository)
            pull = self._pull(repository, number)
            if pull.state is PullState.OPEN and pull.head != head:
                raise Moved("Head branch was modified")
            if pull.state is not PullState.OPEN:
                return MergeOutcome.BLOCKED
            if self._may_merge(repository, pull):
                self._merge(repository, number, AUTHOR)
                return MergeOutcome.MERGED
            if not self.allow_auto_merge or self.pull_request(repository, number).mergeable is False:
                return MergeOutcome.BLOCKED
            self._change(repository, number, auto_merge=True)
            return MergeOutcome.WAITING

    def disable_auto_merge(self, repository: str, number: int) -> None:
        with self._lock:
            self._change(repository, number, auto_merge=False)

    # Inside

    def _repository(self, repository: str) -> _Repository:
        if self.down:
            raise Temporary("Git host: down")
        if repository not in self.repositories:
            raise Refused("not_found", f"{repository}: Not Found")
        return self.repositories[repository]

    def _written(self, repository: str) -> _Repository:
        self.writes += 1
        return self._repository(repository)

    def _pull(self, repository: str, number: int) -> Pull:
        pulls = self._repository(repository).pulls
        if number not in pulls:
            raise Refused("not_found", f"{repository}#{number}: Not Found")
        return pulls[number]

    def _change(self, repository: str, number: int, **fields: object) -> None:
        pull = self._pull(repository, number)
        self.repositories[repository].pulls[number] = replace(pull, **fields)  # type: ignore[arg-type]

    def _may_merge(self, repository: str, pull: Pull) -> bool:
        approved = self._reviews.get((repository, pull.number), 0) >= self.required_reviews
        return approved and self.pull_request(repository, pull.number).mergeable is True

    def _merge(self, repository: str, number: int, by: str) -> str:
        there, pull = self.repositories[repository], self._pull(repository, number)
        base = there.branches[pull.base]
        tree = _merged(there, base, pull.head)
        assert tree is not None, "in conflict"
        parents = (base,) if self.squash else (base, pull.head)
        sha = self._store(there, tree, parents, f"{pull.title} (#{number})", (by, f"{by}@example.com"))
        there.branches[pull.base] = sha
        if self.delete_branch_on_merge:
            del there.branches[pull.branch]
        self._change(
            repository,
            number,
            state=PullState.MERGED,
            merge_commit=sha,
            ended_by=by,
            ended_at=NOW,
            auto_merge=False,
        )
        return sha

    def _settle(self, repository: str) -> None:
        """Open pull requests follow their branches; what waited for its conditions merges."""
        there = self.repositories[repository]
        for pull in list(there.pulls.values()):
            if pull.state is not PullState.OPEN:
                continue
            head = there.branches.get(pull.branch)
            if head is None:
                self._change(repository, pull.number, state=PullState.CLOSED, ended_at=NOW)
                continue
            self._change(repository, pull.number, head=head)
            now = self._pull(repository, pull.number)
            if now.auto_merge and self._may_merge(repository, now):
                self._merge(repository, pull.number, AUTHOR)

    def _store(
        self,
        there: _Repository,
        tree: dict[str, str],
        parents: tuple[str, ...],
        message: str,
        author: tuple[str, str],
        *,
        at: datetime = NOW,
    ) -> str:
        text = json.dumps([tree, parents, message, author, at.isoformat()], sort_keys=True)
        sha = hashlib.sha1(text.encode()).hexdigest()
        there.commits[sha] = Commit(sha, parents, *author, message)
        there.trees[sha] = tree
        return sha


def _known(there: _Repository, sha: str) -> Commit:
    if sha not in there.commits:
        raise Refused("not_found", f"commit {sha}: Not Found")
    return there.commits[sha]


def _history(there: _Repository, sha: str) -> list[str]:
    """The commit and all its ancestors, children before their parents."""
    found: dict[str, None] = {}
    order: list[str] = []

    def visit(commit: str) -> None:
        if commit in found:
            return
        found[commit] = None
        for parent in there.commits[commit].parents:
            visit(parent)
        order.append(commit)

    visit(sha)
    return order[::-1]


def _merged(there: _Repository, base: str, head: str) -> dict[str, str] | None:
    """The tree of a three-way merge by whole files; None if both sides changed one differently."""
    of_base = set(_history(there, base))
    start = next((sha for sha in _history(there, head) if sha in of_base), None)
    assert start is not None, "no common ancestor"
    old, ours, theirs = there.trees[start], there.trees[base], there.trees[head]
    merged = dict(ours)
    for path in old.keys() | theirs.keys():
        if theirs.get(path) == old.get(path) or theirs.get(path) == ours.get(path):
            continue
        if ours.get(path) != old.get(path):
            return None
        if path in theirs:
            merged[path] = theirs[path]
        else:
            del merged[path]
    return merged
