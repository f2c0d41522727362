"""What comes too slowly, or is too much, is given up: nobody waits for ever, nor runs out of memory."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import chain, repeat

import pytest

from shared.adapters import prometheus as prometheus_client
from shared.adapters.prometheus import HttpPrometheus
from shared.contracts.prometheus import Build, QueryTooLarge, QueryTooSlow

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
OK = b"HTTP/1.1 200 OK\r\n"
ANSWER = b'{"status":"success","data":{"resultType":"vector","result":[]}}'


@contextmanager
def sending(parts: Callable[[], Iterable[bytes]]) -> Iterator[str]:
    """The address of what answers each request with these parts, one after the other."""
    closing = threading.Event()

    def answer(client: socket.socket) -> None:
        with client, suppress(OSError):
            client.recv(1 << 16)
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


BYTES = [b"a"] * 200
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
COMPRESSED = gzip.compress(ANSWER)
TRICKLES = {
    "status": lambda: slowly(b"HTTP/1.1 200 ", *BYTES),
    "headers": lambda: slowly(OK, b"X: ", *BYTES),
    "interim answers": lambda: slowly(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 200),
    "length of a chunk": lambda: slowly(CHUNKED, b"5;", *BYTES),
    "trailers": lambda: slowly(CHUNKED + b"0\r\n", *[b"X: y\r\n"] * 200),
    "compressed": lambda: slowly(
        OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(COMPRESSED),
        *(bytes((each,)) for each in COMPRESSED),
    ),
    "without a length": lambda: slowly(OK + b"\r\n", *BYTES),
}


@pytest.mark.parametrize("what", TRICKLES)
def test_whatever_of_an_answer_trickles_it_is_given_up_in_time(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus_client, "ANSWER_SECONDS", 0.1)
    with sending(TRICKLES[what]) as address:
        one = HttpPrometheus(address, timeout=0.2)
        began = time.monotonic()
        with pytest.raises(QueryTooSlow, match=r"no (whole )?answer within 0.2 s.* \(query: up\)"):
            one.query("up", NOW)
        assert one.build(timeout=0.2) == Build()
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("compressed", [False, True])
def test_an_answer_that_would_fill_the_memory_is_too_large(
    compressed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus_client, "MOST_BYTES", 4 << 20)
    blanks = b" " * (1 << 20)
    if compressed:
        bomb = gzip.compress(blanks * 64)
        assert len(bomb) < len(blanks)
        parts = [OK, b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb), bomb]
    else:
        parts = [OK, b"\r\n"]
    with sending(lambda: chain(parts, repeat(blanks))) as address:
        one = HttpPrometheus(address)
        with pytest.raises(QueryTooLarge) as raised:
            one.query("up", NOW)
        assert one.build() == Build()
    assert str(raised.value).endswith("an answer of more than 4 MiB (query: up)")
