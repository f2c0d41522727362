"""Verbs on a real Prometheus with several clusters, or that tells of no pod it measures."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.cli import kubefinops
from tests.fakes.prometheus import History, Labels
from tests.servers import prometheus_server

Stored = Callable[[Labels], Labels]

MIB = 2**20
DAY = 86400
# Some minutes beyond now, because the scan asks for now.
END = int(time.time()) // 60 * 60 + 300
TIMES = range(END - DAY - 7200, END + 1, 60)
EXPORTER = {"namespace": "monitoring", "pod": "ksm-0", "container": "kube-state-metrics", "job": "ksm"}
MANIFEST = """\
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web, namespace: shop}
spec:
  template:
    spec:
      containers:
        - name: app
          resources:
            requests: {cpu: "1", memory: 1Gi}
"""


def honoured(labels: Labels) -> Labels:
    return labels


def hidden(labels: Labels) -> Labels:
    """As Prometheus stores a series that is scraped from the exporter's pod without honor_labels."""
    return EXPORTER | {f"exported_{name}" if name in EXPORTER else name: labels[name] for name in labels}


def always(written: History, metric: str, labels: Labels, value: float = 1.0) -> None:
    written.add(metric, labels, ((at, value) for at in TIMES))


def measure(written: History, pod: Labels, cores: float = 0.1) -> None:
    written.add("container_cpu_usage_seconds_total", pod, ((at, (at - TIMES[0]) * cores) for at in TIMES))
    always(written, "container_memory_working_set_bytes", pod, 100.0 * MIB)


def tell(written: History, pod: Labels, name: str, stored: Stored = honoured) -> None:
    """That a StatefulSet of this name owns it, and that it asks for a core and a GiB."""
    owner = {"owner_kind": "StatefulSet", "owner_name": name, "owner_is_controller": "true"}
    always(written, "kube_pod_owner", stored({k: v for k, v in pod.items() if k != "container"} | owner))
    always(written, "kube_pod_container_status_restarts_total", stored(pod), 0.0)
    for resource, value in (("cpu", 1.0), ("memory", 1024.0 * MIB)):
        labels = stored({**pod, "resource": resource})
        always(written, "kube_pod_container_resource_requests", labels, value)


def history() -> History:
    """Each case has another value of `env`."""
    written = History()
    web = {"namespace": "shop", "pod": "web-0", "container": "app"}
    own = {name: EXPORTER[name] for name in web}
    # Of kube-state-metrics' own pod there is usage, and every owner seems to be its.
    case = {"env": "hidden"}
    measure(written, web | case)
    measure(written, own | case)
    tell(written, web | case, "web", hidden)
    # One `web` uses a tenth of a core, the other six.
    for cluster, cores in (("eu", 0.1), ("us", 0.6)):
        case = {"env": "several", "cluster": cluster}
        measure(written, web | case, cores)
        tell(written, web | case, "web")
    only = {"namespace": "cart", "pod": "cart-0", "container": "app", "env": "several", "cluster": "eu"}
    measure(written, only)
    tell(written, only, "cart")
    # Beside the scrape that is right there is another.
    case = {"env": "both"}
    for pod, name in ((web, "web"), (own, "ksm")):
        measure(written, pod | case)
        tell(written, pod | case, name)
        tell(written, pod | case, name, hidden)
    # cAdvisor tells of other pods; nothing of `idle` runs.
    case = {"env": "unmeasured"}
    tell(written, web | case, "web")
    measure(written, {**web, "pod": "elsewhere-0"} | case)
    always(written, "kube_deployment_spec_replicas", {"namespace": "idle", "deployment": "off"} | case, 0.0)
    return written


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = history().write(tmp_path_factory.mktemp("history") / "history.om")
    with prometheus_server(openmetrics=path) as server:
        yield str(server.address)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "web.yaml").write_text(MANIFEST)
    return tmp_path


def run(verb: str, address: str, env: str, *more: str) -> subprocess.CompletedProcess[str]:
    """By percentiles: their figures can be reckoned in the head."""
    by = {"KUBEFINOPS_STRATEGY": "percentile"}
    return kubefinops(verb, "--prometheus", address, "--label", f"env={env}", *more, environment=by)


def propose(address: str, env: str, tree: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return run("propose", address, env, "--repo", str(tree), *more)


def test_what_hidden_labels_tell_of_is_never_taken_for_a_workload_of_the_exporters_namespace(
    address: str, tree: Path
) -> None:
    done = run("scan", address, "hidden", "--format", "json", "--fail-on-waste", "1")
    assert done.returncode == 5
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "kubefinops: nothing was measured of 1 workload in 1 namespace: kube-state-metrics is scraped without"
        " honor_labels (job ksm): "
    )
    assert "honorLabels: true" in line
    assert line.endswith("; `kubefinops doctor` tells more")
    document = json.loads(done.stdout)
    assert document["notes"] == [line.removeprefix("kubefinops: ")]
    (entry,) = document["workloads"]
    # It has kube-state-metrics' own usage, and what containers of the whole cluster ask for.
    assert (entry["workload"]["namespace"], entry["workload"]["name"]) == ("monitoring", "web")
    assert entry["containers"]
    assert entry["decision"] == "skipped"
    assert entry["reason"].startswith("kube-state-metrics is scraped without honor_labels")
    done = propose(address, "hidden", tree)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line + "\n")


def test_a_namespace_whose_pods_are_hidden_is_told_with_the_cause(address: str) -> None:
    done = run("scan", address, "hidden", "--namespace", "shop")
    assert done.returncode == 1
    assert re.search(
        r"no namespace shop .*; seen: monitoring; .*without honor_labels \(job ksm\)", done.stderr
    )


def test_where_another_scrape_is_right_only_the_exporters_namespace_is_left(address: str) -> None:
    done = run("scan", address, "both", "--format", "json")
    assert done.returncode == 0, done.stderr
    entries = {entry["workload"]["namespace"]: entry for entry in json.loads(done.stdout)["workloads"]}
    assert (entries["shop"]["decision"], entries["monitoring"]["decision"]) == ("proposed", "skipped")
    assert done.stderr.startswith(
        "kubefinops: kube-state-metrics is scraped without honor_labels (job ksm): "
    )
    assert done.stderr.endswith("; what is in monitoring is left as it is\n")


def test_a_backtest_refuses_several_clusters(address: str) -> None:
    done = run("backtest", address, "several")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        r"kubefinops: --label: http://\S+ has several clusters \(eu, us\): choose by --label cluster=eu, or"
        r" by PROMETHEUS_LABELS=cluster=eu\n",
        done.stderr,
    )


@pytest.mark.parametrize("form", ["table", "json", "yaml", "html", "csv"])
def test_several_clusters_are_read_as_one_with_a_warning(address: str, form: str) -> None:
    done = run("scan", address, "several", "--format", form)
    note = (
        "Prometheus has several clusters (eu, us): choose by --label cluster=eu, or by"
        " PROMETHEUS_LABELS=cluster=eu; here"
    )
    assert done.returncode == 0
    assert done.stderr == f"kubefinops: {note} they are read as one\n"
    assert (note in done.stdout) is (form != "csv")


@pytest.mark.parametrize("more", [("--label", "cluster=eu"), ("--namespace", "cart")])
def test_one_cluster_of_several_is_read_without_a_warning(address: str, more: Sequence[str]) -> None:
    done = run("scan", address, "several", "--format", "json", *more)
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["notes"] == []
    for entry in document["workloads"]:
        assert entry["containers"][0]["proposed"]["cpu_request_m"] == 115


def test_nothing_is_proposed_of_several_clusters(address: str, tree: Path) -> None:
    done = propose(address, "several", tree)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"kubefinops: --label: {address} has several clusters (eu, us): choose by --label cluster=eu, or"
        " by PROMETHEUS_LABELS=cluster=eu\n"
    )
    assert (tree / "web.yaml").read_text() == MANIFEST
    done = propose(address, "several", tree, "--label", "cluster=us")
    assert done.returncode == 0, done.stderr
    assert "CPU request 1 -> 690m" in done.stdout


@pytest.mark.parametrize("more", [(), ("--namespace", "shop")])
def test_a_scan_of_what_nobody_measured_ends_with_5_and_is_there_all_the_same(
    address: str, more: Sequence[str], tmp_path: Path
) -> None:
    path = tmp_path / "scan.json"
    arguments = ("--format", "json", "--output", str(path), "--fail-on-waste", "1")
    done = run("scan", address, "unmeasured", *arguments, *more)
    assert done.returncode == 5
    assert re.fullmatch(
        r"kubefinops: nothing was measured of \d workloads? in \d namespaces?: kube-state-metrics tells of"
        r" them, and cAdvisor of no use of their containers, .*; `kubefinops doctor` tells more\n",
        done.stderr,
    )
    assert "shop" in {each["workload"]["namespace"] for each in json.loads(path.read_text())["workloads"]}


def test_where_nothing_runs_nothing_has_to_be_measured(address: str) -> None:
    done = run("scan", address, "unmeasured", "--namespace", "idle")
    assert (done.returncode, done.stderr) == (0, "")
    assert "idle/Deployment/off" in done.stdout
