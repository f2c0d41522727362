"""Kustomize overlays, rendered by the real kubectl before and after: the right layer is edited, or none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from textwrap import dedent

import pytest

from functions.gitops.layers import Target
from functions.gitops.planning import Edits, WorkloadChange, plan_edits
from shared.contracts.events import ContainerProposal, FailureReason
from tests.examples import container
from tests.fakes.gitops import render

CHECKOUT = Target("Deployment", "shop", "checkout")
PROD, PATCH = "overlays/prod/kustomization.yaml", "overlays/prod/p.yaml"
ON_BASE = "resources: [../../base]\n"
PATCHED = ON_BASE + "patches: [{path: p.yaml}]\n"
CURRENT = "{requests: {cpu: 1, memory: 1Gi}, limits: {memory: 1Gi}}"


def deployment(resources: str = CURRENT, name: str = "checkout", container_name: str = "app") -> str:
    text = (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  template:\n    spec:\n"
        f"      containers:\n      - name: {container_name}\n        image: x\n"
    )
    return text + (f"        resources: {resources}\n" if resources else "")


def merge_patch(resources: str, name: str = "checkout", container_name: str = "app") -> str:
    return deployment(resources, name, container_name).replace("        image: x\n", "")


def plan(
    files: Mapping[str, str],
    path: str = "overlays/prod",
    *containers: ContainerProposal,
    target: Target = CHECKOUT,
) -> Edits:
    dedented = {name: dedent(text) for name, text in files.items()}
    change = WorkloadChange("r1", target, containers or (container(),))
    return plan_edits(dedented, path, [change], render)


BASE = {
    "base/kustomization.yaml": "resources: [app.yaml]\n",
    "base/app.yaml": deployment(),
}


def test_the_base_is_edited_where_nobody_else_uses_it() -> None:
    edits = plan({**BASE, PROD: "namespace: shop\nresources: [../../base]\n"})
    assert set(edits.files) == {"base/app.yaml"}, edits.rejected
    assert "{requests: {cpu: 600m, memory: 640Mi}, limits: {memory: 768Mi}}" in edits.files["base/app.yaml"]


def test_prefixes_suffixes_namespaces_and_generators_are_seen_through() -> None:
    files = {
        **BASE,
        "base/kustomization.yaml": (
            "resources: [app.yaml]\nnameSuffix: -v1\n"
            "configMapGenerator: [{name: cfg, files: [settings=conf/app.properties], envs: [.env]}]\n"
        ),
        "base/conf/app.properties": "a=b\n",
        "base/.env": "A=B\n",
        PROD: (
            "namespace: shop\nnamePrefix: prod-\nresources: [../../base]\n"
            "images: [{name: x, newTag: '2'}]\nreplicas: [{name: checkout, count: 4}]\n"
        ),
    }
    edits = plan(files, target=Target("Deployment", "shop", "prod-checkout-v1"))
    assert set(edits.files) == {"base/app.yaml"}, edits.rejected


SHARED = {**BASE, "overlays/dev/kustomization.yaml": "resources: [../../base]\n"}


def test_the_nearest_patch_that_sets_the_values_is_edited() -> None:
    files = {
        **SHARED,
        PROD: PATCHED,
        PATCH: merge_patch(
            "\n          requests:\n            cpu: 1 # ours\n            memory: 1Gi"
            "\n          limits: {memory: 1Gi}"
        ),
    }
    edits = plan(files)
    assert set(edits.files) == {PATCH}, edits.rejected
    assert "cpu: 600m # ours\n" in edits.files[PATCH]


def test_values_of_a_shared_base_are_overridden_in_the_patch_that_the_overlay_has() -> None:
    files = {
        **SHARED,
        PROD: "resources: [../../base]\npatchesStrategicMerge: [p.yaml]\n",
        PATCH: merge_patch("{limits: {memory: 1Gi}}"),
    }
    edits = plan(files)
    assert set(edits.files) == {PATCH}, edits.rejected
    assert "{limits: {memory: 768Mi}, requests: {cpu: 600m, memory: 640Mi}}" in edits.files[PATCH]


def test_a_patch_of_something_else_of_the_workload_gets_the_containers() -> None:
    replicas = "kind: Deployment\nmetadata: {name: checkout}\napiVersion: apps/v1\nspec:\n  replicas: 4\n"
    files = {
        **SHARED,
        PROD: "resources: [../../base]\npatches:\n- path: p.yaml\n",
        PATCH: replicas,
    }
    edits = plan(files)
    assert edits.files == {
        PATCH: replicas
        + dedent("""\
          template:
            spec:
              containers:
                - name: app
                  resources:
                    requests:
                      cpu: 600m
                      memory: 640Mi
                    limits:
                      memory: 768Mi
        """)
        .replace("\n", "\n  ")
        .rstrip(" ")
        .replace("template", "  template", 1)
    }, edits.rejected


def test_inline_patches_are_edited_in_place() -> None:
    files = {
        **SHARED,
        PROD: """\
            resources:
              - ../../base
            patches:
              - target:
                  kind: Deployment
                  name: check.*
                patch: |-
                  - op: replace
                    path: /spec/template/spec/containers/0/resources/requests/cpu
                    value: 1000m  # by hand
                  - op: add
                    path: /spec/replicas
                    value: 3
              - patch: |
                  apiVersion: apps/v1
                  kind: Deployment
                  metadata:
                    name: checkout
                  spec:
                    template:
                      spec:
                        containers:
                          - name: app
                            resources:
                              requests:
                                memory: "1Gi"
                              limits:
                                memory: 1Gi
            """,
    }
    edits = plan(files)
    before = dedent(files[PROD])
    assert edits.files == {
        PROD: before.replace("1000m", "600m")
        .replace('"1Gi"', '"640Mi"')
        .replace("memory: 1Gi", "memory: 768Mi")
    }, edits.rejected


def test_a_json_patch_that_brings_the_resources_gets_what_is_missing() -> None:
    files = {
        "base/kustomization.yaml": "resources: [app.yaml]\n",
        "base/app.yaml": deployment(""),
        "overlays/dev/kustomization.yaml": "resources: [../../base]\n",
        PROD: (
            "resources: [../../base]\n"
            "patchesJson6902:\n- path: p.json\n"
            "  target: {group: apps, version: v1, kind: Deployment, name: checkout}\n"
        ),
        "overlays/prod/p.json": (
            '[{"op": "add", "path": "/spec/template/spec/containers/0/resources",\n'
            ' "value": {"limits": {"memory": "1Gi"}, "requests": {"cpu": "1"}}}]\n'
        ),
    }
    edits = plan(files)
    assert edits.files == {
        "overlays/prod/p.json": files["overlays/prod/p.json"]
        .replace('"limits": {"memory": "1Gi"}', '"limits": {"memory": "768Mi"}')
        .replace('{"cpu": "1"}', '{"cpu": "600m", "memory": "640Mi"}')
    }, edits.rejected


def test_patches_of_components_lie_over_the_base() -> None:
    files = {
        **SHARED,
        PROD: "resources: [../../base]\ncomponents: [../../sized]\n",
        "sized/kustomization.yaml": (
            "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches: [{path: p.yaml}]\n"
        ),
        "sized/p.yaml": merge_patch(CURRENT),
    }
    edits = plan(files)
    assert set(edits.files) == {"sized/p.yaml"}, edits.rejected


def test_two_containers_that_are_new_to_a_patch_are_added_together() -> None:
    base = deployment() + f"      - name: side\n        image: y\n        resources: {CURRENT}\n"
    files = {
        **SHARED,
        "base/app.yaml": base,
        PROD: PATCHED,
        PATCH: merge_patch("", container_name="third").replace(
            "name: third\n", "name: third\n        image: z\n"
        ),
    }
    edits = plan(files, "overlays/prod", container("app"), container("side"))
    text = edits.files[PATCH]
    assert re.findall(r"- name: (\w+)", text) == ["third", "app", "side"]


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({**SHARED, PROD: ON_BASE}, "serves other kustomizations"),
        (
            {**BASE, PROD: "resources: [../../base, 'https://example.com/x.yaml']\n"},
            "refers to https://example.com/x.yaml, which is not in the repository",
        ),
        ({**BASE, PROD: ON_BASE + "helmCharts: [{name: x}]\n"}, "Helm"),
        ({PROD: ON_BASE}, "not in the repository"),
        (
            # A selector that patches two workloads: editing it would change the other one too.
            {
                **BASE,
                "base/app.yaml": deployment("") + "---\n" + deployment("", "cart"),
                PROD: ON_BASE + "patches:\n- {path: p.yaml, target: {kind: Deployment}}\n",
                PATCH: merge_patch(CURRENT, name="ignored"),
            },
            "something else to Deployment cart",
        ),
        (
            # What is rendered counts, not what a manifest says before its patches.
            {
                **BASE,
                PROD: ON_BASE + "patches: [{path: p.json, target: {kind: Deployment}}]\n",
                "overlays/prod/p.json": (
                    '[{"op": "remove", "path": "/spec/template/spec/containers/0/resources/limits"}]'
                ),
            },
            "runs with limits.memory 1Gi, Git says nothing of it: a change",
        ),
        ({**BASE, PROD: PATCHED, PATCH: "a: b: c"}, "no YAML"),
        ({**BASE, PROD: ON_BASE + "nope: {\n"}, "no YAML"),
        ({**BASE, PROD: PATCHED, PATCH: merge_patch("", name="missing")}, "kustomize cannot build"),
    ],
)
def test_says_why_an_overlay_cannot_be_changed(files: dict[str, str], why: str) -> None:
    edits = plan(files)
    assert edits.files == {}
    assert edits.rejected["r1"].reason in (FailureReason.NOT_LOCATED, FailureReason.MANAGED_ELSEWHERE)
    assert re.search(why, edits.rejected["r1"].message), edits.rejected["r1"].message


ROLLOUT = Target("Rollout", "shop", "checkout")


def rollout(text: str) -> str:
    return text.replace("apps/v1", "argoproj.io/v1alpha1").replace("kind: Deployment", "kind: Rollout")


def test_a_rollout_is_edited_in_its_base_and_in_a_patch_that_has_its_whole_list() -> None:
    edits = plan({**BASE, "base/app.yaml": rollout(deployment()), PROD: ON_BASE}, target=ROLLOUT)
    assert set(edits.files) == {"base/app.yaml"}, edits.rejected
    files = {
        **SHARED,
        "base/app.yaml": rollout(deployment("{requests: {cpu: 3}}")),
        PROD: PATCHED,
        PATCH: rollout(deployment()),
    }
    edits = plan(files, target=ROLLOUT)
    assert set(edits.files) == {PATCH}, edits.rejected
    assert "{requests: {cpu: 600m, memory: 640Mi}, limits: {memory: 768Mi}}" in edits.files[PATCH]


def test_a_json_patch_of_a_rollout_is_edited() -> None:
    operation = f"- op: replace\n  path: /spec/template/spec/containers/0/resources\n  value: {CURRENT}\n"
    files = {
        **SHARED,
        "base/app.yaml": rollout(deployment("{requests: {cpu: 3}}")),
        PROD: f"{ON_BASE}patches:\n- path: p.yaml\n  target: {{kind: Rollout, name: checkout}}\n",
        PATCH: operation,
    }
    edits = plan(files, target=ROLLOUT)
    assert set(edits.files) == {PATCH}, edits.rejected
    assert "cpu: 600m" in edits.files[PATCH]


def test_a_patch_that_would_replace_the_containers_of_a_rollout_is_refused() -> None:
    """Kustomize merges lists of the kinds that it has schemas of, and a Rollout is none of them."""
    replicas = (
        "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: checkout}\nspec: {replicas: 4}\n"
    )
    files = {**SHARED, "base/app.yaml": rollout(deployment()), PROD: PATCHED, PATCH: replicas}
    edits = plan(files, target=ROLLOUT)
    assert edits.files == {}
    assert edits.rejected["r1"].reason is FailureReason.NOT_LOCATED
    assert "kustomize knows no schema of a Rollout" in edits.rejected["r1"].message
