"""Checks of Knative Services and Kafka topics."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from infra.emulator.linter.overlay import Overlay, service_behind, shown, topic_name, variables_of
from infra.emulator.manifests import Document, namespace_of, seconds
from shared.adapters.kafka import FLUSH_SECONDS, MESSAGE_TIMEOUT_SECONDS
from shared.runtime.function import REQUEST_SECONDS

# config-defaults of Knative Serving: max-revision-timeout-seconds.
LONGEST_REVISION_TIMEOUT = 600
SIGNATURES = ("cloudevent", "http")


def check_service(service: Document, overlay: Overlay) -> Iterator[str]:
    """What is wrong with a Knative Service."""
    revision = service["spec"]["template"]["spec"]
    container = revision["containers"][0]
    variables = variables_of(service)
    if not variables.get("FUNCTION_TARGET"):
        yield "FUNCTION_TARGET is missing: the image does not know which function to start"
    if variables.get("FUNCTION_SIGNATURE_TYPE") not in SIGNATURES:
        yield f"FUNCTION_SIGNATURE_TYPE is {shown(variables, 'FUNCTION_SIGNATURE_TYPE')}"
    concurrency, threads = revision.get("containerConcurrency"), variables.get("THREADS")
    if str(concurrency) != threads:
        yield f"containerConcurrency is {concurrency}, but the server has THREADS={threads}"
    if variables.get("THREADED_TIMEOUT_ENABLED", "").lower() == "true":
        yield "THREADED_TIMEOUT_ENABLED closes kept connections unannounced: every second event fails once"
    for probe in ("readinessProbe", "livenessProbe"):
        path = container.get(probe, {}).get("httpGet", {}).get("path", "/")
        if path == "/":
            yield f"{probe} asks no path of its own: a CloudEvent function answers 405 to GET /"
    yield from _references(service, container, overlay)
    yield from _nested_timeouts(service, overlay)
    annotations = service["spec"]["template"].get("metadata", {}).get("annotations", {})
    low, high = (int(annotations.get(f"autoscaling.knative.dev/{end}-scale", 0)) for end in ("min", "max"))
    if high and low > high:
        yield f"min-scale {low} is above max-scale {high}"


def _references(service: Document, container: Document, overlay: Overlay) -> Iterator[str]:
    namespace = namespace_of(service)
    wanted = [
        (each["configMapRef"]["name"], None)
        for each in container.get("envFrom", ())
        if "configMapRef" in each
    ]
    for variable in container.get("env", ()):
        ref = variable.get("valueFrom", {}).get("configMapKeyRef")
        if ref is not None:
            wanted.append((ref["name"], ref["key"]))
    for name, key in wanted:
        config_map = overlay.named("ConfigMap", namespace, name)
        if config_map is None:
            yield f"ConfigMap {name} is not in the overlay"
        elif key is not None and key not in config_map.get("data", {}):
            yield f"ConfigMap {name} has no {key}"


def _nested_timeouts(service: Document, overlay: Overlay) -> Iterator[str]:
    """Who works is the first to give up: else an answer finds nobody, and the event is delivered again."""
    timeout = service["spec"]["template"]["spec"].get("timeoutSeconds", 300)
    if timeout > LONGEST_REVISION_TIMEOUT:
        yield f"timeoutSeconds {timeout} is above Knative's maximum of {LONGEST_REVISION_TIMEOUT}"
    nested: list[tuple[str, float]] = [
        ("the Kafka message timeout", MESSAGE_TIMEOUT_SECONDS),
        ("the Kafka flush", FLUSH_SECONDS),
        ("the function's own request timeout", REQUEST_SECONDS),
        ("timeoutSeconds", timeout),
    ]
    for source in overlay.of("sources.knative.dev", "KafkaSource"):
        sink = service_behind(source["spec"].get("sink"), namespace_of(source), overlay)
        try:
            limit = seconds(str((source["spec"].get("delivery") or {})["timeout"]))
        except (KeyError, ValueError):
            continue  # said of the source
        if sink is service and limit <= timeout:
            name = source["metadata"]["name"]
            yield f"timeoutSeconds {timeout:g} is not below delivery.timeout {limit:g} of KafkaSource {name}"
    for (inner, short), (outer, long) in itertools.pairwise(nested):
        if short >= long:
            yield f"{inner} {short:g} is not below {outer} {long:g}"


def check_topic(topic: Document, overlay: Overlay) -> Iterator[str]:
    """What is wrong with a KafkaTopic."""
    spec = topic["spec"]
    name = topic_name(topic)
    if overlay.topics.count(name) > 1:
        yield f"topic {name} is there twice"
    in_sync, replicas = int(spec.get("config", {}).get("min.insync.replicas", 1)), spec.get("replicas", 1)
    if in_sync > replicas:
        yield f"min.insync.replicas {in_sync} is above replicas {replicas}: nothing can be written"
