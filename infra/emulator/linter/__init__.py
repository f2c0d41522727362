"""Finds in `knative/` what no CRD schema checks and a cluster would show late, or by losing events.

python -m infra.emulator.linter OVERLAY...   prints one line per finding; exit status 1 if there are any,
2 when an overlay cannot be rendered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from infra.emulator.linter.eventing import check_kafka_sink, check_kafka_source, check_ping_source
from infra.emulator.linter.overlay import Overlay
from infra.emulator.linter.serving import check_service, check_topic
from infra.emulator.manifests import Document, ManifestError, read

__all__ = ["Finding", "lint"]

CHECKS: tuple[tuple[str, str, Callable[[Document, Overlay], Iterator[str]]], ...] = (
    ("sources.knative.dev", "KafkaSource", check_kafka_source),
    ("eventing.knative.dev", "KafkaSink", check_kafka_sink),
    ("sources.knative.dev", "PingSource", check_ping_source),
    ("serving.knative.dev", "Service", check_service),
    ("kafka.strimzi.io", "KafkaTopic", check_topic),
)


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that is wrong: with which object, and what."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def lint(documents: Sequence[Document]) -> list[Finding]:
    """Everything that is wrong with the rendered objects, sorted."""
    overlay = Overlay(documents)
    findings = [
        Finding(f"{kind} {each['metadata']['name']}", what)
        for group, kind, check in CHECKS
        for each in overlay.of(group, kind)
        for what in check(each, overlay)
    ]
    groups = Counter(
        each["spec"].get("consumerGroup") for each in overlay.of("sources.knative.dev", "KafkaSource")
    )
    findings += [
        Finding(f"consumerGroup {group}", f"is shared by {count} KafkaSources, which then share partitions")
        for group, count in groups.items()
        if group and count > 1
    ]
    if not findings:
        try:
            read(documents)
        except ManifestError as error:  # what the emulator cannot act on, and no check above has seen
            findings.append(Finding("emulator", str(error)))
    return sorted(findings)
