"""`kubefinops config`, and what is said of settings and policies that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.cli.config import config, settings_of
from shared.contracts.errors import BadSetting
from shared.runtime.migrating import read_policies


def test_values_are_shown_as_they_are_written() -> None:
    shown = settings_of("recommender").read({"KUBEFINOPS_CPU_FLOOR": "0.02"}).shown()
    assert shown["KUBEFINOPS_CPU_FLOOR"] == "20m"
    assert shown["KUBEFINOPS_MEMORY_FLOOR"] == "32Mi"
    assert shown["KUBEFINOPS_KEEP_QOS"] == "true"
    assert shown["KUBEFINOPS_CPU_HEADROOM_PERCENT"] == "15"
    assert shown["KUBEFINOPS_MINIMUM_HISTORY_HOURS"] == "24"
    assert shown["KUBEFINOPS_PRICE_CORE_HOUR"] == "0.031611"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("mongodb://localhost:27017", "mongodb://localhost:27017"),
        ("mongodb://me:p%40ss@a:1,b:2/?w=1", "mongodb://me:***@a:1,b:2/?w=1"),
        ("mongodb+srv://me:x@host/?tlsCertificateKeyFilePassword=y&w=1",
         "mongodb+srv://me:***@host/?tlsCertificateKeyFilePassword=***&w=1"),
    ],
)  # fmt: skip
def test_of_an_address_only_the_passwords_are_masked(uri: str, shown: str) -> None:
    assert settings_of("audit").read({"MONGODB_URI": uri}).shown()["MONGODB_URI"] == shown


def test_a_password_in_any_other_address_is_masked_too() -> None:
    read = settings_of("recommender").read({"PROMETHEUS_URL": "https://me:secret@prometheus:9090/x"})
    assert read.shown()["PROMETHEUS_URL"] == "https://me:***@prometheus:9090/x"


def test_a_switch_is_true_or_false() -> None:
    with pytest.raises(BadSetting, match=r"KUBEFINOPS_KEEP_QOS: must be true or false$"):
        settings_of("recommender").read({"KUBEFINOPS_KEEP_QOS": "maybe"})


def test_a_variable_that_is_wrong_here_is_told_with_the_stage_that_reads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KUBEFINOPS_TICK_SECONDS", "soon")
    with pytest.raises(BadSetting, match=r"^receiver: setting KUBEFINOPS_TICK_SECONDS: "):
        config(None)


def test_all_settings_are_shown_with_who_reads_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert config("gitops") == 0
    shown = capsys.readouterr().out
    assert "KUBEFINOPS_PAUSE" in shown
    assert "KUBEFINOPS_TICK_SECONDS" not in shown


def policies(folder: Path, *documents: object) -> Path:
    path = folder / "policies.json"
    path.write_text(json.dumps(documents))
    return path


def test_every_error_in_a_policies_file_is_told_at_once_with_the_nearest_name(tmp_path: Path) -> None:
    path = policies(
        tmp_path,
        {"name": "org", "version": 1, "rules": {"max_step_down": 30, "pause": "maybe"}},
        {"nome": "x", "version": 1, "rules": {}},
        7,
    )
    with pytest.raises(BadSetting) as caught:
        read_policies(path)
    assert str(caught.value).removeprefix(f"{path}: ").split("; ") == [
        "policy org: rules.pause: must be true or false",
        "policy org: rules.max_step_down: no such rule, did you mean max_step_down_percent?",
        "policy 2: name: Field required",
        "policy 2: nome: no such field, did you mean name?",
        "policy 3: Input should be a valid dictionary or instance of Policy",
    ]


def test_a_rule_that_resembles_none_is_answered_with_all_of_them(tmp_path: Path) -> None:
    path = policies(tmp_path, {"name": "org", "version": 1, "rules": {"zzz": 1}})
    with pytest.raises(BadSetting, match=r"rules\.zzz: no such rule, there are approval_above"):
        read_policies(path)


def test_brackets_within_thousands_of_brackets_are_no_policies(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000)
    with pytest.raises(BadSetting, match=r"deep\.json: no JSON: "):
        read_policies(path)
