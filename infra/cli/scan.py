"""A cluster's waste, from nothing but a Prometheus: what each container asks for, uses and should ask for."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.table import Table

from functions.recommender.reading import read
from functions.recommender.report import Entry, entry
from functions.recommender.settings import SizingSettings
from functions.recommender.sizing import size
from shared.adapters.prometheus import HttpPrometheus
from shared.contracts.events import ContainerProposal, rfc3339
from shared.contracts.money import Money
from shared.contracts.quantities import MIB, format_cpu, format_memory

if TYPE_CHECKING:
    from shared.adapters.prometheus import Prometheus, Series

# Where there is no terminal whose width could be asked for: each container on one line.
WIDTH = 200


def proposals(
    prometheus: Prometheus, at: datetime, namespaces: Collection[str], settings: SizingSettings
) -> list[Entry]:
    """Every workload of `namespaces` (empty: of all) at `at`, with its proposal or the reason for none.

    The same reading, sizing and pricing as the recommender's; no document is looked at, so what is in
    flight or was refused before is proposed here too. Raises Temporary.
    """
    reading = read(
        prometheus,
        settings.cluster,
        at,
        history=settings.window,
        oom_days=settings.oom_days,
        namespaces=namespaces,
    )
    return [
        entry(observed, size(observed, settings.rules), settings.prices) for observed in reading.workloads
    ]


def scan(prometheus_url: str, namespaces: list[str], form: Literal["table", "json"]) -> int:
    """Prints the scan; returns 0, or 1 if there is nothing to look at.

    Raises:
        BadSetting: the address or a variable is wrong.
        Temporary: Prometheus cannot be reached, or does not answer.
    """
    settings = SizingSettings.read({**os.environ, "PROMETHEUS_URL": prometheus_url})
    client: Prometheus = HttpPrometheus(
        settings.prometheus, settings.prometheus_token.get_secret_value(), timeout=120
    )
    if sys.stderr.isatty():
        client = _Told(client, Console(stderr=True))
    at = datetime.now(UTC).replace(microsecond=0)
    found = proposals(client, at, namespaces, settings)
    if isinstance(client, _Told):
        client.end()
    if not found:
        where = f"namespace {', '.join(namespaces)}" if namespaces else "any namespace"
        print(
            f"kubefinops: no workload in {where} at {settings.prometheus}:"
            " it needs the series of kube-state-metrics (kube_pod_owner) and cAdvisor, up to now",
            file=sys.stderr,
        )
        return 1
    if form == "json":
        print(json.dumps(_document(found, at, settings), indent=2))
    else:
        _print_table(found, settings)
    return 0


class _Told:
    """Tells on a terminal which query is asked, because a large cluster takes its time."""

    def __init__(self, prometheus: Prometheus, console: Console) -> None:
        self._prometheus = prometheus
        self._status = console.status("asking Prometheus")
        self._asked = 0
        self._status.start()

    def query(self, promql: str, at: datetime, timeout: float | None = None) -> list[Series]:
        self._asked += 1
        self._status.update(f"asking Prometheus: query {self._asked}")
        try:
            return self._prometheus.query(promql, at, timeout)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        self._status.stop()


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


def _print_table(found: list[Entry], settings: SizingSettings) -> None:
    # Names and reasons are data: nothing in them is markup.
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    proposed = [each for each in found if each.decision == "proposed"]
    skipped = [each for each in found if each.decision == "skipped"]
    if proposed:
        console.print(_worth(sorted(proposed, key=lambda each: -each.monthly_saving.amount)))
    if skipped:
        console.print(_not_worth(skipped))
    saving, before = _totals(found, settings)
    console.print(
        f"{len(found)} workloads, {len(proposed)} worth a change: {saving} of {before} a month."
        f" p95: over {settings.history} days / over the last 5 minutes, of the worst pod."
    )


def _worth(entries: list[Entry]) -> Table:
    table = _table("CPU p95", "CPU request", "memory p95", "memory request", "memory limit", "saves a month")
    for each in entries:
        for index, container in enumerate(each.containers):
            table.add_row(
                each.workload.subject if index == 0 else "",
                container.name,
                _cpu(container),
                _change(container, "cpu_request_m", format_cpu),
                _memory(container),
                _change(container, "memory_request_bytes", format_memory),
                _change(container, "memory_limit_bytes", format_memory),
                str(each.monthly_saving) if index == 0 else "",
            )
    return table


def _not_worth(entries: list[Entry]) -> Table:
    table = _table("CPU p95", "CPU request", "memory p95", "memory request")
    table.add_column("why not", overflow="fold")
    for each in entries:
        if not each.containers:
            table.add_row(each.workload.subject, "", "", "", "", "", each.reason)
        for index, container in enumerate(each.containers):
            now = container.current
            table.add_row(
                each.workload.subject if index == 0 else "",
                container.name,
                _cpu(container),
                _or_dash(now.cpu_request_m, format_cpu),
                _memory(container),
                _or_dash(now.memory_request_bytes, format_memory),
                each.reason if index == 0 else "",
            )
    return table


def _table(*figures: str) -> Table:
    table = Table()
    for name in ("workload", "container"):
        table.add_column(name, overflow="fold")
    for name in figures:
        table.add_column(name, justify="right", overflow="fold")
    return table


def _cpu(container: ContainerProposal) -> str:
    usage = container.usage
    return f"{usage.cpu_p95_m:.0f}m / {_or_dash(usage.cpu_p95_recent_m, lambda cpu: f'{cpu:.0f}m')}"


def _memory(container: ContainerProposal) -> str:
    usage = container.usage
    return f"{_mebibytes(usage.memory_p95_bytes)} / {_or_dash(usage.memory_p95_recent_bytes, _mebibytes)}"


def _change(container: ContainerProposal, field: str, form: Callable[[int], str]) -> str:
    before, after = getattr(container.current, field), getattr(container.proposed, field)
    if before == after:
        return _or_dash(before, form)
    return f"{_or_dash(before, form)} -> {_or_dash(after, form)}"


def _or_dash(value: float | None, form: Callable[[int], str]) -> str:
    return "-" if value is None else form(value)  # type: ignore[arg-type]


def _mebibytes(amount: float) -> str:
    return f"{amount / MIB:.0f}Mi"
