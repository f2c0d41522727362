"""recommender. In: scan.requested. Out: scan.requested (one for each shard), recommendation.created."""

from __future__ import annotations

from typing import TYPE_CHECKING

import functions_framework

from functions.recommender.settings import RecommenderSettings
from shared.contracts.topics import Topic
from shared.runtime.function import Stage

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent

    from functions.recommender.handler import RecommenderHandler
    from shared.runtime.world import World


def wire(world: World) -> RecommenderHandler:
    from functions.recommender.handler import RecommenderHandler

    settings = world.settings
    assert isinstance(settings, RecommenderSettings)
    return RecommenderHandler(
        settings,
        prometheus=world.prometheus,
        ledger=world.ledger,
        publisher=world.publisher,
        recommendations=world.mongo.recommendations,
        policies=world.mongo.policies,
        reports=world.mongo.reports,
        objects=world.objects,
        digests=world.digests,
    )


STAGE = Stage("recommender", RecommenderSettings, wire)


@functions_framework.cloud_event
def recommender(received: CloudEvent) -> None:
    event = STAGE.event(received, {Topic.SCAN_REQUESTED})
    STAGE.run(lambda handler: handler.handle(event))
