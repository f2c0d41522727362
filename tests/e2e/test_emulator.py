"""The emulator as a person meets it: a taken port, Ctrl-C, a bad setting, `make up` and `make down`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import requests

from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]


def emulator(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "infra.emulator", *arguments]


@contextmanager
def taken(port: int) -> Iterator[None]:
    """Somebody else listens there; where that is so already, all the better."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", port))
            other.listen()
        except OSError:
            pass
        yield


def test_a_taken_port_is_said_and_ctrl_c_ends_every_child(past: Path, tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    with taken(9090), log.open("wb") as output:
        command = emulator("run", "--past", str(past))
        # A shell's background job ignores Ctrl-C, and so does all that it starts: the tests may be one.
        run = subprocess.Popen(
            ["env", "--default-signal=INT", *command], cwd=ROOT, stdout=output, stderr=output
        )
        try:
            until(lambda: "functions: ready" in log.read_text(), within=60)
            children = psutil.Process(run.pid).children(recursive=True)
            assert len(children) > 8
            run.send_signal(signal.SIGINT)
            assert run.wait(30) == 130
        finally:
            run.kill()
            run.wait()
    assert "port 9090 is in use: Prometheus listens on" in log.read_text()
    assert "interrupted; everything that it started has ended" in log.read_text()
    until(lambda: not any(child.is_running() for child in children), within=5)


def test_a_killed_emulator_leaves_no_child(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    children: list[psutil.Process] = []

    def started() -> bool:
        children[:] = psutil.Process(run.pid).children(recursive=True)
        return len(children) > 8

    with log.open("wb") as output:
        run = subprocess.Popen(emulator("run"), cwd=ROOT, stdout=output, stderr=output)
        try:
            until(started, within=60)
        finally:
            run.kill()
            run.wait()
    until(lambda: not any(child.is_running() for child in children), within=20)


def test_a_bad_setting_is_one_line_that_names_it() -> None:
    done = subprocess.run(
        emulator("run"),
        cwd=ROOT,
        env={**os.environ, "KUBEFINOPS_PAUSE": "perhaps"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 2
    assert "KUBEFINOPS_PAUSE" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_folder_of_traces_that_is_none_is_said() -> None:
    done = subprocess.run(
        emulator("run", "--traces", "/nowhere"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "/nowhere is no folder" in done.stderr


def test_up_keeps_it_running_and_down_leaves_nothing_behind(past: Path) -> None:
    children: list[psutil.Process] = []
    command = emulator("up", "--past", str(past))
    up = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        assert "the loop is running" in up.stdout
        keeper = psutil.Process(int((ROOT / "build" / "up.pid").read_text()))
        children = [keeper, *keeper.children(recursive=True)]
        assert len(children) > 8
        address = next(line for line in up.stdout.splitlines() if line.startswith("metrics: ")).split()[1]

        def applied() -> bool:
            text = requests.get(address, timeout=10).text
            return any('state="applied"' in line for line in text.splitlines())

        until(applied, within=60)
        again = subprocess.run(
            emulator("up"), cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
        )
        assert "running already" in again.stdout
    finally:
        down = subprocess.run(
            emulator("down"), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
    assert down.returncode == 0
    until(lambda: not any(child.is_running() for child in children), within=10)
    assert not (ROOT / "build" / "up").exists()
    assert not (ROOT / "build" / "up.pid").exists()
