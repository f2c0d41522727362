"""Servers whose answers come a byte now and then, which a socket's own timeout never ends."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def sending(parts: Callable[[], Iterable[bytes]], asked: list[bytes] | None = None) -> Iterator[str]:
    """The address of what adds each request to `asked`, and answers it with these parts one by one."""
    closing = threading.Event()

    def answer(client: socket.socket) -> None:
        with client, suppress(OSError):
            request = client.recv(1 << 16)
            if asked is not None:
                asked.append(request)
            for part in parts():
                if closing.is_set():
                    return
                client.sendall(part)

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=listener.accept()[:1], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            closing.set()
            listener.shutdown(socket.SHUT_RDWR)


def slowly(*parts: bytes) -> Iterator[bytes]:
    for part in parts:
        yield part
        time.sleep(0.05)


_BYTES = [b"a"] * 200
_CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
_COMPRESSED = gzip.compress(b'{"status":"success","data":{"resultType":"vector","result":[]}}')
TRICKLES = {
    "status": lambda: slowly(b"HTTP/1.1 200 ", *_BYTES),
    "headers": lambda: slowly(OK, b"X: ", *_BYTES),
    "interim answers": lambda: slowly(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 200),
    "length of a chunk": lambda: slowly(_CHUNKED, b"5;", *_BYTES),
    "trailers": lambda: slowly(_CHUNKED + b"0\r\n", *[b"X: y\r\n"] * 200),
    "compressed": lambda: slowly(
        OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(_COMPRESSED),
        *(bytes((each,)) for each in _COMPRESSED),
    ),
    "without a length": lambda: slowly(OK + b"\r\n", *_BYTES),
}
