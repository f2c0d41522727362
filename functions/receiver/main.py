"""receiver. In: ticks, GitHub's and Argo CD's webhooks. Out: scan.requested, reconcile.requested."""

from __future__ import annotations

from typing import TYPE_CHECKING

import flask
import functions_framework

from functions.receiver.settings import ReceiverSettings
from shared.runtime.function import Stage

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent

    from functions.receiver.handler import ReceiverHandler
    from shared.runtime.world import World


def wire(world: World) -> ReceiverHandler:
    from functions.receiver.handler import ReceiverHandler

    settings = world.settings
    assert isinstance(settings, ReceiverSettings)
    return ReceiverHandler(
        world.publisher,
        cluster=settings.cluster,
        tick_seconds=settings.tick_seconds,
        github_secret=settings.github_secret.get_secret_value(),
        argocd_token=settings.argocd_token.get_secret_value(),
    )


STAGE = Stage("receiver", ReceiverSettings, wire)


@functions_framework.cloud_event
def receiver(received: CloudEvent) -> None:
    STAGE.run(lambda handler: handler.tick(received.get_attributes(), received.get_data()))


def github() -> str:
    headers, body = dict(flask.request.headers), flask.request.get_data()
    return STAGE.run(lambda handler: handler.github(headers, body))


def argocd() -> str:
    headers, body = dict(flask.request.headers), flask.request.get_data()
    return STAGE.run(lambda handler: handler.argocd(headers, body))


flask.current_app.add_url_rule("/webhooks/github", view_func=github, methods=["POST"])
flask.current_app.add_url_rule("/webhooks/argocd", view_func=argocd, methods=["POST"])
