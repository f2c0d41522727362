"""The Compose file against the settings and contracts of the product: without Docker, by reading both."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from shared.runtime.migrating import MigrateSettings
from shared.runtime.settings import PrometheusSettings

ROOT = Path(__file__).parents[2]
PATH = ROOT / "infra" / "docker-compose-lite.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(PATH.read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DEFAULTS = MigrateSettings.read({})


def published(service: str) -> set[int]:
    """Ports on the host."""
    return {int(port.split(":")[-2]) for port in SERVICES[service].get("ports", [])}


def test_servers_listen_where_the_settings_look_by_default() -> None:
    prometheus = urlsplit(PrometheusSettings.read({}).prometheus)
    assert published("kafka") == {int(DEFAULTS.kafka.split(":")[1])} == {9092}
    assert published("mongodb") == {urlsplit(DEFAULTS.mongodb.get_secret_value()).port} == {27017}
    assert published("minio") == {urlsplit(DEFAULTS.s3_endpoint).port, 9001} == {9000, 9001}
    assert published("prometheus") == {prometheus.port} == {9090}
    assert published("grafana") == {3000}


def test_everything_is_published_to_this_machine_only() -> None:
    assert all(port.startswith("127.0.0.1:") for one in SERVICES.values() for port in one.get("ports", []))


def test_images_are_pinned_to_a_release() -> None:
    images = [service["image"] for service in SERVICES.values() if "image" in service]
    assert len(images) == 5
    for image in images:
        assert re.search(r":(v?\d+\.\d+\.\d+|RELEASE\.[0-9TZ-]+)$", image), image


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "migrate"])
def test_every_server_has_a_health_check_and_keeps_its_data_in_a_volume(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    named = [volume.split(":")[0] for volume in SERVICES[name]["volumes"] if not volume.startswith(".")]
    assert named
    assert set(named) <= set(COMPOSE["volumes"])


def test_folders_that_are_mounted_are_there() -> None:
    mounted = [v for s in SERVICES.values() for v in s.get("volumes", []) if v.startswith(".")]
    assert len(mounted) == 3
    for volume in mounted:
        source, _, mode = volume.split(":")
        assert (PATH.parent / source).exists()
        assert mode == "ro"


def test_kafka_is_one_node_in_kraft_mode_reached_by_host_and_containers() -> None:
    kafka = SERVICES["kafka"]["environment"]
    assert kafka["KAFKA_PROCESS_ROLES"] == "broker,controller"
    advertised = dict(part.split("://") for part in kafka["KAFKA_ADVERTISED_LISTENERS"].split(","))
    assert advertised["HOST"] == DEFAULTS.kafka
    assert advertised["CONTAINERS"] == SERVICES["migrate"]["environment"]["KAFKA_BOOTSTRAP_SERVERS"]
    listening = {part.split("://")[0] for part in kafka["KAFKA_LISTENERS"].split(",")}
    protocols = {part.split(":")[0] for part in kafka["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")}
    assert listening == protocols == {*advertised, "CONTROLLER"}
    # A Kafka cluster id is 16 bytes in base64 without padding: 22 characters, the last of four kinds.
    assert re.fullmatch(r"[A-Za-z0-9_-]{21}[AQgw]", kafka["CLUSTER_ID"])
    replicated = [name for name in kafka if name.endswith(("REPLICATION_FACTOR", "MIN_ISR"))]
    assert replicated
    assert all(kafka[name] == 1 for name in replicated)


def test_topics_are_made_by_migrate_alone() -> None:
    assert SERVICES["kafka"]["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert SERVICES["migrate"]["command"] == ["kubefinops", "migrate"]
    assert SERVICES["migrate"]["restart"] == "no"
    assert {
        name: needed["condition"] for name, needed in SERVICES["migrate"]["depends_on"].items()
    } == dict.fromkeys(("kafka", "mongodb", "minio"), "service_healthy")


def test_migrate_is_built_from_the_projects_image() -> None:
    build = SERVICES["migrate"]["build"]
    context = (PATH.parent / build["context"]).resolve()
    assert context == ROOT
    assert (context / build["dockerfile"]) == ROOT / "infra" / "Dockerfile"


def test_migrates_variables_are_settings_and_say_what_functions_on_the_host_assume() -> None:
    environment: dict[str, str] = SERVICES["migrate"]["environment"]
    assert set(environment) <= {variable.name for variable in MigrateSettings.variables().values()}
    inside = MigrateSettings.read(environment)
    for name in ("mongodb_database", "s3_access_key", "s3_secret_key", "s3_bucket", "s3_region"):
        assert getattr(inside, name) == getattr(DEFAULTS, name)
    # Each address names a service of this file.
    assert inside.kafka.split(":")[0] in SERVICES
    assert urlsplit(inside.mongodb.get_secret_value()).hostname in SERVICES
    assert urlsplit(inside.s3_endpoint).hostname in SERVICES


def test_minios_keys_are_the_settings_defaults() -> None:
    minio = SERVICES["minio"]["environment"]
    assert minio["MINIO_ROOT_USER"] == DEFAULTS.s3_access_key
    assert minio["MINIO_ROOT_PASSWORD"] == DEFAULTS.s3_secret_key.get_secret_value()


def test_mongodb_is_a_replica_set_that_its_health_check_initiates() -> None:
    command, check = SERVICES["mongodb"]["command"], SERVICES["mongodb"]["healthcheck"]["test"][-1]
    name = command[command.index("--replSet") + 1]
    assert f'_id: "{name}"' in check
    # What the member calls itself is where clients on the host go next.
    assert f'host: "{urlsplit(DEFAULTS.mongodb.get_secret_value()).netloc}"' in check


def test_prometheus_reaches_functions_on_the_host() -> None:
    assert SERVICES["prometheus"]["extra_hosts"] == ["host.docker.internal:host-gateway"]
    jobs = yaml.safe_load((ROOT / "infra/prometheus/prometheus.yml").read_text())["scrape_configs"]
    targets = [target for job in jobs for config in job["static_configs"] for target in config["targets"]]
    assert targets
    assert all(target.startswith("host.docker.internal:") for target in targets)


def test_grafana_shows_the_overview_to_whoever_comes_and_reads_this_prometheus() -> None:
    grafana = SERVICES["grafana"]["environment"]
    assert grafana["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert urlsplit(grafana["PROMETHEUS_URL"]).netloc == "prometheus:9090"
    home = grafana["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].removeprefix("/etc/grafana/")
    assert (ROOT / "infra" / "grafana" / home).is_file()
