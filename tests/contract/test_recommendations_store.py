"""The ledger's storage: one suite, on the fake and on a server that speaks MongoDB's protocol."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from shared.adapters.mongo import Insert, Mongo, Recommendations
from shared.contracts.documents import Entry, Recommendation, Transition
from shared.contracts.errors import Moved
from shared.contracts.states import Slot, State
from tests.examples import CHECKOUT, NOW, created, draft, event
from tests.fakes.mongo import FakeRecommendations


@pytest.fixture(params=["fake", "mongodb"])
def store(request: pytest.FixtureRequest) -> Recommendations:
    if request.param == "fake":
        return FakeRecommendations()
    mongo: Mongo = request.getfixturevalue("mongo")
    return mongo.recommendations


def stored(scan_id: str = "scan-1", **changes: object) -> Recommendation:
    """A created recommendation with its event in the ledger, unsent."""
    proposal = created(scan_id=scan_id)
    record = event(proposal, id=proposal.recommendation_id).record()
    values = {
        "slot": Slot.PROPOSAL,
        "transitions": (
            Transition(before=None, after=State.CREATED, at=NOW, stage="recommender", cause="c"),
        ),
        "ledger": (Entry(cause="c", record=record, at=NOW),),
        **changes,
    }
    return draft(proposal).model_copy(update=values)


def to(before: State, after: State, cause: str = "c2") -> Transition:
    return Transition(before=before, after=after, at=NOW, stage="policy", cause=cause)


def test_what_is_inserted_is_found_equal(store: Recommendations) -> None:
    one = stored()
    assert store.insert(one) is Insert.INSERTED
    assert store.find(one.id) == one


def test_what_is_not_there_is_not_found(store: Recommendations) -> None:
    assert store.find("nobody") is None


def test_the_same_again_exists(store: Recommendations) -> None:
    store.insert(stored())
    assert store.insert(stored()) is Insert.EXISTS


def test_a_workload_has_one_proposal_at_a_time(store: Recommendations) -> None:
    store.insert(stored("scan-1"))
    assert store.insert(stored("scan-2")) is Insert.SLOT_TAKEN
    assert store.find(stored("scan-2").id) is None


def test_a_settled_proposal_frees_its_slot(store: Recommendations) -> None:
    one = stored()
    store.insert(one)
    assert store.advance(one.id, to(State.CREATED, State.VIOLATED), None, {})
    assert store.insert(stored("scan-2")) is Insert.INSERTED


def test_an_advance_stores_state_transition_event_and_facts_at_once(store: Recommendations) -> None:
    one = stored()
    store.insert(one)
    entry = Entry(cause="c2", record=event(created()).record(), at=NOW)
    assert store.advance(
        one.id, to(State.CREATED, State.APPROVED), entry, {"message": "fine", "policies": {"p": 1}}
    )
    found = store.find(one.id)
    assert found is not None
    assert found.state is State.APPROVED
    assert found.slot is Slot.PROPOSAL
    assert found.transitions[-1] == to(State.CREATED, State.APPROVED)
    assert found.ledger[-1] == entry
    assert (found.message, found.policies) == ("fine", {"p": 1})


def test_an_advance_from_another_state_changes_nothing(store: Recommendations) -> None:
    one = stored()
    store.insert(one)
    assert not store.advance(one.id, to(State.APPROVED, State.PR_OPEN), None, {"message": "no"})
    assert store.find(one.id) == one


def test_of_many_that_advance_at_once_one_wins(store: Recommendations) -> None:
    one = stored()
    store.insert(one)
    won: list[bool] = []
    threads = [
        threading.Thread(
            target=lambda n=n: won.append(
                store.advance(one.id, to(State.CREATED, State.APPROVED, f"c{n}"), None, {})
            )
        )
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]


def test_a_workload_has_one_open_change_at_a_time(store: Recommendations) -> None:
    first = stored("scan-1", state=State.PR_OPEN, slot=Slot.CHANGE)
    store.insert(first)
    second = stored("scan-2", state=State.APPROVED)
    assert store.insert(second) is Insert.INSERTED
    with pytest.raises(Moved):
        store.advance(second.id, to(State.APPROVED, State.PR_OPEN), None, {})
    assert store.advance(first.id, to(State.PR_OPEN, State.SUPERSEDED), None, {})
    assert store.advance(second.id, to(State.APPROVED, State.PR_OPEN), None, {})


def test_an_entry_is_unsent_until_it_is_marked(store: Recommendations) -> None:
    one = stored()
    store.insert(one)
    assert [found.id for found in store.unsent(NOW + timedelta(seconds=1))] == [one.id]
    assert store.unsent(NOW) == [], "as young as the limit"
    store.mark_sent(one.id, one.ledger[0].record.event_id)
    assert store.unsent(NOW + timedelta(seconds=1)) == []
    found = store.find(one.id)
    assert found is not None
    assert found.ledger[0].sent


def test_documents_are_found_by_cluster_and_state(store: Recommendations) -> None:
    one = stored()
    store.insert(one)
    assert [found.id for found in store.in_states("local", {State.CREATED})] == [one.id]
    assert store.in_states("local", {State.APPROVED}) == []
    assert store.in_states("elsewhere", {State.CREATED}) == []


def test_what_came_into_its_state_long_ago_is_left_out_where_only_later_ones_are_asked_for(
    store: Recommendations,
) -> None:
    one = stored()
    store.insert(one)
    later, failed = NOW + timedelta(days=1), {State.FAILED}
    assert store.in_states("local", {State.CREATED}, since=NOW) != []
    assert store.in_states("local", {State.CREATED}, since=later) == []
    moved = Transition(before=State.CREATED, after=State.FAILED, at=later, stage="gitops", cause="c2")
    store.advance(one.id, moved, None, {})
    assert [found.id for found in store.in_states("local", failed, since=later)] == [one.id]
    assert store.in_states("local", failed, since=later + timedelta(milliseconds=1)) == []
    assert [found.id for found in store.in_states("local", failed)] == [one.id]


def test_a_workloads_story_is_newest_first(store: Recommendations) -> None:
    old = stored("scan-1", state=State.APPLIED, slot=None, scanned_at=NOW - timedelta(days=1))
    new = stored("scan-2")
    store.insert(old)
    store.insert(new)
    other = CHECKOUT.model_copy(update={"name": "other"})
    stories = store.latest_of([CHECKOUT, other])
    assert [found.id for found in stories[CHECKOUT]] == [new.id, old.id]
    assert stories[other] == []
