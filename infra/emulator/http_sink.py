"""An HTTP address that events are posted to."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from infra.emulator.cloudevent import CloudEvent, http_headers

# gunicorn closes a kept connection after two seconds; a request sent into that moment is reset.
IDLE_SECONDS = 1.0


class TransportError(Exception):
    """No HTTP response came: refused, reset or timed out."""


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Sink(Protocol):
    """Where events go."""

    @property
    def address(self) -> str: ...

    def send(self, event: CloudEvent, headers: Mapping[str, str], timeout: float) -> Response:
        """Post one event within `timeout` seconds. Raises TransportError when no response comes."""
        ...


class _Until(io.RawIOBase):
    """Reads from a socket, each time for no longer than is left of the exchange."""

    def __init__(self, sock: socket.socket, reads: io.RawIOBase, left: Callable[[], float]) -> None:
        self._sock, self._reads, self._left = sock, reads, left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._left())
        return self._reads.readinto(buffer)

    def close(self) -> None:
        self._reads.close()
        super().close()


class _Connection(http.client.HTTPConnection):
    """A connection whose exchanges end by `deadline` (monotonic): a socket's own timeout would begin anew
    with every byte that comes.
    """

    deadline = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

        def response(sock: socket.socket, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:
            made = http.client.HTTPResponse(sock, *args, **kwargs)
            made.fp = io.BufferedReader(_Until(sock, made.fp.detach(), self.left))
            return made

        self.response_class = response  # type: ignore[assignment]  # it is called, no more

    def left(self) -> float:
        """Seconds until the deadline. Raises TimeoutError when there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def connect(self) -> None:
        self.timeout = self.left()
        super().connect()
        self.sock.settimeout(self.left())  # for TLS, which begins now

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        self.sock.settimeout(self.left())
        super().send(data)


class _TlsConnection(http.client.HTTPSConnection, _Connection):
    """The same with TLS: of the two, this order lets HTTPSConnection connect by way of _Connection."""


class HttpSink:
    """Posts events to a URL over kept connections; follows no redirect and knows no proxy. Thread-safe."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        """`tls`: which certificates https trusts; by default the system's, or those in SSL_CERT_FILE."""
        self.address = url
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._idle: list[tuple[float, _Connection]] = []
        self._busy: set[_Connection] = set()
        self._lock = threading.Lock()
        self._closed = False

    def send(self, event: CloudEvent, headers: Mapping[str, str], timeout: float) -> Response:
        connection = self._take(timeout)
        try:
            connection.request(
                "POST", self._path, body=event.data, headers={**headers, **http_headers(event)}
            )
            answer = connection.getresponse()
            response = Response(answer.status, dict(answer.getheaders()), answer.read())
        except (OSError, http.client.HTTPException) as error:
            self._drop(connection)
            raise TransportError(f"{self.address}: {error or type(error).__name__}") from error
        self._give_back(connection, keep=not answer.will_close)
        return response

    def close(self) -> None:
        """Close every connection; a request in flight ends with TransportError."""
        with self._lock:
            self._closed = True
            busy, idle = list(self._busy), [connection for _, connection in self._idle]
            self._idle.clear()
        for connection in busy:
            if connection.sock is not None:
                try:
                    # Wakes the thread that reads; TLS' own shutdown would take its state from under it.
                    socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
                except OSError:
                    continue
        for connection in idle:
            connection.close()

    def _take(self, timeout: float) -> _Connection:
        with self._lock:
            if self._closed:
                raise TransportError(f"{self.address}: closed")
            now, connection = time.monotonic(), None
            while self._idle and connection is None:
                since, kept = self._idle.pop()
                if now - since <= IDLE_SECONDS:
                    connection = kept
                else:
                    kept.close()
            if connection is None:
                connection = self._new()
            self._busy.add(connection)
        connection.deadline = now + timeout
        return connection

    def _new(self) -> _Connection:
        if self._tls is None:
            return _Connection(self._host, self._port)
        return _TlsConnection(self._host, self._port, context=self._tls)

    def _give_back(self, connection: _Connection, *, keep: bool) -> None:
        with self._lock:
            self._busy.discard(connection)
            if keep and not self._closed:
                self._idle.append((time.monotonic(), connection))
                return
        connection.close()

    def _drop(self, connection: _Connection) -> None:
        with self._lock:
            self._busy.discard(connection)
        connection.close()
