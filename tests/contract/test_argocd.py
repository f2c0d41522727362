"""What the stages may rely on of Argo CD: the same for the adapter over its HTTP API and for the fake."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import pytest

from shared.adapters.argocd import HttpArgoCD
from shared.contracts.argocd import Application, ArgoCD, Operation, ResourceRef, Source, owner_of
from shared.contracts.errors import Temporary, Throttled
from tests.argocd_standin import TOKEN, Repository, Starter, application, deployment
from tests.fakes.argocd import FakeArgoCD
from tests.fakes.kubernetes import FakeKubernetes
from tests.trickling import TRICKLES, sending

REFUSAL = 'Deployment.apps "web" is invalid: no'


class Backend(Protocol):
    """An Argo CD with one Application `shop` in project `default`, whose folder holds a Deployment `web`."""

    argocd: ArgoCD

    def merge(self, cpu: str) -> str:
        """Merges a change of `web`; it goes live, or is refused if it is to be."""

    def refuse(self) -> None: ...

    def degrade(self) -> None: ...

    def close_window(self) -> None: ...

    def go_down(self) -> None: ...


class StandinBackend:
    def __init__(self, repository: Repository, kubernetes: FakeKubernetes, start: Starter) -> None:
        self._repository = repository
        self._kubernetes = kubernetes
        self._start = start
        window = {"kind": "deny", "schedule": "0 19 * * *", "duration": "1h", "applications": ["*"]}
        project = {"kind": "AppProject", "metadata": {"name": "default"}, "spec": {"syncWindows": [window]}}
        self._standin = start(application(), project)
        self._http = HttpArgoCD(self._standin.server.url, TOKEN)
        self.argocd: ArgoCD = self._http

    def merge(self, cpu: str) -> str:
        commit = self._repository.commit({"apps/shop/web.yaml": deployment("web", cpu=cpu)})
        self._standin.controller.reconcile()
        return commit

    def refuse(self) -> None:
        self._kubernetes.refusing["web"] = "no"

    def degrade(self) -> None:
        self._kubernetes.exceed_deadline("web")
        self._standin.controller.reconcile()

    def close_window(self) -> None:
        self._standin.later(hours=1.5)

    def go_down(self) -> None:
        self._start.stop()

    def close(self) -> None:
        self._http.close()


class FakeBackend:
    def __init__(self) -> None:
        self._fake = FakeArgoCD(unsynced())
        self.argocd: ArgoCD = self._fake
        self._refusing = False
        self._merged = 0

    def merge(self, cpu: str) -> str:
        self._merged += 1
        commit = f"{self._merged:040x}"
        now = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)
        phase, message = "Succeeded", "successfully synced (all tasks run)"
        if self._refusing:
            phase, message = "Failed", f"one or more objects failed to apply, reason: {REFUSAL}"
        status = "OutOfSync" if self._refusing else "Synced"
        web = ResourceRef("apps", "Deployment", "shop", "web", status, "Healthy")
        deployed = replace(
            unsynced(),
            resources=(web,),
            sync_status=status,
            sync_revisions=(commit,),
            health="Healthy",
            operation=Operation(phase, message, (commit,), now, now),
        )
        live = None if self._refusing else [json.loads(deployment("web", cpu=cpu, namespace="shop"))]
        self._fake.put(deployed, live)
        return commit

    def refuse(self) -> None:
        self._refusing = True

    def degrade(self) -> None:
        before = self._fake.by_name["shop"]
        text = 'Deployment "web" exceeded its progress deadline'
        web = replace(before.resources[0], health="Degraded", health_message=text)
        self._fake.put(replace(before, resources=(web,), health="Degraded", health_message=f"web: {text}"))

    def close_window(self) -> None:
        self._fake.closed_windows.add("shop")

    def go_down(self) -> None:
        self._fake.down = True


def unsynced() -> Application:
    return Application(
        name="shop",
        project="default",
        namespace="argocd",
        sources=(Source("https://git.example.org/acme/shop.git", "apps/shop", "main"),),
        resources=(),
        sync_status="Unknown",
        sync_revisions=(),
        health="Unknown",
        health_message="",
        operation=None,
        automated=True,
    )


@pytest.fixture(params=["standin", "fake"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    if request.param == "fake":
        yield FakeBackend()
        return
    with FakeKubernetes() as kubernetes:
        starter = Starter(tmp_path, kubernetes)
        standin = StandinBackend(Repository(tmp_path), kubernetes, starter)
        yield standin
        standin.close()
        starter.stop()


def test_a_synced_application_tells_its_source_revision_resources_and_operation(backend: Backend) -> None:
    commit = backend.merge("250m")

    shop = backend.argocd.application("shop", "default")

    assert shop is not None
    assert (shop.name, shop.project, shop.namespace) == ("shop", "default", "argocd")
    assert shop.source == Source("https://git.example.org/acme/shop.git", "apps/shop", "main")
    assert (shop.sync_status, shop.sync_revision, shop.health) == ("Synced", commit, "Healthy")
    assert shop.resources == (ResourceRef("apps", "Deployment", "shop", "web", "Synced", "Healthy"),)
    moment = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)
    done = Operation("Succeeded", "successfully synced (all tasks run)", (commit,), moment, moment)
    assert shop.operation == done
    assert shop.automated


def test_the_list_has_every_application_with_its_resources(backend: Backend) -> None:
    commit = backend.merge("250m")

    [shop] = backend.argocd.applications()

    assert shop.sync_revision == commit
    assert owner_of([shop], "Deployment", "shop", "web") is shop


def test_a_refused_sync_is_told_with_its_revision_and_reason(backend: Backend) -> None:
    backend.merge("250m")
    backend.refuse()
    commit = backend.merge("-1")

    shop = backend.argocd.application("shop", "default")

    assert shop is not None
    assert shop.operation is not None
    assert (shop.operation.phase, shop.operation.revision) == ("Failed", commit)
    assert REFUSAL in shop.operation.message
    assert shop.sync_status == "OutOfSync"


def test_a_degraded_application_says_what_is_wrong(backend: Backend) -> None:
    backend.merge("250m")
    backend.degrade()

    shop = backend.argocd.application("shop", "default")

    assert shop is not None
    assert shop.health == "Degraded"
    assert shop.health_message == 'web: Deployment "web" exceeded its progress deadline'


def test_live_objects_are_as_the_cluster_has_them(backend: Backend) -> None:
    backend.merge("250m")

    [web] = backend.argocd.live_resources("shop", "default")

    container = web["spec"]["template"]["spec"]["containers"][0]
    assert (web["kind"], web["metadata"]["name"]) == ("Deployment", "web")
    assert container["resources"]["requests"]["cpu"] == "250m"


def test_what_is_not_there_is_none_and_no_error(backend: Backend) -> None:
    for name, project in (("gone", "default"), ("shop", "other")):
        assert backend.argocd.application(name, project) is None
        assert backend.argocd.live_resources(name, project) == []
        assert not backend.argocd.can_sync(name, project)


def test_an_application_that_has_not_been_synced_has_no_operation(backend: Backend) -> None:
    shop = backend.argocd.application("shop", "default", refresh=False)
    assert shop is not None
    assert (shop.sync_status, shop.operation, shop.sync_revision) == ("Unknown", None, None)


def test_a_sync_window_says_no(backend: Backend) -> None:
    backend.merge("250m")
    assert backend.argocd.can_sync("shop", "default")
    backend.close_window()
    assert not backend.argocd.can_sync("shop", "default")


def test_an_argo_cd_that_is_down_is_temporary(backend: Backend) -> None:
    backend.go_down()
    with pytest.raises(Temporary):
        backend.argocd.applications()


# Over HTTP only


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[tuple[Repository, Starter]]:
    with FakeKubernetes() as kubernetes:
        starter = Starter(tmp_path, kubernetes)
        yield Repository(tmp_path), starter
        starter.stop()


@contextmanager
def client(url: str, token: str = TOKEN, read_timeout: float = 15) -> Iterator[HttpArgoCD]:
    adapter = HttpArgoCD(url, token, read_timeout=read_timeout)
    yield adapter
    adapter.close()


def test_a_refresh_sees_what_was_merged_a_moment_ago(standin: tuple[Repository, Starter]) -> None:
    repository, start = standin
    repository.commit({"apps/shop/web.yaml": deployment("web")})
    argocd = start()
    argocd.controller.reconcile()
    commit = repository.commit({"apps/shop/web.yaml": deployment("web", cpu="2")})
    with client(argocd.server.url) as adapter:
        before = adapter.application("shop", "default")
        after = adapter.application("shop", "default", refresh=True)
    assert before is not None
    assert before.sync_revision != commit
    assert after is not None
    assert after.sync_revision == commit


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (500, Temporary, "500"),
        (503, Temporary, "503"),
        (429, Throttled, "429"),
        (403, Temporary, "ARGOCD_TOKEN may not get applications"),
    ],
)
def test_refusals_are_temporary_and_say_what_to_do(
    standin: tuple[Repository, Starter], status: int, kind: type[Temporary], words: str
) -> None:
    argocd = standin[1]()
    argocd.ask("POST", "/_standin/faults", json={"status": status})
    with client(argocd.server.url) as adapter, pytest.raises(Temporary, match=words) as raised:
        adapter.applications()
    assert type(raised.value) is kind


def test_a_wrong_token_is_temporary_and_names_its_variable(standin: tuple[Repository, Starter]) -> None:
    argocd = standin[1]()
    with client(argocd.server.url, token="wrong") as adapter:
        with pytest.raises(Temporary, match="401 no session information: ARGOCD_TOKEN"):
            adapter.applications()
        with pytest.raises(Temporary, match="ARGOCD_TOKEN"):
            adapter.application("shop", "default")


def test_an_address_that_is_not_argo_cds_is_named() -> None:
    page = b"<html>what Argo CD's user interface answers to a path that it does not know</html>"
    wrong = pytest.raises(Temporary, match="not Argo CD's API; see ARGOCD_URL")
    with served(lambda _: (200, page)) as url, client(url) as adapter, wrong:
        adapter.applications()


def test_an_application_of_several_sources_pairs_them_with_their_revisions() -> None:
    document = {
        "metadata": {"name": "many", "namespace": "teams"},
        "spec": {
            "project": "default",
            "sources": [
                {"repoURL": "git@host:acme/values.git", "ref": "values"},
                {"repoURL": "https://host/acme/shop", "path": "charts", "targetRevision": "v1"},
            ],
            "ignoreDifferences": [{"kind": "Deployment", "jsonPointers": ["/spec/replicas"]}],
            "syncPolicy": {"automated": {"enabled": False}, "syncOptions": ["RespectIgnoreDifferences=true"]},
        },
        "status": {
            "sync": {"status": "Synced", "revisions": ["a" * 40, "b" * 40]},
            "operationState": {
                "phase": "Error",
                "operation": {"sync": {"revisions": ["a" * 40, "b" * 40]}},
                "startedAt": "2026-11-23T18:00:00Z",
            },
            "conditions": [{"type": "ComparisonError", "message": "no such path"}],
        },
    }
    asked = []

    def answer(path: str) -> tuple[int, bytes]:
        asked.append(path)
        return 200, json.dumps(document).encode()

    with served(answer) as url, client(url) as adapter:
        many = adapter.application("many", "default", "teams")

    assert asked == ["/api/v1/applications/many?project=default&appNamespace=teams"]
    assert many is not None
    assert [source.target_revision for source in many.sources] == ["HEAD", "v1"]
    assert many.sync_revisions == ("a" * 40, "b" * 40)
    assert many.operation is not None
    assert many.operation.revisions == ("a" * 40, "b" * 40)
    assert many.operation.finished_at is None
    assert many.conditions == ("ComparisonError: no such path",)
    assert many.ignore_differences[0]["jsonPointers"] == ["/spec/replicas"]
    assert (many.automated, many.sync_options) == (False, ("RespectIgnoreDifferences=true",))


def test_a_kept_connection_that_the_server_closed_is_opened_again() -> None:
    """HTTP/1.1 without a word of closing, as a restarted server behaves."""
    empty = json.dumps({"items": []}).encode()
    with served(lambda _: (200, empty), close_silently=True) as url, client(url) as adapter:
        assert [adapter.applications() for _ in range(3)] == [[], [], []]


def test_one_that_hangs_is_waited_for_once() -> None:
    """A retry would double a time that the whole handling of an event has to fit in."""
    over, asked = threading.Event(), []

    def hang(path: str) -> tuple[int, bytes]:
        asked.append(path)
        over.wait(10)
        return 200, b"{}"

    with served(hang) as url, client(url, read_timeout=0.05) as adapter:
        with pytest.raises(Temporary, match="ReadTimeout"):
            adapter.applications()
        over.set()
    assert len(asked) == 1


@pytest.mark.parametrize("what", ["headers", "length of a chunk", "without a length"])
def test_one_whose_answer_trickles_is_waited_for_once(what: str) -> None:
    """A byte now and then, from it or a proxy before it, would hold the stage for ever."""
    asked: list[bytes] = []
    with sending(TRICKLES[what], asked) as url, client(url, read_timeout=0.2) as adapter:
        began = time.monotonic()
        with pytest.raises(Temporary, match="Read timed out"):
            adapter.applications()
        assert time.monotonic() - began < 5
    assert len(asked) == 1


@contextmanager
def served(answer: Callable[[str], tuple[int, bytes]], *, close_silently: bool = False) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(BrokenPipeError):  # who asked has given up
                self.wfile.write(body)
            self.close_connection = close_silently

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# Which Application owns a workload


def test_a_workload_that_two_applications_claim_has_no_owner() -> None:
    web = ResourceRef("apps", "Deployment", "shop", "web")
    one = replace(unsynced(), resources=(web,))
    two = replace(unsynced(), name="other", resources=(web,))
    assert owner_of([one], "Deployment", "shop", "web") is one
    assert owner_of([one], "Deployment", "shop", "other") is None
    assert owner_of([one], "StatefulSet", "shop", "web") is None
    assert owner_of([one, two], "Deployment", "shop", "web") is None
