"""What a run came to, in the money that its reports reckon in."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

from infra.emulator.summary import summarise
from shared.contracts.documents import Recommendation
from shared.contracts.identity import Workload
from tests.examples import created, draft


def report(currency: str, *skipped: str) -> dict[str, Any]:
    price = {"amount": "0.03", "currency": currency}
    workloads = [
        {
            "workload": Workload(
                cluster="local", namespace="shop", kind="Deployment", name=name
            ).model_dump(),
            "decision": "skipped",
            "reason": "too little history",
        }
        for name in skipped
    ]
    return {"rates": {"core_hour": price, "gib_hour": price}, "workloads": workloads}


def summary(reports: list[dict[str, Any]], *recommendations: Recommendation) -> dict[str, Any]:
    nothing: Any = SimpleNamespace(counts=Counter, records=())
    return summarise(list(recommendations), reports, nothing, services={}, audit_records=0, seconds={})


def test_rows_and_totals_are_in_the_currency_of_the_reports() -> None:
    made = summary([report("EUR", "a", "b"), report("EUR")])
    assert [row["currency"] for row in made["workloads"]] == ["EUR", "EUR"]
    assert made["totals"]["currency"] == "EUR"


def test_the_totals_do_not_hang_on_which_workload_comes_first() -> None:
    before = draft(created())  # stored in USD, before the prices' currency was set to another
    made = summary([report("EUR", "zzz")], before)
    assert [row["currency"] for row in made["workloads"]] == ["USD", "EUR"]
    assert made["totals"]["currency"] == "EUR"
