"""The settings of each stage, as its environment gives them here."""

from __future__ import annotations

import importlib
from contextlib import redirect_stderr
from io import StringIO

import flask

from infra.cli.tables import show, table
from shared.contracts.errors import BadSetting
from shared.runtime.settings import Settings

STAGES = ("receiver", "recommender", "policy", "gitops", "argocd", "audit", "exporter")


def settings_of(stage: str) -> type[Settings]:
    """The settings class that the stage's main module names.

    Raises:
        BadSetting: there is no such stage, or a variable is wrong for it.
    """
    if stage not in STAGES:
        raise BadSetting(f"stage: {stage!r} is none of {', '.join(STAGES)}")
    # A function's module mounts its routes on the application that loads it.
    said = StringIO()
    with flask.Flask(stage).app_context(), redirect_stderr(said):
        try:
            module = importlib.import_module(f"functions.{stage}.main")
        except SystemExit:
            raise BadSetting(said.getvalue().strip()) from None
    return type(module.STAGE.settings)


def config(stage: str | None) -> int:
    """Prints variable, value and who uses it; returns the exit code. Raises BadSetting."""
    users: dict[str, list[str]] = {}
    shown: dict[str, tuple[str, str]] = {}
    for name in [stage] if stage else STAGES:
        model = settings_of(name)
        values = model.read().shown()
        for field in model.model_fields.values():
            variable = str(field.alias)
            users.setdefault(variable, []).append(name)
            shown[variable] = (values[variable], field.description or "")
    made = table(["variable", "value here", "what it is", "used by"])
    for variable, (value, description) in sorted(shown.items()):
        who = users[variable]
        made.add_row(
            variable,
            value or "-",
            description,
            "all" if who == list(STAGES) else ", ".join(who),
        )
    show(made)
    return 0
