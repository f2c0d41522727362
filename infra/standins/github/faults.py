"""Faults on demand, the stand-in's own: what GitHub does under load or in an outage, for tests of clients.

`POST /_standin/faults` with {"path": regex, "method": "POST", "status": 503 | 429 | 403, "times": n,
"retry_after": seconds, "delay": seconds, "after": bool}: the next n requests whose path matches are delayed
and answered with the status. Without a status they are only delayed. With "after" the request is carried out
first and only its answer is lost. 403 and 429 have the body of a secondary rate limit. `GET` lists what is
left, `DELETE` removes all.
"""

from __future__ import annotations

import re
import threading

from pydantic import BaseModel, Field

SECONDARY_RATE_LIMIT = (
    "You have exceeded a secondary rate limit. Please wait a few minutes before you try again. "
    "If you reach out to GitHub Support for help, please include the request ID"
)


class Fault(BaseModel):
    """What happens to the next `times` requests that match; times in seconds."""

    path: str = ".*"
    method: str | None = None
    status: int | None = Field(default=None, ge=400, le=599)
    times: int = Field(default=1, ge=1)
    retry_after: int | None = Field(default=None, ge=0)
    delay: float = Field(default=0, ge=0)
    after: bool = False

    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}

    def message(self, request_id: str) -> str:
        """The body's message. Retry-After is optional with secondary limits: so clients read this."""
        return f"{SECONDARY_RATE_LIMIT} {request_id}." if self.status in (403, 429) else "Server Error"


class Faults:
    """The faults that are waiting for a request, oldest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Adds a fault.

        Raises:
            re.error: its path is no regular expression.
        """
        re.compile(fault.path)
        with self._lock:
            self._waiting.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    def waiting(self) -> list[Fault]:
        with self._lock:
            return [fault.model_copy() for fault in self._waiting]

    def take(self, method: str, path: str) -> Fault | None:
        """Uses up one time of the oldest fault that matches this request."""
        with self._lock:
            for fault in self._waiting:
                if fault.method in (None, method) and re.search(fault.path, path):
                    fault.times -= 1
                    if not fault.times:
                        self._waiting.remove(fault)
                    return fault
        return None
