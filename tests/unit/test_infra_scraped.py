"""Where a Prometheus that was given finds the emulator's exporter and cluster: without Docker, by reading."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from infra.emulator import stack as stack_module
from infra.emulator.servers.ports import LOOPBACK
from infra.emulator.stack import SCRAPED_PORTS, Options, Stack
from shared.contracts.errors import BadSetting

INFRA = Path(__file__).parents[2] / "infra"
# The command that the Compose file's header tells.
COMMAND = re.search(
    r"make up (.+?)\n# [^ ]", (INFRA / "docker-compose-lite.yml").read_text().replace("\\\n#", ""), re.DOTALL
)
assert COMMAND is not None
GIVEN = dict(variable.split("=", 1) for variable in COMMAND[1].split())


def made(work: Path, environ: dict[str, str], said: list[str] | None = None) -> Stack:
    """A stack whose processes are made and not started."""
    stack = Stack(Options(work=work), environ, say=([] if said is None else said).append)
    for variable in ("GITHUB_URL", "ARGOCD_URL"):
        stack._addresses[variable] = f"http://{LOOPBACK}:1"
    stack.functions = stack._make_processes()
    return stack


def listening(stack: Stack) -> dict[str, tuple[int, str]]:
    """Job to port and path, as the embedded Prometheus would scrape them."""
    assert stack.functions is not None
    jobs = stack._scrape_jobs(stack.functions["exporter"].url)
    return {job.name: (int(job.targets[0].rpartition(":")[2]), job.path) for job in jobs}


@pytest.fixture(autouse=True)
def all_ports_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another emulator on this machine may have the usual ones."""
    monkeypatch.setattr(stack_module, "take_port", lambda usual, _product: (usual or 20_000, None))


def test_with_a_given_prometheus_the_emulator_listens_where_the_configuration_scrapes(tmp_path: Path) -> None:
    jobs = yaml.safe_load((INFRA / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    scraped = {
        job["job_name"]: (
            urlsplit(f"//{job['static_configs'][0]['targets'][0]}").port,
            job.get("metrics_path", "/metrics"),
        )
        for job in jobs
    }
    assert listening(made(tmp_path, {**GIVEN, "KUBEFINOPS_LISTEN": LOOPBACK})) == scraped


def test_the_embedded_prometheus_is_told_any_free_port(tmp_path: Path) -> None:
    environ = {name: value for name, value in GIVEN.items() if name != "PROMETHEUS_URL"}
    assert {port for port, _ in listening(made(tmp_path, environ)).values()} == {20_000}


@pytest.mark.parametrize(
    ("listen", "host", "reached"),
    [("", LOOPBACK, LOOPBACK), ("0.0.0.0", "0.0.0.0", LOOPBACK), ("127.0.0.2",) * 3],
)
def test_exporter_and_cluster_listen_on_the_address_that_is_given_and_nothing_else_does(
    tmp_path: Path, listen: str, host: str, reached: str
) -> None:
    stack = made(tmp_path, {**GIVEN, "KUBEFINOPS_LISTEN": listen})
    assert stack.functions is not None
    hosts = {
        each.name: each._command[each._command.index("--host") + 1]
        for each in (*stack.functions, *stack.standins.values())
        if "--host" in each._command
    }
    assert {name: hosts.pop(name, LOOPBACK) for name in ("exporter", "cluster")} == dict.fromkeys(
        ("exporter", "cluster"), host
    )
    assert set(hosts.values()) == {LOOPBACK}
    assert stack.functions["exporter"].url == f"http://{reached}:{SCRAPED_PORTS['exporter']}"
    assert stack.standins["cluster"].address == f"http://{reached}:{SCRAPED_PORTS['cluster']}"


@pytest.mark.parametrize("address", ["docker0", "192.0.2.1", "::1"])
def test_an_address_that_is_not_this_machines_is_a_bad_setting(tmp_path: Path, address: str) -> None:
    with pytest.raises(
        BadSetting, match=f"KUBEFINOPS_LISTEN: '{address}' is no IPv4 address of this machine"
    ):
        made(tmp_path, {**GIVEN, "KUBEFINOPS_LISTEN": address})


def test_a_taken_port_is_said_and_another_one_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with socket.create_server((LOOPBACK, 0)) as occupant:
        used = occupant.getsockname()[1]
        monkeypatch.setitem(SCRAPED_PORTS, "cluster", used)
        monkeypatch.setitem(SCRAPED_PORTS, "exporter", 0)
        said: list[str] = []
        stack = made(tmp_path, {**GIVEN, "KUBEFINOPS_LISTEN": "127.0.0.2"}, said)
    address = stack.standins["cluster"].address.removeprefix("http://")
    assert said == [
        f"port {used} is in use: cluster listens on {address} instead; the given Prometheus has to look there"
    ]
    assert not address.endswith(f":{used}")
