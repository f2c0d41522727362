"""`kubefinops doctor` as a person runs it, on a real Prometheus that lacks some of what is read."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli import kubefinops
from tests.fakes.prometheus import History
from tests.servers import prometheus_server

DAY = 86400
EXPORTER = {"namespace": "monitoring", "pod": "ksm-0", "container": "kube-state-metrics", "job": "ksm"}
REQUIRED = (
    "kube_pod_owner",
    "kube_replicaset_owner",
    "kube_pod_container_resource_requests",
)


def history(*, lacking: str | None = None, pod: str = "web-0", hidden: bool = False) -> History:
    """Three days of cAdvisor each 30 s in cluster `eu`; kube-state-metrics each minute, twice, for hours.

    It tells of this pod; `hidden` as Prometheus stores its series without honor_labels.
    """
    written = History()
    # Some minutes beyond now, because the doctor asks for now.
    end = int(time.time()) // 60 * 60 + 300
    here = {"cluster": "eu", "namespace": "shop", "pod": "web-0", "container": "app"}
    for metric in ("container_cpu_usage_seconds_total", "container_memory_working_set_bytes"):
        days = range(end - 3 * DAY, end + 1, 30)
        written.add(metric, here, ((at, float(at - end + 3 * DAY)) for at in days))
    for metric in REQUIRED:
        if metric == lacking:
            continue
        for instance in ("one", "two"):
            hour = range(end - 2 * 3600, end + 1, 60)
            told = {**here, "pod": pod, "instance": instance}
            if hidden:
                told = EXPORTER | {f"exported_{k}" if k in EXPORTER else k: v for k, v in told.items()}
            written.add(metric, told, ((at, 1.0) for at in hour))
    far = {**here, "cluster": "us", "pod": "far-0"}
    written.add("kube_pod_owner", far, ((at, 1.0) for at in range(end - 2 * 3600, end + 1, 60)))
    older = "node_namespace_pod_container:container_cpu_usage_seconds_total:sum_irate"
    written.add(older, here, ((at, 0.1) for at in range(end - 3600, end + 1, 60)))
    # It was scraped until three hours ago.
    stopped = range(end - 2 * DAY, end - 3 * 3600, 60)
    written.add("kube_pod_container_info", here, ((at, 1.0) for at in stopped))
    return written


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = history().write(tmp_path_factory.mktemp("history") / "history.om")
    with prometheus_server(openmetrics=path) as server:
        yield str(server.address)


def doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return kubefinops("doctor", *arguments, environment=environment)


def test_what_is_there_is_told_with_its_interval_and_how_far_it_goes_back(address: str) -> None:
    done = doctor("--prometheus", address, "--format", "json")
    assert done.returncode == 0, done.stderr + done.stdout
    document = json.loads(done.stdout)
    assert document["ready"]
    assert document["server"]["address"] == address
    assert document["server"]["kind"] == "Prometheus"
    assert document["server"]["version"].startswith(("2.", "3."))
    inputs = {each["name"]: each for each in document["inputs"]}
    cpu = inputs["container_cpu_usage_seconds_total"]
    assert (cpu["state"], cpu["series"], cpu["interval_seconds"]) == ("there", 1, 30)
    assert cpu["at_least_seconds_back"] == DAY
    assert 0 <= cpu["newest_sample_seconds_ago"] <= 30
    owner = inputs["kube_pod_owner"]
    assert (owner["series"], owner["interval_seconds"], owner["at_least_seconds_back"]) == (3, 60, 3600)
    assert inputs["kube_pod_container_info"]["state"] == "stopped"
    assert inputs["kube_pod_container_info"]["at_least_seconds_back"] == DAY
    assert inputs["kube_horizontalpodautoscaler_info"]["state"] == "missing"


def test_what_is_odd_about_it_is_noted(address: str) -> None:
    notes = json.loads(doctor("--prometheus", address, "--format", "json").stdout)["notes"]
    assert any("1 pods are told of more than once by kube-state-metrics" in note for note in notes)
    assert any("several clusters (eu, us)" in note and "--label cluster=eu" in note for note in notes)
    assert any("samples more than a minute ahead of this machine's clock" in note for note in notes)
    assert not any("has a gap" in note for note in notes)
    assert any(
        "cpu_usage_seconds_total goes back 1d or somewhat more, of the 14 days" in note for note in notes
    )


def test_one_cluster_is_looked_at_alone(address: str) -> None:
    done = doctor("--prometheus", address, "--format", "json", "--label", "cluster=us")
    document = json.loads(done.stdout)
    assert done.returncode == 3
    assert document["labels"] == 'cluster="us"'
    assert {each["name"]: each["series"] for each in document["inputs"]}["kube_pod_owner"] == 1
    assert not any("several clusters" in note for note in document["notes"])
    assert doctor("--prometheus", address, PROMETHEUS_LABELS='cluster="us"').returncode == 3


def test_the_table_says_what_each_missing_one_switches_off_and_how_to_get_it(address: str) -> None:
    done = doctor("--prometheus", address)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{address}: Prometheus ")
    lines = done.stdout.splitlines()
    place = lines.index("  kube_horizontalpodautoscaler_info (right if it has no HorizontalPodAutoscaler)")
    assert "off: requests that an autoscaler scales on are changed" in lines[place + 1]
    assert "get: run kube-state-metrics, with horizontalpodautoscalers in its --resources" in lines[place + 2]
    assert "  kube_pod_container_info stopped: it was there 6h ago" in lines
    assert any("--metric-labels-allowlist, such as nodes=[*]" in line for line in lines)
    place = lines.index("  node_namespace_pod_container:container_cpu_usage_seconds_total:sum_rate5m")
    assert (
        "get: upgrade kubernetes-mixin to 1.1.0 (kube-prometheus-stack to 70.7.0) or later"
        in lines[place + 2]
    )
    assert lines[-1] == "everything that is required is there"


@pytest.mark.parametrize("lacking", REQUIRED)
def test_without_something_required_it_ends_with_3(lacking: str, tmp_path: Path) -> None:
    path = history(lacking=lacking).write(tmp_path / "history.om")
    with prometheus_server(openmetrics=path) as server:
        done = doctor("--prometheus", str(server.address), "--label", "cluster=eu")
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1] == f"required, and not there: {lacking}"


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        (
            {"hidden": True},
            "kube-state-metrics is scraped without honor_labels (job ksm): its series name its",
        ),
        ({"pod": "elsewhere-0"}, "of the pods that are measured (1) kube_pod_owner tells of none: "),
    ],
)
def test_where_no_pod_that_is_measured_has_an_owner_it_ends_with_3_and_names_the_cause(
    given: dict[str, Any], cause: str, tmp_path: Path
) -> None:
    path = history(**given).write(tmp_path / "history.om")
    with prometheus_server(openmetrics=path) as server:
        told = ("--prometheus", str(server.address), "--label", "cluster=eu")
        done, document = doctor(*told), json.loads(doctor(*told, "--format", "json").stdout)
    assert done.returncode == 3
    *_, why, last = done.stdout.splitlines()
    assert why.startswith(f"usage is of no workload: {cause}")
    assert last == "required, and not there: owners of the pods that are measured"
    assert (document["unjoined"], document["ready"]) == (why.partition(": ")[2], False)


def test_an_empty_prometheus_is_no_error_of_its_own() -> None:
    with prometheus_server() as server:
        done = doctor("--prometheus", str(server.address))
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1].count("_") > 10
    assert done.stderr == ""


def test_an_address_where_nobody_answers_ends_with_1_and_a_wrong_question_with_2() -> None:
    done = doctor("--prometheus", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr == "kubefinops: no Prometheus answers at http://127.0.0.1:1: connection refused\n"
    done = doctor("--prometheus", "localhost:9090", "--label", "eu")
    assert done.returncode == 2
    assert done.stderr.startswith("kubefinops: --prometheus: must be an address")
    assert "; --label: 'eu' is not labels" in done.stderr
    assert doctor("--prometheus", "http://x", "--format", "xml").returncode == 2
