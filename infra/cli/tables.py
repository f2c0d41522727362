"""Tables and texts on a terminal or in a file: as narrow as their content, or as the terminal."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Drawn

# A table in a file is as wide as what it holds.
BOUNDLESS = 10_000
# Of a column's sides together.
GAP = 2
# On a narrow terminal a column of texts is folded, down to this width; figures never are.
LEAST_TEXT = 14
# A text is folded after one of these.
PIECE = re.compile(r"[^\s/_:,-]*(?:[\s/_:,-]+|$)")


@dataclass
class Table:
    """What is in a table. On a narrow terminal columns in `spare` are left out, the first one first."""

    texts: list[str]
    figures: list[str]
    spare: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add_row(self, *cells: str) -> None:
        """The texts, then the figures."""
        self.rows.append(cells)


def table(texts: Iterable[str], figures: Iterable[str] = (), spare: Iterable[str] = ()) -> Table:
    """An empty table with these columns; `figures` are to the right."""
    return Table(list(texts), list(figures), tuple(spare))


def terminal() -> int | None:
    """How many columns standard output has; None where it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def text_of(made: Table, width: int | None) -> str:
    """The table's lines, no wider than `width`, without the spaces that would fill its last column.

    Where even the least does not fit, lines are wider all the same: no value is cut off.
    """
    columns = _columns(made)
    left_out: list[str] = []
    if width is not None and _wide(columns) > width:
        columns, left_out = _fitted(columns, made.spare, width)
    drawn = Drawn(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for each in columns:
        drawn.add_column(each.head, justify="left" if each.is_text else "right", no_wrap=True)
    for row in zip(*(each.cells for each in columns), strict=True):
        drawn.add_row(*row)
    # Names and reasons are data: nothing in them is markup. And nothing is written to the terminal yet.
    console = Console(width=BOUNDLESS, markup=False, highlight=False)
    lines = ["".join(each.text for each in line).rstrip() for line in console.render_lines(drawn, pad=False)]
    if left_out:
        lines.append(wrapped(f"no room here for {', '.join(left_out)}: a wider terminal, or a file", width))
    return "\n".join(lines)


@dataclass(frozen=True)
class _Column:
    """Of a table that is being laid out."""

    name: str
    is_text: bool
    head: str
    cells: list[str]
    width: int

    @property
    def least(self) -> int:
        return min(self.width, LEAST_TEXT) if self.is_text else self.width


def _columns(made: Table) -> list[_Column]:
    names = [*made.texts, *made.figures]
    found = []
    for at, name in enumerate(names):
        cells = [row[at] for row in made.rows]
        found.append(_Column(name, at < len(made.texts), name, cells, max(map(cell_len, [name, *cells]))))
    return found


def _fitted(columns: Iterable[_Column], spare: Iterable[str], width: int) -> tuple[list[_Column], list[str]]:
    """Titles are folded, then columns left out until the texts can be folded so that all fits."""
    kept = [_with_folded_head(each) for each in columns]
    left_out: list[str] = []
    for name in spare:
        if sum(each.least + GAP for each in kept) <= width:
            break
        rest = [each for each in kept if each.name != name]
        left_out += [name] * (len(kept) - len(rest))
        kept = rest
    while _wide(kept) > width:
        widest = max((each for each in kept if each.is_text), key=lambda each: each.width)
        if widest.width <= LEAST_TEXT:
            break
        kept[kept.index(widest)] = replace(widest, width=widest.width - 1)
    folds = [
        replace(each, cells=["\n".join(folded(cell, each.width)) for cell in each.cells])
        if each.is_text
        else each
        for each in kept
    ]
    return folds, left_out


def _wide(columns: Iterable[_Column]) -> int:
    return sum(each.width + GAP for each in columns)


def _with_folded_head(column: _Column) -> _Column:
    """Between words, as narrow as the cells below allow."""
    width = max(map(cell_len, [*column.name.split(), *column.cells]))
    lines = textwrap.wrap(column.name, width, break_on_hyphens=False)
    return replace(column, head="\n".join(lines), width=max(map(cell_len, [*lines, *column.cells])))


def folded(text: str, width: int) -> list[str]:
    """Lines of this width at most, each after a space, a slash or the like; where there is none, anywhere."""
    lines = [""]
    for piece in PIECE.findall(text):
        rest = piece
        if lines[-1] and cell_len((lines[-1] + rest).rstrip()) > width:
            lines.append("")
        while cell_len(rest.rstrip()) > width:
            lines[-1], rest = rest[:width], rest[width:]
            lines.append("")
        lines[-1] += rest
    return [line.rstrip() for line in lines if line.strip()] or [""]


def wrapped(line: str, width: int | None) -> str:
    """A sentence in lines of this width, folded between words; what follows the first is set in."""
    if width is None:
        return line
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.fill(
        line.strip(),
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def show(made: Table) -> None:
    """Prints it, as wide as the terminal."""
    print(text_of(made, terminal()))


def some(names: Collection[str], most: int = 10) -> str:
    """`a, b, c`; of many the first ones and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - most
    return ", ".join(ordered[:most]) + (f" and {more} more" if more > 0 else "")
