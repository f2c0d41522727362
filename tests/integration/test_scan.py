"""`kubefinops scan` as a person runs it, on a real Prometheus that holds a day of two workloads."""

from __future__ import annotations

import json
import os
import re
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


def scan(*arguments: str, columns: str = "80", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCAN, "scan", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "COLUMNS": columns, **environment},
    )


def test_the_table_tells_what_is_wasted_and_why_the_rest_is_not(address: str) -> None:
    done = scan("--prometheus", address)
    assert done.returncode == 0, done.stderr
    (wasteful,) = [line for line in done.stdout.splitlines() if "shop/StatefulSet/wasteful" in line]
    assert re.split(r" {2,}", wasteful.strip()) == [
        "shop/StatefulSet/wasteful",
        "app",
        "100m / 100m",
        "100Mi / 100Mi",
        "1 -> 115m",
        "1Gi -> 115Mi",
        "23.17",
    ]
    assert re.search(r"^  too little data: .*: shop/StatefulSet/young$", done.stdout, re.MULTILINE)
    assert "2 workloads, of which 1 is worth a change: saves 23.17 USD" in done.stdout
    assert "before policy" in done.stdout
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


def test_a_narrow_terminal_loses_no_value(address: str) -> None:
    narrow, wide = (scan("--prometheus", address, columns=columns) for columns in ("40", "400"))
    assert narrow.stdout == wide.stdout
    assert "…" not in narrow.stdout


@pytest.mark.parametrize("known", [(), ("--namespace", "shop")])
def test_a_namespace_that_is_not_there_is_said_beside_those_that_are(
    address: str, known: tuple[str, ...]
) -> None:
    done = scan("--prometheus", address, "--namespace", "nowhere", *known)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"kubefinops: no namespace nowhere at {address}; seen: shop\n"


def test_an_address_where_nobody_answers_is_said_in_one_line() -> None:
    done = scan("--prometheus", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr == "kubefinops: no Prometheus answers at http://127.0.0.1:1: connection refused\n"


def test_a_wrong_address_is_told_by_the_name_that_it_came_from() -> None:
    by_option = scan("--prometheus", "localhost:9090")
    by_variable = scan(PROMETHEUS_URL="localhost:9090")
    assert by_option.stderr.startswith("kubefinops: --prometheus: must be an address")
    assert by_variable.stderr.startswith("kubefinops: setting PROMETHEUS_URL: must be an address")
    assert by_option.returncode == by_variable.returncode == 2


@pytest.mark.parametrize(
    "arguments", [("--prometheus", "nonsense"), ("--prometheus", "http://x", "--format", "xml")]
)
def test_what_is_wrongly_asked_ends_with_2(arguments: tuple[str, ...]) -> None:
    assert scan(*arguments).returncode == 2
