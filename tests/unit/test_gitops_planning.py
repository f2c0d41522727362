"""The edits to plain manifests: found wherever they stand, compared with what runs, proved by rendering."""

from __future__ import annotations

import re
from collections.abc import Mapping
from textwrap import dedent
from typing import NoReturn

import pytest

from functions.gitops.layers import Target
from functions.gitops.planning import Edits, WorkloadChange, plan_edits
from functions.gitops.rendering import renderer
from shared.contracts.events import ContainerProposal, FailureReason, Resources
from tests.examples import MIB, container, resources

CHECKOUT = Target("Deployment", "shop", "checkout")

DEPLOYMENT = """\
# checkout takes the money
apiVersion: apps/v1
kind: Deployment
metadata:
  name: checkout
  namespace: shop
spec:
  replicas: 3
  template:
    spec:
      containers:
        - name: app
          image: "shop/checkout:1.2"
          resources:
            requests: {cpu: "1", memory: 1Gi}  # since 2023
            limits:
              memory: 1024Mi
        - name: side
          image: shop/side:1
"""


def change(
    *containers: ContainerProposal, target: Target = CHECKOUT, name: str = "r1", is_open: bool = False
) -> WorkloadChange:
    return WorkloadChange(name, target, containers or (container(),), is_open)


def never(_files: Mapping[str, str], folder: str) -> NoReturn:
    raise AssertionError(f"{folder} has no kustomization to build")


def plan(files: Mapping[str, str], *changes: WorkloadChange, path: str = "apps/shop") -> Edits:
    dedented = {name: dedent(text) for name, text in files.items()}
    return plan_edits(dedented, path, changes or (change(),), renderer(never))


def simple(name: str, **more: str) -> str:
    """A Deployment with one container and the values that examples.container() has."""
    said = {
        "kind": "Deployment",
        "namespace": "  namespace: shop\n",
        "resources": "{requests: {cpu: 1, memory: 1Gi}, limits: {memory: 1Gi}}",
        **more,
    }
    return (
        f"kind: {said['kind']}\nmetadata:\n  name: {name}\n{said['namespace']}spec:\n  template:\n    spec:\n"
        f"      containers:\n      - name: app\n        resources: {said['resources']}\n"
    )


def test_edits_exactly_the_proposed_values() -> None:
    edits = plan({"apps/shop/checkout.yaml": DEPLOYMENT, "README.md": "checkout"})
    assert edits.files == {
        "apps/shop/checkout.yaml": DEPLOYMENT.replace(
            '{cpu: "1", memory: 1Gi}', '{cpu: "600m", memory: 640Mi}'
        ).replace("memory: 1024Mi", "memory: 768Mi")
    }
    assert edits.accepted == {"r1": ("apps/shop/checkout.yaml",)}
    assert not edits.rejected


def test_changes_several_containers_and_workloads_of_one_file_at_once() -> None:
    side = container("side", Resources(), resources(10, 32))
    file = DEPLOYMENT + "---\n" + simple("cart")
    cart = change(target=Target("Deployment", "shop", "cart"), name="r2")
    edits = plan({"apps/shop/all.yaml": file}, change(container(), side), cart)
    assert set(edits.accepted) == {"r1", "r2"}
    text = edits.files["apps/shop/all.yaml"]
    assert (
        "          image: shop/side:1\n          resources:\n            requests:\n              cpu: 10m\n"
        in text
    )
    assert "resources: {requests: {cpu: 600m, memory: 640Mi}, limits: {memory: 768Mi}}" in text


VALUES = '{"requests": {"cpu": "1000m", "memory": 1073741824}, "limits": {"memory": "1Gi"}}'
CONTAINERS = f'{{"containers": [{{"name": "app", "resources": {VALUES}}}]}}'
CRON_JOB = (
    "kind: CronJob\nmetadata: {name: nightly}\n"
    f"spec: {{jobTemplate: {{spec: {{template: {{spec: {CONTAINERS}}}}}}}}}\n"
)
JSON = (
    '{"kind": "Deployment", "metadata": {"name": "checkout"}, '
    f'"spec": {{"template": {{"spec": {CONTAINERS}}}}}}}'
)
LISTED = "kind: List\nitems:\n- kind: Service\n  metadata: {name: checkout}\n- " + simple("checkout").replace(
    "\n", "\n  "
)


@pytest.mark.parametrize(
    ("file", "target"),
    [
        (LISTED.rstrip(" "), CHECKOUT),
        (simple("checkout", namespace=""), CHECKOUT),
        (simple("checkout", kind="StatefulSet"), Target("StatefulSet", "shop", "checkout")),
        (simple("checkout", kind="Rollout"), Target("Rollout", "shop", "checkout")),
        (CRON_JOB, Target("CronJob", "shop", "nightly")),
        (JSON, CHECKOUT),
    ],
)
def test_finds_lists_other_kinds_json_and_manifests_without_namespace(file: str, target: Target) -> None:
    path = "apps/shop/one.json" if file.startswith("{") else "apps/shop/one.yaml"
    edits = plan({path: file}, change(target=target))
    assert set(edits.accepted) == {"r1"}, edits.rejected
    assert "600m" in edits.files[path]


ROLLOUT = Target("Rollout", "shop", "checkout")
CANARY = """\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata:
  name: checkout
  namespace: shop
spec:
  replicas: 5
  strategy:
    canary:
      steps: [{setWeight: 20}, {pause: {}}]  # by hand
  template:
    spec:
      containers:
        - name: app
          image: "shop/checkout:1.2"
          resources:
            requests: {cpu: "1", memory: 1Gi}
            limits:
              memory: 1024Mi
"""
ELSEWHERE = """\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: checkout, namespace: shop}
spec:
  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: checkout-template}
"""


def test_the_template_of_a_rollout_is_edited_and_not_its_strategy() -> None:
    deployment = DEPLOYMENT.replace("namespace: shop", "namespace: other")
    edits = plan({"apps/shop/a.yaml": f"{deployment}---\n{CANARY}"}, change(target=ROLLOUT))
    edited = CANARY.replace('{cpu: "1", memory: 1Gi}', '{cpu: "600m", memory: 640Mi}').replace(
        "memory: 1024Mi", "memory: 768Mi"
    )
    assert edits.files == {"apps/shop/a.yaml": f"{deployment}---\n{edited}"}
    assert edits.accepted == {"r1": ("apps/shop/a.yaml",)}


def test_a_rollout_that_runs_another_ones_template_is_advised_with_its_name() -> None:
    template = DEPLOYMENT.replace("name: checkout", "name: checkout-template")
    edits = plan({"apps/shop/a.yaml": ELSEWHERE, "apps/shop/b.yaml": template}, change(target=ROLLOUT))
    assert edits.files == {}
    rejected = edits.rejected["r1"]
    assert rejected.reason is FailureReason.NOT_LOCATED
    assert rejected.message == (
        "apps/shop/a.yaml: Rollout shop/checkout takes its template from Deployment checkout-template"
        " (workloadRef): that manifest is what to change, and it is not edited for a Rollout, only advised"
    )


def test_a_native_sidecar_is_an_init_container() -> None:
    file = simple("checkout").replace("containers:", "initContainers:")
    assert "cpu: 600m" in plan({"apps/shop/a.yaml": file}).files["apps/shop/a.yaml"]


def test_prefers_the_folder_itself_and_the_manifest_of_the_namespace() -> None:
    other = simple("checkout").replace("namespace: shop", "namespace: other")
    files = {
        "apps/shop/a.yaml": other + "---\n" + simple("checkout"),
        "apps/shop/old/a.yaml": simple("checkout"),
        "apps/other/a.yaml": simple("checkout"),
    }
    edits = plan(files)
    assert set(edits.files) == {"apps/shop/a.yaml"}
    assert edits.files["apps/shop/a.yaml"].startswith(other)


def test_finds_manifests_below_the_folder_and_at_the_root_of_the_repository() -> None:
    assert set(plan({"apps/shop/deep/a.yaml": simple("checkout")}).files) == {"apps/shop/deep/a.yaml"}
    assert set(plan({"a.yaml": simple("checkout")}, path=".").files) == {"a.yaml"}


TEMPLATED = '{requests: {cpu: "{{ cpu }}"}}'
ANCHOR = "x: &r {requests: {cpu: 1, memory: 1Gi}, limits: {memory: 1Gi}}\n"


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "no manifest of Deployment shop/checkout"),
        ({"apps/shop/a.yaml": simple("checkout"), "apps/shop/b.yaml": simple("checkout")}, "more than once"),
        ({"apps/shop/Chart.yaml": "name: x", "apps/shop/templates/a.yaml": "{{ x }}"}, "Helm chart"),
        ({"apps/shop/a.yaml": "{{ if .x }}\n" + simple("checkout")}, r"a\.yaml: no YAML.*template"),
        ({"apps/shop/a.yaml": simple("checkout").replace("name: app", "name: web")}, "no container 'app'"),
        ({"apps/shop/a.yaml": simple("checkout", resources=TEMPLATED)}, "no Kubernetes quantity"),
        ({"apps/shop/a.yaml": ANCHOR + simple("checkout", resources="*r")}, "alias"),
    ],
)
def test_says_why_a_manifest_cannot_be_changed(files: dict[str, str], why: str) -> None:
    edits = plan(files)
    assert edits.files == {}
    rejected = edits.rejected["r1"]
    assert rejected.reason is FailureReason.NOT_LOCATED
    assert re.search(why, rejected.message), rejected.message


def test_one_that_cannot_be_changed_does_not_hold_up_the_others() -> None:
    files = {
        "apps/shop/a.yaml": simple("checkout"),
        "apps/shop/b.yaml": ANCHOR + simple("cart", resources="*r"),
    }
    cart = change(target=Target("Deployment", "shop", "cart"), name="r2")
    edits = plan(files, cart, change())
    assert set(edits.accepted) == {"r1"}
    assert set(edits.files) == {"apps/shop/a.yaml"}
    assert set(edits.rejected) == {"r2"}


@pytest.mark.parametrize(
    ("in_git", "said"),
    [
        ("{requests: {cpu: 2, memory: 1Gi}}", "with requests.cpu 1, Git says 2"),
        ("{requests: {memory: 1Gi}}", "with requests.cpu 1, Git says nothing of it"),
        ("{requests: {cpu: 1, memory: 1Gi}, limits: {cpu: 2}}", "without limits.cpu, Git says 2"),
    ],
)
def test_values_that_differ_from_what_runs_are_managed_elsewhere(in_git: str, said: str) -> None:
    edits = plan({"apps/shop/a.yaml": simple("checkout", resources=in_git)})
    rejected = edits.rejected["r1"]
    assert rejected.reason is FailureReason.MANAGED_ELSEWHERE
    assert rejected.message.startswith(f"managed-elsewhere: container app runs {said}: a change is under way")


def test_a_request_that_kubernetes_defaults_to_the_limit_is_no_difference() -> None:
    current = Resources(
        cpu_request_m=500, cpu_limit_m=500, memory_request_bytes=512 * MIB, memory_limit_bytes=512 * MIB
    )
    proposed = Resources(
        cpu_request_m=100, cpu_limit_m=500, memory_request_bytes=256 * MIB, memory_limit_bytes=256 * MIB
    )
    file = simple("checkout", resources="{limits: {cpu: 500m, memory: 0.5Gi}}")
    edits = plan({"apps/shop/a.yaml": file}, change(container("app", current, proposed)))
    assert (
        "resources: {limits: {cpu: 500m, memory: 256Mi}, requests: {cpu: 100m, memory: 256Mi}}"
        in edits.files["apps/shop/a.yaml"]
    )


def test_what_git_already_says_is_not_proposed_again_but_stays_in_an_open_change() -> None:
    file = simple("checkout", resources="{requests: {cpu: 600m, memory: 640Mi}, limits: {memory: 768Mi}}")
    edits = plan({"apps/shop/a.yaml": file})
    assert edits.rejected["r1"].reason is FailureReason.ALREADY_IN_GIT
    edits = plan({"apps/shop/a.yaml": file}, change(is_open=True))
    assert edits.accepted == {"r1": ()}
    assert edits.files == {}


def test_an_open_change_is_written_over_whatever_git_says_by_now() -> None:
    file = simple("checkout", resources="{requests: {cpu: 3, memory: 1Gi}}")
    edits = plan({"apps/shop/a.yaml": file}, change(is_open=True))
    assert (
        "{requests: {cpu: 600m, memory: 640Mi}, limits: {memory: 768Mi}}" in edits.files["apps/shop/a.yaml"]
    )


PROXY = container("istio-proxy", resources(500, 512), resources(50, 64))
STAYS = container("istio-proxy", resources(500, 512), resources(500, 512))
SAME = container("app", resources(1000, 1024, 1024), resources(1000, 1024, 1024))


@pytest.mark.parametrize("injected", [PROXY, STAYS])
def test_a_container_that_git_does_not_have_is_left_alone_and_the_others_are_edited(
    injected: ContainerProposal,
) -> None:
    file = simple("checkout")
    edits = plan({"apps/shop/a.yaml": file}, change(injected, container()))
    assert edits.files == plan({"apps/shop/a.yaml": file}).files
    assert edits.accepted == {"r1": ("apps/shop/a.yaml",)}
    assert edits.not_in_git == {"r1": ("istio-proxy",)}
    assert plan({"apps/shop/a.yaml": file}).not_in_git == {}


@pytest.mark.parametrize(
    "containers", [(PROXY,), (SAME, PROXY), (PROXY, container("agent"), SAME), (container("ap"), SAME, PROXY)]
)
def test_a_manifest_with_none_of_the_containers_that_change_is_refused(
    containers: tuple[ContainerProposal, ...],
) -> None:
    edits = plan({"apps/shop/a.yaml": simple("checkout")}, change(*containers))
    assert (edits.files, edits.accepted, edits.not_in_git) == ({}, {}, {})
    rejected = edits.rejected["r1"]
    assert rejected.reason is FailureReason.NOT_LOCATED
    missing = [repr(one.name) for one in containers if one.name != "app"]
    called = f"container{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
    assert rejected.message == (
        f"Deployment shop/checkout has no {called} in Git: most likely injected at admission (by a service"
        " mesh or an agent), to be sized where that is configured"
    )


def test_with_a_container_that_git_does_not_have_the_others_are_compared_as_ever() -> None:
    def rejected(resources: str, *containers: ContainerProposal) -> FailureReason:
        file = simple("checkout", resources=resources)
        return plan({"apps/shop/a.yaml": file}, change(*containers)).rejected["r1"].reason

    proposed = "{requests: {cpu: 600m, memory: 640Mi}, limits: {memory: 768Mi}}"
    assert rejected(proposed, container(), PROXY) is FailureReason.ALREADY_IN_GIT
    assert rejected("{requests: {cpu: 2}}", container(), PROXY) is FailureReason.MANAGED_ELSEWHERE
    same = "{requests: {cpu: 1, memory: 1Gi}, limits: {memory: 1Gi}}"
    assert rejected(same, SAME, STAYS) is FailureReason.ALREADY_IN_GIT


def test_an_open_change_loses_no_container() -> None:
    """What its pull request tells of was in Git: less would be merged than is looked for in the cluster."""
    edits = plan({"apps/shop/a.yaml": simple("checkout")}, change(container(), PROXY, is_open=True))
    assert edits.accepted == {}
    assert "no container 'istio-proxy' in Git" in edits.rejected["r1"].message


def test_a_limit_that_is_proposed_away_is_removed() -> None:
    current = Resources(cpu_request_m=1000, cpu_limit_m=2000, memory_request_bytes=1024 * MIB)
    proposed = Resources(cpu_request_m=500, memory_request_bytes=1024 * MIB)
    file = simple(
        "checkout",
        resources="\n          requests:\n            cpu: 1\n            memory: 1Gi"
        "\n          limits:\n            cpu: 2",
    )
    edits = plan({"apps/shop/a.yaml": file}, change(container("app", current, proposed)))
    assert edits.files["apps/shop/a.yaml"].endswith(
        "          requests:\n            cpu: 500m\n            memory: 1Gi\n"
    )
