"""The payloads of webhook events: push and pull_request."""

from __future__ import annotations

from typing import Any

from infra.standins.github.call import Call
from infra.standins.github.git import NO_OBJECT, Commit
from infra.standins.github.hosting import PullChanged, Pushed
from infra.standins.github.identity import signature_of
from infra.standins.github.webhook import Event

PUSHED_COMMITS = 2048  # GitHub's limit of commits in one payload


def event_of(call: Call, happening: Pushed | PullChanged) -> Event:
    """The event for something that happened during this call."""
    if isinstance(happening, Pushed):
        return Event("push", _push(call, happening))
    return Event("pull_request", _pull_request(call, happening))


def _pull_request(call: Call, change: PullChanged) -> dict[str, Any]:
    pull = call.repo.state.pulls[change.number]
    payload = {
        "action": change.action,
        "number": change.number,
        "pull_request": call.bodies.full_pull(pull, just_created=change.action == "opened"),
        "repository": call.bodies.repository(),
        "sender": call.bodies.user(change.actor),
    }
    if change.action == "synchronize":
        payload |= {"before": change.before, "after": change.after}
    return payload


def _push(call: Call, push: Pushed) -> dict[str, Any]:
    git = call.repo.git
    created, deleted = push.before == NO_OBJECT, push.after == NO_OBJECT
    after = git.resolve(push.after, "commit")
    before = None if created else git.resolve(push.before, "commit")
    commits: list[Commit] = []
    forced = False
    if after and before:
        commits = git.commits(git.history(after, without=before)[:PUSHED_COMMITS][::-1])
        forced = not git.is_ancestor(before, after)
    pusher = signature_of(push.actor)
    return {
        "ref": push.reference,
        "before": push.before,
        "after": push.after,
        "created": created,
        "deleted": deleted,
        "forced": forced,
        "base_ref": None,
        "compare": f"{call.bodies.html}/compare/{push.before[:12]}...{push.after[:12]}",
        "commits": [_commit(call, commit) for commit in commits],
        "head_commit": _commit(call, git.commit(after)) if after else None,
        "repository": call.bodies.repository(),
        "pusher": {"name": pusher.name, "email": pusher.email},
        "sender": call.bodies.user(push.actor),
    }


def _commit(call: Call, commit: Commit) -> dict[str, Any]:
    changes = call.repo.git.changes(commit.parents[0], commit.sha) if commit.parents else []
    return {
        "id": commit.sha,
        "tree_id": commit.tree,
        "distinct": True,
        "message": commit.message,
        "timestamp": commit.committer.when.isoformat(),
        "url": f"{call.bodies.html}/commit/{commit.sha}",
        "author": {"name": commit.author.name, "email": commit.author.email},
        "committer": {"name": commit.committer.name, "email": commit.committer.email},
        "added": [change.path for change in changes if change.status == "added"],
        "removed": [change.path for change in changes if change.status == "removed"],
        "modified": [change.path for change in changes if change.status in ("modified", "renamed")],
    }
