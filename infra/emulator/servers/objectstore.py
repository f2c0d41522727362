"""An S3 server with object lock for one machine: LocalStack's, in memory only.

Its pins contradict the product's, so it has an environment of its own, `.venv-s3`, made by set-up.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from infra.emulator.servers.errors import SetupError
from infra.emulator.servers.given import GivenServer, ask, without_password
from infra.emulator.servers.ports import LOOPBACK, take_port
from infra.emulator.servers.process import Process
from infra.emulator.servers.server import Address, Server
from infra.emulator.servers.tools import S3_CACHE, S3_PYTHON, S3_SEED, SETUP

__all__ = ["EmbeddedObjectStore", "localstack_command", "objectstore_server"]

VARIABLE = "S3_ENDPOINT"
HEALTH = "/_localstack/health"
CREDENTIALS = ("S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_REGION", "S3_BUCKET")


def objectstore_server(environ: Mapping[str, str], data: Path, logs: Path, port: int = 9000) -> Server:
    """The server that `environ` names, else the embedded one on `port`, or on another if that is taken."""
    if endpoint := environ.get(VARIABLE):
        given = {VARIABLE: endpoint, **{name: environ[name] for name in CREDENTIALS if name in environ}}
        return GivenServer("objectstore", without_password(endpoint), given, lambda: _ask_product(endpoint))
    return EmbeddedObjectStore(data, logs, port)


class EmbeddedObjectStore:
    """LocalStack's S3 in its own process; its scratch files are under `data`, its objects in memory."""

    name = "objectstore"
    kind: Literal["embedded"] = "embedded"

    def __init__(self, data: Path, logs: Path, port: int = 9000) -> None:
        self._port, self.notice = take_port(port, "S3")
        self.address = Address(f"http://{LOOPBACK}:{self._port}")
        self.version = "unknown"
        self._data = data
        self._log = logs / "objectstore.log"
        self._process: Process | None = None

    def start(self) -> Address:
        if not S3_SEED.is_dir():
            raise SetupError(f"the S3 server is not installed: {SETUP}, or set {VARIABLE}")
        root = self._data / "localstack"
        scratch = self._data / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        shutil.copytree(S3_SEED, root, dirs_exist_ok=True)
        command = localstack_command("localstack.runtime.main", self._port, root, scratch)
        self._process = Process.start(command, {}, self._log, cwd=self._data, orphaned="KILL")
        self._process.wait_http(f"{self.address}{HEALTH}", within=40)
        health = ask(VARIABLE, "LocalStack", self.address, HEALTH).json()
        self.version = f"LocalStack {health['version']} (memory only)"
        return self.address

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()  # nothing to save, and after SIGTERM it sometimes hangs

    def environment(self) -> dict[str, str]:
        # It accepts any credentials; the client insists on some.
        return {
            VARIABLE: self.address,
            "S3_ACCESS_KEY": "kubefinops",
            "S3_SECRET_KEY": "kubefinops-local",
            "S3_REGION": "us-east-1",
        }


def localstack_command(module: str, port: int, root: Path, scratch: Path) -> list[str]:
    """The command that runs one of LocalStack's modules with every file under `root` and `scratch`.

    It gets no other variable of this process: boto reads AWS_*, LocalStack some hundred more.
    """
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(scratch),
        "TEMP": str(scratch),
        "PYTHONUNBUFFERED": "1",
        "XDG_CACHE_HOME": str(S3_CACHE),
        "RES_OPTIONS": "timeout:1 attempts:1",  # it looks its own public name up; a dead resolver costs 1 s
        "SERVICES": "s3",
        "EAGER_SERVICE_LOADING": "1",
        "GATEWAY_LISTEN": f"{LOOPBACK}:{port}",
        "GATEWAY_SERVER": "hypercorn",  # the default, twisted, ignores the address and listens on all
        "FILESYSTEM_ROOT": str(root),
        "OVERRIDE_IN_DOCKER": "0",  # or, in a container, it would write under /var/lib
        "DNS_ADDRESS": "0",
        "DISABLE_EVENTS": "1",
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "LS_LOG": "warn",
    }
    # -P: with the working directory on sys.path its plugin index would be built anew for each directory.
    variables = [f"{name}={value}" for name, value in environment.items()]
    return ["env", "-i", *variables, str(S3_PYTHON), "-P", "-m", module]


def _ask_product(endpoint: str) -> str:
    answer = ask(VARIABLE, "S3 server", endpoint)  # unsigned: a refusal is an answer too
    return answer.headers.get("Server", "unknown")
