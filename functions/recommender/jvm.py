"""Which containers run a Java virtual machine, and what Prometheus tells of its memory.

What a JVM takes follows its flags (-Xmx, MaxRAMPercentage) rather than its need, so that little can be
concluded from it. Neither flags nor the environment (JAVA_TOOL_OPTIONS) are in Prometheus; names of images
are, the JVM's own metrics where they are scraped, and annotations where kube-state-metrics may export them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from functions.recommender import jvm_annotations
from functions.recommender.jvm_annotations import Said, said
from functions.recommender.queries import ANNOTATIONS, INIT_INFO, JVM_MAX, JVM_USED, is_sidecar
from shared.contracts.quantities import within

if TYPE_CHECKING:
    from shared.contracts.prometheus import Series

Pod = tuple[str, str]  # namespace, name

# Runtimes. Each is a whole word of an image's name or tag, with a version or without: `shop:1.4-jre21`, but
# not `javascript`.
_RUNTIME = re.compile(
    r"(java|jvm|jre|jdk|openjdk|jmx|temurin|corretto|amazoncorretto|adoptopenjdk|zulu|liberica|semeru|ibmjava"
    r"|sapmachine|dragonwell|graalvm|springboot)(\d+(u\d*)?)?"
)
# Programs that run on one, looked for in the name alone.
_PROGRAM = re.compile(
    r"(tomcat|tomee|jetty|wildfly|jboss|payara|glassfish|weblogic|websphere|liberty|quarkus|keycloak"
    r"|elasticsearch|opensearch|logstash|solr|kafka|kafdrop|ksqldb|debezium|zookeeper|cassandra|activemq"
    r"|artemis|pulsar|hadoop|hbase|hive|spark|flink|trino|presto|druid|pinot|nifi|neo4j|hazelcast"
    r"|infinispan|jenkins|sonarqube|nexus3|artifactory|confluence|jira|teamcity|metabase)\d*"
)
# What goes by such a program's name and is something else, most often in Go, Python or JavaScript.
_COMPANION = re.compile(r"exporter|operator|proxy|dashboards|curator|gatekeeper|medusa|native")
# A mesh's proxy hands on the metrics of the container beside it, under its own name.
_PROXIES = frozenset({"istio-proxy", "linkerd-proxy"})

# Bytes by memory pool, of each metric and area; the pool of an area's whole is "".
Told = dict[tuple[str, str], dict[str, float]]


@dataclass(frozen=True)
class Jvm:
    """A container that runs a JVM: how that is known, its largest heap and its other memory, in bytes.

    `heap_max_bytes` and `non_heap_bytes` (classes and compiled code, as in use now) are those of the worst
    pod, and None where nothing tells them: of the heap metrics or an annotation do, whichever says more, of
    the rest metrics alone. `heap_annotated`: it was the annotation. `wrong` is in words what an annotation
    has that was not understood.
    """

    known_by: str
    heap_max_bytes: int | None = None
    non_heap_bytes: int | None = None
    heap_annotated: bool = False
    wrong: str | None = None


@lru_cache(maxsize=10_000)  # a fleet's containers run few images, each in many pods
def is_jvm(image: str) -> bool:
    """Whether an image's name or tag says that it runs a JVM."""
    name, _, tag = _short(image).lower().partition(":")
    of_name, of_tag = re.findall(r"[a-z0-9]+", name), re.findall(r"[a-z0-9]+", tag)
    if any(_RUNTIME.fullmatch(word) for word in (*of_name, *of_tag)):
        return True
    return any(_PROGRAM.fullmatch(word) for word in of_name) and not any(
        _COMPANION.fullmatch(word) for word in (*of_name, *of_tag)
    )


@dataclass
class Jvms:
    """What is told of JVMs at one moment; what is told twice counts once."""

    _images: dict[Pod, dict[str, set[str]]] = field(default_factory=dict)
    # By pod, then by the container that the scrape names: often none.
    _memory: dict[Pod, dict[str, Told]] = field(default_factory=dict)
    _annotations: dict[Pod, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def of_rows(cls, rows: Iterable[Series]) -> Jvms:
        """From rows of kube_pod_container_info and, of native sidecars, kube_pod_init_container_info, from
        kube_pod_annotations and the JVM's own metrics; others are passed over.
        """
        jvms = cls()
        for row in rows:
            metric, labels = row.labels["__name__"], row.labels
            pod, container = (labels.get("namespace", ""), labels.get("pod", "")), labels.get("container", "")
            if metric == "kube_pod_container_info" or (metric == INIT_INFO and is_sidecar(labels)):
                # The one that runs, and the one that was asked for: by a digest, either may lack the name.
                named = {labels.get("image", ""), labels.get("image_spec", "")}
                jvms._images.setdefault(pod, {}).setdefault(container, set()).update(named)
            elif metric == ANNOTATIONS:
                jvms._annotations[pod] = {
                    name: labels.get(label, "") for name, label in jvm_annotations.LABELS.items()
                }
            elif metric in JVM_MAX + JVM_USED and pod[1]:
                told = jvms._memory.setdefault(pod, {}).setdefault(container, {})
                pools = told.setdefault((metric, labels.get("area", "")), {})
                pool = labels.get("id", "")
                # A maximum that is not defined is -1, or no number.
                if row.value > pools.get(pool, 0.0):
                    pools[pool] = row.value
        return jvms

    def of(self, pods: Iterable[Pod], container: str) -> Jvm | None:
        """The JVM that the container runs in these pods; None where nothing says that it runs one."""
        found = [jvm for pod in pods if (jvm := self._in_pod(pod, container)) is not None]
        if not found:
            return None
        largest = max(found, key=lambda jvm: jvm.heap_max_bytes or 0)
        others = [jvm.non_heap_bytes for jvm in found if jvm.non_heap_bytes is not None]
        return Jvm(
            found[0].known_by,
            largest.heap_max_bytes,
            max(others, default=None),
            largest.heap_annotated,
            next((jvm.wrong for jvm in found if jvm.wrong), None),
        )

    def _in_pod(self, pod: Pod, container: str) -> Jvm | None:
        images, told = self._images.get(pod, {}), self._memory.get(pod, {})
        by_image = {name: min(those) for name, all_ in images.items() if (those := {*filter(is_jvm, all_)})}
        if not by_image and not told and pod not in self._annotations:
            return None  # as of most
        ours = by_image.keys() | {name for name in told if name and name not in _PROXIES}
        if told and not ours:
            # The metrics name no container, or the proxy beside it: any of the others may be theirs.
            ours = images.keys() - _PROXIES
        annotated = said(self._annotations.get(pod, {}), images.keys() - _PROXIES, ours)
        if container not in ours | annotated.keys():
            return None
        known_by = "its metrics" if container in ours else "its annotation"
        if container in by_image:
            known_by = f"image {_short(by_image[container])}"
        mine = list(told.values()) if len(ours) == 1 else []
        if container in told:
            mine = [told[container]]
        measured, told_by_hand = _most(mine, JVM_MAX, "heap"), annotated.get(container, Said())
        heap = max(measured or 0, told_by_hand.heap_max_bytes or 0) or None
        return Jvm(
            known_by,
            heap,
            _most(mine, JVM_USED, "nonheap"),
            heap_annotated=heap is not None and heap == told_by_hand.heap_max_bytes,
            wrong=told_by_hand.wrong,
        )


def _most(told: Iterable[Told], metrics: Iterable[str], area: str) -> int | None:
    """Bytes of an area: its whole, or its pools together; None if nothing tells.

    Two libraries in one JVM, or two scrapes of it, tell the same twice: it is not added.
    """
    amounts = [0.0]
    for each, metric in ((each, metric) for each in told for metric in metrics):
        pools: Mapping[str, float] = each.get((metric, area), {})
        amounts += [pools.get("", 0.0), sum(value for pool, value in pools.items() if pool)]
    return round(within(max(amounts))) or None


def _short(image: str) -> str:
    """Name and tag alone: neither registry, nor folder, nor digest."""
    return image.partition("@")[0].rpartition("/")[2]
