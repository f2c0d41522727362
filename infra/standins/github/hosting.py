"""Repositories with their pull requests: what follows when branches move, and when they may merge."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from infra.standins.github.errors import ApiError
from infra.standins.github.git import NO_OBJECT, GitRepository, ReferenceMovedError
from infra.standins.github.merge_commits import merge_commit
from infra.standins.github.state import (
    Merge,
    MergeMethod,
    MergeWish,
    Protection,
    Pull,
    State,
    load,
    store,
    timestamp,
)

STATE_FILE = "github.json"
ABOUT_PROTECTION = "https://docs.github.com/articles/about-protected-branches"
_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Pushed:
    """A branch or tag moved; NO_OBJECT stands for what did not exist."""

    reference: str
    before: str
    after: str
    actor: str


@dataclass(frozen=True)
class PullChanged:
    """A pull request was opened, synchronize(d), closed, reopened or edited."""

    action: str
    number: int
    actor: str
    before: str | None = None
    after: str | None = None


class Mergeability(NamedTuple):
    """GitHub's mergeable and mergeable_state, and why a merge is refused (None: it is not)."""

    mergeable: bool | None
    state: str
    refusal: str | None


class HostedRepository:
    """One repository: Git's side and GitHub's. Callers hold `lock` from reading to `save`."""

    def __init__(self, owner: str, name: str, path: Path) -> None:
        self.owner = owner
        self.name = name
        self.path = path
        self.git = GitRepository(path)
        self.lock = threading.RLock()
        self.happened: list[Pushed | PullChanged] = []
        self._test_merges: dict[tuple[str, str], str | None] = {}
        stored = load(path / STATE_FILE)
        self.state = stored or State(references=self._references())

    @property
    def full_name(self) -> str:
        return f"{self.owner}/{self.name}"

    def save(self) -> None:
        store(self.state, self.path / STATE_FILE)

    def branch(self, name: str) -> str | None:
        """A branch's commit, as last settled."""
        return self.state.references.get(f"refs/heads/{name}")

    def protection(self, branch: str) -> Protection | None:
        return self.state.protection.get(branch)

    def refuse_direct_change(self, reference: str, *, prefix: str = "", status: int = 422) -> None:
        """Refuses to move a branch whose protection demands pull requests.

        Raises:
            ApiError: the reference is such a branch.
        """
        protection = self.protection(reference.removeprefix("refs/heads/"))
        if protection and protection.required_approving_review_count is not None:
            message = f"{prefix}Changes must be made through a pull request."
            raise ApiError(status, message, documentation=ABOUT_PROTECTION)

    # What follows when references move

    def settle(self, actor: str) -> None:
        """Brings pull requests in line with the branches, however those moved; merges what waited for it."""
        before, now = self.state.references, self._references()
        if before != now:
            self.state.references = now
            for name in sorted(before.keys() | now.keys()):
                old, new = before.get(name, NO_OBJECT), now.get(name, NO_OBJECT)
                if old != new:
                    self.happened.append(Pushed(name, old, new, actor))
        for pull in self.open_pulls():
            self._follow(pull, before, now, actor)
        if before != now:
            self.save()
        for pull in self.open_pulls():
            wish = pull.auto_merge
            if wish and self.mergeability(pull).state == "clean":
                with suppress(ApiError):  # the base moved meanwhile or a rebase conflicts: it waits on
                    self.merge(pull, wish)

    def open_pulls(self) -> list[Pull]:
        return [pull for pull in self.state.pulls.values() if pull.state == "open"]

    def _references(self) -> dict[str, str]:
        return {found.name: found.sha for found in self.git.references("refs/heads/", "refs/tags/")}

    def _follow(self, pull: Pull, before: dict[str, str], now: dict[str, str], actor: str) -> None:
        head, base = now.get(f"refs/heads/{pull.head}"), now.get(f"refs/heads/{pull.base}")
        base_moved = before.get(f"refs/heads/{pull.base}") != base
        if base is None:
            self.close(pull, actor)
        elif pull.merging:
            merging, pull.merging = pull.merging, None
            if self.git.is_ancestor(merging.sha, base):
                self._mark_merged(pull, merging.sha, merging.by)
        elif base_moved and self.git.is_ancestor(head or pull.head_sha, base):
            # Someone merged it by other means: the commit that brought the head in is on base's own line.
            pull.head_sha = head or pull.head_sha
            self._mark_merged(pull, self._brought_in_by(pull.head_sha, base), actor)
        elif head is None:
            self.close(pull, actor)
        elif head != pull.head_sha:
            self._synchronize(pull, head, base, actor)

    def _brought_in_by(self, commit: str, tip: str) -> str:
        """The merge that brought a commit into a branch; the commit itself where it was a fast forward."""
        since = self.git.commits(self.git.history(tip, without=commit))
        return next((one.sha for one in since if commit in one.parents[1:]), commit)

    def _synchronize(self, pull: Pull, head: str, base: str, actor: str) -> None:
        old, pull.head_sha = pull.head_sha, head
        if self.git.is_ancestor(head, base):
            self.close(pull, actor)
            return
        pull.base_sha, pull.updated_at = base, timestamp()
        self.keep_head(pull)
        protection = self.protection(pull.base)
        if protection and protection.dismiss_stale_reviews:
            for review in pull.reviews:
                if review.state == "APPROVED":
                    review.state = "DISMISSED"
        self.happened.append(PullChanged("synchronize", pull.number, actor, old, head))

    def keep_head(self, pull: Pull) -> None:
        """Points refs/pull/N/head at the head, as GitHub does: its commits outlive their branch."""
        name = f"refs/pull/{pull.number}/head"
        kept = self.git.reference(name)
        self.git.update_reference(name, pull.head_sha, kept.sha if kept else NO_OBJECT)

    def close(self, pull: Pull, actor: str) -> None:
        """Closes a pull request, merged or not."""
        pull.state, pull.auto_merge, pull.closed_by = "closed", None, actor
        pull.closed_at = pull.updated_at = timestamp()
        self.happened.append(PullChanged("closed", pull.number, actor))

    def _mark_merged(self, pull: Pull, sha: str, by: str) -> None:
        pull.merge_commit_sha, pull.merged_by, pull.merged_at = sha, by, timestamp()
        self.close(pull, by)

    # Merging

    def test_merge(self, pull: Pull) -> str | None:
        """The commit that merging now would make (refs/pull/N/merge at GitHub), or None on conflict."""
        base = self.branch(pull.base)
        if base is None:
            return None
        key = (base, pull.head_sha)
        if key not in self._test_merges:
            tree = self.git.merge_trees(base, pull.head_sha)
            who = self.git.commit(pull.head_sha).committer
            message = f"Merge {pull.head_sha} into {base}"
            self._test_merges[key] = (
                self.git.write_commit(tree, [base, pull.head_sha], message, who, who) if tree else None
            )
        return self._test_merges[key]

    def mergeability(self, pull: Pull) -> Mergeability:
        if pull.state == "closed":
            return Mergeability(None, "unknown", "Pull Request is not mergeable")
        if self.test_merge(pull) is None:
            return Mergeability(False, "dirty", "Pull Request is not mergeable")
        if pull.draft:
            return Mergeability(True, "draft", "Pull Request is still a draft")
        missing = self._missing_requirement(pull)
        return Mergeability(True, "blocked" if missing else "clean", missing)

    def _missing_requirement(self, pull: Pull) -> str | None:
        protection = self.protection(pull.base)
        if protection is None:
            return None
        needed = protection.required_approving_review_count or 0
        opinions = {
            review.user: review.state
            for review in pull.reviews
            if review.state in ("APPROVED", "CHANGES_REQUESTED", "DISMISSED")
        }
        approvals = sum(state == "APPROVED" for state in opinions.values())
        if approvals < needed or (needed and "CHANGES_REQUESTED" in opinions.values()):
            reviews = "review is" if needed == 1 else "reviews are"
            return f"At least {needed} approving {reviews} required by reviewers with write access."
        if protection.required_checks:
            return f'Required status check "{protection.required_checks[0]}" is expected.'
        return None

    def merge(self, pull: Pull, wish: MergeWish) -> str:
        """Merges a pull request and returns the commit on the base branch.

        Raises:
            ApiError: 405 with GitHub's reason: conflict, draft, protection, method not allowed, base moved.
        """
        refusal = self.mergeability(pull).refusal or self._disallowed(wish.method)
        if refusal:
            raise ApiError(405, refusal)
        base = self.branch(pull.base)
        if base is None:
            raise ApiError(405, "Pull Request is not mergeable")
        sha = merge_commit(self.git, pull, base, self.owner, wish)
        # Written down first: killed between here and the end, the next start still knows who merged what.
        pull.merging = Merge(sha=sha, by=wish.by)
        self.save()
        try:
            self.git.update_reference(f"refs/heads/{pull.base}", sha, base)
        except ReferenceMovedError as error:
            pull.merging = None
            self.save()
            raise ApiError(405, "Base branch was modified. Review and try the merge again.") from error
        head = self.branch(pull.head)
        if self.state.settings.delete_branch_on_merge and head:
            self.git.update_reference(f"refs/heads/{pull.head}", NO_OBJECT, head)
        self.settle(wish.by)
        return sha

    def _disallowed(self, method: MergeMethod) -> str | None:
        settings = self.state.settings
        allowed = {
            "merge": (settings.allow_merge_commit, "Merge commits are not allowed on this repository."),
            "squash": (settings.allow_squash_merge, "Squash merges are not allowed on this repository."),
            "rebase": (settings.allow_rebase_merge, "Rebase merges are not allowed on this repository."),
        }
        is_allowed, refusal = allowed[method]
        return None if is_allowed else refusal

    def enable_auto_merge(self, pull: Pull, wish: MergeWish) -> None:
        """Lets a pull request merge itself once nothing blocks it any more.

        Raises:
            ValueError: with GitHub's message; above all when it could be merged right away.
        """
        if not self.state.settings.allow_auto_merge:
            raise ValueError("Auto merge is not allowed for this repository")
        if pull.state == "closed":
            raise ValueError("Can't enable auto-merge for this pull request.")
        state = self.mergeability(pull).state
        if state != "blocked":
            raise ValueError(f"Pull request Pull request is in {state} status")
        refusal = self._disallowed(wish.method)
        if refusal:
            raise ValueError(refusal)
        pull.auto_merge = wish


class Host:
    """All repositories below a directory: DIR/<owner>/<name>.git."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], HostedRepository] = {}

    def repository(self, owner: str, name: str) -> HostedRepository | None:
        """The repository, or None where there is no bare repository of this name.

        Raises:
            ValueError: its stored state cannot be read.
            GitError: the directory is no Git repository.
        """
        if not _NAME.fullmatch(owner) or not _NAME.fullmatch(name):
            return None
        path = self._root / owner / f"{name}.git"
        with self._lock:
            known = self._open.get((owner, name))
            if known is None and (path / "HEAD").is_file():
                known = self._open[owner, name] = HostedRepository(owner, name, path)
            return known if known and known.path.is_dir() else None
