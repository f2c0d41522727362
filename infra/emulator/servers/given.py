"""A server that somebody else runs: its address came from the environment."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal

import requests

from infra.emulator.servers.errors import UnreachableError
from infra.emulator.servers.server import Address

__all__ = ["GivenServer", "ask", "without_password"]


class GivenServer:
    """A server whose address the user gave: it is asked whether it answers, and never started or stopped."""

    kind: Literal["given"] = "given"
    notice: str | None = None

    def __init__(
        self, name: str, address: Address, environment: Mapping[str, str], ask_version: Callable[[], str]
    ) -> None:
        self.name = name
        self.address = address
        self.version = "unknown"
        self._environment = dict(environment)
        self._ask_version = ask_version

    def start(self) -> Address:
        self.version = self._ask_version()
        return self.address

    def stop(self) -> None:
        """It is not ours to end."""

    def environment(self) -> dict[str, str]:
        return dict(self._environment)


def without_password(address: str) -> Address:
    """Replace the user information of a URL or connection string by stars."""
    return Address(re.sub(r"//[^/]*@", "//***@", address))


def ask(variable: str, product: str, url: str, path: str = "") -> requests.Response:
    """GET `path` of `url`, which is what `variable` says. Raises UnreachableError when nothing answers."""
    try:
        return requests.get(f"{url.rstrip('/')}{path}", timeout=5)
    except (requests.RequestException, ValueError) as error:
        where = f"{variable}: no {product} answers at {without_password(url)}"
        raise UnreachableError(f"{where}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "silent for 5 s"
    system = re.search(r"\[Errno -?\d+\] [^'\")]+", str(error))  # the rest names urllib3's own objects
    return system[0] if system else without_password(str(error))
