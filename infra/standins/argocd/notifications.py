"""What argocd-notifications sends to a webhook, and how often.

This is the one description of the message; the function `receiver` reads it at POST /webhooks/argocd. It is
what a template of a real argocd-notifications-cm can produce, whose headers are static:

    POST <the service's url>
    Authorization: Bearer <token>
    Content-Type: application/cloudevents+json

    {
      "specversion": "1.0",
      "id": "<namespace>/<application>/<trigger>/<finishedAt>",
      "type": "io.argoproj.argocd.<trigger>",
      "source": "/argocd",
      "subject": "<application>",
      "time": "<finishedAt>",
      "datacontenttype": "application/json",
      "data": {
        "app": "shop", "namespace": "argocd", "project": "default",
        "revision": "<commit, or commits with commas between>",
        "phase": "Succeeded | Failed | Error", "health": "Healthy | Degraded | ...",
        "message": "<operationState.message>", "finishedAt": "2026-11-23T18:00:00Z"
      }
    }

Triggers, each once per `status.operationState.finishedAt`: `on-sync-succeeded` (phase Succeeded and
Healthy), `on-sync-failed` (Error or Failed), `on-health-degraded` (Succeeded and Degraded). A reader needs
only data.app and data.finishedAt; the rest is for people.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
from typing import Any

import requests

from infra.standins.argocd.application import Application
from infra.standins.argocd.health import DEGRADED, HEALTHY
from infra.standins.argocd.syncing import COMPLETED, SUCCEEDED

RETRIES = 3
_WAIT_MIN, _WAIT_MAX = 1.0, 5.0  # seconds between attempts; doubled each time
_TIMEOUT = 10.0  # seconds

log = logging.getLogger("argocd.notifications")


def trigger_of(application: Application) -> str | None:
    """The trigger whose condition holds now, if any."""
    state = application.status.get("operationState") or {}
    if state.get("phase") not in COMPLETED:
        return None
    if state["phase"] != SUCCEEDED:
        return "on-sync-failed"
    health = application.status.get("health", {}).get("status")
    return {HEALTHY: "on-sync-succeeded", DEGRADED: "on-health-degraded"}.get(health)


def message_of(application: Application, trigger: str) -> dict[str, Any]:
    """The CloudEvent for an Application whose operation has finished."""
    state = application.status["operationState"]
    result = state.get("syncResult") or {}
    finished = state["finishedAt"]
    return {
        "specversion": "1.0",
        "id": f"{application.namespace}/{application.name}/{trigger}/{finished}",
        "type": f"io.argoproj.argocd.{trigger}",
        "source": "/argocd",
        "subject": application.name,
        "time": finished,
        "datacontenttype": "application/json",
        "data": {
            "app": application.name,
            "namespace": application.namespace,
            "project": application.project,
            "revision": result.get("revision") or ",".join(result.get("revisions") or []),
            "phase": state["phase"],
            "health": application.status["health"]["status"],
            "message": state.get("message", ""),
            "finishedAt": finished,
        },
    }


class Notifier:
    """Sends in a thread of its own; a message whose retries all fail is never sent again."""

    def __init__(self, url: str, token: str, wait_min: float = _WAIT_MIN) -> None:
        self._url = url
        self._token = token
        self._wait_min = wait_min
        self._noted: set[str] = set()
        self._waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notifications", daemon=True)
        self._thread.start()

    def observe(self, application: Application) -> None:
        """Called after every pass: queues a message when a trigger's condition newly holds."""
        trigger = trigger_of(application)
        if trigger is None:
            return
        message = message_of(application, trigger)
        if message["id"] not in self._noted:
            self._noted.add(message["id"])
            self._waiting.put(message)

    def close(self) -> None:
        """Ends after the attempt under way."""
        self._stop.set()
        self._waiting.put(None)
        self._thread.join(_TIMEOUT + 1)

    def _run(self) -> None:
        with requests.Session() as session:
            session.trust_env = False  # loopback needs no proxy
            while (message := self._waiting.get()) is not None:
                self._deliver(session, message)

    def _deliver(self, session: requests.Session, message: dict[str, Any]) -> None:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/cloudevents+json"}
        reason = ""
        for attempt in range(RETRIES + 1):
            if attempt and self._stop.wait(min(self._wait_min * 2 ** (attempt - 1), _WAIT_MAX)):
                return
            try:
                answer = session.post(self._url, json.dumps(message), headers=headers, timeout=_TIMEOUT)
            except requests.RequestException as error:
                reason = str(error)
                continue
            if answer.status_code < requests.codes.server_error:
                if not answer.ok:
                    log.warning(
                        "%s: the webhook answered %s; not sent again", message["id"], answer.status_code
                    )
                return
            reason = f"status {answer.status_code}"
        log.warning("%s: given up after %s retries: %s", message["id"], RETRIES, reason)
