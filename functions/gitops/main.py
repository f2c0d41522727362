"""gitops. In: recommendation.approved, reconcile.requested. Out: gitops.pr.created, change.failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import functions_framework
from pydantic import Field

from shared.contracts.topics import Topic
from shared.runtime.function import Stage
from shared.runtime.settings import ArgoCDSettings, GitHostWriteSettings, KafkaSettings, MongoSettings

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent

    from functions.gitops.handler import GitOpsHandler
    from shared.runtime.world import World


class GitOpsSettings(KafkaSettings, MongoSettings, GitHostWriteSettings, ArgoCDSettings):
    """What gitops reads from its environment."""

    auto_merge: bool = Field(
        False,
        alias="KUBEFINOPS_AUTO_MERGE",
        description="merge what policy allows without a person",
    )
    pause: bool = Field(
        False,
        alias="KUBEFINOPS_PAUSE",
        description="stop new pull requests and merges everywhere, from its rollout on; without one a policy"
        ' with `"pause": true` does',
    )


def wire(world: World) -> GitOpsHandler:
    from functions.gitops.handler import GitOpsHandler
    from functions.gitops.rendering import render

    settings = world.settings
    assert isinstance(settings, GitOpsSettings)
    return GitOpsHandler(
        world.ledger,
        world.mongo.recommendations,
        world.mongo.changes,
        world.mongo.policies,
        git_host=world.git_host,
        argocd=world.argocd,
        render=render,
        auto_merge=settings.auto_merge,
        pause=settings.pause,
    )


STAGE = Stage("gitops", GitOpsSettings, wire)


@functions_framework.cloud_event
def gitops(received: CloudEvent) -> None:
    event = STAGE.event(received, {Topic.RECOMMENDATION_APPROVED, Topic.RECONCILE_REQUESTED})
    STAGE.run(lambda handler: handler.handle(event))
