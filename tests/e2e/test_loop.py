"""The loop as `make run` runs it: on generated usage, and on the measured traces where they are."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from functions.policy.judging import judge
from infra.emulator.run import Loop, require_workloads
from infra.emulator.servers.prometheus import ScrapeJob
from infra.emulator.stack import SCRAPED_PORTS, Options, Stack, Usage
from infra.grafana.queries import panel_queries
from shared.contracts.documents import Recommendation
from shared.contracts.events import Outcome as Verdict
from shared.contracts.events import Resources
from shared.contracts.policy import DEFAULT_POLICY
from shared.contracts.quantities import MIB, parse_cpu, parse_memory
from shared.contracts.topics import PRODUCT_TOPICS, Topic
from tests.bench.loop import RESIDENT_MIB, resident_mib
from tests.e2e.conftest import Undisturbed
from tests.e2e.git import (
    Git,
    Subject,
    containers,
    hunks,
    only_quantities,
    rendered,
    values,
    without_quantities,
)
from tests.e2e.loops import Ran, check_invariants, finish, outcome, started
from tests.servers import mongo_server, objectstore_server, prometheus_server
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
TRACES = ROOT.parent / "shared" / "data" / "traces"
DASHBOARD = ROOT / "infra" / "grafana" / "provisioning" / "dashboards"
KUBEFINOPS = str(Path(sys.executable).with_name("kubefinops"))
FIELDS = ("cpu_request_m", "memory_request_bytes", "cpu_limit_m", "memory_limit_bytes")


@dataclass(frozen=True)
class Proposed:
    """A clone of the repository in which `kubefinops propose` has been at work on one Application."""

    application: str
    clone: Path


@pytest.fixture(scope="module", params=["generated", "measured"])
def loop(
    request: pytest.FixtureRequest, past: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Loop]:
    if request.param == "measured" and not TRACES.is_dir():
        pytest.skip("the measured traces are not beside this checkout")
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "generated":
        with started(folder, past=past) as loop:
            yield loop
        return
    # Here three servers are somebody's own, named as `make run MONGODB_URI=...` names them. Prometheus has a
    # cluster's history, and scrapes what infra/prometheus/prometheus.yml does.
    past = folder / "past"
    Stack(Options(work=past, usage=Usage(TRACES)), {}, say=print).make_past()
    cluster, exporter = (f"127.0.0.1:{SCRAPED_PORTS[name]}" for name in ("cluster", "exporter"))
    jobs = [
        ScrapeJob("cadvisor", [cluster], "/metrics/cadvisor"),
        ScrapeJob("kube-state-metrics", [cluster], "/metrics/kube-state-metrics"),
        ScrapeJob("kubefinops", [exporter]),
    ]
    with (
        mongo_server() as mongo,
        objectstore_server() as store,
        prometheus_server(jobs=jobs, data=past / "prometheus") as prometheus,
    ):
        given = {**mongo.environment(), **store.environment(), **prometheus.environment()}
        with started(folder, past=past, traces=TRACES, given=given) as loop:
            require_workloads(loop.stack)
            yield loop


def test_servers_that_were_given_are_used_and_said_so(loop: Loop) -> None:
    kinds = {name: service["kind"] for name, service in loop.stack.services().items()}
    own = "embedded" if loop.stack.options.usage.traces is None else "given"
    assert (kinds["mongodb"], kinds["objectstore"], kinds["prometheus"]) == (own, own, own)
    assert kinds["kafka"] == "embedded"


@pytest.fixture(scope="module")
def proposed(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Proposed:
    """On the Application with most files, before the loop has changed anything."""
    git = Git.of(loop.stack)
    clone = tmp_path_factory.mktemp("clone") / "deploy"
    subprocess.run(["git", "clone", "-q", str(git.directory), str(clone)], check=True)
    application = max(
        git.applications, key=lambda name: len(list((clone / git.applications[name][0]).rglob("*.yaml")))
    )
    command = [KUBEFINOPS, "propose", "--repo", str(clone), "--path", git.applications[application][0]]
    command += ["--prometheus", loop.stack.environment["PROMETHEUS_URL"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Proposed(application, clone)


@pytest.fixture(scope="module")
def ran(loop: Loop, proposed: Proposed, undisturbed: Undisturbed) -> Ran:
    ran = finish(loop)
    if loop.stack.options.usage.traces is None:
        undisturbed.keep(outcome(ran))
    return ran


def live(ran: Ran, row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The resources of each container as the cluster runs it now."""
    group = "batch" if row["kind"] in {"CronJob", "Job"} else "apps"
    url = ran.stack.standins["cluster"].address
    path = f"/apis/{group}/v1/namespaces/{row['namespace']}/{row['kind'].lower()}s/{row['name']}"
    running = requests.get(url + path, timeout=5).json()
    return {one["name"]: one["resources"] for one in containers({"kind": row["kind"], **running})}


def subject_of(one: Recommendation) -> Subject:
    return one.workload.namespace, one.workload.kind, one.workload.name


def test_it_comes_to_its_end_with_every_event_audited_and_no_dead_letter(ran: Ran) -> None:
    check_invariants(ran)
    assert ran.summary["audit_records"] == sum(ran.summary["topics"][topic] for topic in PRODUCT_TOPICS)


def test_it_shows_twelve_workloads_in_three_namespaces_and_four_applications(ran: Ran) -> None:
    rows = ran.summary["workloads"]
    assert len(rows) >= 12
    assert len({row["namespace"] for row in rows}) >= 3
    assert len(ran.git.applications) >= 4


def test_it_shows_each_ending(ran: Ran) -> None:
    assert len(ran.rows("applied")) >= 3
    assert ran.rows("violated")
    waiting = ran.rows("pr_open")
    assert waiting
    assert all(row["verdict"] == "require_approval" for row in waiting)
    assert any("sync" in row["reason"].lower() for row in ran.rows("failed"))
    skipped = " | ".join(row["reason"] for row in ran.rows("skipped"))
    assert "too little data" in skipped
    # What it scales on is left alone; a limit of memory may be raised beside it.
    kept = [why for one in ran.recommendations for each in one.containers for why in each.reasons]
    assert any("HorizontalPodAutoscaler" in why for why in (skipped, *kept))


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
            set_ = running[container["name"]].get("requests", {}).get("cpu")
            assert (set_ and parse_cpu(set_)) == container["cpu_request_m"][0]


def test_git_deploys_the_values_of_every_merged_change_and_nothing_else_is_changed(
    ran: Ran, tmp_path: Path
) -> None:
    trees = {"before": tmp_path / "before", "after": tmp_path / "after"}
    ran.git.check_out(ran.before, trees["before"])
    ran.git.check_out(ran.after, trees["after"])
    before, after = (ran.git.deployed(tree) for tree in trees.values())
    merged = {
        subject_of(one): {each.name: each.proposed for each in one.containers}
        for one in ran.recommendations
        if "merged" in {move.after for move in one.transitions}
    }
    assert merged.keys() >= {(row["namespace"], row["kind"], row["name"]) for row in ran.rows("applied")}
    assert after.keys() == before.keys()
    for subject, deployed in after.items():
        if subject not in merged:
            assert deployed == before[subject]
            continue
        found = {one["name"]: values(one) for one in containers(deployed)}
        expected = {one["name"]: values(one) for one in containers(before[subject])} | merged[subject]
        assert found == expected, subject
        assert without_quantities(deployed) == without_quantities(before[subject])


def test_what_is_merged_replaces_quantities_in_place_by_commits_of_its_own(ran: Ran) -> None:
    assert ran.git.authors(ran.before, ran.after) == {"kubefinops"}
    lines = ran.git.changed_lines(ran.before, ran.after)
    assert lines
    for taken, put in lines:
        assert only_quantities(taken, put), (taken, put)


def test_propose_writes_what_the_loop_would_under_the_default_policy(
    ran: Ran, proposed: Proposed, tmp_path: Path
) -> None:
    ran.git.check_out(ran.before, tmp_path)
    path, namespace = ran.git.applications[proposed.application]
    judged = {subject_of(one): judge(one.proposal, [DEFAULT_POLICY]) for one in ran.recommendations}
    changed = 0
    for old, new in zip(rendered(tmp_path / path), rendered(proposed.clone / path), strict=True):
        subject = old["metadata"].get("namespace", namespace), old["kind"], old["metadata"]["name"]
        judgement = judged.get(subject)
        if judgement is None or judgement.outcome is Verdict.DENY:
            assert new == old
            continue
        changed += 1
        assert without_quantities(new) == without_quantities(old)
        wanted = {one.name: one.proposed for one in judgement.containers}
        for before, after in zip(containers(old), containers(new), strict=True):
            assert is_near(values(after), wanted.get(before["name"], values(before))), (subject, after)
    assert changed
    diff = subprocess.run(
        ["git", "-C", str(proposed.clone), "diff", "-U0"], capture_output=True, text=True, check=True
    ).stdout
    assert all(only_quantities(taken, put) for taken, put in hunks(diff)), diff


def is_near(one: Resources, other: Resources) -> bool:
    """Whether they differ by no more than the seconds between two looks can make: a step of rounding."""
    for name in FIELDS:
        a, b = getattr(one, name), getattr(other, name)
        step = 10 if name.startswith("cpu") else 16 * MIB
        if (a is None) != (b is None) or (a is not None and abs(a - b) > min(step, 0.1 * b)):
            return False
    return True


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


def test_scan_on_the_command_line_needs_nothing_but_this_prometheus(ran: Ran) -> None:
    command = [KUBEFINOPS, "scan", "--format", "json"]
    command += ["--prometheus", ran.stack.environment["PROMETHEUS_URL"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={"PATH": ""})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def test_no_function_holds_more_than_100_mib(ran: Ran) -> None:
    if ran.stack.options.usage.traces is not None:
        pytest.skip("the bound is that of the default run; more workloads at once take more")
    assert ran.stack.functions is not None
    resident = {one.name: round(resident_mib(one.pid), 1) for one in ran.stack.functions}
    assert max(resident.values()) <= RESIDENT_MIB, resident


def test_status_tells_a_recommendations_story(ran: Ran) -> None:
    row = ran.rows("applied")[0]
    command = [KUBEFINOPS, "status"]
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


def test_explain_computes_every_figure_again_from_the_report_alone(ran: Ran) -> None:
    row = ran.rows("applied")[0]
    command = [KUBEFINOPS, "explain", f"{row['namespace']}/{row['kind']}/{row['name']}"]
    environment = {"PATH": "", **ran.stack.environment, "PROMETHEUS_URL": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "equal: all" in done.stdout.splitlines()[-1]


def test_the_summary_has_the_documented_keys_and_types(ran: Ran) -> None:
    text = str
    pair = [int | None, int | None]
    check_shape(
        ran.summary,
        {
            "topics": {topic.value: int for topic in Topic},
            "workloads": [
                {
                    **dict.fromkeys(("namespace", "kind", "name", "state", "reason"), text),
                    **dict.fromkeys(("verdict", "pull_request", "monthly_saving", "currency"), text),
                    "containers": [
                        {
                            "name": text,
                            "cpu_request_m": pair,
                            "memory_request_bytes": pair,
                            "memory_limit_bytes": pair,
                        }
                    ],
                }
            ],
            "totals": {
                "workloads": int,
                "states": dict.fromkeys({row["state"] for row in ran.summary["workloads"]}, int),
                "monthly_saving_proposed": text,
                "monthly_saving_applied": text,
                "currency": text,
                "pull_requests": int,
            },
            "services": {
                name: {"kind": text, "address": text, "version": text}
                for name in ("kafka", "mongodb", "objectstore", "prometheus", "github", "argocd", "cluster")
            },
            "dead_letters": int,
            "audit_records": int,
            "seconds": {"setup": float, "run": float},
        },
        "summary",
    )
    rows = ran.summary["workloads"]
    savings = sum(Decimal(row["monthly_saving"]) for row in ran.rows("applied"))
    assert Decimal(ran.summary["totals"]["monthly_saving_applied"]) == savings
    assert ran.summary["totals"]["workloads"] == len(rows) == sum(ran.summary["totals"]["states"].values())
    assert ran.summary["totals"]["pull_requests"] == len(ran.pulls)


def check_shape(found: Any, wanted: Any, where: str) -> None:
    """Objects have these keys, lists these items: all of one kind, or one for each place."""
    if isinstance(wanted, dict):
        assert isinstance(found, dict), where
        assert wanted.keys() <= found.keys(), where
        for name, each in wanted.items():
            check_shape(found[name], each, f"{where}.{name}")
    elif isinstance(wanted, list):
        assert isinstance(found, list), where
        assert len(wanted) in (1, len(found)), where
        for index, item in enumerate(found):
            check_shape(item, wanted[index if len(wanted) > 1 else 0], f"{where}[{index}]")
    else:
        assert isinstance(found, wanted), f"{where} is {found!r}"
        assert not isinstance(found, bool), where
