"""The queries of a dashboard's panels, as Grafana would send them with its variables at their defaults."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OVERVIEW = Path(__file__).parent / "provisioning" / "dashboards" / "finops-overview.json"

# Grafana's own: at least four times the datasource's timeInterval, which is provisioned as 60s.
BUILT_IN = {"__rate_interval": "4m"}
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def panel_queries(path: Path = OVERVIEW) -> list[tuple[str, str]]:
    """Each panel's title with each of its expressions, variables filled in.

    Raises:
        ValueError: an expression uses a variable that the dashboard does not define.
    """
    dashboard: dict[str, Any] = json.loads(path.read_text())
    values = BUILT_IN | {variable["name"]: _default(variable) for variable in dashboard["templating"]["list"]}
    return [
        (panel["title"], _filled(target["expr"], values, panel["title"]))
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]


def _default(variable: Mapping[str, Any]) -> str:
    value = variable["current"]["value"]
    if "$__all" in (value if isinstance(value, list) else [value]):
        return str(variable["allValue"])
    return "|".join(value) if isinstance(value, list) else str(value)


def _filled(expression: str, values: Mapping[str, str], panel: str) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in values:
            raise ValueError(f"panel {panel!r}: ${name} is no variable of the dashboard")
        return values[name]

    return _VARIABLE.sub(value, expression)
