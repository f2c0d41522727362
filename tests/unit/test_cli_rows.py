"""A scan's rows, one for each container, and their CSV."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest

from functions.recommender.report import Entry, entry
from functions.recommender.sizing import Observed, ObservedContainer, QosClass, Sized
from infra.cli.parts import Missing
from infra.cli.rows import HEADER, as_csv, rows
from shared.contracts.events import ContainerProposal
from shared.contracts.identity import Workload
from shared.contracts.money import Money
from shared.contracts.pricing import rates
from tests.examples import MIB, container, resources

PRICES = rates(Decimal("0.031611"), Decimal("0.004237"), "USD")
SAME = resources(333, 777)


def seen(
    *containers: ContainerProposal,
    reason: str | None = None,
    unmeasured: tuple[str, ...] = (),
    name: str = "web",
    pods: float = 2.7182,
    namespace: str = "shop",
) -> Entry:
    sized = Sized(containers, 0.9, 336 * 3600, QosClass.BURSTABLE, skipped=reason)
    names = [*(each.name for each in containers), *unmeasured]
    observed = Observed(
        Workload(cluster="local", namespace=namespace, kind="Deployment", name=name),
        replicas=3,
        pods=pods,
        containers=tuple(ObservedContainer(each, SAME, None) for each in names),
    )
    return entry(observed, sized, PRICES)


def read(*entries: Entry) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(as_csv(entries, "USD"), newline="")))


def total(money: list[Money]) -> Decimal:
    return sum((each.amount for each in money), Decimal(0))


def test_the_rows_of_a_workload_cost_what_it_costs_to_the_cent() -> None:
    web = seen(
        *(container(f"c{n}", resources(100 + n, 333 + n), resources(50 + n, 111 + n)) for n in range(7)),
        *(container(f"s{n}", SAME, SAME) for n in range(5)),
    )
    found = list(rows([web]))
    assert total([row.before for row in found]) == web.monthly_cost_before.amount
    assert total([row.after for row in found]) == web.monthly_cost_after.amount
    assert total([row.saving for row in found]) == web.monthly_saving.amount
    assert [row.name for row in found] == [each.name for each in web.containers]


def test_a_container_that_stays_saves_nothing_beside_one_that_changes() -> None:
    web = seen(container("a", resources(1001, 1003), resources(507, 509)), container("b", SAME, SAME))
    _, stays = rows([web])
    assert stays.saving.amount == 0


def test_what_is_not_proposed_saves_nothing_and_shows_no_values() -> None:
    entry = seen(container(), reason="scaled by an autoscaler")
    (row,) = rows([entry])
    assert row.proposed is None
    assert row.before == row.after
    (cells,) = read(entry)
    assert (cells["cpu_request_m_current"], cells["cpu_request_m_proposed"]) == ("1000", "")
    assert (cells["decision"], cells["reason"]) == ("skipped", "scaled by an autoscaler")
    assert cells["monthly_saving"] == "0.00"


def test_the_csv_has_a_row_for_each_container_in_base_units() -> None:
    one = container("app", resources(1000, 1024), resources(600, 640))
    cells, _ = read(seen(one, container("side")))
    assert tuple(cells) == HEADER
    assert (
        cells
        | {
            "namespace": "shop",
            "kind": "Deployment",
            "workload": "web",
            "container": "app",
            "pods": "2.7182",
            "cpu_request_m_current": "1000",
            "cpu_request_m_proposed": "600",
            "memory_request_bytes_current": str(1024 * MIB),
            "memory_request_bytes_proposed": str(640 * MIB),
            "memory_limit_bytes_current": "",
            "cpu_p95_m": "480.0",
            "memory_max_bytes": str(540 * MIB),
            "currency": "USD",
        }
        == cells
    )
    assert Decimal(cells["monthly_cost_before"]) - Decimal(cells["monthly_saving"]) == Decimal(
        cells["monthly_cost_after"]
    )


def test_the_csv_is_rfc_4180s() -> None:
    text = as_csv([seen(reason='no pod, "yet"')], "USD")
    assert text.count("\r\n") == text.count("\n") == 2
    assert text.endswith("\r\n")
    assert '"no pod, ""yet"""' in text


def test_containers_without_usage_and_workloads_without_containers_have_a_row() -> None:
    entries = [seen(container(), unmeasured=("idle",)), seen(reason="no pod", name="gone")]
    found = list(rows(entries))
    assert [(row.entry.workload.name, row.name, row.seen is None) for row in found] == [
        ("web", "app", False),
        ("web", "idle", True),
        ("gone", "", True),
    ]
    table = read(*entries)
    assert [cells["monthly_cost_before"] == "" for cells in table] == [False, False, True]
    # Nobody can say what sizing would save of it; what it requests is paid for all the same.
    idle = {name: value for name, value in table[1].items() if value and "idle" not in value}
    assert (idle["cpu_request_m_current"], idle["memory_request_bytes_current"]) == ("333", str(777 * MIB))
    assert idle["monthly_cost_before"] == idle["monthly_cost_after"] == str(found[1].before.amount)
    assert found[1].before.amount > 0
    assert "monthly_saving" not in idle
    app, idle_cost = found[0].before.amount, found[1].before.amount
    assert app + idle_cost == entries[0].monthly_cost_before.amount


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "@SUM(1)", "\n=1", "\uff1d1"])
def test_no_cell_is_a_spreadsheets_formula(name: str) -> None:
    (cells,) = read(seen(container(name)))
    assert cells["container"] == f"'{name}"


def test_what_could_not_be_read_is_a_row_without_figures() -> None:
    part = Missing(("pay", "=risk"), 7, "status 422: too large", "max(x)")
    text = as_csv([seen(container())], "USD", [part])
    web, pay, risk = csv.DictReader(io.StringIO(text, newline=""))
    assert web["decision"] == "proposed"
    assert {name: value for name, value in pay.items() if value} == {
        "namespace": "pay",
        "decision": "unread",
        "reason": "status 422: too large",
    }
    assert risk["namespace"] == "'=risk"
