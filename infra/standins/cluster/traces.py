"""Measured usage as CSV: what each container of a workload used, sample by sample.

A trace file has the columns `timestamp_s, workload, pod, container, cpu_cores, memory_bytes` (Unix seconds,
cores, bytes) and perhaps more, of which the configured requests and limits are read. An empty `pod` or
`container` is a sum over the workload or the pod; an empty number was not recorded. The file's stem names
the set.
"""

from __future__ import annotations

import csv
import gzip
import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

COLUMNS = ("timestamp_s", "workload", "pod", "container", "cpu_cores", "memory_bytes")
CONFIGURED = ("cpu_request_cores", "cpu_limit_cores", "memory_request_bytes", "memory_limit_bytes")
_PEEKED_ROWS = 50


class TraceError(ValueError):
    """A trace file that cannot be used; the message names file, line and what is wrong."""


@dataclass(frozen=True)
class Trace:
    """One container's usage, oldest first.

    A sample speaks for the interval that ends at its time. Unrecorded numbers are NaN. The configured
    values are the latest that the file has: cores, cores, bytes, bytes.
    """

    workload: str
    pod: str
    container: str
    times: array[float] = field(default_factory=lambda: array("d"))
    cpu_cores: array[float] = field(default_factory=lambda: array("d"))
    memory_bytes: array[float] = field(default_factory=lambda: array("d"))
    cpu_request_cores: float | None = None
    cpu_limit_cores: float | None = None
    memory_request_bytes: float | None = None
    memory_limit_bytes: float | None = None

    @property
    def has_memory(self) -> bool:
        return any(not math.isnan(value) for value in self.memory_bytes)


@dataclass(frozen=True)
class TraceSets:
    """The trace files of a folder by set name, and the files that are other tables or record no memory."""

    files: dict[str, Path]
    cpu_only: list[Path]
    other: list[Path]


def find_sets(folder: Path) -> TraceSets:
    """Looks at the head of every `*.csv` and `*.csv.gz` in `folder`.

    A file that lacks the common columns is another table. A file whose first rows record no memory is CPU-
    only: a container cannot be run from it, since a request for memory could only be invented.

    Raises:
        TraceError: there is no usable trace file.
    """
    if not folder.is_dir():
        raise TraceError(f"{folder}: no such folder of trace files")
    files: dict[str, Path] = {}
    cpu_only: list[Path] = []
    other: list[Path] = []
    for path in sorted([*folder.glob("*.csv"), *folder.glob("*.csv.gz")]):
        rows = _rows(path)
        header = next(rows, (0, []))[1]
        if not set(COLUMNS) <= set(header):
            other.append(path)
            continue
        memory = header.index("memory_bytes")
        head = [row for _, (_, row) in zip(range(_PEEKED_ROWS), rows, strict=False)]
        if head and all(len(row) > memory and row[memory] == "" for row in head):
            cpu_only.append(path)
        else:
            files[path.name.removesuffix(".gz").removesuffix(".csv")] = path
    if not files:
        seen = ", ".join(path.name for path in [*cpu_only, *other]) or "no *.csv or *.csv.gz"
        raise TraceError(
            f"{folder}: no trace file with columns {','.join(COLUMNS)} and memory (found: {seen})"
        )
    return TraceSets(files, cpu_only, other)


def read(path: Path) -> list[Trace]:
    """Reads one trace file, in the order in which workload, pod and container first appear.

    Raises:
        TraceError: a column is missing, a number is none or negative, or time goes backwards within a trace.
    """
    rows = _rows(path)
    _, header = next(rows, (0, []))
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise TraceError(f"{path}:1: no column {', '.join(missing)}")
    at = {name: header.index(name) for name in (*COLUMNS, *CONFIGURED) if name in header}
    when, cpu, memory = at["timestamp_s"], at["cpu_cores"], at["memory_bytes"]
    identity = (at["workload"], at["pod"], at["container"])
    traces: dict[tuple[str, ...], Trace] = {}
    last_row: dict[tuple[str, ...], list[str]] = {}
    for line, row in rows:
        if not row:
            continue
        if len(row) != len(header):
            raise TraceError(f"{path}:{line}: {len(row)} fields, the header has {len(header)}")
        key = tuple(row[index] for index in identity)
        trace = traces.get(key)
        if trace is None:
            if not key[0]:
                raise TraceError(f"{path}:{line}: workload is empty")
            trace = traces[key] = Trace(key[0], key[1], key[2])
        stamp = _number(path, line, "timestamp_s", row[when])
        if trace.times and not stamp > trace.times[-1]:
            raise TraceError(
                f"{path}:{line}: timestamp_s {row[when]!r} is not after the one before it in {key}"
            )
        trace.times.append(stamp)
        trace.cpu_cores.append(_number(path, line, "cpu_cores", row[cpu]))
        trace.memory_bytes.append(_number(path, line, "memory_bytes", row[memory]))
        last_row[key] = row
    if not traces:
        raise TraceError(f"{path}:1: no samples")
    return [
        _with_configured(path, traces[key], {n: last_row[key][at[n]] for n in CONFIGURED if n in at})
        for key in traces
    ]


def _with_configured(path: Path, trace: Trace, configured: dict[str, str]) -> Trace:
    values = {name: _number(path, 0, name, text) if text else None for name, text in configured.items()}
    return replace(
        trace,
        cpu_request_cores=values.get(CONFIGURED[0]),
        cpu_limit_cores=values.get(CONFIGURED[1]),
        memory_request_bytes=values.get(CONFIGURED[2]),
        memory_limit_bytes=values.get(CONFIGURED[3]),
    )


def _number(path: Path, line: int, column: str, text: str) -> float:
    if text == "" and column != "timestamp_s":
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise TraceError(f"{path}:{line}: {column} {text!r} is no number of at least 0")
    return value


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each row; what cannot be decompressed or decoded is a TraceError."""
    line = 0
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8", newline="") as text:
            reader = csv.reader(text, strict=True)
            for row in reader:
                line = reader.line_num
                yield line, row
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path}:{line + 1}: cannot be read: {error}") from error
