"""Names, addresses and what a pull request says."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from functions.gitops.body import LARGEST_BODY, MARKER, body_of, title_of
from functions.gitops.grouping import Group, group_of, ignored_by, owners
from functions.gitops.layers import NotLocated, Target
from functions.gitops.message import Held, commit_message, members_in
from shared.contracts.argocd import Source
from shared.contracts.documents import Recommendation
from shared.contracts.events import Outcome, Verdict
from shared.contracts.git_host import repository_of
from tests.examples import container, created, draft, resources
from tests.fakes.gitops import application, workload


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/acme/shop.git",
        "https://github.com/acme/shop/",
        "https://token@ghe.example:8443/acme/shop",
        "git@github.com:acme/shop.git",
        "ssh://git@github.com:22/acme/shop.git",
        "/srv/repos/acme/shop.git",
        "file:///srv/repos/acme/shop.git",
        "http://127.0.0.1:4321/acme/shop.git",
    ],
)
def test_a_clone_address_names_its_repository(url: str) -> None:
    assert repository_of(url) == "acme/shop"


@pytest.mark.parametrize("url", ["https://github.com/acme", "shop", "", "git@github.com:shop.git"])
def test_an_address_without_owner_and_name_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="owner/name"):
        repository_of(url)


def test_a_group_has_one_branch_with_a_name_that_git_allows() -> None:
    assert Group("local", "shop", "acme/shop", "apps", None).branch == "finops/local/shop"
    odd = Group("prod eu:1", "a..b~^.lock", "acme/shop", "apps", None)
    assert odd.branch == "finops/prod-eu-1/a-b--"


def test_a_group_follows_the_source_that_has_a_folder() -> None:
    plain = application("cart")
    chart = Source("https://charts.example", "", "1.2.3")
    group = group_of(
        "local", replace(plain, sources=(chart, replace(plain.source, target_revision="release")))
    )
    assert (group.repository, group.path, group.base) == ("acme/shop", "apps/shop", "release")
    assert group_of("local", plain).base is None
    with pytest.raises(NotLocated, match="Helm chart"):
        group_of("local", replace(plain, sources=(chart,)))
    with pytest.raises(NotLocated, match="owner/name"):
        group_of("local", replace(plain, sources=(Source("nowhere", "apps", "HEAD"),)))


def test_a_workload_that_two_applications_claim_has_no_owner() -> None:
    first, second = application("cart", "web"), application("web", name="other")
    found = owners([first, second])
    assert found == {Target("Deployment", "shop", "cart"): first}


@pytest.mark.parametrize(
    ("rule", "ignored"),
    [
        ({"kind": "Deployment", "jsonPointers": ["/spec/template/spec/containers/0/resources/limits"]}, True),
        ({"kind": "Deployment", "jsonPointers": ["/spec/template"]}, True),
        ({"kind": "Deployment", "jqPathExpressions": [".spec.template.spec.containers[].resources"]}, True),
        ({"kind": "*", "name": "cart", "jsonPointers": ["/spec"]}, True),
        ({"kind": "Deployment", "jsonPointers": ["/spec/replicas"]}, False),
        ({"kind": "StatefulSet", "jsonPointers": ["/spec"]}, False),
        ({"kind": "Deployment", "name": "web", "jsonPointers": ["/spec"]}, False),
    ],
)
def test_differences_that_syncs_ignore_are_seen(rule: dict[str, object], ignored: bool) -> None:
    respected = replace(
        application("cart"), ignore_differences=(rule,), sync_options=("RespectIgnoreDifferences=true",)
    )
    assert (ignored_by(respected, workload("cart")) is not None) is ignored
    assert ignored_by(replace(respected, sync_options=()), workload("cart")) is None


def test_a_commit_names_its_members_their_files_and_what_is_not_in_git() -> None:
    members = {"b" * 64: Held(("apps/shop/ä b.yaml", "x.yaml")), "a" * 64: Held((), ("istio-proxy", "agent"))}
    message = commit_message("Right-size", members)
    assert message.startswith("Right-size\n\nFinops-Recommendation: {")
    assert members_in(message) == members
    assert members_in("Merge pull request #1") == {}
    assert members_in("Finops-Recommendation: nonsense\nFinops-Recommendation: []") == {}


def test_what_a_commit_of_an_older_version_holds_is_read_and_written_as_it_was() -> None:
    message = 'Right-size\n\nFinops-Recommendation: {"id": "r1", "files": ["x.yaml"]}\n'
    assert members_in(message) == {"r1": Held(("x.yaml",))}
    assert commit_message("Right-size", members_in(message)) == message


def member(
    name: str, *, containers: int = 1, saving: str = "40.00", reason: str = "because"
) -> Recommendation:
    said = tuple(
        container(f"c{index}").model_copy(update={"reasons": (reason,)}) for index in range(containers)
    )
    verdict = Verdict(
        rule="max_step_down_percent",
        policy="default",
        version=3,
        outcome=Outcome.CLAMP,
        message="at most 40 % | less",
        container="c0",
    )
    return draft(created(workload(name), "scan-1", said, saving=saving)).model_copy(
        update={"verdicts": (verdict,), "policies": {"default": 3}, "outcome": Outcome.CLAMP}
    )


def test_the_body_has_what_a_reviewer_asks_for() -> None:
    members = [member("web"), member("cart", saving="-15.50")]
    body = body_of("shop", members)
    marker = json.loads(body.splitlines()[0].removeprefix(MARKER).removesuffix(" -->"))
    assert marker["recommendations"] == [members[1].id, members[0].id]
    for said in (
        "restarts **6 pods**",
        "Cost: **-24.50 USD a month.**",
        "| shop/Deployment/cart | c0 | 1 → **600m** | - | 1Gi → **640Mi** | 1Gi → **768Mi** |",
        "| 480m / 900m | 520Mi / 540Mi |",
        "14.0 days of history, confidence 90%",
        "policy default v3, max_step_down_percent (c0): clamp: at most 40 % \\| less",
        "`kubefinops/reports/local/2026/11/23/scan-1-0000.json#/workloads/0`",
        "## How to roll back",
        'x-axis ["cart/c0", "web/c0"]\n    bar [480, 480]\n    line [1000, 1000]\n    line [600, 600]',
    ):
        assert said in body, said
    assert title_of("shop", members) == "Right-size 2 workloads of shop: saves 24.50 USD a month"
    assert title_of("shop", members[1:]) == (
        "Right-size shop/Deployment/cart of shop: costs 15.50 USD more a month"
    )


def test_the_marker_changes_with_what_is_proposed() -> None:
    one = member("cart")
    other = one.model_copy(update={"containers": (container("c0", None, resources(1, 64)),)})
    assert body_of("shop", [one]).splitlines()[0] != body_of("shop", [other]).splitlines()[0]


def test_the_body_names_the_containers_that_are_not_in_git_and_none_of_their_values() -> None:
    clamped = member("web", containers=2).model_copy(update={"not_in_git": ("c0", "agent")})
    meshed = clamped.model_copy(update={"containers": clamped.containers[1:]})
    body = body_of("shop", [meshed, member("cart").model_copy(update={"not_in_git": ("agent",)})])
    assert (
        "Left as they are, for their manifests in Git do not have them: **agent** (2 workloads), **c0** (1"
        " workload). Most likely they are injected at admission"
    ) in body
    evidence = body[body.index("**shop/Deployment/web**") : body.index("## Usage")]
    assert "- c0: left as it is: its manifest in Git does not have it" in evidence
    assert "max_step_down_percent (c0)" not in evidence
    assert "| shop/Deployment/web | c1 |" in body
    assert "| shop/Deployment/web | c0 |" not in body
    assert "Left as they are" not in body_of("shop", [member("cart")])


@pytest.mark.parametrize(("workloads", "containers"), [(60, 1), (200, 3), (400, 2)])
def test_a_body_of_many_members_fits_the_host(workloads: int, containers: int) -> None:
    members = [member(f"w{index}", containers=containers, reason="x" * 200) for index in range(workloads)]
    body = body_of("shop", members)
    assert len(body) <= LARGEST_BODY
    assert members[-1].id in body
    assert "How to roll back" in body


def test_nothing_in_a_reason_can_end_the_comment_or_the_table() -> None:
    body = body_of("shop", [member("cart", reason="a\n| b | --> <!-- c")])
    assert "- c0: a \\| b \\|   c" in body
