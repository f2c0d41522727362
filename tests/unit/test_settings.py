from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from functions.recommender.settings import SizingSettings
from infra.cli.config import STAGES, settings_of
from shared.adapters.github import GitHubHost
from shared.contracts.errors import BadSetting
from shared.runtime.settings import (
    GitHostSettings,
    GitHostWriteSettings,
    KafkaSettings,
    MongoSettings,
    ObjectStoreSettings,
    Secret,
    Settings,
)
from shared.runtime.world import World

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Everything(KafkaSettings, MongoSettings, ObjectStoreSettings, SizingSettings, GitHostWriteSettings):
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
        ("KUBEFINOPS_RETENTION_DAYS", "soon", "must be a whole number from 1 to 36500"),
        ("KUBEFINOPS_RETENTION_DAYS", "0", "must be a whole number from 1 to 36500"),
        ("KUBEFINOPS_RETENTION_DAYS", "9999999", "must be a whole number from 1 to 36500"),
        ("KUBEFINOPS_MINIMUM_HISTORY_HOURS", "inf", "must be a number from 0 to 2160"),
        ("KUBEFINOPS_MINIMUM_HISTORY_HOURS", "nan", "must be a number from 0 to 2160"),
        ("KUBEFINOPS_MINIMUM_SAMPLES", "0", "must be a whole number, at least 1"),
        ("KUBEFINOPS_OOM_DAYS", "1.5", "must be a whole number from 1 to 90"),
        ("KUBEFINOPS_PRICE_GIB_HOUR", "NaN", "must be a number from 0 to 1000000"),
        ("KUBEFINOPS_CURRENCY", "usd", "'usd' is not a currency's code as USD"),
        ("S3_ENDPOINT", "http://h:port", "a PORT from 1 to 65535"),
        ("S3_ENDPOINT", "http://h:9000/path", "neither a path nor a user"),
        ("S3_ENDPOINT", "http://u:p@h:9000", "neither a path nor a user"),
        ("PROMETHEUS_URL", "http://h:port", "a PORT from 1 to 65535"),
        ("PROMETHEUS_URL", "http://h:0", "a PORT from 1 to 65535"),
        ("PROMETHEUS_URL", "http://h:9090/?x=1", "an address as http://HOST:PORT/PATH"),
        ("PROMETHEUS_URL", "https://", "an address as http://HOST:PORT/PATH"),
        ("PROMETHEUS_TENANT", "team a", "is not a tenant's name"),
        (
            "PROMETHEUS_LABELS",
            'cluster=~"eu.*"',
            'is not labels as cluster=eu-1 or cluster="eu-1",env="prod"',
        ),
        ("PROMETHEUS_LABELS", "cluster!=eu-1", "is not labels"),
        ("PROMETHEUS_LABELS", "eu-1", "is not labels"),
        ("PROMETHEUS_LABELS", "__name__=up", "is not labels"),
        ("PROMETHEUS_LABELS", "cluster=a,cluster=b", "cluster is there twice"),
        ("PROMETHEUS_USERNAME", "me", "PROMETHEUS_PASSWORD: must be set with PROMETHEUS_USERNAME"),
        ("PROMETHEUS_PASSWORD", "pw", "PROMETHEUS_PASSWORD: must be set with PROMETHEUS_USERNAME"),
        ("MONGODB_URI", "mongodb://u:p@ss/w@h:1", "no address as mongodb://USER:PASSWORD@HOST:PORT"),
        ("KAFKA_BOOTSTRAP_SERVERS", "h:99999", "host:port (1 to 65535)"),
        ("KAFKA_BOOTSTRAP_SERVERS", "h:9092,h:0", "host:port (1 to 65535)"),
        ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL", "KAFKA_USERNAME: must be set with KAFKA_SECURITY_PROTOCOL"),
        ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL", "KAFKA_PASSWORD: must be set with KAFKA_SECURITY_PROTOCOL"),
        ("GITHUB_WRITE_PAUSE_SECONDS", "-1", "must be a number from 0 to 60"),
        ("GITHUB_WRITE_PAUSE_SECONDS", "inf", "must be a number from 0 to 60"),
        ("KUBEFINOPS_LOG_LEVEL", "LOUD", "must be one of DEBUG, INFO, WARNING, ERROR"),
    ],
)
def test_a_bad_setting_names_the_variable_and_what_is_wrong(variable: str, value: str, words: str) -> None:
    with pytest.raises(BadSetting) as caught:
        Everything.read({variable: value})
    assert variable in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("S3_ENDPOINT", "https://s3.eu-central-1.amazonaws.com"),
        ("S3_ENDPOINT", "http://localhost:9000/"),
        ("PROMETHEUS_URL", "https://me:p@ss@h/select/0/prometheus/"),
        ("PROMETHEUS_URL", "http://[::1]:65535"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a.b:1,c_d:65535"),
    ],
)
def test_a_good_address_is_taken_without_its_last_slash(variable: str, value: str) -> None:
    settings = Everything.read({variable: value})
    name = next(name for name, each in Everything.variables().items() if each.name == variable)
    assert getattr(settings, name) == value.rstrip("/")


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        *(("keep_qos", text, True) for text in ("true", "TRUE", "1", "Yes", "y", "on", "t")),
        *(("keep_qos", text, False) for text in ("false", "False", "0", "NO", "n", "off", "f")),
        *(("retention_days", text, 60) for text in ("60", " 60 ", "+60", "060", "60.0", "6_0")),
        *(("cpu_headroom", text, 10.0) for text in ("10", "10.", "1e1", " 10.0 ")),
        *(("core_hour", text, Decimal("0.5")) for text in ("0.5", ".5", "5e-1", " 0.50 ")),
    ],
)
def test_numbers_and_switches_are_taken_as_people_write_them(field: str, text: str, value: object) -> None:
    taken = getattr(Everything.read({Everything.variables()[field].name: text}), field)
    assert taken == value
    assert type(taken) is type(value)


def test_with_sasl_a_user_and_a_password_are_enough() -> None:
    given = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_USERNAME": "u", "KAFKA_PASSWORD": "p"}
    assert Everything.read(given).kafka_username == "u"


@pytest.mark.parametrize(
    "labels", ['cluster="eu-1",env="prod"', "cluster=eu-1,env=prod", ' cluster = eu-1 , env="prod", ']
)
def test_labels_are_shown_as_the_matchers_that_they_become(labels: str) -> None:
    assert Everything.read({"PROMETHEUS_LABELS": labels}).prometheus_labels == 'cluster="eu-1", env="prod"'


def test_a_labels_value_may_hold_what_parts_labels() -> None:
    labels = Everything.read({"PROMETHEUS_LABELS": r'cluster="a, \"b\"=c"'}).prometheus_labels
    assert labels == r'cluster="a, \"b\"=c"'
    assert Everything.read({"PROMETHEUS_LABELS": labels}).prometheus_labels == labels


@pytest.mark.parametrize("token", ["s3cret\n", "s3 cret", "s3cr\u00e9t"])
def test_a_token_that_no_header_can_hold_is_refused_without_being_told(token: str) -> None:
    with pytest.raises(BadSetting, match=r"^setting PROMETHEUS_TOKEN: has a space, a line's end") as caught:
        Everything.read({"PROMETHEUS_TOKEN": token})
    assert "s3" not in str(caught.value)


def test_a_file_with_a_token_is_read_at_once_and_shown_by_its_name_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"
    for content, words in (
        (None, "no such file or directory"),
        ("", " holds no token, or more than one line"),
        ("s3cr\u00e9t", " holds no token, or more than one line"),
        ("s3cret\nanother", " holds no token, or more than one line"),
    ):
        if content is not None:
            path.write_text(content)
        with pytest.raises(BadSetting, match=words) as caught:
            Everything.read({"PROMETHEUS_TOKEN_FILE": str(path)})
        assert str(caught.value).startswith(f"setting PROMETHEUS_TOKEN_FILE: {path}")
        assert "s3" not in str(caught.value)
    path.write_text("s3cret\n")
    shown = Everything.read({"PROMETHEUS_TOKEN_FILE": str(path)}).shown()
    assert shown["PROMETHEUS_TOKEN_FILE"] == str(path)
    given = {"PROMETHEUS_TOKEN_FILE": str(path), "PROMETHEUS_TOKEN": "t"}
    with pytest.raises(BadSetting, match=r"PROMETHEUS_TOKEN_FILE: cannot be set with PROMETHEUS_TOKEN$"):
        Everything.read(given)
    given = {"PROMETHEUS_TOKEN_FILE": str(path), "PROMETHEUS_URL": "http://u:p@h"}
    with pytest.raises(BadSetting, match=r"PROMETHEUS_TOKEN_FILE: cannot be set where PROMETHEUS_URL has"):
        Everything.read(given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"PROMETHEUS_TOKEN": "t", "PROMETHEUS_USERNAME": "u", "PROMETHEUS_PASSWORD": "p"},
            "PROMETHEUS_USERNAME: cannot be set with PROMETHEUS_TOKEN",
        ),
        (
            {"PROMETHEUS_TOKEN": "t", "PROMETHEUS_URL": "http://u:p@h"},
            "PROMETHEUS_TOKEN: cannot be set where PROMETHEUS_URL has a user in it",
        ),
    ],
)
def test_prometheus_is_told_one_credential_at_most(given: dict[str, str], words: str) -> None:
    with pytest.raises(BadSetting) as caught:
        Everything.read(given)
    assert str(caught.value) == f"setting {words}"


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://h",
        "mongodb://h:27017",
        "mongodb://a:1,b:2,c/db?replicaSet=rs0&w=majority",
        "mongodb://h/?directConnection=true",
        "mongodb://h?w=1",
        "mongodb://u@h",
        "mongodb://u:p%40ss%2Fw%25@h:1/db",
        "mongodb://[::1]:27017",
        "mongodb://%2Ftmp%2Fmongodb.sock",
    ],
)
def test_an_address_that_pymongo_takes_is_taken(uri: str) -> None:
    assert parse_uri(uri)
    assert Everything.read({"MONGODB_URI": uri}).mongodb.get_secret_value() == uri


def test_an_srv_address_is_taken() -> None:
    uri = "mongodb+srv://u:p@cluster.example.com/db?retryWrites=true"  # to parse it pymongo asks the DNS
    assert Everything.read({"MONGODB_URI": uri}).mongodb.get_secret_value() == uri


@pytest.mark.parametrize(
    "uri",
    [
        "http://h:27017",
        "mongodb://",
        "mongodb:///db",
        "mongodb://h:port",
        "mongodb://h:99999",
        "mongodb://a:1,",
        "mongodb://u:se:cret@h",
        "mongodb://u:se@cret@h",
        "mongodb://u:se/cret@h:1",
        "mongodb://u:se?cret@h",
        "mongodb://u:se%cret@h",
        "mongodb://:secret@h",
        "mongodb://u:secret@h/?w",
        "mongodb+srv://u:secret@h:27017",
        "mongodb+srv://u:secret@a,b",
    ],
)
def test_an_address_that_pymongo_refuses_is_refused_without_its_password(uri: str) -> None:
    with pytest.raises((PyMongoError, ValueError)):
        parse_uri(uri)
    with pytest.raises(BadSetting, match="MONGODB_URI: no address as") as caught:
        Everything.read({"MONGODB_URI": uri})
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("stage", STAGES)
def test_a_function_reads_its_settings_without_any_client_library(stage: str) -> None:
    # Nor pydantic: all that is imported before a function is ready is what this imports.
    code = f"""
import sys
from functions_framework import create_app
app = create_app({stage!r}, "functions/{stage}/main.py")
print({{"pymongo", "minio", "requests", "confluent_kafka", "pydantic", "pydantic_core"}} & sys.modules.keys())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"MONGODB_URI": "mongodb://h"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_secrets_are_masked_when_shown() -> None:
    shown = Everything.read({"MONGODB_URI": "mongodb://user:secret@host", "GITHUB_TOKEN": "ghp_x"}).shown()
    assert "secret" not in shown["MONGODB_URI"]
    assert "ghp_x" not in shown["GITHUB_TOKEN"]
    assert shown["S3_BUCKET"] == "kubefinops"
    assert "secret" not in repr(Secret("secret"))


@pytest.mark.parametrize("stage", STAGES)
def test_every_setting_has_a_variable_a_description_and_a_default_that_the_variable_takes(stage: str) -> None:
    nothing_set = settings_of(stage).read({})
    assert not nothing_set.given
    for field, variable in nothing_set.variables().items():
        assert variable.name.isupper()
        assert variable.description
        default: Any = getattr(nothing_set, field)
        text = default.get_secret_value() if isinstance(default, Secret) else variable.form(default)
        if text:
            again = variable.parse(text)
            assert (again.get_secret_value() if isinstance(again, Secret) else variable.form(again)) == text


def test_everything_that_is_wrong_is_told_at_once_and_what_follows_from_it_is_not() -> None:
    wrong = {
        "KUBEFINOPS_PRICE_PROVIDER": "nobody",
        "KUBEFINOPS_OOM_DAYS": "0",
        "PROMETHEUS_URL": "user:secret@h",
        "PROMETHEUS_PASSWORD": "secret",
        "KAFKA_SECURITY_PROTOCOL": "SASL",
    }
    with pytest.raises(BadSetting) as caught:
        Everything.read(wrong)
    told = str(caught.value).removeprefix("setting ").split("; ")
    assert sorted(each.partition(": ")[0] for each in told) == sorted(wrong)
    assert "secret" not in str(caught.value)


def test_what_was_set_is_known_and_what_was_empty_was_not() -> None:
    assert Everything.read({"S3_BUCKET": "kubefinops", "S3_REGION": ""}).given == {"S3_BUCKET"}


def test_settings_are_read_from_the_process_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEFINOPS_CLUSTER", "east")
    assert Settings.read().cluster == "east"


def test_who_only_reads_the_git_host_has_no_switch_for_writing() -> None:
    switches = {"KUBEFINOPS_PAUSE", "KUBEFINOPS_AUTO_MERGE", "GITHUB_WRITE_PAUSE_SECONDS"}
    names = {
        stage: {variable.name for variable in settings_of(stage).variables().values()}
        for stage in ("argocd", "gitops")
    }
    assert not names["argocd"] & switches
    assert names["gitops"] >= {*switches, "GITHUB_URL", "GITHUB_TOKEN"}


@pytest.mark.parametrize("settings", [GitHostSettings, GitHostWriteSettings])
def test_a_stage_that_reads_and_one_that_writes_both_have_a_git_host(settings: type[Settings]) -> None:
    assert isinstance(World("any", settings.read({})).git_host, GitHubHost)
