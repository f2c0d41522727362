"""`kubefinops explain` as a person runs it, on a recommender's report in real stores."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from functions.policy.judging import judge
from functions.recommender.container import round_cpu
from functions.recommender.fitted import constants
from functions.recommender.handler import RecommenderHandler
from functions.recommender.settings import RecommenderSettings
from functions.recommender.sizing import engine
from infra.cli.main import main
from shared.adapters.mongo import Mongo
from shared.adapters.mongo_digests import MongoDigests
from shared.adapters.objectstore import S3ObjectStore, canonical
from shared.contracts.documents import Recommendation
from shared.contracts.envelope import Event
from shared.contracts.events import ScanRequested
from shared.contracts.states import State
from shared.contracts.topics import Topic
from shared.runtime.ledger import Ledger
from tests.fakes.kafka import FakePublisher
from tests.fakes.prometheus import FakePrometheus, deployment

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NOBODY = "127.0.0.1:1"


@dataclass
class Said:
    code: object
    out: str
    err: str


Explain = Callable[..., Said]


@pytest.fixture
def here(mongo: Mongo, mongo_address: str, objectstore_environment: dict[str, str]) -> dict[str, str]:
    """An environment that names the test's servers, and another bucket than the report's."""
    return {
        **objectstore_environment,
        "S3_BUCKET": "renamed-since",
        "MONGODB_URI": mongo_address,
        "MONGODB_DATABASE": mongo.database.name,
    }


@pytest.fixture
def explain(
    here: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Explain:
    """The command in it."""

    def run(*arguments: str, **environment: str) -> Said:
        for name, value in {**here, **environment}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.argv", ["kubefinops", "explain", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Said(ended.value.code, said.out, said.err)

    return run


def scanned(
    mongo: Mongo, objects: S3ObjectStore, strategy: str = "percentile", scan_id: str = "scan-1"
) -> None:
    """Two workloads, both proposed."""
    publisher = FakePublisher()
    handler = RecommenderHandler(
        RecommenderSettings.read({"S3_BUCKET": objects.bucket, "KUBEFINOPS_STRATEGY": strategy}),
        prometheus=FakePrometheus(deployment("shop", "cart"), deployment("shop", "web", cpu_p95=0.6172)),
        ledger=Ledger("recommender", mongo.recommendations, publisher),
        publisher=publisher,
        recommendations=mongo.recommendations,
        policies=mongo.policies,
        reports=mongo.reports,
        digests=MongoDigests(mongo),
        objects=objects,
    )
    request = ScanRequested(cluster="local", scan_id=scan_id, scanned_at=NOW, requested_by="schedule")
    event = Event(
        id="tick",
        source="/kubefinops/local/receiver",
        subject=f"local/{scan_id}",
        time=NOW,
        partitionkey=f"local/{scan_id}",
        correlationid=scan_id,
        data=request,
    )
    handler.handle(event)
    for shard in publisher.on(Topic.SCAN_REQUESTED):
        handler.handle(shard)


def document(mongo: Mongo, name: str = "cart") -> Recommendation:
    return next(
        each for each in mongo.recommendations.in_states("local", State) if each.workload.name == name
    )


def rewritten(mongo: Mongo, objects: S3ObjectStore, change: Callable[[dict[str, object]], None]) -> None:
    """Points cart's document at another version of its report, as if that had been stored at once."""
    item = document(mongo)
    pointer = item.proposal.report
    report = json.loads(objects.get(pointer.key, pointer.version_id))
    change(report)
    stored = objects.put(pointer.key, canonical(report), datetime.now(UTC) + timedelta(days=1))
    mongo.database["recommendations"].update_one(
        {"_id": item.id},
        {
            "$set": {
                "proposal.report.version_id": stored.version_id,
                "proposal.report.sha256": stored.sha256,
            }
        },
    )


@pytest.mark.parametrize("strategy", ["percentile", "balanced"])
def test_each_figure_is_told_with_its_inputs_and_computed_again(
    explain: Explain, mongo: Mongo, object_store: S3ObjectStore, strategy: str
) -> None:
    scanned(mongo, object_store, strategy)
    said = explain("shop/Deployment/cart")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0].endswith(f"created, scanned at 2026-11-23T12:00:00Z by engine {engine(strategy)}")
    assert lines[1].startswith(f"evidence: s3://{object_store.bucket}/reports/local/2026/11/23/scan-1-shop-")
    assert (
        "\nsettings: CPU headroom 15%, memory headroom 15%, memory limit headroom 30%, CPU floor 10m"
        in said.out
    )
    prices = "prices: a core-hour 0.031611 USD, a GiB-hour 0.004237 USD"
    assert f"\n{prices} (OpenCost's default for an unknown provider)\n" in said.out
    assert "app: CPU p95 200m, peak 400m; memory p95 200.0Mi, peak 220.0Mi, no OOM kills; 1390" in said.out
    assert "14.0 days of history" in said.out
    assert "digests of 15 days, 14 to 0 days before" in said.out
    fitted = constants()["balanced"]
    told = f"\nconstants: cpu_above_peak {fitted.cpu_above_peak:g}, cpu_half_life {fitted.cpu_half_life:g}, "
    assert (told in said.out) == (strategy == "balanced")
    (row,) = [line for line in lines if line.startswith(" CPU request")]
    sentence = {
        "percentile": "1    230m      230m            yes    CPU request 1 -> 230m: p95 over 5-minute windows"
        " is 200m in its one pod, plus 15%",
        "balanced": f"CPU request 1 -> {round_cpu(200 + fitted.cpu_pad * 1000)}m: balanced: the"
        f" p{fitted.cpu_quantile * 100:g} of 14 days",
    }
    assert sentence[strategy] in row
    assert lines[-1] == "equal: all 25 figures, computed again from the report alone"
    assert not any(line != line.rstrip() for line in lines)


def test_for_programs_there_is_all_of_it(explain: Explain, mongo: Mongo, object_store: S3ObjectStore) -> None:
    scanned(mongo, object_store)
    item = document(mongo, "web")
    said = explain(item.id[:20], "--format", "json")
    assert said.code == 0
    told = json.loads(said.out)
    assert (told["recommendation"], told["equal"], told["not_computed"]) == (item.id, True, None)
    assert told["entry"]["containers"][0]["usage"]["cpu_p95_m"] == 617.2
    assert told["settings"]["cpu_headroom"] == 1.15
    assert told["rates"]["core_hour"] == {"amount": "0.031611", "currency": "USD"}
    assert told["figures"][1] == {
        "container": "app",
        "name": "cpu_request_m",
        "stored": 710,
        "again": 710,
        "equal": True,
    }
    assert {each["equal"] for each in (*told["figures"], *told["document"])} == {True}


def test_a_figure_that_does_not_come_out_again_is_named(
    explain: Explain, mongo: Mongo, object_store: S3ObjectStore
) -> None:
    scanned(mongo, object_store)

    def change(report: dict[str, object]) -> None:
        container = report["workloads"][0]["containers"][0]  # type: ignore[index]
        container["proposed"]["cpu_request_m"] = 500

    rewritten(mongo, object_store, change)
    said = explain("shop/Deployment/cart")
    assert said.code == 1
    assert said.out.splitlines()[-2:] == [
        "differs: of the recommendation containers: not as the report has it",
        "differs: 1 of 25 figures computed again: app: cpu_request_m",
    ]
    assert explain("shop/Deployment/web").code == 0


def test_what_another_engine_made_is_told_and_not_computed(
    explain: Explain, mongo: Mongo, object_store: S3ObjectStore
) -> None:
    scanned(mongo, object_store)
    rewritten(mongo, object_store, lambda report: report.update(engine="percentile/0"))
    said = explain("shop/Deployment/cart")
    assert said.code == 1
    assert "CPU request 1 -> 230m: p95" in said.out
    assert said.out.splitlines()[-1] == (
        "not computed again: engine percentile/0 made the report, and this code is percentile/8"
    )


def test_what_policy_and_git_made_of_it_is_told_afterwards(
    explain: Explain, mongo: Mongo, object_store: S3ObjectStore
) -> None:
    scanned(mongo, object_store)
    item = document(mongo)
    judged = judge(item.proposal, [])
    mongo.database["recommendations"].update_one(
        {"_id": item.id},
        {
            "$set": {
                "containers": [each.model_dump(mode="json") for each in judged.containers],
                "verdicts": [each.model_dump(mode="json") for each in judged.verdicts],
                "not_in_git": ["istio-proxy"],
            }
        },
    )
    said = explain("shop/Deployment/cart")
    assert said.code == 0
    assert "afterwards: istio-proxy: left as it is: its manifest in Git does not have it" in said.out
    assert (
        "afterwards: app: CPU request 230m -> 500m, clamped by policy default v1, max_step_down_percent"
        in said.out
    )
    told = json.loads(explain("shop/Deployment/cart", "--format", "json").out)
    assert told["policy"][0] == {
        "container": "app",
        "name": "cpu_request_m",
        "proposed": 230,
        "judged": 500,
        "by": ["default v1, max_step_down_percent"],
    }


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("shop/Deployment/none", "there is none for shop/Deployment/none in cluster local"),
        ("shop/cart", "'shop/cart' is not NAMESPACE/KIND/NAME"),
        ("cart", "'cart' is neither the beginning of an id (hex digits) nor NAMESPACE/KIND/NAME"),
        ("f" * 64, f"there is none whose id begins with {'f' * 64}"),
    ],
)
def test_a_question_about_nothing_is_one_line(explain: Explain, question: str, why: str) -> None:
    said = explain(question)
    assert (said.code, said.out) == (2, "")
    assert said.err == f"kubefinops: RECOMMENDATION: {why}\n"


def test_the_beginning_of_several_ids_is_not_enough(
    explain: Explain, mongo: Mongo, object_store: S3ObjectStore
) -> None:
    scanned(mongo, object_store)
    one, other = (document(mongo, name) for name in ("cart", "web"))
    twin = f"{one.id[:6]}{other.id[6:]}"
    found = mongo.database["recommendations"].find_one({"_id": other.id})
    assert found is not None
    mongo.database["recommendations"].delete_one({"_id": other.id})
    mongo.database["recommendations"].insert_one({**found, "_id": twin})
    said = explain(one.id[:5])
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert f"several ids begin with {one.id[:5]}: " in said.err
    assert f"{one.id[:13]} (shop/Deployment/cart)" in said.err
    assert explain(one.id[:7] if one.id[6] != other.id[6] else one.id).code == 0


def test_a_report_that_is_gone_or_another_one_is_one_line(
    explain: Explain, mongo: Mongo, object_store: S3ObjectStore
) -> None:
    scanned(mongo, object_store)
    item = document(mongo)

    def point(**report: str) -> Said:
        update = {f"proposal.report.{name}": value for name, value in report.items()}
        mongo.database["recommendations"].update_one({"_id": item.id}, {"$set": update})
        said = explain("shop/Deployment/cart")
        assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
        return said

    assert "is not what was stored: its sha256 is not 0000" in point(sha256="0" * 64).err
    of_web = document(mongo, "web").proposal.report
    assert "has nothing about shop/Deployment/cart at /workloads/1" in (
        point(sha256=of_web.sha256, pointer="/workloads/1").err
    )
    assert "there is no s3://" in point(key="reports/none.json").err


def test_a_server_that_is_down_is_one_line_that_names_its_variable(
    explain: Explain, mongo: Mongo, object_store: S3ObjectStore
) -> None:
    scanned(mongo, object_store)
    away = f"mongodb://{NOBODY}/?serverSelectionTimeoutMS=300"
    for said, variable in (
        (explain("shop/Deployment/cart", MONGODB_URI=away), "MONGODB_URI"),
        (explain("shop/Deployment/cart", S3_ENDPOINT=f"http://{NOBODY}"), "S3_ENDPOINT"),
    ):
        assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
        assert variable in said.err
        assert NOBODY in said.err
