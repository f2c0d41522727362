"""A server of MongoDB's protocol for one machine: SecantusDB, on disk.

It is GPL-2.0 and therefore a process of its own, never imported. Acknowledged writes survive SIGKILL when
they are written with j=True, as the product's are.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from infra.emulator.servers.errors import SetupError, UnreachableError
from infra.emulator.servers.given import GivenServer, without_password
from infra.emulator.servers.ports import LOOPBACK, take_port
from infra.emulator.servers.process import Process
from infra.emulator.servers.server import Address, Server

__all__ = ["EmbeddedMongo", "mongo_server"]

VARIABLE = "MONGODB_URI"
PROGRAM = "secantusd-py"


def mongo_server(environ: Mapping[str, str], data: Path, logs: Path, port: int = 27017) -> Server:
    """The server that `environ` names, else the embedded one on `port`, or on another if that is taken."""
    if uri := environ.get(VARIABLE):
        return GivenServer("mongodb", without_password(uri), {VARIABLE: uri}, lambda: _ask_version(uri))
    return EmbeddedMongo(data, logs, port)


class EmbeddedMongo:
    """SecantusDB in its own process, with its files under `data`."""

    name = "mongodb"
    kind: Literal["embedded"] = "embedded"

    def __init__(self, data: Path, logs: Path, port: int = 27017) -> None:
        self._port, self.notice = take_port(port, "MongoDB")
        self.address = Address(f"mongodb://{LOOPBACK}:{self._port}")
        self.version = "unknown"
        self._data = data
        self._log = logs / "mongodb.log"
        self._process: Process | None = None

    def start(self) -> Address:
        self._data.mkdir(parents=True, exist_ok=True)
        settings = self._data / "secantusd.toml"
        settings.touch()  # named, so that a file in somebody's home is not read
        command = [_program(), "--config", str(settings), "--host", LOOPBACK, "--port", str(self._port)]
        command += ["--storage-path", str(self._data / "wiredtiger"), "--cache-size", "256M"]
        self._process = Process.start(command, {}, self._log, cwd=self._data)
        self._process.wait_tcp(LOOPBACK, self._port, within=30)
        self.version = _ask_version(self.address)
        return self.address

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()  # waits for its end, and so for the lock on its directory

    def environment(self) -> dict[str, str]:
        return {VARIABLE: self.address}


def _program() -> str:
    program = shutil.which(PROGRAM, path=str(Path(sys.executable).parent)) or shutil.which(PROGRAM)
    if program is None:
        raise SetupError(
            f"{PROGRAM} (SecantusDB) is not installed: install requirements-dev.txt, or set {VARIABLE}"
        )
    return program


def _ask_version(uri: str) -> str:
    from pymongo import MongoClient  # noqa: PLC0415 - 0.13 s that a given server's address alone does not need
    from pymongo.errors import PyMongoError  # noqa: PLC0415

    try:
        with MongoClient[dict[str, object]](uri, serverSelectionTimeoutMS=5000) as client:
            answer = client.server_info()
    except PyMongoError as error:
        reason = str(error).split(" (configured", 1)[0].split(", Timeout:", 1)[0]
        raise UnreachableError(
            f"{VARIABLE}: no MongoDB answers at {without_password(uri)}: {reason}"
        ) from error
    if secantus := answer.get("secantusVersion"):
        return f"SecantusDB {secantus} (as MongoDB {answer['version']})"
    return f"MongoDB {answer['version']}"
