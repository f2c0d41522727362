"""The group's branch: what it holds, whose commits are on it, and how it comes to hold what it should.

The content is always the base as it is now plus the members' values; so the commit that is made has the tree
of the base with the edited files, whatever the branch said before. Its parents are the branch's head, and the
base where the base is not in the head yet. So the branch only ever moves forward, never conflicts with its
base, and one that was merged (by a merge commit, by squashing or by rebasing) and not deleted serves again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from functions.gitops.grouping import Group
from functions.gitops.layers import NotLocated
from functions.gitops.message import Held, commit_message, members_in
from shared.contracts.documents import Recommendation
from shared.contracts.errors import Moved, Refused
from shared.contracts.git_host import Commit, Comparison, GitHost, Pull, PullState, Relation

log = logging.getLogger(__name__)

DEEPEST = 50  # commits of people on top of ours that are looked through


@dataclass(frozen=True)
class Branch:
    """The branch and then its pull requests; `base` is the name of the branch that they go to."""

    group: Group
    base: str
    head: str | None
    pulls: tuple[Pull, ...]

    @property
    def open_pull(self) -> Pull | None:
        return open_pull(self.pulls, self.base)

    @property
    def last_ended(self) -> Pull | None:
        """The newest pull request, if it is no longer open."""
        newest = next(iter(self.pulls), None)
        return newest if newest is not None and newest.state is not PullState.OPEN else None

    def has_other(self, pulls: Sequence[Pull]) -> bool:
        """Whether one of the branch's pull requests has come, ended or been opened again since."""
        return {(one.number, one.state) for one in pulls} != {(one.number, one.state) for one in self.pulls}


@dataclass(frozen=True)
class View(Branch):
    """The branch beside its base, which was read last."""

    base_head: str
    comparison: Comparison | None

    @property
    def members(self) -> dict[str, Held]:
        """The recommendations that the branch holds beyond the base, and what of each."""
        commits = () if self.comparison is None else self.comparison.commits
        return next((members_in(one.message) for one in reversed(commits) if one.is_ours), {})


def open_pull(pulls: tuple[Pull, ...] | list[Pull], base: str) -> Pull | None:
    return next((pull for pull in pulls if pull.state is PullState.OPEN and pull.base == base), None)


def look(host: GitHost, group: Group) -> Branch:
    """To be called before the documents are read.

    Whoever moved the branch before this had read the documents before this as well, so what is read after it
    cannot miss a member that the branch holds.
    """
    repository = group.repository
    base = group.base or host.default_branch(repository)
    head = host.head(repository, group.branch)
    return Branch(group, base, head, tuple(host.pull_requests(repository, group.branch)))


def beside_base(host: GitHost, branch: Branch) -> View:
    """To be called after the documents are read.

    What is no longer to be on the branch, for its pull request or its document says that it was merged, is in
    the base that is read after that. In an older one it would not be, and the commit made of that would take
    back what was merged. And what the base has since a merge that this does not know of would seem to have
    been there always: so there must have been none.

    Raises:
        NotLocated: the Application follows no branch.
        Moved: a pull request has come or ended since `look`.
    """
    repository = branch.group.repository
    base_head = host.head(repository, branch.base)
    if base_head is None:
        raise NotLocated(
            f"Application {branch.group.application} follows {branch.base!r} of {repository}, which is no "
            "branch: there is nothing that a pull request could change"
        )
    if branch.has_other(host.pull_requests(repository, branch.group.branch)):
        raise Moved(f"a pull request of {branch.group.branch} has come or ended")
    comparison = None if branch.head is None else host.compare(repository, base_head, branch.head)
    return View(branch.group, branch.base, branch.head, branch.pulls, base_head, comparison)


def members_of(host: GitHost, pull: Pull) -> dict[str, Held]:
    """The recommendations in the head of a pull request, whatever became of its branch."""
    sha = pull.head
    try:
        for _ in range(DEEPEST):
            commit = host.commit(pull.repository, sha)
            if commit.is_ours:
                return members_in(commit.message)
            if not commit.parents:
                break
            # A person's commit, or merge of the base, on top of ours.
            sha = commit.parents[0]
    except Refused:
        log.warning("%s: its head %s is gone", pull.url, pull.head)
    return {}


def documents_in(
    host: GitHost,
    pull: Pull,
    known: Iterable[Recommendation],
    find: Callable[[str], Recommendation | None],
) -> list[Recommendation]:
    """The recommendations in the head of a pull request beside those known, in whatever state they are.

    Between the push and the records of it, only the branch tells that it holds them.
    """
    others = members_of(host, pull).keys() - {one.id for one in known}
    found = (find(one) for one in sorted(others))
    return [one for one in found if one is not None]


def person_on(host: GitHost, view: View) -> Commit | None:
    """A person's commit that no ended pull request had yet; merges of the base are none."""
    if view.comparison is None or view.head is None:
        return None
    theirs = [one for one in view.comparison.commits if not one.is_ours and len(one.parents) < 2]
    for pull in view.pulls:
        if theirs and pull.state is not PullState.OPEN:
            since = host.compare(view.group.repository, pull.head, view.head)
            theirs = [one for one in theirs if one in since.commits]
    return theirs[-1] if theirs else None


def push(
    host: GitHost,
    view: View,
    *,
    files: Mapping[str, str],
    members: Mapping[str, Held],
    title: str,
    at: datetime,
) -> str:
    """Has the branch hold `files` over the base; returns its head, which may be what it was.

    Raises:
        Moved: somebody else moved it meanwhile.
    """
    group = view.group
    if view.head is not None and _holds(host, view, files, members):
        return view.head
    commit = host.write_commit(
        group.repository,
        onto=view.base_head,
        parents=_parents(view),
        files=files,
        message=commit_message(title, members),
        at=at,
    )
    if view.head is None:
        host.create_branch(group.repository, group.branch, commit)
    else:
        host.move_branch(group.repository, group.branch, commit)
    return commit


def _parents(view: View) -> tuple[str, ...]:
    if view.head is None or view.comparison is None:
        return (view.base_head,)
    match view.comparison.relation:
        case Relation.IDENTICAL | Relation.BEHIND:
            return (view.base_head,)
        case Relation.AHEAD:
            return (view.head,)
        case Relation.DIVERGED:
            return (view.head, view.base_head)


def _holds(host: GitHost, view: View, files: Mapping[str, str], members: Mapping[str, Held]) -> bool:
    """Whether nothing needs to be committed. A base that moved elsewhere is the merge's business."""
    assert view.head is not None
    assert view.comparison is not None
    if view.members.keys() != members.keys():
        return False
    if view.comparison.relation in (Relation.IDENTICAL, Relation.BEHIND):
        return not files
    base = host.files(view.group.repository, view.base_head)
    branch = host.files(view.group.repository, view.head)
    touched = {path for held in view.members.values() for path in held.files} | files.keys()
    return all(branch.get(path) == files.get(path, base.get(path)) for path in touched)
