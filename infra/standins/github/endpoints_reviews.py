"""Reviews of pull requests, and who is asked for one."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from infra.standins.github.call import body, call, optional_text, paginated, text
from infra.standins.github.errors import ApiError, not_found
from infra.standins.github.state import Pull, Review, ReviewState, timestamp

endpoints = Blueprint("reviews", __name__)
_REVIEW_STATES: dict[str, ReviewState] = {
    "APPROVE": "APPROVED",
    "REQUEST_CHANGES": "CHANGES_REQUESTED",
    "COMMENT": "COMMENTED",
    "": "PENDING",
}


def _unprocessable(reason: str) -> ApiError:
    return ApiError(422, "Unprocessable Entity", errors=[reason])


@endpoints.get("/pulls/<int:number>/reviews")
def list_reviews(number: int) -> Response:
    pull = call().pull(number)
    return paginated(pull.reviews, lambda review: call().bodies.review(pull, review))


@endpoints.post("/pulls/<int:number>/reviews")
def create_review(number: int) -> Response:
    pull, sent, login = call().pull(number), body(), call().login
    event = text(sent, "event")
    state = _REVIEW_STATES.get(event)
    if state is None:
        raise _unprocessable(f"Variable $event of type PullRequestReviewEvent has the invalid value {event}")
    if login == pull.user and event == "APPROVE":
        raise _unprocessable("Can not approve your own pull request")
    if login == pull.user and event == "REQUEST_CHANGES":
        raise _unprocessable("Can not request changes on your own pull request")
    if event in ("REQUEST_CHANGES", "COMMENT") and not sent.get("body"):
        raise _unprocessable("Body can't be blank")
    commit = text(sent, "commit_id", pull.head_sha)
    review = Review(
        id=call().repo.state.new_id(),
        user=login,
        state=state,
        body=optional_text(sent, "body") or "",
        commit_id=commit,
        submitted_at=timestamp(),
    )
    pull.reviews.append(review)
    pull.requested_reviewers = [one for one in pull.requested_reviewers if one != login]
    pull.updated_at = timestamp()
    call().repo.save()
    call().repo.settle(login)  # an approval may be what an automatic merge waited for
    return jsonify(call().bodies.review(pull, review))


def _review(pull: Pull, review_id: int) -> Review:
    found = next((review for review in pull.reviews if review.id == review_id), None)
    if found is None:
        not_found()
    return found


@endpoints.get("/pulls/<int:number>/reviews/<int:review_id>")
def get_review(number: int, review_id: int) -> Response:
    pull = call().pull(number)
    return jsonify(call().bodies.review(pull, _review(pull, review_id)))


@endpoints.put("/pulls/<int:number>/reviews/<int:review_id>/dismissals")
def dismiss_review(number: int, review_id: int) -> Response:
    pull = call().pull(number)
    review = _review(pull, review_id)
    body(required=("message",))
    if review.state not in ("APPROVED", "CHANGES_REQUESTED"):
        raise _unprocessable("Can not dismiss a review that is neither approving nor requesting changes")
    review.state = "DISMISSED"
    call().repo.save()
    call().repo.settle(call().login)
    return jsonify(call().bodies.review(pull, review))


@endpoints.get("/pulls/<int:number>/requested_reviewers")
def list_requested_reviewers(number: int) -> Response:
    pull = call().pull(number)
    return jsonify({"users": [call().bodies.user(one) for one in pull.requested_reviewers], "teams": []})


@endpoints.post("/pulls/<int:number>/requested_reviewers")
def request_reviewers(number: int) -> tuple[Response, int]:
    pull, wanted = call().pull(number), body().get("reviewers") or []
    if pull.user in wanted:
        raise ApiError(422, "Review cannot be requested from pull request author.")
    pull.requested_reviewers = list(dict.fromkeys([*pull.requested_reviewers, *map(str, wanted)]))
    call().repo.save()
    return jsonify(call().bodies.pull(pull)), 201


@endpoints.delete("/pulls/<int:number>/requested_reviewers")
def remove_requested_reviewers(number: int) -> Response:
    pull, unwanted = call().pull(number), body().get("reviewers") or []
    pull.requested_reviewers = [one for one in pull.requested_reviewers if one not in unwanted]
    call().repo.save()
    return jsonify(call().bodies.pull(pull))
