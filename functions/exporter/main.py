"""exporter. GET /metrics: what MongoDB holds, as Prometheus metrics. No events, in or out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import flask
import functions_framework

from functions.exporter.settings import ExporterSettings
from shared.runtime.function import Stage

if TYPE_CHECKING:
    from functions.exporter.handler import ExporterHandler
    from shared.runtime.world import World


def wire(world: World) -> ExporterHandler:
    from functions.exporter.handler import ExporterHandler
    from shared.adapters.mongo_figures import MongoFigures

    return ExporterHandler(MongoFigures(lambda: world.mongo.database), world.settings.cluster)


STAGE = Stage("exporter", ExporterSettings, wire)


@functions_framework.http
def exporter(request: flask.Request) -> tuple[bytes, dict[str, str]]:
    if request.path != "/metrics":
        flask.abort(404, f"{request.path} is not here; the metrics are at /metrics")
    if request.method not in {"GET", "HEAD"}:
        flask.abort(405, "the metrics can be read only: GET /metrics")
    answer = STAGE.run(lambda handler: handler.metrics())
    return answer.body, {"Content-Type": answer.content_type}
