"""policy. In: recommendation.created. Out: recommendation.approved, policy.violated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import functions_framework

from functions.policy.settings import PolicySettings
from shared.contracts.topics import Topic
from shared.runtime.function import Stage

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent

    from functions.policy.handler import PolicyHandler
    from shared.runtime.world import World


def wire(world: World) -> PolicyHandler:
    from functions.policy.handler import PolicyHandler

    return PolicyHandler(world.ledger, world.mongo.policies)


STAGE = Stage("policy", PolicySettings, wire)


@functions_framework.cloud_event
def policy(received: CloudEvent) -> None:
    event = STAGE.event(received, {Topic.RECOMMENDATION_CREATED})
    STAGE.run(lambda handler: handler.handle(event))
