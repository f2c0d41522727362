from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal

import pytest
from prometheus_client.parser import text_string_to_metric_families

from functions.exporter.handler import ExporterHandler
from functions.exporter.metrics import METRICS, table
from shared.contracts.errors import Temporary
from shared.contracts.figures import (
    Figures,
    ObjectCount,
    OpenCount,
    OpenPullRequest,
    OutcomeCount,
    Savings,
    StateCount,
    Unsent,
)
from tests.examples import NOW

FULL = Figures(
    states=[StateCount("local", "shop", "applied", 2), StateCount("local", "shop", "pr_open", 1)],
    outcomes=[OutcomeCount("local", "allow", 3)],
    savings=[Savings("local", "shop", "EUR", Decimal("40.10"), Decimal("30.05"), Decimal("10.05"))],
    open_counts=[OpenCount("local", "shop", 1), OpenCount("local", "search", 0)],
    pull_requests=[OpenPullRequest("local", "shop", "acme/deploy", 7, NOW - timedelta(hours=2))],
    objects=[ObjectCount("local", "audit", 9), ObjectCount("local", "report", 2)],
    unsent=[Unsent("local", 1, NOW - timedelta(seconds=90))],
)


class FakeFigures:
    """Figures that are there, or a MongoDB that is down."""

    def __init__(self, figures: Figures | None) -> None:
        self.figures = figures

    def read(self) -> Figures:
        if self.figures is None:
            raise Temporary("MongoDB: ServerSelectionTimeoutError: nothing listens")
        return self.figures


def handler(figures: Figures | None) -> ExporterHandler:
    return ExporterHandler(FakeFigures(figures), "local", clock=lambda: NOW)


def scraped(exporter: ExporterHandler) -> Mapping[str, float]:
    """Each sample's value, by its name with its labels."""
    return {
        sample.name
        + "".join(f",{name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(exporter.metrics().body.decode())
        for sample in family.samples
    }


def test_every_figure_is_shown_with_its_labels() -> None:
    shown = dict(scraped(handler(FULL)))
    assert shown.pop("kubefinops_exporter_scrape_duration_seconds") >= 0
    assert shown == {
        "kubefinops_recommendations,cluster=local,namespace=shop,state=applied": 2,
        "kubefinops_recommendations,cluster=local,namespace=shop,state=pr_open": 1,
        "kubefinops_verdicts,cluster=local,outcome=allow": 3,
        "kubefinops_proposed_monthly_saving,cluster=local,currency=EUR,namespace=shop": 40.10,
        "kubefinops_released_monthly_saving,cluster=local,currency=EUR,namespace=shop": 30.05,
        "kubefinops_waste_monthly,cluster=local,currency=EUR,namespace=shop": 10.05,
        "kubefinops_open_pull_requests,application=shop,cluster=local": 1,
        "kubefinops_open_pull_requests,application=search,cluster=local": 0,
        "kubefinops_open_pull_request_age_seconds,application=shop,cluster=local,number=7,"
        "repository=acme/deploy": 7200,
        "kubefinops_audit_records,cluster=local": 9,
        "kubefinops_reports,cluster=local": 2,
        "kubefinops_unsent_events,cluster=local": 1,
        "kubefinops_oldest_unsent_event_age_seconds,cluster=local": 90,
        "kubefinops_exporter_scrapes_total,result=answered": 1,
        "kubefinops_exporter_scrapes_total,result=failed": 0,
    }


def test_before_anything_happened_the_own_cluster_shows_zeros() -> None:
    shown = scraped(handler(Figures()))
    for name in ("audit_records", "reports", "unsent_events", "oldest_unsent_event_age_seconds"):
        assert shown[f"kubefinops_{name},cluster=local"] == 0


def test_an_unreadable_mongodb_shows_nothing_stale_and_is_counted() -> None:
    source = FakeFigures(FULL)
    exporter = ExporterHandler(source, "local", clock=lambda: NOW)
    scraped(exporter)
    source.figures = None
    with pytest.raises(Temporary, match="MongoDB"):
        exporter.metrics()
    source.figures = FULL
    shown = scraped(exporter)
    assert shown["kubefinops_exporter_scrapes_total,result=answered"] == 2
    assert shown["kubefinops_exporter_scrapes_total,result=failed"] == 1


def test_a_clock_that_lags_behind_the_documents_makes_no_negative_age() -> None:
    exporter = ExporterHandler(FakeFigures(FULL), "local", clock=lambda: NOW - timedelta(days=1))
    assert all(amount >= 0 for name, amount in scraped(exporter).items() if "age_seconds" in name)


def test_every_metric_that_is_shown_is_documented_and_every_documented_one_is_shown() -> None:
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", handler(FULL).metrics().body.decode(), re.MULTILINE))
    assert types == {metric.name: metric.kind for metric in METRICS}
    sampled = {name.split(",")[0] for name in scraped(handler(FULL))}
    assert sampled == {metric.name for metric in METRICS}
    assert all(f"`{metric.name}`" in table() for metric in METRICS)


def test_names_follow_prometheus_conventions() -> None:
    for metric in METRICS:
        assert re.fullmatch(r"kubefinops_[a-z]+(_[a-z]+)*", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.name.endswith("_seconds") == (metric.unit == "seconds")
