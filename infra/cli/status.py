"""A recommendation's story, from its document: every state, when, by which stage, because of what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from infra.cli.plain import say
from infra.cli.tables import show, table
from shared.adapters.mongo import Mongo
from shared.contracts.documents import Entry, Recommendation, Transition
from shared.contracts.events import ContainerProposal, Outcome, rfc3339
from shared.contracts.states import State
from shared.contracts.topics import Topic
from shared.contracts.wording import LABELS, NOT_IN_GIT, change, reasons
from shared.runtime.settings import MongoSettings

# Which states' coming each topic tells of: one event may cause two moves, as a tick that finds a pull request
# merged and its change live.
TOLD_BY: dict[str, frozenset[State]] = {
    Topic.RECOMMENDATION_CREATED: frozenset({State.CREATED}),
    Topic.RECOMMENDATION_APPROVED: frozenset({State.APPROVED}),
    Topic.POLICY_VIOLATED: frozenset({State.VIOLATED}),
    Topic.GITOPS_PR_CREATED: frozenset({State.PR_OPEN}),
    Topic.CHANGE_APPLIED: frozenset({State.APPLIED}),
    Topic.CHANGE_FAILED: frozenset({State.FAILED, State.CLOSED, State.ADVISORY, State.SUPERSEDED}),
}


def status(workload: str | None, form: Literal["table", "json"]) -> int:
    """Prints an overview, or the stories of the workloads whose name contains `workload`.

    As JSON: an overview's rows, or the whole documents. Returns 0, or 1 if there is none.

    Raises:
        BadSetting: a variable is wrong.
        Temporary: MongoDB cannot be reached.
    """
    settings = MongoSettings.read()
    mongo = Mongo(settings.mongodb.get_secret_value(), settings.mongodb_database)
    every = mongo.recommendations.in_states(settings.cluster, State)
    mongo.close()
    chosen = [item for item in every if workload is None or workload in item.workload.subject]
    latest = sorted({item.workload: item for item in chosen}.values(), key=lambda item: item.workload.subject)
    if form == "json":
        rows = [_row(item) for item in latest]
        documents = rows if workload is None else [item.model_dump(mode="json") for item in chosen]
        print(json.dumps(documents, indent=2))
    elif not chosen:
        print(f"no recommendation for {workload or 'any workload'} in cluster {settings.cluster}")
    elif workload is None:
        _print_overview(latest)
    else:
        say("\n\n".join("\n".join(story(item)) for item in chosen))
    return 0 if chosen else 1


def _row(item: Recommendation) -> dict[str, object]:
    return {
        "workload": item.workload.subject,
        "state": item.state.value,
        "since": rfc3339(item.transitions[-1].at),
        "monthly_saving": item.monthly_saving.model_dump(mode="json"),
        "pull_request": item.pull_request.url if item.pull_request else None,
        "reason": item.message,
    }


def _print_overview(latest: list[Recommendation]) -> None:
    today = datetime.now().astimezone()
    currency = latest[0].monthly_saving.currency
    made = table(["workload", "state", "since", "PR"], [f"{currency}/month"])
    for item in latest:
        made.add_row(
            item.workload.subject,
            item.state.value,
            since(item.transitions[-1].at, today),
            f"#{item.pull_request.number}" if item.pull_request else "",
            f"{item.monthly_saving.amount:.2f}",
        )
    show(made)
    for item in latest:
        if item.message:
            say(f"{item.workload.subject}: {item.state.value}: {item.message}")


def since(moment: datetime, today: datetime) -> str:
    """The local time, or before today the date."""
    local = moment.astimezone(today.tzinfo)
    return f"{local:%H:%M:%S}" if local.date() == today.date() else f"{local:%Y-%m-%d}"


def story(item: Recommendation) -> Iterator[str]:
    """Line by line: what changes and why, what policy said, every move, where it lies."""
    yield f"{item.workload.subject}  {item.id[:12]}  saves {item.monthly_saving} a month"
    engine = {container.name: container for container in item.proposal.containers}
    for container in item.containers:
        yield f"{container.name}: {_values(container)}"
        for reason in reasons(engine.get(container.name, container), container, item.verdicts):
            yield f"  {reason}"
    for name in item.not_in_git:
        yield f"{name}: {NOT_IN_GIT}"
    for verdict in item.verdicts:
        if verdict.outcome is not Outcome.ALLOW and verdict.container not in item.not_in_git:
            where = f" ({verdict.container})" if verdict.container else ""
            yield (
                f"policy {verdict.policy} v{verdict.version}, {verdict.rule}{where}:"
                f" {verdict.outcome.value}: {verdict.message}"
            )
    if item.policies:
        judges = ", ".join(f"{name} v{version}" for name, version in sorted(item.policies.items()))
        yield f"judged by policy {judges}: {item.outcome.value if item.outcome else 'not yet'}"
    for move in item.transitions:
        entry = told_by(item, move)
        told = f", told as {entry.record.topic}{'' if entry.sent else ' (not sent yet)'}" if entry else ""
        yield f"{rfc3339(move.at)}  {move.before or '-'} -> {move.after} by {move.stage}{told}"
    if item.pull_request:
        yield f"pull request: {item.pull_request.url}"
    if item.message:
        yield f"why: {item.message}"
    report = item.proposal.report
    version = f" (version {report.version_id})" if report.version_id else ""
    yield f"evidence: s3://{report.bucket}/{report.key}{version} at {report.pointer}"


def told_by(item: Recommendation, move: Transition) -> Entry | None:
    """The event that told of a move: of the same cause, on a topic that tells of this state."""
    return next(
        (
            entry
            for entry in item.ledger
            if entry.cause == move.cause and move.after in TOLD_BY.get(entry.record.topic, ())
        ),
        None,
    )


def _values(container: ContainerProposal) -> str:
    """Every value that is set or becomes so; of requests the missing ones too."""
    return ", ".join(
        f"{label} {change(container, field)}"
        for field, label in LABELS.items()
        if "request" in field or getattr(container.proposed, field) is not None
    )
