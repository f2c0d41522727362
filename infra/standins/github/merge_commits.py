"""The commits that GitHub's three ways of merging write."""

from __future__ import annotations

from infra.standins.github.errors import ApiError
from infra.standins.github.git import Commit, GitRepository, Signature
from infra.standins.github.identity import signature_of
from infra.standins.github.state import MergeWish, Pull


def merge_commit(git: GitRepository, pull: Pull, base: str, owner: str, wish: MergeWish) -> str:
    """Writes what the base branch shall point at after the merge; moves nothing.

    Raises:
        ApiError: 405 on a conflict.
    """
    tree = git.merge_trees(base, pull.head_sha)
    if tree is None:
        raise ApiError(405, "Pull Request is not mergeable")
    author = signature_of(wish.by)
    committer = Signature("GitHub", "noreply@github.com", author.when)
    if wish.method == "rebase":
        return _rebase(git, _own_commits(git, pull, base), git.commit(base), committer)
    if wish.method == "squash":
        title = wish.title or f"{pull.title} (#{pull.number})"
        default = "\n\n".join(f"* {commit.message}" for commit in _own_commits(git, pull, base))
        parents = [base]
    else:
        title = wish.title or f"Merge pull request #{pull.number} from {owner}/{pull.head}"
        default = pull.title
        parents = [base, pull.head_sha]
    message = default if wish.message is None else wish.message
    return git.write_commit(tree, parents, f"{title}\n\n{message}" if message else title, author, committer)


def _own_commits(git: GitRepository, pull: Pull, base: str) -> list[Commit]:
    """The pull request's commits without merges, oldest first."""
    commits = git.commits(git.history(pull.head_sha, without=base))
    return [commit for commit in reversed(commits) if len(commit.parents) == 1]


def _rebase(git: GitRepository, commits: list[Commit], onto: Commit, committer: Signature) -> str:
    for commit in commits:
        tree = git.replay(commit, onto)
        if tree is None:
            raise ApiError(405, "This branch can't be rebased")
        onto = git.commit(git.write_commit(tree, [onto.sha], commit.message, commit.author, committer))
    return onto.sha
