"""Turns ticks and webhooks into requests to look. It decides nothing: the documents say what is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import Unauthorized

from functions.receiver.authenticating import bears, is_signed
from functions.receiver.requesting import reconcile, reconcile_of_slot, scan_of_slot, slot_of
from shared.contracts.envelope import NO_TIME
from shared.contracts.errors import Permanent, Unreadable
from shared.contracts.events import within_reach
from shared.runtime.ledger import utc_now

if TYPE_CHECKING:
    from shared.adapters.kafka import Publisher
    from shared.contracts.envelope import Event

PING = "dev.knative.sources.ping"
# A notification is tried three times within seconds; one that is so old is a replay.
STALE = timedelta(minutes=15)
# What can move a pull request; everything else that GitHub tells is acknowledged and left alone.
GITHUB_EVENTS = ("pull_request", "pull_request_review", "push")


class ReceiverHandler:
    def __init__(
        self,
        publisher: Publisher,
        *,
        cluster: str,
        tick_seconds: int,
        github_secret: str,
        argocd_token: str,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._publisher = publisher
        self._cluster = cluster
        self._tick_seconds = tick_seconds
        self._github_secret = github_secret
        self._argocd_token = argocd_token
        self._clock = clock

    def tick(self, attributes: Mapping[str, Any], data: object) -> None:
        """A PingSource's tick, whose data is `{"action": "scan" | "reconcile"}`.

        Raises:
            Unreadable: not a tick, or its data names no action.
            Temporary: Kafka cannot be reached.
        """
        if attributes.get("type") != PING:
            raise Unreadable(f"receiver answers {PING}, not {attributes.get('type')!r}")
        action = data.get("action") if isinstance(data, dict) else None
        schedule = str(attributes["source"])
        slot = slot_of(_moment(attributes.get("time"), "time"), self._tick_seconds)
        if action == "scan":
            self._emit(scan_of_slot(self._cluster, schedule, slot))
        elif action == "reconcile":
            self._emit(reconcile_of_slot(self._cluster, schedule, slot))
        else:
            raise Unreadable(f'a tick\'s data is {{"action": "scan"}} or "reconcile", not {data!r}')

    def github(self, headers: Mapping[str, str], body: bytes) -> str:
        """GitHub's webhook; `headers` are title-cased, as WSGI hands them on.

        Raises:
            Unauthorized: unsigned, or signed with another secret.
            Permanent: signed, but not the JSON that GitHub sends.
            Temporary: Kafka cannot be reached; GitHub shows the delivery as failed, the next tick heals it.
        """
        if not is_signed(body, headers.get("X-Hub-Signature-256", ""), self._github_secret):
            raise Unauthorized("the signature does not fit GITHUB_WEBHOOK_SECRET")
        if headers.get("X-Github-Event") not in GITHUB_EVENTS:
            return "nothing to look at"
        delivery = headers.get("X-Github-Delivery")
        payload = _json_object(body)
        repository = payload.get("repository")
        if not delivery or not isinstance(repository, dict):
            raise Permanent("a GitHub webhook has a header X-GitHub-Delivery and names its repository")
        pull_request = payload.get("pull_request")
        number = pull_request.get("number") if isinstance(pull_request, dict) else None
        self._emit(
            reconcile(
                self._cluster,
                "git_host",
                delivery,
                _moved_at(payload),
                repository=str(repository.get("full_name")),
                pull_request=number,
            )
        )
        return "will look"

    def argocd(self, headers: Mapping[str, str], body: bytes) -> str:
        """Argo CD's notification: a structured CloudEvent about one Application.

        Raises:
            Unauthorized: another bearer token, or none.
            Permanent: no structured CloudEvent, or one that is too old.
            Temporary: Kafka cannot be reached; the next tick heals it.
        """
        if not bears(headers.get("Authorization", ""), self._argocd_token):
            raise Unauthorized("the bearer token is not ARGOCD_WEBHOOK_TOKEN")
        envelope = _json_object(body)
        data = envelope.get("data")
        if not isinstance(data, dict) or not data.get("app") or not data.get("finishedAt"):
            raise Permanent("an Argo CD notification is a CloudEvent whose data has app and finishedAt")
        finished = _moment(data["finishedAt"], "finishedAt")
        if self._clock() - finished > STALE:
            raise Permanent(f"stale: this operation finished at {data['finishedAt']}")
        # An operation may end degraded and be healthy a minute later: two facts, told with one finishedAt.
        occasion = (
            f"{data['app']} {finished.astimezone(UTC).isoformat()} {data.get('phase')} {data.get('health')}"
        )
        self._emit(reconcile(self._cluster, "argocd", occasion, finished, application=str(data["app"])))
        return "will look"

    def _emit(self, event: Event) -> None:
        self._publisher.publish([event.record()])


def _moved_at(payload: Mapping[str, Any]) -> datetime:
    """When what the webhook tells of happened, so that GitHub's "Redeliver" makes the same event."""
    for part, field in (
        ("review", "submitted_at"),
        ("pull_request", "updated_at"),
        ("head_commit", "timestamp"),
    ):
        found = payload.get(part)
        if isinstance(found, dict) and found.get(field):
            try:
                return _moment(found[field], f"{part}.{field}")
            except Unreadable:
                if part != "head_commit":
                    raise
                # The committer chose that one, and may have chosen any.
    return NO_TIME


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise Permanent(f"the webhook's body is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise Permanent("the webhook's body is no JSON object")
    return document


def _moment(value: object, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise Unreadable(f"{name}: {value!r} is no RFC 3339 time") from None
    try:
        return within_reach(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except ValueError as error:
        raise Unreadable(f"{name}: {error}") from None
