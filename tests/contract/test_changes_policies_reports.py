"""The other collections: one suite, on the fakes and on a server that speaks MongoDB's protocol."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pymongo.errors import DuplicateKeyError

from shared.adapters.mongo import Changes, Mongo, Reports
from shared.contracts.documents import Change, ReportRow
from shared.contracts.errors import Moved, Temporary
from shared.contracts.identity import RecommendationId
from shared.contracts.policy import Policy
from tests.examples import NOW
from tests.fakes.mongo import FakeChanges, FakeReports


@pytest.fixture(params=["fake", "mongodb"])
def changes(request: pytest.FixtureRequest) -> Changes:
    if request.param == "fake":
        return FakeChanges()
    mongo: Mongo = request.getfixturevalue("mongo")
    return mongo.changes


@pytest.fixture(params=["fake", "mongodb"])
def reports(request: pytest.FixtureRequest) -> Reports:
    if request.param == "fake":
        return FakeReports()
    mongo: Mongo = request.getfixturevalue("mongo")
    return mongo.reports


def change(number: int = 1, head: str = "aaa") -> Change:
    return Change(
        id=f"acme/deploy#{number}",
        cluster="local",
        group="local/shop",
        application="shop",
        repository="acme/deploy",
        number=number,
        url=f"https://example.invalid/acme/deploy/pull/{number}",
        base="main",
        branch="finops/local/shop",
        head=head,
        members=(RecommendationId("r1"),),
        state="open",
        opened_at=NOW,
    )


def row(sha256: str = "0" * 64) -> ReportRow:
    return ReportRow(
        bucket="kubefinops",
        key="reports/local/2026/11/23/s-0000.json",
        kind="report",
        version_id="v1",
        sha256=sha256,
        size=10,
        retain_until=NOW + timedelta(days=1),
        cluster="local",
        created_at=NOW,
        summary={"workloads": 3, "waste": 1.5},
    )


def test_a_group_has_one_open_change(changes: Changes) -> None:
    changes.put(change(1), None)
    with pytest.raises(Moved):
        changes.put(change(2), None)
    assert changes.open_of("local/shop") == change(1)


def test_a_change_is_replaced_only_on_the_head_that_was_read(changes: Changes) -> None:
    changes.put(change(head="aaa"), None)
    changes.put(change(head="bbb"), "aaa")
    with pytest.raises(Moved):
        changes.put(change(head="ccc"), "aaa")
    found = changes.find("acme/deploy#1")
    assert found is not None
    assert found.head == "bbb"


def test_an_ended_change_makes_room_and_ends_once(changes: Changes) -> None:
    changes.put(change(1), None)
    changes.end("acme/deploy#1", "merged", NOW, "mmm")
    changes.end("acme/deploy#1", "closed", NOW, None)
    ended = changes.find("acme/deploy#1")
    assert ended is not None
    assert (ended.state, ended.merge_commit, ended.ended_at) == ("merged", "mmm", NOW)
    changes.put(change(2), None)
    assert [one.id for one in changes.in_state("local", "open")] == ["acme/deploy#2"]
    assert changes.in_state("elsewhere", "open") == []


def test_the_first_row_of_an_object_stays(reports: Reports) -> None:
    assert reports.insert(row("1" * 64)).sha256 == "1" * 64
    assert reports.insert(row("2" * 64)).sha256 == "1" * 64
    assert reports.find("kubefinops", row().key) == row("1" * 64)
    assert reports.find("kubefinops", "nowhere") is None


def policy(version: int = 1, *, pause: bool = False) -> Policy:
    return Policy.model_validate({"name": "org", "version": version, "rules": {"pause": pause}})


def test_one_version_of_a_policy_is_active(mongo: Mongo) -> None:
    mongo.policies.put(policy(1))
    mongo.policies.put(policy(2, pause=True))
    assert [(one.version, one.rules.pause) for one in mongo.policies.active()] == [(2, True)]
    mongo.policies.put(policy(1))
    assert [one.version for one in mongo.policies.active()] == [1]


def test_a_stored_version_of_a_policy_is_immutable(mongo: Mongo) -> None:
    mongo.policies.put(policy(1))
    with pytest.raises(ValueError, match="immutable"):
        mongo.policies.put(policy(1, pause=True))
    assert not mongo.policies.active()[0].rules.pause


def test_the_unique_keys_are_those_of_the_contract(mongo: Mongo) -> None:
    unique = {
        f"{collection}.{name}": ([field for field, _ in index["key"]], index.get("partialFilterExpression"))
        for collection in ("policies", "recommendations", "changes", "reports", "digests")
        for name, index in mongo.database[collection].index_information().items()
        if index.get("unique")
    }
    assert unique == {
        "policies.version": (["name", "version"], None),
        "policies.one_active": (["name"], {"active": True}),
        "recommendations.one_per_slot": (["workload_key", "slot"], {"slot": {"$exists": True}}),
        "changes.one_open_per_group": (["group"], {"state": "open"}),
        "reports.object": (["bucket", "key"], None),
        "reports.link": (["chain", "sequence"], {"chain": {"$exists": True}}),
        "digests.day": (["cluster", "container", "day"], None),
    }


def test_a_link_of_a_chain_is_there_once_and_rows_without_a_chain_do_not_matter(mongo: Mongo) -> None:
    rows = mongo.database["reports"]
    for key in ("a", "b"):
        mongo.reports.insert(row().model_copy(update={"key": key}))
    rows.insert_one({"bucket": "kubefinops", "key": "c", "chain": "local", "sequence": 1})
    with pytest.raises(DuplicateKeyError):
        rows.insert_one({"bucket": "kubefinops", "key": "d", "chain": "local", "sequence": 1})
    rows.insert_one({"bucket": "kubefinops", "key": "e", "chain": "local", "sequence": 2})
    assert rows.count_documents({}) == 4


@pytest.mark.parametrize("options", ["", "?w=1", "?w=0&journal=false"])
def test_every_write_waits_for_the_majority_and_the_journal_whatever_the_address_says(
    mongo_address: str, options: str
) -> None:
    mongo = Mongo(f"{mongo_address.rstrip('/')}/{options}", "nowhere")
    assert mongo.database.write_concern.document == {"w": "majority", "j": True}
    assert mongo.database["recommendations"].write_concern.document == {"w": "majority", "j": True}
    mongo.close()


def test_a_server_that_is_away_is_temporary() -> None:
    away = Mongo("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=200", "nowhere")
    with pytest.raises(Temporary, match="MongoDB"):
        away.ping()
    away.close()
