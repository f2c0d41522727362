"""The words and sentences beside a scan's figures."""

from __future__ import annotations

from decimal import Decimal

from functions.recommender.report import Entry, JvmSeen
from infra.cli.comparing import RULES
from infra.cli.notes import killed, looked_at, of_container, of_workload, prices_of
from infra.cli.rows import rows_of
from shared.contracts.pricing import rates
from tests.examples import container
from tests.unit.test_cli_rows import seen


def test_what_is_special_is_said_in_a_word() -> None:
    plain = container()
    troubled = plain.model_copy(
        update={"usage": plain.usage.model_copy(update={"oom_kills": 3, "throttled_share": 0.25})}
    )
    web = seen(troubled, unmeasured=("idle",)).model_copy(
        update={
            "scales_on": ("cpu",),
            "qos": "Guaranteed",
            "jvms": {"app": JvmSeen(known_by="its image"), "idle": JvmSeen(known_by="its image")},
        }
    )
    app, idle = rows_of(web)
    assert list(of_workload(web)) == ["HPA", "Guaranteed"]
    maybe = web.model_copy(update={"scales_on": ("unknown",)})
    assert list(of_workload(maybe)) == ["HPA?", "Guaranteed"]
    assert list(of_container(app, 0.1)) == ["JVM", "3 OOM kills", "throttled"]
    assert list(of_container(app, 0.25)) == ["JVM", "3 OOM kills"], "so much is allowed"
    assert list(of_container(idle, 0.1)) == ["JVM", "not measured"]

    other = seen(plain)
    assert not [*of_workload(other), *of_container(next(rows_of(other)), 0.1)]


def test_what_memory_killed_is_named_the_most_often_killed_first() -> None:
    plain = container()

    def web(name: str, *kills: int) -> Entry:
        each = [
            plain.model_copy(update={"usage": plain.usage.model_copy(update={"oom_kills": count})})
            for count in kills
        ]
        one = seen(*each, unmeasured=("idle",))
        return one.model_copy(update={"workload": one.workload.model_copy(update={"name": name})})

    assert list(killed([web("once", 1), web("never", 0), web("often", 3, 40)], 7)) == [
        "OOM kills within 7 days: shop/Deployment/often (43), shop/Deployment/once (1)"
    ]
    assert not list(killed([web("never", 0)], 7))
    (line,) = killed([web(f"web-{number}", 100 - number) for number in range(12)], 7)
    assert line.endswith("shop/Deployment/web-9 (91) and 2 more")


def test_it_is_said_which_windows_and_days_are_looked_at() -> None:
    assert "99, 50 or 33 a day" in looked_at("percentile", None)
    assert "28 of memory" not in looked_at("percentile", None)
    assert "14 days of CPU and 28 of memory" in looked_at("balanced", None)
    assert "krr reckons with its own" in looked_at("balanced", RULES["krr"])


def test_one_price_is_told_with_its_source_and_many_in_three_lines() -> None:
    (line,) = prices_of([seen(container())], "USD")
    assert line == "prices: 0.031611 USD a core and hour, 0.004237 a GiB and hour: "

    usual = rates(Decimal("0.03"), Decimal("0.004"), "USD", "prices.csv line 2: 0.4 an hour for 4 cores")
    means = [
        rates(Decimal(f"0.0{n}"), Decimal(f"0.00{n}"), "USD", f"mean over 3 pods: {n} by this, 1 by that")
        for n in range(4, 10)
    ]
    web = seen(container())
    found = [web.model_copy(update={"rates": each}) for each in (usual, usual, *means, means[0])]
    assert list(prices_of(found, "USD")) == [
        "prices (2 workloads): 0.03 USD a core and hour, 0.004 a GiB and hour: prices.csv line 2",
        "prices (2 workloads): 0.04 USD a core and hour, 0.004 a GiB and hour: mean over 3 pods",
        (
            "prices of 5 other workloads: 0.05 to 0.09 USD a core and hour, 0.005 to 0.009 a GiB and hour:"
            " see --format json"
        ),
    ]
    alone = list(prices_of([web.model_copy(update={"rates": each}) for each in (usual, *means[:2])], "USD"))
    assert alone[-1] == (
        "prices of 1 other workload: 0.05 USD a core and hour, 0.005 a GiB and hour: see --format json"
    )
