"""The sockets before the API, and faults that a test asks for at `/_standin/faults`.

`POST {"path": regex, "status": 503, "times": 2, "delay": 0.5}` makes the next two requests to matching paths
late and answers them with that status (without one, they are only late); `DELETE` takes all faults away.
"""

from __future__ import annotations

import json
import re
import socketserver
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from infra.standins.argocd.api import Api, ApiError, Request

_FAULTS = "/_standin/faults"


@dataclass
class Fault:
    """The next `times` requests to `path` are late by `delay` seconds, answered with `status`, or both."""

    path: re.Pattern[str]
    status: int | None
    times: int
    delay: float


class Faults:
    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, wanted: dict[str, Any]) -> None:
        """Raises ApiError for a fault that cannot be."""
        try:
            status = wanted.get("status")
            fault = Fault(
                re.compile(wanted.get("path", ".*")),
                None if status is None else int(status),
                int(wanted.get("times", 1)),
                float(wanted.get("delay", 0.0)),
            )
        except (TypeError, ValueError, re.error) as error:
            raise ApiError(400, f"fault: {error}") from error
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def strike(self, path: str) -> Fault | None:
        """The fault that this request meets, used up by one."""
        with self._lock:
            for fault in self._faults:
                if fault.times > 0 and fault.path.search(path):
                    fault.times -= 1
                    return fault
        return None


class Server(ThreadingHTTPServer):
    """Serves an Api on loopback."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, api: Api) -> None:
        self.api = api
        self.faults = Faults()
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        # As HTTPServer does it, but without asking the resolver for this machine's name.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet for headers and body: unbuffered, each answer waits for a delayed ACK
    server: Server

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        try:
            status, document = 200, self._answer()
        except ApiError as error:
            status = error.status
            document = {"error": str(error), "code": error.code, "message": str(error)}
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self) -> Any:
        api = self.server.api
        address = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(raw) if raw else {}
        except ValueError as error:
            raise ApiError(400, f"invalid JSON: {error}") from error
        if not isinstance(body, dict):
            raise ApiError(400, "invalid JSON: an object is expected")
        if address.path == _FAULTS and self.command in {"POST", "DELETE"}:
            if self.command == "POST":
                self.server.faults.add(body)
            else:
                self.server.faults.clear()
            return {}
        if fault := self.server.faults.strike(address.path):
            time.sleep(fault.delay)
            if fault.status is not None:
                raise ApiError(fault.status, f"fault asked for by a test: {fault.status}")
        request = Request(
            self.command,
            address.path,
            parse_qs(address.query),
            body,
            authorized=api.permits(self.headers.get("Authorization", "")),
        )
        return api.answer(request)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the standard library's
        """Quiet: the controller's log tells what happens."""
