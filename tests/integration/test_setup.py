from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from infra.emulator.servers.tools import ROOT


def set_up(project: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run set-up on the project in `project`; what a variable replaces is not set up."""
    replaced = {"S3_ENDPOINT": "", "PROMETHEUS_URL": ""}
    return subprocess.run(
        [sys.executable, "-m", "infra.emulator.setup"],
        cwd=project,
        env={**os.environ, **replaced, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def clone(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "infra", tmp_path / "infra", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements-s3.txt", tmp_path)
    return tmp_path


def test_a_second_set_up_finds_everything_there_and_is_silent_and_quick() -> None:
    begin = time.monotonic()
    done = set_up(ROOT)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - begin < 1  # 0.15 s on idle cores


def test_without_apt_one_line_says_how_to_get_prometheus(tmp_path: Path) -> None:
    done = set_up(clone(tmp_path), S3_ENDPOINT="http://s3.example", PATH=str(tmp_path))

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "PATH" in done.stderr
    assert "PROMETHEUS_URL" in done.stderr


def test_what_variables_replace_is_not_set_up(tmp_path: Path) -> None:
    project = clone(tmp_path)

    done = set_up(project, S3_ENDPOINT="http://s3.example", PROMETHEUS_URL="http://p.example", PATH="")

    assert (done.returncode, done.stdout) == (0, "")
    assert not (project / ".venv-s3").exists()
    assert not (project / "build").exists()


def test_an_environment_that_cannot_be_made_is_one_line_and_no_stamp_is_left(tmp_path: Path) -> None:
    project = clone(tmp_path)
    (project / ".venv-s3").write_text("in the way")

    done = set_up(project, PROMETHEUS_URL="http://p.example", PATH=str(tmp_path))

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "python3-venv" in done.stderr
    assert set_up(project, PROMETHEUS_URL="http://p.example", PATH=str(tmp_path)).returncode == 2
