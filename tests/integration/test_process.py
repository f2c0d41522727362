from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from infra.emulator.servers.errors import SetupError, StartError
from infra.emulator.servers.process import Process

SILENT = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready'); time.sleep(600)"
)
WITH_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid)
time.sleep(600)
"""


def python(code: str, log: Path, **env: str) -> Process:
    return Process.start([sys.executable, "-c", code], env, log)


def eventually(condition: Callable[[], bool], within: float = 10.0) -> bool:
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_child_ends_on_sigterm_and_its_output_is_in_its_log(tmp_path: Path) -> None:
    child = python(
        "import os, time; print(os.environ['COLOUR']); time.sleep(600)", tmp_path / "a.log", COLOUR="red"
    )
    child.wait_line("^red$")

    assert child.alive
    assert child.stop() == -signal.SIGTERM
    assert not child.alive
    assert gone(child.pid)


def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    child = python(STUBBORN, tmp_path / "stubborn.log")
    child.wait_line("ready")

    assert child.stop(grace=0.2) == -signal.SIGKILL


def test_what_a_child_started_ends_with_it(tmp_path: Path) -> None:
    child = python(WITH_CHILD, tmp_path / "family.log")
    grandchild = int(child.wait_line(r"child (\d+)")[1])

    child.stop()

    assert eventually(lambda: gone(grandchild))


def test_a_child_that_dies_at_start_is_reported_with_its_last_words(tmp_path: Path) -> None:
    child = python("import sys; sys.exit('the disk is full')", tmp_path / "full.log")

    with pytest.raises(StartError, match=r"full ended with status 1; it wrote:\s+the disk is full"):
        child.wait_tcp("127.0.0.1", 9)
    child.stop()


def test_a_child_that_stays_silent_is_reported_at_the_deadline(tmp_path: Path) -> None:
    child = python(SILENT, tmp_path / "mute.log")

    with pytest.raises(StartError, match=r"mute is not ready after 0\.1 s"):
        child.wait_line("ready", within=0.1)
    child.stop()


def test_a_restart_does_not_read_the_lines_of_its_predecessor(tmp_path: Path) -> None:
    log = tmp_path / "again.log"
    predecessor = python("print('ready at 1')", log)
    predecessor.wait_line("ready at 1")
    predecessor.stop()
    child = python("import time; print('ready at 2'); time.sleep(600)", log)

    assert child.wait_line(r"ready at (\d)")[1] == "2"
    child.stop()


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no-such-program"):
        Process.start(["no-such-program"], {}, tmp_path / "none.log")


def test_a_child_survives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        child = pool.submit(python, SILENT, tmp_path / "threaded.log").result()

    assert not eventually(lambda: not child.alive, within=0.3)
    child.stop()


def test_children_end_when_their_parent_is_killed_with_sigkill(tmp_path: Path) -> None:
    code = f"""
import pathlib, sys, time
from infra.emulator.servers.process import Process
log = pathlib.Path({str(tmp_path / "orphan.log")!r})
child = Process.start([sys.executable, "-c", {SILENT!r}], {{}}, log)
print(child.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not gone(child)
        os.kill(parent.pid, signal.SIGKILL)

    assert eventually(lambda: gone(child))


def test_who_looks_while_another_thread_reaps_it_sees_it_end(tmp_path: Path) -> None:
    for number in range(60):
        process = Process.start(["sleep", "60"], {}, tmp_path / f"{number}.log")
        seen: list[int | None] = []

        def look(process: Process = process, seen: list[int | None] = seen) -> None:
            while (code := process.returncode) is None:
                pass
            seen.append(code)

        watching = [threading.Thread(target=look) for _ in range(2)]
        for each in watching:
            each.start()
        process.kill()
        for each in watching:
            each.join()
        assert seen == [-9, -9]
