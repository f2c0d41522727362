"""Samples on their way into a server by Prometheus' remote write (version 1), which all of them take."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import requests

AT_ONCE = 4_000_000  # bytes in one request, before its last series


def remote_write(history: Path, url: str, tenant: str = "") -> None:
    """All of an OpenMetrics file as `History` writes it; raises what requests does where it is refused."""
    waiting: list[bytes] = []
    headers = {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    }
    if tenant:
        headers["X-Scope-OrgID"] = tenant

    def send() -> None:
        body = _snappy(b"".join(waiting))
        requests.post(url, data=body, headers=headers, timeout=60).raise_for_status()
        waiting.clear()

    for labels, samples in _series(history):
        waiting.append(_field(1, _time_series(labels, samples)))
        if sum(map(len, waiting)) > AT_ONCE:
            send()
    send()


def _series(history: Path) -> Iterator[tuple[dict[str, str], list[tuple[float, float]]]]:
    """Labels, and times with values; one series' lines may lie apart, where it was added twice."""
    with history.open(encoding="utf-8") as lines:
        told = [line.rsplit(" ", 2) for line in lines if not line.startswith("#")]
    told.sort(key=lambda each: (each[0], float(each[2])))
    for series, samples in groupby(told, key=lambda each: each[0]):
        name, _, rest = series.partition("{")
        labels = {"__name__": name} | dict(re.findall(r'(\w+)="([^"]*)"', rest))
        yield labels, [(float(at), float(value)) for _, value, at in samples]


def _time_series(labels: dict[str, str], samples: Iterable[tuple[float, float]]) -> bytes:
    told = sorted((name, value) for name, value in labels.items() if value)
    parts = [_field(1, _field(1, name.encode()) + _field(2, value.encode())) for name, value in told]
    for at, value in samples:
        parts.append(_field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(round(at * 1000))))
    return b"".join(parts)


def _field(number: int, content: bytes) -> bytes:
    """Of a protobuf message: one that has a length."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def _snappy(content: bytes) -> bytes:
    """A block of it in which nothing is compressed: its length, then literals of at most 2**24 bytes."""
    parts = [content[begin : begin + 2**24] for begin in range(0, len(content), 2**24)]
    literals = (b"\xf8" + (len(part) - 1).to_bytes(3, "little") + part for part in parts)
    return _varint(len(content)) + b"".join(literals)
