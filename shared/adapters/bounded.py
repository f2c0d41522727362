"""HTTP of which an answer is there within its time as a whole: its status, headers and body.

A socket's own timeout bounds no more than what lies between two of its parts: a server, or a proxy before it,
that sends a byte now and then would hold who waits for it for ever.
"""

from __future__ import annotations

import io
import math
import time
from http.client import HTTPResponse
from socket import socket
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

# Bytes; of the usual 8 KiB, to look at the time before each would be felt in answers of tens of megabytes.
_BUFFER = 1 << 16


class BoundedAdapter(HTTPAdapter):
    """For a session: of its requests the read timeout bounds all that comes after the request was sent.

    Where it is over in the midst of a body, that is urllib3's ReadTimeoutError, else requests' ReadTimeout.
    """

    def get_connection_with_tls_context(self, *arguments: Any, **more: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*arguments, **more)
        # Here, because a proxy's pools come by here too.
        pool.ConnectionCls = _Https if isinstance(pool, HTTPSConnectionPool) else _Http
        return pool


class BoundedPools(PoolManager):
    """The same for a client of urllib3 itself; where the time is over, that is its ReadTimeoutError."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}


class _Bounded(HTTPResponse):
    """Made once a socket's timeout is what a request has for its answer."""

    def __init__(self, sock: socket, *arguments: Any, **more: Any) -> None:
        super().__init__(sock, *arguments, **more)
        self.fp = io.BufferedReader(_Until(sock, self.fp.detach()), _BUFFER)


class _Http(HTTPConnection):
    response_class = _Bounded


class _Https(HTTPSConnection):
    response_class = _Bounded


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


class _Until(io.RawIOBase):
    """What comes of a socket, each part waited for until the one end of the time that it has now."""

    def __init__(self, sock: socket, parts: io.RawIOBase) -> None:
        seconds = sock.gettimeout()
        self._end = math.inf if seconds is None else time.monotonic() + seconds
        self._sock, self._parts = sock, parts

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left if left < math.inf else None)
        return self._parts.readinto(buffer)

    def close(self) -> None:
        self._parts.close()
        super().close()
