"""The image's entry point, run here: the very line that the Dockerfile has."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from infra.emulator.servers.ports import LOOPBACK, take_port
from infra.emulator.servers.process import Process

ROOT = Path(__file__).parents[2]


def test_the_images_command_serves_the_stage_that_the_variable_names(tmp_path: Path) -> None:
    dockerfile = (ROOT / "infra" / "Dockerfile").read_text()
    entry = re.search(r"^CMD (\[.*\])$", dockerfile, re.MULTILINE)
    default = re.search(r"FUNCTION_SIGNATURE_TYPE=(\w+)", dockerfile)
    assert entry is not None
    assert default is not None
    port, _ = take_port(0, "audit")
    process = Process.start(
        json.loads(entry[1]),
        {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "FUNCTION_TARGET": "audit",
            "FUNCTION_SIGNATURE_TYPE": default[1],
            "PORT": str(port),
            "HOST": LOOPBACK,
        },
        tmp_path / "audit.log",
        cwd=ROOT,
    )
    try:
        process.wait_http(f"http://{LOOPBACK}:{port}/health/readiness")
    finally:
        process.terminate()
        assert process.stop() == 0, "SIGTERM reaches the server itself"
