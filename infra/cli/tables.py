"""Tables and texts on a terminal or in a file: as narrow as their content, or as the terminal."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from rich.cells import cell_len

from infra.cli.plain import plain, say

# Of a column's sides together.
GAP = 2
# On a narrow terminal a column of texts is folded, figures never are: down to the first width before other
# columns are left out, and to the second where no more can be.
FAIR_TEXT, LEAST_TEXT = 24, 14
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
        # A name's line end would begin a line of the table.
        self.rows.append(tuple(plain(cell).replace("\n", r"\n") for cell in cells))


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
    heads = [*_row(columns, [each.head for each in columns], at_bottom=True)]
    rule = "\N{BOX DRAWINGS LIGHT HORIZONTAL}" * (_wide(columns) - 1)
    rows = (
        line for cells in zip(*(each.cells for each in columns), strict=True) for line in _row(columns, cells)
    )
    lines = ["", *heads, f" {rule}", *rows, ""]
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
    def fair(self) -> int:
        return min(self.width, FAIR_TEXT) if self.is_text else self.width

    def padded(self, text: str) -> str:
        blank = " " * (self.width - cell_len(text))
        return f" {text}{blank} " if self.is_text else f" {blank}{text} "

    def folded(self) -> _Column:
        """As narrow as what is in it, when that is folded to its width."""
        if not self.is_text:
            return self
        cells = [folded(cell, self.width) for cell in self.cells]
        heads = self.head.split("\n")
        width = max(cell_len(line) for lines in [heads, *cells] for line in lines)
        return replace(self, cells=["\n".join(lines) for lines in cells], width=width)


def _row(columns: Iterable[_Column], cells: Iterable[str], *, at_bottom: bool = False) -> Iterator[str]:
    """Its lines; a cell that has fewer than another is at the top, or at the bottom."""
    parts = [cell.split("\n") for cell in cells]
    most = max(map(len, parts))
    for part in parts:
        blanks = [""] * (most - len(part))
        part[:] = [*blanks, *part] if at_bottom else [*part, *blanks]
    for texts in zip(*parts, strict=True):
        yield "".join(each.padded(text) for each, text in zip(columns, texts, strict=True)).rstrip()


def _columns(made: Table) -> list[_Column]:
    names = [*made.texts, *made.figures]
    found = []
    for at, name in enumerate(names):
        cells = [row[at] for row in made.rows]
        found.append(_Column(name, at < len(made.texts), name, cells, max(map(cell_len, [name, *cells]))))
    return found


def _fitted(columns: Iterable[_Column], spare: Iterable[str], width: int) -> tuple[list[_Column], list[str]]:
    """The columns that fit, titles and texts folded, and the names of those that are left out for it."""
    kept = [_with_folded_head(each) for each in columns]
    left_out: list[str] = []
    for name in spare:
        if sum(each.fair + GAP for each in kept) <= width:
            break
        rest = [each for each in kept if each.name != name]
        left_out += [name] * (len(kept) - len(rest))
        kept = rest
    while _wide(kept) > width:
        widest = max((each for each in kept if each.is_text), key=lambda each: each.width)
        if widest.width <= LEAST_TEXT:
            break
        kept[kept.index(widest)] = replace(widest, width=widest.width - 1)
    return [each.folded() for each in kept], left_out


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
    line = plain(line).replace("\n", r"\n")
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


def say_folded(line: str) -> None:
    """A sentence, on standard output, folded as wide as the terminal."""
    print(wrapped(line, terminal()))


def show(made: Table) -> None:
    """Prints it, as wide as the terminal."""
    say(text_of(made, terminal()))
