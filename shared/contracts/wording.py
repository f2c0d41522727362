"""Words that several rooms say in the same way."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from shared.contracts.events import ContainerProposal, Outcome, Verdict
from shared.contracts.quantities import format_cpu, format_memory

# The values of a container, as they are called in reasons, tables and pull requests.
LABELS = {
    "cpu_request_m": "CPU request",
    "cpu_limit_m": "CPU limit",
    "memory_request_bytes": "memory request",
    "memory_limit_bytes": "memory limit",
}
# Of a container that the pods have and the manifest does not.
NOT_IN_GIT = "left as it is: its manifest in Git does not have it, most likely it is injected at admission"


def counted(number: int, noun: str) -> str:
    """`1 pod`, `2 pods`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def some(names: Collection[str], most: int = 10) -> str:
    """`a, b, c`; of many the first ones and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - most
    return ", ".join(ordered[:most]) + (f" and {more} more" if more > 0 else "")


def quantity(field: str, value: int | None) -> str:
    """A value of LABELS as a manifest says it; a dash for what is not set."""
    if value is None:
        return "-"
    return format_cpu(value) if field.startswith("cpu") else format_memory(value)


def change(container: ContainerProposal, field: str) -> str:
    """`1 -> 230m`, or the value alone where it stays."""
    before, after = getattr(container.current, field), getattr(container.proposed, field)
    stays = quantity(field, before)
    return stays if before == after else f"{stays} -> {quantity(field, after)}"


def clamps(
    engine: ContainerProposal, judged: ContainerProposal, verdicts: Sequence[Verdict]
) -> Iterator[tuple[str, str, list[Verdict]]]:
    """What policy made of the engine's values: field, the value's text, and the verdicts that clamped it."""
    for field, label in LABELS.items():
        before, after = getattr(engine.proposed, field), getattr(judged.proposed, field)
        if before == after:
            continue
        seen = {"before": str(before), "current": str(getattr(engine.current, field))}
        by = [
            verdict
            for verdict in verdicts
            if verdict.outcome is Outcome.CLAMP
            and verdict.container == engine.name
            and verdict.message.startswith(label)
            and seen.items() <= verdict.inputs.items()
        ]
        yield field, quantity(field, after), by


def reasons(
    engine: ContainerProposal, judged: ContainerProposal, verdicts: Sequence[Verdict]
) -> Iterator[str]:
    """The engine's sentences, each with what policy made of its value afterwards."""
    after = {
        LABELS[field]: f"clamped to {value} by policy {by[0].policy} v{by[0].version}"
        for field, value, by in clamps(engine, judged, verdicts)
        if by  # a limit that was judged before this version may have none
    }
    for reason in engine.reasons:
        said = next((words for label, words in after.items() if reason.startswith(label)), None)
        yield reason if said is None else f"{reason}; {said}"
