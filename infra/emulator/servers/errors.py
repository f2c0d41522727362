"""What can go wrong before a local server answers.

ServerError
├── SetupError         something has to be installed or set first: one line that says what; exit status 2
├── StartError         the server was started and died or stayed silent: the line shows the end of its log
└── UnreachableError   an address that was given does not answer
"""

from __future__ import annotations

__all__ = ["ServerError", "SetupError", "StartError", "UnreachableError"]


class ServerError(Exception):
    """Anything that keeps a local server from serving; the message is what a person reads."""


class SetupError(ServerError):
    """Something has to be installed or set before this can work at all."""


class StartError(ServerError):
    """A child process ended, or did not become ready in time."""


class UnreachableError(ServerError):
    """A server that the user named does not answer."""
