"""Which containers run a JVM, and what is made of what it tells of its memory."""

from __future__ import annotations

import pytest

from functions.recommender.jvm import Jvm, Jvms, is_jvm
from shared.contracts.prometheus import Series

MIB = 2**20
POD = ("shop", "web-1")


@pytest.mark.parametrize(
    "image",
    [
        "openjdk:17",
        "docker.io/library/eclipse-temurin:21-jre-alpine",
        "amazoncorretto:8u392",
        "azul/zulu-openjdk:11",
        "gcr.io/distroless/java17-debian12@sha256:" + "0" * 64,
        "registry.example:5000/shop/checkout:1.4.2-jdk21",
        "shop/checkout:1.0-jre8u302",
        "quarkus/quarkus-jvm:3",
        "quay.io/keycloak/keycloak:26.0",
        "docker.elastic.co/elasticsearch/elasticsearch:8.15.0",
        "confluentinc/cp-kafka:7.6.0",
        "bitnami/kafka:3.7",
        "provectuslabs/kafka-ui:latest",
        "cassandra",
        "bitnami/jmx-exporter:1.0",
        "tomcat9:latest",
        "sonatype/nexus3",
        "JENKINS/Jenkins:lts-jdk17",
    ],
)
def test_images_of_jvms_are_known_by_a_word_of_name_or_tag(image: str) -> None:
    assert is_jvm(image)


@pytest.mark.parametrize(
    "image",
    [
        "",
        "shop/javascript-frontend:2",
        "java.example.com/shop/web:1",
        "registry.example/openjdk/web:1",
        "danielqsj/kafka-exporter:1.7",
        "opensearchproject/opensearch-dashboards:2",
        "shop/web:kafka-fix",
        "shop/quarkus-native:1",
        "shop/ledger:1@sha256:" + "a" * 64,
        "sha256:" + "b" * 64,
        "postgres:16",
        "nginx:1.27",
        "shop/hives:1",
    ],
)
def test_other_images_are_not(image: str) -> None:
    assert not is_jvm(image)


def info(container: str, image: str = "", pod: str = POD[1], **labels: str) -> Series:
    named = {"namespace": "shop", "pod": pod, "container": container, "image": image, **labels}
    return Series({"__name__": "kube_pod_container_info", **named}, 1.0)


def told(value: float, metric: str = "jvm_memory_max_bytes", area: str = "heap", **labels: str) -> Series:
    named = {"namespace": "shop", "pod": POD[1], "area": area, **labels}
    return Series({"__name__": metric, **named}, value * MIB)


def of(container: str, *rows: Series, pods: tuple[tuple[str, str], ...] = (POD,)) -> Jvm | None:
    return Jvms.of_rows(rows).of(pods, container)


def test_by_its_image_alone_the_heap_is_not_known() -> None:
    assert of("app", info("app", "registry.example/openjdk:17")) == Jvm("image openjdk:17")
    by_digest = info("app", "sha256:" + "c" * 64, image_spec="openjdk:17")
    assert of("app", by_digest) == Jvm("image openjdk:17")
    assert of("app", info("app", "nginx:1")) is None
    assert of("app") is None


def test_a_native_sidecar_may_be_one_and_an_init_container_that_ends_is_none() -> None:
    of_init = {**info("agent", "openjdk:17").labels, "__name__": "kube_pod_init_container_info"}
    assert of("agent", Series({**of_init, "restart_policy": "Always"}, 1.0)) == Jvm("image openjdk:17")
    assert of("agent", Series(of_init, 1.0)) is None


def test_the_whole_of_an_area_or_the_pools_of_it() -> None:
    pools = [
        told(-1 / MIB, id="G1 Eden Space", container="app"),
        told(float("nan"), id="G1 Survivor Space", container="app"),
        told(512, id="G1 Old Gen", container="app"),
        told(80, "jvm_memory_used_bytes", "nonheap", id="Metaspace", container="app"),
        told(20, "jvm_memory_used_bytes", "nonheap", id="CodeCache", container="app"),
        # What is in use of the heap, and the bounds of the rest, say nothing.
        told(900, "jvm_memory_used_bytes", id="G1 Old Gen", container="app"),
        told(1024, area="nonheap", id="Compressed Class Space", container="app"),
    ]
    known = Jvm("its metrics", 512 * MIB, 100 * MIB)
    assert of("app", *pools) == known
    older = [
        told(512, "jvm_memory_bytes_max", container="app"),
        told(100, "jvm_memory_bytes_used", "nonheap", container="app"),
    ]
    assert of("app", *older) == known
    # Two libraries in one JVM, and two scrapes of it, of which one names no container.
    assert of("app", *pools, *older, *pools, told(512), told(512, id="G1 Old Gen")) == known
    assert of("app", told(-1 / MIB, container="app")) == Jvm("its metrics")


def test_the_worst_of_the_pods_counts() -> None:
    rows = [told(512, container="app"), told(768, container="app", pod="web-2"), info("app", pod="web-3")]
    pods = (POD, ("shop", "web-2"), ("shop", "web-3"))
    assert of("app", *rows, pods=pods) == Jvm("its metrics", 768 * MIB)


def test_metrics_without_a_container_belong_to_the_only_one_that_can_have_them() -> None:
    proxy = info("istio-proxy", "istio/proxyv2:1.22")
    side = info("side", "fluent/fluent-bit:3")
    java, plain = info("app", "shop/app:jre21"), info("app", "shop/app:1")
    heap = Jvm("image app:jre21", 512 * MIB)
    assert of("app", java, side, told(512)) == heap
    assert of("side", java, side, told(512)) is None
    assert of("app", plain, told(512)) == Jvm("its metrics", 512 * MIB)
    # As a mesh's proxy hands them on.
    handed_on = told(512, container="istio-proxy")
    assert of("app", plain, proxy, handed_on) == Jvm("its metrics", 512 * MIB)
    assert of("app", java, proxy, handed_on) == heap
    assert of("istio-proxy", java, proxy, handed_on) is None


def test_where_several_could_have_them_each_is_a_jvm_of_unknown_heap() -> None:
    one, other = info("app", "shop/app:1"), info("side", "shop/side:1")
    assert of("app", one, other, told(512)) == of("side", one, other, told(512)) == Jvm("its metrics")


def annotated(heap: str = "", jvm: str = "", pod: str = POD[1]) -> Series:
    labels = {"annotation_kubefinops_io_jvm_max_heap": heap, "annotation_kubefinops_io_jvm": jvm}
    named = {"namespace": "shop", "pod": pod, **{name: value for name, value in labels.items() if value}}
    return Series({"__name__": "kube_pod_annotations", **named}, 1.0)


APP, SIDE, PROXY = (
    info("app", "shop/app:1"),
    info("side", "shop/side:1"),
    info("istio-proxy", "istio/proxyv2:1"),
)
JAVA = info("app", "shop/app:jre21")


def test_an_annotation_tells_the_heap_of_what_is_a_jvm_and_else_that_it_is_one() -> None:
    heap = Jvm("image app:jre21", 512 * MIB, heap_annotated=True)
    assert of("app", JAVA, annotated("512Mi")) == of("app", JAVA, SIDE, annotated("512Mi")) == heap
    assert of("side", JAVA, SIDE, annotated("512Mi")) is None
    assert of("app", APP, PROXY, annotated("0.5Gi")) == Jvm("its annotation", 512 * MIB, heap_annotated=True)
    assert of("istio-proxy", APP, PROXY, annotated("512Mi")) is None
    # The other pods', and those of other pods.
    assert of("app", APP, annotated("512Mi", pod="web-2")) is None
    pods = (POD, ("shop", "web-2"))
    larger = of(
        "app", JAVA, annotated("512Mi"), annotated("1Gi", pod="web-2"), info("app", pod="web-2"), pods=pods
    )
    assert larger == Jvm("image app:jre21", 1024 * MIB, heap_annotated=True)


def test_each_container_of_a_pod_can_have_its_own_heap() -> None:
    rows = (JAVA, SIDE, info("third"), annotated("app=512Mi, side=1G"))
    assert of("app", *rows) == Jvm("image app:jre21", 512 * MIB, heap_annotated=True)
    assert of("side", *rows) == Jvm("its annotation", 10**9, heap_annotated=True)
    assert of("third", *rows) is None
    others = (APP, SIDE, annotated("256Mi,side=1Gi"))
    assert of("app", *others) == Jvm("its annotation", 256 * MIB, heap_annotated=True)
    assert of("side", *others) == Jvm("its annotation", 1024 * MIB, heap_annotated=True)


def test_a_container_is_marked_where_neither_image_nor_metrics_tell() -> None:
    assert of("app", APP, PROXY, annotated(jvm="true")) == Jvm("its annotation")
    assert of("istio-proxy", APP, PROXY, annotated(jvm="true")) is None
    assert of("app", APP, SIDE, annotated(jvm="app")) == Jvm("its annotation")
    assert of("side", APP, SIDE, annotated(jvm="app")) is None
    assert of("side", APP, SIDE, annotated(jvm="app", heap="512Mi")) is None
    assert of("app", APP, annotated(jvm="false")) is None
    assert of("app", JAVA, annotated(jvm="true")) == Jvm("image app:jre21")


def test_of_an_annotation_and_metrics_the_larger_heap_counts() -> None:
    rows = (JAVA, told(512), told(90, "jvm_memory_used_bytes", "nonheap"))
    assert of("app", *rows, annotated("256Mi")) == Jvm("image app:jre21", 512 * MIB, 90 * MIB)
    more = Jvm("image app:jre21", 768 * MIB, 90 * MIB, heap_annotated=True)
    assert of("app", *rows, annotated("768Mi")) == more


@pytest.mark.parametrize(
    ("heap", "says"),
    [
        ("512mb", "'512mb' is no size of a heap, such as 512Mi"),
        ("512m", "'512m' is no size of a heap"),
        ("512", "'512' is no size of a heap"),
        ("-1Gi", "'-1Gi' is no size of a heap"),
        ("1e999999999", "'1e999999999' is no size of a heap"),
        ("9" * 5000, f"'{'9' * 40}...' is no size of a heap"),
        ("<b>|\n1Gi", "'?b???1Gi' is no size of a heap"),
        ("ap=512Mi", "'ap=512Mi' names no container of the pod"),
        ("app=", "'app=' is no size of a heap"),
    ],
)
def test_what_is_no_heap_is_said_and_the_container_is_a_jvm_all_the_same(heap: str, says: str) -> None:
    for rows, known_by in (((JAVA,), "image app:jre21"), ((APP,), "its annotation")):
        found = of("app", *rows, annotated(heap))
        assert found is not None
        assert (found.known_by, found.heap_max_bytes) == (known_by, None)
        assert found.wrong is not None
        assert found.wrong.startswith("annotation kubefinops.io/jvm-max-heap: ")
        assert says in found.wrong


def test_a_mark_that_is_none_is_said() -> None:
    found = of("app", APP, annotated(jvm="yes"))
    wrong = "annotation kubefinops.io/jvm: 'yes' is neither true nor names of its containers"
    assert found == Jvm("its annotation", wrong=wrong)
    both = of("app", APP, annotated(jvm="yes", heap="512Mi"))
    assert both == Jvm("its annotation", 512 * MIB, heap_annotated=True, wrong=wrong)


def test_metrics_that_name_no_pod_say_nothing() -> None:
    assert of("app", info("app"), told(512, pod="")) is None
