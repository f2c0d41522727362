"""The rendered objects of one overlay, and how they refer to one another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from infra.emulator.manifests import Document, group_of, namespace_of


class Overlay:
    """The rendered objects of one overlay, found by kind and by reference."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = documents
        self.topics = [topic_name(each) for each in self.of("kafka.strimzi.io", "KafkaTopic")]

    def of(self, group: str, kind: str) -> list[Document]:
        return [each for each in self.documents if group_of(each) == group and each.get("kind") == kind]

    def referred(self, ref: Document, namespace: str) -> Document | None:
        """The object that a `ref` held in `namespace` means; None if the overlay has none such."""
        wanted = (
            str(ref.get("apiVersion", "")).partition("/")[0],
            ref.get("kind"),
            ref.get("namespace", namespace),
            ref.get("name"),
        )
        for each in self.documents:
            if wanted == (group_of(each), each["kind"], namespace_of(each), each["metadata"]["name"]):
                return each
        return None

    def named(self, kind: str, namespace: str, name: str) -> Document | None:
        """A core object, such as a ConfigMap."""
        return self.referred({"apiVersion": "", "kind": kind, "name": name}, namespace)


def check_sink(destination: Any, field: str, namespace: str, overlay: Overlay) -> Iterator[str]:
    if not destination or not ("ref" in destination or "uri" in destination):
        yield f"{field} is missing"
    elif "ref" in destination and overlay.referred(destination["ref"], namespace) is None:
        ref = destination["ref"]
        yield f"{field} refers to {ref.get('kind')} {ref.get('name')}, which is not in the overlay"


def service_behind(destination: Any, namespace: str, overlay: Overlay) -> Document | None:
    found = overlay.referred((destination or {}).get("ref", {}), namespace)
    return found if found is not None and group_of(found) == "serving.knative.dev" else None


def variables_of(service: Document, overlay: Overlay | None = None) -> dict[str, str]:
    """The literal variables of a Service; with an overlay those of its ConfigMaps too."""
    container = service["spec"]["template"]["spec"]["containers"][0]
    variables: dict[str, str] = {}
    if overlay is not None:
        for each in container.get("envFrom", ()):
            name = each.get("configMapRef", {}).get("name", "")
            variables |= (overlay.named("ConfigMap", namespace_of(service), name) or {}).get("data", {})
    return variables | {each["name"]: each["value"] for each in container.get("env", ()) if "value" in each}


def check_bootstrap(holder: Document, overlay: Overlay) -> Iterator[str]:
    servers = ",".join(holder["spec"].get("bootstrapServers") or ())
    given = {
        address
        for service in overlay.of("serving.knative.dev", "Service")
        if (address := variables_of(service, overlay).get("KAFKA_BOOTSTRAP_SERVERS")) is not None
    }
    for address in sorted(given - {servers}):
        yield f"bootstrapServers is {servers or 'missing'}, but functions publish to {address}"


def shown(fields: Mapping[str, Any], name: str) -> str:
    return repr(fields[name]) if name in fields else "missing"


def topic_name(topic: Document) -> str:
    """The name of a KafkaTopic in the broker."""
    return str(topic["spec"].get("topicName", topic["metadata"]["name"]))
