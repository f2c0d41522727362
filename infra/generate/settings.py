"""The table of settings, from every stage's settings class."""

from __future__ import annotations

from collections.abc import Mapping

from infra.cli.config import STAGES, settings_of
from shared.runtime.settings import Secret, Variable


def settings_table() -> str:
    """A Markdown table: variable, default, who uses it, what it is.

    Raises:
        BadSetting: a stage's settings cannot be read here.
    """
    users: dict[str, list[str]] = {}
    variables: dict[str, Variable] = {}
    defaults: dict[str, object] = {}
    for stage in STAGES:
        model = settings_of(stage)
        nothing_set = model.read({})
        for field, variable in model.variables().items():
            users.setdefault(variable.name, []).append(stage)
            variables[variable.name] = variable
            defaults[variable.name] = getattr(nothing_set, field)
    rows = ["| variable | default | used by | what it is |", "|---|---|---|---|"]
    rows += [
        f"| `{name}` | {_default(variable, defaults[name])} | {_who(users[name])}"
        f" | {_cell(variable.description)} |"
        for name, variable in _in_order(variables).items()
    ]
    return "\n".join(rows) + "\n"


def _in_order(variables: Mapping[str, Variable]) -> dict[str, Variable]:
    """The product's own by name, then system by system, each as its class defines it: `its database`."""

    def place(item: tuple[str, Variable]) -> tuple[bool, str]:
        name = item[0]
        own = name.startswith("KUBEFINOPS_")
        return not own, name if own else name.split("_")[0]

    return dict(sorted(variables.items(), key=place))


def _who(stages: list[str]) -> str:
    return "all" if len(stages) == len(STAGES) else ", ".join(stages)


def _default(variable: Variable, default: object) -> str:
    # What stands in the code is no secret.
    text = default.get_secret_value() if isinstance(default, Secret) else variable.form(default)
    return f"`{_cell(text)}`" if text else ("none (a secret)" if isinstance(default, Secret) else "none")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
