"""An HTTP address that events are posted to."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
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


class HttpSink:
    """Posts events to a URL over kept connections; follows no redirect and knows no proxy. Thread-safe."""

    def __init__(self, url: str) -> None:
        self.address = url
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._path = parts.path or "/"
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []
        self._busy: set[http.client.HTTPConnection] = set()
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
                    connection.sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it
                except OSError:
                    continue
        for connection in idle:
            connection.close()

    def _take(self, timeout: float) -> http.client.HTTPConnection:
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
                connection = http.client.HTTPConnection(self._host, self._port)
            self._busy.add(connection)
        connection.timeout = timeout
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        return connection

    def _give_back(self, connection: http.client.HTTPConnection, *, keep: bool) -> None:
        with self._lock:
            self._busy.discard(connection)
            if keep and not self._closed:
                self._idle.append((time.monotonic(), connection))
                return
        connection.close()

    def _drop(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._busy.discard(connection)
        connection.close()
