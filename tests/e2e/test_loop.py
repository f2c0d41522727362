"""The loop as `make run` runs it: on generated usage, and on the measured traces where they are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from confluent_kafka import Producer

from infra.emulator.run import Loop
from infra.grafana.queries import panel_queries
from shared.contracts.quantities import parse_cpu, parse_memory
from shared.contracts.topics import PRODUCT_TOPICS
from tests.e2e.loops import Ran, check_invariants, finish, started
from tests.waiting import until

Headers = list[tuple[str, str | bytes | None]]

ROOT = Path(__file__).resolve().parents[2]
TRACES = ROOT.parent / "shared" / "data" / "traces"
DASHBOARD = ROOT / "infra" / "grafana" / "provisioning" / "dashboards"


@pytest.fixture(scope="module", params=["generated", "measured"])
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    traces = None
    if request.param == "measured":
        if not TRACES.is_dir():
            pytest.skip("the measured traces are not beside this checkout")
        traces = TRACES
    with started(tmp_path_factory.mktemp(request.param), traces=traces) as loop:
        cloned = tmp_path_factory.mktemp("clone") / "deploy"
        proposed(loop, cloned)
        yield finish(loop)


def proposed(loop: Loop, clone: Path) -> None:
    """`kubefinops propose` on one Application's folder, before the loop has changed anything."""
    origin = next((loop.stack.demo / "repos").glob("*/*.git"))
    subprocess.run(["git", "clone", "-q", str(origin), str(clone)], check=True)
    scenario = json.loads((loop.stack.demo / "scenario.json").read_text())
    path = max(
        (one["spec"]["source"]["path"] for one in scenario["applications"]),
        key=lambda folder: len(list((clone / folder).rglob("*.yaml"))),
    )
    command = [str(Path(sys.executable).with_name("kubefinops")), "propose", "--repo", str(clone)]
    command += ["--path", path, "--prometheus", loop.stack.environment["PROMETHEUS_URL"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    diff = subprocess.run(
        ["git", "-C", str(clone), "diff", "-U0"], capture_output=True, text=True, check=True
    ).stdout
    changed = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert changed
    # Nothing but quantities is touched: no comment, no order, no quote.
    assert all(re.search(r"(cpu|memory|requests|limits|resources)\b", line) for line in changed), changed


def live(ran: Ran, row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The resources of each container as the cluster runs it now."""
    group = "batch" if row["kind"] in {"CronJob", "Job"} else "apps"
    url = ran.stack.standins["cluster"].address
    path = f"/apis/{group}/v1/namespaces/{row['namespace']}/{row['kind'].lower()}s/{row['name']}"
    spec = requests.get(url + path, timeout=5).json()["spec"]
    template = spec["jobTemplate"]["spec"]["template"] if row["kind"] == "CronJob" else spec["template"]
    return {one["name"]: one["resources"] for one in template["spec"]["containers"]}


def merged(ran: Ran) -> str:
    repository = next((ran.stack.demo / "repos").glob("*/*.git"))
    command = ["git", "--git-dir", str(repository), "log", "--format=%an %s", "main"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_it_comes_to_its_end_with_every_event_audited_and_no_dead_letter(ran: Ran) -> None:
    check_invariants(ran)
    assert ran.summary["dead_letters"] == 0
    assert ran.summary["audit_records"] == sum(ran.summary["topics"][topic] for topic in PRODUCT_TOPICS)


def test_it_shows_twelve_workloads_in_three_namespaces_and_four_applications(ran: Ran) -> None:
    rows = ran.summary["workloads"]
    assert len(rows) >= 12
    assert len({row["namespace"] for row in rows}) >= 3
    scenario = json.loads((ran.stack.demo / "scenario.json").read_text())
    assert len(scenario["applications"]) >= 4


def test_it_shows_each_ending(ran: Ran) -> None:
    assert len(ran.rows("applied")) >= 3
    assert ran.rows("violated")
    waiting = ran.rows("pr_open")
    assert waiting
    assert all(row["verdict"] == "require_approval" for row in waiting)
    assert any("sync" in row["reason"].lower() for row in ran.rows("failed"))
    skipped = " | ".join(row["reason"] for row in ran.rows("skipped"))
    assert "HorizontalPodAutoscaler" in skipped or "HPA" in skipped
    assert "history" in skipped or "too little" in skipped


def test_what_is_applied_runs_in_the_cluster_with_the_proposed_values(ran: Ran) -> None:
    for row in ran.rows("applied"):
        running = live(ran, row)
        for container in row["containers"]:
            requests_ = running[container["name"]]["requests"]
            assert parse_cpu(requests_["cpu"]) == container["cpu_request_m"][1]
            assert parse_memory(requests_["memory"]) == container["memory_request_bytes"][1]
            if container["memory_limit_bytes"][1] is not None:
                limit = running[container["name"]]["limits"]["memory"]
                assert parse_memory(limit) == container["memory_limit_bytes"][1]


def test_what_waits_or_was_refused_is_not_in_the_cluster(ran: Ran) -> None:
    for row in [*ran.rows("violated"), *ran.rows("pr_open")]:
        running = live(ran, row)
        for container in row["containers"]:
            assert parse_cpu(running[container["name"]]["requests"]["cpu"]) == container["cpu_request_m"][0]


def test_git_holds_every_merged_change_by_its_own_commits(ran: Ran) -> None:
    assert "kubefinops" in merged(ran)
    repository = next((ran.stack.demo / "repos").glob("*/*.git"))
    command = ["git", "--git-dir", str(repository), "archive", "main"]
    archive = subprocess.run(command, capture_output=True, check=True).stdout
    files = subprocess.run(
        ["tar", "-xO", "--wildcards", "*.yaml"], input=archive, capture_output=True, check=True
    )
    assert list(yaml.safe_load_all(files.stdout.decode().replace("\napiVersion", "\n---\napiVersion")))


def test_every_panel_of_the_dashboard_has_data(ran: Ran) -> None:
    address = ran.stack.environment["PROMETHEUS_URL"]

    def shows(expression: str) -> bool:
        answer = requests.get(f"{address}/api/v1/query", params={"query": expression}, timeout=30).json()
        assert answer["status"] == "success", (expression, answer)
        return bool(answer["data"]["result"])

    for path in DASHBOARD.glob("**/*.json"):
        for title, expression in panel_queries(path):
            print(f"{title}: {expression}")
            # A rate over a minute needs a minute of scrapes, and the present has only just begun.
            until(lambda expression=expression: shows(expression), within=75)  # type: ignore[misc]


@pytest.mark.parametrize("path", ["github", "argocd"])
def test_a_forged_webhook_is_refused_and_emits_nothing(ran: Ran, path: str) -> None:
    assert ran.stack.functions is not None
    before = len(ran.loop.watcher.records)
    for headers in ({}, {"Authorization": "Bearer guess", "X-Hub-Signature-256": "sha256=00"}):
        answer = requests.post(
            f"{ran.stack.functions['receiver'].url}/webhooks/{path}", data=b"{}", headers=headers, timeout=5
        )
        assert answer.status_code == 401
    assert len(ran.loop.watcher.records) == before


def test_poison_becomes_a_dead_letter_with_a_readable_reason_and_the_loop_goes_on(ran: Ran) -> None:
    producer = Producer({"bootstrap.servers": ran.stack.environment["KAFKA_BOOTSTRAP_SERVERS"]})
    good = next(seen for seen in ran.loop.watcher.records if seen.topic == "recommendation.created")
    no_event: Headers = [("content-type", b"application/json")]
    wrong_type: Headers = [(n, b"x.y.z" if n == "ce_type" else v.encode()) for n, v in good.headers.items()]
    right_type: Headers = [(n, v.encode()) for n, v in good.headers.items()]
    producer.produce("recommendation.created", value=b"{}", headers=no_event)
    producer.produce("recommendation.created", value=good.value.encode(), headers=wrong_type)
    producer.produce("recommendation.created", value=b'{"cluster": 1}', headers=right_type)
    producer.produce("recommendation.created", value=b"{not json", headers=right_type)
    producer.flush(10)

    def letters() -> list[str]:
        return [
            seen.headers.get("ce_knativeerrordata", "")
            for seen in ran.loop.watcher.records
            if seen.topic == "recommendation.created.dlq"
        ]

    # policy and audit both read this topic: each refuses what it cannot read.
    until(lambda: len(letters()) >= 8, within=20)
    assert all(letters())
    assert ran.loop.stack.eventing is not None
    assert ran.loop.stack.eventing.fire("reconcile")


def test_scan_on_the_command_line_needs_nothing_but_this_prometheus(ran: Ran) -> None:
    command = [str(Path(sys.executable).with_name("kubefinops")), "scan", "--format", "json"]
    command += ["--prometheus", ran.stack.environment["PROMETHEUS_URL"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={"PATH": ""})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def test_status_tells_a_recommendations_story(ran: Ran) -> None:
    row = ran.rows("applied")[0]
    command = [str(Path(sys.executable).with_name("kubefinops")), "status"]
    command += [f"{row['namespace']}/{row['kind']}/{row['name']}"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "", **ran.stack.environment},
    )
    assert done.returncode == 0, done.stderr
    assert "merged -> applied by argocd" in done.stdout
