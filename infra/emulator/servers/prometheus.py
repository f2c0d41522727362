"""Prometheus for one machine: the one on PATH, else the one that set-up fetched, on disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml

from infra.emulator.servers.errors import SetupError, StartError, UnreachableError
from infra.emulator.servers.given import GivenServer, without_password
from infra.emulator.servers.ports import LOOPBACK, take_port
from infra.emulator.servers.process import Process
from infra.emulator.servers.server import Address, Server
from infra.emulator.servers.tools import PROMETHEUS, SETUP
from shared.contracts.errors import Temporary
from shared.runtime.settings import PrometheusSettings
from shared.runtime.world import prometheus_of

__all__ = ["EmbeddedPrometheus", "ScrapeJob", "prometheus_server"]

VARIABLE = "PROMETHEUS_URL"
POLL_SECONDS = 0.02
ASK_SECONDS = 5.0
BLOCK_HOURS = 40_000  # longer than any history, and so long that hardly one crosses a border of blocks


@dataclass(frozen=True)
class ScrapeJob:
    """What Prometheus asks for metrics: `targets` are host:port, `interval` is in seconds."""

    name: str
    targets: Sequence[str]
    path: str = "/metrics"
    interval: float = 2.0

    def configuration(self) -> dict[str, Any]:
        interval = f"{round(self.interval * 1000)}ms"
        return {
            "job_name": self.name,
            "metrics_path": self.path,
            "scrape_interval": interval,
            "scrape_timeout": interval,
            "honor_labels": True,  # kube-state-metrics' and cAdvisor's own labels are the ones we read
            "static_configs": [{"targets": list(self.targets)}],
        }


def prometheus_server(
    environ: Mapping[str, str],
    data: Path,
    logs: Path,
    jobs: Sequence[ScrapeJob] = (),
    openmetrics: Path | None = None,
    *,
    port: int = 9090,
) -> Server:
    """The server that `environ` names, else the embedded one on `port`, or on another if that is taken.

    A given server gets neither `jobs` nor the history in `openmetrics`.
    """
    if url := environ.get(VARIABLE):
        address = without_password(url)
        return GivenServer("prometheus", address, {VARIABLE: url}, lambda: _ask_version(environ))
    return EmbeddedPrometheus(data, logs, jobs, openmetrics, port=port)


class EmbeddedPrometheus:
    """Prometheus in its own process, with its blocks under `data`.

    `openmetrics` is a history in time order that ends with `# EOF`; it is read before the first start.
    `flags` are Prometheus' own, such as its limits.
    """

    name = "prometheus"
    kind: Literal["embedded"] = "embedded"

    def __init__(
        self,
        data: Path,
        logs: Path,
        jobs: Sequence[ScrapeJob] = (),
        openmetrics: Path | None = None,
        *,
        port: int = 9090,
        flags: Sequence[str] = (),
    ) -> None:
        self._port, self.notice = take_port(port, "Prometheus")
        self.address = Address(f"http://{LOOPBACK}:{self._port}")
        self.version = "unknown"
        self._data = data
        self._blocks = data / "blocks"
        self._log = logs / "prometheus.log"
        self._jobs = tuple(jobs)
        self._openmetrics = openmetrics
        self._flags = tuple(flags)
        self._process: Process | None = None

    def start(self) -> Address:
        server = program("prometheus")
        self.backfill()
        self._blocks.mkdir(parents=True, exist_ok=True)
        configuration = self._data / "prometheus.yml"
        configuration.write_text(yaml.safe_dump(self._configuration(), sort_keys=False))
        command = [
            str(server),
            f"--config.file={configuration}",
            f"--storage.tsdb.path={self._blocks}",
            "--storage.tsdb.retention.time=10y",  # the default of 15 days would delete a longer history
            f"--web.listen-address={LOOPBACK}:{self._port}",
            *self._flags,
        ]
        assets = PROMETHEUS / "usr" / "share" / "prometheus" / "web"
        if server.is_relative_to(PROMETHEUS):
            command.append(f"--web.local-assets={assets}")  # Debian's own flag; it is not unpacked in /usr
        self._process = Process.start(command, {}, self._log, cwd=self._data)
        self._process.wait_http(f"{self.address}/-/ready", within=30)
        self.version = _ask_version(self.environment())
        return self.address

    def backfill(self) -> None:
        """Reads the history into blocks, once; what has blocks already keeps them. Raises StartError."""
        if self._openmetrics is None or self._blocks.exists():
            return
        unfinished = self._blocks.with_name("blocks.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        command = [
            *(str(program("promtool")), "tsdb", "create-blocks-from", "openmetrics", "--quiet"),
            # Hidden flag: the file is read once for each block, and blocks have 2 hours by default.
            *(f"--max-block-duration={BLOCK_HOURS}h", str(self._openmetrics), str(unfinished)),
        ]
        promtool = self._process = Process.start(command, {}, self._log.with_name("promtool.log"))
        while promtool.alive:  # or until `stop` ends it
            time.sleep(POLL_SECONDS)
        if promtool.kill() != 0:
            wrote = promtool.output().strip()
            raise StartError(f"promtool cannot read the history {self._openmetrics}: {wrote}")
        unfinished.rename(self._blocks)

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()

    def environment(self) -> dict[str, str]:
        return {VARIABLE: self.address}

    def _configuration(self) -> dict[str, Any]:
        return {
            "scrape_configs": [job.configuration() for job in self._jobs],
            # A history that ends in the next minutes would otherwise refuse the scrapes until then.
            "storage": {"tsdb": {"out_of_order_time_window": "6h"}},
        }


def program(name: str) -> Path:
    """Prometheus' or promtool's path. Raises SetupError."""
    found = shutil.which(name) or shutil.which(name, path=str(PROMETHEUS / "usr" / "bin"))
    if found is None:
        raise SetupError(f"{name} is not on PATH: {SETUP}, or set {VARIABLE}")
    return Path(found)


def _ask_version(environ: Mapping[str, str]) -> str:
    """The build's version, asked for as the functions ask; what only speaks the query API tells none.

    Raises:
        BadSetting: a variable is wrong.
        UnreachableError: it does not answer a query.
    """
    client = prometheus_of(PrometheusSettings.read(environ), timeout=ASK_SECONDS)
    try:
        client.query("vector(1)", datetime.now(UTC))
    except Temporary as error:
        raise UnreachableError(f"{VARIABLE}: {error}") from error
    build = client.build()
    return " ".join(part for part in (build.kind, build.version) if part) or "unknown"
