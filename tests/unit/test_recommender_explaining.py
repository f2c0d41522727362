"""From what a report holds each of its figures comes out again, and one that is not as it was is found."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta

import pytest

from functions.recommender.container import round_cpu
from functions.recommender.explaining import Explanation, NotReproducible, explain, observed, told
from functions.recommender.handler import RecommenderHandler
from functions.recommender.reading import read
from functions.recommender.report import Entry, Report, entry_at
from functions.recommender.settings import RecommenderSettings
from functions.recommender.sizing import Observed, ObservedContainer
from infra.cli.explain import _apart, _around
from shared.contracts.documents import Recommendation
from shared.contracts.envelope import Event
from shared.contracts.events import Resources, ScanRequested
from shared.contracts.prometheus import Curve
from shared.contracts.topics import Topic
from shared.runtime.ledger import Ledger
from tests.fakes.kafka import FakePublisher
from tests.fakes.mongo import FakeDigests, FakePolicies, FakeRecommendations, FakeReports
from tests.fakes.objectstore import FakeObjectStore
from tests.fakes.prometheus import FakePod, FakePrometheus, deployment, rollout

MIB = 2**20
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
STRATEGIES = ("percentile", "balanced", "cautious", "lean")
EQUAL_LIMITS = {"cpu": 1.0, "memory": float(2**30)}


class ChangingPrometheus(FakePrometheus):
    """Each day has other values, of which few are short decimals; on some there is no memory, or nothing."""

    def query_range(
        self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
    ) -> list[Curve]:
        def changed(curve: Curve) -> Iterator[tuple[float, float]]:
            for at, value in curve.points:
                ago = int(((self.now or end).timestamp() - 1) // 86400) - int((at - 1) // 86400)
                if ago != 7 and (ago != 5 or "memory" not in promql):
                    yield at, value * (1 + math.sin(ago + len(curve.labels["pod"])) / 7)

        curves = super().query_range(promql, begin, end, step, timeout)
        if step >= timedelta(hours=1) and "memory_working_set" not in promql:
            return curves
        return [Curve.of(curve.labels, changed(curve)) for curve in curves]


def cluster() -> ChangingPrometheus:
    """A workload for each thing that the engine looks at."""
    killed = {"oom_kills": 2.0, "oom_killed": True, "limits": {"memory": 256.0 * MIB}}
    small, large = ({"cpu": 1.0, "memory": size * MIB} for size in (200.0, 4096.0))
    prometheus = ChangingPrometheus(
        deployment("shop", "checkout", cpu_p95=0.2137, cpu_max=0.4001),
        deployment("shop", "guaranteed", limits=EQUAL_LIMITS),
        deployment("shop", "killed", requests=small, **killed),
        deployment("shop", "killed-before", oom_kills=1.0, former_limit=256.0 * MIB),
        deployment("shop", "throttled", throttled=0.31, requests=large, limits=large | {"cpu": 2.0}),
        deployment("shop", "scaled"),
        deployment("shop", "young", history_days=0.5),
        # The peak fits in what is set, and an estimate of so few days is far above it.
        deployment(
            "shop",
            "fitting",
            history_days=5,
            requests={"cpu": 1.0, "memory": 320.0 * MIB},
            limits={"memory": 320.0 * MIB},
        ),
        deployment("shop", "none-set", requests={}, limits={}),
        deployment("shop", "unseen", measured=False),
        # Two containers of unlike history, and one that is not measured.
        deployment("shop", "sidecars", container="app"),
        deployment("shop", "sidecars", container="proxy", history_days=3, samples=800, limits=EQUAL_LIMITS),
        deployment("shop", "sidecars", container="quiet", measured=False, limits=EQUAL_LIMITS),
        # A native sidecar, and an init container that keeps more reserved than the others will ask for.
        deployment("shop", "reserved", container="app"),
        deployment("shop", "reserved", container="quiet", measured=False),
        deployment("shop", "reserved", container="mesh", init=True, restart_policy="Always"),
        deployment("shop", "reserved", container="migrate", init=True, measured=False, requests={"cpu": 2.5}),
        # Guaranteed but for the one that is not measured.
        deployment("shop", "spoilt", limits=EQUAL_LIMITS),
        deployment("shop", "spoilt", container="quiet", measured=False, limits={}),
        *(FakePod("batch", ("Job", "nightly"), suffix=f"run{n}", samples=12 + n) for n in range(6)),
        FakePod("data", ("StatefulSet", "db"), cpu_p95=1.913, cpu_max=2.5, memory_max=700.0 * MIB),
        FakePod("data", ("Widget", "odd")),
        rollout("data", "canary"),
        deployment(
            "data",
            "brewing",
            image="docker.io/library/eclipse-temurin:21-jre",
            jvm={
                ("jvm_memory_max_bytes", "heap"): 256 * 2.0**20,
                ("jvm_memory_used_bytes", "nonheap"): 90 * 2.0**20,
            },
        ),
        deployment(
            "data", "annotated", annotations={"annotation_kubefinops_io_jvm_max_heap": "app=256Mi,ap=1Gi"}
        ),
    )
    prometheus.scaled = {("shop", "scaled"): "cpu"}
    return prometheus


class Scan:
    """One scan by the real recommender, and what it left: reports as they are stored, and documents."""

    def __init__(self, prometheus: FakePrometheus, strategy: str = "percentile", **variables: str) -> None:
        self.settings = RecommenderSettings.read({"KUBEFINOPS_STRATEGY": strategy, **variables})
        publisher, objects = FakePublisher(), FakeObjectStore()
        recommendations = FakeRecommendations()
        handler = RecommenderHandler(
            self.settings,
            prometheus=prometheus,
            ledger=Ledger("recommender", recommendations, publisher, lambda: NOW),
            publisher=publisher,
            recommendations=recommendations,
            policies=FakePolicies(),
            reports=FakeReports(),
            digests=FakeDigests(),
            objects=objects,
            clock=lambda: NOW,
        )
        handler.handle(
            Event(
                id="tick",
                source="/kubefinops/local/receiver",
                subject="local/scan-1",
                time=NOW,
                partitionkey="local/scan-1",
                correlationid="scan-1",
                data=ScanRequested(
                    cluster="local", scan_id="scan-1", scanned_at=NOW, requested_by="schedule"
                ),
            )
        )
        for shard in publisher.on(Topic.SCAN_REQUESTED):
            handler.handle(shard)
        self.reports = [Report.read(json.loads(content)) for (content,) in objects.objects.values()]
        self.documents = list(recommendations.documents.values())

    @property
    def entries(self) -> list[tuple[Report, Entry]]:
        return [(report, entry) for report in self.reports for entry in report.workloads]

    def of(self, name: str) -> tuple[Report, Entry]:
        return next(both for both in self.entries if both[1].workload.name == name)

    def document(self, name: str) -> Recommendation:
        return next(each for each in self.documents if each.workload.name == name)


@pytest.fixture(scope="module", params=STRATEGIES)
def scan(request: pytest.FixtureRequest) -> Scan:
    return Scan(cluster(), request.param)


@pytest.fixture(scope="module")
def balanced() -> Scan:
    return Scan(cluster(), "balanced")


def differing(explanation: Explanation) -> set[str]:
    return {figure.name for figure in explanation.differing}


def test_every_figure_of_every_workload_comes_out_again(scan: Scan) -> None:
    assert len(scan.entries) == 19
    for report, entry in scan.entries:
        explanation = explain(report, entry)
        assert not explanation.differing, entry.workload.name
        assert not explanation.lacking
        # Four values and sentences of each, the names of all, the decision with its reason, and seven more;
        # and six of the usage of each whose days are told.
        told_by_day = sum(each.name in entry.digests for each in entry.containers)
        wanted = 8 * len(entry.containers) + 10 + bool(entry.costs) + 6 * told_by_day
        assert len(explanation.figures) == wanted


def test_the_scan_has_what_it_is_to_have(scan: Scan) -> None:
    """Or else nothing above was looked at."""
    by_digests = scan.settings.strategy != "percentile"
    assert {each.workload.name for each in scan.documents} == {
        "checkout",
        "guaranteed",
        "killed",
        "killed-before",
        "throttled",
        "scaled",
        "fitting",
        "sidecars",
        "reserved",
        "spoilt",
        "nightly",
        "db",
        "canary",
        "brewing",
        "annotated",
    }
    assert any("JVM" in reason for reason in scan.of("brewing")[1].containers[0].reasons)
    assert "(by its annotation)" in scan.of("annotated")[1].containers[0].reasons[2]
    assert scan.of("annotated")[1].containers[0].reasons[2].endswith("'ap=1Gi' names no container of the pod")
    assert scan.of("guaranteed")[1].qos == "Guaranteed"
    assert scan.of("spoilt")[1].qos == "Burstable"
    assert "under this limit" in scan.of("killed")[1].containers[0].reasons[3]
    (scaled,) = scan.of("scaled")[1].containers
    assert "HorizontalPodAutoscaler" in scaled.reasons[0]
    assert scaled.proposed.cpu_request_m == scaled.current.cpu_request_m
    assert scaled.proposed.memory_request_bytes != scaled.current.memory_request_bytes
    assert "the peak of its 6 runs" in scan.of("nightly")[1].containers[0].reasons[0]
    assert scan.of("nightly")[1].pods != round(scan.of("nightly")[1].pods)
    assert scan.of("sidecars")[1].not_measured == ("quiet",)
    reserved = scan.of("reserved")[1]
    assert [each.name for each in reserved.containers] == ["app", "mesh"]
    assert reserved.not_measured == ("quiet",)
    for each in reserved.containers:
        assert each.reasons[0].endswith("; init container migrate asks for 2500m, which stays reserved")
    # Beside the core of the one that is not measured.
    held = scan.document("reserved").proposal.held_at_least
    assert held == Resources(cpu_request_m=1500, memory_request_bytes=0)
    assert bool(scan.of("checkout")[0].constants) == by_digests
    assert by_digests == (scan.settings.strategy in scan.of("checkout")[1].containers[0].reasons[0])
    why_memory = scan.of("fitting")[1].containers[0].reasons[2]
    if scan.settings.strategy != "lean":  # whose margin is so small that little more is asked for
        assert by_digests == ("fit in it, so it is not raised to" in why_memory)
    assert by_digests == ("leaves its usual level" in scan.of("checkout")[1].containers[0].reasons[2])
    assert by_digests == ("because a limit kills" in scan.of("fitting")[1].containers[0].reasons[3])
    assert by_digests == ("it holds the peak" in scan.of("guaranteed")[1].containers[0].reasons[2])
    days = {day.ago: day for day in scan.of("checkout")[1].digests["app"]}
    assert 7 not in days
    assert (days[5].windows, days[5].memory_bytes) == (99, 0)
    assert len({day.cpu_m for ago, day in days.items() if ago < 14}) == 13


def test_the_engines_input_is_in_the_report_to_the_last_bit(scan: Scan) -> None:
    wanted = [entry.workload for _, entry in scan.entries]
    reading = read(
        cluster(),
        "local",
        NOW,
        history=scan.settings.window,
        oom_days=scan.settings.oom_days,
        wanted=wanted,
        strategy=scan.settings.strategy,
        stored=FakeDigests(),
    )
    again = {entry.workload: observed(report, entry, []) for report, entry in scan.entries}
    assert again == {each.workload: each for each in reading.workloads}


def test_what_the_engine_is_given_is_known_to_who_gives_it_again() -> None:
    """A new field has to be in the report too, and in `observed`: then it may be named here."""
    assert {each.name for each in fields(Observed)} == {
        "workload",
        "replicas",
        "pods",
        "containers",
        "scales_on",
        "resized_by",
        "windows_per_day",
        "nodes",
        "tells_kills",
        "init",
        "pod_bounds",
        "pod_least",
        "pod_ratios",
    }
    assert {each.name for each in fields(ObservedContainer)} == {
        "name",
        "current",
        "usage",
        "history_seconds",
        "oom_killed",
        "killed_limit_bytes",
        "remembered",
        "estimate",
        "jvm",
        "days",
        "bounds",
        "torn",
        "sidecar",
    }


def test_other_settings_and_prices_are_taken_from_the_report() -> None:
    scan = Scan(
        cluster(),
        KUBEFINOPS_CPU_HEADROOM_PERCENT="100",
        KUBEFINOPS_MEMORY_HEADROOM_PERCENT="37.5",
        KUBEFINOPS_MINIMUM_HISTORY_HOURS="48",
        KUBEFINOPS_MEMORY_FLOOR="64Mi",
        KUBEFINOPS_KEEP_QOS="false",
        KUBEFINOPS_PRICE_CORE_HOUR="0.0417",
        KUBEFINOPS_PRICE_GIB_HOUR="0.0051",
        KUBEFINOPS_CURRENCY="EUR",
    )
    (app,) = scan.of("checkout")[1].containers
    assert app.proposed.cpu_request_m == round_cpu(2 * app.usage.cpu_p95_m)
    assert not any(explain(report, entry).differing for report, entry in scan.entries)


def test_a_document_is_what_its_report_makes(scan: Scan) -> None:
    for document in scan.documents:
        report = scan.reports[0] if len(scan.reports) == 1 else scan.of(document.workload.name)[0]
        entry = entry_at(report, document.proposal.report.pointer)
        assert entry is not None
        assert entry.workload == document.workload
        figures = told(report, entry, document.proposal)
        assert len(figures) > 10
        assert all(figure.equal for figure in figures)
    proposal = scan.document("checkout").proposal.model_copy(update={"pods": 4.0})
    odd = [figure.name for figure in told(*scan.of("checkout"), proposal) if not figure.equal]
    assert odd == ["pods"]


@pytest.mark.parametrize(
    "pointer", ["", "/workloads", "/workloads/19", "/workloads/-1", "/workloads/01", "/a/0"]
)
def test_a_pointer_that_leads_to_no_entry_is_none(scan: Scan, pointer: str) -> None:
    report = scan.reports[0].model_copy(update={"workloads": tuple(entry for _, entry in scan.entries)})
    assert entry_at(report, "/workloads/13") is not None
    assert entry_at(report, pointer) is None


FIRST = ("containers", 0)


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        ((*FIRST, "proposed", "cpu_request_m"), 240, "cpu_request_m"),
        ((*FIRST, "proposed", "cpu_limit_m"), 7, "cpu_limit_m"),
        ((*FIRST, "proposed", "memory_request_bytes"), 1, "memory_request_bytes"),
        ((*FIRST, "proposed", "memory_limit_bytes"), None, "memory_limit_bytes"),
        ((*FIRST, "reasons", 0), "CPU request: because", "cpu_request_m_why"),
        ((*FIRST, "reasons", 3), "", "memory_limit_bytes_why"),
        ((*FIRST, "reasons"), ["a", "b", "c", "d", "e"], "another_why"),
        ((*FIRST, "name"), "other", "containers"),
        (("decision",), "proposed", None),
        (("qos",), "Guaranteed", "qos"),
        (("confidence",), 0.9334, "confidence"),
        (("history_seconds",), 1, "history_seconds"),
        (("monthly_cost_before", "amount"), "75.33", "monthly_cost_before"),
        (("monthly_cost_after", "amount"), "0.01", "monthly_cost_after"),
        (("monthly_saving", "currency"), "EUR", "monthly_saving"),
        (("content_hash",), "0" * 64, "content_hash"),
        # Inputs: what rests on them is another figure then.
        ((*FIRST, "current", "memory_limit_bytes"), 2**31, "content_hash"),
        ((*FIRST, "usage", "cpu_max_m"), 9000.0, "cpu_max_m"),
        ((*FIRST, "usage", "throttled_share"), 0.01, None),
        ((*FIRST, "usage", "memory_p95_bytes"), 2**32, "monthly_cost_before"),
        (("pods",), 3.001, "monthly_cost_before"),
        (("seen", 0, "history_seconds"), 3 * 86400, "confidence"),
        (("digests", "app", 3, "memory_bytes"), 2**31, "memory_request_bytes"),
        (("digests", "app", -1, "cpu_m"), [5000.0] * 16, "cpu_request_m"),
        (("scales_on",), ["cpu"], "cpu_request_m"),
        (("scales_on",), ["cpu", "memory"], "decision"),
        (("resized_by",), "Auto", "decision"),
        (("tells_kills",), False, "memory_request_bytes"),
        (("seen", 0, "torn"), True, "decision"),
        (("seen", 0, "bounds"), [{"cpu_request_m": 700}, {}], "cpu_request_m"),
        (("pod_bounds",), {"node": {"memory_request_bytes": 1}}, None),
    ],
)
def test_what_is_not_as_it_was_computed_is_found(
    balanced: Scan, path: tuple[str | int, ...], value: object, found: str | None
) -> None:
    report, entry = balanced.of("checkout")
    changed = entry.model_dump(mode="json")
    *way, last = path
    place = changed
    for step in way:
        place = place[step]  # type: ignore[index]
    place[last] = value  # type: ignore[index]
    names = differing(explain(report, Entry.read(changed)))
    assert (found in names) if found else not names


def test_a_container_that_is_missing_is_found(balanced: Scan) -> None:
    report, entry = balanced.of("sidecars")
    names = differing(explain(report, entry.model_copy(update={"containers": entry.containers[:1]})))
    assert "monthly_cost_before" in names


def test_what_was_left_out_for_its_story_is_computed_without_the_decision(balanced: Scan) -> None:
    report, entry = balanced.of("checkout")
    update = {"decision": "skipped", "reason": "a proposal of 2026-11-23 12:00 UTC is in flight (created)"}
    explanation = explain(report, entry.model_copy(update=update))
    assert not explanation.differing
    assert "decision" not in {figure.name for figure in explanation.figures}


def older(report: Report) -> Report:
    """As reports were before `seen` and `constants`."""
    document = report.model_dump(mode="json")
    del document["constants"]
    for entry in document["workloads"]:
        del entry["seen"]
    return Report.read(document)


def test_an_older_report_is_computed_again_with_what_it_has(scan: Scan) -> None:
    by_digests = scan.settings.strategy != "percentile"
    for report in map(older, scan.reports):
        for entry in report.workloads:
            explanation = explain(report, entry)
            name = entry.workload.name
            unmeasured = ("sidecars", "spoilt", "unseen", "reserved")
            assert bool(explanation.differing) == (name in ("killed", *unmeasured)), name
            lacking = " ".join(explanation.lacking)
            assert ("history" in lacking) == bool(entry.containers), name
            assert ("constants" in lacking) == (by_digests and bool(entry.digests)), name
            assert ("had the present limit" in lacking) == (name in ("killed", "killed-before")), name
            assert ("not measured" in lacking) == (name in unmeasured), name


def test_a_day_has_as_many_samples_as_windows_were_looked_at(balanced: Scan) -> None:
    report, lasting = balanced.of("checkout")
    _, nightly = balanced.of("nightly")
    before = report.model_copy(update={"window": report.window.model_copy(update={"cpu_step_seconds": None})})
    assert observed(report, lasting, []).windows_per_day == pytest.approx(86400 / 870)
    assert observed(report, nightly, []).windows_per_day == 288
    assert observed(before, lasting, []).windows_per_day == 288


def test_how_far_windows_lay_apart_is_told_by_namespace(balanced: Scan) -> None:
    report, lasting = balanced.of("checkout")
    _, nightly = balanced.of("nightly")
    namespace = lasting.workload.namespace
    twice = report.window.model_copy(update={"every_second_in": (namespace,)})
    assert _apart(report.window, lasting.workload) == ", CPU in every 870 s and memory in every 3480 s"
    assert _apart(twice, lasting.workload) == ", CPU in every 1740 s and memory in every 6960 s"
    thrice = report.window.model_copy(update={"every_third_in": (namespace,)})
    assert _apart(thrice, lasting.workload) == ", CPU in every 2610 s and memory in every 10440 s"
    assert not _apart(twice, nightly.workload)


def test_what_a_limit_range_or_an_init_container_does_not_set_is_not_told_as_a_dash(balanced: Scan) -> None:
    _, entry = balanced.of("reserved")
    assert "init container migrate asks for 2500m of CPU" in list(_around(entry))
    least, most = Resources(cpu_request_m=50, memory_request_bytes=64 * MIB), Resources(cpu_request_m=4000)
    for bounds, words in (
        ((least, Resources()), "want 50m of CPU and 64Mi of memory at least"),
        ((Resources(), most), "allow 4 of CPU at most"),
        ((least, most), "want 50m of CPU and 64Mi of memory at least and allow 4 of CPU at most"),
    ):
        seen = [each.model_copy(update={"bounds": bounds}) for each in entry.seen[:1]]
        *_, line = _around(entry.model_copy(update={"seen": seen}))
        assert line == f"{seen[0].name}: LimitRanges {words}"
    whole = {"pod_bounds": {"node": most}, "pod_least": least, "pod_ratios": {"memory": 1.5}}
    *_, of_node, of_pod, ratio = _around(entry.model_copy(update=whole))
    assert of_node == "the containers of a pod may have together, by node, at most: CPU request 4"
    ninths = Resources(memory_request_bytes=64 * 2**30 * 9 // 10)
    *_, of_node = _around(entry.model_copy(update={"pod_bounds": {"node": ninths}}))
    assert of_node.endswith("at most: memory request 58982Mi")
    assert of_pod == (
        "the containers of a pod have to have together, by LimitRange, at least: CPU request 50m, memory"
        " request 64Mi"
    )
    assert ratio == "the limits of memory of a pod may be 1.5 times its requests, by LimitRange"


def test_a_setting_that_a_report_lacks_is_told_and_one_that_is_not_known_is_refused(balanced: Scan) -> None:
    report, entry = balanced.of("checkout")
    settings = {name: value for name, value in report.settings.items() if name != "throttled_share"}
    explanation = explain(report.model_copy(update={"settings": settings}), entry)
    assert explanation.lacking == ("throttled_share: this code's defaults are taken",)
    settings = {**report.settings, "new_rule": 1}
    with pytest.raises(NotReproducible, match="new_rule"):
        explain(report.model_copy(update={"settings": settings}), entry)


@pytest.mark.parametrize(
    ("update", "why"),
    [
        ({"engine": "balanced/1"}, "engine balanced/1 made the report, and this code is balanced/12"),
        ({"engine": "crystal/1"}, "engine crystal/1 .* no such strategy"),
        ({"constants": {"cpu_half_life": 1.0}}, "constants of balanced"),
    ],
)
def test_what_another_engine_made_is_not_computed(
    balanced: Scan, update: dict[str, object], why: str
) -> None:
    report, entry = balanced.of("checkout")
    with pytest.raises(NotReproducible, match=why):
        explain(report.model_copy(update=update), entry)


def test_the_constants_are_the_reports_and_not_this_codes(balanced: Scan) -> None:
    report, entry = balanced.of("checkout")
    refitted = {**report.constants, "cpu_pad": report.constants["cpu_pad"] + 0.1}
    names = differing(explain(report.model_copy(update={"constants": refitted}), entry))
    assert {"cpu_request_m", "cpu_request_m_why"} <= names
    assert "memory_request_bytes" not in names


def test_without_a_strategy_that_estimates_numpy_is_not_loaded() -> None:
    code = "import sys, functions.recommender.explaining; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
