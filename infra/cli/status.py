"""A recommendation's story, from its document: every state, when, by which stage, because of what."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from shared.adapters.mongo import Mongo
from shared.contracts.documents import Recommendation
from shared.contracts.events import rfc3339
from shared.contracts.quantities import format_cpu, format_memory
from shared.contracts.states import State
from shared.runtime.settings import MongoSettings


def status(workload: str | None) -> int:
    """Prints an overview, or the stories of the workloads whose name contains `workload`.

    Returns 0, or 1 if there is none. Raises BadSetting, Temporary.
    """
    settings = MongoSettings.read()
    mongo = Mongo(settings.mongodb.get_secret_value(), settings.mongodb_database)
    every = mongo.recommendations.in_states(settings.cluster, State)
    chosen = [item for item in every if workload is None or workload in item.workload.subject]
    console = Console()
    if not chosen:
        console.print(f"no recommendation for {workload or 'any workload'} in cluster {settings.cluster}")
        return 1
    if workload is None:
        _overview(chosen, console)
    else:
        for recommendation in chosen:
            _story(recommendation, console)
    return 0


def _overview(recommendations: list[Recommendation], console: Console) -> None:
    latest = {recommendation.workload: recommendation for recommendation in recommendations}
    table = Table("workload", "state", "since", "saving a month", "pull request", "why")
    for workload, recommendation in sorted(latest.items(), key=lambda item: item[0].key):
        table.add_row(
            workload.subject,
            recommendation.state,
            rfc3339(recommendation.transitions[-1].at),
            str(recommendation.monthly_saving),
            recommendation.pull_request.url if recommendation.pull_request else "",
            recommendation.message or "",
        )
    console.print(table)


def _story(recommendation: Recommendation, console: Console) -> None:
    console.rule(f"{recommendation.workload.subject}  {recommendation.id[:12]}")
    for container in recommendation.containers:
        now, then = container.current, container.proposed
        console.print(
            f"{container.name}: CPU {_cpu(now.cpu_request_m)} -> {_cpu(then.cpu_request_m)},"
            f" memory {_memory(now.memory_request_bytes)} -> {_memory(then.memory_request_bytes)},"
            f" limit {_memory(now.memory_limit_bytes)} -> {_memory(then.memory_limit_bytes)}"
        )
        for reason in container.reasons:
            console.print(f"  {reason}")
    for verdict in recommendation.verdicts:
        console.print(
            f"{verdict.policy} v{verdict.version} {verdict.rule}: {verdict.outcome}, {verdict.message}"
        )
    sent = {entry.record.headers["ce_causationid"]: entry for entry in recommendation.ledger}
    for move in recommendation.transitions:
        entry = sent.get(move.cause)
        told = f", told as {entry.record.topic}{'' if entry.sent else ' (not sent yet)'}" if entry else ""
        console.print(f"{rfc3339(move.at)}  {move.before or '-'} -> {move.after} by {move.stage}{told}")
    if recommendation.pull_request:
        console.print(f"pull request: {recommendation.pull_request.url}")
    if recommendation.message:
        console.print(f"why: {recommendation.message}")
    report = recommendation.proposal.report
    console.print(
        f"evidence: s3://{report.bucket}/{report.key} (version {report.version_id}) at {report.pointer}"
    )


def _cpu(value: int | None) -> str:
    return "-" if value is None else format_cpu(value)


def _memory(value: int | None) -> str:
    return "-" if value is None else format_memory(value)
