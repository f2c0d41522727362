"""Each finding of the linter, made by breaking the production overlay in one place."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.emulator import cron
from infra.emulator.linter import lint
from infra.emulator.linter.__main__ import main
from infra.emulator.manifests import render

KNATIVE = Path(__file__).parents[2] / "knative"
Objects = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def rendered() -> list[Any]:
    return render(KNATIVE / "overlays" / "production")


def findings(rendered: list[Any], change: Callable[[Objects], object]) -> list[str]:
    documents = copy.deepcopy(rendered)
    change({(each["kind"], each["metadata"]["name"]): each for each in documents})
    return [str(finding) for finding in lint(documents)]


@pytest.mark.parametrize("overlay", ["local", "production"])
def test_our_overlays_have_no_findings(overlay: str) -> None:
    assert lint(render(KNATIVE / "overlays" / overlay)) == []


SOURCE = ("KafkaSource", "policy-recommendation-created")
SINK = ("KafkaSink", "recommendation-created-dlq")
PING = ("PingSource", "scan")
POLICY = ("Service", "policy")
TOPIC = ("KafkaTopic", "recommendation.created")


def source(objects: Objects) -> dict[str, Any]:
    spec: dict[str, Any] = objects[SOURCE]["spec"]
    return spec


def revision(objects: Objects) -> dict[str, Any]:
    spec: dict[str, Any] = objects[POLICY]["spec"]["template"]["spec"]
    return spec


def env(objects: Objects, name: str) -> dict[str, Any]:
    container = revision(objects)["containers"][0]
    found: dict[str, Any] = next(each for each in container["env"] if each["name"] == name)
    return found


def annotate(objects: Objects, name: str, value: str) -> None:
    objects[SOURCE]["metadata"]["annotations"][f"autoscaling.eventing.knative.dev/{name}"] = value


BROKEN: list[tuple[str, Callable[[Objects], object]]] = [
    ("there is no delivery block", lambda it: source(it).pop("delivery")),
    ("delivery.retry is missing", lambda it: source(it)["delivery"].pop("retry")),
    ("delivery.backoffPolicy is missing", lambda it: source(it)["delivery"].pop("backoffPolicy")),
    ("delivery.backoffDelay is missing", lambda it: source(it)["delivery"].pop("backoffDelay")),
    ("delivery.timeout is missing", lambda it: source(it)["delivery"].pop("timeout")),
    ("delivery.deadLetterSink is missing", lambda it: source(it)["delivery"].pop("deadLetterSink")),
    (
        "delivery.backoffPolicy is 'quadratic', not linear or exponential",
        lambda it: source(it)["delivery"].update(backoffPolicy="quadratic"),
    ),
    (
        "delivery.backoffDelay: '1s' is no ISO 8601 duration",
        lambda it: source(it)["delivery"].update(backoffDelay="1s"),
    ),
    (
        "delivery.timeout: '150' is no ISO 8601 duration",
        lambda it: source(it)["delivery"].update(timeout="150"),
    ),
    (
        "delivery.backoffDelay is PT0S, not above zero",
        lambda it: source(it)["delivery"].update(backoffDelay="PT0S"),
    ),
    ("retries end after 6 s", lambda it: source(it)["delivery"].update(retry=3)),
    (
        "delivery.deadLetterSink refers to KafkaSink nowhere, which is not in the overlay",
        lambda it: source(it)["delivery"]["deadLetterSink"]["ref"].update(name="nowhere"),
    ),
    (
        "dead letters of recommendation.created go to change.failed.dlq",
        lambda it: source(it)["delivery"]["deadLetterSink"]["ref"].update(name="change-failed-dlq"),
    ),
    ("consumerGroup is not pinned", lambda it: source(it).pop("consumerGroup")),
    (
        "is shared by 2 KafkaSources",
        lambda it: source(it).update(consumerGroup="kubefinops-recommender-scan-requested"),
    ),
    ("initialOffset is missing", lambda it: source(it).pop("initialOffset")),
    ("initialOffset is 'latest'", lambda it: source(it).update(initialOffset="latest")),
    ("ordering is 'sorted'", lambda it: source(it).update(ordering="sorted")),
    (
        "topic recomendation.created has no KafkaTopic",
        lambda it: source(it).update(topics=["recomendation.created"]),
    ),
    ("sink is missing", lambda it: source(it).pop("sink")),
    (
        "sink refers to Service polcy, which is not in the overlay",
        lambda it: source(it)["sink"]["ref"].update(name="polcy"),
    ),
    (
        "sink exporter is an http function",
        lambda it: source(it)["sink"]["ref"].update(name="exporter"),
    ),
    (
        "bootstrapServers is other:9092, but functions publish to kafka-kafka-bootstrap.kafka:9092",
        lambda it: source(it).update(bootstrapServers=["other:9092"]),
    ),
    ("is none that is read", lambda it: annotate(it, "minscale", "1")),
    ("is 'many', not a whole number", lambda it: annotate(it, "max-scale", "many")),
    ("min-scale 9 is above max-scale 4", lambda it: annotate(it, "min-scale", "9")),
    ("topic lost.dlq has no KafkaTopic", lambda it: it[SINK]["spec"].update(topic="lost.dlq")),
    ("contentMode is 'batch'", lambda it: it[SINK]["spec"].update(contentMode="batch")),
    ("schedule: minute: '75' is not within 0-59", lambda it: it[PING]["spec"].update(schedule="75 * * * *")),
    ("data has no contentType", lambda it: it[PING]["spec"].pop("contentType")),
    ("data is no JSON", lambda it: it[PING]["spec"].update(data="{action: scan}")),
    (
        "sink refers to Service reciever, which is not in the overlay",
        lambda it: it[PING]["spec"]["sink"]["ref"].update(name="reciever"),
    ),
    ("FUNCTION_TARGET is missing", lambda it: env(it, "FUNCTION_TARGET").pop("value")),
    (
        "FUNCTION_SIGNATURE_TYPE is 'event'",
        lambda it: env(it, "FUNCTION_SIGNATURE_TYPE").update(value="event"),
    ),
    (
        "containerConcurrency is 80, but the server has THREADS=8",
        lambda it: revision(it).update(containerConcurrency=80),
    ),
    (
        "readinessProbe asks no path of its own",
        lambda it: revision(it)["containers"][0]["readinessProbe"]["httpGet"].update(path="/"),
    ),
    (
        "livenessProbe asks no path of its own",
        lambda it: revision(it)["containers"][0].pop("livenessProbe"),
    ),
    (
        "ConfigMap kubefinops is not in the overlay",
        lambda it: it[("ConfigMap", "kubefinops")].update(kind="X"),
    ),
    (
        "ConfigMap kubefinops has no NOWHERE",
        lambda it: revision(it)["containers"][0]["env"].append(
            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "kubefinops", "key": "NOWHERE"}}}
        ),
    ),
    (
        "THREADED_TIMEOUT_ENABLED closes kept connections",
        lambda it: revision(it)["containers"][0]["env"].append(
            {"name": "THREADED_TIMEOUT_ENABLED", "value": "true"}
        ),
    ),
    (
        "the function's own request timeout 180 is not below timeoutSeconds 20",
        lambda it: revision(it).update(timeoutSeconds=20),
    ),
    (
        "timeoutSeconds 200 is not below delivery.timeout 100 of KafkaSource policy-recommendation-created",
        lambda it: source(it)["delivery"].update(timeout="PT100S"),
    ),
    ("timeoutSeconds 900 is above Knative's maximum", lambda it: revision(it).update(timeoutSeconds=900)),
    (
        "min-scale 20 is above max-scale 10",
        lambda it: it[POLICY]["spec"]["template"]["metadata"]["annotations"].update(
            {"autoscaling.knative.dev/min-scale": "20"}
        ),
    ),
    ("topic change.failed is there twice", lambda it: it[TOPIC]["spec"].update(topicName="change.failed")),
    (
        "min.insync.replicas 2 is above replicas 1",
        lambda it: it[TOPIC]["spec"].update(replicas=1),
    ),
    (
        "emulator: KafkaTopic recommendation.created: partitions is missing",
        lambda it: it[TOPIC]["spec"].pop("partitions"),
    ),
]


@pytest.mark.parametrize(("what", "change"), BROKEN, ids=[what for what, _ in BROKEN])
def test_a_broken_manifest_is_found(
    rendered: list[Any], what: str, change: Callable[[Objects], object]
) -> None:
    found = findings(rendered, change)
    assert any(what in finding for finding in found), found


def test_a_single_fault_makes_a_single_finding(rendered: list[Any]) -> None:
    assert findings(rendered, lambda it: source(it).update(initialOffset="latest")) == [
        "KafkaSource policy-recommendation-created: initialOffset is 'latest': only earliest skips nothing"
    ]


def test_the_command_prints_findings_and_says_so_by_its_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [source.yaml]\n")
    (tmp_path / "source.yaml").write_text(
        "apiVersion: sources.knative.dev/v1\nkind: KafkaSource\nmetadata: {name: x}\nspec: {topics: []}\n"
    )
    assert main([str(KNATIVE / "overlays" / "production")]) == 0
    assert main([str(tmp_path)]) == 1
    assert f"{tmp_path}: KafkaSource x: there is no delivery block" in capsys.readouterr().out
    assert main([str(tmp_path / "nowhere")]) == 2


@pytest.mark.parametrize(
    "schedule",
    [
        "* * * * *",
        "7 * * * *",
        "*/15 0-6,18-23 ? JAN-MAR mon-fri",
        "0 0 1 1 0",
        "5 * * * * *",
        "@hourly",
        "1-9/2 * * * *",
    ],
)
def test_schedules_that_knative_takes(schedule: str) -> None:
    cron.check(schedule)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("* 24 * * *", "hour: '24' is not within 0-23"),
        ("* * 0 * *", "day of month: '0'"),
        ("* * * 13 *", "month: '13'"),
        ("* * * * 7", "day of week: '7' is not within 0-6"),
        ("9-3 * * * *", "ends before it begins"),
        ("*/0 * * * *", "step of 0"),
        ("a * * * *", "'a' is no number"),
        ("1,, * * * *", "no value, range or step"),
        ("*-3 * * * *", "is no range"),
        ("@every 5s", "none of @annually"),
    ],
)
def test_schedules_that_knative_refuses(schedule: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cron.check(schedule)
