"""The settings of each stage, as its environment gives them here."""

from __future__ import annotations

from functions.argocd.settings import RolloutSettings
from functions.audit.settings import AuditSettings
from functions.exporter.settings import ExporterSettings
from functions.gitops.settings import GitOpsSettings
from functions.policy.settings import PolicySettings
from functions.receiver.settings import ReceiverSettings
from functions.recommender.settings import RecommenderSettings
from infra.cli.tables import show, table
from shared.contracts.errors import BadSetting
from shared.runtime.settings import Settings

SETTINGS: dict[str, type[Settings]] = {
    "receiver": ReceiverSettings,
    "recommender": RecommenderSettings,
    "policy": PolicySettings,
    "gitops": GitOpsSettings,
    "argocd": RolloutSettings,
    "audit": AuditSettings,
    "exporter": ExporterSettings,
}
STAGES = tuple(SETTINGS)


def settings_of(stage: str) -> type[Settings]:
    """The settings class of a stage.

    Raises:
        BadSetting: there is no such stage.
    """
    if stage not in SETTINGS:
        raise BadSetting(f"stage: {stage!r} is none of {', '.join(STAGES)}")
    return SETTINGS[stage]


def config(stage: str | None) -> int:
    """Prints variable, value and who uses it; returns the exit code. Raises BadSetting."""
    users: dict[str, list[str]] = {}
    shown: dict[str, tuple[str, str]] = {}
    for name in [stage] if stage else STAGES:
        model = settings_of(name)
        try:
            values = model.read().shown()
        except BadSetting as error:
            raise BadSetting(f"{name}: {error}") from None
        for each in model.variables().values():
            users.setdefault(each.name, []).append(name)
            shown[each.name] = (values[each.name], each.description)
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
