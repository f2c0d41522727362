"""The command line as a process of its own: its output, its errors and its exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).parents[1]
COMMAND = "import sys; from infra.cli.main import main; sys.argv[0] = 'kubefinops'; main()"


def kubefinops(
    *arguments: str,
    columns: str = "80",
    timeout: float = 60,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.CompletedProcess[str]:
    """What comes of it, on a terminal so wide, within so many seconds."""
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": columns, **environment},
    )
