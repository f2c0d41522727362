"""Fans a scan out into shards; reads and sizes a shard, reports on it, and proposes what is worth it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from functions.recommender import report as reporting
from functions.recommender.bounds import QUOTA
from functions.recommender.deadline import UntilDeadline
from functions.recommender.fitted import constants
from functions.recommender.prices import Prices
from functions.recommender.reading import Reading, discover, read
from functions.recommender.repeating import is_refused, why_not_again
from functions.recommender.report import Entry, Query, Report
from functions.recommender.rules import PERCENTILE
from functions.recommender.sharding import shards
from functions.recommender.sizing import Observed, Sized, engine, size_all
from functions.recommender.whose import whose, whose_query
from shared.adapters.mongo import Insert
from shared.adapters.objectstore import canonical
from shared.contracts.documents import ReportRow
from shared.contracts.envelope import Event
from shared.contracts.errors import Permanent, Temporary
from shared.contracts.events import ReportPointer, ScanRequested, Shard
from shared.contracts.identity import Workload, digest, event_id
from shared.contracts.policy import applying
from shared.contracts.topics import Topic
from shared.contracts.wording import some
from shared.runtime.ledger import utc_now

if TYPE_CHECKING:
    from functions.recommender.settings import RecommenderSettings
    from shared.adapters.kafka import Publisher
    from shared.adapters.mongo import Policies, Recommendations, Reports
    from shared.adapters.objectstore import ObjectStore
    from shared.contracts.digests import Digests
    from shared.contracts.prometheus import Prometheus
    from shared.runtime.ledger import Ledger

log = logging.getLogger(__name__)

# For all queries of one delivery. With what storing takes it stays below the Service's timeoutSeconds.
QUERY_SECONDS = 90.0


class RecommenderHandler:
    def __init__(
        self,
        settings: RecommenderSettings,
        *,
        prometheus: Prometheus,
        ledger: Ledger,
        publisher: Publisher,
        recommendations: Recommendations,
        policies: Policies,
        reports: Reports,
        objects: ObjectStore,
        digests: Digests,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._prometheus = prometheus
        self._ledger = ledger
        self._publisher = publisher
        self._recommendations = recommendations
        self._policies = policies
        self._reports = reports
        self._objects = objects
        self._digests = digests
        self._clock = clock
        self._monotonic = monotonic

    def handle(self, event: Event) -> None:
        """Fans out a scan, or reads and sizes the shard that it names.

        Raises:
            Permanent: the scan is of another cluster, or its shard names no workloads, or Prometheus has
                several clusters' series.
            Temporary: Prometheus, MongoDB, object storage or Kafka cannot be reached, or Prometheus has not
                answered everything within QUERY_SECONDS.
        """
        scan = event.data
        assert isinstance(scan, ScanRequested)
        if scan.cluster != self._settings.cluster:
            raise Permanent(
                f"the scan is of cluster {scan.cluster!r}; this recommender reads {self._settings.cluster!r}"
                " (KUBEFINOPS_CLUSTER, PROMETHEUS_URL)"
            )
        if scan.shard is None:
            self._fan_out(event, scan)
        else:
            self._propose(event, scan, scan.shard)

    def _fan_out(self, event: Event, scan: ScanRequested) -> None:
        labels, prometheus = self._settings.prometheus_labels, self._until_deadline()
        owners = whose(prometheus.query(whose_query(labels), scan.scanned_at))
        if owners.several:
            raise Permanent(f"Prometheus has {owners.several}; read as one, one's use would be another's")
        if owners.hidden:
            log.warning(
                "%s; what is in %s is left as it is",
                owners.why_hidden,
                some(owners.hidden),
                extra={"scan": scan.scan_id},
            )
        there = discover(prometheus, scan.cluster, scan.scanned_at, labels=labels)
        # What such a namespace seems to have is others'.
        found = shards(each for each in there if each.namespace not in owners.hidden)
        if not there:
            log.warning(
                "no workloads are there at %s: has Prometheus kube-state-metrics' kube_pod_owner?",
                scan.scanned_at.isoformat(),
                extra={"scan": scan.scan_id},
            )
        self._publisher.publish([_request(event, scan, shard).record() for shard in found])

    def _propose(self, event: Event, scan: ScanRequested, shard: Shard) -> None:
        report, pointer = self._report(scan, shard)
        outcomes = self._ledger.create(reporting.drafts(report, pointer), event)
        for recommendation_id, outcome in outcomes.items():
            if outcome is Insert.SLOT_TAKEN:
                log.info(
                    "not proposed: another proposal of the workload came first",
                    extra={"recommendation": recommendation_id},
                )

    def _report(self, scan: ScanRequested, shard: Shard) -> tuple[Report, ReportPointer]:
        """The shard's one report: the row that names it is unique, so the first of two deliveries decides."""
        bucket, key = self._settings.s3_bucket, reporting.key(scan, shard)
        row = self._reports.find(bucket, key) or self._put(key, self._look(scan, shard))
        try:
            report = reporting.read(self._objects.get(row.key, row.version_id), row.sha256)
        except KeyError:
            raise Temporary(f"report {row.key} version {row.version_id}: indexed, but not there") from None
        if report is None:
            raise Temporary(f"report {row.key} version {row.version_id}: not what its index says")
        return report, ReportPointer(
            bucket=row.bucket, key=row.key, version_id=row.version_id, pointer="", sha256=row.sha256
        )

    def _put(self, key: str, report: Report) -> ReportRow:
        """The row that is stored for `key`: ours, or that of a delivery which was faster."""
        retain_until = self._clock() + timedelta(days=self._settings.retention_days)
        stored = self._objects.put(key, canonical(report.model_dump(mode="json")), retain_until)
        return self._reports.insert(
            ReportRow(
                bucket=stored.bucket,
                key=stored.key,
                kind="report",
                version_id=stored.version_id,
                sha256=stored.sha256,
                size=stored.size,
                retain_until=retain_until,
                cluster=report.cluster,
                created_at=report.scanned_at,
                scan_id=report.scan_id,
                summary=report.summary(),
            )
        )

    def _look(self, scan: ScanRequested, shard: Shard) -> Report:
        """Reads the shard's workloads, sizes them, and leaves out what is on its way or was refused."""
        settings = self._settings
        try:
            wanted = [Workload.of_subject(scan.cluster, subject) for subject in shard.workloads]
        except ValueError:
            raise Permanent(f"shard {shard.name}: a workload is not <namespace>/<kind>/<name>") from None
        reading = read(
            self._until_deadline(),
            scan.cluster,
            scan.scanned_at,
            history=settings.window,
            oom_days=settings.oom_days,
            namespaces={workload.namespace for workload in wanted},
            wanted=wanted,
            strategy=settings.strategy,
            labels=settings.prometheus_labels,
            by_node=settings.price_list.by_node,
            spot_matters=settings.price_list.spot is not None,
            stored=self._digests,
        )
        prices = Prices(settings.price_list, reading.nodes, reading.spot)
        entries = self._decide(reading, wanted, scan.scanned_at, prices)
        return Report(
            cluster=scan.cluster,
            scan_id=scan.scan_id,
            scanned_at=scan.scanned_at,
            shard=shard,
            window=reporting.window(scan.scanned_at, reading.window, reading.apart),
            engine=engine(settings.strategy),
            settings=asdict(settings.rules) | {"history_days": settings.history} | settings.price_sources,
            constants={} if settings.strategy == PERCENTILE else asdict(constants()[settings.strategy]),
            rates=prices.base,
            nodes=reporting.node_prices(entries, prices),
            queries=tuple(Query.model_validate(asdict(asked)) for asked in reading.asked),
            workloads=entries,
        )

    def _until_deadline(self) -> UntilDeadline:
        return UntilDeadline(self._prometheus, QUERY_SECONDS, self._monotonic)

    def _decide(
        self, reading: Reading, wanted: Sequence[Workload], at: datetime, prices: Prices
    ) -> tuple[Entry, ...]:
        rules, active = self._settings.rules, self._policies.active()
        # Who is refused leaves a quota's room to those after it: of these it is known before they are sized.
        quotas = [each.workload for each in reading.workloads if QUOTA in each.pod_bounds]
        stories = self._recommendations.latest_of(quotas) if quotas else {}

        def policies(workload: Workload) -> dict[str, int]:
            judges = applying(active, workload.cluster, workload.namespace)
            return {policy.name: policy.version for policy in judges}

        def refused(observed: Observed, sized: Sized) -> bool:
            workload, containers = observed.workload, sized.containers
            content_hash = reporting.content_hash(workload, containers)
            story, judges = stories[workload], policies(workload)
            return is_refused(containers, content_hash, story, policies=judges, rules=rules)

        entries = {
            observed.workload: reporting.entry(observed, sized, prices.of(observed.nodes))
            for observed, sized in size_all(reading.workloads, rules, refused)
        }
        proposed = [workload for workload, entry in entries.items() if entry.decision == "proposed"]
        if others := [workload for workload in proposed if workload not in stories]:
            stories |= self._recommendations.latest_of(others)
        for workload in proposed:
            entry = entries[workload]
            reason = why_not_again(
                entry.containers,
                entry.content_hash,
                stories[workload],
                policies=policies(workload),
                at=at,
                rules=rules,
            )
            if reason is not None:
                entries[workload] = reporting.skipped(entry, reason)
        return tuple(
            entries.get(workload) or reporting.not_there(workload, prices.base) for workload in wanted
        )


def _request(event: Event, scan: ScanRequested, shard: Shard) -> Event:
    """The request to read one shard: the same for every delivery of the scan that finds the same.

    Its id is taken over all that is in it, so that a delivery that finds another cluster (one namespace
    more, and thereby another number of shards) never sends other data under an id that was sent before.
    """
    subject = f"{scan.cluster}/{shard.name}"
    return Event(
        id=event_id(Topic.SCAN_REQUESTED.event_type, digest(scan.scan_id, shard.model_dump_json())),
        source=f"/kubefinops/{scan.cluster}/recommender",
        subject=subject,
        time=scan.scanned_at,
        partitionkey=subject,
        correlationid=scan.scan_id,
        causationid=event.id,
        traceparent=event.traceparent,
        data=scan.model_copy(update={"shard": shard}),
    )
