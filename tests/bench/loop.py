"""The whole loop on the generated demo: its time, and each function's memory at its end."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import psutil

from infra.emulator.run import Loop
from infra.emulator.stack import Options, Stack
from tests.bench.figure import Figure

RUN_SECONDS = 60
LOOP_SECONDS = 20
RESIDENT_MIB = 100


def measure() -> list[Figure]:
    """One run; memory is the proportional set size: pages that processes share count once in all."""
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
            resident = {one.name: _proportional_mib(one.pid) for one in stack.functions}
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


def _proportional_mib(pid: int) -> float:
    process = psutil.Process(pid)
    tree = [process, *process.children(recursive=True)]
    return sum(int(one.memory_full_info().pss) for one in tree) / 2**20
