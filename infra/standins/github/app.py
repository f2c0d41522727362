"""The HTTP side that all endpoints share: identity, faults, rate limit, conditional requests, errors."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from flask import Flask, Response, g, jsonify, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from infra.standins.github import (
    endpoints_content,
    endpoints_git,
    endpoints_issues,
    endpoints_pulls,
    endpoints_repository,
    endpoints_reviews,
    graphql,
)
from infra.standins.github.bodies import user
from infra.standins.github.call import Call, call
from infra.standins.github.errors import ApiError, not_found
from infra.standins.github.faults import Fault, Faults
from infra.standins.github.hosting import Host
from infra.standins.github.payloads import event_of
from infra.standins.github.rate_limit import RateLimit
from infra.standins.github.webhook import Event

_ANONYMOUS = ("addresses", "rate_limit", "page")


def create_app(root: Path, logins: dict[str, str], emit: Callable[[Event], None] | None = None) -> Flask:
    """The application for the repositories below root; logins maps tokens to logins.

    `emit` takes the events for webhooks; without it none are made.
    """
    app = Flask("github-standin", static_folder=None)
    host = Host(root)
    service = Service(host, logins, emit)
    app.before_request(service.begin)
    app.after_request(service.finish)
    app.teardown_request(service.end)
    app.register_error_handler(ApiError, api_error)
    app.register_error_handler(HTTPException, http_error)
    app.add_url_rule("/", view_func=service.addresses)
    app.add_url_rule("/rate_limit", view_func=service.rate_limit)
    app.add_url_rule("/user", view_func=service.viewer)
    app.add_url_rule("/users/<login>", view_func=service.user)
    app.add_url_rule("/<owner>/<repository>/pull/<int:number>", view_func=page)
    app.add_url_rule("/_standin/faults", view_func=service.list_faults, methods=["GET"])
    app.add_url_rule("/_standin/faults", view_func=service.add_fault, methods=["POST"])
    app.add_url_rule("/_standin/faults", view_func=service.remove_faults, methods=["DELETE"])
    for module in (
        endpoints_repository,
        endpoints_git,
        endpoints_content,
        endpoints_pulls,
        endpoints_reviews,
        endpoints_issues,
    ):
        app.register_blueprint(module.endpoints, url_prefix="/repos/<owner>/<repository>")
    graphql.serve(app, host)
    return app


class Service:
    """What happens around every request, and the endpoints that belong to no repository."""

    def __init__(self, host: Host, logins: dict[str, str], emit: Callable[[Event], None] | None) -> None:
        self._host = host
        self._logins = logins
        self._emit = emit
        self._faults = Faults()
        self._limit = RateLimit()

    def begin(self) -> Response | None:
        g.request_id = uuid.uuid4().hex.upper()[:16]
        g.login = self._login()
        if request.path.startswith("/_standin/"):
            if g.login is None:
                raise ApiError(401, "Requires authentication")
            return None
        g.fault = self._faults.take(request.method, request.full_path.rstrip("?"))
        if g.fault:
            time.sleep(g.fault.delay)
            if g.fault.status and not g.fault.after:
                return self._faulty()
        if g.login is None and request.endpoint not in _ANONYMOUS:
            if request.path.startswith("/repos/"):
                not_found()
            raise ApiError(401, "Requires authentication")
        self._open_repository()
        return None

    def finish(self, response: Response) -> Response:
        if "call" in g:
            happened, g.call.repo.happened = g.call.repo.happened, []
            for happening in happened if self._emit else []:
                assert self._emit is not None
                self._emit(event_of(g.call, happening))
        fault: Fault | None = g.get("fault")
        if fault and fault.status and fault.after:
            response = self._faulty()
        response = _conditional(response)
        for key, value in self._limit.count(self._counted_as(), response.status_code != 304).items():
            response.headers[f"X-RateLimit-{key.capitalize()}"] = str(value)
        response.headers["X-RateLimit-Resource"] = "graphql" if request.path == "/graphql" else "core"
        response.headers["X-GitHub-Request-Id"] = g.request_id
        response.headers["X-GitHub-Media-Type"] = "github.v3; format=json"
        return response

    def end(self, _error: BaseException | None) -> None:
        if "call" in g:
            g.call.repo.lock.release()

    def addresses(self) -> Response:
        paths = {"current_user": "/user", "rate_limit": "/rate_limit", "repository": "/repos/{owner}/{repo}"}
        return jsonify({f"{name}_url": f"{_api()}{path}" for name, path in paths.items()})

    def rate_limit(self) -> Response:
        core = self._limit.count(self._counted_as(), 0)
        return jsonify({"resources": {"core": core, "graphql": core}, "rate": core})

    def viewer(self) -> Response:
        return jsonify(user(_api(), g.login))

    def user(self, login: str) -> Response:
        return jsonify(user(_api(), login))

    def list_faults(self) -> Response:
        return jsonify([fault.model_dump() for fault in self._faults.waiting()])

    def add_fault(self) -> tuple[Response, int]:
        try:
            fault = Fault.model_validate(request.get_json(force=True))
            self._faults.add(fault)
        except (ValidationError, re.error) as error:
            raise ApiError(422, f"Not a fault: {error}") from error
        return jsonify(fault.model_dump()), 201

    def remove_faults(self) -> Response:
        self._faults.clear()
        return Response(status=204)

    def _login(self) -> str | None:
        header = request.headers.get("Authorization")
        if header is None:
            return None
        scheme, _, token = header.partition(" ")
        login = self._logins.get(token.strip()) if scheme.lower() in ("token", "bearer") else None
        if login is None:
            raise ApiError(401, "Bad credentials")
        return login

    def _counted_as(self) -> str:
        return str(g.get("login") or request.remote_addr)

    def _open_repository(self) -> None:
        """Opens the repository that the address names, locked until the response is made."""
        arguments: dict[str, Any] = request.view_args or {}
        if "owner" not in arguments:
            return
        repo = self._host.repository(arguments.pop("owner"), arguments.pop("repository"))
        if repo is None:
            not_found()
        repo.lock.acquire()
        g.call = Call(repo=repo, login=g.login or repo.owner, api=_api())
        repo.settle(g.call.login)

    def _faulty(self) -> Response:
        fault: Fault = g.fault
        assert fault.status is not None
        response = jsonify(ApiError(fault.status, fault.message(g.request_id)).body())
        response.status_code = fault.status
        response.headers.update(fault.headers())
        return response


def page(number: int) -> Response:
    """What a person sees who follows a pull request's html_url: text, and on the loopback for everyone."""
    pull, git = call().pull(number), call().repo.git
    state = "merged" if pull.merged_at else pull.state
    patch = git.patch(git.merge_base(pull.base_sha, pull.head_sha) or pull.base_sha, pull.head_sha)
    head = f"#{pull.number} {pull.title}\n{state}: {pull.head} -> {pull.base}, by {pull.user}"
    return Response(f"{head}\n\n{pull.body or ''}\n\n{patch}", mimetype="text/plain")


def _api() -> str:
    return request.host_url.rstrip("/")


def api_error(error: ApiError) -> tuple[Response, int]:
    return jsonify(error.body()), error.status


def http_error(error: HTTPException) -> tuple[Response, int]:
    """Errors of the framework in GitHub's form; GitHub hides which methods a path has."""
    status = 404 if error.code == 405 else error.code or 500
    message = {400: "Problems parsing JSON", 404: "Not Found"}.get(status, error.name)
    return jsonify(ApiError(status, message).body()), status


def _conditional(response: Response) -> Response:
    """Gives a GET its ETag, and 304 where the client has this version already."""
    if request.method != "GET" or response.status_code != 200:
        return response
    tag = sha256(response.get_data() + response.headers.get("Link", "").encode()).hexdigest()
    response.headers["ETag"] = f'W/"{tag}"'
    response.headers["Cache-Control"] = "private, max-age=60, s-maxage=60"
    response.headers["Vary"] = "Accept, Authorization, Cookie, X-GitHub-OTP"
    if request.if_none_match.contains_weak(tag):
        response.status_code = 304
        response.set_data(b"")
        del response.headers["Content-Type"]
    return response
