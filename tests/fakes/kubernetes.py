"""A Kubernetes API in memory whose rollouts go as a test says: the cluster under the Argo CD stand-in."""

from __future__ import annotations

import json
import re
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Object = dict[str, Any]

_KINDS = {
    "namespaces": ("v1", "Namespace"),
    "configmaps": ("v1", "ConfigMap"),
    "deployments": ("apps/v1", "Deployment"),
}
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[\w.]+))/v\d\w*(?:/namespaces/(?P<namespace>[\w-]+))?/(?P<plural>[a-z]+)(?:/(?P<name>[\w-]+))?"
)


class FakeKubernetes:
    """Deployments roll out at once, unless `holding`; `refusing` says which names get a 422 and why."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.refusing: dict[str, str] = {}
        self.holding = False
        self.down = False
        self.applied: list[str] = []  # names, in the order of the requests
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._versions = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def live(self, name: str, plural: str = "deployments", namespace: str = "shop") -> Object:
        return self.objects[plural, namespace, name]

    def settle(self, name: str) -> None:
        """Finishes a rollout."""
        deployment = self.live(name)
        replicas = deployment["spec"].get("replicas", 1)
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": replicas,
            "updatedReplicas": replicas,
            "availableReplicas": replicas,
        }

    def exceed_deadline(self, name: str) -> None:
        """A rollout that gets nowhere."""
        deployment = self.live(name)
        deployment["status"]["observedGeneration"] = deployment["metadata"]["generation"]
        deployment["status"]["conditions"] = [
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
        ]

    def apply(self, plural: str, namespace: str, name: str, body: Object) -> Object:
        old = self.objects.get((plural, namespace, name))
        new: Object = _merged(old or {}, body)
        self._versions += 1
        metadata = new["metadata"]
        metadata.setdefault("uid", f"uid-{self._versions}")
        metadata["resourceVersion"] = str(self._versions)
        if old is None or old.get("spec") != new.get("spec"):
            metadata["generation"] = metadata.get("generation", 0) + 1
        self.objects[plural, namespace, name] = new
        if plural == "deployments":
            if self.holding:
                new.setdefault("status", {})
            else:
                self.settle(name)
        return new


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{name: _merged(old.get(name), part) for name, part in new.items()}}
    return new


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, kubernetes: FakeKubernetes) -> None:
        self.kubernetes = kubernetes
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_PATCH(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        code, document = self._handle(json.loads(raw) if raw else {})
        body = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _handle(self, body: Object) -> tuple[int, Object]:  # noqa: PLR0911 - one return for each answer
        kubernetes = self.server.kubernetes
        if kubernetes.down:
            return _status(503, "the server is currently unable to handle the request")
        match = _PATH.fullmatch(self.path.partition("?")[0])
        if match is None or match["plural"] not in _KINDS:
            return _status(404, "the server could not find the requested resource")
        plural, name = match["plural"], match["name"]
        key = (plural, match["namespace"] or "", name)
        if name is None:
            # Items of a list say neither apiVersion nor kind, as in the real API.
            bare = ("apiVersion", "kind")
            items = [
                {part: value for part, value in one.items() if part not in bare}
                for (kind, *_), one in kubernetes.objects.items()
                if kind == plural
            ]
            return 200, {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}
        if self.command == "PATCH":
            assert self.headers["Content-Type"] == "application/apply-patch+yaml"
            assert "fieldManager=argocd-controller" in self.path
            kubernetes.applied.append(name)
            if name in kubernetes.refusing:
                text = f'{body["kind"]}.apps "{name}" is invalid: {kubernetes.refusing[name]}'
                return _status(422, text)
            return 200, kubernetes.apply(*key, body)
        if key not in kubernetes.objects:
            return _status(404, f'{plural} "{name}" not found')
        return 200, kubernetes.objects.pop(key) if self.command == "DELETE" else kubernetes.objects[key]

    def log_message(self, *args: Any) -> None:
        """Quiet."""


def _status(code: int, message: str) -> tuple[int, Object]:
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
