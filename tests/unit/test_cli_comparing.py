"""What other tools' published rules say of a cluster, and what is made of it: nothing but figures."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import get_args

import pytest

from functions.recommender.report import Entry
from functions.recommender.rules import Peer, Strategy
from functions.recommender.settings import RecommenderSettings
from infra.backtest.peers import PEERS
from infra.cli.comparing import RULES
from infra.cli.looking import see, sizing_settings
from shared.adapters.prometheus import HttpPrometheus
from shared.contracts.errors import BadSetting
from tests.fakes.prometheus import FakePod, FakePrometheus, deployment

NOW = datetime(2026, 11, 20, tzinfo=UTC)
MIB = 2**20


@pytest.fixture
def by(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Entry]]:
    def scan(
        peer: Peer, *pods: FakePod, scaled: dict[tuple[str, str], str] | None = None
    ) -> dict[str, Entry]:
        fake = FakePrometheus(*pods)
        fake.scaled = scaled or {}
        monkeypatch.setattr(HttpPrometheus, "query", lambda _, *given: fake.query(*given))
        monkeypatch.setattr(HttpPrometheus, "query_range", lambda _, *given: fake.query_range(*given))
        seen = see(sizing_settings("http://prometheus:9090"), (), NOW, peer=peer)
        assert seen.rule is RULES[peer]
        return {each.workload.name: each for each in seen.entries}

    return scan


def requests(entry: Entry) -> tuple[int | None, int | None]:
    (container,) = entry.containers
    memory = container.proposed.memory_request_bytes
    return container.proposed.cpu_request_m, None if memory is None else memory // MIB


def test_each_rule_of_the_backtest_can_be_looked_at_and_none_is_a_strategy() -> None:
    assert set(get_args(Peer)) == set(PEERS) == set(RULES)
    assert not set(get_args(Peer)) & set(get_args(Strategy))
    for name, rule in RULES.items():
        assert rule.name == name
        assert rule.says in rule.heading
        assert rule.source in rule.heading
        assert "itself" in rule.reading


@pytest.mark.parametrize(
    ("peer", "cpu", "memory"),
    [
        ("krr", 200, 253),  # the p95 as it is, 220 MiB plus 15 %
        ("vpa", 249, 260),  # the end of the bucket, plus 15 %
        ("goldilocks", 249, 260),  # VPA's target
        ("crane", 345, 345),  # up to whole 100m and 100 MiB, plus 15 %
        ("kubecost", 572, 315),  # divided by 0.7
    ],
)
def test_the_figures_are_the_rules(
    by: Callable[..., dict[str, Entry]], peer: Peer, cpu: int, memory: int
) -> None:
    (entry,) = by(peer, deployment("shop", "web")).values()
    assert requests(entry) == (cpu, memory)
    (container,) = entry.containers
    assert container.proposed.memory_limit_bytes == container.current.memory_limit_bytes == 1024 * MIB
    assert container.reasons == (
        f"CPU request 1 -> {cpu}m: {peer}'s rule, for comparison only",
        "CPU limit: not compared",
        f"memory request 1Gi -> {memory}Mi: {peer}'s rule, for comparison only",
        "memory limit: not compared",
    )


def test_floors_are_the_tools_own_and_none_of_our_safety_rules_applies(
    by: Callable[..., dict[str, Entry]],
) -> None:
    idle = deployment(
        "shop", "idle", cpu_max=0.001, cpu_p95=0.001, memory_max=5.0 * MIB, memory_p95=5.0 * MIB
    )
    killed = deployment("shop", "killed", oom_kills=2.0, throttled=0.5, limits={})
    java = deployment("shop", "java", image="openjdk:21")
    young = deployment("shop", "young", samples=27, history_days=0.1)
    krr = by("krr", idle, killed, java, young)
    assert requests(krr["idle"]) == (10, 100)
    assert requests(krr["java"]) == requests(krr["young"]) == (200, 253)
    assert krr["killed"].decision == "proposed"
    assert requests(by("kubecost", idle)["idle"]) == (10, 20)
    assert requests(by("vpa", idle)["idle"]) == (25, 250)
    assert requests(by("crane", idle)["idle"]) == (115, 115)


def test_krr_leaves_what_an_autoscaler_scales_on_and_the_others_do_not(
    by: Callable[..., dict[str, Entry]],
) -> None:
    scaled = {("shop", "web"): "cpu"}
    entry = by("krr", deployment("shop", "web"), scaled=scaled)["web"]
    assert requests(entry) == (1000, 253)
    assert entry.containers[0].reasons[0] == "CPU request krr leaves what an autoscaler scales on as it is"
    assert requests(by("kubecost", deployment("shop", "web"), scaled=scaled)["web"]) == (572, 315)


def test_what_a_rule_says_nothing_of_is_told_with_the_reason(by: Callable[..., dict[str, Entry]]) -> None:
    pods = [
        FakePod("batch", ("Job", "nightly")),
        deployment("shop", "silent", measured=False),
        deployment("shop", "right", requests={"cpu": 0.2, "memory": 253.0 * MIB}),
    ]
    found = by("krr", *pods)
    assert {name: (each.decision, each.reason) for name, each in found.items()} == {
        "nightly": ("skipped", "runs to completion: rules of other tools are compared for what lasts"),
        "silent": ("skipped", "krr says nothing of it: no usage, or too little"),
        "right": ("skipped", "krr says what is set, or leaves it to its autoscaler"),
    }
    assert by("krr", pods[0])["nightly"].decision == "skipped"


@pytest.mark.parametrize("peer", get_args(Peer))
def test_nothing_that_proposes_takes_one(peer: Peer) -> None:
    with pytest.raises(BadSetting, match=f"^--strategy: {peer} is another tool's rule"):
        sizing_settings("http://prometheus:9090", strategy=peer)
    with pytest.raises(BadSetting, match=r"KUBEFINOPS_STRATEGY: must be one of .*balanced"):
        RecommenderSettings.read({"KUBEFINOPS_STRATEGY": peer})
