"""A repository, Applications and a running stand-in, for the tests of Argo CD's stand-in and adapter."""

from __future__ import annotations

import json
import subprocess
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from infra.standins.argocd.api import Api
from infra.standins.argocd.controller import Controller
from infra.standins.argocd.kube import Cluster
from infra.standins.argocd.notifications import Notifier
from infra.standins.argocd.render import Repositories
from infra.standins.argocd.server import Server
from tests.fakes.kubernetes import FakeKubernetes

TOKEN = "standin"
Object = dict[str, Any]


class Repository:
    """A bare repository that grows by commits on `main`."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "acme" / "shop.git"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(self.directory)], check=True)

    def commit(self, files: dict[str, str | None], message: str = "change") -> str:
        """Writes (or with None removes) files; the new commit."""
        lines = ["commit refs/heads/main", "committer Ada <ada@example.org> 1790000000 +0000"]
        lines += [f"data {len(message)}", message]
        asked = self._git("rev-parse", "-q", "--verify", "main")
        if subprocess.run(asked, capture_output=True, check=False).returncode == 0:
            lines.append("from refs/heads/main^0")
        for path, text in files.items():
            lines += [f"D {path}"] if text is None else [f"M 100644 inline {path}", f"data {len(text)}", text]
        stream = "\n".join([*lines, ""])
        subprocess.run(self._git("fast-import", "--quiet"), input=stream, text=True, check=True)
        found = subprocess.run(self._git("rev-parse", "main"), check=True, capture_output=True, text=True)
        return found.stdout.strip()

    def _git(self, *arguments: str) -> list[str]:
        return ["git", "--git-dir", str(self.directory), *arguments]


def deployment(name: str, cpu: str = "500m", **metadata: Any) -> str:
    """A manifest as text."""
    container = {"name": "app", "image": f"{name}:1", "resources": {"requests": {"cpu": cpu}}}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": template}
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }
    return json.dumps(manifest)


def application(name: str = "shop", path: str = "apps/shop", **spec: Any) -> Object:
    source = {"repoURL": "https://git.example.org/acme/shop.git", "path": path, "targetRevision": "main"}
    destination = {"server": "https://kubernetes.default.svc", "namespace": "shop"}
    whole = {"project": "default", "source": source, "destination": destination}
    whole |= {"syncPolicy": {"automated": {}, "retry": {"limit": 0}}}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "labels": {"team": name}},
        "spec": whole | spec,
    }


@dataclass
class ArgoCD:
    """The stand-in under test; passes are made by `reconcile`, and time passes when a test says so."""

    controller: Controller
    server: Server
    clock: list[datetime] = field(default_factory=list)
    session: requests.Session = field(default_factory=requests.Session)

    def ask(self, method: str, path: str, token: str = TOKEN, **arguments: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"{self.server.url}{path}"
        return self.session.request(method, url, headers=headers, timeout=5, **arguments)

    def get(self, path: str) -> Any:
        answer = self.ask("GET", f"/api/v1/applications{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def reconciled(self, name: str = "shop") -> Object:
        """The Application's status after another pass."""
        self.controller.reconcile()
        status = self.get(f"/{name}")["status"]
        assert isinstance(status, dict)
        return status

    def later(self, **duration: float) -> None:
        self.clock[0] += timedelta(**duration)


class Starter:
    """Starts the stand-in on any number of Applications, in this process."""

    def __init__(self, repos: Path, kubernetes: FakeKubernetes) -> None:
        self._repos = repos
        self._kubernetes = kubernetes
        self._running: list[tuple[ArgoCD, Cluster, threading.Thread]] = []

    def __call__(self, *manifests: Object, notifier: Notifier | None = None) -> ArgoCD:
        clock = [datetime(2026, 11, 23, 18, 0, tzinfo=UTC)]
        cluster = Cluster(self._kubernetes.url)
        observe = notifier.observe if notifier else lambda _: None
        repositories = Repositories(self._repos)
        controller = Controller(
            manifests or [application()], repositories, cluster, observe, lambda: clock[0]
        )
        server = Server(0, Api(controller, TOKEN))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        started = ArgoCD(controller, server, clock)
        self._running.append((started, cluster, thread))
        return started

    def stop(self) -> None:
        for started, cluster, thread in self._running:
            started.session.close()
            started.server.shutdown()
            thread.join()
            started.server.server_close()
            cluster.close()


def cpu_of(live: Object) -> str:
    request = live["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"]
    assert isinstance(request, str)
    return request
