"""The stand-in of Argo CD syncs what is merged in a real bare repository."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.argocd_standin import TOKEN, Repository, Starter, application, cpu_of, deployment
from tests.fakes.kubernetes import FakeKubernetes

Object = dict[str, Any]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


@pytest.fixture
def kubernetes() -> Iterator[FakeKubernetes]:
    with FakeKubernetes() as running:
        yield running


@pytest.fixture
def start(tmp_path: Path, kubernetes: FakeKubernetes) -> Iterator[Starter]:
    starter = Starter(tmp_path, kubernetes)
    yield starter
    starter.stop()


def test_a_merged_change_goes_live_and_is_reported(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter
) -> None:
    first = repository.commit({"apps/shop/web.yaml": deployment("web")})
    argocd = start()
    assert argocd.reconciled()["sync"]["revision"] == first
    second = repository.commit({"apps/shop/web.yaml": deployment("web", cpu="150m")})

    status = argocd.reconciled()

    assert cpu_of(kubernetes.live("web")) == "150m"
    assert status["sync"]["status"] == "Synced"
    assert status["sync"]["revision"] == second
    assert status["health"]["status"] == "Healthy"
    state = status["operationState"]
    assert (state["phase"], state["message"]) == ("Succeeded", "successfully synced (all tasks run)")
    assert state["startedAt"] == state["finishedAt"] == "2026-11-23T18:00:00Z"
    assert state["operation"]["initiatedBy"] == {"automated": True}
    assert state["syncResult"]["revision"] == second
    assert state["syncResult"]["source"]["path"] == "apps/shop"
    [result] = state["syncResult"]["resources"]
    assert (result["kind"], result["name"], result["status"]) == ("Deployment", "web", "Synced")
    assert [(entry["id"], entry["revision"]) for entry in status["history"]] == [(0, first), (1, second)]
    [resource] = status["resources"]
    assert resource == {
        "group": "apps",
        "version": "v1",
        "kind": "Deployment",
        "namespace": "shop",
        "name": "web",
        "status": "Synced",
        "health": {"status": "Healthy"},
    }


def test_what_lives_as_merged_is_in_sync_without_an_operation(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter
) -> None:
    repository.commit({"apps/shop/web.yaml": deployment("web", cpu="1000m")})
    manifest = json.loads(deployment("web", cpu="1", namespace="shop"))
    kubernetes.apply("deployments", "shop", "web", manifest)

    status = start().reconciled()

    assert status["sync"]["status"] == "Synced"
    assert "operationState" not in status
    assert kubernetes.applied == []


def test_a_commit_that_changes_nothing_here_moves_the_revision_without_an_operation(
    repository: Repository, start: Starter
) -> None:
    first = repository.commit({"apps/shop/web.yaml": deployment("web")})
    argocd = start()
    argocd.reconciled()
    second = repository.commit({"README.md": "hello"})

    status = argocd.reconciled()

    assert status["sync"]["revision"] == second
    assert status["operationState"]["syncResult"]["revision"] == first


def test_a_field_that_the_manifest_drops_is_a_difference(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter
) -> None:
    with_replicas = deployment("web")
    repository.commit({"apps/shop/web.yaml": with_replicas})
    argocd = start(application(syncPolicy={}))
    kubernetes.apply("deployments", "shop", "web", json.loads(deployment("web", namespace="shop")))
    assert argocd.reconciled()["sync"]["status"] == "Synced"
    repository.commit({"apps/shop/web.yaml": with_replicas.replace('"replicas": 2, ', "")})

    assert argocd.reconciled()["sync"]["status"] == "OutOfSync"


def test_a_refused_object_fails_the_sync_once_per_revision(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter
) -> None:
    files = {"apps/shop/web.yaml": deployment("web"), "apps/shop/cart.yaml": deployment("cart")}
    commit = repository.commit({**files})
    kubernetes.refusing["web"] = "spec.template.spec.containers[0].resources.requests: Invalid value"
    argocd = start()

    status = argocd.reconciled()

    reason = (
        'Deployment.apps "web" is invalid: spec.template.spec.containers[0].resources.requests: Invalid value'
    )
    assert status["operationState"]["phase"] == "Failed"
    assert status["operationState"]["message"] == f"one or more objects failed to apply, reason: {reason}"
    results = {one["name"]: one for one in status["operationState"]["syncResult"]["resources"]}
    assert (results["web"]["status"], results["web"]["message"]) == ("SyncFailed", reason)
    assert results["cart"]["status"] == "Synced"
    assert status["sync"]["status"] == "OutOfSync"
    assert "history" not in status
    conditions = argocd.reconciled()["conditions"]
    assert [condition["type"] for condition in conditions] == ["SyncError"]
    assert conditions[0]["message"].startswith(f"Failed last sync attempt to [{commit}]: one or")
    assert kubernetes.applied == ["cart", "web"]

    kubernetes.refusing.clear()
    repository.commit({"apps/shop/web.yaml": deployment("web", cpu="100m")})

    status = argocd.reconciled()
    assert status["operationState"]["phase"] == "Succeeded"
    assert "conditions" not in status


def test_a_failed_sync_is_retried_as_its_policy_says(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter
) -> None:
    repository.commit({"apps/shop/web.yaml": deployment("web")})
    kubernetes.refusing["web"] = "no"
    retry = {"limit": 2, "backoff": {"duration": "10s", "factor": 3}}
    argocd = start(application(syncPolicy={"automated": {}, "retry": retry}))

    state = argocd.reconciled()["operationState"]
    assert (state["phase"], state["retryCount"], state["finishedAt"]) == (
        "Running",
        1,
        "2026-11-23T18:00:00Z",
    )
    assert state["message"].endswith("is invalid: no. Retrying attempt #1 at 6:00PM.")
    argocd.later(seconds=9)
    argocd.reconciled()
    assert len(kubernetes.applied) == 1
    argocd.later(seconds=1)
    assert argocd.reconciled()["operationState"]["retryCount"] == 2
    argocd.later(seconds=29)
    argocd.reconciled()
    assert len(kubernetes.applied) == 2
    argocd.later(seconds=1)

    state = argocd.reconciled()["operationState"]
    assert (state["phase"], state["finishedAt"]) == ("Failed", "2026-11-23T18:00:40Z")
    assert state["message"].endswith("(retried 2 times).")


def test_an_automated_sync_without_a_retry_policy_is_tried_six_times_in_all(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter
) -> None:
    repository.commit({"apps/shop/web.yaml": deployment("web")})
    kubernetes.refusing["web"] = "no"
    argocd = start(application(syncPolicy={"automated": {}}))
    argocd.reconciled()
    for _ in range(5):
        argocd.later(minutes=3)
        state = argocd.reconciled()["operationState"]

    assert state["phase"] == "Failed"
    assert len(kubernetes.applied) == 6


def test_a_rollout_is_progressing_until_its_replicas_are_there(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter
) -> None:
    repository.commit({"apps/shop/web.yaml": deployment("web")})
    kubernetes.holding = True
    argocd = start()

    status = argocd.reconciled()
    assert status["operationState"]["phase"] == "Succeeded"
    assert status["health"]["status"] == "Progressing"
    waiting = "Waiting for rollout to finish: observed deployment generation less than desired generation"
    assert status["resources"][0]["health"] == {"status": "Progressing", "message": waiting}

    argocd.later(seconds=7)
    kubernetes.settle("web")
    assert argocd.reconciled()["health"] == {
        "status": "Healthy",
        "lastTransitionTime": "2026-11-23T18:00:07Z",
    }


def test_a_rollout_past_its_deadline_is_degraded(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter
) -> None:
    repository.commit({"apps/shop/web.yaml": deployment("web")})
    kubernetes.holding = True
    argocd = start()
    argocd.reconciled()
    kubernetes.exceed_deadline("web")

    status = argocd.reconciled()

    assert status["health"]["status"] == "Degraded"
    assert status["resources"][0]["health"]["message"] == 'Deployment "web" exceeded its progress deadline'
    assert status["operationState"]["phase"] == "Succeeded"


def test_a_kustomize_overlay_is_built(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter
) -> None:
    patch = '[{"op": "replace", "path": "/spec/replicas", "value": 5}]'
    repository.commit(
        {
            "base/web.yaml": deployment("web"),
            "base/kustomization.yaml": "resources: [web.yaml]",
            "prod/kustomization.yaml": "resources: [../base]\n"
            f"patches: [{{patch: '{patch}', target: {{name: web}}}}]",
        }
    )

    status = start(application(path="prod")).reconciled()

    assert status["sourceType"] == "Kustomize"
    assert status["sync"]["status"] == "Synced"
    assert kubernetes.live("web")["spec"]["replicas"] == 5


def test_only_a_recursing_directory_reads_its_folders(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter
) -> None:
    many = deployment("one") + "\n---\n" + deployment("two")
    repository.commit({"apps/shop/many.yaml": many, "apps/shop/deep/three.yml": deployment("three")})
    flat = application()
    deep = application("deep")
    deep["spec"]["source"]["directory"] = {"recurse": True}
    argocd = start(flat, deep)

    assert [one["name"] for one in argocd.reconciled()["resources"]] == ["one", "two"]
    assert [one["name"] for one in argocd.reconciled("deep")["resources"]] == ["one", "three", "two"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"apps/shop/web.yaml": "kind: [Deployment"}, "Failed to unmarshal 'web.yaml'"),
        ({"apps/shop/web.yaml": "replicas: 3"}, "Object 'Kind' or 'apiVersion' is missing"),
        ({"elsewhere/web.yaml": deployment("web")}, "apps/shop: app path does not exist"),
        ({"apps/shop/kustomization.yaml": "resources: [gone.yaml]"}, "`kustomize build` failed"),
        ({"apps/shop/Chart.yaml": "name: shop"}, "Helm charts are not rendered"),
    ],
)
def test_what_cannot_be_rendered_is_a_comparison_error_and_changes_nothing(
    repository: Repository,
    kubernetes: FakeKubernetes,
    start: Starter,
    files: dict[str, str | None],
    reason: str,
) -> None:
    repository.commit(files)

    status = start().reconciled()

    assert status["sync"]["status"] == "Unknown"
    [condition] = status["conditions"]
    assert condition["type"] == "ComparisonError"
    assert condition["message"].startswith(
        "Failed to load target state: failed to generate manifest for source 1 of 1"
    )
    assert reason in condition["message"]
    assert kubernetes.applied == []


def test_a_cluster_that_is_down_is_a_comparison_error_until_it_is_back(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter
) -> None:
    repository.commit({"apps/shop/web.yaml": deployment("web")})
    kubernetes.down = True
    argocd = start()
    status = argocd.reconciled()
    assert status["sync"]["status"] == "Unknown"
    assert status["conditions"][0]["message"].startswith("Failed to load live state")

    kubernetes.down = False

    assert argocd.reconciled()["sync"]["status"] == "Synced"


@pytest.mark.parametrize("prune", [False, True])
def test_a_removed_manifest_goes_from_the_cluster_only_where_pruning_is_on(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter, *, prune: bool
) -> None:
    repository.commit({"apps/shop/web.yaml": deployment("web"), "apps/shop/old.yaml": deployment("old")})
    argocd = start(application(syncPolicy={"automated": {"prune": prune}}))
    argocd.reconciled()
    repository.commit({"apps/shop/old.yaml": None, "apps/shop/web.yaml": deployment("web", cpu="1")})

    status = argocd.reconciled()

    results = {one["name"]: one["status"] for one in status["operationState"]["syncResult"]["resources"]}
    assert results == {"web": "Synced", "old": "Pruned" if prune else "PruneSkipped"}
    assert ("deployments", "shop", "old") in kubernetes.objects or prune
    assert status["sync"]["status"] == ("Synced" if prune else "OutOfSync")
    assert [one["name"] for one in status["resources"] if one.get("requiresPruning")] == (
        [] if prune else ["old"]
    )


def test_a_revision_without_any_manifest_does_not_wipe_out_the_application(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter
) -> None:
    repository.commit({"apps/shop/web.yaml": deployment("web")})
    argocd = start(application(syncPolicy={"automated": {"prune": True}}))
    argocd.reconciled()
    repository.commit({"apps/shop/web.yaml": None, "apps/shop/README.md": "empty"})

    status = argocd.reconciled()

    assert "auto-sync will wipe out all resources" in status["conditions"][0]["message"]
    assert cpu_of(kubernetes.live("web")) == "500m"


@pytest.mark.parametrize("self_heal", [False, True])
def test_a_change_by_hand_is_undone_only_where_self_heal_is_on(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter, *, self_heal: bool
) -> None:
    repository.commit({"apps/shop/web.yaml": deployment("web")})
    argocd = start(application(syncPolicy={"automated": {"selfHeal": self_heal}}))
    argocd.reconciled()
    kubernetes.apply("deployments", "shop", "web", {"spec": {"replicas": 9}})
    assert argocd.reconciled()["sync"]["status"] == "OutOfSync"
    argocd.later(seconds=5)

    status = argocd.reconciled()

    assert kubernetes.live("web")["spec"]["replicas"] == (2 if self_heal else 9)
    assert status["sync"]["status"] == ("Synced" if self_heal else "OutOfSync")
    assert len(status["history"]) == 1


def test_ignored_differences_are_none_and_a_sync_that_respects_them_leaves_them(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter
) -> None:
    rule = {
        "group": "apps",
        "kind": "Deployment",
        "jsonPointers": ["/spec/replicas"],
        "jqPathExpressions": [".spec.template.spec.containers[].resources"],
    }
    policy = {"automated": {}, "syncOptions": ["RespectIgnoreDifferences=true"]}
    repository.commit({"apps/shop/web.yaml": deployment("web")})
    argocd = start(application(ignoreDifferences=[rule], syncPolicy=policy))
    argocd.reconciled()
    repository.commit({"apps/shop/web.yaml": deployment("web", cpu="50m")})
    status = argocd.reconciled()
    assert status["sync"]["status"] == "Synced"
    assert status["sync"]["comparedTo"]["ignoreDifferences"] == [rule]
    assert len(kubernetes.applied) == 1

    repository.commit({"apps/shop/web.yaml": deployment("web", cpu="50m", labels={"tier": "front"})})
    status = argocd.reconciled()

    assert status["operationState"]["phase"] == "Succeeded"
    assert kubernetes.live("web")["metadata"]["labels"] == {"tier": "front"}
    assert cpu_of(kubernetes.live("web")) == "500m"


def test_kinds_are_applied_in_argo_cds_order_and_waves_one_after_the_other(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter
) -> None:
    settings = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "zz-settings"}}'
    late = deployment("late", annotations={"argocd.argoproj.io/sync-wave": "1"})
    repository.commit(
        {
            "apps/shop/a.yaml": late,
            "apps/shop/b.yaml": deployment("web"),
            "apps/shop/c.yaml": settings,
        }
    )
    kubernetes.holding = True
    argocd = start(application(syncPolicy={"automated": {}, "syncOptions": ["CreateNamespace=true"]}))

    state = argocd.reconciled()["operationState"]
    assert kubernetes.applied == ["shop", "zz-settings", "web"]
    assert state["phase"] == "Running"
    assert state["message"].startswith("waiting for healthy state of ")
    assert argocd.reconciled()["operationState"]["phase"] == "Running"
    kubernetes.settle("web")

    assert argocd.reconciled()["operationState"]["phase"] == "Succeeded"
    assert kubernetes.applied[-1] == "late"


# The processes


@contextmanager
def running(module: str, *options: object) -> Iterator[str]:
    """The address of a stand-in started as a process; it ends with status 0."""
    command = [sys.executable, "-m", module, "--port", "0", *map(str, options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready, url = process.stdout.readline().split()
            assert ready == "ready"
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0


def test_the_stand_ins_of_argo_cd_and_of_a_cluster_deploy_together(
    tmp_path: Path, repository: Repository
) -> None:
    repository.commit({"apps/shop/web.yaml": deployment("web")})
    lives = json.loads(deployment("web", namespace="shop"))
    scenario = tmp_path / "scenario.json"
    whole = {
        "now": time.time(),
        "startup_seconds": 0.2,
        "nodes": [{"name": "node-1", "cpu": 4, "memory_bytes": 8 << 30}],
        "objects": [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}, lives],
        "applications": [application()],
    }
    scenario.write_text(json.dumps(whole))
    options = ("--repos", tmp_path, "--token", TOKEN, "--scenario", scenario, "--poll", 0.05)
    with (
        running("infra.standins.cluster", "--scenario", scenario) as cluster,
        running("infra.standins.argocd", *options, "--cluster", cluster) as argocd,
        requests.Session() as session,
    ):
        session.headers["Authorization"] = f"Bearer {TOKEN}"

        def status_when(holds: Callable[[Object], bool]) -> Object:
            deadline = time.monotonic() + 15
            while time.monotonic() < deadline:
                answer = session.get(f"{argocd}/api/v1/applications/shop", timeout=5).json()
                if answer["status"] and holds(answer["status"]):
                    status: Object = answer["status"]
                    return status
                time.sleep(0.02)
            raise AssertionError(answer["status"])

        begun = status_when(lambda status: status["health"]["status"] == "Healthy")
        assert begun["sync"]["status"] == "Synced", "what the cluster began with is what was merged"
        assert "operationState" not in begun

        merged = repository.commit({"apps/shop/web.yaml": deployment("web", cpu="0.15")})
        status_when(lambda status: status["health"]["status"] == "Progressing")
        applied = status_when(
            lambda status: (
                status["health"]["status"] == "Healthy" and status["sync"].get("revision") == merged
            )
        )
        assert applied["operationState"]["phase"] == "Succeeded"
        [item] = session.get(f"{argocd}/api/v1/applications/shop/managed-resources", timeout=5).json()[
            "items"
        ]
        assert cpu_of(json.loads(item["liveState"])) == "150m"
        tree = session.get(f"{argocd}/api/v1/applications/shop/resource-tree", timeout=5).json()
        assert {node["kind"] for node in tree["nodes"]} == {"Deployment", "ReplicaSet", "Pod"}

        repository.commit({"apps/shop/web.yaml": deployment("web", cpu="-1")})
        failed = status_when(lambda status: status.get("operationState", {}).get("phase") == "Failed")
        assert failed["sync"]["status"] == "OutOfSync"


def test_a_scenario_that_cannot_be_used_is_one_line_and_exit_status_2(tmp_path: Path) -> None:
    options = ["--port", "0", "--cluster", "http://127.0.0.1:1", "--repos", str(tmp_path), "--token", TOKEN]
    command = [sys.executable, "-m", "infra.standins.argocd", "--scenario", str(tmp_path / "none.json")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "none.json" in done.stderr
