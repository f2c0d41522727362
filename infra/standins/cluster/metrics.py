"""Samples in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Row(NamedTuple):
    """One sample: `labels` is the text between the braces."""

    name: str
    labels: str
    value: float


def labels(**values: str) -> str:
    """Label pairs as the text format writes them, in the order of their names."""
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(values.items()))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def exposition(rows: Iterable[Row], source: str) -> str:
    """Prometheus' text format, each family's samples together under its type. `source`: job and instance."""
    families: dict[str, list[Row]] = {}
    for row in rows:
        families.setdefault(row.name, []).append(row)
    lines = []
    for name, members in families.items():
        lines.append(f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}")
        lines += [f"{row.name}{{{row.labels},{source}}} {row.value!r}" for row in members]
    return "\n".join([*lines, ""])
