"""Files that a verb writes: all or nothing, and where they were asked for."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from infra.cli.writing import CannotWrite, require_folder, write
from shared.contracts.errors import BadSetting

# As a person runs it: what is left over is written when the interpreter ends.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


@pytest.mark.parametrize("path", [None, Path("-")])
def test_no_file_and_a_dash_are_standard_output_byte_by_byte(
    path: Path | None, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    write("a\r\n\N{EURO SIGN}\n", path)
    assert capfdbinary.readouterr().out == "a\r\n\N{EURO SIGN}\n".encode()


def test_a_new_file_has_the_permissions_that_any_new_file_has(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    write("new", tmp_path / "scan.html")
    assert (tmp_path / "scan.html").read_text() == "new"
    assert (tmp_path / "scan.html").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert sorted(each.name for each in tmp_path.iterdir()) == ["other", "scan.html"]


def test_a_file_that_is_there_keeps_its_permissions_and_its_link(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("old")
    target.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(target)
    write("new", link)
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "scan.html"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(CannotWrite, match=r"^cannot write .*scan.html: file too large$"):
            write("new" * 10, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_is_written_to_and_not_replaced() -> None:
    write("lost", Path("/dev/null"))
    assert Path("/dev/null").is_char_device()


def test_a_pipe_is_written_to() -> None:
    reading, writing = os.pipe()
    try:
        write("scan", Path(f"/dev/fd/{writing}"))
        assert os.read(reading, 10) == b"scan"
    finally:
        os.close(reading)
        os.close(writing)


def test_a_full_disk_below_standard_output_is_an_error_of_ours() -> None:
    code = """
from infra.cli.writing import CannotWrite, write
try:
    write("scan", None)
except CannotWrite as error:
    raise SystemExit(str(error))
"""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=BUFFERED,
        )
    assert done.stderr == "cannot write standard output: no space left on device\n"
    assert done.returncode == 1


def test_a_place_that_cannot_be_is_said_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="is a folder"):
        require_folder(tmp_path)
    with pytest.raises(BadSetting, match="there is no folder"):
        require_folder(tmp_path / "nowhere" / "scan.html")
    require_folder(tmp_path / "scan.html")
    require_folder(Path("here.html"))
    require_folder(Path("-"))
