"""Contents: files and directories by path, read and written with one commit each."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from infra.standins.github.call import Body, body, call, decoded, text, well_formed
from infra.standins.github.endpoints_git import signature
from infra.standins.github.errors import ApiError, not_found
from infra.standins.github.git import NO_OBJECT, ReferenceMovedError, TreeEntry
from infra.standins.github.identity import signature_of

endpoints = Blueprint("content", __name__)
RAW = ("application/vnd.github.raw", "application/vnd.github.v3.raw", "application/vnd.github.raw+json")


@endpoints.get("/contents/", defaults={"path": ""})
@endpoints.get("/contents", defaults={"path": ""})
@endpoints.get("/contents/<path:path>")
def get_content(path: str) -> Response:
    git, path = call().repo.git, path.strip("/")
    if not call().repo.state.references:
        raise ApiError(404, "This repository is empty.")
    ref = request.args.get("ref") or git.default_branch()
    commit = git.resolve(ref, "commit")
    if commit is None:
        raise ApiError(404, f"No commit found for the ref {ref}")
    found = git.entry(commit, path) if path else None
    if path and found is None:
        not_found()
    if found and found.kind == "blob":
        if any(kind in RAW for kind, _ in request.accept_mimetypes):
            return Response(git.blob(found.sha), mimetype="application/vnd.github.raw+json")
        return jsonify(call().bodies.content(found, path, ref, inline=True))
    listed = git.tree(found.sha if found else commit)
    start = f"{path}/" if path else ""
    return jsonify([call().bodies.content(one, start + one.path, ref, inline=False) for one in listed])


def _write(sent: Body, path: str, blob: str | None) -> tuple[str, TreeEntry | None]:
    """Commits one file (None removes it) on a branch; returns the commit and what the path held before."""
    repo, git, path = call().repo, call().repo.git, well_formed(path, "path")
    branch = text(sent, "branch", git.default_branch())
    parent = repo.branch(branch)
    if parent is None and repo.state.references:
        raise ApiError(404, f"Branch {branch} not found")
    existing = git.entry(parent, path) if parent else None
    if existing is None and blob is None:
        not_found()
    if existing and sent.get("sha") is None:
        raise ApiError(422, 'Invalid request.\n\n"sha" wasn\'t supplied.')
    if existing and existing.sha != sent["sha"]:
        raise ApiError(409, f"{path} does not match {sent['sha']}")
    verb = "delete" if blob is None else "update" if existing else "create"
    repo.refuse_direct_change(f"refs/heads/{branch}", prefix=f"Could not {verb} file: ", status=409)
    tree = git.write_tree(parent, [(path, existing.mode if existing else "100644", blob)])
    author = signature(sent.get("author"), signature_of(call().login))
    committer = signature(sent.get("committer"), author)
    parents = [parent] if parent else []
    commit = git.write_commit(tree, parents, text(sent, "message"), author, committer)
    try:
        git.update_reference(f"refs/heads/{branch}", commit, parent or NO_OBJECT)
    except ReferenceMovedError as error:
        raise ApiError(409, f"is at {git.resolve(branch, 'commit')} but expected {parent}") from error
    repo.settle(call().login)
    return commit, existing


@endpoints.put("/contents/<path:path>")
def write_content(path: str) -> tuple[Response, int]:
    git, sent = call().repo.git, body(required=("message", "content"))
    blob = git.write_blob(decoded(text(sent, "content"), "base64"))
    commit, existing = _write(sent, path, blob)
    entry = git.entry(commit, path)
    assert entry is not None
    ref = text(sent, "branch", git.default_branch())
    content = call().bodies.content(entry, path, ref, inline=False)
    answer = {"content": content, "commit": call().bodies.git_commit(git.commit(commit))}
    return jsonify(answer), 200 if existing else 201


@endpoints.delete("/contents/<path:path>")
def delete_content(path: str) -> Response:
    sent = {**request.args.to_dict(), **body()}
    for field in ("message", "sha"):
        if not sent.get(field):
            raise ApiError(422, f'Invalid request.\n\n"{field}" wasn\'t supplied.')
    commit, _ = _write(sent, path, None)
    return jsonify({"content": None, "commit": call().bodies.git_commit(call().repo.git.commit(commit))})
