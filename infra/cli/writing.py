"""A verb's words, on standard output or in a file, which is either the old one or all of the new one."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path

from shared.contracts.errors import BadSetting, KubeFinOpsError


class CannotWrite(KubeFinOpsError):
    """The file that was asked for."""


def require_folder(path: Path | None, option: str = "--output") -> None:
    """Before long work, that its outcome will have a place. Raises BadSetting, which names the option."""
    if path is None or to_stdout(path):
        return
    if path.is_dir():
        raise BadSetting(f"{option}: {path} is a folder; name a file in it")
    if not path.absolute().parent.is_dir():
        raise BadSetting(f"{option}: there is no folder {path.parent}")


def write(text: str, path: Path | None) -> None:
    """In UTF-8, byte by byte what `text` is; None and `-` are standard output.

    Raises:
        CannotWrite: no such file can be made; what was there before is as it was.
    """
    # What JSON can hold and UTF-8 cannot is a half of a surrogate pair: no name has one.
    content = text.encode("utf-8", "replace")
    try:
        if path is None or to_stdout(path):
            sys.stdout.flush()
            sys.stdout.buffer.write(content)
            sys.stdout.flush()
        else:
            _replace(path, content)
    except BrokenPipeError:
        raise  # who reads has enough: Typer ends quietly then
    except OSError as error:
        place = "standard output" if to_stdout(path) else path
        if to_stdout(path):
            forget_stdout()
        raise CannotWrite(f"cannot write {place}: {(error.strerror or str(error)).lower()}") from error


def forget_stdout() -> None:
    """What could not be written is tried again when the interpreter ends, which would be a second error."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


def to_stdout(path: Path | None) -> bool:
    """Whether nothing, or a dash, was asked for."""
    return path is None or str(path) == "-"


def _replace(path: Path, content: bytes) -> None:
    """A link's target is replaced, not the link; a device or a pipe is written to."""
    # Before links are followed: that of a pipe, as in --output >(gzip), has no file at its end.
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    path = Path(os.path.realpath(path))
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), _mode(path))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _mode(path: Path) -> int:
    """The permissions that the file has, or those that a new one gets."""
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
