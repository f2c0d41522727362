"""Writes the public trace GWA-T-12 (Bitbrains, rnd: 500 machines, three months) in the format of traces.

    python -m infra.backtest.bitbrains RND OUT

RND holds the folders 2013-7, 2013-8 and 2013-9 with a CSV file for each machine, as published
(http://gwa.ewi.tudelft.nl/datasets/gwa-t-12-bitbrains). OUT/bitbrains-even.csv and OUT/bitbrains-odd.csv have
the machines by their number, to tune on the one half and to judge by the other. A machine's CPU is its share
of the provisioned MHz times its cores; what was provisioned counts as what was requested.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

MONTHS = ("2013-7", "2013-8", "2013-9")
HEADER = ("timestamp_s", "workload", "pod", "container", "cpu_cores", "memory_bytes")
SET = ("cpu_request_cores", "memory_request_bytes", "memory_limit_bytes")
KIB = 1024


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    source, out = map(Path, arguments)
    machines = sorted({int(path.stem) for month in MONTHS for path in (source / month).glob("*.csv")})
    if not machines:
        print(f"bitbrains: {source}: no {MONTHS[0]}/*.csv in it", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    for parity, name in enumerate(("even", "odd")):
        with (out / f"bitbrains-{name}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow((*HEADER, *SET))
            for machine in machines:
                if machine % 2 == parity:
                    for month in MONTHS:
                        _write(rows, source / month / f"{machine}.csv", machine)
        print(f"{out}/bitbrains-{name}.csv", flush=True)
    return 0


def _write(rows: object, path: Path, machine: int) -> None:
    """Columns: time in s, cores, MHz provisioned, MHz used, share used, KB provisioned, KB used, ..."""
    if not path.exists():
        return
    with path.open(newline="", encoding="latin-1") as file:
        for row in list(csv.reader(file, delimiter=";"))[1:]:
            time, cores, provisioned, used, memory = (row[at].strip() for at in (0, 1, 2, 3, 6))
            if float(provisioned) <= 0:
                continue
            cpu = float(used) / float(provisioned) * float(cores)
            held = round(float(row[5]) * KIB)
            values = (time, f"vm-{machine}", "", "vm", f"{cpu:.6f}", round(float(memory) * KIB))
            rows.writerow((*values, cores, held, held))  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
