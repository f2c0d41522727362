"""Digests of days: one suite, on the fake and on a server that speaks MongoDB's protocol."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta

import pytest
from pymongo.errors import BulkWriteError

from shared.adapters.mongo import Mongo
from shared.adapters.mongo_digests import MongoDigests
from shared.contracts.digests import POINTS, Digest, Digests, midnight
from shared.contracts.errors import Temporary
from tests.fakes.mongo import FakeDigests

DAY = date(2026, 11, 23)
WEB = Digest(
    "shop/Deployment/web/app",
    DAY,
    pods=2,
    windows=288,
    samples=570,
    first=1_795_000_000,
    cpu_m=tuple(number + 0.125 for number in range(len(POINTS))),
    memory_bytes=(*range(len(POINTS) - 1), 2**33),
    oom_kills=1,
    throttled_share=0.0125,
    started_cpu_m=1500.5,
    started_memory_bytes=2**32,
    followed_cpu_m=999.5,
    fell_from_bytes=2**33,
)


@pytest.fixture(params=["fake", "mongodb"])
def digests(request: pytest.FixtureRequest) -> Digests:
    if request.param == "fake":
        return FakeDigests()
    mongo: Mongo = request.getfixturevalue("mongo")
    return MongoDigests(mongo)


def found(
    digests: Digests, since: date = DAY, name: str = WEB.container, cluster: str = "local"
) -> list[Digest]:
    return sorted(digests.since(cluster, since, (name, name)), key=lambda each: each.day)


def test_a_digest_comes_back_as_it_was(digests: Digests) -> None:
    empty = Digest("shop/Deployment/api/app", DAY)
    calm = replace(WEB, container="shop/Deployment/db/app", oom_kills=0, throttled_share=0.0)
    digests.add("local", [WEB, empty, calm])
    for each in (WEB, empty, calm):
        assert found(digests, DAY, each.container) == [each]


def test_points_are_little_endian_doubles_and_integers_in_one_field_each(mongo: Mongo) -> None:
    digests = MongoDigests(mongo)
    no_cpu = replace(WEB, day=DAY + timedelta(days=1), windows=0, cpu_m=())
    digests.add("local", [WEB, no_cpu])
    one, other = mongo.database["digests"].find({}).sort("day")
    assert one["cpu_m"] == struct.pack("<16d", *WEB.cpu_m)
    assert one["memory_bytes"] == struct.pack("<16q", *WEB.memory_bytes)
    # To a version before it would be a day without memory too.
    assert (other.get("cpu_m", []), other["memory_bytes"]) == ([], list(WEB.memory_bytes))
    assert found(digests) == [WEB, no_cpu]


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("memory_bytes", b"123"),
        ("memory_bytes", b"12345678"),
        ("memory_bytes", [1.0, 2.0]),
        ("cpu_m", b""),
        ("cpu_m", None),
        ("windows", 0),
    ],
)
def test_what_is_damaged_counts_as_a_day_that_is_not_there(mongo: Mongo, field: str, broken: object) -> None:
    digests = MongoDigests(mongo)
    digests.add("local", [WEB, replace(WEB, day=DAY + timedelta(days=1))])
    mongo.database["digests"].update_one({"day": midnight(DAY)}, {"$set": {field: broken}})
    assert [each.day for each in found(digests)] == [DAY + timedelta(days=1)]
    # It is read again then, and stored in its place, while the others stay.
    digests.add("local", [replace(WEB, pods=7), replace(WEB, day=DAY + timedelta(days=1), pods=7)])
    assert [(each.day, each.pods) for each in found(digests)] == [
        (DAY, 7),
        (DAY + timedelta(days=1), WEB.pods),
    ]


def test_what_an_earlier_version_stored_comes_back_as_well(mongo: Mongo) -> None:
    digests = MongoDigests(mongo)
    digests.add("local", [WEB])
    arrays = {"cpu_m": list(WEB.cpu_m), "memory_bytes": list(WEB.memory_bytes)}
    later = (
        "near_limit_bytes",
        "started_cpu_m",
        "started_memory_bytes",
        "followed_cpu_m",
        "fell_from_bytes",
    )
    mongo.database["digests"].update_one({}, {"$set": arrays, "$unset": dict.fromkeys(later, 1)})
    (old,) = found(digests)
    assert replace(old, **{name: getattr(WEB, name) for name in later}) == WEB


def test_those_from_a_day_on_are_told_of_one_cluster_alone(digests: Digests) -> None:
    week = [replace(WEB, day=DAY - timedelta(days=ago)) for ago in range(7)]
    digests.add("local", week)
    digests.add("other", [replace(WEB, pods=9)])
    assert found(digests, DAY - timedelta(days=2)) == week[2::-1]
    assert found(digests, DAY + timedelta(days=1)) == []
    assert [each.pods for each in found(digests, cluster="other")] == [9]


def test_the_first_of_a_day_stays_and_keeps_none_of_the_others_out(digests: Digests) -> None:
    digests.add("local", [WEB])
    later = [replace(WEB, pods=3), replace(WEB, day=DAY + timedelta(days=1))]
    digests.add("local", later)
    assert found(digests) == [WEB, later[1]]
    digests.add("local", [])


def test_one_with_other_points_than_ours_or_more_fields_does_no_harm(mongo: Mongo) -> None:
    digests = MongoDigests(mongo)
    digests.add("local", [WEB, replace(WEB, day=DAY + timedelta(days=1), cpu_m=(1.0, 2.0))])
    mongo.database["digests"].update_many({}, {"$set": {"later": 1}, "$unset": {"throttled_share": 1}})
    assert found(digests) == [replace(WEB, throttled_share=None)]


def test_all_are_told_whose_names_lie_between_two_ends_included(digests: Digests) -> None:
    names = sorted(f"shop/Deployment/web-{number}/app" for number in range(2500))
    digests.add("local", [Digest(name, DAY) for name in names])
    digests.add("other", [Digest(names[0], DAY)])
    between = digests.since("local", DAY, (names[1], names[-2]))
    assert sorted(each.container for each in between) == names[1:-1]
    assert sorted(each.container for each in digests.since("local", DAY)) == names


def test_scans_that_overlap_leave_one_of_each(mongo: Mongo) -> None:
    digests = MongoDigests(mongo)
    days = [replace(WEB, day=DAY - timedelta(days=ago)) for ago in range(100)]
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(digests.add, "local", days) for _ in range(8)]:
            done.result()
    assert found(digests, DAY - timedelta(days=99)) == days[::-1]


def test_what_was_not_stored_for_another_reason_is_told(
    mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def insert_many(*_: object, **__: object) -> None:
        raise BulkWriteError({"writeErrors": [{"code": 11000}, {"code": 8000, "errmsg": "over quota"}]})

    collection = mongo.database["digests"]
    monkeypatch.setattr(type(collection), "insert_many", insert_many)
    with pytest.raises(Temporary, match=r"digests were not stored: .*over quota"):
        MongoDigests(mongo).add("local", [WEB])


def test_a_server_that_is_away_is_temporary() -> None:
    mongo = Mongo("mongodb://127.0.0.1:1", "none")
    with pytest.raises(Temporary, match="no MongoDB answers"):
        list(MongoDigests(mongo).since("local", DAY))
    mongo.close()


def test_days_that_no_history_looks_back_to_are_removed_by_the_server(mongo: Mongo) -> None:
    index = mongo.database["digests"].index_information()["over"]
    assert index["key"] == [("day", 1)]
    assert index["expireAfterSeconds"] == 100 * 86400
