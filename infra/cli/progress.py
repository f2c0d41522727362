"""How far long work is, on standard error: what is printed on standard output stays a document."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

# Between the lines of what is no terminal, such as a CI's log.
LINE_SECONDS = 15.0


@contextmanager
def progress(doing: str, about: int, steps: str) -> Iterator[Callable[[], None]]:
    """Yields what is to be called after each of about so many steps, from any thread.

    On a terminal it is a bar that goes when the work is done, elsewhere a line now and then: work that is
    soon done says nothing.
    """
    if not sys.stderr.isatty():
        yield Lines(doing, about, steps).advance
        return
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TextColumn(steps))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=about)

        def advance() -> None:
            bar.advance(task)
            # There may be more than was thought.
            bar.update(task, total=max(about, bar.tasks[0].completed))

        yield advance


class Lines:
    """Tells of steps by lines that are LINE_SECONDS apart, at least."""

    def __init__(
        self, doing: str, about: int, steps: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._doing, self._about, self._steps = doing, about, steps
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._done = 0
        self._began = self._spoke = monotonic()

    def advance(self) -> None:
        """After each step."""
        with self._lock:
            self._done += 1
            now = self._monotonic()
            if now - self._spoke < LINE_SECONDS:
                return
            self._spoke = now
            line = (
                f"{self._doing}: {self._done} of about {max(self._about, self._done)} {self._steps},"
                f" {now - self._began:.0f} s"
            )
        print(line, file=sys.stderr, flush=True)
