"""The port that a server takes on the loopback interface."""

from __future__ import annotations

import errno
import secrets
import socket

__all__ = ["LOOPBACK", "take_port"]

LOOPBACK = "127.0.0.1"
QUIET_PORTS = range(20000, 32768)


def take_port(usual: int, product: str) -> tuple[int, str | None]:
    """Return `usual` if it is free, else a free port with the line that says so; 0 asks for any free port."""
    if usual == 0:
        return _free_port(), None
    if _is_free(usual):
        return usual, None
    port = _free_port()
    return port, f"port {usual} is in use: {product} listens on {LOOPBACK}:{port} instead"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: connections of an earlier run that still time out do not make a port used.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def _free_port() -> int:
    # Below the range of which the kernel gives outgoing connections theirs (32768 and up): a port of that
    # range, free a moment ago, may be a connection's by the time that a server binds it.
    while not (_is_free(port := secrets.choice(QUIET_PORTS)) and _is_reserved(port)):
        pass
    return port


def _is_reserved(port: int) -> bool:
    """Whether it is ours from now on: seconds may pass until the server binds it, and others choose as well.

    A name in Linux's abstract namespace tells them, and goes when this process does (unix(7)).
    """
    with socket.socket(socket.AF_UNIX) as name:
        try:
            name.bind(f"\0kubefinops-port-{port}")
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
        name.detach()  # held until the process ends
    return True
