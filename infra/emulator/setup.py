"""Set-up of what is no dependency of the project: `.venv-s3` with the S3 server, and Prometheus.

`python -m infra.emulator.setup` makes what is missing and says so; a second run finds its stamps and ends at
once. It needs nothing but the environment that it runs in, and a package registry, the first time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from infra.emulator.servers.errors import ServerError, SetupError
from infra.emulator.servers.objectstore import localstack_command
from infra.emulator.servers.ports import LOOPBACK, take_port
from infra.emulator.servers.process import Process
from infra.emulator.servers.tools import PROMETHEUS, ROOT, S3_PYTHON, S3_SEED, S3_VENV

__all__ = ["main"]

S3_LOCK = ROOT / "requirements-s3.txt"
# The first lets pip take another environment's packages for its own, the second makes every start slow.
MISLEADING = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}
S3_STAMP = S3_VENV / ".kubefinops-setup"


def main() -> int:
    """Make what no variable replaces. Returns the exit status, which is 2 when a person must act."""
    begin = time.monotonic()
    missing = []
    if not os.environ.get("S3_ENDPOINT") and not _s3_is_there():
        missing.append(_make_s3)
    if not os.environ.get("PROMETHEUS_URL") and not _prometheus_is_there():
        missing.append(_fetch_prometheus)
    if not missing:
        return 0
    with ThreadPoolExecutor() as pool:
        failures = [made.exception() for made in [pool.submit(make) for make in missing]]
    for failure in failures:
        if isinstance(failure, ServerError):
            print(f"set-up: {failure}", file=sys.stderr)
        elif failure is not None:
            raise failure
    if any(failures):
        return 2
    _say(f"done in {time.monotonic() - begin:.0f} s")
    return 0


def _s3_is_there() -> bool:
    return S3_STAMP.is_file() and S3_STAMP.read_text() == _s3_stamp()


def _s3_stamp() -> str:
    return f"{hashlib.sha256(S3_LOCK.read_bytes()).hexdigest()} {sys.version_info[:2]} {S3_VENV}"


def _make_s3() -> None:
    """Make `.venv-s3` from its lock, compiled, with LocalStack's two indexes filled."""
    _say(".venv-s3: installing the S3 server (LocalStack)")
    uv = shutil.which("uv")
    if uv is not None:
        _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, S3_VENV])
        sync = [uv, "pip", "sync", "--quiet", "--compile-bytecode", "--python", str(S3_PYTHON)]
        _run([*sync, "--require-hashes", S3_LOCK])
    else:
        _run(
            [sys.executable, "-m", "venv", "--clear", S3_VENV],
            hint="install uv, or Python's venv module (Debian: apt-get install python3-venv)",
        )
        pip = [str(S3_PYTHON), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "install", "--no-compile", "--require-hashes", "--requirement", S3_LOCK])
        _run([S3_PYTHON, "-m", "compileall", "-q", "-j", "0", S3_VENV / "lib"])
    _say(".venv-s3: filling its caches")
    (S3_SEED / "usr" / "lib" / "localstack").mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        _run(localstack_command("localstack.aws.spec", 0, S3_SEED, Path(scratch)))
        _start_once(Path(scratch))
    S3_STAMP.write_text(_s3_stamp())


def _start_once(scratch: Path) -> None:
    """Start LocalStack: that writes the index of its plugins, and shows that it works here."""
    port, _ = take_port(0, "S3")
    command = localstack_command("localstack.runtime.main", port, S3_SEED, scratch)
    server = Process.start(command, {}, scratch / "localstack.log", orphaned="KILL")
    try:
        server.wait_http(f"http://{LOOPBACK}:{port}/_localstack/health", within=60)
    finally:
        server.kill()


def _prometheus_is_there() -> bool:
    return PROMETHEUS.is_dir() or all(shutil.which(program) for program in ("prometheus", "promtool"))


def _fetch_prometheus() -> None:
    """Unpack Debian's package under `build/tools`, which takes no root."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise SetupError(
            "Prometheus is not on PATH and there is no apt-get to fetch it with: "
            "put `prometheus` and `promtool` 2.40 or newer on PATH, or set PROMETHEUS_URL"
        )
    _say("build/tools/prometheus: fetching Debian's package")
    PROMETHEUS.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PROMETHEUS.parent) as directory:
        scratch = Path(directory)
        try:
            _apt(scratch, "download", "prometheus")
        except SetupError:  # the lists are empty, as in an image, or older than the archive
            lists = scratch / "lists"
            (lists / "partial").mkdir(parents=True)
            own_lists = [f"Dir::State::Lists={lists}", f"Dir::Cache={scratch / 'cache'}"]
            _apt(scratch, "update", options=own_lists)
            _apt(scratch, "download", "prometheus", options=own_lists)
        [package] = scratch.glob("prometheus_*.deb")
        _run(["dpkg-deb", "--extract", package, scratch / "unpacked"])
        (scratch / "unpacked").rename(PROMETHEUS)


def _apt(directory: Path, *command: str, options: Sequence[str] = ()) -> None:
    # Root's apt would otherwise become a user that cannot read this directory, and warn.
    settings = [argument for option in ("APT::Sandbox::User=root", *options) for argument in ("-o", option)]
    _run(["apt-get", "--quiet", *settings, *command], directory=directory)


def _run(command: Sequence[str | Path], *, directory: Path | None = None, hint: str | None = None) -> None:
    """Run to the end. Raises SetupError with `hint`, or with the last line that it wrote, when it fails."""
    done = subprocess.run(
        command,
        cwd=directory,
        env={name: value for name, value in os.environ.items() if name not in MISLEADING},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        wrote = done.stdout.strip().splitlines() or [f"exit status {done.returncode}"]
        words = [word for word in map(str, command) if "=" not in word]
        raise SetupError(f"`{' '.join(words)}` failed: {hint or wrote[-1]}")


def _say(line: str) -> None:
    print(f"set-up: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
