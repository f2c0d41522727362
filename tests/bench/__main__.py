"""`make bench`: runs every benchmark, prints a table, writes build/bench.json; exit 1 if a bound breaks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import functions, loop, scans, sizing
from tests.bench.figure import Figure

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = (functions.measure, loop.measure, sizing.measure, scans.measure)


def main() -> int:
    console = Console(width=None if sys.stdout.isatty() else 200)
    figures: list[Figure] = []
    for measure in BENCHMARKS:
        console.print(f"{measure.__module__.rpartition('.')[2]} ...", highlight=False)
        figures += measure()
    path = ROOT / "build" / "bench.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([figure.document() for figure in figures], indent=1) + "\n")
    table = Table("what", "value", "unit", "against", "its value", "ratio", "bound", "holds")
    for figure in figures:
        document = figure.document()
        table.add_row(*("" if value is None else str(value) for value in document.values()))
    console.print(table)
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
