"""What `knative/` says, and how the emulator reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.cli.config import settings_of
from infra.emulator import functions
from infra.emulator.manifests import (
    KafkaTopic,
    ManifestError,
    Manifests,
    Reference,
    Scaling,
    Service,
    delivery,
    read,
    render,
    seconds,
)
from infra.emulator.servers.errors import SetupError
from shared.contracts.topics import PRODUCT_TOPICS, Topic

KNATIVE = Path(__file__).parents[2] / "knative"
STAGES = ["argocd", "audit", "exporter", "gitops", "policy", "receiver", "recommender"]


@pytest.fixture(scope="module", params=["local", "production"])
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return read(render(KNATIVE / "overlays" / request.param))


def test_every_stage_is_a_service(manifests: Manifests) -> None:
    assert sorted(service.name for service in manifests.services) == STAGES
    for service in manifests.services:
        assert service.env["FUNCTION_TARGET"] == service.name
        assert service.env["KAFKA_BOOTSTRAP_SERVERS"]
        assert service.readiness_path == "/health/readiness"
    assert manifests.service("exporter").env["FUNCTION_SIGNATURE_TYPE"] == "http"


def test_every_trigger_of_the_loop_is_a_source_of_its_own(manifests: Manifests) -> None:
    triggers = {
        (source.sink.name, *source.topics)
        for source in manifests.kafka_sources
        if isinstance(source.sink, Reference)
    }
    assert triggers == {
        ("recommender", "scan.requested"),
        ("policy", "recommendation.created"),
        ("gitops", "recommendation.approved"),
        ("gitops", "reconcile.requested"),
        ("argocd", "gitops.pr.created"),
        ("argocd", "reconcile.requested"),
        *(("audit", topic.value) for topic in PRODUCT_TOPICS),
    }


def test_topics_are_those_of_the_contract_and_their_dead_letters(manifests: Manifests) -> None:
    assert {topic.name for topic in manifests.kafka_topics} == {
        name for topic in Topic for name in (topic.value, topic.dead_letters)
    }


def test_dead_letters_of_a_topic_go_to_its_dead_letter_topic(manifests: Manifests) -> None:
    for source in manifests.kafka_sources:
        assert isinstance(source.delivery.dead_letter_sink, Reference)
        sink = manifests.kafka_sink(source.delivery.dead_letter_sink)
        assert [sink.topic] == [f"{topic}.dlq" for topic in source.topics]


def test_ticks_ask_the_receiver_for_a_scan_and_a_reconciliation(manifests: Manifests) -> None:
    assert {source.name: source.data for source in manifests.ping_sources} == {
        "scan": b'{"action":"scan"}',
        "reconcile": b'{"action":"reconcile"}',
    }
    assert {source.sink for source in manifests.ping_sources} == {
        Reference("Service", "kubefinops", "receiver")
    }


def test_the_example_of_the_secret_has_every_key_that_a_stage_takes(manifests: Manifests) -> None:
    example = yaml.safe_load((KNATIVE / "overlays/production/secret.example.yaml").read_text())
    taken = {reference for service in manifests.services for reference in service.secrets.values()}
    taken |= {("kubefinops-secrets", name) for service in manifests.services for name in service.optional}
    assert taken == {(example["metadata"]["name"], key) for key in example["stringData"]}


def test_every_setting_in_the_config_map_is_one_that_the_code_reads() -> None:
    config_map = next(each for each in render(KNATIVE / "overlays/production") if each["kind"] == "ConfigMap")
    read_by_code = {each.name for stage in STAGES for each in settings_of(stage).variables().values()}
    assert set(config_map["data"]) <= read_by_code


def test_no_secret_is_rendered() -> None:
    assert [each for each in render(KNATIVE / "overlays/production") if each["kind"] == "Secret"] == []


@pytest.mark.parametrize(
    ("duration", "expected"),
    [("PT0.3S", 0.3), ("PT1S", 1), ("PT2M", 120), ("PT1H30M", 5400), ("P1DT1S", 86_401), ("P1W", 604_800)],
)
def test_iso_8601_durations_are_seconds(duration: str, expected: float) -> None:
    assert seconds(duration) == pytest.approx(expected)


@pytest.mark.parametrize("duration", ["", "P", "PT", "1s", "PT1", "P1DT", "PT1S ", "pt1s", "PT1M1H", "P1M"])
def test_what_is_no_duration_is_refused(duration: str) -> None:
    with pytest.raises(ValueError, match="ISO 8601"):
        seconds(duration)


def test_a_delivery_block_is_read_as_the_dispatcher_takes_it() -> None:
    nothing, empty = delivery(None, "ns"), delivery({}, "ns")
    assert (nothing.retry, nothing.backoff_policy, nothing.backoff_delay) == (10, "exponential", 0.3)
    assert (nothing.timeout, nothing.dead_letter_sink) == (600.0, None)
    assert (empty.retry, empty.backoff_delay, empty.timeout) == (0, 0.0, 600.0)
    full = delivery(
        {
            "retry": 4,
            "backoffPolicy": "linear",
            "backoffDelay": "PT0.5S",
            "timeout": "PT9S",
            "deadLetterSink": {"ref": {"kind": "KafkaSink", "name": "t-dlq"}},
        },
        "ns",
    )
    assert full.dead_letter_sink == Reference("KafkaSink", "ns", "t-dlq")
    assert (full.timeout, full.budget) == (9.0, 5.0)


def kafka_source(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "sources.knative.dev/v1",
        "kind": "KafkaSource",
        "metadata": {"name": "x", "namespace": "ns"},
        "spec": {
            "topics": ["t"],
            "consumerGroup": "g",
            "sink": {"uri": "http://127.0.0.1:1/"},
            **spec,
        },
    }


def test_a_source_defaults_to_latest_and_ordered_as_knative_does() -> None:
    source = read([kafka_source()]).kafka_sources[0]
    assert (source.initial_offset, source.ordering) == ("latest", "ordered")
    assert source.sink == "http://127.0.0.1:1/"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"consumers": 0}, "KafkaSource x: consumers: 0 is no number from 1"),
        ({"initialOffset": "newest"}, "KafkaSource x: initialOffset: 'newest' is none of earliest, latest"),
        ({"ordering": "random"}, "KafkaSource x: ordering: 'random'"),
        ({"delivery": {"backoffDelay": "1s"}}, "KafkaSource x: '1s' is no ISO 8601 duration"),
        ({"sink": {}}, "KafkaSource x: uri is missing"),
    ],
)
def test_a_manifest_that_cannot_be_acted_on_is_named(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read([kafka_source(**spec)])


def test_a_source_is_scaled_where_keda_is_asked_for_with_knatives_defaults() -> None:
    prefix = "autoscaling.eventing.knative.dev/"
    document = kafka_source()
    assert read([document]).kafka_sources[0].scaling is None
    document["metadata"]["annotations"] = {f"{prefix}class": "keda.autoscaling.knative.dev"}
    assert read([document]).kafka_sources[0].scaling == Scaling()
    document["metadata"]["annotations"] |= {f"{prefix}max-scale": "4", f"{prefix}lag-threshold": "7"}
    assert read([document]).kafka_sources[0].scaling == Scaling(most=4, lag_threshold=7)
    document["metadata"]["annotations"] |= {f"{prefix}lag-threshold": "0"}
    with pytest.raises(ManifestError, match=r"KafkaSource x: .*lag-threshold: '0' is no such number"):
        read([document])


def test_an_overlay_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="nowhere: cannot be rendered"):
        render(tmp_path / "nowhere")


def test_a_topic_may_have_another_name_in_the_broker() -> None:
    topic = {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaTopic",
        "metadata": {"name": "a-b"},
        "spec": {"topicName": "A_B", "partitions": 3},
    }
    assert read([topic]).kafka_topics == (KafkaTopic("A_B", 3),)


# The environment of a function.

SERVICE = Service(
    namespace="ns",
    name="policy",
    env={"PROMETHEUS_URL": "http://in-cluster", "THREADS": "8"},
    secrets={"MONGODB_URI": ("kubefinops-secrets", "MONGODB_URI")},
    readiness_path="/health/readiness",
    container_concurrency=8,
    timeout=120,
)
KNOWN = {*SERVICE.variables, "GITHUB_TOKEN"}


def test_overrides_replace_what_the_manifest_gives() -> None:
    env = functions.environment(
        SERVICE, KNOWN, {"PROMETHEUS_URL": "http://127.0.0.1:9090", "MONGODB_URI": "mongodb://127.0.0.1"}
    )
    assert env == {
        "PROMETHEUS_URL": "http://127.0.0.1:9090",
        "THREADS": "8",
        "MONGODB_URI": "mongodb://127.0.0.1",
    }


def test_a_secret_of_another_stage_is_withheld_and_the_emulators_own_variable_is_not() -> None:
    env = functions.environment(
        SERVICE, KNOWN, {"MONGODB_URI": "m", "GITHUB_TOKEN": "secret", "COVERAGE_FILE": "x"}
    )
    assert "GITHUB_TOKEN" not in env
    assert env["COVERAGE_FILE"] == "x"


def test_a_secret_without_a_value_is_one_clear_line() -> None:
    with pytest.raises(SetupError, match=r"policy: MONGODB_URI comes from .* set MONGODB_URI"):
        functions.environment(SERVICE, KNOWN, {})
