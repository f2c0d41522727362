"""Servers that speak Prometheus' API too: VictoriaMetrics and Mimir, built by Go from their modules.

    python -m tests.other_servers victoria-metrics vmauth mimir

builds what is not there yet into `build/tools/other-servers`; it needs Go.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from infra.emulator.servers.ports import LOOPBACK, take_port
from infra.emulator.servers.process import Process
from infra.emulator.servers.tools import ROOT
from tests.remote_write import remote_write

TOOLS = ROOT / "build" / "tools" / "other-servers"


@dataclass(frozen=True)
class Program:
    """A program of a Go module at one version; `make` is how it is built."""

    name: str
    module: str
    package: str
    version: str
    make: str

    @property
    def path(self) -> Path:
        return TOOLS / f"{self.name}-{self.version}"

    @property
    def needed(self) -> pytest.MarkDecorator:
        """For tests that ask for it."""
        reason = f"{self.name} {self.version} is not built: {self.make}"
        return pytest.mark.skipif(not self.path.exists(), reason=reason)

    def build(self) -> None:
        """Raises CalledProcessError; what Go says about it is on standard error."""
        TOOLS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=TOOLS) as directory:
            self._require(Path(directory))
            command = ["go", "build", "-mod=mod", "-trimpath", "-ldflags=-s -w", "-o", self.name]
            subprocess.run(
                [*command, f"{self.module}/{self.package}"], cwd=directory, env=GO_ENVIRONMENT, check=True
            )
            (Path(directory) / self.name).rename(self.path)

    def _require(self, directory: Path) -> None:
        """A module that has nothing but this one's requirements, and replaces what it does: `go install` will
        not build a module that replaces any.
        """
        download = ["go", "mod", "download", "-json", f"{self.module}@{self.version}"]
        told = json.loads(
            subprocess.run(download, env=GO_ENVIRONMENT, check=True, stdout=subprocess.PIPE).stdout
        )
        own = Path(told["GoMod"]).read_text().replace(f"module {self.module}\n", "module build\n", 1)
        (directory / "go.mod").write_text(f"{own}\nrequire {self.module} {self.version}\n")
        shutil.copyfile(Path(told["Dir"]) / "go.sum", directory / "go.sum")


GO_ENVIRONMENT = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
VICTORIAMETRICS = Program(
    "victoria-metrics",
    "github.com/VictoriaMetrics/VictoriaMetrics",
    "app/victoria-metrics",
    "v1.151.0",
    "make other-servers",
)
# VictoriaMetrics' gateway: tokens, users and TLS before it.
VMAUTH = replace(VICTORIAMETRICS, name="vmauth", package="app/vmauth")
# Its tags begin with its name, so to Go they are none: this is the commit of a day (it calls itself 3.0.5).
MIMIR = Program(
    "mimir",
    "github.com/grafana/mimir",
    "cmd/mimir",
    "v1.3.1-0.20260423142704-aced80d74930",
    "make other-servers MIMIR=1",
)


@contextmanager
def victoriametrics(history: Path, *flags: str) -> Iterator[str]:
    """The address of one with this history (OpenMetrics, as `History` writes it)."""
    with tempfile.TemporaryDirectory(prefix="victoriametrics-") as directory:
        port, _ = take_port(0, "VictoriaMetrics")
        address = f"http://{LOOPBACK}:{port}"
        command = [
            str(VICTORIAMETRICS.path),
            f"-storageDataPath={directory}/data",
            f"-httpListenAddr={LOOPBACK}:{port}",
            "-retentionPeriod=100y",
            "-memory.allowedBytes=1GiB",
            *flags,
        ]
        process = Process.start(command, {}, Path(directory) / "log")
        try:
            process.wait_http(f"{address}/health", within=30)
            victoriametrics_take(history, address)
            yield address
        finally:
            process.stop()


@contextmanager
def vmauth(before: str, users: list[dict[str, str]], certificate: Path) -> Iterator[str]:
    """The address of one that lets these users (vmauth's own form) through to `before`, by TLS."""
    with tempfile.TemporaryDirectory(prefix="vmauth-") as directory:
        port, _ = take_port(0, "vmauth")
        configuration = Path(directory) / "auth.yml"
        allowed = [{**user, "url_prefix": before} for user in users]
        configuration.write_text(yaml.safe_dump({"users": allowed}))
        command = [
            str(VMAUTH.path),
            f"-auth.config={configuration}",
            f"-httpListenAddr={LOOPBACK}:{port}",
            *("-tls", f"-tlsCertFile={certificate}", f"-tlsKeyFile={certificate}"),
        ]
        process = Process.start(command, {}, Path(directory) / "log")
        try:
            process.wait_tcp(LOOPBACK, port, within=30)
            yield f"https://{LOOPBACK}:{port}"
        finally:
            process.stop()


def victoriametrics_take(history: Path, address: str) -> None:
    """Writes it and waits until queries find it."""
    remote_write(history, f"{address}/api/v1/write")
    requests.get(f"{address}/internal/force_flush", timeout=30).raise_for_status()


@contextmanager
def mimir(history: Path, limits: Mapping[str, Any] | None = None, tenant: str = "team-a") -> Iterator[str]:
    """The address of one in which this tenant has this history, under these limits."""
    with tempfile.TemporaryDirectory(prefix="mimir-") as directory:
        port, _ = take_port(0, "Mimir")
        configuration = Path(directory) / "mimir.yml"
        configuration.write_text(yaml.safe_dump(_mimir(Path(directory), port, limits or {})))
        process = Process.start(
            [str(MIMIR.path), f"-config.file={configuration}"],
            {},
            Path(directory) / "log",
            cwd=Path(directory),
        )
        try:
            process.wait_http(f"http://{LOOPBACK}:{port}/ready", within=60)
            remote_write(history, f"http://{LOOPBACK}:{port}/api/v1/push", tenant)
            yield f"http://{LOOPBACK}:{port}/prometheus"
        finally:
            process.kill()  # it would write its blocks


def _mimir(directory: Path, port: int, limits: Mapping[str, Any]) -> dict[str, Any]:
    """All of it in one process, on loopback alone, with its data below `directory`."""
    ring = {"kvstore": {"store": "inmemory"}, "instance_addr": LOOPBACK}
    one = {**ring, "replication_factor": 1}

    def files(name: str) -> dict[str, Any]:
        return {"backend": "filesystem", "filesystem": {"dir": str(directory / name)}}

    return {
        "target": "all",
        "usage_stats": {"enabled": False},
        "server": {
            "http_listen_address": LOOPBACK,
            "http_listen_port": port,
            "grpc_listen_address": LOOPBACK,
            "grpc_listen_port": take_port(0, "Mimir's gRPC")[0],
            "log_level": "warn",
        },
        "memberlist": {"bind_addr": [LOOPBACK], "bind_port": take_port(0, "Mimir's members")[0]},
        "blocks_storage": {
            **files("blocks"),
            "tsdb": {"dir": str(directory / "tsdb")},
            "bucket_store": {"sync_dir": str(directory / "sync")},
        },
        "compactor": {"data_dir": str(directory / "compactor"), "sharding_ring": ring},
        "distributor": {"ring": ring},
        "ingester": {"ring": {**one, "final_sleep": "0s", "min_ready_duration": "0s"}},
        "store_gateway": {"sharding_ring": one},
        "ruler": {"ring": ring},
        "ruler_storage": files("rules"),
        "alertmanager": {"data_dir": str(directory / "alertmanager"), "sharding_ring": ring},
        "alertmanager_storage": files("alerts"),
        "frontend": {"address": LOOPBACK},
        "limits": {
            # A history of days comes at once, and all of it is still where it was received.
            "out_of_order_time_window": "4w",
            "query_ingesters_within": 0,
            "ingestion_rate": 10**7,
            "ingestion_burst_size": 10**8,
            **limits,
        },
    }


def main(names: list[str]) -> int:
    programs = {program.name: program for program in (VICTORIAMETRICS, VMAUTH, MIMIR)}
    if shutil.which("go") is None:
        print("go is not on PATH: Go 1.26 or newer is needed", file=sys.stderr)
        return 2
    for program in (programs[name] for name in names):
        if program.path.exists():
            continue
        began = time.monotonic()
        print(f"{program.name} {program.version}: building", flush=True)
        try:
            program.build()
        except subprocess.CalledProcessError as error:
            return error.returncode
        size = program.path.stat().st_size / 1e6
        print(f"{program.name}: {size:.0f} MB after {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
