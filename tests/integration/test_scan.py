"""`kubefinops scan` as a person runs it, on a real Prometheus that holds a day of two workloads."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
import yaml

from functions.recommender.container import round_cpu
from functions.recommender.fitted import ENOUGH_DAYS, constants
from tests.cli import COMMAND, kubefinops
from tests.fakes.prometheus import History
from tests.refusing import refusing
from tests.servers import prometheus_server

ROOT = Path(__file__).parents[2]
MIB = 2**20
DAY = 86400


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
        written.add("kube_pod_container_status_restarts_total", here, ((at, 0.0) for at in times))
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
    """By percentiles, unless a strategy is named: their figures can be reckoned in the head."""
    by = {"KUBEFINOPS_STRATEGY": "percentile"}
    return kubefinops("scan", *arguments, columns=columns, environment=by | environment)


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


def test_where_oom_kills_would_not_be_seen_memory_stays_and_that_is_said(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    blind = history()
    del blind.families["kube_pod_container_status_restarts_total"]
    path = blind.write(tmp_path_factory.mktemp("blind") / "history.om")
    with prometheus_server(openmetrics=path) as server:
        done = scan("--prometheus", str(server.address), columns="200")
    (wasteful,) = [line for line in done.stdout.splitlines() if "shop/StatefulSet/wasteful" in line]
    assert re.split(r" {2,}", wasteful.strip())[4:6] == ["1 -> 115m", "1Gi"]
    told = "no memory is lowered, as OOM kills would not be seen: `kubefinops doctor` tells what lacks"
    assert done.stderr == f"kubefinops: {told}\n"
    assert f"note: {told}\n" in done.stdout


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
    # As in CSV: of what is proposed nothing is left, of what could not be sized it cannot be said.
    assert entries["wasteful"]["monthly_waste_left"] == {"amount": "0.00", "currency": "USD"}
    assert entries["young"]["monthly_waste_left"] is None


def test_namespaces_are_chosen_by_a_pattern_too(address: str) -> None:
    done = scan("--prometheus", address, "--format", "json", "-n", "sh*")
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)["namespaces"]) == ["shop"]
    done = scan("--prometheus", address, "-n", "sh*", "-n", "team-?")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"kubefinops: no namespace team-? at {address}; seen: shop\n"


@pytest.mark.parametrize("verb", ["scan", "doctor"])
def test_a_locale_without_the_letters_keeps_nothing_from_being_told(verb: str, address: str) -> None:
    ascii_alone = {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, verb, "--prometheus", address],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **ascii_alone},
    )
    # What is written as a document is in UTF-8, as files are.
    assert b"Traceback" not in done.stderr
    assert (b"shop/StatefulSet/wasteful" if verb == "scan" else b"kube_pod_owner") in done.stdout


def test_kinds_are_chosen_whatever_their_case(address: str) -> None:
    done = scan("--prometheus", address, "--format", "json", "--kind", "statefulset", "-k", "Job")
    assert done.returncode == 0, done.stderr
    assert [each["workload"]["name"] for each in json.loads(done.stdout)["workloads"]] == [
        "wasteful",
        "young",
    ]
    done = scan("--prometheus", address, "--kind", "Deployment")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"kubefinops: no Deployment in any namespace at {address}: without ")
    done = scan("--prometheus", address, "--kind", "Pod")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("kubefinops: --kind: 'Pod' is not sized; Deployment, StatefulSet, ")


def test_unless_told_otherwise_the_estimator_sizes_by_daily_digests_and_says_so(address: str) -> None:
    done = kubefinops("scan", "--prometheus", address, "--format", "json")
    assert done.returncode == 0, done.stderr
    entries = {entry["workload"]["name"]: entry for entry in json.loads(done.stdout)["workloads"]}
    (container,) = entries["wasteful"]["containers"]
    # 100m at all times, so hardly more; the peak of 100Mi times scale x (0.098 GiB)^-exponent, at most so
    # much: it is as steady as can be, but for less than a week.
    fitted = constants()["balanced"]
    curve = fitted.memory_scale * (100 / 1024) ** -fitted.memory_exponent
    margin = min(max(curve, fitted.memory_least_margin), fitted.memory_most_margin)
    assert container["proposed"]["cpu_request_m"] == round_cpu(100 + fitted.cpu_above_peak * 1000)
    cpu, _, memory, _ = container["reasons"]
    days = re.search(r"and because only (\d) whole days? (?:is|are) known", memory)
    assert days is not None, memory
    lowest = 1 + (margin - 1) * (ENOUGH_DAYS / int(days[1])) ** fitted.memory_days_exponent
    # 1Gi is set, and of a day and two hours nothing is known that would allow to lower it.
    assert container["proposed"]["memory_request_bytes"] == 1024 * MIB < 100 * MIB * lowest
    assert f"weights halved every {fitted.cpu_half_life:g}, is 100m, plus 1.0m, no further than 1.0m" in cpu
    assert re.search(rf"balanced: the peak of \d+ days is 100Mi, times {lowest:.2f} for its size", memory), (
        memory
    )
    assert "digests" not in entries["wasteful"]
    assert entries["young"]["decision"] == "skipped"


def test_anothers_rule_is_shown_by_its_name_and_source_and_nothing_is_proposed(address: str) -> None:
    done = scan("--prometheus", address, "--strategy", "krr")
    assert done.returncode == 0, done.stderr
    heading, reading, *_ = done.stdout.splitlines()
    assert heading.startswith(
        "krr's rule as published, for comparison only: p95 of CPU, maximum of memory plus 15%"
    )
    assert "https://github.com/robusta-dev/krr" in heading
    assert reading.endswith("krr itself takes the p95 pod by pod, over windows of 75 s.")
    (wasteful,) = [line for line in done.stdout.splitlines() if "shop/StatefulSet/wasteful" in line]
    # 100m at all times, and 100Mi plus 15 %, without any headroom of ours for CPU.
    assert re.split(r" {2,}", wasteful.strip())[4:6] == ["1 -> 100m", "1Gi -> 115Mi"]
    assert "krr says nothing of it: no usage, or too little: shop/StatefulSet/young" in done.stdout
    assert "1 would change by krr's rule: it would save 23.52 USD of 52.34 USD a month" in done.stdout
    assert "worth a change" not in done.stdout

    rows = csv.DictReader(
        io.StringIO(scan("--prometheus", address, "--strategy", "vpa", "--format", "csv").stdout)
    )
    for row in rows:
        assert (row["decision"], row["reason"]) == (
            "compared",
            "vpa's rule, for comparison only: nothing is proposed",
        )
        # p90 of 100m lies in a bucket that ends at 110m, plus 15 %; 250Mi at least.
        assert row["cpu_request_m_proposed"] == "127"
        assert row["memory_request_bytes_proposed"] == str(250 * MIB)
    document = json.loads(scan("--prometheus", address, "--strategy", "kubecost", "--format", "json").stdout)
    assert document["comparison"]["name"] == "kubecost"
    assert "docs.kubecost.com" in document["comparison"]["source"]
    assert {each["decision"] for each in document["workloads"]} == {"compared"}
    page = scan("--prometheus", address, "--strategy", "crane", "--format", "html")
    assert page.returncode == 0, page.stderr
    assert "crane&#39;s rule as published, for comparison only" in page.stdout
    assert "A CPU request follows the p95" not in page.stdout
    assert json.loads(scan("--prometheus", address, "--format", "json").stdout)["comparison"] is None


@pytest.mark.parametrize("peer", ["krr", "vpa", "goldilocks", "crane", "kubecost"])
def test_nothing_is_proposed_by_anothers_rule(address: str, peer: str, tmp_path: Path) -> None:
    done = kubefinops("propose", "--repo", str(tmp_path), "--prometheus", address, "--strategy", peer)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"kubefinops: --strategy: {peer} is another tool's rule, by which nothing is proposed; what it says"
        f" is shown by `kubefinops scan --strategy {peer}`\n"
    )
    by_variable = scan("--prometheus", address, KUBEFINOPS_STRATEGY=peer)
    assert by_variable.returncode == 2
    assert re.fullmatch(
        r"kubefinops: setting KUBEFINOPS_STRATEGY: must be one of .*balanced.*\n", by_variable.stderr
    )
    held = scan("--prometheus", address, "--strategy", peer, "--fail-on-waste", "1")
    assert held.returncode == 2
    assert held.stderr == (
        f"kubefinops: --fail-on-waste goes by what is proposed, and by {peer}'s rule nothing is\n"
    )


def test_an_unknown_strategy_is_wrongly_asked(address: str) -> None:
    done = scan("--prometheus", address, "--strategy", "magic")
    assert done.returncode == 2
    assert "percentile" in done.stderr
    done = scan("--prometheus", address, KUBEFINOPS_STRATEGY="magic")
    assert done.returncode == 2
    assert done.stderr.startswith("kubefinops: ")
    assert "KUBEFINOPS_STRATEGY" in done.stderr


def test_yaml_is_the_same_document(address: str) -> None:
    as_json, as_yaml = (scan("--prometheus", address, "--format", form) for form in ("json", "yaml"))
    assert as_yaml.returncode == 0, as_yaml.stderr
    documents = [json.loads(as_json.stdout), yaml.safe_load(as_yaml.stdout)]
    for document in documents:
        del document["at"]
        for each in document["workloads"]:
            # A few seconds later it is as much older.
            for told in (each, *each["seen"]):
                del told["history_seconds"]
            del each["reason"], each["confidence"]
    assert documents[0] == documents[1]


def test_csv_has_a_row_for_each_container_that_sums_up_to_the_total(address: str) -> None:
    done = scan("--prometheus", address, "--format", "csv")
    assert done.returncode == 0, done.stderr
    wasteful, young = sorted(csv.DictReader(io.StringIO(done.stdout)), key=lambda row: row["decision"])
    assert (wasteful["cpu_request_m_current"], wasteful["cpu_request_m_proposed"]) == ("1000", "115")
    assert wasteful["memory_request_bytes_proposed"] == str(115 * MIB)
    assert wasteful["monthly_saving"] == "23.17"
    assert wasteful["monthly_waste_left"] == wasteful["workload_monthly_waste_left"] == "0.00"
    assert young["monthly_waste_left"] == young["workload_monthly_waste_left"] == ""
    assert (young["cpu_request_m_proposed"], young["monthly_saving"]) == ("", "0.00")
    assert young["reason"].startswith("too little data")


def asked_ranges(address: str) -> int:
    """How many range queries Prometheus has answered."""
    text = requests.get(f"{address}/metrics", timeout=10).text
    series = r'^prometheus_http_requests_total{.*handler="/api/v1/query_range"} (\d+)'
    found = re.findall(series, text, re.MULTILINE)
    return sum(int(number) for number in found)


def test_html_is_one_file_with_plots_for_two_queries_more_than_a_table(address: str, tmp_path: Path) -> None:
    before = asked_ranges(address)
    assert scan("--prometheus", address).returncode == 0
    for_a_table = asked_ranges(address) - before
    before += for_a_table
    done = scan("--prometheus", address, "--format", "html", "--output", str(tmp_path / "scan.html"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert asked_ranges(address) == before + for_a_table + 2
    (page,) = tmp_path.iterdir()
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "23.17" in text
    wasteful = text[text.index('data-name="shop/StatefulSet/wasteful app"') :].partition("</tbody>")[0]
    # 100m of 1000m, all the time: a straight line at a tenth of the height, less some headroom. A point
    # tells of 4 of the 26 hours.
    (line,) = re.findall(r'class="p95" d="M(?:\d+) (\d+)((?:l\d+ 0)+)"', wasteful)[:1]
    assert line[0] == "91"
    assert line[1].count("l") == 6


def test_the_page_is_made_without_plots_where_they_cannot_be_had(address: str, tmp_path: Path) -> None:
    with refusing(address, lambda _, promql: "figure" in promql) as crippled:
        done = scan("--prometheus", crippled, "--format", "html", "--output", str(tmp_path / "scan.html"))
    assert done.returncode == 0
    assert done.stderr.startswith("kubefinops: the page is without plots: Prometheus http://127.0.0.1:")
    text = (tmp_path / "scan.html").read_text(encoding="utf-8")
    assert "The plots are missing" in text
    assert "23.17" in text


def test_progress_is_told_on_a_terminal_and_never_within_the_document(address: str) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, "scan", "--prometheus", address, "--format", "json"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm"},
    ) as process:
        os.close(theirs)
        assert process.stdout is not None
        document = process.stdout.read()
    told = b""
    # A terminal that nobody has open any more gives what is left, and then an error.
    with suppress(OSError):
        while part := os.read(ours, 65536):
            told += part
    os.close(ours)
    assert process.returncode == 0
    assert json.loads(document)["totals"]["proposed"] == 1
    assert b"asking Prometheus" in told
    assert b"/18" in told


@pytest.mark.parametrize(
    ("most", "code", "says"),
    [
        ("23.16", 3, "kubefinops: 23.17 USD a month of waste is above --fail-on-waste 23.16 USD\n"),
        ("23.17", 0, ""),
        ("20 USD", 3, "kubefinops: 23.17 USD a month of waste is above --fail-on-waste 20.00 USD\n"),
    ],
)
def test_more_waste_than_is_allowed_ends_with_3_and_the_scan_is_there_all_the_same(
    address: str, most: str, code: int, says: str
) -> None:
    done = scan("--prometheus", address, "--format", "json", "--fail-on-waste", most)
    assert (done.returncode, done.stderr) == (code, says)
    assert json.loads(done.stdout)["totals"]["monthly_saving"]["amount"] == "23.17"


def test_the_waste_is_in_the_currency_of_the_prices(address: str) -> None:
    euros = {
        "KUBEFINOPS_CURRENCY": "EUR",
        "KUBEFINOPS_PRICE_CORE_HOUR": "0.031611",
        "KUBEFINOPS_PRICE_GIB_HOUR": "0.004237",
    }
    done = scan("--prometheus", address, "--fail-on-waste", "20", **euros)
    assert done.returncode == 3
    assert done.stderr.endswith("23.17 EUR a month of waste is above --fail-on-waste 20.00 EUR\n")
    other = scan("--prometheus", address, "--fail-on-waste", "20 USD", **euros)
    assert other.returncode == 2
    assert other.stderr.startswith("kubefinops: --fail-on-waste: 20 USD is in another currency")


@pytest.mark.parametrize(
    ("name", "arguments", "begins"),
    [
        ("waste.html", (), "<!doctype html>"),
        ("waste.JSON", (), "{\n"),
        ("waste.csv", (), "namespace,kind,"),
        ("waste.yml", (), "cluster: "),
        ("waste.yaml", (), "cluster: "),
        ("waste", (), "\n workload "),
        ("waste.html", ("--format", "csv"), "namespace,kind,"),
    ],
)
def test_a_files_ending_tells_its_format_unless_one_is_named(
    address: str, tmp_path: Path, name: str, arguments: tuple[str, ...], begins: str
) -> None:
    done = scan("--prometheus", address, "-n", "shop", "--output", str(tmp_path / name), *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(begins)


def test_a_full_disk_is_one_line_in_a_table_too(address: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, "scan", "--prometheus", address],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=ROOT,
        )
    assert done.stderr == "kubefinops: cannot write standard output: no space left on device\n"
    assert done.returncode == 1


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["config"], ["--help"], ["doctor", "--prometheus", "ADDRESS"]])
def test_whatever_is_printed_a_full_disk_is_one_line_and_a_reader_that_has_enough_is_none(
    arguments: list[str], unbuffered: str, address: str
) -> None:
    command = [sys.executable, "-c", COMMAND, *(address if each == "ADDRESS" else each for each in arguments)]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    reading, writing = os.pipe()
    os.close(reading)
    with Path("/dev/full").open("w") as full, os.fdopen(writing, "w") as nobody:
        told = [
            (done.returncode, done.stderr)
            for place in (full, nobody)
            for done in (
                subprocess.run(
                    command,
                    stdout=place,
                    stderr=subprocess.PIPE,
                    text=True,
                    check=False,
                    cwd=ROOT,
                    env=environment,
                ),
            )
        ]
    assert told == [(1, "kubefinops: cannot write standard output: no space left on device\n"), (1, "")]


def test_where_output_or_errors_are_closed_the_rest_is_done(address: str, tmp_path: Path) -> None:
    path = tmp_path / "waste.json"
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        command = f'exec "$0" -c "$1" scan --prometheus {address} --output {path} {closed}'
        done = subprocess.run(
            ["/bin/sh", "-c", command, sys.executable, COMMAND], capture_output=True, check=False, cwd=ROOT
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert json.loads(path.read_text())["totals"]["complete"]
        path.unlink()


def test_the_version_and_short_flags() -> None:
    assert re.fullmatch(r"kubefinops( \d+\.\d+\.\d+|, run from its source)\n", kubefinops("--version").stdout)
    for arguments in (("-h",), ("scan", "-h")):
        done = kubefinops(*arguments)
        assert done.returncode == 0
        assert "Usage: kubefinops" in done.stdout


def test_a_file_is_as_it_was_where_the_scan_could_not_be_made(tmp_path: Path) -> None:
    path = tmp_path / "scan.json"
    path.write_text("yesterday's")
    done = scan("--prometheus", "http://127.0.0.1:1", "--format", "json", "--output", str(path))
    assert done.returncode == 1
    assert path.read_text() == "yesterday's"


def test_the_help_tells_the_exit_codes() -> None:
    words = " ".join(scan("--help", columns="200").stdout.split())
    for code in (
        "0: done",
        "1: could not",
        "2: wrongly asked",
        "3: done, and the waste is above --fail-on-waste",
        "4: done in part",
        "5: done, and nothing was measured",
    ):
        assert code in words


def test_the_help_is_folded_to_the_terminal_and_not_where_its_source_is() -> None:
    lines = [line.strip() for line in scan("--help", columns="80").stdout.splitlines()]
    assert "to look at, the file cannot be written" in lines


def on_terminal(columns: int, *arguments: str) -> str:
    """What a terminal so wide shows."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "KUBEFINOPS_STRATEGY": "percentile"}
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, "scan", *arguments],
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env=environment,
    ):
        os.close(theirs)
        told = b""
        with suppress(OSError):
            while part := os.read(ours, 65536):
                told += part
    os.close(ours)
    return told.decode()


@pytest.mark.parametrize("columns", [80, 120])
def test_a_table_fits_its_terminal(address: str, columns: int) -> None:
    lines = on_terminal(columns, "--prometheus", address).splitlines()
    assert max(map(len, lines)) <= columns
    # The name may be folded, the figures are in one line.
    (row,) = [line for line in lines if "1Gi -> 115Mi" in line]
    assert "1 -> 115m" in row
    assert row.endswith("23.17")


def test_a_file_loses_no_value_however_narrow_the_terminal(address: str) -> None:
    for _ in range(3):  # a window of usage may end between the two scans
        narrow, wide = (scan("--prometheus", address, columns=columns) for columns in ("40", "400"))
        if narrow.stdout == wide.stdout:
            break
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
    "arguments",
    [
        ("--prometheus", "nonsense"),
        ("--prometheus", ""),
        ("--prometheus", "http://x", "--namespace", ""),
        ("--prometheus", "http://x", "--namespace", "Sh\u00f6p"),
        ("--prometheus", "http://x", "--namespace", "\udcff"),
        ("--prometheus", "http://x", "--label", "cluster=\udcff"),
        ("--prometheus", "http://x/graph?g0.expr=up"),
        ("--prometheus", "http://x", "--format", "xml"),
        ("--prometheus", "http://x", "--fail-on-waste", "much"),
        ("--prometheus", "http://x", "--fail-on-waste", "-1"),
        ("--prometheus", "http://x", "--output", "/"),
        ("--prometheus", "http://x", "--output", "/nowhere/scan.html"),
    ],
)
def test_what_is_wrongly_asked_ends_with_2(arguments: tuple[str, ...]) -> None:
    assert scan(*arguments).returncode == 2
