"""What every local server is to the emulator."""

from __future__ import annotations

from typing import Literal, NewType, Protocol

__all__ = ["Address", "Server"]

Address = NewType("Address", str)
"""What the ordinary client takes: a bootstrap list, a connection string or a URL; never with a password."""


class Server(Protocol):
    """Something that listens. After `stop`, `start` brings back what it has on disk, on the same port."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> Literal["embedded", "given"]: ...

    @property
    def address(self) -> Address:
        """Where it listens, known once it has started."""

    @property
    def version(self) -> str:
        """Product and version, known once it has started."""

    @property
    def notice(self) -> str | None:
        """A line that a person should see, such as another port than the usual one."""

    def start(self) -> Address:
        """Return when it answers. Raises SetupError, StartError or UnreachableError."""

    def stop(self) -> None:
        """End it in order; may be called at any time and more than once."""

    def environment(self) -> dict[str, str]:
        """The variables that its clients need."""
