"""A CronJob's many short runs, as the cluster stand-in lived through them, read from a real Prometheus."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from functions.recommender import reading
from functions.recommender.reading import Reading
from functions.recommender.sizing import Observed, Rules, size
from infra.standins.cluster import history
from infra.standins.cluster.cluster import Cluster
from infra.standins.demo import generated
from infra.standins.scenario import Scenario
from shared.adapters.prometheus import HttpPrometheus
from tests.servers import prometheus_server

# Scrapes lie off the minutes at which runs begin and windows end.
NOW = 1_790_000_008.0
RUN_SECONDS, EVERY_SECONDS = 240, 1800
# The second runs all the time, as something does in every cluster: how often scrapes come is seen on it.
MANIFESTS = ("apps/search/base/reindex.yaml", "apps/search/base/indexer.yaml")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's CronJob, every half hour for 4 minutes, and one Deployment of it."""
    demo = generated.demo(NOW)
    manifests = [yaml.safe_load(demo.commits[0].files[name]) for name in MANIFESTS]
    for manifest in manifests:
        manifest["metadata"]["namespace"] = "search"
    names = {manifest["metadata"]["name"] for manifest in manifests}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "search"}}
    scenario = Scenario(
        cluster="local",
        now=NOW,
        seed=7,
        nodes=demo.nodes,
        objects=[namespace, *manifests],
        applications=[],
        usage=[use for use in demo.usage if use.name in names],
    )
    path = tmp_path_factory.mktemp("runs") / "history.om"
    assert history.write(Cluster(scenario, lived=False), path) > 0
    return path


@pytest.fixture(scope="module")
def seen(written: Path) -> Iterator[Reading]:
    with prometheus_server(openmetrics=written) as server:
        yield reading.read(
            HttpPrometheus(str(server.address)),
            "local",
            datetime.fromtimestamp(NOW, UTC),
            history=timedelta(days=14),
            oom_days=7,
        )


@pytest.fixture(scope="module")
def reindex(seen: Reading) -> Observed:
    return next(each for each in seen.workloads if each.workload.kind == "CronJob")


def counters(written: Path) -> dict[str, list[tuple[float, float]]]:
    """CPU seconds of each pod by time."""
    found: dict[str, list[tuple[float, float]]] = {}
    line = re.compile(
        r'container_cpu_usage_seconds_total{.*container="reindex".*pod="([^"]+)".*} (\S+) (\S+)'
    )
    for match in map(line.match, written.read_text(encoding="utf-8").splitlines()):
        if match:
            found.setdefault(match[1], []).append((float(match[3]), float(match[2])))
    return found


def test_runs_shorter_than_a_window_make_one_history(reindex: Observed, written: Path) -> None:
    assert reindex.workload.name == "search-reindex"
    (container,) = reindex.containers
    runs = [samples for samples in counters(written).values() if len(samples) > 1]
    first = min(samples[0][0] for samples in runs)
    assert NOW - first > 7 * 86400
    assert container.history_seconds == pytest.approx(NOW - first, abs=600)
    assert container.usage is not None
    assert container.usage.pods == pytest.approx(len(runs), abs=2)
    assert container.usage.pods > 300
    assert container.usage.samples >= container.usage.pods


def test_the_peak_of_a_short_run_is_not_thinned_by_the_rest_of_its_window(
    reindex: Observed, written: Path
) -> None:
    (container,) = reindex.containers
    assert container.usage is not None
    runs = [samples for samples in counters(written).values() if len(samples) > 1]
    whole = max((run[-1][1] - run[0][1]) / (run[-1][0] - run[0][0]) for run in runs)
    minute = max((b[1] - a[1]) / (b[0] - a[0]) for run in runs for a, b in pairwise(run))
    assert whole * 1000 <= container.usage.cpu_max_m <= minute * 1000


def test_as_many_pods_are_paid_for_as_ran_on_average(reindex: Observed) -> None:
    assert reindex.pods == pytest.approx(RUN_SECONDS / EVERY_SECONDS, rel=0.05)
    assert reindex.replicas == 1


def test_a_cronjob_of_short_runs_is_sized(reindex: Observed) -> None:
    sized = size(reindex, Rules())
    assert sized.skipped is None
    (container,) = sized.containers
    assert container.usage.cpu_max_m < (container.proposed.cpu_request_m or 0) < 1000
    assert f"the peak of its {container.usage.pods} runs" in container.reasons[0]


def test_only_what_runs_to_completion_is_asked_about_its_whole_history_at_once(seen: Reading) -> None:
    asked = {asked.name for asked in seen.asked if asked.name.endswith("_of_runs")}
    assert asked == {
        "cpu_p95_of_runs",
        "cpu_max_of_runs",
        "memory_p95_of_runs",
        "memory_max_of_runs",
        "first_seen_of_runs",
        "samples_of_runs",
        "scrapes_of_runs",
        "oom_kills_of_runs",
        "killed_of_runs",
        "throttled_share_of_runs",
    }
