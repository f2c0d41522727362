"""What is tested on: containers whose usage was recorded side by side, in windows of one length."""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from infra.backtest.digests import Floats
from shared.contracts.errors import KubeFinOpsError

WINDOW_SECONDS = 300
_COLUMNS = ("timestamp_s", "workload", "container", "cpu_cores", "memory_bytes")
# What was set, where a trace tells it, by the names in the trace.
_SET = {
    "cpu_request_cores": "cpu_request",
    "memory_request_bytes": "memory_request",
    "memory_limit_bytes": "memory_limit",
}


_MOST_SECONDS = 32_503_680_000  # the year 3000: what is more is in milliseconds
_MOST_YEARS = 20  # of a trace: one wrong time would make windows of all that lies between


class TraceError(KubeFinOpsError):
    """A trace that cannot be read; the text says which file and line, and what is wrong."""


@dataclass(frozen=True)
class Treatment:
    """What the engine does with one container for reasons other than its usage.

    `cpu_stays` and `memory_stays` say why it leaves them as they are provisioned; empty where it does not.
    `is_guaranteed`: request and limit are one value.
    """

    cpu_stays: str = ""
    memory_stays: str = ""
    is_guaranteed: bool = False


@dataclass(frozen=True)
class Fleet:
    """One row a container: `cpu` in cores (means), `memory` in bytes (maxima), NaN where not measured.

    Of several pods at once they are the worst one's; `pods` says how many are paid for, one column a window
    too: one where it is not known whether there was any, as in a trace's gaps.
    `begin` is Unix seconds, `window` the seconds of a column. What the containers requested when they were
    recorded is `cpu_request` and `memory_request`, NaN where that is not known. `starts_as_set`: a walk
    begins with these as what is set. `treatments` are one a container too, or none: no trace tells them.
    """

    name: str
    containers: tuple[tuple[str, str], ...]
    cpu: Floats
    memory: Floats
    begin: float
    window: int
    cpu_request: Floats
    memory_request: Floats
    memory_limit: Floats
    pods: NDArray[np.uint16]
    starts_as_set: bool = False
    treatments: tuple[Treatment, ...] = ()

    @property
    def seconds(self) -> int:
        return int(self.cpu.shape[1]) * self.window

    @property
    def is_measured(self) -> NDArray[np.bool_]:
        """Of each container whether there is any CPU and any memory."""
        cpu, memory = np.isfinite(self.cpu).any(axis=1), np.isfinite(self.memory).any(axis=1)
        found: NDArray[np.bool_] = np.logical_and(cpu, memory)
        return found

    def treated(self, so: Callable[[Treatment], object]) -> NDArray[np.bool_]:
        """Of each container whether this is true of its treatment."""
        if not self.treatments:
            return np.zeros(len(self.containers), dtype=bool)
        return np.array([bool(so(each)) for each in self.treatments])

    def only(self, which: NDArray[np.bool_]) -> Fleet:
        """The containers that the mask names."""
        return replace(
            self,
            containers=tuple(compress(self.containers, which)),
            treatments=tuple(compress(self.treatments, which)),
            cpu=self.cpu[which],
            memory=self.memory[which],
            cpu_request=self.cpu_request[which],
            memory_request=self.memory_request[which],
            memory_limit=self.memory_limit[which],
            pods=self.pods[which],
        )


def read(folder: Path) -> list[Fleet]:
    """A fleet for each of `traces`, in their order.

    Raises:
        TraceError: there is none, or one is broken.
    """
    found = []
    for name, path in traces(folder).items():
        with _broken(path):
            found.append(_fleet(name, path))
    return found


def traces(folder: Path) -> dict[str, Path]:
    """Each *.csv and *.csv.gz that has the columns of a trace, by a name of its own, in the files' order.
    Raises TraceError without any.
    """
    paths = sorted([*folder.glob("*.csv"), *folder.glob("*.csv.gz")])
    found = [path for path in paths if _is_trace(path)]
    if not found:
        there = f"; these have others: {', '.join(path.name for path in paths)}" if paths else ""
        raise TraceError(f"{folder}: no *.csv or *.csv.gz with the columns {', '.join(_COLUMNS)}{there}")
    names = [path.name.removesuffix(".gz").removesuffix(".csv") for path in found]
    # a.csv may lie beside the a.csv.gz that it was compressed to.
    return {
        name if names.count(name) == 1 else path.name: path for name, path in zip(names, found, strict=True)
    }


def opened(path: Path) -> IO[str]:
    """As text, whether it is compressed or not, and whether a mark of its encoding begins it or not."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", newline="", encoding="utf-8-sig")
    return path.open(newline="", encoding="utf-8-sig")


@contextmanager
def _broken(path: Path) -> Iterator[None]:
    """Raises TraceError where the file is not what its name says."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TraceError(f"{path}: not gzip, or cut short: {error}") from None
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: not UTF-8: {error.reason}") from None
    except csv.Error as error:
        raise TraceError(f"{path}: not CSV: {error}") from None
    except OSError as error:
        raise TraceError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None


def _is_trace(path: Path) -> bool:
    with _broken(path), opened(path) as file:
        return set(_COLUMNS) <= set(next(csv.reader(file), []))


def _fleet(name: str, path: Path) -> Fleet:
    with opened(path) as file:
        rows = csv.reader(file)
        header = next(rows)
        series, were_set = _series(path, rows, header)
    if not series:
        raise TraceError(f"{path}: there is no row below its header")
    keys = sorted({(workload, container) for workload, container, _ in series})
    index_of = {key: index for index, key in enumerate(keys)}
    window = _window(list(series.values()))
    begin = min(min(one.times) for one in series.values())
    end = max(max(one.times) for one in series.values())
    if end - begin > _MOST_YEARS * 365 * 86_400:
        raise TraceError(
            f"{path}: timestamp_s: from {begin:.0f} to {end:.0f} it is more than {_MOST_YEARS} years: one of"
            " them is wrong, or two units are mixed"
        )
    shape = (len(keys), int((end - begin) // window) + 1)
    cpu, memory, pods = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, np.uint16)
    for (workload, container, _), one in series.items():
        index = index_of[workload, container]
        # Of several pods at once, the worst; of one that follows another, whichever there is.
        means, peaks = _windows(one, begin, window, shape[1])
        cpu[index], memory[index] = np.fmax(cpu[index], means), np.fmax(memory[index], peaks)
        pods[index] += np.isfinite(means)
    recorded = {name: np.array([were_set[key].get(name, math.nan) for key in keys]) for name in _SET.values()}
    return Fleet(
        name,
        tuple(keys),
        cpu,
        memory,
        begin,
        window,
        pods=np.maximum(pods, 1),
        starts_as_set=False,
        treatments=(),
        **recorded,
    )


def _doubles() -> array[float]:
    return array("d")


@dataclass(frozen=True)
class _Series:
    """The samples of one pod's container; arrays, because a trace may have millions."""

    times: array[float] = field(default_factory=_doubles)
    cores: array[float] = field(default_factory=_doubles)
    memory: array[float] = field(default_factory=_doubles)


def _series(
    path: Path, rows: Iterable[list[str]], header: list[str]
) -> tuple[dict[tuple[str, str, str], _Series], dict[tuple[str, str], dict[str, float]]]:
    """Samples by workload, container and pod, and what was set last by workload and container."""
    at_time, at_workload, at_container, at_cpu, at_memory = (header.index(name) for name in _COLUMNS)
    at_pod = header.index("pod") if "pod" in header else None
    set_at = [(header.index(column), name) for column, name in _SET.items() if column in header]
    series: dict[tuple[str, str, str], _Series] = {}
    were_set: dict[tuple[str, str], dict[str, float]] = {}
    for line, row in enumerate(rows, start=2):
        if len(row) < len(header):
            if not row:
                continue  # a line with nothing in it, as at a file's end
            raise TraceError(f"{path}:{line}: {len(row)} fields, where the header has {len(header)}")
        try:
            key = (row[at_workload], row[at_container])
            one = series.setdefault((*key, "" if at_pod is None else row[at_pod]), _Series())
            time, cores, memory = (
                _time(row[at_time]),
                _number(row, at_cpu, header),
                _number(row, at_memory, header),
            )
            known = were_set.setdefault(key, {})
            known |= {name: _number(row, index, header) for index, name in set_at if row[index]}
        except ValueError as error:
            raise TraceError(f"{path}:{line}: {error}") from None
        one.times.append(time)
        one.cores.append(cores)
        one.memory.append(memory)
    return series, were_set


def _windows(one: _Series, begin: float, window: int, count: int) -> tuple[Floats, Floats]:
    """The mean of CPU and the maximum of memory in each window."""
    times, cores, memory = (np.frombuffer(each) for each in (one.times, one.cores, one.memory))
    at = ((times - begin) // window).astype(int)
    measured = np.isfinite(cores)
    sums = np.bincount(at[measured], cores[measured], minlength=count)
    counts = np.bincount(at[measured], minlength=count)
    means = np.divide(sums, counts, out=np.full(count, np.nan), where=counts > 0)
    peaks = np.full(count, np.nan)
    np.fmax.at(peaks, at, memory)
    return means, peaks


def _window(series: list[_Series]) -> int:
    """Five minutes, or the usual distance of two samples where that is longer."""
    # In their order, whichever the rows have, and without what is there twice.
    distances = [np.diff(np.unique(np.frombuffer(one.times))) for one in series if len(one.times) > 1]
    usual = float(np.median(np.concatenate(distances))) if distances else 0.0
    return max(WINDOW_SECONDS, math.ceil(usual / WINDOW_SECONDS) * WINDOW_SECONDS)


def _time(text: str) -> float:
    """Raises ValueError."""
    try:
        time = float(text)
    except ValueError:
        raise ValueError(f"timestamp_s: {text!r} is no number") from None
    if not 0 <= time < _MOST_SECONDS:
        raise ValueError(f"timestamp_s: {text} are no seconds since 1970")
    return time


def _number(row: Sequence[str], at: int, header: Sequence[str]) -> float:
    """NaN of an empty field: not measured, or not set. Raises ValueError."""
    try:
        number = float(row[at]) if row[at] else math.nan
    except ValueError:
        raise ValueError(f"{header[at]}: {row[at]!r} is no number") from None
    if number < 0 or math.isinf(number):
        raise ValueError(f"{header[at]}: {row[at]} is nothing that can be used or requested")
    return number
