"""`kubefinops backtest --prometheus` as a person runs it, beside the same usage given as traces."""

from __future__ import annotations

import csv
import json
import math
import random
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli import kubefinops
from tests.fakes.prometheus import History
from tests.servers import prometheus_server

ROOT = Path(__file__).parents[2]
MIB = 2**20
DAY, WINDOW, SCRAPE = 86400, 300, 60
DAYS = 3
PACE = ("--learn-days", "1", "--hold-days", "1")
PER_DAY = DAY // WINDOW
# Pods by workload with the windows in which they lived; two of `web` at once, `web-b` follows `web-a`.
PODS = {
    ("web", "web-a"): (0, 500),
    ("web", "web-b"): (480, DAYS * PER_DAY),
    ("web", "web-c"): (100, DAYS * PER_DAY),
    ("db", "db-0"): (0, DAYS * PER_DAY),
}
# The window in which db-0 was killed, and the next, which its kill is seen from as well: on the second day.
KILLED = 400
# Cores and bytes requested, and the limit of memory.
PROVISIONED = {"web": (1.0, 512.0 * MIB, 512.0 * MIB), "db": (2.0, 1024.0 * MIB, 300.0 * MIB)}
BEST_EFFORT = "BestEffort: it sets no requests, and setting some would change its QoS class"
COLUMNS = "timestamp_s,workload,pod,container,cpu_cores,memory_bytes"
SET = "cpu_request_cores,memory_request_bytes,memory_limit_bytes"


@dataclass(frozen=True)
class Both:
    """A Prometheus, and a folder of traces that tell the same."""

    address: str
    traces: Path


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("backtest")
    traces = folder / "traces"
    traces.mkdir()
    path = written(traces / "local.csv").write(folder / "history.om")
    with prometheus_server(openmetrics=path) as server:
        yield Both(str(server.address), traces)


def written(trace: Path) -> History:
    """The history; the same is written to `trace`. Samples lie off the windows' ends, so none is in two."""
    history, chance = History(), random.Random(5)
    end = int(time.time()) // WINDOW * WINDOW
    begin = end - DAYS * DAY
    lines = [f"{COLUMNS},{SET}"]
    for (workload, pod), (first, last) in PODS.items():
        counter, cpu, memory = 0.0, [], []
        for window in range(first, last):
            at = begin + window * WINDOW
            cores, size = chance.uniform(0.05, 0.6), float(chance.randrange(100 * MIB, 290 * MIB))
            # Usage ends at the limit: a trace that tells of the kill has what was wanted.
            killed = workload == "db" and KILLED <= window <= KILLED + 1
            wanted = math.nextafter(300.0 * MIB, math.inf) if killed else size
            values = (at, f"shop/StatefulSet/{workload}", pod, "app", repr(cores), repr(wanted))
            lines.append(",".join(map(str, (*values, *PROVISIONED[workload]))))
            for sample in range(at + SCRAPE // 2, at + WINDOW, SCRAPE):
                counter += cores * (SCRAPE // 2 if sample == at + SCRAPE // 2 else SCRAPE)
                cpu.append((sample, counter))
                memory.append((sample, size))
            counter += cores * (SCRAPE // 2)
        here = {"namespace": "shop", "pod": pod, "container": "app"}
        history.add("container_cpu_usage_seconds_total", here, cpu)
        history.add("container_memory_working_set_bytes", here, memory)
        told(history, workload, pod, begin + first * WINDOW, begin + last * WINDOW, lives=last > 500, now=end)
    told_of_kill(history, begin, end)
    # Told of and measured, but one since half an hour only, and the other without any requests.
    for workload, first in (("young", end - 1800), ("bare", begin)):
        times = range(first, end, SCRAPE)
        here = {"namespace": "shop", "pod": f"{workload}-0", "container": "app"}
        history.add("container_cpu_usage_seconds_total", here, ((at, at - first + 0.0) for at in times))
        history.add("container_memory_working_set_bytes", here, ((at, 9.0 * MIB) for at in times))
        told(history, workload, f"{workload}-0", first, end, lives=True, now=end)
    trace.write_text("\n".join([*lines, ""]))
    return history


def told(history: History, workload: str, pod: str, begin: int, end: int, *, lives: bool, now: int) -> None:
    """What kube-state-metrics says of a pod; of one that lives, until some time after now."""
    times = range(begin, now + 1800 if lives else end, SCRAPE)
    owner = {"owner_kind": "StatefulSet", "owner_name": workload, "owner_is_controller": "true"}
    here = {"namespace": "shop", "pod": pod}
    history.add("kube_pod_owner", {**here, **owner}, ((at, 1.0) for at in times))
    for resource, value, kind in zip(
        ("cpu", "memory", "memory"),
        PROVISIONED.get(workload, ()),
        ("requests", "requests", "limits"),
        strict=False,
    ):
        labels = {**here, "container": "app", "resource": resource}
        history.add(f"kube_pod_container_resource_{kind}", labels, ((at, value) for at in times))
    history.add("kube_pod_container_info", {**here, "container": "app"}, ((at, 1.0) for at in times))


def told_of_kill(history: History, begin: int, end: int) -> None:
    """One restart two minutes after the beginning of a window; the reason stays as the last one."""
    here = {"namespace": "shop", "pod": "db-0", "container": "app"}
    at = begin + KILLED * WINDOW + 120
    times = range(begin, end + 1800, SCRAPE)
    history.add("kube_pod_container_status_restarts_total", here, ((t, float(t >= at)) for t in times))
    reason = {**here, "reason": "OOMKilled"}
    history.add(
        "kube_pod_container_status_last_terminated_reason", reason, ((t, 1.0) for t in times if t >= at)
    )


def backtest(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return kubefinops("backtest", *arguments, timeout=120, environment=environment)


def document(*arguments: str) -> dict[str, Any]:
    done = backtest(*arguments, *PACE, "--format", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_prometheus_says_what_the_same_usage_says_as_traces(both: Both, tmp_path: Path) -> None:
    emitted = [tmp_path / "live.csv", tmp_path / "recorded.csv"]
    plot = tmp_path / "frontier.svg"
    live = document("--prometheus", both.address, "--emit", str(emitted[0]), "--plot", str(plot))
    recorded = document("--traces", str(both.traces), "--start", "set", "--emit", str(emitted[1]))
    assert live["traces"] == recorded["traces"] == {"local": 2}
    assert list(live["strategies"]) == list(recorded["strategies"])
    for key in ("strategies", "against_as_provisioned"):
        for name, figures in live[key].items():
            assert figures == pytest.approx(recorded[key][name], rel=1e-5, abs=1e-5), name
    assert live["strategies"]["as provisioned"]["weeks"] == 4
    assert live["left_out"] == [
        {"number": 1, "what": "container", "why": "less than 288 windows of 5 minutes"},
        {"number": 1, "what": "container", "why": BEST_EFFORT},
    ]
    assert plot.read_text().startswith("<svg")
    rows = []
    for path in emitted:
        with path.open() as file:
            rows.append(list(csv.DictReader(file)))
    assert len(rows[0]) == 10 * 2 * 2
    for one, other in zip(*rows, strict=True):
        for column, value in one.items():
            if column.endswith(("cores", "bytes")) and value:
                assert float(value) == pytest.approx(float(other[column]), rel=1e-5)
            else:
                assert value == other[column]


def test_the_table_tells_what_would_have_been_saved_and_killed(both: Both) -> None:
    done = backtest("--prometheus", both.address, *PACE, "--strategy", "balanced")
    assert (done.returncode, done.stderr) == (0, "")
    recorded = backtest(
        *("--traces", str(both.traces), "--start", "set", *PACE),
        *("--strategy", "as provisioned", "--strategy", "balanced"),
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith((" as provisioned", " balanced"))]
    assert lines == [
        line for line in recorded.stdout.splitlines() if line.startswith((" as provisioned", " balanced"))
    ]
    # Of two containers and two days, db's limit of 300Mi killed on one; balanced sets more.
    compared = re.split(r" {2,}", lines[-1].strip())
    assert compared[0] == "balanced"
    assert compared[-3:] == ["0", "1", "4"]
    assert "1 container with OOM kills" in done.stdout
    assert "as provisioned: requests and limits as they are now" in done.stdout
    assert "3.0 days (asked for: 28) in windows of 5 minutes" in done.stdout
    assert "left out, 1 container: less than 288 windows of 5 minutes" in done.stdout
    assert f"left out, 1 container: {BEST_EFFORT}" in done.stdout
    assert "priced at 0.031611 USD a core-hour" in done.stdout


def test_from_nothing_sizes_are_the_estimators_own_and_not_kept_for_what_was_set(both: Both) -> None:
    asked = ("--prometheus", both.address, "--strategy", "balanced")
    found = [document(*asked, *start) for start in ((), ("--start", "set"), ("--start", "nothing"))]
    as_it_is, is_set, nothing = (each["strategies"]["balanced"] for each in found)
    assert as_it_is == is_set
    recorded = document("--traces", str(both.traces), "--strategy", "balanced")["strategies"]["balanced"]
    assert nothing == pytest.approx(recorded, rel=1e-5, abs=1e-5)
    assert nothing["memory_requested"] != pytest.approx(is_set["memory_requested"], rel=0.01)


def test_the_rates_are_those_of_the_settings(both: Both) -> None:
    done = backtest(
        *("--prometheus", both.address, *PACE, "--strategy", "balanced", "--format", "json"),
        KUBEFINOPS_PRICE_CORE_HOUR="1",
        KUBEFINOPS_PRICE_GIB_HOUR="0",
        KUBEFINOPS_CURRENCY="EUR",
    )
    found = json.loads(done.stdout)
    assert found["currency"] == "EUR"
    # Two pods of a core each at nearly all times, for 20 windows three, and one of two cores: 730 hours.
    days = (PODS["web", "web-c"][1] - PER_DAY) * 2 + 20
    expected = (days / (2 * PER_DAY) * 1.0 + 2.0) * 730
    assert found["strategies"]["as provisioned"]["monthly_cost"] == pytest.approx(expected)


def test_too_short_a_history_says_how_short_and_what_to_change(both: Both) -> None:
    done = backtest("--prometheus", both.address)
    assert done.returncode == 1
    assert done.stderr == (
        "kubefinops: local: 3.0 days, 21 are needed: choose shorter ones (--learn-days, --hold-days)\n"
    )


def test_what_is_not_there_is_said_in_one_line(both: Both) -> None:
    done = backtest("--prometheus", both.address, "--namespace", "nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"kubefinops: no namespace nowhere at {both.address}; seen: shop\n"
    done = backtest("--prometheus", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr == "kubefinops: no Prometheus answers at http://127.0.0.1:1: connection refused\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "--traces DIR or --prometheus URL: one of them is needed"),
        (("--traces", ".", "--prometheus", "http://x"), "--traces and --prometheus: one of them only"),
        (("--traces", ".", "--namespace", "shop"), "--namespace goes with --prometheus"),
        (("--traces", ".", "--weeks", "2"), "--weeks goes with --prometheus"),
        (("--prometheus", "localhost:9090"), "--prometheus: must be an address"),
        (("--prometheus", "http://x", "--weeks", "2"), "--weeks: 2 are 14 days"),
        (("--prometheus", "http://x", "--label", "eu"), "--label: 'eu' is not labels"),
        (("--prometheus", "http://x", "--strategy", "magic"), "--strategy: no 'magic'"),
        (("--traces", ".", "--learn-days", "nan"), "--learn-days and --hold-days: more than 0 days, and"),
        (("--traces", ".", "--hold-days", "1e308"), "--learn-days and --hold-days: more than 0 days, and"),
        (("--prometheus", "http://x", "--emit", "/nowhere/x.csv"), "--emit: there is no folder"),
        (("--prometheus", "http://x", "--plot", "/"), "--plot: / is a folder"),
        (
            ("--prometheus", "http://x", "--emit", "x.svg", "--plot", "x.svg"),
            "--emit and --plot: x.svg for both",
        ),
    ],
)
def test_what_is_wrongly_asked_ends_with_2(arguments: tuple[str, ...], says: str) -> None:
    done = backtest(*arguments, PROMETHEUS_URL="")
    assert done.returncode == 2
    assert done.stderr.startswith(f"kubefinops: {says}")
    assert done.stderr.count("\n") == 1


def test_the_variable_names_the_prometheus_unless_there_are_traces(both: Both) -> None:
    nobody = {"PROMETHEUS_URL": "http://127.0.0.1:1"}
    assert backtest(**nobody).returncode == 1
    assert backtest("--traces", str(both.traces), *PACE, "--strategy", "krr", **nobody).returncode == 0
