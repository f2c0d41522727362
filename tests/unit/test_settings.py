from __future__ import annotations

import pytest

from infra.cli.config import settings_of
from shared.adapters.github import GitHubHost
from shared.contracts.errors import BadSetting
from shared.runtime.settings import (
    GitHostSettings,
    GitHostWriteSettings,
    KafkaSettings,
    MongoSettings,
    ObjectStoreSettings,
    PrometheusSettings,
    Settings,
)
from shared.runtime.world import World


class Everything(KafkaSettings, MongoSettings, ObjectStoreSettings, PrometheusSettings, GitHostWriteSettings):
    pass


def test_the_defaults_are_the_products_own_ports() -> None:
    settings = Everything.read({})
    assert settings.kafka == "localhost:9092"
    assert settings.mongodb.get_secret_value() == "mongodb://localhost:27017"
    assert settings.s3_endpoint == "http://localhost:9000"
    assert settings.prometheus == "http://localhost:9090"


def test_an_empty_variable_is_an_unset_one() -> None:
    assert Everything.read({"S3_BUCKET": ""}).s3_bucket == "kubefinops"


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("KAFKA_BOOTSTRAP_SERVERS", "localhost", "host:port"),
        ("PROMETHEUS_URL", "localhost:9090", "begins with http:// or https://"),
        ("S3_BUCKET", "UPPER", "a bucket's name"),
        ("KUBEFINOPS_RETENTION_DAYS", "soon", "valid integer"),
        ("KUBEFINOPS_RETENTION_DAYS", "0", "greater than or equal to 1"),
        ("GITHUB_WRITE_PAUSE_SECONDS", "-1", "greater than or equal to 0"),
        ("KUBEFINOPS_LOG_LEVEL", "LOUD", "'DEBUG'"),
    ],
)
def test_a_bad_setting_names_the_variable_and_what_is_wrong(variable: str, value: str, words: str) -> None:
    with pytest.raises(BadSetting) as caught:
        Everything.read({variable: value})
    assert variable in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_secrets_are_masked_when_shown() -> None:
    shown = Everything.read({"MONGODB_URI": "mongodb://user:secret@host", "GITHUB_TOKEN": "ghp_x"}).shown()
    assert "secret" not in shown["MONGODB_URI"]
    assert "ghp_x" not in shown["GITHUB_TOKEN"]
    assert shown["S3_BUCKET"] == "kubefinops"


def test_every_setting_has_a_variable_and_a_description() -> None:
    for field in Everything.model_fields.values():
        assert field.alias
        assert field.alias.isupper()
        assert field.description


def test_settings_are_read_from_the_process_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEFINOPS_CLUSTER", "east")
    assert Settings.read().cluster == "east"


def test_who_only_reads_the_git_host_has_no_switch_for_writing() -> None:
    switches = {"KUBEFINOPS_PAUSE", "KUBEFINOPS_AUTO_MERGE", "GITHUB_WRITE_PAUSE_SECONDS"}
    names = {
        stage: {str(field.alias) for field in settings_of(stage).model_fields.values()}
        for stage in ("argocd", "gitops")
    }
    assert not names["argocd"] & switches
    assert names["gitops"] >= {*switches, "GITHUB_URL", "GITHUB_TOKEN"}


@pytest.mark.parametrize("settings", [GitHostSettings, GitHostWriteSettings])
def test_a_stage_that_reads_and_one_that_writes_both_have_a_git_host(settings: type[Settings]) -> None:
    assert isinstance(World("any", settings.read({})).git_host, GitHubHost)
