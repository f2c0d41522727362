"""The demo's repository, Applications, usage and policies, with generated and with measured usage."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.standins.cluster.cluster import ARGO_CD, Cluster
from infra.standins.cluster.kinds import BY_NAME, ApiError
from infra.standins.demo import generated, recorded, repository
from infra.standins.demo.__main__ import main
from infra.standins.demo.layout import Commit, Demo
from infra.standins.scenario import Scenario, load
from shared.contracts.policy import Policy

_NOW = 1_790_000_000
_HEADER = "timestamp_s,workload,pod,container,cpu_cores,memory_bytes"
_CONFIGURED = "cpu_request_cores,cpu_limit_cores,memory_request_bytes,memory_limit_bytes"


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hours in the shape of the real sets: names and columns are theirs, numbers are small."""
    folder = tmp_path_factory.mktemp("traces")

    def write(name: str, workloads: list[str], configured: str = "", container: str = "") -> None:
        rows = [f"{_HEADER}{f',{_CONFIGURED}' if configured else ''}"]
        for workload in workloads:
            for minute in range(120):
                usage = f"{0.02 + 0.01 * math.sin(minute):.4f},{50_000_000 + 1000 * minute}"
                end = f",{configured}" if configured else ""
                rows.append(
                    f"{1_600_000_000 + 60 * minute},{workload},{workload}-1a2b3c-x,{container},{usage}{end}"
                )
        (folder / name).write_text("\n".join(rows) + "\n")

    boutique = ["frontend", "cartservice", "recommendationservice"]
    write("nezha-online-boutique.csv", boutique)
    write("nezha-train-ticket.csv", ["ts-gateway-service", "ts-order-service", "ts-user-service"])
    write(
        "kruize-openshift-15min.csv",
        ["tfb-qrh", "cert-manager-openshift-routes"],
        "0.5,,104857600,2733000000",
        "c",
    )
    write("My Own_Set.csv", ["thing"])
    limits = [f"nezha-online-boutique,1,{name},{name}-x,0.2,134217728" for name in boutique]
    limits.append("nezha-train-ticket,1,ts-order-service,x,0.5,2097152000")
    header = "set,day,workload,pod,cpu_limit_cores_derived,memory_limit_bytes_derived"
    (folder / "nezha-limits-derived.csv").write_text("\n".join([header, *limits]))
    return folder


def _made(out: Path, *more: str) -> Scenario:
    assert main(["--out", str(out), "--now", str(_NOW), *more]) == 0
    return load(out / "scenario.json")


@pytest.fixture(scope="module")
def from_seed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Scenario]:
    out = tmp_path_factory.mktemp("seed")
    return out, _made(out)


@pytest.fixture(scope="module")
def from_traces(tmp_path_factory: pytest.TempPathFactory, traces: Path) -> tuple[Path, Scenario]:
    out = tmp_path_factory.mktemp("measured")
    return out, _made(out, "--traces", str(traces))


def _workloads(scenario: Scenario) -> dict[str, dict[str, Any]]:
    kinds = ("Deployment", "StatefulSet", "DaemonSet", "CronJob")
    return {each["metadata"]["name"]: each for each in scenario.objects if each["kind"] in kinds}


def _resources(body: dict[str, Any]) -> dict[str, Any]:
    (container,) = body["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = container.get("resources", {})
    return found


def test_the_generated_demo_has_enough_of_everything(from_seed: tuple[Path, Scenario]) -> None:
    scenario = from_seed[1]
    workloads = _workloads(scenario)
    assert len(workloads) >= 12
    assert {each["kind"] for each in workloads.values()} == {
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "CronJob",
    }
    assert len({each["metadata"]["namespace"] for each in workloads.values()}) >= 3
    assert len(scenario.applications) >= 4


def test_every_workload_that_runs_has_usage_for_each_container(
    from_seed: tuple[Path, Scenario], from_traces: tuple[Path, Scenario]
) -> None:
    for _, scenario in (from_seed, from_traces):
        used = {(use.namespace, use.kind, use.name, use.container) for use in scenario.usage}
        running = set()
        for body in _workloads(scenario).values():
            spec = body["spec"]["jobTemplate"]["spec"] if body["kind"] == "CronJob" else body["spec"]
            home = (body["metadata"]["namespace"], body["kind"], body["metadata"]["name"])
            running |= {(*home, container["name"]) for container in spec["template"]["spec"]["containers"]}
        assert running == used


@pytest.mark.parametrize(
    ("fixture", "application", "workload"),
    [("from_seed", "reporting", "report-builder"), ("from_traces", "ticket-gateway", "ts-gateway-service")],
)
def test_one_application_cannot_be_synced_since_git_changes_an_immutable_selector(
    fixture: str, application: str, workload: str, request: pytest.FixtureRequest
) -> None:
    out, scenario = request.getfixturevalue(fixture)
    (path,) = [
        each["spec"]["source"]["path"]
        for each in scenario.applications
        if each["metadata"]["name"] == application
    ]
    git = ["git", "--git-dir", str(out / "repos/acme/deploy.git")]
    shown = subprocess.run(
        [*git, "show", f"main:{path}/{workload}.yaml"], capture_output=True, text=True, check=True
    )
    merged = next(yaml.safe_load_all(shown.stdout))
    cluster = Cluster(scenario, lived=False)
    namespace = merged["metadata"]["namespace"]
    with pytest.raises(ApiError, match=r"spec\.selector: .*field is immutable"):
        cluster.apply(BY_NAME["apps/v1", "Deployment"], namespace, workload, merged, ARGO_CD)


@pytest.mark.parametrize(
    ("fixture", "scaled", "new", "protected"),
    [
        ("from_seed", "checkout", "recommendations", "payments"),
        ("from_traces", "frontend", "recommendationservice", "cert-manager"),
    ],
)
def test_each_skip_and_refusal_has_its_honest_reason(
    fixture: str, scaled: str, new: str, protected: str, request: pytest.FixtureRequest
) -> None:
    out, scenario = request.getfixturevalue(fixture)
    (autoscaler,) = [each for each in scenario.objects if each["kind"] == "HorizontalPodAutoscaler"]
    assert autoscaler["spec"]["scaleTargetRef"]["name"] == scaled
    assert [use.name for use in scenario.usage if use.created == _NOW - 3600] == [new]
    policies = [Policy.model_validate(each) for each in yaml.safe_load((out / "policies.json").read_text())]
    assert any(protected in policy.rules.protected_namespaces for policy in policies)
    assert protected in {each["metadata"]["namespace"] for each in _workloads(scenario).values()}
    assert all(policy.rules.minimum_history_hours != 0 for policy in policies)


def test_requests_and_limits_are_the_data_s_where_it_has_them(from_traces: tuple[Path, Scenario]) -> None:
    workloads = _workloads(from_traces[1])
    assert _resources(workloads["cartservice"]) == {
        "requests": {"cpu": "100m", "memory": "64Mi"},
        "limits": {"cpu": "200m", "memory": "128Mi"},
    }
    assert _resources(workloads["ts-order-service"]) == {
        "requests": {"cpu": "100m", "memory": "300Mi"},
        "limits": {"cpu": "500m", "memory": "2000Mi"},
    }
    assert _resources(workloads["tfb-qrh"]) == {
        "requests": {"cpu": "500m", "memory": "100Mi"},
        "limits": {"memory": "2733M"},
    }


def test_a_set_that_nobody_knows_is_deployed_with_the_documented_default(
    from_traces: tuple[Path, Scenario],
) -> None:
    thing = _workloads(from_traces[1])["thing"]
    assert thing["metadata"]["namespace"] == "my-own-set"
    # p95 is 30 mcores and 48 MiB: twice that, rounded up to what people write.
    assert _resources(thing) == {
        "requests": {"cpu": "100m", "memory": "128Mi"},
        "limits": {"memory": "256Mi"},
    }


def test_a_kustomize_overlay_sets_resources_in_both_demos(
    from_seed: tuple[Path, Scenario], from_traces: tuple[Path, Scenario]
) -> None:
    for out, scenario in (from_seed, from_traces):
        paths = [each["spec"]["source"]["path"] for each in scenario.applications]
        (overlay,) = [path for path in paths if path.endswith("overlays/production")]
        git = ["git", "--git-dir", str(out / "repos/acme/deploy.git"), "ls-tree", "--name-only"]
        listed = subprocess.run([*git, "main", f"{overlay}/"], capture_output=True, text=True, check=True)
        assert len(listed.stdout.split()) == 2


def test_no_container_is_short_of_what_the_cluster_can_give(
    from_seed: tuple[Path, Scenario], from_traces: tuple[Path, Scenario]
) -> None:
    for _, scenario in (from_seed, from_traces):
        cluster = Cluster(scenario, lived=False)
        assert [pod.name for pod in cluster.pods.values() if not pod.node] == []


def test_the_same_arguments_make_the_same_files(
    from_traces: tuple[Path, Scenario], traces: Path, tmp_path: Path
) -> None:
    _made(tmp_path, "--traces", str(traces))
    for name in ("scenario.json", "policies.json", "history.om", "repos/acme/deploy.git/refs/heads/main"):
        assert (tmp_path / name).read_bytes() == (from_traces[0] / name).read_bytes()


def test_a_folder_without_traces_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path / "out"), "--traces", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"demo: {tmp_path}: no trace file with columns ")


def test_a_demo_has_at_most_thirty_containers(tmp_path: Path) -> None:
    rows = [f"{60 * minute},w{number:02},,,0.1,1000000" for number in range(40) for minute in (1, 2)]
    (tmp_path / "many.csv").write_text("\n".join([_HEADER, *rows]))
    demo: Demo = recorded.demo(tmp_path, float(_NOW))
    assert len(demo.usage) == 30
    assert demo.notes == ["10 workloads left out: a demo has 30 containers"]


def test_commits_go_on_from_one_another(tmp_path: Path) -> None:
    commits = [Commit("one", {"a": "1", "b": "ü\n"}), Commit("two", {"a": "2"})]
    first, second = repository.write(tmp_path / "r.git", commits)
    git = ["git", "--git-dir", str(tmp_path / "r.git")]

    def show(what: str) -> str:
        return subprocess.run([*git, "show", what], capture_output=True, text=True, check=True).stdout

    assert (show(f"{first}:a"), show(f"{second}:a"), show(f"{second}:b")) == ("1", "2", "ü\n")
    assert repository.write(tmp_path / "r.git", commits) == [first, second]


def test_the_generated_demo_s_second_commit_only_relabels() -> None:
    _, second = generated.demo(float(_NOW)).commits
    (text,) = second.files.values()
    assert "app: report-builder" not in text
    assert text.count("app.kubernetes.io/name: report-builder") == 2
