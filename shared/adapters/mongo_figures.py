"""MongoDB read as figures: how many of what in which state, and how much money. Aggregations only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from bson.decimal128 import Decimal128
from pymongo.database import Database

from shared.adapters.mongo import _translated
from shared.contracts.figures import (
    RELEASED,
    Figures,
    ObjectCount,
    OpenCount,
    OpenPullRequest,
    OutcomeCount,
    Savings,
    StateCount,
    Unsent,
)


class MongoFigures:
    """See FigureSource."""

    def __init__(self, database: Callable[[], Database[dict[str, Any]]]) -> None:
        self._database = database

    def read(self) -> Figures:
        """See FigureSource."""
        with _translated():
            return Figures(
                states=[
                    StateCount(**row["_id"], count=row["count"])
                    for row in self._rows("recommendations", [_group(_NAMESPACE | {"state": "$state"})])
                ],
                outcomes=[
                    OutcomeCount(**row["_id"], count=row["count"])
                    for row in self._rows("recommendations", _OUTCOMES)
                ],
                savings=self._savings(),
                open_counts=[
                    OpenCount(**row["_id"], count=row["count"]) for row in self._rows("changes", [_OPEN])
                ],
                pull_requests=[
                    OpenPullRequest(
                        cluster=row["cluster"],
                        application=row["application"],
                        repository=row["repository"],
                        number=row["number"],
                        opened_at=row["opened_at"],
                    )
                    for row in self._database()["changes"].find({"state": "open"})
                ],
                objects=[
                    ObjectCount(**row["_id"], count=row["count"])
                    for row in self._rows("reports", [_group({"cluster": "$cluster", "kind": "$kind"})])
                ],
                unsent=[
                    Unsent(cluster=row["_id"], count=row["count"], oldest=row["oldest"])
                    for row in self._rows("recommendations", _UNSENT)
                ],
            )

    def _savings(self) -> list[Savings]:
        released = {_place(row): row for row in self._rows("recommendations", [_RELEASED])}
        latest = {_place(row): row for row in self._rows("recommendations", _LATEST)}
        return [
            Savings(
                *place,
                proposed=_decimal(latest.get(place, {}).get("proposed", 0)),
                released=_decimal(released.get(place, {}).get("released", 0)),
                waste=_decimal(latest.get(place, {}).get("waste", 0)),
            )
            for place in latest.keys() | released.keys()
        ]

    def _rows(self, collection: str, pipeline: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return list(self._database()[collection].aggregate(pipeline))


def _group(by: Mapping[str, str]) -> dict[str, Any]:
    return {"$group": {"_id": dict(by), "count": {"$sum": 1}}}


def _place(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["_id"]["cluster"], row["_id"]["namespace"], row["_id"]["currency"]


def _decimal(value: Decimal128 | int) -> Decimal:
    return value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)


# Money is stored as decimal text: converted on the server, summed there as decimals, never as floats.
_SAVED = {"$toDecimal": "$monthly_saving.amount"}
_RELEASED_OR_NOTHING = {"$cond": [{"$in": ["$state", [state.value for state in RELEASED]]}, _SAVED, 0]}
_NAMESPACE = {"cluster": "$cluster", "namespace": "$workload.namespace"}

_OUTCOMES: list[dict[str, Any]] = [
    {"$match": {"outcome": {"$ne": None}}},
    _group({"cluster": "$cluster", "outcome": "$outcome"}),
]
_RELEASED: dict[str, Any] = {
    "$group": {
        "_id": _NAMESPACE | {"currency": "$monthly_saving.currency"},
        "released": {"$sum": _RELEASED_OR_NOTHING},
    }
}
# Sorted as the index `story` is, so that the server need not sort.
_LATEST: list[dict[str, Any]] = [
    {"$sort": {"workload_key": 1, "scanned_at": -1}},
    {
        "$group": {
            "_id": "$workload_key",
            "cluster": {"$first": "$cluster"},
            "namespace": {"$first": "$workload.namespace"},
            "currency": {"$first": "$proposal.monthly_saving.currency"},
            "proposed": {"$first": {"$toDecimal": "$proposal.monthly_saving.amount"}},
            "released": {"$first": _RELEASED_OR_NOTHING},
        }
    },
    {
        "$group": {
            "_id": {"cluster": "$cluster", "namespace": "$namespace", "currency": "$currency"},
            "proposed": {"$sum": "$proposed"},
            "waste": {"$sum": {"$max": [0, {"$subtract": ["$proposed", "$released"]}]}},
        }
    },
]
_OPEN: dict[str, Any] = {
    "$group": {
        "_id": {"cluster": "$cluster", "application": "$application"},
        "count": {"$sum": {"$cond": [{"$eq": ["$state", "open"]}, 1, 0]}},
    }
}
_UNSENT: list[dict[str, Any]] = [
    {"$match": {"ledger.sent": False}},  # by the index; the rest looks at the few that it found
    {"$unwind": "$ledger"},
    {"$match": {"ledger.sent": False}},
    {"$group": {"_id": "$cluster", "count": {"$sum": 1}, "oldest": {"$min": "$ledger.at"}}},
]
