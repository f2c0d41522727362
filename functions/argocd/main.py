"""argocd. In: gitops.pr.created, reconcile.requested. Out: change.applied, change.failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import functions_framework
from pydantic import Field

from shared.contracts.topics import Topic
from shared.runtime.function import Stage
from shared.runtime.settings import ArgoCDSettings, GitHostSettings, KafkaSettings, MongoSettings

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent

    from functions.argocd.handler import ArgoCDHandler
    from shared.runtime.world import World


class RolloutSettings(KafkaSettings, MongoSettings, GitHostSettings, ArgoCDSettings):
    """What argocd reads from its environment."""

    deadline_minutes: int = Field(
        60,
        alias="KUBEFINOPS_APPLY_DEADLINE_MINUTES",
        ge=1,
        description="minutes from merge to live, after which a change counts as failed",
    )


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
