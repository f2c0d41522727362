"""A cluster's waste, from nothing but a Prometheus: what each container asks for, uses and should ask for."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from functions.recommender.report import Entry
from infra.cli.looking import look, sizing_settings
from infra.cli.tables import show, table
from shared.contracts.events import ContainerProposal, rfc3339
from shared.contracts.money import Money
from shared.contracts.quantities import MIB
from shared.contracts.wording import LABELS, change, counted

if TYPE_CHECKING:
    from functions.recommender.settings import SizingSettings


def scan(prometheus_url: str, namespaces: list[str], form: Literal["table", "json"]) -> int:
    """Prints the scan; returns 0.

    Raises:
        BadSetting: the address or a variable is wrong.
        NothingFound: there is nothing to look at.
        Temporary: Prometheus cannot be reached, or does not answer.
    """
    settings = sizing_settings(prometheus_url)
    at = datetime.now(UTC).replace(microsecond=0)
    found = look(settings, namespaces, at)
    if form == "json":
        print(json.dumps(_document(found, at, settings), indent=2))
    else:
        _print(found, settings)
    return 0


def _document(found: list[Entry], at: datetime, settings: SizingSettings) -> dict[str, object]:
    saving, before = _totals(found, settings)
    return {
        "cluster": settings.cluster,
        "at": rfc3339(at),
        "history_days": settings.history,
        "workloads": [each.model_dump(mode="json") for each in found],
        "totals": {
            "workloads": len(found),
            "proposed": sum(each.decision == "proposed" for each in found),
            "monthly_cost": before.model_dump(mode="json"),
            "monthly_saving": saving.model_dump(mode="json"),
        },
    }


def _totals(found: list[Entry], settings: SizingSettings) -> tuple[Money, Money]:
    """What the proposals save a month, and what all that was looked at costs."""
    saving = before = Money.model_validate({"amount": "0.00", "currency": settings.currency})
    for each in found:
        before += each.monthly_cost_before
        if each.decision == "proposed":
            saving += each.monthly_saving
    return saving, before


def _print(found: list[Entry], settings: SizingSettings) -> None:
    proposed = [each for each in found if each.decision == "proposed"]
    skipped = [each for each in found if each.decision == "skipped"]
    _print_table(sorted(proposed, key=lambda each: -each.monthly_saving.amount) + skipped, settings.currency)
    by_reason: dict[str, list[str]] = defaultdict(list)
    for each in skipped:
        by_reason[each.reason or ""].append(each.workload.subject)
    if by_reason:
        print("left as they are:")
    for reason, subjects in by_reason.items():
        print(f"  {reason}: {', '.join(subjects)}")
    saving, before = _totals(found, settings)
    worth = "is" if len(proposed) == 1 else "are"
    print(
        f"{counted(len(found), 'workload')}, of which {len(proposed)} {worth} worth a change:"
        f" saves {saving} of {before} a month, before policy."
    )
    print(
        f"p95 / max: over {counted(settings.history, 'day')}, in the worst pod. A CPU request follows the"
        " p95, memory the maximum; in a Guaranteed pod, and for Jobs, CPU follows the maximum too."
    )


def _print_table(entries: list[Entry], currency: str) -> None:
    containers = [container for each in entries for container in each.containers]

    def changes(field: str) -> bool:
        return any(getattr(one.current, field) != getattr(one.proposed, field) for one in containers)

    # Limits stand where there is something to tell.
    with_limit = changes("cpu_limit_m")
    with_memory_limit = any(one.current.memory_limit_bytes is not None for one in containers)
    fields = [
        *(["cpu_request_m", "cpu_limit_m"] if with_limit else ["cpu_request_m"]),
        "memory_request_bytes",
        *(["memory_limit_bytes"] if with_memory_limit else []),
    ]
    made = table(
        ["workload", "container"],
        [
            "CPU p95 / max",
            "memory p95 / max",
            *(LABELS[field] for field in fields),
            f"{currency}/month",
        ],
    )
    for each in entries:
        if not each.containers:
            made.add_row(each.workload.subject)
        for index, container in enumerate(each.containers):
            saving = f"{each.monthly_saving.amount:.2f}" if each.decision == "proposed" else "-"
            made.add_row(
                each.workload.subject if index == 0 else "",
                container.name,
                _cpu(container),
                _memory(container),
                *(change(container, field) for field in fields),
                saving if index == 0 else "",
            )
    show(made)


def _cpu(container: ContainerProposal) -> str:
    return f"{container.usage.cpu_p95_m:.0f}m / {container.usage.cpu_max_m:.0f}m"


def _memory(container: ContainerProposal) -> str:
    usage = container.usage
    return f"{usage.memory_p95_bytes / MIB:.0f}Mi / {usage.memory_max_bytes / MIB:.0f}Mi"
