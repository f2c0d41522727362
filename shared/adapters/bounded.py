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

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

# Bytes; of the usual 8 KiB, to look at the time before each would be felt in answers of tens of megabytes.
_BUFFER = 1 << 16


class BoundedPools(PoolManager):
    """For a client of urllib3: the read timeout bounds all that comes after a request was sent.

    Where it is over, that is ReadTimeoutError.
    """

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}


class _Bounded(HTTPResponse):
    """Made once a socket's timeout is what a request has for its answer."""

    def __init__(self, sock: socket, *arguments: Any, **more: Any) -> None:
        super().__init__(sock, *arguments, **more)
        self.fp = io.BufferedReader(_Until(sock, self.fp.detach()), _BUFFER)


class Http(HTTPConnection):
    response_class = _Bounded


class Https(HTTPSConnection):
    response_class = _Bounded


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = Https


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
