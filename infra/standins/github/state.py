"""What GitHub knows of a repository and Git does not: settings, protection, pull requests; kept in a file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

MergeMethod = Literal["merge", "squash", "rebase"]
ReviewState = Literal["APPROVED", "CHANGES_REQUESTED", "COMMENTED", "PENDING", "DISMISSED"]


def timestamp() -> str:
    """Now, as GitHub writes times: UTC, whole seconds, Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Settings(BaseModel):
    """The repository's own settings with GitHub's defaults."""

    description: str | None = None
    allow_auto_merge: bool = False
    allow_merge_commit: bool = True
    allow_squash_merge: bool = True
    allow_rebase_merge: bool = True
    delete_branch_on_merge: bool = False


class Protection(BaseModel):
    """A branch's protection. A count of None means that no reviews are required, not even a pull request."""

    required_approving_review_count: int | None = None
    dismiss_stale_reviews: bool = False
    required_checks: list[str] = Field(default_factory=list)
    strict_checks: bool = False
    enforce_admins: bool = False


class Review(BaseModel):
    id: int
    user: str
    state: ReviewState
    body: str
    commit_id: str
    submitted_at: str


class Comment(BaseModel):
    id: int
    user: str
    body: str
    created_at: str
    updated_at: str


class MergeWish(BaseModel):
    """How someone wants a pull request merged: now, or by itself once nothing blocks it any more."""

    by: str
    method: MergeMethod = "merge"
    title: str | None = None
    message: str | None = None


class Merge(BaseModel):
    """A merge that is about to move the base branch; a crash in between is settled from it."""

    sha: str
    by: str


class Pull(BaseModel):
    number: int
    id: int
    user: str
    title: str
    body: str | None
    head: str
    base: str
    head_sha: str
    base_sha: str
    created_at: str
    updated_at: str
    state: Literal["open", "closed"] = "open"
    draft: bool = False
    labels: list[str] = Field(default_factory=list)
    requested_reviewers: list[str] = Field(default_factory=list)
    reviews: list[Review] = Field(default_factory=list)
    comments: list[Comment] = Field(default_factory=list)
    auto_merge: MergeWish | None = None
    merging: Merge | None = None
    merge_commit_sha: str | None = None
    merged_by: str | None = None
    merged_at: str | None = None
    closed_at: str | None = None
    closed_by: str | None = None


class State(BaseModel):
    settings: Settings = Field(default_factory=Settings)
    protection: dict[str, Protection] = Field(default_factory=dict)
    pulls: dict[int, Pull] = Field(default_factory=dict)
    # Branches and tags when they were last looked at: what differs was pushed.
    references: dict[str, str] = Field(default_factory=dict)
    last_number: int = 0
    last_id: int = 0

    def new_id(self) -> int:
        self.last_id += 1
        return self.last_id


def load(path: Path) -> State | None:
    """The stored state, or None where there is none yet.

    Raises:
        ValueError: the file is not a state of this stand-in.
    """
    try:
        return State.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None


def store(state: State, path: Path) -> None:
    """Replaces the file in one step: a process killed at any moment leaves the old or the new state."""
    scratch = path.with_suffix(".tmp")
    scratch.write_text(state.model_dump_json(indent=1), encoding="utf-8")
    scratch.replace(path)
