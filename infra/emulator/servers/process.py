"""A child process that never outlives its parent, with its output in a log file.

Three facts shape it:

- The kernel's parent-death signal (prctl(2), PR_SET_PDEATHSIG) is the only thing that reaches children when
  the emulator itself is killed with SIGKILL. It is sent when the *thread* that forked ends, not the process,
  so all children are forked from one thread that lives as long as the interpreter.
- It is set by util-linux's `setpriv`, which then becomes the command: no Python runs between fork and exec,
  where the locks of other threads may be held forever.
- Each child leads a session of its own: Ctrl-C reaches the emulator alone, which ends its children in order.
"""

from __future__ import annotations

import functools
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Self, TypeVar
from urllib.parse import urlsplit

from infra.emulator.servers.errors import SetupError, StartError

__all__ = ["Process"]

POLL_SECONDS = 0.01
LOG_LINES_IN_ERROR = 8

# A parent that died before the signal was set never sends it: then the child has another parent by now.
UNLESS_ORPHANED = '[ "$PPID" = "$0" ] && exec "$@"'

T = TypeVar("T")


class Process:
    """One running child, made by `Process.start`; `stop`, `kill` or the parent's own death end it."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path, log_offset: int) -> None:
        self.name = name
        self.log = log
        self._popen = popen
        self._log_offset = (
            log_offset  # the log is appended to: a restart must not read its predecessor's lines
        )

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        env: Mapping[str, str],
        log: Path,
        *,
        cwd: Path | None = None,
        orphaned: Literal["TERM", "KILL"] = "TERM",
    ) -> Self:
        """Start `command`; `env` is laid over this process's own environment, output is appended to `log`.

        `orphaned` is the signal that it gets when this process dies.
        Raises SetupError when the program is not there.
        """
        program = shutil.which(command[0])
        if program is None:
            raise SetupError(f"{command[0]}: no such program on PATH")
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise SetupError(
                "setpriv is not on PATH: install util-linux, so that children end with the emulator"
            )
        log.parent.mkdir(parents=True, exist_ok=True)
        tied = [setpriv, "--pdeathsig", orphaned, "--", "sh", "-c", UNLESS_ORPHANED, str(os.getpid())]
        with log.open("ab") as output:
            offset = output.tell()
            forked = _forking_thread().submit(
                subprocess.Popen,
                [*tied, program, *command[1:]],
                env=_environment(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            return cls(log.stem, forked.result(), log, offset)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        if self._popen.returncode is not None:
            return self._popen.returncode
        # Looked at but not reaped before `kill`: until then its number, and so its group's, is nobody else's.
        try:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return self._popen.poll()  # another thread's `kill` has reaped it this very moment
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    @property
    def alive(self) -> bool:
        return self.returncode is None

    def terminate(self) -> None:
        """Send SIGTERM and return at once, so that many can end side by side before each is stopped."""
        if self.alive:
            os.kill(self.pid, signal.SIGTERM)

    def stop(self, grace: float = 10.0) -> int:
        """Send SIGTERM, wait up to `grace` seconds, then SIGKILL the session. Returns the exit status."""
        self.terminate()
        deadline = time.monotonic() + grace
        while self.alive and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return self.kill()

    def kill(self) -> int:
        """SIGKILL the child and whatever it left in its session. Returns the exit status; may be repeated."""
        if self._popen.returncode is None:
            os.killpg(self.pid, signal.SIGKILL)
        return self._popen.wait()

    def wait_http(self, url: str, within: float = 20.0, status: int = 200) -> None:
        """Wait until GET `url` answers with `status`.

        Raises StartError after `within` seconds, or when the child ends first.
        """
        target = urlsplit(url)
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")

        def answers() -> bool | None:
            # http.client, as it never consults proxy settings
            connection = http.client.HTTPConnection(target.hostname or "127.0.0.1", target.port, timeout=2)
            try:
                connection.request("GET", path)
                return True if connection.getresponse().status == status else None
            except (OSError, http.client.HTTPException):
                return None
            finally:
                connection.close()

        self._wait(answers, within, f"GET {url} did not answer {status}")

    def wait_tcp(self, host: str, port: int, within: float = 20.0) -> None:
        """Wait until `host:port` accepts.

        Raises StartError after `within` seconds, or when the child ends first.
        """

        def accepts() -> bool | None:
            try:
                socket.create_connection((host, port), timeout=2).close()
            except OSError:
                return None
            return True

        self._wait(accepts, within, f"nothing listens on {host}:{port}")

    def wait_line(self, pattern: str, within: float = 20.0) -> re.Match[str]:
        """Wait until a line of the child's output matches `pattern`, and return the match.

        Raises StartError after `within` seconds, or when the child ends first.
        """
        expression = re.compile(pattern, re.MULTILINE)
        return self._wait(
            lambda: expression.search(self.output()), within, f"its output has no line like {pattern!r}"
        )

    def output(self) -> str:
        """What this child has written so far."""
        with self.log.open("rb") as lines:
            lines.seek(self._log_offset)
            return lines.read().decode(errors="replace")

    def _wait(self, condition: Callable[[], T | None], within: float, missing: str) -> T:
        deadline = time.monotonic() + within
        while True:
            ended = not self.alive  # asked first: a child's last words count
            if (result := condition()) is not None:
                return result
            if ended:
                raise StartError(f"{self.name} ended with status {self.kill()}{self._last_lines()}")
            if time.monotonic() > deadline:
                raise StartError(
                    f"{self.name} is not ready after {within:g} s: {missing}{self._last_lines()}"
                )
            time.sleep(POLL_SECONDS)

    def _last_lines(self) -> str:
        lines = deque((line for line in self.output().splitlines() if line.strip()), LOG_LINES_IN_ERROR)
        return "".join(["; it wrote:\n", *(f"  {line}\n" for line in lines), f"  ({self.log})"])


@functools.cache
def _forking_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="forking")


def _environment(changes: Mapping[str, str]) -> dict[str, str]:
    environment = {**os.environ, **changes}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # uncompiled, a function starts 2.5 times slower
    environment["PYTHONUNBUFFERED"] = "1"  # ready lines must reach the log at once
    return environment
