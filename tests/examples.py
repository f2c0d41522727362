"""Small, valid examples of what the tests need again and again."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from shared.contracts.documents import Recommendation
from shared.contracts.envelope import Event
from shared.contracts.events import (
    ContainerProposal,
    Payload,
    Rates,
    RecommendationCreated,
    ReportPointer,
    Resources,
    ScanRequested,
    Usage,
)
from shared.contracts.identity import Workload, digest, recommendation_id
from shared.contracts.money import Money
from shared.contracts.states import State

MIB = 1024 * 1024
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CHECKOUT = Workload(cluster="local", namespace="shop", kind="Deployment", name="checkout")


def resources(cpu: int, memory_mib: int, limit_mib: int | None = None) -> Resources:
    return Resources(
        cpu_request_m=cpu,
        memory_request_bytes=memory_mib * MIB,
        memory_limit_bytes=None if limit_mib is None else limit_mib * MIB,
    )


def container(
    name: str = "app", current: Resources | None = None, proposed: Resources | None = None
) -> ContainerProposal:
    return ContainerProposal(
        name=name,
        current=current or resources(1000, 1024, 1024),
        proposed=proposed or resources(600, 640, 768),
        usage=Usage(
            cpu_p95_recent_m=400.0,
            cpu_p95_m=480.0,
            cpu_max_m=900.0,
            memory_p95_recent_bytes=500 * MIB,
            memory_p95_bytes=520 * MIB,
            memory_max_bytes=540 * MIB,
            samples=20160,
            pods=3,
        ),
        reasons=("p95 of CPU is 480m",),
    )


def created(
    workload: Workload = CHECKOUT,
    scan_id: str = "scan-1",
    containers: tuple[ContainerProposal, ...] | None = None,
    *,
    saving: str = "40.00",
    confidence: float = 0.9,
    history_hours: float = 336,
) -> RecommendationCreated:
    return RecommendationCreated(
        recommendation_id=recommendation_id(scan_id, workload),
        workload=workload,
        scan_id=scan_id,
        scanned_at=NOW,
        replicas=3,
        pods=3.0,
        containers=containers or (container(),),
        confidence=confidence,
        history_seconds=int(history_hours * 3600),
        monthly_cost_before=Money(amount=Decimal(100)),
        monthly_cost_after=Money(amount=Decimal(100) - Decimal(saving)),
        monthly_saving=Money(amount=Decimal(saving)),
        rates=Rates(core_hour=Money(amount=Decimal("0.031611")), gib_hour=Money(amount=Decimal("0.004237"))),
        content_hash=digest("content", workload.key),
        report=ReportPointer(
            bucket="kubefinops",
            key=f"reports/local/2026/11/23/{scan_id}-0000.json",
            version_id="v1",
            pointer="/workloads/0",
            sha256="0" * 64,
        ),
    )


def draft(proposal: RecommendationCreated | None = None) -> Recommendation:
    proposal = proposal or created()
    return Recommendation.model_validate(
        {
            "id": proposal.recommendation_id,
            "workload": proposal.workload,
            "scan_id": proposal.scan_id,
            "scanned_at": proposal.scanned_at,
            "state": State.CREATED,
            "slot": None,
            "content_hash": proposal.content_hash,
            "proposal": proposal,
            "containers": proposal.containers,
            "monthly_saving": proposal.monthly_saving,
        }
    )


def event(data: Payload, *, id: str = "cause-1", workload: Workload = CHECKOUT) -> Event:  # noqa: A002
    return Event(
        id=id,
        source="/kubefinops/local/test",
        subject=workload.subject,
        time=NOW,
        partitionkey=workload.key,
        correlationid="scan-1",
        data=data,
    )


def scan_event(id: str = "scan-event-1") -> Event:  # noqa: A002
    return event(
        ScanRequested(cluster="local", scan_id="scan-1", scanned_at=NOW, requested_by="person"), id=id
    )
