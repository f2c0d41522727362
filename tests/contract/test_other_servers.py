"""The recommender's reading on real servers other than Prometheus: VictoriaMetrics and Mimir, where built.

Each has the samples that Prometheus has in test_prometheus.py, and Prometheus' figures are the truth.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from functions.recommender import reading
from functions.recommender.sizing import Observed, ObservedContainer
from shared.adapters.prometheus import HttpPrometheus
from shared.contracts.errors import Temporary
from shared.contracts.prometheus import QueryRefused, QueryTooLarge
from shared.runtime.settings import PrometheusSettings
from shared.runtime.world import World
from tests.cli import kubefinops
from tests.contract.test_prometheus import DAYS, END, MIB, NOW, write_cluster
from tests.contract.test_prometheus_access import certificates
from tests.fakes.prometheus import History
from tests.other_servers import (
    MIMIR,
    VICTORIAMETRICS,
    VMAUTH,
    mimir,
    victoriametrics,
    victoriametrics_take,
    vmauth,
)
from tests.servers import prometheus_server

TENANT = "team-a"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cluster().history.write(tmp_path_factory.mktemp("history") / "history.om")


def read(address: str, tenant: str = "") -> reading.Reading:
    client = HttpPrometheus(address, tenant=tenant)
    return reading.read(client, "local", NOW, history=timedelta(days=DAYS), oom_days=1)


def by_name(read: reading.Reading) -> dict[str, Observed]:
    return {f"{each.workload.kind}/{each.workload.name}": each for each in read.workloads}


@pytest.fixture(scope="module")
def seen(history: Path) -> dict[str, Observed]:
    """What Prometheus tells of every workload."""
    with prometheus_server(openmetrics=history) as server:
        return by_name(read(str(server.address)))


@pytest.fixture(scope="module")
def on_victoriametrics(history: Path) -> Iterator[str]:
    with victoriametrics(history) as address:
        yield address


@pytest.fixture(scope="module")
def on_mimir(history: Path) -> Iterator[str]:
    with mimir(history, tenant=TENANT) as address:
        yield address


def without_cpu(container: ObservedContainer) -> ObservedContainer:
    """And without how many windows there were: after a gap VictoriaMetrics has a rate one window sooner."""
    days = tuple(replace(day, cpu_m=(), windows=0, samples=0) for day in container.days)
    usage = container.usage and container.usage.model_copy(
        update={"cpu_p95_m": 0.0, "cpu_max_m": 0.0, "cpu_p95_recent_m": 0.0, "samples": 0}
    )
    remembered = replace(container.remembered, started_cpu_m=0.0)
    return replace(container, usage=usage, days=days, remembered=remembered)


@VICTORIAMETRICS.needed
def test_victoriametrics_tells_what_prometheus_does_but_for_rates_which_begin_a_scrape_earlier(
    on_victoriametrics: str, seen: dict[str, Observed]
) -> None:
    # A window has a fifth of the one before in it, which here may be three times as much or a third.
    check_alike(by_name(read(on_victoriametrics)), seen)


def check_alike(found: dict[str, Observed], seen: dict[str, Observed]) -> None:
    """All but CPU is the same, and that is near."""
    for name, observed in seen.items():
        pairs = list(zip(found.pop(name).containers, observed.containers, strict=True))
        assert pairs
        for here, there in pairs:
            assert without_cpu(here) == without_cpu(there)
            started, started_there = (each.remembered.started_cpu_m for each in (here, there))
            assert started == pytest.approx(started_there, rel=0.05)
            if here.usage is None or there.usage is None:
                continue
            assert here.usage.cpu_p95_m == pytest.approx(there.usage.cpu_p95_m, rel=0.05)
            assert here.usage.cpu_max_m == pytest.approx(there.usage.cpu_max_m, rel=0.05)
            assert here.usage.cpu_p95_recent_m == pytest.approx(there.usage.cpu_p95_recent_m)
            assert here.usage.samples == pytest.approx(there.usage.samples, abs=1)
    assert not found


@MIMIR.needed
def test_mimir_tells_its_tenant_what_prometheus_does_but_for_rates_whose_window_begins_at_a_scrape(
    on_mimir: str, seen: dict[str, Observed]
) -> None:
    # As Prometheus 3 it leaves that scrape out, and prolongs what is left: every second window here.
    check_alike(by_name(read(on_mimir, TENANT)), seen)


@MIMIR.needed
def test_another_tenant_of_mimir_has_nothing_and_who_names_none_is_told_to(on_mimir: str) -> None:
    assert read(on_mimir, "team-b").workloads == ()
    with pytest.raises(Temporary, match=r"status 401: .*PROMETHEUS_TENANT is missing"):
        read(on_mimir)


@VICTORIAMETRICS.needed
@pytest.mark.parametrize(
    "flag",
    [
        "-search.maxQueryLen=1200",
        "-search.maxResponseSeries=56",
        "-search.maxMemoryPerQuery=56KB",
    ],
)
def test_what_victoriametrics_will_not_answer_at_once_is_read_in_parts_and_alike(
    history: Path, on_victoriametrics: str, flag: str
) -> None:
    whole = read(on_victoriametrics)
    with victoriametrics(history, flag) as address:
        parts = read(address)
    assert parts.workloads == whole.workloads
    assert len(parts.asked) > len(whole.asked)


@VICTORIAMETRICS.needed
@pytest.mark.parametrize("flag", ["-search.maxSamplesPerQuery=8000", "-search.maxPointsPerTimeseries=100"])
def test_what_victoriametrics_will_not_answer_in_parts_either_fails_and_names_the_limit(
    history: Path, flag: str
) -> None:
    with (
        victoriametrics(history, flag) as address,
        pytest.raises(QueryTooLarge, match=flag.partition("=")[0]),
    ):
        read(address)


@MIMIR.needed
@pytest.mark.parametrize(
    "limits", [{"max_query_expression_size_bytes": 1200}, {"max_fetched_series_per_query": 56}]
)
def test_what_mimir_will_not_answer_at_once_is_read_in_parts_and_alike(
    history: Path, on_mimir: str, limits: dict[str, Any]
) -> None:
    whole = read(on_mimir, TENANT)
    with mimir(history, limits, TENANT) as address:
        parts = read(address, TENANT)
    assert parts.workloads == whole.workloads
    assert len(parts.asked) > len(whole.asked)


@MIMIR.needed
@pytest.mark.parametrize(
    ("limits", "error", "says"),
    [
        ({"max_fetched_series_per_query": 2}, QueryTooLarge, "err-mimir-max-series-per-query"),
        ({"max_fetched_chunks_per_query": 20}, QueryTooLarge, "err-mimir-max-chunks-per-query"),
        ({"max_total_query_length": "24h"}, QueryRefused, "err-mimir-max-total-query-length"),
    ],
)
def test_what_mimir_will_not_answer_in_parts_either_fails_and_names_the_limit(
    history: Path, limits: dict[str, Any], error: type[Exception], says: str
) -> None:
    with mimir(history, limits, TENANT) as address, pytest.raises(error, match=says):
        read(address, TENANT)


@VICTORIAMETRICS.needed
def test_samples_that_come_late_are_not_hidden_by_an_answer_that_was_kept(
    history: Path, tmp_path: Path, on_victoriametrics: str
) -> None:
    lines = history.read_text(encoding="utf-8").splitlines(keepends=True)

    def is_late(line: str) -> bool:
        return line.startswith("container_") and END - 21600 <= float(line.rsplit(" ", 1)[1]) < END - 14400

    early, late = tmp_path / "early.om", tmp_path / "late.om"
    early.write_text("".join(line for line in lines if not is_late(line)))
    late.write_text("".join(line for line in lines if is_late(line)))
    # As in its cluster version, where those who answer do not know of what comes in.
    with victoriametrics(early, "-search.disableAutoCacheReset") as address:
        before = read(address)
        victoriametrics_take(late, address)
        after = read(address)
    assert after.workloads == read(on_victoriametrics).workloads
    assert before.workloads != after.workloads


@VICTORIAMETRICS.needed
@VMAUTH.needed
def test_a_gateway_lets_in_by_token_or_user_over_tls_of_ones_own_authority(
    on_victoriametrics: str, tmp_path: Path
) -> None:
    authority, certificate = certificates(tmp_path)
    users = [{"bearer_token": "t0ken"}, {"username": "J\u00fcrg", "password": "5\u20ac"}]

    def count(address: str, **variables: str) -> float:
        settings = PrometheusSettings.read({"PROMETHEUS_URL": address, **variables})
        (row,) = World("any", settings).prometheus.query("count(count by (pod) (kube_pod_owner))", NOW)
        return row.value

    ca = {"PROMETHEUS_CA_FILE": str(authority)}
    with vmauth(on_victoriametrics, users, certificate) as address:
        everything = count(on_victoriametrics)
        assert count(address, PROMETHEUS_TOKEN="t0ken", **ca) == everything
        user = {"PROMETHEUS_USERNAME": "J\u00fcrg", "PROMETHEUS_PASSWORD": "5\u20ac"}
        assert count(address, **user, **ca) == everything
        with pytest.raises(Temporary, match="certificate is not trusted"):
            count(address, **user)
        for wrong in ({}, {"PROMETHEUS_TOKEN": "another"}, {**user, "PROMETHEUS_PASSWORD": "5"}):
            with pytest.raises(Temporary, match=r"status 401: .*PROMETHEUS_TOKEN"):
                count(address, **wrong, **ca)


Serving = Callable[[Path], AbstractContextManager[str]]


@pytest.mark.parametrize(
    ("serving", "environment"),
    [
        pytest.param(victoriametrics, {}, marks=VICTORIAMETRICS.needed, id="victoriametrics"),
        pytest.param(mimir, {"PROMETHEUS_TENANT": TENANT}, marks=MIMIR.needed, id="mimir"),
    ],
)
def test_one_of_two_clusters_in_it_is_scanned_by_its_label(
    serving: Serving, environment: dict[str, str], tmp_path: Path
) -> None:
    history = History()
    for cluster, cores in (("eu", 0.1), ("us", 0.7)):
        run_until_now(history, cluster, cores)
    with serving(history.write(tmp_path / "history.om")) as address:
        scan = kubefinops(
            *("scan", "--prometheus", address, "--label", "cluster=eu", "--format", "json"),
            environment={**environment, "KUBEFINOPS_STRATEGY": "percentile"},
        )
        doctor = kubefinops("doctor", "--prometheus", address, columns="200", environment=environment)
    assert (scan.returncode, scan.stderr) == (0, "")
    (found,) = json.loads(scan.stdout)["workloads"]
    (container,) = found["containers"]
    assert container["usage"]["cpu_p95_m"] == pytest.approx(100, rel=0.01)
    assert container["usage"]["memory_max_bytes"] == 100 * MIB
    assert container["proposed"]["cpu_request_m"] == 115
    assert (doctor.returncode, doctor.stdout.splitlines()[-1]) == (0, "everything that is required is there")


@MIMIR.needed
def test_where_mimir_looks_less_far_back_whole_days_are_read_and_no_kill_is_missed(tmp_path: Path) -> None:
    history, now = History(), datetime.now(UTC)
    run_until_now(history, "eu", 0.1, days=4, restarts=False)
    killed = now.timestamp() // 86400 * 86400 - 1800  # in the last hour of yesterday
    here = {"namespace": "shop", "pod": "web-6c9f7-a", "container": "app"}
    times = range(int(killed) - 86400, int(now.timestamp()), 60)
    restarts = [(at, float(at >= killed)) for at in times]
    history.add("kube_pod_container_status_restarts_total", here, restarts)
    reason = [(at, 1.0) for at in times if at >= killed]
    history.add("kube_pod_container_status_last_terminated_reason", {**here, "reason": "OOMKilled"}, reason)
    path = history.write(tmp_path / "history.om")
    with mimir(path, {"max_query_lookback": "60h"}, TENANT) as address:
        client = HttpPrometheus(address, tenant=TENANT)
        (web,) = reading.read(client, "local", now, history=timedelta(days=14), oom_days=7).workloads
    (container,) = web.containers
    assert [day.ago for day in container.days if day.ago] == ([2, 1] if now.hour < 11 else [1])
    assert {day.windows for day in container.days if day.ago} <= {99, 100}
    assert container.usage is not None
    assert container.usage.oom_kills == 1


def run_until_now(
    history: History, cluster: str, cores: float, days: int = DAYS, *, restarts: bool = True
) -> None:
    """A Deployment's pod that ran for the last days, and which `restarts` say never began anew."""
    now = int(datetime.now(UTC).timestamp())
    times = range(now - days * 86400, now, 60)
    here = {"cluster": cluster, "namespace": "shop", "pod": "web-6c9f7-a"}
    app = {**here, "container": "app"}
    of_pod = {"owner_kind": "ReplicaSet", "owner_name": "web-6c9f7", "owner_is_controller": "true"}
    of_set = {"replicaset": "web-6c9f7", "owner_kind": "Deployment", "owner_name": "web"}
    history.add(
        "container_cpu_usage_seconds_total", app, [(at, round(cores * (at - times[0]), 3)) for at in times]
    )
    history.add("container_memory_working_set_bytes", app, [(at, 100.0 * MIB) for at in times])
    if restarts:
        history.add("kube_pod_container_status_restarts_total", app, [(at, 0.0) for at in times])
    history.add("kube_pod_owner", {**here, **of_pod}, [(at, 1.0) for at in times])
    namespace = {"cluster": cluster, "namespace": "shop", "owner_is_controller": "true"}
    history.add("kube_replicaset_owner", {**namespace, **of_set}, [(at, 1.0) for at in times])
    history.add("kube_pod_container_info", {**app, "image": "x"}, [(at, 1.0) for at in times])
    for resource, value in (("cpu", 1.0), ("memory", 512.0 * MIB)):
        asked = {**app, "resource": resource}
        history.add("kube_pod_container_resource_requests", asked, [(at, value) for at in times])
