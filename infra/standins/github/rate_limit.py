"""GitHub's hourly count of requests."""

from __future__ import annotations

import threading
import time

HOURLY_REQUESTS = 5000
SECONDS_PER_HOUR = 3600


class RateLimit:
    """Counts requests per login and hour, as GitHub's headers tell it. Nothing is refused."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hour = 0
        self._used: dict[str, int] = {}

    def count(self, login: str, requests: int) -> dict[str, int]:
        """Adds requests and returns limit, remaining, used and reset (seconds since 1970)."""
        hour = int(time.time()) // SECONDS_PER_HOUR
        with self._lock:
            if hour != self._hour:
                self._hour, self._used = hour, {}
            used = self._used[login] = self._used.get(login, 0) + requests
        return {
            "limit": HOURLY_REQUESTS,
            "remaining": max(HOURLY_REQUESTS - used, 1),  # never 0: a client that paces itself must not stop
            "used": used,
            "reset": (hour + 1) * SECONDS_PER_HOUR,
        }
