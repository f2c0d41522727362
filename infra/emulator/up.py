"""`make up` keeps the loop running in the background, `make down` ends it and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from infra.emulator.run import Loop, where_to_look
from infra.emulator.servers.errors import StartError
from infra.emulator.stack import ROOT, Options, Stack, Usage

WORK = ROOT / "build" / "up"
PID_FILE = ROOT / "build" / "up.pid"
LOG = ROOT / "build" / "up.log"
READY = "the loop is running"
START_SECONDS = 120.0
STOP_SECONDS = 30.0
TICK_SECONDS = 1.0
SCAN_SECONDS = 10.0  # a scan takes Prometheus about a second: one every second would be all that it does


def up(usage: Usage) -> int:
    """Starts `keep` in the background and returns when it is ready. Raises StartError."""
    if _running() is not None:
        print(f"it is running already (process {_running()}); make down ends it")
        return 0
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text("")
    command = [sys.executable, "-m", "infra.emulator", "keep", "--seed", str(usage.seed)]
    command += ["--traces", str(usage.traces.resolve())] if usage.traces else []
    command += ["--past", str(usage.past.resolve())] if usage.past else []
    with LOG.open("ab") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd=ROOT
        )
    PID_FILE.write_text(str(child.pid))
    try:
        return _shown_until_ready(child)
    except BaseException:
        # Interrupted, or too late: what was begun is ended, not left behind; its log stays to be read.
        _end()
        raise


def _shown_until_ready(child: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + START_SECONDS
    shown = 0
    while time.monotonic() < deadline:
        text = LOG.read_text()
        print(text[shown : text.rfind("\n") + 1], end="", flush=True)
        shown = max(shown, text.rfind("\n") + 1)
        if READY in text:
            return 0
        if child.poll() is not None:
            PID_FILE.unlink(missing_ok=True)
            return child.returncode or 1
        time.sleep(0.1)
    raise StartError(f"it was not ready within {START_SECONDS:g} s; see {LOG.relative_to(ROOT)}")


def keep(usage: Usage) -> int:
    """Runs until it is told to end: a tick every second, a scan every tenth. Raises ServerError."""
    stack = Stack(Options(work=WORK, usage=usage), os.environ, say=lambda line: print(line, flush=True))
    loop: Loop | None = None
    try:
        stack.start()
        loop = Loop(stack)
        assert stack.eventing is not None
        assert stack.functions is not None
        for name, ping in stack.eventing.ping_sources.items():
            ping.every(SCAN_SECONDS if name == "scan" else TICK_SECONDS)
        for name, service in stack.services().items():
            print(f"{name}: {service['address']} ({service['kind']})")
        print(f"metrics: {stack.functions['exporter'].url}/metrics")
        print("\n".join(["where to look:", *where_to_look(stack)]))
        print("  .venv/bin/kubefinops status: every workload, after")
        shown = ("KAFKA_BOOTSTRAP_SERVERS", "MONGODB_URI", "S3_ENDPOINT", "PROMETHEUS_URL")
        print("  export " + " ".join(f"{name}={stack.environment[name]}" for name in shown))
        print(f"{READY}; make down ends it", flush=True)
        while True:
            signal.pause()
    finally:
        # A second wish to end must not cut the first one short.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if loop is not None:
            loop.stop()
        stack.stop()


def down() -> int:
    """Ends what `up` started, and removes its files."""
    print("it has ended" if _end() else "nothing is running")
    LOG.unlink(missing_ok=True)
    return 0


def _end() -> bool:
    """Whether there was something to end."""
    pid = _running()
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while _running() is not None:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)  # its children have its death as their signal to end
                break
            time.sleep(0.1)
    PID_FILE.unlink(missing_ok=True)
    shutil.rmtree(WORK, ignore_errors=True)
    return pid is not None


def _running() -> int | None:
    """The process that `up` started, if it still is that one."""
    try:
        pid = int(PID_FILE.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if b"infra.emulator" in command and b"keep" in command else None
