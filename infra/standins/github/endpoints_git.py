"""Git data: references, commits, trees, blobs."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, jsonify, request

from infra.standins.github.call import body, call, decoded, paginated, text, well_formed
from infra.standins.github.errors import ApiError, not_found
from infra.standins.github.git import NO_OBJECT, GitError, Reference, ReferenceMovedError, Signature
from infra.standins.github.identity import signature_of

endpoints = Blueprint("git", __name__)
_KINDS = {"040000": "tree", "160000": "commit"}
LARGEST_TREE = 100_000  # entries; longer ones are truncated


@endpoints.before_request
def refuse_empty() -> None:
    call().refuse_empty()


# References


@endpoints.get("/git/ref/<path:ref>")
def get_reference(ref: str) -> Response:
    found = call().repo.git.reference(f"refs/{ref}")
    if found is None:
        not_found()
    return jsonify(call().bodies.reference(found))


@endpoints.get("/git/refs")
@endpoints.get("/git/matching-refs/", defaults={"start": ""})
@endpoints.get("/git/matching-refs/<path:start>")
def matching_references(start: str = "") -> Response:
    found = [one for one in call().repo.git.references() if one.name.startswith(f"refs/{start}")]
    return paginated(found, call().bodies.reference)


@endpoints.get("/git/refs/<path:ref>")
def get_reference_by_its_own_address(ref: str) -> Response:
    return get_reference(ref)


@endpoints.post("/git/refs")
def create_reference() -> tuple[Response, int]:
    repo, sent = call().repo, body(required=("ref", "sha"))
    name, sha = text(sent, "ref"), text(sent, "sha")
    if not name.startswith("refs/") or name.count("/") < 2:
        raise ApiError(422, "Reference name must start with 'refs/' and contain at least two slashes.")
    if not repo.git.is_valid_reference(name):
        raise ApiError(422, f"{name} is not a valid ref name.")
    kind = repo.git.kind_of(sha)
    if kind is None:
        raise ApiError(422, "Object does not exist")
    if kind != "commit" and name.startswith("refs/heads/"):
        raise ApiError(422, "Object is not a commit")
    try:
        repo.git.update_reference(name, sha, NO_OBJECT)
    except ReferenceMovedError as error:
        raise ApiError(422, "Reference already exists") from error
    except GitError as error:
        raise ApiError(422, "Reference update failed") from error
    repo.settle(call().login)
    return jsonify(call().bodies.reference(Reference(name, kind, sha))), 201


def _existing(ref: str) -> Reference:
    found = call().repo.git.reference(f"refs/{ref}")
    if found is None:
        raise ApiError(422, "Reference does not exist")
    return found


@endpoints.patch("/git/refs/<path:ref>")
def update_reference(ref: str) -> Response:
    repo, sent = call().repo, body(required=("sha",))
    found, sha = _existing(ref), text(sent, "sha")
    kind = repo.git.kind_of(sha)
    if kind is None:
        raise ApiError(422, "Object does not exist")
    if kind != "commit" and found.name.startswith("refs/heads/"):
        raise ApiError(422, "Object is not a commit")
    repo.refuse_direct_change(found.name)
    forced = sent.get("force", False) is True
    if not forced and not (kind == found.kind == "commit" and repo.git.is_ancestor(found.sha, sha)):
        raise ApiError(422, "Update is not a fast forward")
    try:
        repo.git.update_reference(found.name, sha, found.sha)
    except ReferenceMovedError as error:
        raise ApiError(422, "Update is not a fast forward") from error
    repo.settle(call().login)
    return jsonify(call().bodies.reference(Reference(found.name, kind, sha)))


@endpoints.delete("/git/refs/<path:ref>")
def delete_reference(ref: str) -> Response:
    repo, found = call().repo, _existing(ref)
    if found.name.removeprefix("refs/heads/") in repo.state.protection:
        raise ApiError(422, "Cannot delete a protected branch")
    repo.git.update_reference(found.name, NO_OBJECT, found.sha)
    repo.settle(call().login)
    return Response(status=204)


# Commits


def signature(sent: Any, default: Signature) -> Signature:
    """A person as the API takes it: name and email, and the date in ISO 8601, by default now.

    Raises:
        ApiError: 422 for what is none.
    """
    if sent is None:
        return default
    if not isinstance(sent, dict) or not sent.get("name") or not sent.get("email"):
        raise ApiError(422, 'Invalid request.\n\n"name", "email" weren\'t supplied.')
    when = datetime.now(UTC)
    if sent.get("date"):
        try:
            when = datetime.fromisoformat(str(sent["date"]))
        except ValueError as error:
            raise ApiError(422, f"{sent['date']} is not a valid ISO 8601 date") from error
    return Signature(str(sent["name"]), str(sent["email"]), when if when.tzinfo else when.replace(tzinfo=UTC))


@endpoints.get("/git/commits/<sha>")
def get_commit(sha: str) -> Response:
    if call().repo.git.kind_of(sha) != "commit":
        not_found()
    return jsonify(call().bodies.git_commit(call().repo.git.commit(sha)))


@endpoints.post("/git/commits")
def create_commit() -> tuple[Response, int]:
    git, sent = call().repo.git, body(required=("message", "tree"))
    tree, parents = text(sent, "tree"), sent.get("parents") or []
    if git.kind_of(tree) != "tree":
        raise ApiError(422, "Tree SHA does not exist")
    if not isinstance(parents, list) or any(git.kind_of(str(parent)) != "commit" for parent in parents):
        raise ApiError(422, "Parent SHA does not exist or is not a commit object")
    author = signature(sent.get("author"), signature_of(call().login))
    committer = signature(sent.get("committer"), author)
    sha = git.write_commit(tree, parents, text(sent, "message"), author, committer)
    return jsonify(call().bodies.git_commit(git.commit(sha))), 201


# Trees and blobs


@endpoints.get("/git/trees/<path:name>")
def get_tree(name: str) -> Response:
    git = call().repo.git
    sha = git.resolve(name, "tree")
    if sha is None:
        not_found()
    entries = git.tree(sha, recursive="recursive" in request.args)
    truncated = len(entries) > LARGEST_TREE
    return jsonify(call().bodies.tree(sha, entries[:LARGEST_TREE], truncated=truncated))


def _tree_changes(items: list[Any]) -> Iterator[tuple[str, str, str | None]]:
    for item in items:
        if not isinstance(item, dict) or not item.get("path") or not item.get("mode"):
            raise ApiError(422, "Invalid tree info")
        path, mode = well_formed(str(item["path"]), "tree.path"), str(item["mode"])
        if ("sha" in item) == ("content" in item):
            raise ApiError(
                422,
                "Must supply either tree.sha or tree.content. Request will be rejected if both are present.",
            )
        git, kind = call().repo.git, _KINDS.get(mode, "blob")
        if "content" in item:
            yield path, mode, git.write_blob(text(item, "content").encode())
        elif item["sha"] is None or kind == "commit" or git.kind_of(str(item["sha"])) == kind:
            yield path, mode, item["sha"]
        else:
            raise GitError(f"{path}: {item['sha']} is no {kind}")


@endpoints.post("/git/trees")
def create_tree() -> tuple[Response, int]:
    git, sent = call().repo.git, body(required=("tree",))
    base = None
    if sent.get("base_tree"):
        base = git.resolve(text(sent, "base_tree"), "tree")
        if base is None:
            not_found()
    if not isinstance(sent["tree"], list) or not sent["tree"]:
        raise ApiError(422, "Invalid tree info")
    try:
        sha = git.write_tree(base, _tree_changes(sent["tree"]))
    except GitError as error:
        raise ApiError(422, "GitRPC::BadObjectState") from error
    return jsonify(call().bodies.tree(sha, git.tree(sha), truncated=False)), 201


@endpoints.get("/git/blobs/<sha>")
def get_blob(sha: str) -> Response:
    git = call().repo.git
    if git.kind_of(sha) != "blob":
        not_found()
    content = git.blob(sha)
    return jsonify(
        {
            **_blob(sha),
            "size": len(content),
            "encoding": "base64",
            "content": base64.encodebytes(content).decode(),
        }
    )


@endpoints.post("/git/blobs")
def create_blob() -> tuple[Response, int]:
    sent = body(required=("content",))
    sha = call().repo.git.write_blob(decoded(text(sent, "content"), text(sent, "encoding", "utf-8")))
    return jsonify(_blob(sha)), 201


def _blob(sha: str) -> dict[str, str]:
    return {"sha": sha, "url": f"{call().bodies.url}/git/blobs/{sha}"}
