"""Tables and texts on a terminal or in a file: as narrow as their content, and nothing of it cut off."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

# A table is as wide as what it holds: a narrow terminal folds its lines, but leaves no value out.
BOUNDLESS = 10_000


def table(texts: Iterable[str], figures: Iterable[str] = ()) -> Table:
    """An empty table with these columns; `figures` are to the right."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in texts:
        made.add_column(name, no_wrap=True)
    for name in figures:
        made.add_column(name, justify="right", no_wrap=True)
    return made


def output() -> Console:
    """Standard output; names and reasons are data: nothing in them is markup."""
    return Console(file=sys.stdout, width=BOUNDLESS, markup=False, highlight=False)


def text_of(made: Table) -> str:
    """The table's lines, without the spaces that would fill its last column."""
    console = output()
    with console.capture() as captured:
        console.print(made)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def show(made: Table) -> None:
    """Prints it."""
    print(text_of(made))


def some(names: Collection[str], most: int = 10) -> str:
    """`a, b, c`; of many the first ones and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - most
    return ", ".join(ordered[:most]) + (f" and {more} more" if more > 0 else "")
