"""What all workers share: one past to start from, and how the loop ends when nothing goes wrong."""

from __future__ import annotations

import fcntl
import os
import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.emulator.stack import Options, Stack, Usage
from tests.e2e.loops import SEED, Outcome, finish, outcome, started
from tests.waiting import until

LOOP = "test_loop.py"


@dataclass(frozen=True)
class Undisturbed:
    """The end of an undisturbed loop on generated usage, in a file that all workers share."""

    file: Path
    folder: Path
    past: Path
    is_coming: bool

    def keep(self, seen: Outcome) -> None:
        written = self.file.with_suffix(".part")
        written.write_bytes(pickle.dumps(seen))
        written.rename(self.file)

    def outcome(self) -> Outcome:
        """As another test has seen it, or will soon; else one is run."""
        if not self.file.exists() and not self.is_coming:
            with started(self.folder, past=self.past) as loop:
                self.keep(outcome(finish(loop)))
        until(self.file.exists, within=240)
        found = pickle.loads(self.file.read_bytes())
        assert isinstance(found, Outcome)
        return found


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def past(shared_folder: Path) -> Path:
    """The demo and its history on generated usage: making them takes as long as all else at a start."""
    folder = shared_folder / "past"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "prometheus" / "blocks").exists():
            Stack(Options(work=folder, usage=Usage(seed=SEED)), {}, say=print).make_past()
            (folder / "demo" / "history.om").unlink()
    return folder


@pytest.fixture(scope="session")
def undisturbed(
    request: pytest.FixtureRequest, shared_folder: Path, past: Path, tmp_path_factory: pytest.TempPathFactory
) -> Undisturbed:
    seen_by_another = "PYTEST_XDIST_WORKER" in os.environ and any(
        item.path.name == LOOP and "[generated" in item.name for item in request.session.items
    )
    folder = tmp_path_factory.mktemp("undisturbed")
    return Undisturbed(shared_folder / "undisturbed.pickle", folder, past, seen_by_another)
