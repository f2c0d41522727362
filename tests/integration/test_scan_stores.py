"""A shard delivered to several recommenders at once, on the real stores and their unique keys."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier

from functions.recommender.handler import RecommenderHandler
from functions.recommender.settings import RecommenderSettings
from shared.adapters.mongo import Mongo
from shared.adapters.mongo_digests import MongoDigests
from shared.adapters.objectstore import S3ObjectStore
from shared.contracts.envelope import Event
from shared.contracts.events import ScanRequested
from shared.contracts.states import State
from shared.contracts.topics import Topic
from shared.runtime.ledger import Ledger
from tests.fakes.kafka import FakePublisher
from tests.fakes.prometheus import FakePrometheus, deployment

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
WORKLOADS = 5
AT_ONCE = 4


def test_one_report_and_one_document_for_each_workload(mongo: Mongo, object_store: S3ObjectStore) -> None:
    publisher = FakePublisher()

    def recommender(cpu_p95: float) -> RecommenderHandler:
        pods = [deployment("shop", f"web-{number}", cpu_p95=cpu_p95) for number in range(WORKLOADS)]
        return RecommenderHandler(
            RecommenderSettings.read({"S3_BUCKET": object_store.bucket}),
            prometheus=FakePrometheus(*pods),
            ledger=Ledger("recommender", mongo.recommendations, publisher),
            publisher=publisher,
            recommendations=mongo.recommendations,
            policies=mongo.policies,
            reports=mongo.reports,
            digests=MongoDigests(mongo),
            objects=object_store,
        )

    recommender(0.2).handle(
        Event(
            id="tick",
            source="/kubefinops/local/receiver",
            subject="local/scan-1",
            time=NOW,
            partitionkey="local/scan-1",
            correlationid="scan-1",
            data=ScanRequested(cluster="local", scan_id="scan-1", scanned_at=NOW, requested_by="schedule"),
        )
    )
    (shard,) = publisher.on(Topic.SCAN_REQUESTED)
    together = Barrier(AT_ONCE)

    def deliver(number: int) -> None:
        together.wait(timeout=10)
        # Each sees a little more of the last minute, as late scrapes make it.
        recommender(0.2 + number / 10).handle(shard)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(deliver, range(AT_ONCE)))

    assert mongo.reports.count("report") == 1
    documents = mongo.recommendations.in_states("local", State)
    assert len(documents) == WORKLOADS
    assert len({document.proposal.report.version_id for document in documents}) == 1
    assert len({document.proposal.containers[0].proposed for document in documents}) == 1
    events: dict[str, set[str]] = {}
    for record in publisher.records:
        if record.topic == Topic.RECOMMENDATION_CREATED:
            events.setdefault(record.event_id, set()).add(record.value)
    assert set(events) == {document.id for document in documents}
    assert all(len(contents) == 1 for contents in events.values())
