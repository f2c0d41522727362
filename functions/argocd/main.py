"""argocd. In: gitops.pr.created, reconcile.requested. Out: change.applied, change.failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import functions_framework

from functions.argocd.settings import RolloutSettings
from shared.contracts.topics import Topic
from shared.runtime.function import Stage

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent

    from functions.argocd.handler import ArgoCDHandler
    from shared.runtime.world import World


def wire(world: World) -> ArgoCDHandler:
    from datetime import timedelta

    from functions.argocd.handler import ArgoCDHandler

    settings = world.settings
    assert isinstance(settings, RolloutSettings)
    return ArgoCDHandler(
        world.ledger,
        world.mongo.recommendations,
        world.mongo.changes,
        world.git_host,
        world.argocd,
        deadline=timedelta(minutes=settings.deadline_minutes),
    )


STAGE = Stage("argocd", RolloutSettings, wire)


@functions_framework.cloud_event
def argocd(received: CloudEvent) -> None:
    event = STAGE.event(received, {Topic.GITOPS_PR_CREATED, Topic.RECONCILE_REQUESTED})
    STAGE.run(lambda handler: handler.handle(event))
