"""The repository itself: settings, branches and their protection, history, comparison, checks."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request
from pydantic import ValidationError

from infra.standins.github.bodies import protection
from infra.standins.github.call import body, call, paginated, text
from infra.standins.github.errors import ApiError, invalid, not_found
from infra.standins.github.git import Commit, FileChange
from infra.standins.github.state import Protection, Settings

endpoints = Blueprint("repository", __name__)
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@endpoints.get("")
def get_repository() -> Response:
    return jsonify(call().bodies.repository())


@endpoints.patch("")
def edit_repository() -> Response:
    repo, sent = call().repo, body()
    if "default_branch" in sent:
        branch = text(sent, "default_branch")
        if repo.branch(branch) is None:
            invalid("Repository", code="invalid", field="default_branch")
        repo.git.set_default_branch(branch)
    known = {key: value for key, value in sent.items() if key in Settings.model_fields}
    try:
        repo.state.settings = Settings.model_validate({**repo.state.settings.model_dump(), **known})
    except ValidationError as error:
        raise ApiError(422, f"Invalid request.\n\n{error}") from error
    repo.save()
    return jsonify(call().bodies.repository())


# Branches


@endpoints.get("/branches")
def list_branches() -> Response:
    found = [
        (name.removeprefix("refs/heads/"), sha)
        for name, sha in call().repo.state.references.items()
        if name.startswith("refs/heads/")
    ]
    if "protected" in request.args:
        wanted = request.args["protected"].lower() == "true"
        found = [(name, sha) for name, sha in found if (name in call().repo.state.protection) == wanted]
    return paginated(found, lambda one: call().bodies.branch(*one))


def _branch(name: str) -> str:
    sha = call().repo.branch(name)
    if sha is None:
        raise ApiError(404, "Branch not found")
    return sha


@endpoints.get("/branches/<path:branch>")
def get_branch(branch: str) -> Response:
    sha, bodies = _branch(branch), call().bodies
    links = {"self": f"{bodies.url}/branches/{branch}", "html": f"{bodies.html}/tree/{branch}"}
    commit = bodies.commit(call().repo.git.commit(sha))
    return jsonify({**bodies.branch(branch, sha), "commit": commit, "_links": links})


@endpoints.get("/branches/<path:branch>/protection")
def get_protection(branch: str) -> Response:
    _branch(branch)
    rules = call().repo.protection(branch)
    if rules is None:
        raise ApiError(404, "Branch not protected")
    return jsonify(protection(request.base_url, rules))


@endpoints.put("/branches/<path:branch>/protection")
def set_protection(branch: str) -> Response:
    _branch(branch)
    sent = body()
    missing = [
        f'"{field}"'
        for field in (
            "required_status_checks",
            "enforce_admins",
            "required_pull_request_reviews",
            "restrictions",
        )
        if field not in sent
    ]
    if missing:
        raise ApiError(422, f"Invalid request.\n\n{', '.join(missing)} weren't supplied.")
    reviews: dict[str, Any] | None = sent["required_pull_request_reviews"]
    checks: dict[str, Any] = sent["required_status_checks"] or {}
    names = [str(check["context"]) for check in checks.get("checks") or []]
    try:
        rules = Protection(
            required_approving_review_count=(
                None if reviews is None else reviews.get("required_approving_review_count", 1)
            ),
            dismiss_stale_reviews=bool(reviews and reviews.get("dismiss_stale_reviews")),
            required_checks=names or checks.get("contexts") or [],
            strict_checks=bool(checks.get("strict")),
            enforce_admins=bool(sent["enforce_admins"]),
        )
    except ValidationError as error:
        raise ApiError(422, f"Invalid request.\n\n{error}") from error
    call().repo.state.protection[branch] = rules
    call().repo.save()
    call().repo.settle(call().login)
    return jsonify(protection(request.base_url, rules))


@endpoints.delete("/branches/<path:branch>/protection")
def remove_protection(branch: str) -> Response:
    _branch(branch)
    if call().repo.state.protection.pop(branch, None) is None:
        raise ApiError(404, "Branch not protected")
    call().repo.save()
    call().repo.settle(call().login)
    return Response(status=204)


# History


def _changes(commit: Commit) -> list[FileChange]:
    return call().repo.git.changes(commit.parents[0] if commit.parents else EMPTY_TREE, commit.sha)


@endpoints.get("/commits")
def list_commits() -> Response:
    call().refuse_empty()
    git = call().repo.git
    head = git.resolve(request.args.get("sha") or git.default_branch(), "commit")
    if head is None:
        not_found()
    history = git.history(head, path=request.args.get("path"))
    return paginated(history, lambda sha: call().bodies.commit(git.commit(sha)))


@endpoints.get("/commits/<path:ref>")
def get_commit(ref: str) -> Response:
    call().refuse_empty()
    commit = call().repo.git.commit(call().commit(ref))
    return jsonify(call().bodies.full_commit(commit, _changes(commit)))


@endpoints.get("/commits/<path:ref>/status")
def combined_status(ref: str) -> Response:
    sha, bodies = call().commit(ref), call().bodies
    return jsonify(
        {
            "state": "pending",  # GitHub's answer where nothing reports a status
            "statuses": [],
            "sha": sha,
            "total_count": 0,
            "repository": bodies.repository(),
            "commit_url": f"{bodies.url}/commits/{sha}",
            "url": f"{bodies.url}/commits/{sha}/status",
        }
    )


@endpoints.get("/commits/<path:ref>/check-runs")
def check_runs(ref: str) -> Response:
    call().commit(ref)
    return jsonify({"total_count": 0, "check_runs": []})


@endpoints.get("/compare/<path:basehead>")
def compare(basehead: str) -> Response:
    git = call().repo.git
    owner = f"{call().repo.owner}:"
    base_name, dots, head_name = basehead.partition("...")
    base, head = (git.resolve(name.removeprefix(owner), "commit") for name in (base_name, head_name))
    if not dots or base is None or head is None:
        not_found()
    start = git.merge_base(base, head)
    if start is None:
        raise ApiError(404, f"No common ancestor between {base_name} and {head_name}.")
    return jsonify(call().bodies.compare(git.commit(base), git.commit(head), git.commit(start)))
