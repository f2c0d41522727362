"""A Prometheus block in which many series share the samples of a few.

To write a cluster's weeks sample by sample takes minutes and gigabytes. What a query costs is decoding
chunks and evaluating, and both are the same wherever the chunks lie: so `promtool` makes a block of a few
series, and here its index is written anew, with any number of series that refer to those chunks.

Format: github.com/prometheus/prometheus, tsdb/docs/format/index.md (version 2).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

Labels = tuple[tuple[str, str], ...]
_MAGIC = 0xBAAAD700
_CASTAGNOLI = 0x82F63B78


def multiply(block: Path, copies: Mapping[str, Iterable[Mapping[str, str]]]) -> int:
    """Has the block hold other series: for each name in `copies` those with the label sets given there.

    The block's first series of that name lends its samples. Returns how many series there are now.

    Raises:
        KeyError: the block has no series of that name.
    """
    path = block / "index"
    chunks = _chunks_by_name(path.read_bytes())
    series: list[tuple[Labels, bytes]] = []
    for name, several in copies.items():
        series += [(tuple(sorted({**labels}.items())), chunks[name]) for labels in several]
    series.sort(key=lambda each: each[0])
    path.unlink()
    path.write_bytes(_index(series))
    meta = json.loads((block / "meta.json").read_text())
    meta["stats"]["numSeries"] = len(series)
    (block / "meta.json").write_text(json.dumps(meta))
    return len(series)


def _chunks_by_name(index: bytes) -> dict[str, bytes]:
    """Each metric's chunk list, as the series section has it."""
    offsets = struct.unpack(">6Q", index[-52:-4])
    symbols = _symbols(index, offsets[0])
    found: dict[str, bytes] = {}
    at, end = offsets[1], offsets[2] or offsets[4]
    while at < end:
        at += -at % 16
        length, begin = _uvarint(index, at)
        if not length:
            break
        count, place = _uvarint(index, begin)
        labels = {}
        for _ in range(count):
            name, place = _uvarint(index, place)
            value, place = _uvarint(index, place)
            labels[symbols[name]] = symbols[value]
        found.setdefault(labels["__name__"], index[place : begin + length])
        at = begin + length + 4
    return found


def _symbols(index: bytes, at: int) -> list[str]:
    (count,) = struct.unpack_from(">I", index, at + 4)
    place, found = at + 8, []
    for _ in range(count):
        length, place = _uvarint(index, place)
        found.append(index[place : place + length].decode())
        place += length
    return found


def _index(series: list[tuple[Labels, bytes]]) -> bytes:
    texts = sorted({text for labels, _ in series for pair in labels for text in pair}, key=str.encode)
    number = {text: place for place, text in enumerate(texts)}
    out = bytearray(struct.pack(">IB", _MAGIC, 2))
    symbols_at = len(out)
    content = struct.pack(">I", len(texts))
    content += b"".join(_put(len(text.encode())) + text.encode() for text in texts)
    out += _section(content)
    series_at = len(out)
    postings: dict[tuple[str, str], list[int]] = {("", ""): []}
    for labels, chunks in series:
        out += bytes(-len(out) % 16)
        reference = len(out) // 16
        content = _put(len(labels))
        for name, value in labels:
            content += _put(number[name]) + _put(number[value])
            postings.setdefault((name, value), []).append(reference)
        postings["", ""].append(reference)
        content += chunks
        out += _put(len(content)) + content + _crc(content)
    out += bytes(-len(out) % 4)
    postings_at = len(out)
    table = bytearray()
    for (name, value), references in sorted(postings.items(), key=lambda each: [t.encode() for t in each[0]]):
        out += bytes(-len(out) % 4)
        table += b"\x02" + _put(len(name.encode())) + name.encode()
        table += _put(len(value.encode())) + value.encode() + _put(len(out))
        out += _section(struct.pack(f">{len(references) + 1}I", len(references), *references))
    indices_at = len(out)
    out += _section(struct.pack(">I", 0))
    table_at = len(out)
    out += _section(struct.pack(">I", len(postings)) + table)
    contents = struct.pack(">6Q", symbols_at, series_at, postings_at, indices_at, postings_at, table_at)
    return bytes(out + contents + _crc(contents))


def _section(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content + _crc(content)


def _put(value: int) -> bytes:
    """As an unsigned varint."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _uvarint(data: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _table() -> tuple[int, ...]:
    found = []
    for byte in range(256):
        rest = byte
        for _ in range(8):
            rest = rest >> 1 ^ (_CASTAGNOLI if rest & 1 else 0)
        found.append(rest)
    return tuple(found)


_TABLE = _table()


def _crc(data: bytes) -> bytes:
    """CRC-32C, which no module of the standard library has."""
    crc, table = 0xFFFFFFFF, _TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return struct.pack(">I", crc ^ 0xFFFFFFFF)
