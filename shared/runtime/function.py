"""A stage as functions-framework runs it: decode, hand over, and say by status what KafkaSource shall do.

| what happened            | status | KafkaSource       |
|--------------------------|--------|-------------------|
| handled, or late         | 200    | acknowledges      |
| no event of this stage   | 400    | dead letter       |
| data that does not fit   | 422    | dead letter       |
| the other side throttles | 429    | retries           |
| a dependency is down     | 503    | retries           |
| a bug                    | 500    | retries           |

gunicorn imports the function in its master and forks: nothing here connects, and the handler with its
client libraries is loaded in the worker, begun by the first readiness probe.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import unquote

import flask
from werkzeug.exceptions import HTTPException

from shared.contracts.errors import (
    BadSetting,
    KubeFinOpsError,
    Permanent,
    Temporary,
    Throttled,
    Unreadable,
)
from shared.contracts.topics import Topic
from shared.runtime.memory import load_less, share_pages

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent

    from shared.contracts.envelope import Event
    from shared.runtime.settings import Settings
    from shared.runtime.world import World

log = logging.getLogger(__name__)

# The answer to a delivery comes within this; longer than a flush to Kafka, shorter than the Service waits.
REQUEST_SECONDS = 180.0
# Work that was given up goes on: with so much of it no more is begun, and what goes on for so long hangs, for
# every client has much shorter timeouts of its own.
MOST_GIVEN_UP = 8
HUNG_SECONDS = 600.0
MAX_BODY_BYTES = 1024 * 1024  # events are under 64 KiB; a webhook of a large push is larger
Wired = TypeVar("Wired")
Answer = TypeVar("Answer")


class Stage(Generic[Wired]):
    """A stage's name, settings and wiring, mounted on the Flask application that loads it.

    Args:
        name: as in the topology: `recommender`, `policy`, ...
        settings: the class of its settings; a bad one ends the process with status 2 and one line.
        wire: makes the handler of its collaborators; called once, in the worker, not at import.
    """

    def __init__(self, name: str, settings: type[Settings], wire: Callable[[World], Wired]) -> None:
        self.name = name
        self._wire = wire
        self._lock = threading.Lock()
        self._wired: Wired | None = None
        self._given_up: dict[Future[Any], float] = {}
        try:
            self.settings = settings.read()
        except BadSetting as error:
            print(f"{name}: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        self._mount(flask.current_app)
        share_pages()

    def handler(self) -> Wired:
        """The wired handler; the first call loads it, others wait for that."""
        with self._lock:
            if self._wired is None:
                from shared.runtime.logs import configure
                from shared.runtime.world import World

                configure(self.name, self.settings.log_level)
                load_less()
                self._wired = self._wire(World(self.name, self.settings))
            return self._wired

    def run(self, work: Callable[[Wired], Answer]) -> Answer:
        """What `work` makes of the handler, within REQUEST_SECONDS.

        Work that is late cannot be ended. It goes on beside the delivery that comes again, which does no
        harm: the documents decide. Work that goes on much longer fails the liveness probe.

        Raises:
            Temporary: it is late. And whatever `work` raises.
        """
        under_way = len(self._given_up)
        if under_way >= MOST_GIVEN_UP:
            raise Temporary(f"{self.name}: {under_way} deliveries that were given up are still under way")
        answer: Future[Answer] = Future()

        def worker() -> None:
            try:
                answer.set_result(work(self.handler()))
            except BaseException as error:
                if answer in self._given_up:
                    log.exception("a delivery that was given up has failed")
                answer.set_exception(error)  # the request raises it

        threading.Thread(target=worker, daemon=True).start()
        try:
            return answer.result(REQUEST_SECONDS)
        except TimeoutError:
            if answer.done():  # in this very moment, or with a TimeoutError of its own
                return answer.result()
            self._given_up[answer] = time.monotonic()
            answer.add_done_callback(lambda done: self._given_up.pop(done, None))
            raise Temporary(f"{self.name} was not done within {REQUEST_SECONDS:g} s") from None

    def event(self, received: CloudEvent, accepts: Collection[Topic]) -> Event:
        """The event that was delivered.

        Raises:
            Unreadable: it is none of the topics that this stage accepts, or malformed.
            Permanent: its data does not fit.
        """
        from shared.contracts.envelope import decode

        attributes: dict[str, Any] = dict(received.get_attributes())
        if not (flask.request.content_type or "").startswith("application/cloudevents"):
            # In binary mode header values are percent-encoded, and cloudevents 1.12 leaves them so.
            attributes = {name: unquote(str(value)) for name, value in attributes.items()}
        return decode(
            attributes,
            received.get_data(),
            accepts=accepts,
            traceparent=flask.request.headers.get("traceparent"),
        )

    def _mount(self, app: flask.Flask) -> None:
        app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
        app.add_url_rule("/health/liveness", "liveness", self._alive, methods=["GET"])
        app.add_url_rule("/health/readiness", "readiness", self._ready, methods=["GET"])
        app.register_error_handler(KubeFinOpsError, self._refuse)
        app.register_error_handler(HTTPException, self._refuse_other)
        app.register_error_handler(500, self._refuse_other)  # the framework's own would hide what went wrong

    def _alive(self) -> tuple[str, int]:
        before = time.monotonic() - HUNG_SECONDS
        hung = sum(since < before for since in list(self._given_up.values()))
        return (f"{hung} deliveries hang", 503) if hung else ("alive", 200)

    def _ready(self) -> str:
        if self._wired is None:
            threading.Thread(target=self.handler, daemon=True).start()
        return "ready"

    def _refuse(self, error: KubeFinOpsError) -> tuple[str, int, dict[str, str]]:
        status = _status(error)
        log.log(logging.WARNING if status < 500 else logging.ERROR, "%d: %s", status, error)
        return self._said(str(error), status, type(error).__name__.lower())

    def _refuse_other(self, error: HTTPException) -> tuple[str, int, dict[str, str]]:
        """Text for people, not a page, of what is no error of ours: a bug, or the framework's refusal."""
        bug = getattr(error, "original_exception", None)
        if bug is not None:  # its traceback is in the log
            return self._said(f"{type(bug).__name__}: {bug}"[:900], 500, "bug")
        reason = error.name.lower().replace(" ", "-")
        return self._said((error.description or error.name)[:900], error.code or 500, reason)

    def _said(self, text: str, status: int, reason: str) -> tuple[str, int, dict[str, str]]:
        """A refusal; KafkaSource makes the body `knativeerrordata`, and Kne- headers extensions."""
        headers = {"Content-Type": "text/plain", "Kne-Reason": reason, "Kne-Stage": self.name}
        return text, status, headers


def _status(error: KubeFinOpsError) -> int:
    match error:
        case Unreadable():
            return 400
        case Permanent():
            return 422
        case Throttled():
            return 429
        case Temporary():
            return 503
        case _:  # Refused and BadSetting are answered where they arise; one that escapes is a bug
            return 500
