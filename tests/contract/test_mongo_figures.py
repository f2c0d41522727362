"""The exporter's aggregations on a server that speaks MongoDB's protocol."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from shared.adapters.mongo import Mongo
from shared.adapters.mongo_figures import MongoFigures
from shared.contracts.documents import Change, Entry, Recommendation, ReportRow
from shared.contracts.events import Outcome
from shared.contracts.figures import (
    Figures,
    ObjectCount,
    OpenCount,
    OpenPullRequest,
    OutcomeCount,
    StateCount,
    Unsent,
)
from shared.contracts.identity import Workload
from shared.contracts.money import Money
from shared.contracts.states import SLOT_OF, State
from tests.examples import NOW, created, draft, event


def read(mongo: Mongo) -> Figures:
    return MongoFigures(lambda: mongo.database).read()


def money(amount: str) -> Money:
    return Money(amount=Decimal(amount))


def recommendation(
    name: str,
    state: State,
    *,
    proposed: str = "40.00",
    saved: str | None = None,
    scan: int = 1,
    namespace: str = "shop",
    outcome: Outcome | None = None,
    ledger: tuple[Entry, ...] = (),
) -> Recommendation:
    workload = Workload(cluster="local", namespace=namespace, kind="Deployment", name=name)
    return draft(created(workload, f"scan-{scan}", saving=proposed)).model_copy(
        update={
            "state": state,
            "slot": SLOT_OF.get(state),
            "scanned_at": NOW + timedelta(hours=scan),
            "monthly_saving": money(saved or proposed),
            "outcome": outcome,
            "ledger": ledger,
        }
    )


def insert(mongo: Mongo, *recommendations: Recommendation) -> None:
    for one in recommendations:
        mongo.recommendations.insert(one)


def savings(mongo: Mongo) -> dict[str, tuple[Decimal, ...]]:
    """Proposed, released and waste, by namespace."""
    return {one.namespace: (one.proposed, one.released, one.waste) for one in read(mongo).savings}


def amounts(*texts: str) -> tuple[Decimal, ...]:
    return tuple(Decimal(text) for text in texts)


def test_an_empty_database_has_no_figures(mongo: Mongo) -> None:
    assert read(mongo) == Figures([], [], [], [], [], [], [])


def test_recommendations_are_counted_by_namespace_and_state(mongo: Mongo) -> None:
    insert(
        mongo,
        recommendation("a", State.APPLIED),
        recommendation("b", State.APPLIED),
        recommendation("c", State.VIOLATED),
        recommendation("d", State.APPLIED, namespace="search"),
    )
    assert set(read(mongo).states) == {
        StateCount("local", "shop", "applied", 2),
        StateCount("local", "shop", "violated", 1),
        StateCount("local", "search", "applied", 1),
    }


def test_verdicts_are_counted_where_policy_has_spoken(mongo: Mongo) -> None:
    insert(
        mongo,
        recommendation("a", State.VIOLATED, outcome=Outcome.DENY),
        recommendation("b", State.APPROVED, outcome=Outcome.ALLOW),
        recommendation("c", State.APPLIED, outcome=Outcome.ALLOW),
        recommendation("d", State.CREATED),
    )
    assert set(read(mongo).outcomes) == {OutcomeCount("local", "deny", 1), OutcomeCount("local", "allow", 2)}


def test_what_is_not_live_is_waste_and_what_is_live_is_released(mongo: Mongo) -> None:
    insert(
        mongo,
        recommendation("refused", State.VIOLATED, proposed="10.10"),
        recommendation("live", State.APPLIED, proposed="20.20"),
        recommendation("verified", State.VERIFIED, proposed="0.03", namespace="search"),
    )
    assert savings(mongo) == {
        "shop": amounts("30.30", "20.20", "10.10"),
        "search": amounts("0.03", "0.03", "0.00"),
    }


def test_what_a_clamp_left_over_is_waste(mongo: Mongo) -> None:
    insert(mongo, recommendation("a", State.APPLIED, proposed="40.00", saved="25.00"))
    assert savings(mongo) == {"shop": amounts("40.00", "25.00", "15.00")}


def test_only_the_latest_proposal_of_a_workload_is_proposed_but_all_live_ones_are_released(
    mongo: Mongo,
) -> None:
    insert(
        mongo,
        recommendation("a", State.CLOSED, proposed="99.00", scan=1),
        recommendation("a", State.APPLIED, proposed="40.00", saved="25.00", scan=2),
        recommendation("a", State.PR_OPEN, proposed="15.00", scan=3),
    )
    assert savings(mongo) == {"shop": amounts("15.00", "25.00", "15.00")}


def test_a_workload_that_needs_more_is_no_waste_and_hides_none(mongo: Mongo) -> None:
    insert(
        mongo,
        recommendation("wasteful", State.CREATED, proposed="30.00"),
        recommendation("starved", State.CREATED, proposed="-12.00"),
    )
    assert savings(mongo) == {"shop": amounts("18.00", "0", "30.00")}


def test_each_currency_has_its_own_figures(mongo: Mongo) -> None:
    euros = Money(amount=Decimal("7.00"), currency="EUR")
    one = recommendation("b", State.APPLIED)
    insert(
        mongo,
        recommendation("a", State.CREATED, proposed="5.00"),
        one.model_copy(
            update={
                "monthly_saving": euros,
                "proposal": one.proposal.model_copy(update={"monthly_saving": euros}),
            }
        ),
    )
    assert {(one.currency, str(one.proposed)) for one in read(mongo).savings} == {
        ("USD", "5.00"),
        ("EUR", "7.00"),
    }


def test_open_pull_requests_are_listed_and_ended_ones_leave_a_zero(mongo: Mongo) -> None:
    for number, application, state in ((1, "shop", "merged"), (2, "shop", "open"), (3, "search", "closed")):
        mongo.changes.put(
            Change(
                id=f"acme/deploy#{number}",
                cluster="local",
                group=f"local/{application}",
                application=application,
                repository="acme/deploy",
                number=number,
                url=f"http://git.example/acme/deploy/pull/{number}",
                base="main",
                branch=f"kubefinops/{application}",
                head="0" * 40,
                members=(),
                state=state,
                opened_at=NOW,
            ),
            None,
        )
    figures = read(mongo)
    assert set(figures.open_counts) == {OpenCount("local", "shop", 1), OpenCount("local", "search", 0)}
    assert figures.pull_requests == [OpenPullRequest("local", "shop", "acme/deploy", 2, NOW)]


def test_reports_and_audit_records_are_counted_apart(mongo: Mongo) -> None:
    for key, kind in (("a", "audit"), ("b", "audit"), ("c", "report")):
        mongo.reports.insert(
            ReportRow(
                bucket="kubefinops",
                key=key,
                kind=kind,
                version_id="v1",
                sha256="0" * 64,
                size=1,
                retain_until=NOW,
                cluster="local",
                created_at=NOW,
            )
        )
    assert set(read(mongo).objects) == {ObjectCount("local", "audit", 2), ObjectCount("local", "report", 1)}


def test_unsent_events_are_counted_with_the_age_of_the_oldest(mongo: Mongo) -> None:
    def entry(minutes: int, *, sent: bool) -> Entry:
        record = event(created(), id=f"e{minutes}").record()
        return Entry(cause="c", record=record, at=NOW - timedelta(minutes=minutes), sent=sent)

    insert(
        mongo,
        recommendation("a", State.APPROVED, ledger=(entry(60, sent=True), entry(5, sent=False))),
        recommendation("b", State.APPROVED, ledger=(entry(9, sent=False), entry(2, sent=False))),
        recommendation("c", State.APPROVED, ledger=(entry(70, sent=True),)),
    )
    assert read(mongo).unsent == [Unsent("local", 3, NOW - timedelta(minutes=9))]
