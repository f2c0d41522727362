"""Parts of a scan: whole namespaces together while they are small, a large one in pieces."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from shared.contracts.events import Shard
from shared.contracts.identity import Workload, digest

MOST_WORKLOADS = 200
# Of the names alone; the event around them stays under 48 KiB.
MOST_BYTES = 40 * 1024


def shards(workloads: Iterable[Workload]) -> list[Shard]:
    """The workloads in shards of at most 200.

    A shard's name ends with a digest of the workloads in it: a redelivered scan that finds another
    cluster makes other shards, with reports of their own, and what is unchanged keeps its report.
    """
    parts: list[list[str]] = []
    by_namespace = groupby(sorted(workloads, key=lambda each: each.subject), key=lambda each: each.namespace)
    for _, members in by_namespace:
        for piece in _pieces([workload.subject for workload in members]):
            if parts and _fits([*parts[-1], *piece]):
                parts[-1].extend(piece)
            else:
                parts.append(piece)
    return [
        Shard(name=_name(part), index=index, of=len(parts), workloads=tuple(part))
        for index, part in enumerate(parts)
    ]


def _pieces(subjects: list[str]) -> list[list[str]]:
    pieces: list[list[str]] = [[]]
    for subject in subjects:
        if not _fits([*pieces[-1], subject]):
            pieces.append([])
        pieces[-1].append(subject)
    return pieces


def _fits(subjects: list[str]) -> bool:
    # Quotes and a comma go with each.
    size = sum(len(subject.encode()) + 3 for subject in subjects)
    return len(subjects) <= MOST_WORKLOADS and size <= MOST_BYTES


def _name(subjects: list[str]) -> str:
    first, last = subjects[0].split("/")[0], subjects[-1].split("/")[0]
    names = first if first == last else f"{first}-to-{last}"
    return f"{names}-{digest(*subjects)[:8]}"
