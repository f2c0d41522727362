"""The recommender as deliveries reach it: once, again, twice at once, cut short."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from functions.recommender.fitted import constants
from functions.recommender.handler import QUERY_SECONDS, RecommenderHandler
from functions.recommender.report import Entry, Report, drafts
from functions.recommender.settings import RecommenderSettings
from shared.adapters.prometheus import ANSWER_SECONDS, CONNECT_SECONDS
from shared.contracts.documents import PullRequest, Recommendation, ReportRow, Transition
from shared.contracts.envelope import Event, Record
from shared.contracts.errors import Permanent, Temporary
from shared.contracts.events import FailureReason, RecommendationCreated, ScanRequested
from shared.contracts.policy import DEFAULT_POLICY, Policy, Rules
from shared.contracts.pricing import monthly
from shared.contracts.states import SLOT_OF, State
from shared.contracts.topics import Topic
from shared.runtime.ledger import Ledger
from tests.fakes.kafka import FakePublisher
from tests.fakes.mongo import FakeDigests, FakePolicies, FakeRecommendations, FakeReports
from tests.fakes.objectstore import FakeObjectStore
from tests.fakes.prometheus import FakeNode, FakePod, FakePrometheus, deployment

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=10)
EVERY_FUNCTION = Path(__file__).parents[2] / "knative" / "base" / "functions" / "every-function.yaml"


class Product:
    """The recommender with everything around it in memory; it can be started again on what is stored."""

    def __init__(self, *pods: FakePod) -> None:
        self.prometheus = FakePrometheus(*pods)
        self.recommendations = FakeRecommendations()
        self.reports = FakeReports()
        self.digests = FakeDigests()
        self.objects = FakeObjectStore()
        self.policies = FakePolicies()
        self.publisher = FakePublisher()
        self.monotonic: Callable[[], float] = time.monotonic
        # Its figures can be reckoned in the head.
        self.variables = {"KUBEFINOPS_STRATEGY": "percentile"}

    def handler(self, reports: FakeReports | None = None) -> RecommenderHandler:
        return RecommenderHandler(
            RecommenderSettings.read(self.variables),
            prometheus=self.prometheus,
            ledger=Ledger("recommender", self.recommendations, self.publisher, lambda: LATER),
            publisher=self.publisher,
            recommendations=self.recommendations,
            policies=self.policies,
            reports=reports or self.reports,
            digests=self.digests,
            objects=self.objects,
            clock=lambda: LATER,
            monotonic=self.monotonic,
        )

    def scan(self, scan_id: str = "scan-1", at: datetime = NOW, cluster: str = "local") -> Event:
        return Event(
            id=f"tick-of-{scan_id}",
            source="/kubefinops/local/receiver",
            subject=f"{cluster}/{scan_id}",
            time=at,
            partitionkey=f"{cluster}/{scan_id}",
            correlationid=scan_id,
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            data=ScanRequested(cluster=cluster, scan_id=scan_id, scanned_at=at, requested_by="schedule"),
        )

    def shards(self, scan_id: str = "scan-1", at: datetime = NOW) -> list[Event]:
        before = len(self.publisher.records)
        self.handler().handle(self.scan(scan_id, at))
        return self.publisher.events[before:]

    def whole_scan(self, scan_id: str = "scan-1", at: datetime = NOW) -> None:
        """Of a past that tests change between scans: nothing is known of it from before."""
        self.digests.kept.clear()
        for shard in self.shards(scan_id, at):
            self.handler().handle(shard)

    @property
    def created(self) -> list[Record]:
        return [record for record in self.publisher.records if record.topic == Topic.RECOMMENDATION_CREATED]

    def report(self, row: ReportRow) -> Report:
        return Report.read(json.loads(self.objects.get(row.key, row.version_id)))

    def last_entry(self, name: str) -> Entry:
        """What the newest report says of a workload."""
        row = max(self.reports.rows.values(), key=lambda row: row.created_at)
        return next(entry for entry in self.report(row).workloads if entry.workload.name == name)

    def become(self, state: State, name: str = "", **fields: object) -> Recommendation:
        """Puts the only recommendation (of that workload) into a state, as the later stages do."""
        documents = self.recommendations.documents.values()
        (document,) = [each for each in documents if name in ("", each.workload.name)]
        moved = Transition(before=document.state, after=state, at=LATER, stage="test", cause="test")
        document = document.model_copy(
            update={
                "state": state,
                "slot": SLOT_OF.get(state),
                "transitions": (*document.transitions, moved),
                **fields,
            }
        )
        self.recommendations.documents[document.id] = document
        return document


@pytest.fixture
def product() -> Product:
    return Product(deployment("shop", "checkout"))


def test_a_scan_fans_out_into_shards_that_carry_its_time_and_cause(product: Product) -> None:
    product.prometheus.pods.append(FakePod("data", ("StatefulSet", "db")))
    (shard,) = product.shards()
    assert isinstance(shard.data, ScanRequested)
    assert shard.data.shard is not None
    assert shard.data.shard.workloads == ("data/StatefulSet/db", "shop/Deployment/checkout")
    assert shard.subject == shard.partitionkey == f"local/{shard.data.shard.name}"
    assert (shard.correlationid, shard.causationid, shard.time) == ("scan-1", "tick-of-scan-1", NOW)
    cause = product.scan().traceparent
    assert cause is not None
    assert shard.traceparent is not None
    assert shard.traceparent.split("-")[1] == cause.split("-")[1], "the same trace goes on"


def test_an_owner_that_no_object_can_be_keeps_nobody_from_being_sized(product: Product) -> None:
    product.prometheus.pods += [
        FakePod("data", ("StatefulSet", "db/x")),
        FakePod("da/ta", ("StatefulSet", "db")),
        FakePod("data", ("apps/v1", "db")),
        FakePod("data", ("StatefulSet", "d" * 254)),
        FakePod("data", ("StatefulSet", "db\n")),
    ]
    product.whole_scan()
    assert [document.workload.name for document in product.recommendations.documents.values()] == ["checkout"]


@pytest.mark.parametrize(
    ("figures", "why"),
    [
        ({"requests": {"cpu": 1e306, "memory": 2.0**63}}, None),
        ({"limits": {"cpu": -1.0, "memory": 1e20}}, None),
        ({"memory_max": 2.0**64}, "its memory is told to be more than anything uses"),
        ({"cpu_max": 1e306}, "its CPU is told to be more than anything uses"),
        ({"oom_kills": 1e20, "former_limit": 1e306, "throttled": 1e306}, None),
        ({"jvm": {("jvm_memory_max_bytes", "heap"): 1e300}}, None),
    ],
)
def test_a_number_that_nothing_has_keeps_nobody_from_being_sized(
    product: Product, figures: dict[str, Any], why: str | None
) -> None:
    product.prometheus.pods.append(FakePod("data", ("StatefulSet", "db"), **figures))
    product.whole_scan()
    names = {document.workload.name for document in product.recommendations.documents.values()}
    assert names - {"db"} == {"checkout"}
    if why is not None:
        assert product.last_entry("db").reason == f"too little data: app: {why}"


def test_several_clusters_in_one_prometheus_are_refused_until_labels_choose_one(product: Product) -> None:
    product.prometheus.clusters = ["us", "eu"]
    with pytest.raises(
        Permanent, match=r"several clusters \(eu, us\): .* PROMETHEUS_LABELS=cluster=eu; read as one"
    ):
        product.handler().handle(product.scan())
    assert not product.publisher.records
    product.prometheus.clusters = ["eu"]
    assert product.shards()


def test_a_namespace_that_series_name_in_place_of_others_is_left_as_it_is(
    product: Product, caplog: pytest.LogCaptureFixture
) -> None:
    product.prometheus.pods.append(deployment("monitoring", "checkout"))
    product.prometheus.hidden = ["monitoring"]
    (shard,) = product.shards()
    assert isinstance(shard.data, ScanRequested)
    assert shard.data.shard is not None
    assert shard.data.shard.workloads == ("shop/Deployment/checkout",)
    assert "without honor_labels (job ksm)" in caplog.text
    assert "what is in monitoring is left as it is" in caplog.text


def test_a_large_cluster_is_fanned_out_in_shards_of_at_most_200() -> None:
    product = Product(*(deployment(f"ns-{n % 3}", f"workload-{n:04d}") for n in range(700)))
    shards = [event.data.shard for event in product.shards() if isinstance(event.data, ScanRequested)]
    names = [name for shard in shards if shard is not None for name in shard.workloads]
    assert len(names) == len(set(names)) == 700
    assert all(shard is not None and len(shard.workloads) <= 200 for shard in shards)
    assert [shard.index for shard in shards if shard] == list(range(len(shards)))
    assert all(len(record.value) < 48 * 1024 for record in product.publisher.records)


def test_a_scan_that_is_delivered_again_makes_the_same_events(product: Product) -> None:
    product.handler().handle(product.scan())
    product.handler().handle(product.scan())
    first, second = product.publisher.records
    assert first == second


def test_another_cluster_found_by_a_redelivery_makes_events_of_other_ids(product: Product) -> None:
    (first,) = product.shards()
    product.prometheus.pods.append(deployment("shop", "new"))
    (second,) = product.shards()
    assert first.data != second.data
    assert first.id != second.id


def test_one_namespace_more_found_by_a_redelivery_leaves_no_event_id_with_two_contents() -> None:
    product = Product(*(deployment("data", f"db-{number:03d}") for number in range(200)))
    product.shards()
    product.prometheus.pods.append(deployment("shop", "new"))
    product.shards()
    contents: dict[str, set[str]] = {}
    for record in product.publisher.records:
        contents.setdefault(record.event_id, set()).add(record.value)
    assert [len(values) for values in contents.values()] == [1, 1, 1]
    named = [event.data.shard for event in product.publisher.events if isinstance(event.data, ScanRequested)]
    first, again, new = named
    assert first is not None
    assert again is not None
    assert new is not None
    assert (first.name, first.workloads) == (again.name, again.workloads), "its report can be used again"
    assert [(shard.index, shard.of) for shard in (first, again, new)] == [(0, 1), (0, 2), (1, 2)]


def test_where_several_clusters_are_in_one_prometheus_each_query_is_about_this_one(product: Product) -> None:
    product.variables["PROMETHEUS_LABELS"] = "cluster=eu-1"
    product.prometheus.asked.clear()
    (shard,) = product.shards()
    product.handler().handle(shard)
    assert len(product.prometheus.asked) > 10
    assert all('cluster="eu-1"' in promql for promql in product.prometheus.asked)


def test_all_queries_of_a_delivery_share_one_deadline(product: Product) -> None:
    (shard,) = product.shards()
    clock = iter(range(0, 10_000, 2))
    product.monotonic = lambda: float(next(clock))
    product.prometheus.timeouts.clear()
    product.handler().handle(shard)
    timeouts = [seconds for seconds in product.prometheus.timeouts if seconds is not None]
    assert len(timeouts) == len(product.prometheus.timeouts) > 10
    # Some are put side by side: which of them the clock tells the time first is left open.
    assert sorted(timeouts, reverse=True) == [QUERY_SECONDS - 2 * n for n in range(1, len(timeouts) + 1)]


def test_a_prometheus_that_is_too_slow_is_given_up_in_time_and_asked_again_later(product: Product) -> None:
    (shard,) = product.shards()
    now = 0.0

    def slow(promql: str) -> None:
        nonlocal now
        now += 25

    product.monotonic = lambda: now
    product.prometheus.before = slow
    asked = len(product.prometheus.asked)
    with pytest.raises(Temporary, match=r"answered 4 queries of this delivery in 90 s.*HISTORY_DAYS"):
        product.handler().handle(shard)
    assert len(product.prometheus.asked) == asked + 4
    assert not product.reports.rows
    product.prometheus.before = lambda promql: None
    product.handler().handle(shard)
    assert len(product.created) == 1


def test_a_query_that_our_deadline_cut_short_says_so(product: Product) -> None:
    (shard,) = product.shards()
    now = 0.0

    def cut(promql: str) -> None:
        nonlocal now
        now += 100
        raise Temporary("Prometheus http://fake: status 503: timeout")

    product.monotonic = lambda: now
    product.prometheus.before = cut
    with pytest.raises(Temporary, match="answered 0 queries of this delivery in 90 s"):
        product.handler().handle(shard)


def test_the_deadline_of_queries_nests_in_the_time_that_the_service_has() -> None:
    patches = yaml.safe_load(EVERY_FUNCTION.read_text(encoding="utf-8"))
    (service,) = [each["value"] for each in patches if each["path"].endswith("/timeoutSeconds")]
    # The last query may begin at the deadline's end; storing takes some seconds too.
    assert service > QUERY_SECONDS + CONNECT_SECONDS + ANSWER_SECONDS + 15


def test_a_scan_of_another_cluster_is_refused_for_good(product: Product) -> None:
    with pytest.raises(Permanent, match="cluster 'other'; this recommender reads 'local'"):
        product.handler().handle(product.scan(cluster="other"))


def test_a_shard_ends_in_documents_events_and_a_report_that_they_point_into(product: Product) -> None:
    product.prometheus.pods.append(deployment("shop", "young", history_days=0.5))
    product.whole_scan()
    (document,) = product.recommendations.documents.values()
    (record,) = product.created
    (row,) = product.reports.rows.values()
    assert document.state is State.CREATED
    proposal = document.proposal
    assert RecommendationCreated.read(json.loads(record.value)) == proposal
    assert record.event_id == document.id
    assert proposal.replicas == 3
    assert proposal.pods == 3.0
    assert proposal.containers[0].proposed.cpu_request_m == 230
    assert proposal.containers[0].proposed.memory_request_bytes == 253 * 2**20
    assert monthly(proposal.containers, Decimal(repr(proposal.pods)), proposal.rates) == (
        proposal.monthly_cost_before,
        proposal.monthly_cost_after,
    )
    # (1 core, 1 GiB) -> (0.23 cores, 253 MiB), three pods, 730 hours.
    assert proposal.monthly_saving.amount == Decimal("60.29")
    assert proposal.monthly_cost_before.amount - proposal.monthly_cost_after.amount == Decimal("60.29")
    pointer = proposal.report
    assert (pointer.bucket, pointer.key, pointer.version_id, pointer.sha256) == (
        row.bucket,
        row.key,
        row.version_id,
        row.sha256,
    )
    assert row.key.startswith("reports/local/2026/11/23/scan-1-shop-")
    assert row.summary == {
        "workloads": 2,
        "proposed": 1,
        "skipped": 1,
        "currency": "USD",
        "monthly_cost": "157.02",
        "monthly_saving": "60.29",
        "monthly_waste_left": "0.00",
    }
    report = json.loads(product.objects.get(row.key, row.version_id))
    index = int(pointer.pointer.removeprefix("/workloads/"))
    assert report["workloads"][index]["workload"]["name"] == "checkout"
    assert product.last_entry("young").reason == "too little data: app: 12.1 h of history, 24 h wanted"
    assert report["window"]["begin"] == "2026-11-09T00:00:00Z", "whole days, and today so far"
    assert {query["name"] for query in report["queries"]} >= {"cpu_windows", "memory_windows", "owners"}
    assert all(query["promql"] in product.prometheus.asked for query in report["queries"])


def test_prices_go_by_nodes_and_report_and_recommendation_say_how(product: Product) -> None:
    product.prometheus.nodes = [
        FakeNode("dear", 2, 4, {"label_example_com_price": "1"}),
        FakeNode("spot", 4, 16, {"label_karpenter_sh_capacity_type": "spot"}),
        FakeNode("unused", 8, 32, {"label_example_com_price": "1"}),
    ]
    product.prometheus.pods[0].node = "dear"
    product.prometheus.pods.append(deployment("shop", "cart", node="spot"))
    product.variables["KUBEFINOPS_PRICE_NODE_LABEL"] = "example.com/price"
    product.variables["KUBEFINOPS_PRICE_PROVIDER"] = "azure"
    product.whole_scan()
    (row,) = product.reports.rows.values()
    report = product.report(row)
    checkout, cart = product.last_entry("checkout"), product.last_entry("cart")
    assert (report.rates.core_hour.amount, report.rates.source) == (
        Decimal("0.039"),
        "OpenCost's default for azure",
    )
    assert report.settings["price_node_label"] == "example.com/price"
    assert (checkout.nodes, cart.nodes) == ({"dear": 1}, {"spot": 1})
    assert set(report.nodes) == {"dear", "spot"}
    assert (report.nodes["dear"].cores, report.nodes["spot"].spot) == (Decimal(2), True)
    # 1 x 0.039 / (2 x 0.039 + 4 x 0.001917) and 1 x 0.001917 / (the same).
    assert checkout.rates == report.nodes["dear"].rates
    assert checkout.rates is not None
    assert (checkout.rates.core_hour.amount, checkout.rates.gib_hour.amount) == (
        Decimal("0.455245833"),
        Decimal("0.022377084"),
    )
    assert checkout.rates.source == "node label example.com/price: 1 an hour for 2 cores and 4 GiB"
    assert cart.rates is not None
    assert cart.rates.source == "OpenCost's default for azure, spot"
    by_name = {each.workload.name: each.proposal for each in product.recommendations.documents.values()}
    for entry in (checkout, cart):
        proposal = by_name[entry.workload.name]
        # Whoever has the recommendation, as policy's clamps do, reckons the same again.
        assert proposal.rates == entry.rates
        assert proposal.monthly_saving == entry.costs["app"].monthly_saving
        assert monthly(proposal.containers, Decimal(repr(proposal.pods)), proposal.rates) == (
            proposal.monthly_cost_before,
            proposal.monthly_cost_after,
        )


def test_unless_told_otherwise_the_estimator_sizes_and_its_constants_are_in_the_report(
    product: Product,
) -> None:
    product.variables.clear()
    product.whole_scan()
    (row,) = product.reports.rows.values()
    report = product.report(row)
    assert report.engine == "balanced/12"
    assert report.constants == asdict(constants()["balanced"])
    (container,) = report.workloads[0].containers
    assert container.reasons[0].startswith("CPU request 1 -> ")
    assert "balanced: the p" in container.reasons[0]
    assert "balanced: the peak of 15 days is" in container.reasons[2]


def test_what_sizing_would_have_saved_is_told_of_what_is_left(product: Product) -> None:
    product.whole_scan()
    product.whole_scan("scan-2", LATER)
    entry = product.last_entry("checkout")
    assert entry.decision == "skipped"
    assert "is in flight" in (entry.reason or "")
    assert entry.monthly_waste_left is not None
    assert entry.monthly_waste_left.amount == Decimal("60.29")
    product.prometheus.pods[0].history_days = 0.5
    product.whole_scan("scan-3", LATER + timedelta(minutes=1))
    assert product.last_entry("checkout").monthly_waste_left is None, "nothing was sized"


def test_what_is_raised_in_one_scan_has_a_quota_together(product: Product) -> None:
    """Three pods of each: the first one is raised to all that there is but for the pod of a rollout."""
    names = ("cart", "checkout")
    product.prometheus.pods = [deployment("shop", name, cpu_p95=3.0, cpu_max=3.5) for name in names]
    product.prometheus.quotas["shop"] = (12, 6)
    product.whole_scan()
    cart, checkout = product.last_entry("cart"), product.last_entry("checkout")
    assert [each.proposed.cpu_request_m for each in cart.containers] == [2250]
    assert [each.proposed.cpu_request_m for each in checkout.containers] == [1000]
    assert checkout.pod_bounds["ResourceQuota, shared"].cpu_request_m == 1000
    assert "beside what others of it are raised by" in checkout.containers[0].reasons[0]


def test_what_is_refused_leaves_a_quotas_room_to_the_others(product: Product) -> None:
    """Once it is proposed it has the room, until a person says no to it: then the next one is raised."""
    names = ("cart", "checkout")
    product.prometheus.pods = [deployment("shop", name, cpu_p95=3.0, cpu_max=3.5) for name in names]
    product.prometheus.quotas["shop"] = (12, 6)
    product.whole_scan()
    product.become(State.CLOSED, "checkout")
    product.become(State.PR_OPEN, "cart", pull_request=_pull_request())
    product.whole_scan("scan-2", LATER)
    assert [each.proposed.cpu_request_m for each in product.last_entry("checkout").containers] == [1000]
    product.become(State.CLOSED, "cart", message="shop keeps its quota")
    product.whole_scan("scan-3", LATER + timedelta(minutes=1))
    assert "is closed: shop keeps its quota" in (product.last_entry("cart").reason or "")
    checkout = product.last_entry("checkout")
    assert checkout.decision == "proposed"
    assert [each.proposed.cpu_request_m for each in checkout.containers] == [2250]
    assert "beside what others of it are raised by" not in checkout.containers[0].reasons[0]


def test_a_report_of_before_there_were_rates_of_workloads_is_read(product: Product) -> None:
    product.whole_scan()
    (row,) = product.reports.rows.values()
    stored = json.loads(product.objects.get(row.key, row.version_id))
    for name in ("rates", "nodes", "costs", "monthly_waste_left"):
        del stored["workloads"][0][name]
    del stored["nodes"], stored["rates"]["source"]
    (document,) = product.recommendations.documents.values()
    (draft,) = drafts(Report.read(stored), document.proposal.report)
    assert draft.proposal.rates.core_hour.amount == Decimal("0.031611")


def test_an_event_that_would_be_too_large_leaves_its_sentences_to_the_report(product: Product) -> None:
    product.prometheus.pods = [
        deployment("shop", "many", container=f"container-{number:03d}") for number in range(60)
    ]
    product.whole_scan()
    (record,) = product.created
    assert len(record.value) < 64 * 1024
    containers = json.loads(record.value)["containers"]
    assert len(containers) == 60
    assert containers[0]["reasons"] == ["see the report"]
    assert len(product.last_entry("many").containers[0].reasons) == 4


def test_a_shard_that_is_delivered_again_changes_nothing_and_asks_nothing(product: Product) -> None:
    (shard,) = product.shards()
    product.handler().handle(shard)
    documents, records = dict(product.recommendations.documents), list(product.publisher.records)
    asked = len(product.prometheus.asked)
    # What is measured meanwhile is another scan's.
    product.prometheus.pods[0].cpu_p95 = 0.7
    product.handler().handle(shard)
    assert (product.recommendations.documents, product.publisher.records) == (documents, records)
    assert len(product.prometheus.asked) == asked
    assert [len(versions) for versions in product.objects.objects.values()] == [1]


class _KilledBefore(FakeReports):
    """Stands for a process that ends after the object was put and before its row was written."""

    def insert(self, row: ReportRow) -> ReportRow:
        raise SystemExit


def test_a_shard_cut_short_before_its_report_is_indexed_is_read_anew(product: Product) -> None:
    (shard,) = product.shards()
    with pytest.raises(SystemExit):
        product.handler(_KilledBefore()).handle(shard)
    assert not product.recommendations.documents
    product.handler().handle(shard)
    (row,) = product.reports.rows.values()
    assert row.version_id == "v2"
    assert [
        document.proposal.report.version_id for document in product.recommendations.documents.values()
    ] == ["v2"]
    assert len(product.created) == 1


def test_a_shard_cut_short_before_its_events_are_published_publishes_them_then(product: Product) -> None:
    (shard,) = product.shards()
    product.publisher.down = True
    with pytest.raises(Temporary):
        product.handler().handle(shard)
    product.publisher.down = False
    product.handler().handle(shard)
    product.handler().handle(shard)
    assert len(product.created) == 1
    assert len(product.recommendations.documents) == 1


@pytest.mark.parametrize("moment", ["__name__", "owner_kind", "[1h]"])
def test_of_two_deliveries_at_once_the_first_report_decides_for_both(product: Product, moment: str) -> None:
    (shard,) = product.shards()

    def other_delivery(promql: str) -> None:
        if moment in promql:
            product.prometheus.before = lambda promql: None
            product.handler().handle(shard)
            # The slower one goes on with other figures, and with a proposal that is in flight by now.
            product.prometheus.pods[0].cpu_p95 = 0.7

    product.prometheus.before = other_delivery
    product.handler().handle(shard)
    assert len(product.reports.rows) == 1
    (document,) = product.recommendations.documents.values()
    assert document.proposal.containers[0].proposed.cpu_request_m == 230
    assert document.proposal.report.version_id == "v1"
    assert len(product.created) == 1


def test_an_unreachable_prometheus_leaves_nothing_behind(product: Product) -> None:
    (shard,) = product.shards()
    product.prometheus.down = True
    with pytest.raises(Temporary):
        product.handler().handle(shard)
    assert not product.objects.objects
    assert not product.reports.rows
    product.prometheus.down = False
    product.handler().handle(shard)
    assert len(product.created) == 1


@pytest.mark.parametrize("damage", [b"{}", None])
def test_a_report_that_is_not_what_its_index_says_is_not_used(product: Product, damage: bytes | None) -> None:
    (shard,) = product.shards()
    product.handler().handle(shard)
    (key,) = product.objects.objects
    if damage is None:
        del product.objects.objects[key]
    else:
        product.objects.objects[key] = [damage]
    with pytest.raises(Temporary, match="index"):
        product.handler().handle(shard)


def test_a_shard_of_malformed_workloads_is_refused_for_good(product: Product) -> None:
    (shard,) = product.shards()
    assert isinstance(shard.data, ScanRequested)
    assert shard.data.shard is not None
    broken = shard.data.shard.model_copy(update={"workloads": ("nonsense",)})
    with pytest.raises(Permanent, match="namespace"):
        product.handler().handle(replace(shard, data=shard.data.model_copy(update={"shard": broken})))


def test_with_nothing_to_do_there_is_a_report_and_no_event(product: Product) -> None:
    product.prometheus.pods[0].requests = {"cpu": 0.23, "memory": 253.0 * 2**20}
    product.whole_scan()
    assert product.created == []
    assert "not worth a change" in (product.last_entry("checkout").reason or "")


def test_a_cluster_without_workloads_makes_no_shards() -> None:
    product = Product()
    assert product.shards() == []


def test_a_workload_that_is_gone_when_its_shard_is_read_is_said_to_be(product: Product) -> None:
    product.prometheus.pods.append(deployment("shop", "gone"))
    (shard,) = product.shards()
    product.prometheus.pods.pop()
    product.handler().handle(shard)
    assert "no longer" in (product.last_entry("gone").reason or "")
    assert len(product.created) == 1


@pytest.mark.parametrize(
    ("cpu", "days", "clamped", "reason"),
    [
        (0.1, 6, False, "it was changed on 2026-11-23, and is only lowered again after a week of use"),
        (0.1, 8, False, None),
        # What is raised waits for nothing, nor does what a policy let go a part of its way.
        (0.5, 1, False, None),
        (0.1, 1, True, None),
    ],
)
def test_what_is_only_lowered_is_changed_once_a_week(
    product: Product, cpu: float, days: int, clamped: bool, reason: str | None
) -> None:
    product.whole_scan()
    set_now = product.become(State.APPLIED).proposal.containers[0].proposed
    assert set_now.cpu_request_m == 230
    (pod,) = product.prometheus.pods
    pod.requests = {"cpu": 0.5 if clamped else 0.23, "memory": float(set_now.memory_request_bytes or 0)}
    pod.cpu_p95 = pod.cpu_max = cpu
    product.whole_scan("scan-2", LATER + timedelta(days=days))
    assert product.last_entry("checkout").reason == reason


@pytest.mark.parametrize("proxy_cpu", [0.05, 3.0])
def test_a_container_that_is_not_in_git_keeps_none_beside_it_from_resting(
    product: Product, proxy_cpu: float
) -> None:
    """It is never set as it was proposed, and would be lowered, or raised, by each scan."""
    proxy = deployment("shop", "checkout", container="istio-proxy", cpu_p95=proxy_cpu, cpu_max=proxy_cpu)
    product.prometheus.pods.append(proxy)
    product.whole_scan()
    app, _ = product.become(State.APPLIED, not_in_git=("istio-proxy",)).proposal.containers
    pod = product.prometheus.pods[0]
    pod.requests = {"cpu": 0.23, "memory": float(app.proposed.memory_request_bytes or 0)}
    pod.cpu_p95 = pod.cpu_max = 0.1
    product.whole_scan("scan-2", LATER + timedelta(days=6))
    assert "is only lowered again after a week" in (product.last_entry("checkout").reason or "")
    pod.cpu_p95 = pod.cpu_max = 0.5
    product.whole_scan("scan-3", LATER + timedelta(days=6, hours=1))
    assert product.last_entry("checkout").reason is None


def next_scan(product: Product) -> str | None:
    """Scans again half an hour later; why the workload was not proposed, or None if it was."""
    product.whole_scan("scan-2", NOW + timedelta(minutes=30))
    return product.last_entry("checkout").reason


@pytest.mark.parametrize("state", [State.CREATED, State.APPROVED])
def test_what_is_in_flight_finishes_first(product: Product, state: State) -> None:
    product.whole_scan()
    product.become(state)
    product.prometheus.pods[0].cpu_p95 = 0.6
    assert next_scan(product) == f"a proposal of 2026-11-23 12:00 UTC is in flight ({state})"
    assert len(product.created) == 1


def _pull_request() -> PullRequest:
    return PullRequest(
        repository="acme/deploy",
        number=7,
        url="u",
        base="main",
        branch="b",
        commit="c",
        awaits_approval=False,
    )


@pytest.mark.parametrize("state", [State.PR_OPEN, State.MERGED])
@pytest.mark.parametrize(("cpu", "again"), [(0.201, False), (0.5, True)])
def test_an_open_change_is_followed_only_by_other_values(
    product: Product, state: State, cpu: float, again: bool
) -> None:
    product.whole_scan()
    product.become(state, pull_request=_pull_request())
    product.prometheus.pods[0].cpu_p95 = cpu
    reason = next_scan(product)
    assert reason == (None if again else f"pull request #7 of acme/deploy holds these values ({state})")
    assert len(product.created) == 1 + again


def test_an_open_change_that_policy_clamped_to_these_values_is_not_followed(product: Product) -> None:
    product.whole_scan()
    (document,) = product.recommendations.documents.values()
    clamped = document.containers[0].model_copy(
        update={"proposed": document.containers[0].proposed.model_copy(update={"cpu_request_m": 500})}
    )
    product.become(State.PR_OPEN, pull_request=_pull_request(), containers=(clamped,))
    assert "holds these values" in (next_scan(product) or "")


def test_an_open_change_is_not_followed_for_a_container_that_it_cannot_change(product: Product) -> None:
    product.prometheus.pods.append(deployment("shop", "checkout", container="istio-proxy"))
    product.whole_scan()
    (document,) = product.recommendations.documents.values()
    app, proxy = document.containers
    assert proxy.name == "istio-proxy"
    product.become(
        State.PR_OPEN, pull_request=_pull_request(), containers=(app,), not_in_git=("istio-proxy",)
    )
    product.prometheus.pods[1].cpu_p95 = 0.5
    assert "holds these values" in (next_scan(product) or "")
    product.prometheus.pods[0].cpu_p95 = 0.5
    product.whole_scan("scan-3", NOW + timedelta(hours=1))
    assert product.last_entry("checkout").reason is None


@pytest.mark.parametrize(
    ("policies", "again"),
    [
        ([DEFAULT_POLICY], False),
        ([DEFAULT_POLICY, Policy(name="more", version=1, rules=Rules())], False),
        ([DEFAULT_POLICY.model_copy(update={"version": 2})], True),
        ([Policy(name="other", version=1, rules=Rules())], True),
    ],
)
def test_what_was_denied_is_proposed_again_only_under_other_policies(
    product: Product, policies: list[Policy], again: bool
) -> None:
    product.whole_scan()
    product.become(State.VIOLATED, policies={"default": 1}, message="namespace shop is protected")
    product.policies.policies = policies
    reason = next_scan(product)
    assert (reason is None) == again
    assert again or "namespace shop is protected" in (reason or "")


def test_what_was_denied_is_proposed_again_with_other_values(product: Product) -> None:
    product.whole_scan()
    product.become(State.VIOLATED, policies={"default": 1}, message="no")
    product.prometheus.pods[0].cpu_p95 = 0.5
    assert next_scan(product) is None


@pytest.mark.parametrize("state", [State.FAILED, State.CLOSED, State.ADVISORY, State.REGRESSED])
@pytest.mark.parametrize(("cpu", "again"), [(0.2, False), (0.203, False), (0.5, True)])
def test_what_was_refused_is_not_asked_again_unless_it_is_something_else(
    product: Product, state: State, cpu: float, again: bool
) -> None:
    product.whole_scan()
    product.become(state, reason=FailureReason.REFUSED, message="branch main is protected")
    product.prometheus.pods[0].cpu_p95 = cpu
    reason = next_scan(product)
    assert reason == (
        None if again else f"the same was proposed before and is {state}: branch main is protected"
    )


@pytest.mark.parametrize("reason", [FailureReason.EXPIRED, FailureReason.MISSED_MERGE])
def test_what_nobody_has_judged_is_proposed_again(product: Product, reason: FailureReason) -> None:
    product.whole_scan()
    product.become(State.CLOSED, reason=reason)
    assert next_scan(product) is None


@pytest.mark.parametrize(("wait", "again"), [(timedelta(minutes=30), False), (timedelta(hours=3), True)])
def test_what_was_just_applied_waits_for_the_metrics_to_show_it(
    product: Product, wait: timedelta, again: bool
) -> None:
    product.whole_scan()
    product.become(State.APPLIED)
    product.whole_scan("scan-2", NOW + wait)
    assert (product.last_entry("checkout").reason is None) == again
