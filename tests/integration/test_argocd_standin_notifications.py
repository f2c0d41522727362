"""What the stand-in tells a webhook, and how often."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.standins.argocd.notifications import Notifier
from tests.argocd_standin import Repository, Starter, deployment
from tests.fakes.kubernetes import FakeKubernetes

Object = dict[str, Any]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


@pytest.fixture
def kubernetes() -> Iterator[FakeKubernetes]:
    with FakeKubernetes() as running:
        yield running


@pytest.fixture
def start(tmp_path: Path, kubernetes: FakeKubernetes) -> Iterator[Starter]:
    starter = Starter(tmp_path, kubernetes)
    yield starter
    starter.stop()


class Webhook:
    """Receives notifications; answers with the next of `statuses`, then with 200."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], Object]] = []
        self.statuses: list[int] = []
        self.arrived = threading.Condition()
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with webhook.arrived:
                    webhook.received.append((dict(self.headers), body))
                    status = webhook.statuses.pop(0) if webhook.statuses else 200
                    webhook.arrived.notify_all()
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.notifier = Notifier(
            f"http://127.0.0.1:{self.server.server_port}/webhooks/argocd", "secret", 0.01
        )

    def wait_for(self, count: int) -> list[Object]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.received) >= count, timeout=5), self.received
            return [body for _, body in self.received]

    def close(self) -> None:
        self.notifier.close()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    running = Webhook()
    yield running
    running.close()


def test_each_finished_operation_is_notified_once(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter, webhook: Webhook
) -> None:
    revision = repository.commit({"apps/shop/web.yaml": deployment("web")})
    argocd = start(notifier=webhook.notifier)
    for _ in range(3):
        argocd.reconciled()
    argocd.later(seconds=2)
    kubernetes.refusing["web"] = "no"
    repository.commit({"apps/shop/web.yaml": deployment("web", cpu="2")})
    argocd.reconciled()

    succeeded, failed = webhook.wait_for(2)

    headers = webhook.received[0][0]
    assert headers["Content-Type"] == "application/cloudevents+json"
    assert headers["Authorization"] == "Bearer secret"
    assert succeeded["type"] == "io.argoproj.argocd.on-sync-succeeded"
    assert succeeded["subject"] == "shop"
    assert succeeded["data"] == {
        "app": "shop",
        "namespace": "argocd",
        "project": "default",
        "revision": revision,
        "phase": "Succeeded",
        "health": "Healthy",
        "message": "successfully synced (all tasks run)",
        "finishedAt": "2026-11-23T18:00:00Z",
    }
    assert failed["type"] == "io.argoproj.argocd.on-sync-failed"
    assert failed["id"] != succeeded["id"]


def test_success_is_notified_only_when_healthy_and_degradation_by_its_own_name(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter, webhook: Webhook
) -> None:
    repository.commit({"apps/shop/web.yaml": deployment("web")})
    kubernetes.holding = True
    argocd = start(notifier=webhook.notifier)
    argocd.reconciled()
    assert webhook.received == []
    kubernetes.exceed_deadline("web")
    argocd.reconciled()
    kubernetes.settle("web")
    argocd.reconciled()

    kinds = [body["type"].rpartition(".")[2] for body in webhook.wait_for(2)]
    assert kinds == ["on-health-degraded", "on-sync-succeeded"]


def test_a_notification_is_given_up_after_three_retries_and_never_sent_again(
    repository: Repository, start: Starter, webhook: Webhook
) -> None:
    webhook.statuses = [503, 500, 503, 503]
    repository.commit({"apps/shop/web.yaml": deployment("web")})
    argocd = start(notifier=webhook.notifier)
    argocd.reconciled()
    webhook.wait_for(4)
    argocd.reconciled()
    argocd.later(seconds=1)
    repository.commit({"apps/shop/web.yaml": deployment("web", cpu="2")})
    argocd.reconciled()

    finished = [body["data"]["finishedAt"] for body in webhook.wait_for(5)]
    assert finished == ["2026-11-23T18:00:00Z"] * 4 + ["2026-11-23T18:00:01Z"]
