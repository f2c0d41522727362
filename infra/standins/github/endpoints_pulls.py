"""Pull requests: their life, files, commits and merging."""

from __future__ import annotations

from typing import cast

from flask import Blueprint, Response, jsonify, request

from infra.standins.github.call import body, call, optional_text, paginated, text
from infra.standins.github.errors import ApiError, invalid, not_found
from infra.standins.github.hosting import PullChanged
from infra.standins.github.state import MergeMethod, MergeWish, Pull, timestamp

endpoints = Blueprint("pulls", __name__)
_MERGE_METHODS = ("merge", "squash", "rebase")


@endpoints.get("/pulls")
def list_pulls() -> Response:
    asked, owner = request.args, f"{call().repo.owner}:"
    state, head, base = asked.get("state", "open"), asked.get("head"), asked.get("base")
    found = [
        pull
        for pull in call().repo.state.pulls.values()
        if state in ("all", pull.state)
        # Without an owner GitHub ignores the filter and lists every pull request.
        and (not head or ":" not in head or head == f"{owner}{pull.head}")
        and (not base or base == pull.base)
    ]
    sort = asked.get("sort", "created")
    direction = asked.get("direction", "desc" if sort == "created" else "asc")

    def order(pull: Pull) -> tuple[object, ...]:
        if sort == "popularity":
            return (len(pull.comments), pull.number)
        return (pull.updated_at if sort == "updated" else pull.created_at, pull.number)

    return paginated(sorted(found, key=order, reverse=direction == "desc"), call().bodies.pull)


@endpoints.post("/pulls")
def create_pull() -> tuple[Response, int]:
    repo, sent = call().repo, body(required=("head", "base"))
    if not text(sent, "title").strip():
        invalid("PullRequest", code="missing_field", field="title")
    head = text(sent, "head").removeprefix(f"{repo.owner}:")
    base = text(sent, "base")
    head_sha, base_sha = repo.branch(head), repo.branch(base)
    if base_sha is None:
        invalid("PullRequest", code="invalid", field="base")
    if head_sha is None:
        invalid("PullRequest", code="invalid", field="head")
    if any(pull.head == head and pull.base == base for pull in repo.open_pulls()):
        invalid("PullRequest", message=f"A pull request already exists for {repo.owner}:{head}.")
    if repo.git.merge_base(base_sha, head_sha) is None:
        invalid("PullRequest", message=f"The {head} branch has no history in common with {base}")
    if repo.git.is_ancestor(head_sha, base_sha):
        invalid("PullRequest", message=f"No commits between {base} and {head}")
    now = timestamp()
    repo.state.last_number += 1
    pull = Pull(
        number=repo.state.last_number,
        id=repo.state.new_id(),
        user=call().login,
        title=text(sent, "title"),
        body=optional_text(sent, "body"),
        draft=sent.get("draft", False) is True,
        head=head,
        base=base,
        head_sha=head_sha,
        base_sha=base_sha,
        created_at=now,
        updated_at=now,
    )
    repo.state.pulls[pull.number] = pull
    repo.keep_head(pull)
    repo.happened.append(PullChanged("opened", pull.number, call().login))
    repo.save()
    return jsonify(call().bodies.full_pull(pull, just_created=True)), 201


@endpoints.get("/pulls/<int:number>")
def get_pull(number: int) -> Response:
    return jsonify(call().bodies.full_pull(call().pull(number)))


@endpoints.patch("/pulls/<int:number>")
def edit_pull(number: int) -> Response:
    pull, sent = call().pull(number), body()
    base = text(sent, "base", pull.base)
    new_base = pull.base_sha if base == pull.base else _allowed_base(pull, base)
    edit_as_issue(pull, sent)
    pull.base, pull.base_sha = base, new_base
    call().repo.save()
    return jsonify(call().bodies.full_pull(pull))


def _allowed_base(pull: Pull, base: str) -> str:
    repo = call().repo
    sha = repo.branch(base)
    if sha is None or pull.state == "closed":
        invalid("PullRequest", code="invalid", field="base")
    if any(other.head == pull.head and other.base == base for other in repo.open_pulls()):
        message = f"A pull request already exists for base branch '{base}' and head branch '{pull.head}'"
        invalid("PullRequest", field="base", message=message)
    if repo.git.is_ancestor(pull.head_sha, sha):
        message = f"There are no new commits between base branch '{base}' and head branch '{pull.head}'"
        invalid("PullRequest", field="base", message=message)
    return sha


def edit_as_issue(pull: Pull, sent: dict[str, object]) -> None:
    """Changes what pull requests and issues share: title, body, labels and state; and stores it.

    Raises:
        ApiError: 422 for a wrong value, or a state that cannot be reached.
    """
    repo, login = call().repo, call().login
    title, state = text(sent, "title", pull.title), sent.get("state", pull.state)
    written = pull.body if "body" not in sent else optional_text(sent, "body")
    labels = label_names(sent["labels"]) if sent.get("labels") is not None else pull.labels
    if not title.strip():
        invalid("Issue", code="missing_field", field="title")
    if state not in ("open", "closed"):
        invalid("PullRequest", code="invalid", field="state")
    if state == "open" and pull.state == "closed":
        _reopen(pull)
    if (title, written, labels) != (pull.title, pull.body, pull.labels):
        pull.title, pull.body, pull.labels, pull.updated_at = title, written, labels, timestamp()
        repo.happened.append(PullChanged("edited", pull.number, login))
    if state == "closed" and pull.state == "open":
        repo.close(pull, login)
    repo.save()


def _reopen(pull: Pull) -> None:
    repo = call().repo
    head, base = repo.branch(pull.head), repo.branch(pull.base)
    reason = None
    if pull.merged_at:
        reason = "The pull request cannot be reopened."
    elif head is None or base is None:
        reason = f"The {pull.base if head else pull.head} branch has been deleted."
    elif any(other.head == pull.head and other.base == pull.base for other in repo.open_pulls()):
        reason = f"There is already an open pull request from {pull.head} to {pull.base}."
    elif not repo.git.is_ancestor(pull.head_sha, head):
        reason = f"The {pull.head} branch was force-pushed or recreated."
    elif repo.git.is_ancestor(head, base):
        reason = f"There are no new commits on the {pull.head} branch."
    if reason or head is None:
        invalid("PullRequest", field="state", message=f"state cannot be changed. {reason}")
    pull.state, pull.closed_at, pull.closed_by = "open", None, None
    pull.head_sha, pull.updated_at = head, timestamp()
    repo.keep_head(pull)
    repo.happened.append(PullChanged("reopened", pull.number, call().login))


def label_names(sent: object) -> list[str]:
    """Label names as the API takes them: texts, or objects with a name; each once.

    Raises:
        ApiError: 422 for anything else.
    """
    names = []
    for label in sent if isinstance(sent, list) else [sent]:
        name = label.get("name") if isinstance(label, dict) else label
        if not isinstance(name, str) or not name:
            invalid("Label", code="invalid", field="name")
        names.append(name)
    return list(dict.fromkeys(names))


@endpoints.get("/pulls/<int:number>/files")
def list_files(number: int) -> Response:
    pull, git = call().pull(number), call().repo.git
    start = git.merge_base(pull.base_sha, pull.head_sha) or pull.base_sha
    changes = git.changes(start, pull.head_sha)
    return paginated(changes, lambda change: call().bodies.file(change, pull.head_sha))


@endpoints.get("/pulls/<int:number>/commits")
def list_commits(number: int) -> Response:
    pull, git = call().pull(number), call().repo.git
    shas = git.history(pull.head_sha, without=pull.base_sha)[::-1]
    return paginated(shas, lambda sha: call().bodies.commit(git.commit(sha)))


@endpoints.get("/pulls/<int:number>/comments")
def list_review_comments(number: int) -> Response:
    call().pull(number)
    return paginated([], dict)


# Merging


@endpoints.get("/pulls/<int:number>/merge")
def is_merged(number: int) -> Response:
    if call().pull(number).merged_at is None:
        not_found()
    return Response(status=204)


@endpoints.put("/pulls/<int:number>/merge")
def merge(number: int) -> Response:
    pull, sent = call().pull(number), body()
    method = text(sent, "merge_method", "merge")
    if method not in _MERGE_METHODS:
        allowed = ", ".join(f'"{one}"' for one in _MERGE_METHODS)
        raise ApiError(422, f"Invalid request.\n\n{method} is not a member of [{allowed}].")
    if pull.state == "open" and sent.get("sha") not in (None, pull.head_sha):
        raise ApiError(409, "Head branch was modified. Review and try the merge again.")
    wish = MergeWish(
        by=call().login,
        method=cast("MergeMethod", method),
        title=sent.get("commit_title"),
        message=sent.get("commit_message"),
    )
    sha = call().repo.merge(pull, wish)
    return jsonify({"sha": sha, "merged": True, "message": "Pull Request successfully merged"})
