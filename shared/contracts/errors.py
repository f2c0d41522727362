"""Every error that crosses a module boundary.

KubeFinOpsError
├── Permanent        the input can never be handled: 422, dead letter
│   └── Unreadable   it is not even an event of ours: 400, dead letter
├── Temporary        try again later: 503, KafkaSource retries
│   ├── Throttled    the other side asks for less: 429, KafkaSource retries
│   └── Moved        what was read has changed meanwhile (a branch, a document): read again
├── Refused          the outside said no for good (no rights, protected branch): a fact of the business
└── BadSetting       a setting is missing or wrong: one line, exit status 2

Anything else that escapes is a bug: 500 with its traceback, retried as Temporary is.
"""

from __future__ import annotations

__all__ = [
    "BadSetting",
    "KubeFinOpsError",
    "Moved",
    "Permanent",
    "Refused",
    "Temporary",
    "Throttled",
    "Unreadable",
]


class KubeFinOpsError(Exception):
    """The root; its text says what, where and what to do."""


class Permanent(KubeFinOpsError):
    """No repetition will help."""


class Unreadable(Permanent):
    """The input is no event that this stage can decode."""


class Temporary(KubeFinOpsError):
    """A repetition may help: something is down, late or busy."""


class Throttled(Temporary):
    """The other side limits the rate."""


class Moved(Temporary):
    """Somebody else was faster: what was read is no longer so."""


class Refused(KubeFinOpsError):
    """The outside understood and said no; `reason` is a short code for the event."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class BadSetting(KubeFinOpsError):
    """Names the variable and what is wrong with it."""
