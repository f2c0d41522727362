"""What a pull request has as an issue: comments, labels, title and state."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request

from infra.standins.github.call import body, call, paginated, text
from infra.standins.github.endpoints_pulls import edit_as_issue, label_names
from infra.standins.github.errors import ApiError, invalid, not_found
from infra.standins.github.state import Comment, Pull, timestamp

endpoints = Blueprint("issues", __name__)


@endpoints.get("/issues/<int:number>")
def get_issue(number: int) -> Response:
    return jsonify(call().bodies.issue(call().pull(number)))


@endpoints.patch("/issues/<int:number>")
def edit_issue(number: int) -> Response:
    pull = call().pull(number)
    edit_as_issue(pull, body())
    return jsonify(call().bodies.issue(pull))


# Comments


@endpoints.get("/issues/<int:number>/comments")
def list_comments(number: int) -> Response:
    pull = call().pull(number)
    return paginated(pull.comments, lambda comment: call().bodies.comment(pull, comment))


def _text_of_comment() -> str:
    written = text(body(required=("body",)), "body")
    if not written.strip():
        invalid("IssueComment", code="unprocessable", field="data", message="Body cannot be blank")
    return written


@endpoints.post("/issues/<int:number>/comments")
def create_comment(number: int) -> tuple[Response, int]:
    pull, now = call().pull(number), timestamp()
    comment = Comment(
        id=call().repo.state.new_id(),
        user=call().login,
        body=_text_of_comment(),
        created_at=now,
        updated_at=now,
    )
    pull.comments.append(comment)
    pull.updated_at = now
    call().repo.save()
    return jsonify(call().bodies.comment(pull, comment)), 201


def _comment(comment_id: int) -> tuple[Pull, Comment]:
    pulls = call().repo.state.pulls.values()
    found = [(pull, comment) for pull in pulls for comment in pull.comments if comment.id == comment_id]
    if not found:
        not_found()
    return found[0]


@endpoints.get("/issues/comments/<int:comment_id>")
def get_comment(comment_id: int) -> Response:
    return jsonify(call().bodies.comment(*_comment(comment_id)))


@endpoints.patch("/issues/comments/<int:comment_id>")
def edit_comment(comment_id: int) -> Response:
    pull, comment = _comment(comment_id)
    comment.body, comment.updated_at = _text_of_comment(), timestamp()
    call().repo.save()
    return jsonify(call().bodies.comment(pull, comment))


@endpoints.delete("/issues/comments/<int:comment_id>")
def delete_comment(comment_id: int) -> Response:
    pull, comment = _comment(comment_id)
    pull.comments.remove(comment)
    call().repo.save()
    return Response(status=204)


# Labels: those that do not exist come into being when they are put on


def _sent_labels() -> list[str]:
    sent: Any = request.get_json(force=True)
    return label_names(sent.get("labels", []) if isinstance(sent, dict) else sent)


def _labelled(pull: Pull, names: list[str]) -> Response:
    pull.labels, pull.updated_at = list(dict.fromkeys(names)), timestamp()
    call().repo.save()
    return jsonify([call().bodies.label(name) for name in pull.labels])


@endpoints.get("/issues/<int:number>/labels")
def list_labels(number: int) -> Response:
    return paginated(call().pull(number).labels, call().bodies.label)


@endpoints.post("/issues/<int:number>/labels")
def add_labels(number: int) -> Response:
    pull = call().pull(number)
    return _labelled(pull, [*pull.labels, *_sent_labels()])


@endpoints.put("/issues/<int:number>/labels")
def set_labels(number: int) -> Response:
    return _labelled(call().pull(number), _sent_labels())


@endpoints.delete("/issues/<int:number>/labels")
def remove_all_labels(number: int) -> Response:
    _labelled(call().pull(number), [])
    return Response(status=204)


@endpoints.delete("/issues/<int:number>/labels/<path:label>")
def remove_label(number: int, label: str) -> Response:
    pull = call().pull(number)
    if label not in pull.labels:
        raise ApiError(404, "Label does not exist")
    return _labelled(pull, [name for name in pull.labels if name != label])
