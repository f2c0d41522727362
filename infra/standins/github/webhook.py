"""Webhook deliveries as GitHub makes them: signed, in order, in the background, never repeated."""

from __future__ import annotations

import hashlib
import hmac
import json
import queue
import sys
import threading
import uuid
from dataclasses import dataclass
from typing import Any

import requests

DELIVERY_TIMEOUT_SECONDS = 10  # GitHub's own


@dataclass(frozen=True)
class Event:
    """One event: GitHub's name for it and its payload."""

    name: str
    payload: dict[str, Any]


def signature(secret: str, body: bytes, algorithm: str = "sha256") -> str:
    """The value of X-Hub-Signature-256 (or X-Hub-Signature with sha1): the HMAC of the body."""
    return f"{algorithm}={hmac.new(secret.encode(), body, algorithm).hexdigest()}"


class Webhook:
    """Posts events to one URL from one thread, in the order in which they happened."""

    def __init__(self, url: str, secret: str | None) -> None:
        self._url = url
        self._secret = secret
        self._waiting: queue.Queue[Event] = queue.Queue()
        self._hook_id = str(int(hashlib.sha256(url.encode()).hexdigest()[:8], 16))
        threading.Thread(target=self._deliver_all, name="webhook", daemon=True).start()

    def emit(self, event: Event) -> None:
        self._waiting.put(event)

    def _deliver_all(self) -> None:
        while True:
            event = self._waiting.get()
            try:
                self._deliver(event)
            except requests.RequestException as error:
                print(f"webhook {event.name} to {self._url} was lost: {error}", file=sys.stderr, flush=True)

    def _deliver(self, event: Event) -> None:
        body = json.dumps(event.payload, separators=(",", ":")).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/standin",
            "X-GitHub-Event": event.name,
            "X-GitHub-Delivery": str(uuid.uuid4()),
            "X-GitHub-Hook-ID": self._hook_id,
        }
        if self._secret:
            headers["X-Hub-Signature"] = signature(self._secret, body, "sha1")
            headers["X-Hub-Signature-256"] = signature(self._secret, body)
        answer = requests.post(self._url, data=body, headers=headers, timeout=DELIVERY_TIMEOUT_SECONDS)
        if answer.status_code >= 400:
            print(
                f"webhook {event.name} to {self._url} was answered {answer.status_code}",
                file=sys.stderr,
                flush=True,
            )
