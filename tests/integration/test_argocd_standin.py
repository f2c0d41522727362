"""The stand-in of Argo CD over a real bare repository and a Kubernetes API, asked through its HTTP API."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from infra.standins.argocd.notifications import Notifier
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


# Syncing


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
    repository.commit({"apps/shop/web.yaml": deployment("web"), "apps/shop/cart.yaml": deployment("cart")})
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
    assert conditions[0]["message"].startswith("Failed last sync attempt to [")
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


# Asked for by hand


def test_a_manual_application_waits_for_someone_to_sync_it(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter
) -> None:
    revision = repository.commit({"apps/shop/web.yaml": deployment("web")})
    argocd = start(application(syncPolicy={}))
    status = argocd.reconciled()
    assert (status["sync"]["status"], status["health"]["status"]) == ("OutOfSync", "Missing")

    answer = argocd.ask("POST", "/api/v1/applications/shop/sync", json={"revision": "main", "prune": True})
    assert answer.json()["operation"]["sync"] == {"revision": revision, "prune": True}
    again = argocd.ask("POST", "/api/v1/applications/shop/sync", json={})
    assert (again.status_code, again.json()["code"]) == (400, 9)
    assert "another operation is already in progress" in again.json()["message"]

    status = argocd.reconciled()
    assert status["operationState"]["phase"] == "Succeeded"
    assert status["operationState"]["operation"]["initiatedBy"] == {"username": "admin"}
    assert cpu_of(kubernetes.live("web")) == "500m"


def test_a_dry_run_changes_nothing(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter
) -> None:
    repository.commit({"apps/shop/web.yaml": deployment("web")})
    argocd = start(application(syncPolicy={}))
    argocd.ask("POST", "/api/v1/applications/shop/sync", json={"dryRun": True})

    status = argocd.reconciled()

    assert status["operationState"]["phase"] == "Succeeded"
    assert "history" not in status
    assert kubernetes.applied == []


def test_an_automated_application_is_not_synced_to_another_revision(
    repository: Repository, start: Starter
) -> None:
    first = repository.commit({"apps/shop/web.yaml": deployment("web")})
    argocd = start()
    argocd.reconciled()

    answer = argocd.ask("POST", "/api/v1/applications/shop/sync", json={"revision": first})
    assert (answer.status_code, answer.json()["code"]) == (400, 9)
    assert "auto-sync currently set to main" in answer.json()["message"]
    answer = argocd.ask("POST", "/api/v1/applications/shop/rollback", json={"id": 0})
    assert answer.json()["message"] == "rollback cannot be initiated when auto-sync is enabled"


def test_a_rollback_brings_an_earlier_deployment_back(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter
) -> None:
    repository.commit({"apps/shop/web.yaml": deployment("web", cpu="1")})
    argocd = start(application(syncPolicy={}))
    for cpu in ("2", "3"):
        argocd.ask("POST", "/api/v1/applications/shop/sync", json={})
        argocd.reconciled()
        repository.commit({"apps/shop/web.yaml": deployment("web", cpu=cpu)})
    assert cpu_of(kubernetes.live("web")) == "2"

    answer = argocd.ask("POST", "/api/v1/applications/shop/rollback", json={"id": 0})

    assert answer.status_code == 200
    assert argocd.reconciled()["sync"]["status"] == "OutOfSync"
    assert cpu_of(kubernetes.live("web")) == "1"
    assert argocd.ask("POST", "/api/v1/applications/shop/rollback", json={"id": 77}).status_code == 400


def test_a_refresh_compares_at_once(repository: Repository, start: Starter) -> None:
    repository.commit({"apps/shop/web.yaml": deployment("web")})
    argocd = start(application(syncPolicy={}))
    argocd.reconciled()
    latest = repository.commit({"apps/shop/web.yaml": deployment("web", cpu="2")})

    assert argocd.get("/shop?refresh=normal")["status"]["sync"]["revision"] == latest
    assert argocd.get("/shop?refresh=hard")["status"]["sync"]["revision"] == latest


def test_a_sync_window_keeps_syncs_away(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter
) -> None:
    repository.commit({"apps/shop/web.yaml": deployment("web")})
    window = {"kind": "deny", "schedule": "* * * * *", "duration": "1h", "applications": ["sh*"]}
    project = {"kind": "AppProject", "metadata": {"name": "frozen"}, "spec": {"syncWindows": [window]}}
    argocd = start(application(project="frozen"), project)

    assert argocd.reconciled()["sync"]["status"] == "OutOfSync"
    assert kubernetes.applied == []
    told = argocd.get("/shop/syncwindows")
    assert told["canSync"] is False
    assert told["activeWindows"][0]["kind"] == "deny"
    refused = argocd.ask("POST", "/api/v1/applications/shop/sync", json={})
    assert (refused.status_code, refused.json()["message"]) == (403, "cannot sync: blocked by sync window")


# The interface


def test_without_the_token_nobody_learns_anything_but_the_version(
    repository: Repository, start: Starter
) -> None:
    argocd = start()
    for token in ("", "wrong"):
        answer = argocd.ask("GET", "/api/v1/applications", token=token)
        assert answer.status_code == 401
        text = "no session information"
        assert answer.json() == {"error": text, "code": 16, "message": text}
    assert argocd.ask("GET", "/api/version", token="").json()["Version"].startswith("v3.")


def test_a_missing_application_is_forbidden_unless_its_project_is_named(
    repository: Repository, start: Starter
) -> None:
    argocd = start()
    hidden = argocd.ask("GET", "/api/v1/applications/gone")
    assert (hidden.status_code, hidden.json()["message"]) == (403, "permission denied")
    for path in ("gone?project=default", "shop?project=other"):
        missing = argocd.ask("GET", f"/api/v1/applications/{path}")
        name = path.partition("?")[0]
        assert (missing.status_code, missing.json()["code"]) == (404, 5)
        assert missing.json()["message"] == f'applications.argoproj.io "{name}" not found'
    assert argocd.ask("GET", "/api/v1/applications/shop?project=default").status_code == 200


def test_the_list_is_filtered_by_project_label_and_namespace(repository: Repository, start: Starter) -> None:
    repository.commit({"apps/shop/web.yaml": deployment("web")})
    elsewhere = application("other", project="infra", syncPolicy={})
    elsewhere["metadata"]["namespace"] = "teams"
    argocd = start(application(), elsewhere)
    argocd.controller.reconcile()

    def names(query: str) -> list[str]:
        return [item["metadata"]["name"] for item in argocd.get(query)["items"]]

    assert names("") == ["shop", "other"]
    assert names("?projects=infra") == ["other"]
    assert names("?selector=team%3Dshop") == ["shop"]
    assert names("?selector=team!%3Dshop,team") == ["other"]
    assert names("?appNamespace=teams") == ["other"]
    assert argocd.get("/other?appNamespace=teams")["spec"]["project"] == "infra"
    resources = argocd.get("")["items"][0]["status"]["resources"]
    assert "health" not in resources[0], "the list of Argo CD 3 leaves it to the resource tree"


def test_live_and_wanted_objects_of_an_application_are_shown(repository: Repository, start: Starter) -> None:
    revision = repository.commit({"apps/shop/web.yaml": deployment("web")}, "Begin")
    argocd = start()
    argocd.reconciled()

    [item] = argocd.get("/shop/managed-resources")["items"]
    assert cpu_of(json.loads(item["liveState"])) == "500m"
    tracking = json.loads(item["targetState"])["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"]
    assert tracking == "shop:apps/Deployment:shop/web"
    assert argocd.get("/shop/managed-resources?kind=Service")["items"] == []
    [node] = argocd.get("/shop/resource-tree")["nodes"]
    assert (node["name"], node["health"]) == ("web", {"status": "Healthy"})
    manifests = argocd.get("/shop/manifests")
    assert (manifests["revision"], manifests["sourceType"]) == (revision, "Directory")
    assert cpu_of(json.loads(manifests["manifests"][0])) == "500m"
    metadata = argocd.get(f"/shop/revisions/{revision}/metadata")
    assert (metadata["author"], metadata["message"]) == ("Ada <ada@example.org>", "Begin")
    assert argocd.get("/shop/syncwindows") == {"canSync": True}


def test_what_does_not_live_is_null_among_the_managed_resources(
    repository: Repository, start: Starter
) -> None:
    repository.commit({"apps/shop/web.yaml": deployment("web")})
    argocd = start(application(syncPolicy={}))
    argocd.reconciled()
    assert argocd.get("/shop/managed-resources")["items"][0]["liveState"] == "null"


def test_a_fault_strikes_as_often_as_asked_for(repository: Repository, start: Starter) -> None:
    argocd = start()
    fault = {"status": 503, "path": "/applications$", "times": 2}
    assert argocd.ask("POST", "/_standin/faults", json=fault).status_code == 200
    codes = [argocd.ask("GET", "/api/v1/applications").status_code for _ in range(3)]
    assert codes == [503, 503, 200]
    argocd.ask("POST", "/_standin/faults", json=fault)
    argocd.ask("DELETE", "/_standin/faults")
    assert argocd.ask("GET", "/api/v1/applications").status_code == 200
    assert argocd.ask("POST", "/_standin/faults", json={"path": "("}).status_code == 400


# Notifications


class Webhook:
    """Receives notifications; answers with the next of `statuses`, then with 200."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], Object]] = []
        self.statuses: list[int] = []
        self.arrived = threading.Condition()
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with webhook.arrived:
                    webhook.received.append((dict(self.headers), body))
                    status = webhook.statuses.pop(0) if webhook.statuses else 200
                    webhook.arrived.notify_all()
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.notifier = Notifier(
            f"http://127.0.0.1:{self.server.server_port}/webhooks/argocd", "secret", 0.01
        )

    def wait_for(self, count: int) -> list[Object]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.received) >= count, timeout=5), self.received
            return [body for _, body in self.received]

    def close(self) -> None:
        self.notifier.close()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    running = Webhook()
    yield running
    running.close()


def test_each_finished_operation_is_notified_once(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter, webhook: Webhook
) -> None:
    revision = repository.commit({"apps/shop/web.yaml": deployment("web")})
    argocd = start(notifier=webhook.notifier)
    for _ in range(3):
        argocd.reconciled()
    argocd.later(seconds=2)
    kubernetes.refusing["web"] = "no"
    repository.commit({"apps/shop/web.yaml": deployment("web", cpu="2")})
    argocd.reconciled()

    succeeded, failed = webhook.wait_for(2)

    headers = webhook.received[0][0]
    assert headers["Content-Type"] == "application/cloudevents+json"
    assert headers["Authorization"] == "Bearer secret"
    assert succeeded["type"] == "io.argoproj.argocd.on-sync-succeeded"
    assert succeeded["subject"] == "shop"
    assert succeeded["data"] == {
        "app": "shop",
        "namespace": "argocd",
        "project": "default",
        "revision": revision,
        "phase": "Succeeded",
        "health": "Healthy",
        "message": "successfully synced (all tasks run)",
        "finishedAt": "2026-11-23T18:00:00Z",
    }
    assert failed["type"] == "io.argoproj.argocd.on-sync-failed"
    assert failed["id"] != succeeded["id"]


def test_success_is_notified_only_when_healthy_and_degradation_by_its_own_name(
    repository: Repository, kubernetes: FakeKubernetes, start: Starter, webhook: Webhook
) -> None:
    repository.commit({"apps/shop/web.yaml": deployment("web")})
    kubernetes.holding = True
    argocd = start(notifier=webhook.notifier)
    argocd.reconciled()
    assert webhook.received == []
    kubernetes.exceed_deadline("web")
    argocd.reconciled()
    kubernetes.settle("web")
    argocd.reconciled()

    kinds = [body["type"].rpartition(".")[2] for body in webhook.wait_for(2)]
    assert kinds == ["on-health-degraded", "on-sync-succeeded"]


def test_a_notification_is_given_up_after_three_retries_and_never_sent_again(
    repository: Repository, start: Starter, webhook: Webhook
) -> None:
    webhook.statuses = [503, 500, 503, 503]
    repository.commit({"apps/shop/web.yaml": deployment("web")})
    argocd = start(notifier=webhook.notifier)
    argocd.reconciled()
    webhook.wait_for(4)
    argocd.reconciled()
    argocd.later(seconds=1)
    repository.commit({"apps/shop/web.yaml": deployment("web", cpu="2")})
    argocd.reconciled()

    finished = [body["data"]["finishedAt"] for body in webhook.wait_for(5)]
    assert finished == ["2026-11-23T18:00:00Z"] * 4 + ["2026-11-23T18:00:01Z"]


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
