"""`kubefinops propose` as a person runs it: a working tree, a real Prometheus, and what is printed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from functions.recommender.report import Entry
from infra.cli import propose as verb
from infra.cli.looking import look
from tests.cli import COMMAND, ROOT, kubefinops
from tests.fakes.prometheus import History
from tests.servers import prometheus_server

MIB = 2**20
DAY = 86400
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
            requests:
              cpu: 4000m  # four
              memory: 1024Mi
            limits:
              cpu: "8"
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Days of `web`, which uses little of what it asks for, and of `meshed`, whose proxy is injected."""
    written = History()
    end = int(time.time()) // 60 * 60 + 300
    begin = end - 15 * DAY  # of less its memory would not be lowered
    times = range(begin, end + 1, 60)
    for name, container in (("web", "app"), ("meshed", "app"), ("meshed", "istio-proxy")):
        pod = {"namespace": "shop", "pod": f"{name}-0"}
        here = {**pod, "container": container}
        written.add("container_cpu_usage_seconds_total", here, ((at, (at - begin) * 0.1) for at in times))
        written.add("container_memory_working_set_bytes", here, ((at, 100.0 * MIB) for at in times))
        written.add("kube_pod_container_status_restarts_total", here, ((at, 0.0) for at in times))
        owner = {**pod, "owner_kind": "StatefulSet", "owner_name": name, "owner_is_controller": "true"}
        if container == "app":
            written.add("kube_pod_owner", owner, ((at, 1.0) for at in times))
        for kind, resource, value in (
            ("requests", "cpu", 4.0),
            ("requests", "memory", 1024.0 * MIB),
            ("limits", "cpu", 8.0),
        ):
            labels = {**here, "resource": resource}
            written.add(f"kube_pod_container_resource_{kind}", labels, ((at, value) for at in times))
    with prometheus_server(openmetrics=written.write(tmp_path_factory.mktemp("h") / "h.om")) as server:
        yield str(server.address)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository's working tree: a folder of manifests, and a Helm chart."""
    for name, text in {
        "apps/shop/web.yaml": MANIFEST,
        "apps/shop/notes.txt": "kind of notes",
        "charts/shop/Chart.yaml": "name: shop\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def propose(
    tree: Path, path: str, *more: str, prometheus: str = "http://127.0.0.1:1"
) -> subprocess.CompletedProcess[str]:
    asked = ["propose", "--repo", str(tree), "--path", path, "--prometheus", prometheus, *more]
    return kubefinops(*asked)


def test_each_value_is_told_with_the_rule_that_clamped_it_and_keeps_its_unit(
    address: str, tree: Path
) -> None:
    done = propose(tree, "apps/shop", prometheus=address)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "shop/StatefulSet/web (apps/shop/web.yaml): saves 47.70 USD a month",
        "  app: CPU request 4 -> 2, CPU limit 8 -> 4, memory request 1Gi -> 512Mi",
        "    CPU request clamped to 2 by policy default v1: steps down of at most 50%",
        "    CPU limit clamped to 4 by policy default v1: steps down of at most 50%",
        "    memory request clamped to 512Mi by policy default v1: steps down of at most 50%",
        "1 other workload that Prometheus tells of has no manifest below apps/shop",
        "changed 1 workload in 1 file, which saves 47.70 USD a month; see git diff",
    ]
    expected = MANIFEST.replace("4000m", "2000m").replace("1024Mi", "512Mi").replace('"8"', '"4"')
    assert (tree / "apps/shop/web.yaml").read_text() == expected


def test_ones_own_policies_judge_instead_of_the_default(address: str, tree: Path) -> None:
    file = tree / "policies.json"
    file.write_text(json.dumps([{"name": "org", "version": 3, "rules": {"max_step_down_percent": 25}}]))
    done = propose(tree, "apps/shop", "--policies", str(file), prometheus=address)
    assert "CPU request clamped to 3 by policy org v3: steps down of at most 25%" in done.stdout
    assert "cpu: 3000m  # four" in (tree / "apps/shop/web.yaml").read_text()


def test_a_proposal_that_policy_refuses_changes_nothing(address: str, tree: Path) -> None:
    file = tree / "policies.json"
    file.write_text(json.dumps([{"name": "org", "version": 1, "rules": {"pause": True}}]))
    done = propose(tree, "apps/shop", "--policies", str(file), prometheus=address)
    assert done.returncode == 1
    assert "shop/StatefulSet/web: refused by policy: changes are paused" in done.stdout
    assert "git diff" not in done.stdout
    assert (tree / "apps/shop/web.yaml").read_text() == MANIFEST


def test_a_file_that_cannot_be_written_is_as_it_was(address: str, tree: Path) -> None:
    # As on a full disk.
    command = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)); {COMMAND}"
    asked = ["propose", "--repo", str(tree), "--path", "apps/shop", "--prometheus", address]
    done = subprocess.run(
        [sys.executable, "-c", command, *asked], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 1
    assert done.stderr == f"kubefinops: cannot write {tree}/apps/shop/web.yaml: file too large\n"
    assert (tree / "apps/shop/web.yaml").read_text() == MANIFEST
    assert {each.name for each in (tree / "apps/shop").iterdir()} == {"web.yaml", "notes.txt"}


def test_what_is_edited_while_prometheus_is_read_stays(
    address: str, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edited_meanwhile(*asked: Any) -> list[Entry]:
        found = look(*asked)
        (tree / "apps/shop/web.yaml").write_text(MANIFEST.replace("# four", "# edited"))
        return found

    monkeypatch.setattr(verb, "look", edited_meanwhile)
    assert verb.propose(tree, "apps/shop", address, [], policies=None, labels=[]) == 0
    assert "cpu: 2000m  # edited" in (tree / "apps/shop/web.yaml").read_text()


def test_what_was_proposed_before_is_in_the_working_tree_already(address: str, tree: Path) -> None:
    propose(tree, "apps/shop", prometheus=address)
    written = (tree / "apps/shop/web.yaml").read_text()
    done = propose(tree, "apps/shop", prometheus=address)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "shop/StatefulSet/web: the working tree has the proposed values already",
        "1 other workload that Prometheus tells of has no manifest below apps/shop",
        "nothing left to change; git diff shows what is not committed yet",
    ]
    assert (tree / "apps/shop/web.yaml").read_text() == written != MANIFEST


def test_other_values_in_the_working_tree_than_run_are_said_to_be_there(address: str, tree: Path) -> None:
    edited = MANIFEST.replace("4000m", "3000m")
    (tree / "apps/shop/web.yaml").write_text(edited)
    done = propose(tree, "apps/shop", prometheus=address)
    assert done.returncode == 1
    assert "runs with requests.cpu 4, Git says 3" in done.stdout
    assert "Git is the working tree here, with what is not deployed yet" in done.stdout
    assert (tree / "apps/shop/web.yaml").read_text() == edited


def test_a_container_that_is_injected_is_left_alone_and_its_money_is_not_told(
    address: str, tree: Path
) -> None:
    meshed = MANIFEST.replace("name: web", "name: meshed")
    (tree / "apps/shop/meshed.yaml").write_text(meshed)
    done = propose(tree, "apps/shop", prometheus=address)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    begin = lines.index("shop/StatefulSet/meshed (apps/shop/meshed.yaml): saves 47.69 USD a month")
    assert lines[begin + 1] == "  app: CPU request 4 -> 2, CPU limit 8 -> 4, memory request 1Gi -> 512Mi"
    assert lines[begin + 5] == (
        "  istio-proxy: left as it is: its manifest in Git does not have it, most likely it is injected at"
        " admission"
    )
    assert lines[-1] == "changed 2 workloads in 2 files, which saves 95.39 USD a month; see git diff"
    edited = (tree / "apps/shop/web.yaml").read_text()
    assert (tree / "apps/shop/meshed.yaml").read_text() == edited.replace("name: web", "name: meshed")


def test_a_manifest_with_none_of_the_containers_is_refused(address: str, tree: Path) -> None:
    other = MANIFEST.replace("name: app", "name: other")
    (tree / "apps/shop/web.yaml").write_text(other)
    done = propose(tree, "apps/shop", prometheus=address)
    assert done.returncode == 1
    assert "no container 'app' in Git: most likely injected at admission" in done.stdout
    assert (tree / "apps/shop/web.yaml").read_text() == other


def test_the_help_tells_the_exit_codes() -> None:
    said = " ".join(kubefinops("propose", "--help", columns="200").stdout.split())
    assert "0: done: manifests have proposed values, by this run or by one before" in said
    assert "1: nothing is proposed for these manifests, or could be written" in said


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("../..", "--path: ../.. lies outside of the repository"),
        ("apps/shop/web.yaml", "is a file; give the folder that is deployed, such as apps/shop"),
        ("apps/cart", "there is no folder apps/cart in"),
        ("apps/cart", "folders with manifests: apps/shop\n"),
    ],
)
def test_a_path_that_is_no_folder_of_the_repository_is_said_as_what_it_is(
    tree: Path, path: str, said: str
) -> None:
    done = propose(tree, path)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_helm_chart_is_said_in_one_line(tree: Path) -> None:
    done = propose(tree, "charts/shop")
    assert done.returncode == 1
    assert done.stdout.startswith(
        "charts/shop is a Helm chart: its values are not edited; `kubefinops scan` says what to set"
    )
    assert done.stdout.count("\n") == 1
