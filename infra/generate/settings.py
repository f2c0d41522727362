"""The table of settings, from every stage's settings class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from infra.cli.config import STAGES, settings_of
from shared.runtime.settings import as_written


def settings_table() -> str:
    """A Markdown table: variable, default, who uses it, what it is.

    Raises:
        BadSetting: a stage's settings cannot be read here.
    """
    users: dict[str, list[str]] = {}
    fields: dict[str, FieldInfo] = {}
    defaults: dict[str, Any] = {}
    for stage in STAGES:
        model = settings_of(stage)
        nothing_set = model.read({})
        for name, field in model.model_fields.items():
            variable = str(field.alias)
            users.setdefault(variable, []).append(stage)
            fields[variable] = field
            # One that follows from other settings is told as it is where none is set.
            defaults[variable] = getattr(nothing_set, name) if field.default_factory else field.default
    rows = ["| variable | default | used by | what it is |", "|---|---|---|---|"]
    rows += [
        f"| `{variable}` | {_default(field, defaults[variable])} | {_who(users[variable])}"
        f" | {_cell(field.description or '')} |"
        for variable, field in _in_order(fields).items()
    ]
    return "\n".join(rows) + "\n"


def _in_order(fields: Mapping[str, FieldInfo]) -> dict[str, FieldInfo]:
    """The product's own by name, then system by system, each as its class defines it: `its database`."""

    def place(item: tuple[str, FieldInfo]) -> tuple[bool, str]:
        name = item[0]
        own = name.startswith("KUBEFINOPS_")
        return not own, name if own else name.split("_")[0]

    return dict(sorted(fields.items(), key=place))


def _who(stages: list[str]) -> str:
    return "all" if len(stages) == len(STAGES) else ", ".join(stages)


def _default(field: FieldInfo, default: Any) -> str:
    # What stands in the code is no secret.
    text = default.get_secret_value() if isinstance(default, SecretStr) else as_written(field, default)
    return f"`{_cell(text)}`" if text else ("none (a secret)" if isinstance(default, SecretStr) else "none")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
