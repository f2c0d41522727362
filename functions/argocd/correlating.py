"""Is a merged change live, has it failed, or is it still on its way?

Live means: Argo CD has synced a revision that contains the merge commit, without an error, the workload is
healthy, and what lives is what was proposed. The last is the proof; the others say when to ask for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.contracts.events import ContainerProposal, FailureReason
from shared.contracts.quantities import parse_cpu, parse_memory

_FIELDS = (
    ("requests", "cpu", "cpu_request_m", parse_cpu),
    ("limits", "cpu", "cpu_limit_m", parse_cpu),
    ("requests", "memory", "memory_request_bytes", parse_memory),
    ("limits", "memory", "memory_limit_bytes", parse_memory),
)


@dataclass(frozen=True)
class Operation:
    """Argo CD's last sync. `revision` is what it synced to where that contains the change, else None."""

    phase: str
    message: str
    revision: str | None
    finished_at: datetime | None = None

    @property
    def failed(self) -> bool:
        # A failed one that Argo CD will try again is Running meanwhile.
        return self.phase in {"Failed", "Error"}


@dataclass(frozen=True)
class Rollout:
    """What Argo CD says of a change.

    Args:
        synced: the revision that the cluster is found to be as, where it contains the change, else None.
        operation: the last sync, if there was one.
        health, health_message: of the workload, or of its Application where Argo CD does not tell.
        differences: how what lives differs from the proposal.
        conditions: what Argo CD complains of.
    """

    synced: str | None
    operation: Operation | None
    health: str
    health_message: str = ""
    differences: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()

    @property
    def revision(self) -> str | None:
        """The revision by which the change came to the cluster; None if it has not yet.

        Without an operation, or by one to a revision before, when there was nothing left to apply.
        """
        if self.operation is None:
            return self.synced
        return (self.operation.revision or self.synced) if self.operation.phase == "Succeeded" else None

    @property
    def live(self) -> bool:
        return self.revision is not None and self.health == "Healthy" and not self.differences


@dataclass(frozen=True)
class Failure:
    reason: FailureReason
    message: str


def failure_of(rollout: Rollout | None, waited: timedelta, deadline: timedelta) -> Failure | None:
    """Why a change that is not live will not be, as far as can be told; None while there is hope.

    Args:
        rollout: None where no Application manages the workload.
        waited: since the merge.
        deadline: how long a merged change may take.
    """
    operation = rollout.operation if rollout else None
    if operation and operation.failed and operation.revision:
        return Failure(FailureReason.SYNC_FAILED, f"the sync {operation.phase.lower()}: {operation.message}")
    if rollout and rollout.revision and rollout.health == "Degraded":
        return Failure(FailureReason.DEGRADED, rollout.health_message or "it is Degraded after the sync")
    if waited < deadline:
        return None
    minutes = int(deadline.total_seconds() // 60)
    missing = "; ".join(_missing(rollout))
    return Failure(FailureReason.DEADLINE, f"not live {minutes} minutes after the merge: {missing}")


def _missing(rollout: Rollout | None) -> Iterator[str]:
    if rollout is None:
        yield "no Application of Argo CD manages the workload, or several do"
        return
    operation = rollout.operation
    if rollout.revision is not None:
        if rollout.health != "Healthy":
            yield " ".join(filter(None, (f"its health is {rollout.health}", rollout.health_message)))
        yield from rollout.differences
    elif operation and operation.revision:
        yield f"the sync is {operation.phase}: {operation.message}"
    else:
        yield "Argo CD has not synced a revision with the change"
    yield from rollout.conditions


def differences(containers: Sequence[ContainerProposal], live: Mapping[str, Any] | None) -> tuple[str, ...]:
    """How a live workload's requests and limits differ from the proposal, one line for each.

    A value that is proposed as "not set" must be gone only where it was set when the proposal was made.
    """
    if live is None:
        return ("the workload does not live",)
    there = {container["name"]: container for container in _containers(live)}
    found: list[str] = []
    for container in containers:
        if container.name not in there:
            found.append(f"container {container.name} does not live")
            continue
        resources = there[container.name].get("resources") or {}
        for group, resource, field, parse in _FIELDS:
            current, wanted = getattr(container.current, field), getattr(container.proposed, field)
            text = (resources.get(group) or {}).get(resource)
            lives = None if text is None else parse(text)
            if lives != wanted and not (wanted is None and current is None):
                found.append(f"{container.name}: {field} is {_shown(lives)}, not {_shown(wanted)}")
    return tuple(found)


def _shown(value: int | None) -> str:
    return "unset" if value is None else str(value)


def _containers(live: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Of the pod template, native sidecars among them."""
    spec = live.get("spec") or {}
    template = ((spec.get("jobTemplate") or {}).get("spec") or spec).get("template") or {}
    pod = template.get("spec") or {}
    return [*(pod.get("initContainers") or []), *(pod.get("containers") or [])]
