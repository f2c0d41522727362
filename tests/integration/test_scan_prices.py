"""What `kubefinops scan` says of money, on a real Prometheus that knows nodes, at every level and format."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.prometheus import History
from tests.integration.test_scan import DAY, MIB, scan
from tests.servers import prometheus_server

HEADER = "EndTimestamp,InstanceID,Region,AssetClass,InstanceIDField,InstanceType,MarketPriceHourly,Version"
NODES = {
    "dear": {"label_example_com_price": "0.4", "label_node_kubernetes_io_instance_type": "m5.xlarge"},
    "spot": {"label_eks_amazonaws_com_capacity_type": "SPOT"},
}
# Of each workload one pod: its namespace, node and containers.
PODS = {
    "web": ("shop", "dear", ("app", "side")),
    "scaled": ("shop", "spot", ("app",)),
    "lone": ("data", "", ("app",)),
    "young": ("data", "spot", ("app",)),
}


def history() -> History:
    """Each container uses a tenth of its core and of its GiB; `scaled` has an autoscaler, `young` an hour."""
    written = History()
    end = int(time.time()) // 60 * 60 + 300

    def told(metric: str, begin: int, value: float, **labels: str) -> None:
        written.add(metric, labels, ((at, value) for at in range(begin, end + 1, 60)))

    for name, (namespace, node, containers) in PODS.items():
        begin = end - 3600 if name == "young" else end - DAY - 7200
        pod = {"namespace": namespace, "pod": f"{name}-0"}
        owner = {"owner_kind": "StatefulSet", "owner_name": name, "owner_is_controller": "true"}
        told("kube_pod_owner", begin, 1.0, **pod, **owner)
        told("kube_pod_info", begin, 1.0, **pod, node=node)
        for container in containers:
            here, times = {**pod, "container": container}, range(begin, end + 1, 60)
            written.add("container_cpu_usage_seconds_total", here, ((at, (at - begin) * 0.1) for at in times))
            told("container_memory_working_set_bytes", begin, 100.0 * MIB, **here)
            told("kube_pod_container_status_restarts_total", begin, 0.0, **here)
            told("kube_pod_container_resource_requests", begin, 1.0, **here, resource="cpu")
            told("kube_pod_container_resource_requests", begin, 1024.0 * MIB, **here, resource="memory")
    autoscaler = {"namespace": "shop", "horizontalpodautoscaler": "scaled"}
    target = {"scaletargetref_kind": "StatefulSet", "scaletargetref_name": "scaled"}
    told("kube_horizontalpodautoscaler_info", end - 3600, 1.0, **autoscaler, **target)
    for resource in ("cpu", "memory"):
        told(
            "kube_horizontalpodautoscaler_spec_target_metric",
            end - 3600,
            70.0,
            **autoscaler,
            metric_name=resource,
            metric_target_type="utilization",
        )
    for node, labels in NODES.items():
        # As a ServiceMonitor without honorLabels leaves it: the exporter's own namespace.
        told("kube_node_labels", end - 3600, 1.0, namespace="monitoring", node=node, **labels)
        told("kube_node_info", end - 3600, 1.0, node=node, provider_id=f"aws:///eu-west-1a/i-{node}")
        told("kube_node_status_capacity", end - 3600, 4.0, node=node, resource="cpu")
        told("kube_node_status_capacity", end - 3600, 16.0 * 2**30, node=node, resource="memory")
    return written


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = history().write(tmp_path_factory.mktemp("history") / "history.om")
    with prometheus_server(openmetrics=path) as server:
        yield str(server.address)


def saving(core_hour: str, gib_hour: str, containers: int = 1) -> Decimal:
    """(1 core, 1 GiB) -> (115m, 115 MiB) in a month of 730 hours, before and after to the cent."""
    core, gib = Decimal(core_hour), Decimal(gib_hour)
    before = (core + gib) * 730 * containers
    after = (core * Decimal("0.115") + gib * 115 / 1024) * 730 * containers
    cent = Decimal("0.01")
    return before.quantize(cent) - after.quantize(cent)


COMMON, SPOT = ("0.031611", "0.004237"), ("0.006655", "0.000892")


def document(address: str, *arguments: str, **environment: str) -> Any:
    done = scan("--prometheus", address, "--format", "json", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return found | {"workloads": {each["workload"]["name"]: each for each in found["workloads"]}}


def usd(amount: Decimal) -> dict[str, str]:
    return {"amount": f"{amount:.2f}", "currency": "USD"}


def test_json_tells_of_containers_workloads_namespaces_and_the_cluster(address: str) -> None:
    found = document(address)
    web, scaled, lone, young = (found["workloads"][name] for name in ("web", "scaled", "lone", "young"))
    assert web["monthly_saving"] == usd(saving(*COMMON, 2))
    costs = web["costs"]
    parts = [Decimal(costs[name]["monthly_saving"]["amount"]) for name in ("app", "side")]
    assert parts[0] == saving(*COMMON)
    assert sum(parts) == saving(*COMMON, 2)
    # An autoscaler keeps it from being proposed; on a spot node it wastes less.
    assert (scaled["decision"], scaled["monthly_waste_left"]) == ("skipped", usd(saving(*SPOT)))
    assert (young["decision"], young["monthly_waste_left"]) == ("skipped", None)
    assert (scaled["nodes"], lone["nodes"]) == ({"spot": 1}, {})
    rates = scaled["rates"]
    assert rates["source"] == "OpenCost's default for an unknown provider, spot"
    shop, data, whole = found["namespaces"]["shop"], found["namespaces"]["data"], found["totals"]
    assert (shop["monthly_saving"], shop["monthly_waste_left"]) == (
        usd(saving(*COMMON, 2)),
        usd(saving(*SPOT)),
    )
    assert (data["monthly_saving"], data["monthly_waste_left"]) == (usd(saving(*COMMON)), None)
    assert whole["monthly_saving"] == usd(saving(*COMMON, 2) + saving(*COMMON))
    assert whole["monthly_waste_left"] == usd(saving(*SPOT))
    assert (whole["workloads"], whole["proposed"], whole["waste_left_unknown"]) == (4, 2, 1)


def test_the_table_tells_of_each_level_too(address: str) -> None:
    done = scan("--prometheus", address)
    assert done.returncode == 0, done.stderr
    lines = [re.split(r" {2,}", line.strip()) for line in done.stdout.splitlines()]
    assert ["shop/StatefulSet/web", f"{saving(*COMMON, 2)}"] in lines
    one, resources = f"{saving(*COMMON)}", ["100m / 100m", "100Mi / 100Mi", "1 -> 115m", "1Gi -> 115Mi"]
    assert ["app", *resources, one] in lines
    assert ["data/StatefulSet/lone", "app", *resources, one] in lines
    # What is left as it is shows what is set alone, and why it is special in a word.
    kept = [*resources[:2], "1", "1Gi"]
    assert ["shop/StatefulSet/scaled", "app", "HPA", *kept, "-", f"{saving(*SPOT)}"] in lines
    assert [line[0] for line in lines if line[1:3] == ["2", "1"]] == ["shop", "data"]
    assert f"saves {saving(*COMMON, 2) + saving(*COMMON)} USD of" in done.stdout
    left = f"left as they are is {saving(*SPOT)} USD a month; of 1 of them it cannot be said."
    assert f"what sizing would save of those that are {left}" in done.stdout
    assert (
        "prices (2 workloads): 0.006655 USD a core and hour, 0.000892 a GiB and hour:"
        " OpenCost's default for an unknown provider, spot\n"
    ) in done.stdout


def test_csv_and_html_tell_of_each_level_too(address: str) -> None:
    rows = list(csv.DictReader(io.StringIO(scan("--prometheus", address, "--format", "csv").stdout)))
    by_name = {(row["workload"], row["container"]): row for row in rows}
    side = by_name["web", "side"]
    assert Decimal(side["workload_monthly_saving"]) == saving(*COMMON, 2)
    assert Decimal(side["namespace_monthly_waste_left"]) == saving(*SPOT)
    assert Decimal(side["cluster_monthly_saving"]) == sum(Decimal(row["monthly_saving"]) for row in rows)
    scaled, young = by_name["scaled", "app"], by_name["young", "app"]
    assert (scaled["monthly_saving"], Decimal(scaled["monthly_waste_left"])) == ("0.00", saving(*SPOT))
    assert (young["monthly_waste_left"], young["workload_monthly_waste_left"]) == ("", "")
    assert (scaled["core_hour"], scaled["gib_hour"]) == SPOT
    page = scan("--prometheus", address, "--format", "html").stdout
    assert "Waste left a month" in page
    assert f"{saving(*SPOT)} left" in page
    assert f"the workload saves {saving(*COMMON, 2)} USD of" in page
    assert "or as its nodes cost (in each row)" in page


def test_a_providers_prices_are_taken_by_option_and_by_variable(address: str) -> None:
    for found in (
        document(address, "--provider", "oracle"),
        document(address, KUBEFINOPS_PRICE_PROVIDER="oracle"),
    ):
        assert found["workloads"]["lone"]["monthly_saving"] == usd(saving("0.015", "0.002"))
        assert found["workloads"]["scaled"]["monthly_waste_left"] == usd(saving("0.015", "0.002"))


def test_a_nodes_price_comes_from_its_label(address: str) -> None:
    found = document(address, KUBEFINOPS_PRICE_NODE_LABEL="example.com/price")
    # 0.4 x 0.031611 / (4 x 0.031611 + 16 x 0.004237), and the same with 0.004237.
    assert found["workloads"]["web"]["rates"] == {
        "core_hour": {"amount": "0.065098128", "currency": "USD"},
        "gib_hour": {"amount": "0.008725468", "currency": "USD"},
        "source": "node label example.com/price: 0.4 an hour for 4 cores and 16 GiB",
    }
    assert found["workloads"]["web"]["monthly_saving"] == usd(saving("0.065098128", "0.008725468", 2))
    assert found["workloads"]["scaled"]["monthly_waste_left"] == usd(saving(*SPOT))


def test_a_nodes_price_comes_from_a_file(address: str, tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    lines = [
        HEADER,
        "2026-11-01 00:00:00 UTC,,,node,,m5.xlarge,0.4,",
        "2026-11-01 00:00:00 UTC,i-spot,,node,spec.providerID,,0.04,",
    ]
    path.write_text("\n".join(lines))
    for found in (
        document(address, "--prices", str(path)),
        document(address, KUBEFINOPS_PRICES_FILE=str(path)),
    ):
        rates = found["workloads"]["web"]["rates"]
        assert rates["source"] == "prices.csv line 2: 0.4 an hour for 4 cores and 16 GiB"
        assert found["workloads"]["web"]["monthly_saving"] == usd(saving("0.065098128", "0.008725468", 2))
        spot = found["workloads"]["scaled"]["rates"]
        assert spot["core_hour"] == {"amount": "0.006509813", "currency": "USD"}
        assert spot["source"] == "prices.csv line 3: 0.04 an hour for 4 cores and 16 GiB"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{HEADER}\n,n,,node,metadata.name,,cheap,\n", "line 2: MarketPriceHourly 'cheap' is no number"),
        (f"{HEADER}\n,n,,node,metadata.name,,-1,\n", "line 2: MarketPriceHourly -1 is negative"),
        (
            HEADER.replace("MarketPriceHourly,", ""),
            f"line 1: column MarketPriceHourly missing; the first line has to be {HEADER}, with commas",
        ),
        (None, "no such file or directory"),
    ],
)
def test_a_file_that_is_wrong_is_one_line_and_ends_with_2(
    tmp_path: Path, text: str | None, says: str
) -> None:
    path = tmp_path / "prices.csv"
    if text is not None:
        path.write_text(text)
    by_option = scan("--prometheus", "http://127.0.0.1:1", "--prices", str(path))
    assert (by_option.returncode, by_option.stdout) == (2, "")
    assert by_option.stderr == f"kubefinops: --prices: {path}: {says}\n"
    by_variable = scan("--prometheus", "http://127.0.0.1:1", KUBEFINOPS_PRICES_FILE=str(path))
    assert by_variable.returncode == 2
    assert by_variable.stderr == f"kubefinops: setting KUBEFINOPS_PRICES_FILE: {path}: {says}\n"
