"""A bare Git repository whose commits are the same in every run: fixed author, dates and order."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from infra.standins.demo.layout import BRANCH, Commit

_AUTHOR = "Platform Team <platform@acme.example>"
_FIRST = 1767603600  # Unix seconds: 2026-01-05 09:00 UTC
_DAY = 86400


class RepositoryError(RuntimeError):
    """Git is not there, or refused; the message has its words."""


def write(directory: Path, commits: list[Commit]) -> list[str]:
    """Makes the bare repository `directory`, replacing what is there; the commits' ids, oldest first.

    Raises:
        RepositoryError: git could not be run.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.parent.mkdir(parents=True, exist_ok=True)
    _git("init", "--quiet", "--bare", f"--initial-branch={BRANCH}", str(directory))
    stream = b"".join(_imported(index, commit) for index, commit in enumerate(commits))
    _git("--git-dir", str(directory), "fast-import", "--quiet", feed=stream + b"done\n")
    return _git("--git-dir", str(directory), "rev-list", "--reverse", BRANCH).split()


def _imported(index: int, commit: Commit) -> bytes:
    """One commit in the language of git-fast-import; each goes on from the one before."""
    at = _FIRST + index * _DAY
    lines = [f"commit refs/heads/{BRANCH}", f"committer {_AUTHOR} {at} +0000"]
    parts = ["\n".join(lines).encode(), b"\n", _data(commit.message)]
    for path, text in sorted(commit.files.items()):
        parts += [f"M 100644 inline {path}\n".encode(), _data(text)]
    return b"".join([*parts, b"\n"])


def _data(text: str) -> bytes:
    raw = text.encode()
    return f"data {len(raw)}\n".encode() + raw + b"\n"


def _git(*arguments: str, feed: bytes | None = None) -> str:
    try:
        done = subprocess.run(["git", *arguments], input=feed, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise RepositoryError("git is not on PATH: install it") from error
    if done.returncode != 0:
        raise RepositoryError(f"git {' '.join(arguments)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode()
