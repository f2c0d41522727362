"""Splits traces in two, to tune on the one half and to judge by the other.

    python -m infra.backtest.halves TRACES OUT

Of each trace in TRACES the workloads with even places in the order of their names go to OUT/even, the others
to OUT/odd, with all that the trace tells of them.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from infra.backtest.fleet import TraceError, opened, traces

HALVES = ("even", "odd")


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    source, out = map(Path, arguments)
    try:
        for name, path in traces(source).items():
            _split(name, path, out)
    except (TraceError, OSError) as error:
        print(f"halves: {error}", file=sys.stderr)
        return 1
    return 0


def _split(name: str, path: Path, out: Path) -> None:
    with opened(path) as file:
        header, *rows = csv.reader(file)
    at = header.index("workload")
    names = sorted({row[at] for row in rows})
    for place, half in enumerate(HALVES):
        chosen = set(names[place::2])
        written = out / half / f"{name}-{half}.csv"
        written.parent.mkdir(parents=True, exist_ok=True)
        with written.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *(row for row in rows if row[at] in chosen)])
        print(f"{written}: {len(chosen)} of {len(names)} workloads")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
