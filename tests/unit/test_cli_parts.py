"""A cluster for which a server does not answer as a whole: what is read of it, and what is missing."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from infra.cli import parts
from infra.cli.looking import Seen, look, see, sizing_settings
from shared.adapters.prometheus import HttpPrometheus
from shared.contracts.errors import Temporary
from shared.contracts.prometheus import QueryFailed, QueryRefused, QueryThrottled, QueryTooLarge, QueryTooSlow
from tests.fakes.prometheus import FakePrometheus, deployment

NOW = datetime(2026, 11, 20, tzinfo=UTC)
NAMESPACES = ("ads", "billing", "cart", "payments", "search", "shop", "web")


def is_about(namespace: str, promql: str) -> bool:
    named = re.search(r'namespace=~"([^"]*)"', promql)
    return named is None or re.fullmatch(named[1], namespace) is not None


def refusing(*namespaces: str, error: type[QueryFailed] = QueryRefused) -> FakePrometheus:
    """Two workloads in each namespace; CPU of these is not told of, alone or with others."""
    fake = FakePrometheus(*(deployment(name, f"{name}-{n}") for name in NAMESPACES for n in range(2)))

    def refuse(promql: str) -> None:
        if "cpu_usage" in promql and any(is_about(name, promql) for name in namespaces):
            raise error(f"status 422: no (query: {promql[:20]})", promql)

    fake.before = refuse
    return fake


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Seen]:
    def scan(fake: FakePrometheus, *namespaces: str, with_histories: bool = False) -> Seen:
        monkeypatch.setattr(HttpPrometheus, "query", lambda _, *given: fake.query(*given))
        monkeypatch.setattr(HttpPrometheus, "query_range", lambda _, *given: fake.query_range(*given))
        settings = sizing_settings("http://prometheus:9090")
        return see(settings, namespaces, NOW, with_histories=with_histories)

    return scan


def names(seen: Seen) -> set[str]:
    return {entry.workload.namespace for entry in seen.entries}


def test_a_scan_that_is_answered_asks_no_query_more(scanned: Callable[..., Seen]) -> None:
    fake = refusing()
    assert scanned(fake).missing == ()
    whole = len(fake.asked)
    assert look(sizing_settings("http://prometheus:9090"), (), NOW)
    assert len(fake.asked) == 2 * whole


@pytest.mark.parametrize("error", [QueryRefused, QueryTooLarge, QueryTooSlow, QueryThrottled, QueryFailed])
def test_what_is_refused_is_named_and_the_rest_is_as_if_it_were_not_there(
    scanned: Callable[..., Seen], error: type[QueryFailed]
) -> None:
    seen = scanned(refusing("cart", "payments", error=error))
    assert names(seen) == {*NAMESPACES} - {"cart", "payments"}
    assert [(each.namespaces, each.workloads) for each in seen.missing] == [
        (("cart",), 2),
        (("payments",), 2),
    ]
    cart, _ = seen.missing
    assert cart.reason.startswith("status 422: no (query: ")
    assert cart.query is not None
    assert "container_cpu_usage_seconds_total" in cart.query
    assert 'namespace=~"cart"' in cart.query
    alone = scanned(refusing(), *sorted(names(seen)))
    assert seen.entries == alone.entries
    assert all(entry.decision == "proposed" for entry in seen.entries)


def test_plots_are_drawn_of_what_could_be_read(scanned: Callable[..., Seen]) -> None:
    seen = scanned(refusing("payments"), with_histories=True)
    assert seen.no_histories is None
    assert seen.histories is not None
    assert {workload.namespace for workload, _ in seen.histories.cpu} == names(seen)


@pytest.mark.parametrize(
    ("refused", "asked_for"),
    [(NAMESPACES, ()), (("payments",), ("payments",)), (("ads", "web"), ("ads", "web"))],
)
def test_where_no_part_is_answered_the_whole_fails(
    scanned: Callable[..., Seen], refused: tuple[str, ...], asked_for: tuple[str, ...]
) -> None:
    with pytest.raises(QueryRefused, match="status 422"):
        scanned(refusing(*refused), *asked_for)


def test_a_server_that_is_down_is_not_asked_in_parts(scanned: Callable[..., Seen]) -> None:
    fake = refusing()
    fake.down = True
    calls: list[str] = []
    fake.before = calls.append
    with pytest.raises(Temporary, match="ConnectionError"):
        scanned(fake)
    assert len(calls) == 1


def test_a_server_that_goes_down_in_between_is_the_reason_for_what_is_missing(
    scanned: Callable[..., Seen],
) -> None:
    fake = refusing("payments")
    refuse = fake.before

    def go_down(promql: str) -> None:
        # The first part was read; of the second nothing is.
        fake.down = fake.down or (is_about("shop", promql) and 'namespace!=""' not in promql)
        refuse(promql)

    fake.before = go_down
    seen = scanned(fake)
    assert names(seen) == {"ads", "billing", "cart"}
    (missing,) = seen.missing
    assert missing.namespaces == ("payments", "search", "shop", "web")
    assert "ConnectionError" in missing.reason
    assert missing.query is None


def test_a_server_that_answers_next_to_nothing_is_not_asked_for_ever(
    scanned: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MOST_FAILURES", 3)
    seen = scanned(refusing(*NAMESPACES[1:]))
    assert names(seen) == {"ads"}
    assert [each.namespaces for each in seen.missing] == [
        ("billing", "cart"),
        ("payments", "search"),
        ("shop", "web"),
    ]
    assert [each.workloads for each in seen.missing] == [4, 4, 4]


def test_a_namespace_that_could_not_be_read_is_none_that_is_not_there(scanned: Callable[..., Seen]) -> None:
    seen = scanned(refusing("payments"), "payments", "shop")
    assert names(seen) == {"shop"}
    assert [each.named for each in seen.missing] == ["payments (2 workloads)"]


def test_proposing_takes_the_whole_or_nothing(scanned: Callable[..., Seen]) -> None:
    fake = refusing("payments")
    assert scanned(fake).missing
    with pytest.raises(QueryRefused, match="status 422"):
        look(sizing_settings("http://prometheus:9090"), (), NOW)


def test_where_it_is_not_answered_whether_there_are_several_clusters_a_scan_says_so_and_nothing_is_proposed(
    scanned: Callable[..., Seen],
) -> None:
    fake = refusing()

    def refuse(promql: str) -> None:
        if promql.startswith("count by (cluster,"):
            raise QueryRefused("status 422: no", promql)

    fake.before = refuse
    seen = scanned(fake)
    assert names(seen) == {*NAMESPACES}
    assert seen.notes == ("whether there are several clusters is not known: status 422: no",)
    with pytest.raises(QueryRefused):
        look(sizing_settings("http://prometheus:9090"), (), NOW)
