"""Checks of KafkaSources, KafkaSinks and PingSources."""

from __future__ import annotations

import json
from collections.abc import Iterator

from infra.emulator import cron
from infra.emulator.linter.overlay import (
    Overlay,
    check_bootstrap,
    check_sink,
    service_behind,
    shown,
    variables_of,
)
from infra.emulator.manifests import AUTOSCALING, SCALING_NUMBERS, Document, delivery, namespace_of, seconds

# Seconds of outage that events must survive before they end as dead letters.
SURVIVED_OUTAGE = 300.0
# Every field of the block, and what its absence does.
DELIVERY_FIELDS = {
    "retry": "there are no retries",
    "backoffPolicy": "it is left to the installed release",
    "backoffDelay": "retries follow at once",
    "timeout": "a request may take 600 s",
    "deadLetterSink": "what is refused is lost",
}


def check_kafka_source(source: Document, overlay: Overlay) -> Iterator[str]:
    """What is wrong with a KafkaSource."""
    spec, namespace = source["spec"], namespace_of(source)
    if not spec.get("consumerGroup"):
        yield "consumerGroup is not pinned: the generated one is new with the object and reads all again"
    if spec.get("initialOffset") != "earliest":
        yield f"initialOffset is {shown(spec, 'initialOffset')}: only earliest skips nothing"
    if spec.get("ordering") not in ("ordered", "unordered"):
        yield f"ordering is {shown(spec, 'ordering')}, not ordered or unordered"
    yield from check_bootstrap(source, overlay)
    for topic in spec.get("topics", ()):
        if topic not in overlay.topics:
            yield f"topic {topic} has no KafkaTopic"
    yield from check_sink(spec.get("sink"), "sink", namespace, overlay)
    sink = service_behind(spec.get("sink"), namespace, overlay)
    if sink is not None and variables_of(sink).get("FUNCTION_SIGNATURE_TYPE") == "http":
        yield f"sink {sink['metadata']['name']} is an http function and takes no events"
    yield from _autoscaling(source)
    yield from _delivery(source, overlay)


def _delivery(source: Document, overlay: Overlay) -> Iterator[str]:
    block = source["spec"].get("delivery")
    if block is None:
        yield "there is no delivery block: 10 retries, then the event is lost"
        return
    for field, consequence in DELIVERY_FIELDS.items():
        if field not in block:
            yield f"delivery.{field} is missing: {consequence}"
    yield from _retries(block, namespace_of(source))
    if "deadLetterSink" in block:
        namespace = namespace_of(source)
        yield from check_sink(block["deadLetterSink"], "delivery.deadLetterSink", namespace, overlay)
        yield from _dead_letter_topic(source, overlay)


def _retries(block: Document, namespace: str) -> Iterator[str]:
    if block.get("backoffPolicy", "linear") not in ("linear", "exponential"):
        yield f"delivery.backoffPolicy is {block['backoffPolicy']!r}, not linear or exponential"
    for field in ("backoffDelay", "timeout"):
        try:
            if field in block and seconds(str(block[field])) <= 0:
                yield f"delivery.{field} is {block[field]}, not above zero"
        except ValueError as error:
            yield f"delivery.{field}: {error}"
    try:
        budget = delivery(block, namespace).budget
    except (KeyError, TypeError, ValueError):
        return  # said above
    if budget < SURVIVED_OUTAGE:
        yield f"retries end after {budget:g} s; outages of {SURVIVED_OUTAGE:g} s must be survived"


def _dead_letter_topic(source: Document, overlay: Overlay) -> Iterator[str]:
    ref = source["spec"]["delivery"]["deadLetterSink"].get("ref", {})
    sink = overlay.referred(ref, namespace_of(source))
    if sink is None or sink["kind"] != "KafkaSink":
        return
    for topic in source["spec"].get("topics", ()):
        if sink["spec"].get("topic") != f"{topic}.dlq":
            yield f"dead letters of {topic} go to {sink['spec'].get('topic')}, not to {topic}.dlq"


def _autoscaling(source: Document) -> Iterator[str]:
    annotations = source["metadata"].get("annotations") or {}
    scale: dict[str, int] = {}
    for annotation, value in annotations.items():
        if not annotation.startswith(AUTOSCALING) or annotation == AUTOSCALING + "class":
            continue
        name = annotation.removeprefix(AUTOSCALING)
        if name not in SCALING_NUMBERS:
            yield f"annotation {annotation} is none that is read"
        elif not str(value).isdecimal():
            yield f"annotation {annotation} is {value!r}, not a whole number"
        else:
            scale[name] = int(value)
    if scale.get("min-scale", 0) > scale.get("max-scale", scale.get("min-scale", 0)):
        yield f"min-scale {scale['min-scale']} is above max-scale {scale['max-scale']}"


def check_kafka_sink(sink: Document, overlay: Overlay) -> Iterator[str]:
    """What is wrong with a KafkaSink."""
    yield from check_bootstrap(sink, overlay)
    topic = sink["spec"].get("topic")
    if topic not in overlay.topics:
        yield f"topic {topic} has no KafkaTopic"
    if sink["spec"].get("contentMode", "binary") not in ("binary", "structured"):
        yield f"contentMode is {sink['spec']['contentMode']!r}, not binary or structured"


def check_ping_source(source: Document, overlay: Overlay) -> Iterator[str]:
    """What is wrong with a PingSource."""
    spec = source["spec"]
    try:
        cron.check(str(spec.get("schedule", "")))
    except ValueError as error:
        yield f"schedule: {error}"
    if spec.get("data") and spec.get("contentType") is None:
        yield "data has no contentType"
    if spec.get("contentType") == "application/json":
        try:
            json.loads(spec.get("data") or "")
        except ValueError as error:
            yield f"data is no JSON: {error}"
    yield from check_sink(spec.get("sink"), "sink", namespace_of(source), overlay)
