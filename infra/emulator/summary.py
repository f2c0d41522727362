"""What a run came to, as facts: from the documents, the reports in the bucket, and the topics."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from infra.emulator.watcher import Watcher
from shared.adapters.mongo import Mongo
from shared.contracts.documents import Recommendation
from shared.contracts.identity import Workload
from shared.contracts.states import State
from shared.contracts.topics import PRODUCT_TOPICS, Topic

# Where a run has nothing more to wait for; an open pull request is such an end if it waits for a person.
ENDS = frozenset(
    {State.VIOLATED, State.APPLIED, State.FAILED, State.ADVISORY, State.SUPERSEDED, State.CLOSED}
)


@dataclass(frozen=True)
class Standing:
    """How far a scan has come."""

    shards_wanted: int | None
    shards_read: int
    missing: int
    unsettled: tuple[Recommendation, ...]
    unsent: int
    events: int
    audited: int

    @property
    def done(self) -> bool:
        return (
            self.shards_wanted is not None
            and self.shards_read >= self.shards_wanted
            and self.missing <= 0
            and not self.unsettled
            and self.unsent == 0
            and self.audited >= self.events
        )

    def __str__(self) -> str:
        parts = [f"shards {self.shards_read} of {self.shards_wanted or '?'}"]
        if self.missing > 0:
            parts.append(f"{self.missing} proposals not stored yet")
        parts += [f"{item.workload.subject} is {item.state}" for item in self.unsettled]
        if self.unsent:
            parts.append(f"{self.unsent} events not sent")
        if self.audited < self.events:
            parts.append(f"{self.audited} of {self.events} events audited")
        return ", ".join(parts)


def is_settled(recommendation: Recommendation) -> bool:
    """Whether nothing but a person can move it on."""
    if recommendation.state in ENDS:
        return True
    pull_request = recommendation.pull_request
    return recommendation.state is State.PR_OPEN and pull_request is not None and pull_request.awaits_approval


def standing(mongo: Mongo, cluster: str, watcher: Watcher) -> Standing:
    """Reads the documents and the topics. Raises Temporary."""
    shards = [
        shard
        for seen in watcher.records
        if seen.topic == Topic.SCAN_REQUESTED and (shard := seen.data().get("shard"))
    ]
    # The reports first: what they propose is stored after them, so what is counted later is never too few.
    reports = mongo.reports.summaries("report")
    every = mongo.recommendations.in_states(cluster, State)
    counts = watcher.counts()
    return Standing(
        shards_wanted=max((shard["of"] for shard in shards), default=None),
        shards_read=len(reports),
        missing=sum(int(report["proposed"]) for report in reports) - len(every),
        unsettled=tuple(item for item in every if not is_settled(item)),
        unsent=sum(not entry.sent for item in every for entry in item.ledger),
        events=sum(counts[topic] for topic in PRODUCT_TOPICS),
        audited=mongo.reports.count("audit"),
    )


def summarise(
    recommendations: list[Recommendation],
    reports: list[dict[str, Any]],
    watcher: Watcher,
    *,
    services: dict[str, dict[str, str]],
    audit_records: int,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """The content of build/run/summary.json."""
    latest = {item.workload.subject: item for item in recommendations}
    rows = [_row(item) for item in latest.values()]
    rows += [row for report in reports for row in _skipped(report) if row["subject"] not in latest]
    for row in rows:
        row.pop("subject", None)
    rows.sort(key=lambda row: (row["namespace"], row["kind"], row["name"]))
    counts = watcher.counts()
    states: dict[str, int] = {}
    for row in rows:
        states[row["state"]] = states.get(row["state"], 0) + 1
    released = sum((Decimal(row["monthly_saving"]) for row in rows if row["state"] == "applied"), Decimal(0))
    proposed = sum((Decimal(row["monthly_saving"]) for row in rows if row["state"] != "skipped"), Decimal(0))
    return {
        "topics": {topic.value: counts[topic.value] for topic in Topic},
        "workloads": rows,
        "totals": {
            "workloads": len(rows),
            "states": dict(sorted(states.items())),
            "monthly_saving_proposed": format(proposed, ".2f"),
            "monthly_saving_applied": format(released, ".2f"),
            "currency": next(map(_currency, reports), ""),
            "pull_requests": len({row["pull_request"] for row in rows if row["pull_request"]}),
        },
        "services": services,
        "dead_letters": sum(seen.topic.endswith(".dlq") for seen in watcher.records),
        "audit_records": audit_records,
        "seconds": seconds,
    }


def _row(recommendation: Recommendation) -> dict[str, Any]:
    workload, pull_request = recommendation.workload, recommendation.pull_request
    waits = recommendation.state is State.PR_OPEN and pull_request and pull_request.awaits_approval
    return {
        "subject": workload.subject,
        "namespace": workload.namespace,
        "kind": workload.kind,
        "name": workload.name,
        "state": recommendation.state.value,
        "reason": "waits for a person's approval" if waits else recommendation.message or "",
        "verdict": recommendation.outcome.value if recommendation.outcome else "",
        "pull_request": pull_request.url if pull_request else "",
        "containers": [
            _container(one.name, one.current.model_dump(), one.proposed.model_dump())
            for one in recommendation.containers
        ],
        "monthly_saving": format(recommendation.monthly_saving.amount, ".2f"),
        "currency": recommendation.monthly_saving.currency,
    }


def _container(name: str, current: dict[str, Any], proposed: dict[str, Any]) -> dict[str, Any]:
    fields = ("cpu_request_m", "cpu_limit_m", "memory_request_bytes", "memory_limit_bytes")
    return {"name": name} | {field: [current.get(field), proposed.get(field)] for field in fields}


def _currency(report: dict[str, Any]) -> str:
    """Of the prices by which a report reckoned."""
    return str(report["rates"]["core_hour"]["currency"])


def _skipped(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The workloads that a report looked at and proposes nothing for."""
    skipped = [
        (Workload.model_validate(entry["workload"]), entry["reason"])
        for entry in report["workloads"]
        if entry["decision"] == "skipped"
    ]
    return [
        {
            "subject": workload.subject,
            "namespace": workload.namespace,
            "kind": workload.kind,
            "name": workload.name,
            "state": "skipped",
            "reason": reason,
            "verdict": "",
            "pull_request": "",
            "containers": [],
            "monthly_saving": "0.00",
            "currency": _currency(report),
        }
        for workload, reason in skipped
    ]
