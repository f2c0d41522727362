"""The stand-in's HTTP interface: who may ask what, and what is answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.argocd_standin import Repository, Starter, application, cpu_of, deployment
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
