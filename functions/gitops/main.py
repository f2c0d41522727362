"""gitops. In: recommendation.approved, reconcile.requested. Out: gitops.pr.created, change.failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import functions_framework

from functions.gitops.settings import GitOpsSettings
from shared.contracts.topics import Topic
from shared.runtime.function import Stage

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent

    from functions.gitops.handler import GitOpsHandler
    from shared.runtime.world import World


def wire(world: World) -> GitOpsHandler:
    from functions.gitops.handler import GitOpsHandler
    from functions.gitops.rendering import renderer
    from shared.adapters.kustomize import build

    settings = world.settings
    assert isinstance(settings, GitOpsSettings)
    return GitOpsHandler(
        world.ledger,
        world.mongo.recommendations,
        world.mongo.changes,
        world.mongo.policies,
        git_host=world.git_host,
        argocd=world.argocd,
        render=renderer(build),
        auto_merge=settings.auto_merge,
        pause=settings.pause,
    )


STAGE = Stage("gitops", GitOpsSettings, wire)


@functions_framework.cloud_event
def gitops(received: CloudEvent) -> None:
    event = STAGE.event(received, {Topic.RECOMMENDATION_APPROVED, Topic.RECONCILE_REQUESTED})
    STAGE.run(lambda handler: handler.handle(event))
