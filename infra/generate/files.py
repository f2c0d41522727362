"""Every generated file, with its content as the code has it now."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from functions.exporter.metrics import table as metrics_table
from infra.generate.asyncapi import asyncapi
from infra.generate.settings import settings_table
from shared.contracts.errors import BadSetting
from shared.contracts.events import json_schema
from shared.contracts.states import diagram
from shared.contracts.topics import Topic

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = Path("shared/contracts/schemas")
DOCS = Path("docs")
README = Path("README.md")
_MARKED = re.compile(r"(<!-- settings -->\n).*?(<!-- /settings -->)", re.DOTALL)

STATES = """\
# States of a recommendation

Generated from `shared/contracts/states.py` by `python -m infra.generate`. An arrow carries the stages that
may make the move; the update in MongoDB has the state it comes from as its condition.

```mermaid
{diagram}```
"""
METRICS = """\
# Metrics

Generated from `functions/exporter/metrics.py` by `python -m infra.generate`. The exporter reads MongoDB at
each scrape of `GET /metrics` and keeps nothing in between; while MongoDB cannot be read it answers 503, so
that Prometheus shows `up` 0 instead of stale figures.

{table}"""


def generated(root: Path) -> dict[Path, str]:
    """Content by path below `root`.

    Raises:
        BadSetting: the README has no place for the table, or a stage's settings cannot be read.
    """
    files = {SCHEMAS / f"{topic.value}.v1.json": _json(json_schema(topic)) for topic in Topic}
    files[DOCS / "asyncapi.yaml"] = asyncapi()
    files[DOCS / "states.md"] = STATES.format(diagram=diagram())
    files[DOCS / "metrics.md"] = METRICS.format(table=metrics_table())
    files[README] = with_table((root / README).read_text(), settings_table())
    return files


def differing(root: Path, files: Mapping[Path, str]) -> list[Path]:
    """Those that are missing or other than `files` says, and schemas of topics that are no more."""
    changed = [
        path
        for path, content in files.items()
        if not (root / path).is_file() or (root / path).read_text() != content
    ]
    left_over = [path.relative_to(root) for path in (root / SCHEMAS).glob("*.json")]
    return changed + sorted(path for path in left_over if path not in files)


def with_table(readme: str, table: str) -> str:
    """`readme` with `table` between its markers.

    Raises:
        BadSetting: it has not exactly one place for it.
    """
    filled, places = _MARKED.subn(lambda match: f"{match[1]}{table}{match[2]}", readme)
    if places != 1:
        raise BadSetting(
            f"{README}: {places} places for the table of settings; it needs one line"
            " <!-- settings --> and below it one line <!-- /settings -->"
        )
    return filled


def _json(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
