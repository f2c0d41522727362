"""`kubefinops scan` where a real Prometheus, or what stands before it, does not answer for one namespace."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cli import kubefinops
from tests.fakes.prometheus import History
from tests.refusing import refusing
from tests.servers import prometheus_server

ROOT = Path(__file__).parents[2]
MIB = 2**20
DAY = 86400
PODS = {"ads": 1, "payments": 60, "shop": 1, "web": 1}
LIMIT = (
    b'{"status":"error","errorType":"execution","error":"query processing would load too many samples into'
    b' memory in query execution"}'
)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One workload of that many pods in each namespace, for a day."""
    written = History()
    end = int(time.time()) // 300 * 300 + 300
    times = range(end - DAY - 7200, end + 1, 60)
    for namespace, count in PODS.items():
        for number in range(count):
            pod = {"namespace": namespace, "pod": f"app-{number}"}
            here = {**pod, "container": "app"}
            used = ((at, (at - times[0]) * 0.1) for at in times)
            written.add("container_cpu_usage_seconds_total", here, used)
            written.add("container_memory_working_set_bytes", here, ((at, 100.0 * MIB) for at in times))
            written.add("kube_pod_container_status_restarts_total", here, ((at, 0.0) for at in times[-30:]))
            owner = {**pod, "owner_kind": "StatefulSet", "owner_name": "app", "owner_is_controller": "true"}
            written.add("kube_pod_owner", owner, ((at, 1.0) for at in times[-30:]))
            for resource, value in (("cpu", 1.0), ("memory", 1024.0 * MIB)):
                labels = {**here, "resource": resource}
                set_to = ((at, value) for at in times[-30:])
                written.add("kube_pod_container_resource_requests", labels, set_to)
    return written.write(tmp_path_factory.mktemp("history") / "history.om")


@pytest.fixture(scope="module")
def address(history: Path) -> Iterator[str]:
    """Refuses what is about CPU in namespace payments, alone or with others."""

    def refuses(_: str, promql: str) -> bool:
        named = re.search(r'namespace=~"([^"]*)"', promql)
        about = named is None or re.fullmatch(named[1], "payments") is not None
        return re.search("(?<!:)container_cpu_usage_seconds_total", promql) is not None and about

    with (
        prometheus_server(openmetrics=history) as server,
        refusing(str(server.address), refuses, 422, LIMIT) as refused,
    ):
        yield refused


def scan(*arguments: str) -> subprocess.CompletedProcess[str]:
    """By percentiles: their figures can be reckoned in the head."""
    return kubefinops(*arguments, environment={"KUBEFINOPS_STRATEGY": "percentile"})


def told(address: str, *arguments: str) -> str:
    done = scan("scan", "--prometheus", address, *arguments)
    assert done.returncode == 4, done.stderr
    assert done.stderr.endswith("kubefinops: 1 namespace could not be read: payments\n")
    return done.stdout


def test_a_table_names_what_is_missing_and_the_query(address: str) -> None:
    text = told(address)
    assert "not read, and nothing is proposed there:\n  payments (1 workload): Prometheus http" in text
    (line,) = [line for line in text.splitlines() if line.startswith("  payments (1 workload): ")]
    assert "status 422: execution: query processing would load too many samples" in line
    assert re.search(r"\(query: .*container_cpu_usage_seconds_total\{namespace=~\"payments\"", line)
    assert re.search(r"^ payments +1 +not read +- +- +-$", text, re.MULTILINE)
    assert "of what could be read: 3 workloads, of which 3 are worth a change: saves 69.51 USD" in text
    assert "payments/StatefulSet/app" not in text


def test_json_and_yaml_say_that_the_totals_are_not_all(address: str) -> None:
    for document in (
        json.loads(told(address, "--format", "json")),
        yaml.safe_load(told(address, "--format", "yaml")),
    ):
        assert {each["workload"]["namespace"] for each in document["workloads"]} == {"ads", "shop", "web"}
        assert document["totals"]["complete"] is False
        assert document["totals"]["workloads"] == 3
        (missing,) = document["missing"]
        assert (missing["namespaces"], missing["workloads"]) == (["payments"], 1)
        assert "status 422" in missing["reason"]
        assert 'namespace=~"payments"' in missing["query"]


def test_csv_has_a_row_of_its_own_for_it(address: str) -> None:
    rows = list(csv.DictReader(io.StringIO(told(address, "--format", "csv"))))
    assert [(row["namespace"], row["decision"]) for row in rows] == [
        ("ads", "proposed"),
        ("shop", "proposed"),
        ("web", "proposed"),
        ("payments", "unread"),
    ]
    assert "status 422" in rows[-1]["reason"]
    assert not any(rows[-1][name] for name in rows[-1] if name not in ("namespace", "decision", "reason"))


def test_a_page_has_it_on_top_and_plots_of_the_rest(address: str, tmp_path: Path) -> None:
    told(address, "--format", "html", "--output", str(tmp_path / "scan.html"))
    text = (tmp_path / "scan.html").read_text(encoding="utf-8")
    assert "Not read, and nothing is proposed there: <b>payments (1 workload)</b>. Prometheus" in text
    assert text.index("Every sum is of what could be read.") < text.index('class="sums"')
    assert "The plots are missing" not in text


def test_waste_above_what_is_allowed_is_told_and_that_it_is_not_all(address: str) -> None:
    done = scan("scan", "--prometheus", address, "--fail-on-waste", "10")
    assert done.returncode == 4
    assert done.stderr.splitlines() == [
        "kubefinops: 69.51 USD a month of waste is above --fail-on-waste 10.00 USD",
        "kubefinops: 1 namespace could not be read: payments",
    ]


def test_figures_of_anothers_rule_are_read_in_parts_too(address: str) -> None:
    document = json.loads(told(address, "--strategy", "krr", "--format", "json"))
    decisions = {each["workload"]["namespace"]: each["decision"] for each in document["workloads"]}
    assert decisions == {"ads": "compared", "shop": "compared", "web": "compared"}
    assert document["missing"][0]["namespaces"] == ["payments"]


def test_what_was_asked_for_and_cannot_be_read_is_one_line(address: str) -> None:
    done = scan("scan", "--prometheus", address, "--namespace", "payments")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"kubefinops: Prometheus http\S+: status 422: .*\(query: .*\)\n", done.stderr)


def test_nothing_is_proposed_from_a_part(address: str, tmp_path: Path) -> None:
    done = scan("propose", "--prometheus", address, "--repo", str(tmp_path))
    assert done.returncode == 1
    assert "status 422" in done.stderr


def test_a_workload_that_is_too_large_for_the_server_is_missing_alone(history: Path) -> None:
    with prometheus_server(openmetrics=history, flags=["--query.max-samples=1500"]) as server:
        text = told(str(server.address))
    assert "payments (1 workload): Prometheus http" in text
    assert "too many samples" in text
    assert "of what could be read: 3 workloads" in text
