"""The GraphQL mutations that GitHub has no REST endpoint for and PyGithub therefore sends as GraphQL."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

from flask import Flask, Response, g, jsonify, request

from infra.standins.github.bodies import node_identity
from infra.standins.github.call import Call
from infra.standins.github.hosting import Host, HostedRepository, PullChanged
from infra.standins.github.state import MergeMethod, MergeWish, Pull, timestamp

Input = dict[str, Any]
_MUTATION = re.compile(
    r"\s*mutation\b[^{]*\{\s*(\w+)\s*\(\s*input\s*:\s*\$(\w+)\s*\)\s*(\{.*\})\s*\}\s*", re.DOTALL
)


class MutationError(Exception):
    """A mutation that GitHub refuses; `kind` is the error's type in the response."""

    def __init__(self, message: str, kind: str = "UNPROCESSABLE") -> None:
        super().__init__(message)
        self.kind = kind


def _enable_auto_merge(call: Call, pull: Pull, sent: Input) -> None:
    expected = sent.get("expectedHeadOid")
    if expected not in (None, pull.head_sha):
        raise MutationError("Head sha didn't match expected head sha.")
    method = str(sent.get("mergeMethod", "MERGE")).lower()
    try:
        wish = MergeWish(
            by=call.login,
            method=cast("MergeMethod", method),
            title=sent.get("commitHeadline"),
            message=sent.get("commitBody"),
        )
        call.repo.enable_auto_merge(pull, wish)
    except ValueError as error:
        raise MutationError(str(error)) from error


def _disable_auto_merge(_call: Call, pull: Pull, _sent: Input) -> None:
    if pull.auto_merge is None:
        raise MutationError("Can't disable auto-merge for this pull request.")
    pull.auto_merge = None


def _convert_to_draft(_call: Call, pull: Pull, _sent: Input) -> None:
    pull.draft = True


def _mark_ready(_call: Call, pull: Pull, _sent: Input) -> None:
    pull.draft = False


_MUTATIONS: dict[str, Callable[[Call, Pull, Input], None]] = {
    "enablePullRequestAutoMerge": _enable_auto_merge,
    "disablePullRequestAutoMerge": _disable_auto_merge,
    "convertPullRequestToDraft": _convert_to_draft,
    "markPullRequestReadyForReview": _mark_ready,
}


def serve(app: Flask, host: Host) -> None:
    """Adds POST /graphql to the application. Errors are GraphQL's: in the body, with status 200."""

    @app.post("/graphql")
    def execute() -> Response:
        sent = request.get_json(force=True)
        query = str(sent.get("query", "")) if isinstance(sent, dict) else ""
        match = _MUTATION.fullmatch(query)
        if match is None:
            return _errors("The stand-in knows only single mutations with (input: $variable)")
        name, variable, selection = match.groups()
        if name not in _MUTATIONS:
            return _errors(f"Field '{name}' doesn't exist on type 'Mutation'", path=["mutation", name])
        values = (sent.get("variables") or {}).get(variable) or {}
        try:
            payload = _mutate(host, name, values)
        except MutationError as error:
            return _errors(str(error), path=[name], kind=error.kind, data={name: None})
        return jsonify({"data": {name: _selected(payload, re.findall(r"\w+|[{}]", selection)[1:])}})


def _errors(
    message: str, *, path: list[str] | None = None, kind: str | None = None, data: Input | None = None
) -> Response:
    error: Input = {"message": message, "locations": [{"line": 1, "column": 1}]}
    if kind:
        error = {"type": kind, **error}
    if path:
        error["path"] = path
    return jsonify({**({"data": data} if data else {}), "errors": [error]})


def _mutate(host: Host, name: str, sent: Input) -> Input:
    node = str(sent.get("pullRequestId", ""))
    identity = node_identity(node)
    repo: HostedRepository | None = None
    number = 0
    full_name, _, digits = (identity[1] if identity else "").partition("#")
    if identity and identity[0] == "PR" and digits.isdecimal():
        owner, _, short = full_name.partition("/")
        repo, number = host.repository(owner, short), int(digits)
    if repo is None:
        raise MutationError(f"Could not resolve to a node with the global id of '{node}'", "NOT_FOUND")
    # The application releases the lock after the response and delivers the webhooks.
    repo.lock.acquire()
    g.call = call = Call(repo=repo, login=g.login, api=request.host_url.rstrip("/"))
    repo.settle(call.login)
    pull = repo.state.pulls.get(number)
    if pull is None:
        raise MutationError(f"Could not resolve to a node with the global id of '{node}'", "NOT_FOUND")
    _MUTATIONS[name](call, pull, sent)
    pull.updated_at = timestamp()
    repo.happened.append(PullChanged("edited", pull.number, call.login))
    repo.save()
    return _payload(call, pull, sent)


def _payload(call: Call, pull: Pull, sent: Input) -> Input:
    who = call.bodies.user(call.login)
    return {
        "actor": {
            "avatarUrl": who["avatar_url"],
            "login": who["login"],
            "resourcePath": f"/{who['login']}",
            "url": who["html_url"],
        },
        "clientMutationId": sent.get("clientMutationId"),
        "pullRequest": {
            "id": sent["pullRequestId"],
            "number": pull.number,
            "isDraft": pull.draft,
            "headRefOid": pull.head_sha,
            "state": "MERGED" if pull.merged_at else pull.state.upper(),
        },
    }


def _selected(value: Input, tokens: list[str]) -> Input:
    """The selected fields, read from the tokens after an opening brace up to its closing one."""
    chosen: Input = {}
    while tokens and (name := tokens.pop(0)) != "}":
        chosen[name] = value.get(name)
        if tokens and tokens[0] == "{":
            tokens.pop(0)
            chosen[name] = _selected(chosen[name] or {}, tokens)
    return chosen
