"""A dependency that goes away while a function needs it, and comes back."""

from __future__ import annotations

import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from infra.emulator.servers.ports import LOOPBACK

SECONDS = 10.0


class Dependency:
    """Something that can be away for `SECONDS`, and until a stage has said that it misses it."""

    def __init__(
        self, said: str, logs: Path, leave: Callable[[], object], back: Callable[[], object]
    ) -> None:
        """`said` is how a stage names it when it answers 503."""
        self._said = re.compile(rf'"503: .*{said}')
        self._logs = logs
        self._leave = leave
        self._back = back
        self._since = 0.0
        self._known: dict[str, int] = {}

    def leaves(self, *stages: str) -> None:
        """Away from now on; it may come back when one of the stages has missed it."""
        self._known = {stage: self._complaints(stage) for stage in stages}
        self._since = time.monotonic()
        self._leave()

    def comes_back(self) -> Iterator[None]:
        """Yields until it was away for long enough and was missed, then lets it come back."""
        while time.monotonic() - self._since < SECONDS or not self._is_missed():
            yield
        self._back()

    def _is_missed(self) -> bool:
        return any(self._complaints(stage) > known for stage, known in self._known.items())

    def _complaints(self, stage: str) -> int:
        return len(self._said.findall((self._logs / f"{stage}.log").read_text()))


class Door:
    """A port in front of a server that cannot be stopped, for it would forget all: shut, nobody gets in."""

    def __init__(self) -> None:
        self._listening = socket.create_server((LOOPBACK, 0), backlog=64)
        self.address = f"http://{LOOPBACK}:{self._listening.getsockname()[1]}"
        self._to: Callable[[], str] | None = None
        self._lock = threading.Lock()
        self._through: set[socket.socket] = set()
        self._guests = ThreadPoolExecutor(64, thread_name_prefix="door")
        self._guests.submit(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()
        self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._guests.shutdown()
        self._listening.close()

    def open(self, to: Callable[[], str]) -> None:
        """Whoever comes is led to the address that `to` tells then (http://host:port)."""
        with self._lock:
            self._to = to

    def shut(self) -> None:
        """Whoever comes, or is inside, is sent away."""
        with self._lock:
            self._to = None
            for connection in self._through:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that leads it, which closes it

    def _accept(self) -> None:
        with suppress(OSError):  # ended
            while True:
                guest, _ = self._listening.accept()
                self._guests.submit(self._lead, guest)

    def _lead(self, guest: socket.socket) -> None:
        with guest, ExitStack() as inside, suppress(OSError):
            with self._lock:
                if self._to is None:
                    return
                host = inside.enter_context(_connected(self._to()))
                self._through |= {guest, host}
            inside.callback(self._left, guest, host)
            other = {guest: host, host: guest}
            while True:
                for one in select.select([guest, host], [], [])[0]:
                    data = one.recv(65536)
                    if not data:
                        return
                    other[one].sendall(data)

    def _left(self, *both: socket.socket) -> None:
        with self._lock:
            self._through.difference_update(both)


def _connected(address: str) -> socket.socket:
    host, _, port = address.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)))
