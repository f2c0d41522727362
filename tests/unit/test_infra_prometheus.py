"""Prometheus' configuration and rules, checked by promtool and computed by it on series of our own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from functions.exporter.metrics import METRICS
from infra.emulator.servers.tools import PROMETHEUS, SETUP

FOLDER = Path(__file__).parents[2] / "infra" / "prometheus"
RULES = sorted((FOLDER / "rules").glob("*.yml"))


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool") or shutil.which("promtool", path=str(PROMETHEUS / "usr" / "bin"))
    assert found, f"promtool is not here: {SETUP}"
    return found


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def rules() -> list[dict[str, Any]]:
    return [
        rule
        for path in RULES
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]


def test_configuration_and_rules_are_valid(promtool: str) -> None:
    run(promtool, "check", "config", str(FOLDER / "prometheus.yml"))
    run(promtool, "check", "rules", *map(str, RULES))


def test_labels_of_the_exporter_are_not_overwritten_by_its_target() -> None:
    jobs = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    assert {job["job_name"] for job in jobs} == {"kubefinops", "cadvisor", "kube-state-metrics"}
    assert all(job["honor_labels"] is True for job in jobs)


def test_rules_name_metrics_that_the_exporter_has() -> None:
    known = {metric.name for metric in METRICS} | {rule["record"] for rule in rules() if "record" in rule}
    named = {
        word
        for rule in rules()
        for word in rule["expr"].replace("(", " ").replace(")", " ").replace(",", " ").split()
        if word.startswith("kubefinops")
    }
    assert named
    assert named <= known


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert alerts
    for alert in alerts:
        assert alert["labels"]["severity"] in {"info", "warning", "critical"}
        assert alert["annotations"]["summary"]
        assert alert["annotations"]["description"]


APP = 'namespace="shop",pod="a",container="app"'
REQUESTS = f"kube_pod_container_resource_requests{{{APP},resource="
OLD = 'application="shop",repository="acme/deploy",number="7"'
# Two replicas of kube-state-metrics show the same request; the pod's own control group and its sandbox
# must not count.
SERIES = [
    (f'{REQUESTS}"cpu",instance="1"}}', "2x60"),
    (f'{REQUESTS}"cpu",instance="2"}}', "2x60"),
    (f'{REQUESTS}"memory",instance="1"}}', "1000x60"),
    (f"container_cpu_usage_seconds_total{{{APP}}}", "0+7.5x60"),
    ('container_cpu_usage_seconds_total{namespace="shop",pod="a",container=""}', "0+7.5x60"),
    (f"container_memory_working_set_bytes{{{APP}}}", "1300x60"),
    ('container_memory_working_set_bytes{namespace="shop",pod="a",container="POD"}', "50x60"),
    ('kubefinops_waste_monthly{cluster="local",namespace="shop",currency="USD",instance="1"}', "12.5x60"),
    ('kubefinops_oldest_unsent_event_age_seconds{cluster="local"}', "0x20 600x60"),
    (f"kubefinops_open_pull_request_age_seconds{{{OLD}}}", "700000x400"),
    ('up{job="kubefinops",instance="e:1"}', "1x10 0x50"),
]


def recorded(name: str, value: float, labels: str = '{namespace="shop"}') -> dict[str, Any]:
    return {
        "expr": f"kubefinops:namespace_{name}",
        "eval_time": "10m",
        "exp_samples": [{"labels": f"kubefinops:namespace_{name}{labels}", "value": value}],
    }


def test_rules_compute_requests_p95_and_waste_and_alerts_fire(promtool: str, tmp_path: Path) -> None:
    values = [
        recorded("cpu_request_cores:sum", 2),
        recorded("memory_request_bytes:sum", 1000),
        recorded("cpu_usage_cores:p95_5m", 0.5),
        recorded("memory_usage_bytes:p95_5m", 1300),
        recorded("cpu_waste_cores:p95_5m", 1.5),
        recorded("memory_waste_bytes:p95_5m", 0),
        recorded("waste_monthly:sum", 12.5, '{cluster="local",namespace="shop",currency="USD"}'),
    ]
    exporter = {"job": "kubefinops", "instance": "e:1"}
    pull = {"application": "shop", "repository": "acme/deploy", "number": "7"}
    alerts = [
        silent("5m", "KubeFinOpsEventsUnsent"),
        fires("13m", "KubeFinOpsEventsUnsent", "critical", {"cluster": "local"}),
        silent("4m", "KubeFinOpsExporterDown"),
        fires("13m", "KubeFinOpsExporterDown", "warning", exporter),
        silent("30m", "KubeFinOpsPullRequestOld"),
        fires("70m", "KubeFinOpsPullRequestOld", "info", pull),
    ]
    spec = {
        "rule_files": [str(path) for path in RULES],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [{"series": name, "values": series} for name, series in SERIES],
                "promql_expr_test": values,
                "alert_rule_test": alerts,
            }
        ],
    }
    path = tmp_path / "rules_test.yml"
    path.write_text(yaml.safe_dump(spec))
    run(promtool, "test", "rules", str(path))


# What humanizeDuration makes of the values in SERIES at the time of each test.
SUMMARIES = {
    "KubeFinOpsEventsUnsent": "Decided events of cluster local have not reached Kafka for 10m 0s",
    "KubeFinOpsExporterDown": "The exporter at e:1 does not answer",
    "KubeFinOpsPullRequestOld": "Pull request acme/deploy#7 (shop) has waited for 8d 2h 26m 40s",
}


def fires(at: str, alert: str, severity: str, labels: dict[str, str]) -> dict[str, Any]:
    [rule] = [rule for rule in rules() if rule.get("alert") == alert]
    return {
        "eval_time": at,
        "alertname": alert,
        "exp_alerts": [
            {
                "exp_labels": {**labels, "severity": severity},
                "exp_annotations": {**rule["annotations"], "summary": SUMMARIES[alert]},
            }
        ],
    }


def silent(at: str, alert: str) -> dict[str, Any]:
    return {"eval_time": at, "alertname": alert, "exp_alerts": []}
