"""A small HTTP server that answers as a test tells it and remembers what it was sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    """One request; header names are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    client: tuple[str, int]


@dataclass(frozen=True)
class Answer:
    status: int = 204
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class EventReceiver:
    """`answer` is called for each request, in the thread that serves it."""

    def __init__(self, url: str, answer: Callable[[Request], Answer]) -> None:
        self.url = url
        self.answer = answer
        self._requests: list[Request] = []
        self._arrived = threading.Condition()

    @property
    def requests(self) -> list[Request]:
        with self._arrived:
            return list(self._requests)

    def wait_for(self, count: int, within: float = 15.0) -> list[Request]:
        """The requests once there are at least `count`; fails after `within` seconds."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self._requests) >= count, within), self._requests
            return list(self._requests)

    def took(self, request: Request) -> Answer:
        with self._arrived:
            self._requests.append(request)
            self._arrived.notify_all()
        return self.answer(request)


@contextmanager
def event_receiver(answer: Callable[[Request], Answer] = lambda _: Answer()) -> Iterator[EventReceiver]:
    """A server on a free port of the loopback interface, for the time of a `with`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            given = receiver.took(Request(self.command, self.path, headers, body, self.client_address))
            self.send_response(given.status)
            for name, value in given.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(given.body)))
            self.end_headers()
            self.wfile.write(given.body)

        def log_message(self, *_: Any) -> None:
            """The test's own output is enough."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None:
            """A client that went away is what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    receiver = EventReceiver(f"http://127.0.0.1:{server.server_port}", answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
