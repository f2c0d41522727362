"""A proxy before a real Prometheus that refuses some of its queries, as a busy or a bounded server does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import requests


@contextmanager
def refusing(
    address: str, refuses: Callable[[str, str], bool], status: int = 503, content: bytes = b"not here"
) -> Iterator[str]:
    """The proxy's address; `refuses` is given the path and the query. Everything else goes through."""

    class Proxy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kind = {"Content-Type": self.headers["Content-Type"]}
            form = parse_qs(body.decode())
            (promql,) = form.get("query") or form["match[]"]
            if refuses(self.path, promql):
                self._answer(status, content)
            else:
                answer = requests.post(f"{address}{self.path}", data=body, headers=kind, timeout=30)
                self._answer(answer.status_code, answer.content)

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
