"""`kubefinops scan` as a person runs it, on a real Prometheus that holds a day of two workloads."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.prometheus import History
from tests.servers import prometheus_server

MIB = 2**20
DAY = 86400
SCAN = "import sys; from infra.cli.main import main; sys.argv[0] = 'kubefinops'; main()"


def history() -> History:
    """`wasteful` uses a tenth of what it asks for, `young` has been there for an hour."""
    written = History()
    # Some minutes beyond now, because the scan asks for now.
    end = int(time.time()) // 60 * 60 + 300
    for name, begin in (("wasteful", end - DAY - 7200), ("young", end - 3600)):
        times = range(begin, end + 1, 60)
        pod = {"namespace": "shop", "pod": f"{name}-0"}
        here = {**pod, "container": "app"}
        written.add("container_cpu_usage_seconds_total", here, ((at, (at - begin) * 0.1) for at in times))
        written.add("container_memory_working_set_bytes", here, ((at, 100.0 * MIB) for at in times))
        owner = {**pod, "owner_kind": "StatefulSet", "owner_name": name, "owner_is_controller": "true"}
        written.add("kube_pod_owner", owner, ((at, 1.0) for at in times))
        for resource, value in (("cpu", 1.0), ("memory", 1024.0 * MIB)):
            labels = {**here, "resource": resource}
            written.add("kube_pod_container_resource_requests", labels, ((at, value) for at in times))
    return written


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = history().write(tmp_path_factory.mktemp("history") / "history.om")
    with prometheus_server(openmetrics=path) as server:
        yield str(server.address)


def scan(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCAN, "scan", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )


def test_the_table_tells_what_is_wasted_and_why_the_rest_is_not(address: str) -> None:
    done = scan("--prometheus", address)
    assert done.returncode == 0, done.stderr
    (wasteful,) = [line for line in done.stdout.splitlines() if "shop/StatefulSet/wasteful" in line]
    cells = [cell.strip() for cell in wasteful.split("│")]
    assert cells[2:] == [
        "app", "100m / 100m", "1 -> 115m", "100Mi / 100Mi", "1Gi -> 115Mi", "-", "23.17 USD", "",
    ]  # fmt: skip
    (young,) = [line for line in done.stdout.splitlines() if "shop/StatefulSet/young" in line]
    assert "too little data" in young
    assert "2 workloads, 1 worth a change: 23.17 USD" in done.stdout
    assert done.stderr == ""


def test_json_has_every_figure_and_the_totals(address: str) -> None:
    done = scan("--prometheus", address, "--format", "json", "--namespace", "shop")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    entries = {entry["workload"]["name"]: entry for entry in document["workloads"]}
    assert entries["wasteful"]["decision"] == "proposed"
    assert entries["wasteful"]["containers"][0]["proposed"]["cpu_request_m"] == 115
    assert len(entries["wasteful"]["containers"][0]["reasons"]) == 4
    assert entries["young"]["decision"] == "skipped"
    assert document["totals"]["proposed"] == 1
    assert document["totals"]["monthly_saving"] == entries["wasteful"]["monthly_saving"]


def test_a_namespace_without_workloads_is_said_in_one_line(address: str) -> None:
    done = scan("--prometheus", address, "--namespace", "nowhere")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("kubefinops: no workload in namespace nowhere")
    assert done.stderr.count("\n") == 1


def test_an_address_where_nobody_answers_is_said_in_one_line() -> None:
    done = scan("--prometheus", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("kubefinops: Prometheus http://127.0.0.1:1: ConnectionError")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [("--prometheus", "nonsense"), ("--prometheus", "http://x", "--format", "xml")]
)
def test_what_is_wrongly_asked_ends_with_2(arguments: tuple[str, ...]) -> None:
    assert scan(*arguments).returncode == 2
