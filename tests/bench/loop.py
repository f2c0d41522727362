"""The whole loop on the generated demo: its time, and each function's memory at its end."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from infra.emulator.run import Loop
from infra.emulator.stack import Options, Stack
from tests.bench.figure import Figure

RUN_SECONDS = 60
LOOP_SECONDS = 20
RESIDENT_MIB = 100


def measure() -> list[Figure]:
    """One run of the loop; memory is read when it has come to its end."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        stack = Stack(Options(work=Path(folder) / "run", standard_ports=False), {}, say=lambda _line: None)
        try:
            stack.start()
            loop = Loop(stack)
            asked = time.monotonic()
            loop.scan()
            where = loop.wait()
            ended = time.monotonic()
            loop.stop()
            assert stack.functions is not None
            resident = {one.name: resident_mib(one.pid) for one in stack.functions}
        finally:
            stack.stop()
    if not where.done:
        raise RuntimeError(f"the loop did not come to its end: {where}")
    figures = [
        Figure("make run, after set-up", time.monotonic() - began, "s", RUN_SECONDS),
        Figure("loop: first scan event to last result", ended - asked, "s", LOOP_SECONDS),
    ]
    return figures + [
        Figure(f"{name}: memory after the loop", mib, "MiB", RESIDENT_MIB) for name, mib in resident.items()
    ]


def resident_mib(pid: int) -> float:
    """Resident memory of a process and its children together, in MiB.

    What the function alone would hold: pages that its own processes share count once, pages of files
    (libraries) count in full, though other processes on this machine have them as well.
    """
    anonymous = 0
    files: dict[str, int] = {}
    process = psutil.Process(pid)
    for one in (process, *process.children(recursive=True)):
        fields = dict(_mapped(Path(f"/proc/{one.pid}/smaps_rollup").read_text()))
        anonymous += fields["Pss_Anon"] + fields["Pss_Shmem"]
        for path, resident in _file_pages(Path(f"/proc/{one.pid}/smaps").read_text()).items():
            files[path] = max(files.get(path, 0), resident)
    return (anonymous + sum(files.values())) / 1024


def _mapped(text: str) -> Iterator[tuple[str, int]]:
    """The sums in smaps_rollup, in KiB; the first line is the range."""
    for line in text.splitlines()[1:]:
        name, value = line.split(":")
        yield name, int(value.split()[0])


def _file_pages(smaps: str) -> dict[str, int]:
    """Resident KiB of each mapped part of a file that no process has written to."""
    pages: dict[str, int] = {}
    part = ""
    for line in smaps.splitlines():
        fields = line.split()
        if not fields[0].endswith(":"):
            part = f"{fields[5]}@{fields[2]}" if len(fields) > 5 and fields[5].startswith("/") else ""
        elif part and fields[0] == "Rss:":
            pages[part] = pages.get(part, 0) + int(fields[1])
        elif part and fields[0] == "Anonymous:":
            pages[part] -= int(fields[1])  # written to, and so counted with the anonymous ones
    return pages
