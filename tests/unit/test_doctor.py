"""What `kubefinops doctor` makes of a server's answers, and what it knows of the series that are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from functions.recommender import queries
from functions.recommender.queries import CPU, CPU_RULE, MEMORY, Scope
from functions.recommender.settings import SizingSettings
from infra.cli.doctor import _clock
from infra.cli.examining import DAY, HOUR, Examined, Found, _interval, examine
from infra.cli.inputs import INPUTS, MIXIN, OLDER_CPU_RULE, Need
from shared.contracts.prometheus import Build, Curve, Series

AT = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
LABELS = 'cluster="eu"'
USED = [each.name for each in INPUTS if each.need not in {Need.PRICES, Need.RULE}]


@dataclass
class FakeServer:
    """Has one series of each of `names`, with `scrapes` in 20 minutes, and had them at `past` seconds ago."""

    names: list[str] = field(default_factory=lambda: list(USED))
    scrapes: float = 20
    past: tuple[int, ...] = (HOUR, 6 * HOUR, DAY, 3 * DAY, 7 * DAY, 14 * DAY - HOUR)
    twice: dict[str, float] = field(default_factory=dict)
    clusters: tuple[str, ...] = ("eu",)
    hidden: dict[str, str] = field(default_factory=dict)  # jobs by the metric of which they hide labels
    measured: int = 10
    owned: int = 10
    asked: list[str] = field(default_factory=list)

    def query(self, promql: str, at: datetime, timeout: float | None = None) -> list[Series]:
        self.asked.append(promql)
        if promql.startswith("count by (cluster,"):
            return [*(Series({"cluster": name}, 1.0) for name in self.clusters), *self._hidden(promql)]
        if '"measured"' in promql:
            pods = {"measured": self.measured, "owned": self.owned}
            counts = [Series({"metric": name}, float(count)) for name, count in pods.items() if count]
            return [*counts, *self._hidden(promql)]
        if promql.startswith("count(count by"):
            return [Series({}, value) for name, value in self.twice.items() if name in promql]
        if "offset -6m" in promql:
            return []
        if promql.startswith("label_replace(count("):
            asked = set(re.findall(r'"metric", "([^"$]+)"', promql))
            there = {queries.duration(ago) for ago in self.past}
            ago = re.search(r" offset (\w+)", promql)
            present = self.names if ago is None or ago[1] in there else []
            return [Series({"metric": name}, 1.0) for name in present if name in asked]
        value = self.scrapes if "count_over_time" in promql else at.timestamp() - 15
        return [Series({"metric": name}, value) for name in re.findall(r'"metric", "([^"$]+)"', promql)]

    def _hidden(self, promql: str) -> list[Series]:
        return [
            Series({"hidden": "yes", "namespace": "monitoring", "job": job}, 1.0)
            for metric, job in self.hidden.items()
            if re.search(rf'{metric}{{[^}}]*exported_namespace!=""', promql)
        ]

    def query_range(
        self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
    ) -> list[Curve]:
        raise NotImplementedError

    def series(
        self, matchers: str, begin: datetime, end: datetime, timeout: float | None = None
    ) -> list[Mapping[str, str]]:
        raise NotImplementedError  # of ranges and series doctor asks nothing: it would fail here


def examined(server: FakeServer, **variables: str) -> Examined:
    return examine(server, AT, SizingSettings.read(variables))


def found(server: FakeServer, name: str = CPU) -> Found:
    return {each.input.name: each for each in examined(server).found}[name]


def test_every_series_that_the_engine_reads_is_looked_for() -> None:
    scope, ranges = Scope(), queries.window(timedelta(days=14), None, None)
    asked = [
        queries.state(scope),
        queries.owners(scope, timedelta(days=14)),
        *queries.usage(scope, ranges).values(),
        *(ask(scope) for ask in queries.windows(ranges).values()),
        *(ask(86400)(scope) for ask in (queries.oom_kills, queries.throttled_share, queries.memory_max)),
        *queries.runs(scope, ranges).values(),
        queries.mean_replicas(scope, timedelta(days=14)),
    ]
    read = set(re.findall(r"\b(?:kube|container|rollout|jvm)_\w+", " ".join(asked)))
    assert read == set(USED)


def test_each_missing_one_is_told_with_what_it_switches_off_and_how_to_get_it() -> None:
    for each in examined(FakeServer(names=[])).found:
        assert each.state == "missing"
        assert each.input.switches_off
        assert each.input.get_it
    assert {each.input.name for each in examined(FakeServer(names=[])).lacking} == {
        each.name for each in INPUTS if each.need is Need.REQUIRED
    }


def test_a_full_server_has_nothing_to_be_noted() -> None:
    everything = examined(FakeServer())
    assert everything.lacking == []
    assert everything.notes == ()
    cpu = found(FakeServer())
    assert (cpu.series, cpu.interval, cpu.age, cpu.back) == (1, 60, 15.0, 14 * DAY - HOUR)


def test_a_short_history_that_is_asked_for_is_not_called_too_short() -> None:
    day = FakeServer(past=(HOUR, 6 * HOUR, DAY - HOUR))
    assert examined(day, KUBEFINOPS_HISTORY_DAYS="1").notes == ()


def test_few_queries_are_asked_and_all_of_this_cluster_alone() -> None:
    server = FakeServer()
    examined(server, PROMETHEUS_LABELS="cluster=eu")
    assert len(server.asked) <= 15
    for promql in server.asked:
        assert all(LABELS in selector for selector in re.findall(r"\{(.*?)\}", promql)), promql
        assert "__name__" not in re.sub(r'"[^"]*"', "", promql)  # Google's takes no pattern for it


@pytest.mark.parametrize(
    ("scrapes", "interval"),
    [(240, 5), (80, 15), (81, 15), (40, 30), (20, 60), (21, 60), (10, 120), (14, 86), (4, 300), (1, None)],
)
def test_the_interval_is_a_round_one_where_the_samples_allow_it(scrapes: float, interval: int | None) -> None:
    assert _interval(scrapes) == interval


@pytest.mark.parametrize(
    ("server", "note"),
    [
        (FakeServer(scrapes=10), "is scraped each 120 s: .*windows are 10m long instead of 5m"),
        (FakeServer(scrapes=1), "was scraped less than twice within 20m"),
        (FakeServer(past=(HOUR, 3 * DAY)), "goes back 3d or somewhat more, of the 14 days"),
        (FakeServer(past=(HOUR, 6 * HOUR)), "goes back less than 24 h .*nothing is proposed"),
        (FakeServer(past=(HOUR, 14 * DAY - HOUR)), "has a gap: there was none 6h, 1d, 3d, 7d ago"),
        (FakeServer(twice={"kube_pod_owner": 7.0}), "^7 pods are told of more than once by kube-state"),
        (FakeServer(twice={MEMORY: 9.0}), "^9 containers are told of more than once by cAdvisor"),
        (
            FakeServer(clusters=("us", "eu")),
            r"several clusters \(eu, us\).*--label cluster=eu.*recommender refuse",
        ),
        (
            FakeServer(measured=10, owned=8),
            r"^of the pods that are measured \(10\) kube_pod_owner does not tell of 2:",
        ),
        (
            FakeServer(hidden={"kube_pod_owner": "pods"}),
            r"^kube-state-metrics is scraped without honor_labels \(job pods\).*in monitoring is left as it",
        ),
    ],
)
def test_what_is_there_and_not_as_it_should_be_is_noted(server: FakeServer, note: str) -> None:
    assert any(re.search(note, each) for each in examined(server).notes)


def test_a_pod_that_has_no_owner_yet_is_not_noted() -> None:
    assert examined(FakeServer(measured=10, owned=9)).notes == ()


@pytest.mark.parametrize(
    ("hidden", "why"),
    [
        (
            {"kube_pod_owner": "ksm"},
            r"^kube-state-metrics .* \(job ksm\): .*set honor_labels: true .*, or honorLabels: true in its",
        ),
        ({MEMORY: "kubelet"}, r"^cAdvisor is scraped without honor_labels \(job kubelet\)"),
        ({}, r"^of the pods that are measured \(10\) kube_pod_owner tells of none: "),
    ],
)
def test_usage_of_which_no_pod_has_an_owner_is_of_no_use_and_the_cause_is_named(
    hidden: dict[str, str], why: str
) -> None:
    apart = examined(FakeServer(owned=0, hidden=hidden))
    assert apart.lacking == []
    assert not apart.is_ready
    assert re.search(why, apart.unjoined or "")
    assert apart.notes == ()


def test_where_nobody_tells_of_owners_or_of_usage_that_alone_is_told() -> None:
    ownerless = examined(FakeServer([name for name in USED if name != "kube_pod_owner"], owned=0))
    assert [each.input.name for each in ownerless.lacking] == ["kube_pod_owner"]
    assert ownerless.unjoined is None
    assert examined(FakeServer(measured=0, owned=0)).unjoined is None


def test_an_older_rule_of_cpu_is_not_told_to_be_loaded_but_to_be_upgraded() -> None:
    without, older = (found(FakeServer([*USED, *more]), CPU_RULE) for more in ((), (OLDER_CPU_RULE,)))
    assert without.input.get_it == MIXIN
    assert older.state == "missing"
    assert "upgrade kubernetes-mixin to 1.1.0" in older.input.get_it
    assert OLDER_CPU_RULE in older.input.get_it
    both = found(FakeServer([*USED, CPU_RULE, OLDER_CPU_RULE]), CPU_RULE)
    assert (both.state, both.input.get_it) == ("there", MIXIN)


def test_autoscalers_that_do_not_tell_what_they_scale_are_no_sign_that_there_are_none() -> None:
    info, metrics = "kube_horizontalpodautoscaler_info", "kube_horizontalpodautoscaler_spec_target_metric"
    others = [name for name in USED if name not in (info, metrics, queries.HPA_REPLICAS)]
    for missing in (info, metrics):
        assert found(FakeServer(others), missing).input.unless == "it has no HorizontalPodAutoscaler"
        assert found(FakeServer([*others, queries.HPA_REPLICAS]), missing).input.unless is None


def test_what_is_told_of_kills_is_what_keeps_memory_from_being_lowered() -> None:
    off = {each.name: each.switches_off for each in INPUTS}
    assert off[queries.RESTARTS] == "memory is never lowered: OOM kills cannot be seen"
    assert off[queries.LAST_REASON].endswith("once anything restarted, memory is not lowered")


def test_one_that_was_scraped_until_lately_has_stopped() -> None:
    stopped = Found(INPUTS[0], seen=(6 * HOUR, DAY))
    assert (stopped.state, stopped.back) == ("stopped", DAY)


def test_a_clock_that_differs_from_the_servers_is_noted() -> None:
    assert _clock(Build(clock=AT), AT + timedelta(seconds=5)) is None
    assert _clock(Build(), AT) is None
    ahead, behind = (_clock(Build(clock=AT), AT + timedelta(seconds=by)) for by in (90, -90))
    assert ahead is not None
    assert behind is not None
    assert ahead.startswith("this machine's clock is 90 s ahead of the server's")
    assert behind.startswith("this machine's clock is 90 s behind the server's")
