"""Conditions of a status, and how counts are shown in one."""

from __future__ import annotations

from infra.standins.cluster.kinds import Object
from infra.standins.cluster.names import rfc3339


class Conditions:
    """The conditions of one object; a transition's time changes only when its status does."""

    def __init__(self) -> None:
        self._by_type: dict[str, Object] = {}

    def set(self, kind: str, status: bool, reason: str, message: str, now: float) -> None:
        old = self._by_type.get(kind)
        text = "True" if status else "False"
        if old and (old["status"], old["reason"], old["message"]) == (text, reason, message):
            return
        since = old["lastTransitionTime"] if old and old["status"] == text else rfc3339(now)
        self._by_type[kind] = {
            "type": kind,
            "status": text,
            "lastUpdateTime": rfc3339(now),
            "lastTransitionTime": since,
            "reason": reason,
            "message": message,
        }

    def drop(self, kind: str) -> None:
        self._by_type.pop(kind, None)

    def listed(self) -> list[Object]:
        return [dict(each) for _, each in sorted(self._by_type.items())]


def shown(counts: dict[str, int]) -> Object:
    """The API server leaves counts of zero out."""
    return {name: count for name, count in counts.items() if count}
