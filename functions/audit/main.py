"""audit. In: the product's six topics. Out: nothing; a record in object storage, indexed in `reports`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import functions_framework

from functions.audit.settings import AuditSettings
from shared.contracts.topics import PRODUCT_TOPICS
from shared.runtime.function import Stage

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent

    from functions.audit.handler import AuditHandler
    from shared.runtime.world import World


def wire(world: World) -> AuditHandler:
    from datetime import timedelta

    from functions.audit.handler import AuditHandler

    settings = world.settings
    assert isinstance(settings, AuditSettings)
    return AuditHandler(
        world.objects, world.mongo.reports, settings.s3_bucket, timedelta(days=settings.retention_days)
    )


STAGE = Stage("audit", AuditSettings, wire)


@functions_framework.cloud_event
def audit(received: CloudEvent) -> None:
    event = STAGE.event(received, PRODUCT_TOPICS)
    # As delivered: the payload model ignores what a newer producer added, and a record must not.
    STAGE.run(lambda handler: handler.handle(event, received.get_data()))
