"""Each Knative Service as a functions-framework process on this machine.

The command line is the image's. The environment is the manifest's, with this machine's addresses laid over
it: a variable that the manifest does not give to a stage does not reach it here either, not even from the
shell that started the emulator, so what would be missing in a cluster is missing here.
"""

from __future__ import annotations

import logging
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType

import psutil

from infra.emulator.manifests import Manifests, Service
from infra.emulator.servers.errors import SetupError
from infra.emulator.servers.ports import LOOPBACK, take_port
from infra.emulator.servers.process import Process

logger = logging.getLogger(__name__)

WATCH_SECONDS = 0.05
# Kubernetes waits 10 s before the second restart and doubles up to 5 minutes; a developer does not.
FIRST_RESTART_SECONDS = 0.1
LONGEST_RESTART_SECONDS = 5.0
HEALTHY_SECONDS = 10.0


class Function:
    """One Knative Service, running. It keeps its port over restarts."""

    def __init__(
        self, service: Service, command: list[str], env: Mapping[str, str], url: str, log: Path
    ) -> None:
        self.service = service
        self.name = service.name
        self.url = url
        self.log = log
        self.restarts = 0
        self.ready_seconds: float | None = None
        self._command = command
        self._env = env
        self._process: Process | None = None
        self._started = 0.0
        self._restart_at = 0.0
        self._backoff = FIRST_RESTART_SECONDS

    def start(self) -> None:
        """Start the process. Raises SetupError when a program is missing."""
        self._process = Process.start(self._command, self._env, self.log)
        self._started = time.monotonic()

    def wait_ready(self, within: float = 20.0) -> None:
        """Wait until the readiness probe of the manifest answers 200, and keep how long that took.

        Raises StartError, which shows the end of the log.
        """
        self._running().wait_http(self.url + self.service.readiness_path, within)
        self.ready_seconds = time.monotonic() - self._started

    def kill(self) -> None:
        """SIGKILL the process and its workers, as a lost node would."""
        self._running().kill()

    @property
    def exit_status(self) -> int | None:
        """How the process ended, negative for a signal; None while it runs."""
        return self._running().returncode

    @property
    def pid(self) -> int:
        return self._running().pid

    def resident_bytes(self) -> int:
        """Resident memory of the process and its children, shared pages counted in each; 0 if dead."""
        total = 0
        try:
            tree = psutil.Process(self._running().pid)
            for each in (tree, *tree.children(recursive=True)):
                total += each.memory_info().rss
        except psutil.NoSuchProcess:
            return 0
        return total

    def terminate(self) -> None:
        """Send SIGTERM and return at once."""
        if self._process is not None:
            self._process.terminate()

    def stop(self, grace: float = 10.0) -> None:
        """Let it drain within `grace` seconds, then end it."""
        if self._process is not None:
            self._process.stop(grace)

    def watch(self) -> None:
        """Start it again when it has died, later each time that it dies young."""
        process, now = self._running(), time.monotonic()
        if process.alive:
            return
        if self._restart_at == 0.0:
            if now - self._started > HEALTHY_SECONDS:
                self._backoff = FIRST_RESTART_SECONDS
            logger.warning(
                "%s ended with status %s; restart in %g s", self.name, process.returncode, self._backoff
            )
            process.kill()  # reaps it, and ends what it left behind on its port
            self._restart_at = now + self._backoff
        elif now >= self._restart_at:
            self._restart_at = 0.0
            self._backoff = min(2 * self._backoff, LONGEST_RESTART_SECONDS)
            self.start()
            self.restarts += 1  # last: who sees it may ask the new process

    def _running(self) -> Process:
        if self._process is None:
            raise RuntimeError(f"{self.name} is not started")
        return self._process


class Functions:
    """All Knative Services of the manifests, started together and kept running."""

    def __init__(
        self,
        manifests: Manifests,
        *,
        root: Path,
        overrides: Mapping[str, str],
        logs: Path,
        listening: Mapping[str, tuple[str, int]] = MappingProxyType({}),
    ) -> None:
        """`root` holds functions/<target>/main.py; `overrides` are this machine's values of the settings.

        `listening` gives a Service its address and port; the others have a free port of the loopback
        interface. Logs go to `logs`/<service>.log. Raises SetupError for a secret without a value, or
        without the program functions-framework.
        """
        known = frozenset[str]().union(*(service.variables for service in manifests.services))
        self._functions = {
            service.name: _function(
                service,
                known,
                overrides,
                root,
                logs,
                listening=listening.get(service.name) or (LOOPBACK, take_port(0, service.name)[0]),
            )
            for service in manifests.services
        }
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="functions", daemon=True)

    def __getitem__(self, name: str) -> Function:
        return self._functions[name]

    def __iter__(self) -> Iterator[Function]:
        return iter(self._functions.values())

    @property
    def addresses(self) -> dict[str, str]:
        """The URL of each Service by its name."""
        return {function.name: function.url for function in self._functions.values()}

    def start(self, within: float = 30.0) -> None:
        """Start all, wait until each is ready, and from then on restart what dies. Raises StartError."""
        for function in self._functions.values():
            function.start()
        deadline = time.monotonic() + within
        for function in self._functions.values():
            function.wait_ready(max(0.1, deadline - time.monotonic()))
        self._watcher.start()

    def stop(self, grace: float = 10.0) -> None:
        """End all side by side; each may drain for `grace` seconds."""
        self._stopping.set()
        if self._watcher.ident is not None:
            self._watcher.join()
        for function in self._functions.values():
            function.terminate()
        deadline = time.monotonic() + grace
        for function in self._functions.values():
            function.stop(max(0.1, deadline - time.monotonic()))

    def _watch(self) -> None:
        while not self._stopping.wait(WATCH_SECONDS):
            for function in self._functions.values():
                function.watch()


def environment(service: Service, known: Iterable[str], overrides: Mapping[str, str]) -> dict[str, str]:
    """The variables of one Service: its manifest's, then the override of each that it is given.

    An override that no manifest of the overlay knows (`known`) is the emulator's own and reaches every stage.
    Raises SetupError for a variable from a Secret that no override gives a value.
    """
    withheld = set(known) - service.variables
    env = {
        **service.env,
        **{name: value for name, value in overrides.items() if name not in withheld},
    }
    for name, (secret, key) in service.secrets.items():
        if name not in env:
            raise SetupError(f"{service.name}: {name} comes from {key} in Secret {secret}; set {name}")
    return env


def url_of(host: str, port: int) -> str:
    """Where what listens there is reached from this machine; 0.0.0.0 is every address that it has."""
    return f"http://{LOOPBACK if IPv4Address(host).is_unspecified else host}:{port}"


def _function(
    service: Service,
    known: frozenset[str],
    overrides: Mapping[str, str],
    root: Path,
    logs: Path,
    *,
    listening: tuple[str, int],
) -> Function:
    env = environment(service, known, overrides)
    host, port = listening
    target = env["FUNCTION_TARGET"]
    withheld = [argument for name in sorted(known - env.keys()) for argument in ("-u", name)]
    command = [
        *("env", *withheld, _functions_framework()),
        *("--target", target),
        *("--source", str(root / "functions" / target / "main.py")),
        *("--signature-type", env["FUNCTION_SIGNATURE_TYPE"]),
        *("--host", host, "--port", str(port)),
    ]
    # gunicorn puts its control socket there, and else into the home of whoever runs this.
    runtime = logs.parent / "runtime" / service.name
    runtime.mkdir(parents=True, exist_ok=True)
    own = {"PORT": str(port), "XDG_RUNTIME_DIR": str(runtime), "TMPDIR": str(runtime)}
    return Function(service, command, {**env, **own}, url_of(host, port), logs / f"{service.name}.log")


def _functions_framework() -> str:
    beside = Path(sys.executable).with_name("functions-framework")
    program = str(beside) if beside.exists() else shutil.which("functions-framework")
    if program is None:
        raise SetupError("functions-framework is not in the environment: install this project's requirements")
    return program
