"""Every metric of the exporter: its name, labels and meaning, and how it follows from the figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from shared.contracts.figures import Figures


@dataclass(frozen=True)
class Metric:
    """One metric; `name` as it is queried."""

    name: str
    labels: tuple[str, ...]
    unit: str
    meaning: str
    kind: Literal["gauge", "counter"] = "gauge"


@dataclass(frozen=True)
class Sample:
    metric: Metric
    values: tuple[str, ...]
    amount: float


_NAMESPACE = ("cluster", "namespace")
_MONEY = (*_NAMESPACE, "currency")

RECOMMENDATIONS = Metric(
    "kubefinops_recommendations", (*_NAMESPACE, "state"), "recommendations",
    "Recommendations that are in this state now; each ever made is in exactly one.",
)  # fmt: skip
VERDICTS = Metric(
    "kubefinops_verdicts", ("cluster", "outcome"), "recommendations",
    "Recommendations by what policy made of them: allow, clamp, require_approval or deny.",
)  # fmt: skip
PROPOSED = Metric(
    "kubefinops_proposed_monthly_saving", _MONEY, "money a month",
    "What the latest recommendation of each workload would save, whatever became of it, before policy"
    " clamps it; one that raises requests counts as negative.",
)  # fmt: skip
RELEASED = Metric(
    "kubefinops_released_monthly_saving", _MONEY, "money a month",
    "What all recommendations whose change is live save in requests, after clamps and without containers"
    " that are not in Git (states applied and verified). Nodes may still be paid for.",
)  # fmt: skip
WASTE = Metric(
    "kubefinops_waste_monthly", _MONEY, "money a month",
    "Waste left: the part of each workload's latest proposed saving that is not live, refused ones and what"
    " a clamp or a container that is not in Git left over included; a proposal that raises requests counts"
    " as none. A workload that was deleted counts until its recommendations are deleted too.",
)  # fmt: skip
OPEN_PULL_REQUESTS = Metric(
    "kubefinops_open_pull_requests", ("cluster", "application"), "pull requests",
    "Pull requests that are open; 0 for an Application that had some.",
)  # fmt: skip
PULL_REQUEST_AGE = Metric(
    "kubefinops_open_pull_request_age_seconds", ("cluster", "application", "repository", "number"),
    "seconds", "For each open pull request, the time since it was opened.",
)  # fmt: skip
AUDIT_RECORDS = Metric("kubefinops_audit_records", ("cluster",), "objects", "Audit records that are indexed.")
REPORTS = Metric("kubefinops_reports", ("cluster",), "objects", "Reports of scans that are indexed.")
UNSENT_EVENTS = Metric(
    "kubefinops_unsent_events", ("cluster",), "events",
    "Events that are decided and stored, but not known to be in Kafka.",
)  # fmt: skip
UNSENT_AGE = Metric(
    "kubefinops_oldest_unsent_event_age_seconds", ("cluster",), "seconds",
    "Age of the oldest of them, 0 without any; over a few minutes, reconciliation does not run.",
)  # fmt: skip
SCRAPES = Metric(
    "kubefinops_exporter_scrapes_total", ("result",), "scrapes",
    "Scrapes since the exporter started, by result: answered, or failed (answered with 503).",
    kind="counter",
)  # fmt: skip
SCRAPE_DURATION = Metric(
    "kubefinops_exporter_scrape_duration_seconds", (), "seconds", "How long reading MongoDB took this time."
)

METRICS = (
    RECOMMENDATIONS,
    VERDICTS,
    PROPOSED,
    RELEASED,
    WASTE,
    OPEN_PULL_REQUESTS,
    PULL_REQUEST_AGE,
    AUDIT_RECORDS,
    REPORTS,
    UNSENT_EVENTS,
    UNSENT_AGE,
    SCRAPES,
    SCRAPE_DURATION,
)


def samples(figures: Figures, cluster: str, now: datetime) -> Iterator[Sample]:
    """What the figures say. `cluster` is the exporter's own: it has figures before anything happened."""
    for state in figures.states:
        yield Sample(RECOMMENDATIONS, (state.cluster, state.namespace, state.state), state.count)
    for outcome in figures.outcomes:
        yield Sample(VERDICTS, (outcome.cluster, outcome.outcome), outcome.count)
    for saving in figures.savings:
        place = (saving.cluster, saving.namespace, saving.currency)
        yield Sample(PROPOSED, place, float(saving.proposed))
        yield Sample(RELEASED, place, float(saving.released))
        yield Sample(WASTE, place, float(saving.waste))
    for count in figures.open_counts:
        yield Sample(OPEN_PULL_REQUESTS, (count.cluster, count.application), count.count)
    for pull in figures.pull_requests:
        age = max(0.0, (now - pull.opened_at).total_seconds())
        yield Sample(
            PULL_REQUEST_AGE, (pull.cluster, pull.application, pull.repository, str(pull.number)), age
        )
    yield from _per_cluster(figures, cluster, now)


def _per_cluster(figures: Figures, own: str, now: datetime) -> Iterator[Sample]:
    """Figures that are 0 where there is nothing, so that an alert can tell nothing from not known."""
    objects = {(found.cluster, found.kind): found.count for found in figures.objects}
    unsent = {found.cluster: found for found in figures.unsent}
    clusters = {own} | {state.cluster for state in figures.states} | {cluster for cluster, _ in objects}
    for cluster in sorted(clusters | unsent.keys()):
        yield Sample(AUDIT_RECORDS, (cluster,), objects.get((cluster, "audit"), 0))
        yield Sample(REPORTS, (cluster,), objects.get((cluster, "report"), 0))
        waiting = unsent.get(cluster)
        yield Sample(UNSENT_EVENTS, (cluster,), 0 if waiting is None else waiting.count)
        age = 0.0 if waiting is None else max(0.0, (now - waiting.oldest).total_seconds())
        yield Sample(UNSENT_AGE, (cluster,), age)


def table() -> str:
    """The metrics as a Markdown table, for the documents."""
    rows = ["| metric | labels | unit | meaning |", "|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "-"
        rows.append(f"| `{metric.name}` ({metric.kind}) | {labels} | {metric.unit} | {metric.meaning} |")
    return "\n".join(rows) + "\n"
