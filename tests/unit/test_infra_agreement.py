"""The manifests, the settings and the commands speak of the same variables, topics and values."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.cli.config import STAGES, settings_of
from infra.emulator.manifests import Manifests, load
from shared.contracts.topics import Topic
from shared.runtime.migrating import PARTITIONS
from shared.runtime.settings import Secret

ROOT = Path(__file__).parents[2]
# Read by functions-framework and its server, not by the stages.
OF_THE_SERVER = {
    "CLOUD_RUN_TIMEOUT_SECONDS",
    "FUNCTION_SIGNATURE_TYPE",
    "FUNCTION_TARGET",
    "PORT",
    "THREADED_TIMEOUT_ENABLED",
    "THREADS",
}


@pytest.fixture(scope="module", params=["base", "overlays/local", "overlays/production"])
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return load(ROOT / "knative" / request.param)


def variables_of(stage: str) -> set[str]:
    return {variable.name for variable in settings_of(stage).variables().values()}


def test_each_stage_has_a_folder_a_service_and_settings(manifests: Manifests) -> None:
    folders = {path.parent.name for path in (ROOT / "functions").glob("*/main.py")}
    assert folders == set(STAGES) == {service.name for service in manifests.services}


def test_every_variable_in_the_manifests_is_a_setting_of_some_stage(manifests: Manifests) -> None:
    known = set[str]().union(*(variables_of(stage) for stage in STAGES)) | OF_THE_SERVER
    for service in manifests.services:
        assert service.variables <= known, service.name


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_given_the_secrets_that_it_reads_and_no_other(manifests: Manifests, stage: str) -> None:
    assert set(manifests.service(stage).secrets) <= variables_of(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_what_the_manifests_give_a_stage_are_valid_settings(manifests: Manifests, stage: str) -> None:
    settings = settings_of(stage).read(manifests.service(stage).env)
    shown = settings.shown()
    for variable, value in manifests.service(stage).env.items():
        if variable in shown:
            assert shown[variable].lower() == value.lower()


@pytest.mark.parametrize("stage", STAGES)
def test_no_secret_is_written_into_a_config_map(manifests: Manifests, stage: str) -> None:
    secret = {
        variable.name
        for variable in settings_of(stage).variables().values()
        if isinstance(variable.default, Secret)
    }
    assert not secret & set(manifests.service(stage).env)


def test_topics_are_those_of_the_contracts_with_the_partitions_that_migrate_makes() -> None:
    topics = {topic.name: topic.partitions for topic in load(ROOT / "knative" / "base").kafka_topics}
    assert topics == PARTITIONS
    assert set(topics) == {name for topic in Topic for name in (topic.value, topic.dead_letters)}
