"""How soon a function is ready, beside an empty functions-framework function, pair by pair in one run."""

from __future__ import annotations

import http.client
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from infra.emulator.manifests import load
from infra.emulator.servers.ports import LOOPBACK, take_port
from infra.emulator.stack import OVERLAY, ROOT
from tests.bench.figure import Figure

PAIRS = 9
BOUND = 1.5
EMPTY = """\
import functions_framework


@functions_framework.cloud_event
def empty(event):
    pass
"""


def measure() -> list[Figure]:
    """Seconds from the start of the process to its first answer; the median of the pairs."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "main.py"
        empty.write_text(EMPTY)
        for service in load(OVERLAY).services:
            environment = {name: value for name, value in service.env.items() if "_URL" not in name}
            signature = environment["FUNCTION_SIGNATURE_TYPE"]
            own, its = [], []
            source = ROOT / "functions" / service.name / "main.py"
            _ready_seconds(service.name, source, signature, environment)  # byte code and the page cache
            for _ in range(PAIRS):
                its.append(_ready_seconds("empty", empty, "cloudevent", {}))
                own.append(_ready_seconds(service.name, source, signature, environment))
            figures.append(
                Figure(
                    name=f"{service.name}: ready",
                    value=statistics.median(own),
                    unit="s",
                    bound=BOUND,
                    against="an empty functions-framework function",
                    against_value=statistics.median(its),
                    # A machine changes its speed by the second: two that follow each other have the same.
                    paired=statistics.median(one / other for one, other in zip(own, its, strict=True)),
                )
            )
    return figures


def _ready_seconds(target: str, source: Path, signature: str, environment: dict[str, str]) -> float:
    port, _ = take_port(0, target)
    command = [str(Path(sys.executable).with_name("functions-framework")), "--target", target]
    command += ["--source", str(source), "--signature-type", signature]
    command += ["--host", LOOPBACK, "--port", str(port)]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**variables, **environment, "THREADS": "8"},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _answers(port):
            if process.poll() is not None:
                raise RuntimeError(f"{target} ended with {process.returncode} before it was ready")
            time.sleep(0.002)
        return time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/health/readiness")
        connection.getresponse().read()
    except OSError:
        return False
    finally:
        connection.close()
    return True
