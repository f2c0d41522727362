"""One request to one repository: who asks, where, and the reading of its parameters."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

from flask import Response, g, jsonify, request

from infra.standins.github.errors import ApiError, not_found
from infra.standins.github.hosting import HostedRepository
from infra.standins.github.pull_bodies import PullBodies
from infra.standins.github.state import Pull

Item = TypeVar("Item")
Body = dict[str, Any]
DEFAULT_PAGE = 30
LARGEST_PAGE = 100


@dataclass(frozen=True)
class Call:
    """The repository that a request is about, who asks, and under which address the client knows the API."""

    repo: HostedRepository
    login: str
    api: str

    @property
    def bodies(self) -> PullBodies:
        return PullBodies(self.api, self.repo)

    def pull(self, number: int) -> Pull:
        """The pull request of this number.

        Raises:
            ApiError: 404 where there is none.
        """
        found = self.repo.state.pulls.get(number)
        if found is None:
            not_found()
        return found

    def commit(self, name: str) -> str:
        """The commit that a branch, tag or sha leads to.

        Raises:
            ApiError: 422 where there is none.
        """
        found = self.repo.git.resolve(name, "commit")
        if found is None:
            raise ApiError(422, f"No commit found for SHA: {name}")
        return found

    def refuse_empty(self) -> None:
        """Refuses what needs a commit.

        Raises:
            ApiError: 409 where the repository has no branch and no tag.
        """
        if not self.repo.state.references:
            raise ApiError(409, "Git Repository is empty.")


def call() -> Call:
    """The call that is being answered."""
    return cast("Call", g.call)


def body(*, required: Sequence[str] = ()) -> Body:
    """The request's JSON object; an absent body is an empty one.

    Raises:
        ApiError: 400 for what is no JSON object, 422 where a required field is missing.
    """
    sent = request.get_json(force=True) if request.get_data() else {}
    if not isinstance(sent, dict):
        raise ApiError(400, "Body should be a JSON object")
    for field in required:
        if sent.get(field) is None:
            raise ApiError(422, f'Invalid request.\n\n"{field}" wasn\'t supplied.')
    return sent


def text(sent: Body, field: str, default: str = "") -> str:
    """A text field.

    Raises:
        ApiError: 422 where it is something else.
    """
    value = sent.get(field, default)
    if not isinstance(value, str):
        raise ApiError(422, f"Invalid request.\n\nFor 'properties/{field}', {value!r} is not a string.")
    return value


def optional_text(sent: Body, field: str) -> str | None:
    """A text field that may be null or absent.

    Raises:
        ApiError: 422 where it is something else.
    """
    return None if sent.get(field) is None else text(sent, field)


def decoded(content: str, encoding: str) -> bytes:
    """Content in one of the encodings that GitHub knows: utf-8 or base64.

    Raises:
        ApiError: 422 for bad base64 or another encoding.
    """
    if encoding == "utf-8":
        return content.encode()
    if encoding != "base64":
        raise ApiError(422, f"{encoding} is not a supported encoding.")
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except binascii.Error as error:
        raise ApiError(422, "content is not valid Base64") from error


def well_formed(path: str, field: str) -> str:
    """A file's path inside a repository.

    Raises:
        ApiError: 422 for what Git would not store.
    """
    if any(part.lower() in ("", ".", "..", ".git") for part in path.split("/")):
        raise ApiError(422, f"{field} contains a malformed path component")
    return path


def _positive(name: str, default: int) -> int:
    value = request.args.get(name, default=default, type=int)
    return value if value > 0 else default


def paginated(items: Sequence[Item], make: Callable[[Item], Body]) -> Response:
    """One page of a list (per_page, page) with a Link header; bodies are made for this page only."""
    size, page = min(_positive("per_page", DEFAULT_PAGE), LARGEST_PAGE), _positive("page", 1)
    last = max(1, -(-len(items) // size))
    response = jsonify([make(item) for item in items[(page - 1) * size : page * size]])
    targets: dict[str, int] = {}
    if page > 1:
        targets |= {"prev": min(page - 1, last)}
    if page < last:
        targets |= {"next": page + 1, "last": last}
    if page > 1:
        targets |= {"first": 1}
    links = (
        f'<{request.base_url}?{urlencode({**request.args.to_dict(), "page": number})}>; rel="{relation}"'
        for relation, number in targets.items()
    )
    if targets:
        response.headers["Link"] = ", ".join(links)
    return response
