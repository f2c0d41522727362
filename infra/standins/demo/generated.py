"""The demo without measured traces: a small company's cluster, with usage generated from a seed.

The manifests are the files under `manifests/`, written as people write them. Requests are what teams guess:
most containers use a fifth to a half of what they ask for, one asks for too little memory. Each workload is
there for an ending of the loop; which one it is follows from its usage, its manifest and the policies, not
from a mark.
"""

from __future__ import annotations

from pathlib import Path

from infra.standins.demo.layout import GIB, App, Commit, Demo, policies
from infra.standins.scenario import Node, Profile, Usage

_MANIFESTS = Path(__file__).with_name("manifests")
_MIB = 1024**2
_HOUR, _DAY = 3600.0, 86400.0
_APPS = [
    App("storefront", "shop", "apps/storefront"),
    App("search", "search", "apps/search/overlays/production"),
    App("analytics", "analytics", "apps/analytics"),
    App("warehouse", "analytics", "apps/warehouse"),
    App("reporting", "analytics", "apps/reporting", synced=False),
    App("payments", "payments", "apps/payments"),
]
_REPORT_BUILDER = "apps/reporting/report-builder.yaml"
_WEB = {"daily": 0.5, "weekend": 0.25, "noise": 0.12, "bursts_per_day": 3.0}


def demo(now: float) -> Demo:
    """The demo as of `now` (Unix seconds)."""
    files = {
        str(path.relative_to(_MANIFESTS)): path.read_text(encoding="utf-8")
        for path in sorted(_MANIFESTS.rglob("*"))
        if path.is_file()
    }
    # Harmless to read, impossible to apply: the selector of a Deployment is immutable, so Argo CD's sync of
    # this Application fails from here on, whatever else is merged into it.
    relabelled = files[_REPORT_BUILDER].replace(
        "app: report-builder", "app.kubernetes.io/name: report-builder"
    )
    commits = [
        Commit("Deploy everything from here\n", files),
        Commit("report-builder: use the recommended labels\n", {_REPORT_BUILDER: relabelled}),
    ]
    nodes = [Node(name=f"node-{number}", cpu=16, memory_bytes=64 * GIB) for number in (1, 2)]
    return Demo(commits, _APPS, nodes, _usage(now), policies("payments"))


def _usage(now: float) -> list[Usage]:
    def uses(namespace: str, kind: str, name: str, container: str, shape: Profile) -> Usage:
        return Usage(namespace=namespace, kind=kind, name=name, container=container, profile=shape)

    steady = {"daily": 0.1, "noise": 0.05}
    frontend = uses("shop", "Deployment", "frontend", "web", _shape(0.07, 190, _WEB, burst_cores=0.15))
    new = uses("shop", "Deployment", "recommendations", "recommendations", _shape(0.08, 210, _WEB))
    return [
        # Deployed three days ago for the last time: the history has pods that are gone.
        frontend.model_copy(update={"redeployed": [now - 3 * _DAY]}),
        uses("shop", "Deployment", "frontend", "envoy", _shape(0.015, 42, _WEB)),
        uses("shop", "Deployment", "cart", "cart", _shape(0.035, 95, _WEB)),
        uses("shop", "StatefulSet", "redis-cart", "redis", _shape(0.02, 240, steady)),
        uses("shop", "Deployment", "catalog", "catalog", _shape(0.2, 410, _WEB, burst_cores=0.2)),
        uses("shop", "Deployment", "checkout", "checkout", _shape(0.17, 160, _WEB)),
        new.model_copy(update={"created": now - _HOUR}),
        uses(
            "shop",
            "Deployment",
            "image-resizer",
            "resizer",
            # Now and then a large upload needs more than the limit: the kernel kills the container then.
            _shape(
                0.14,
                245,
                steady,
                memory_spikes_per_day=0.7,
                memory_spike_bytes=130 * _MIB,
                memory_spike_seconds=60.0,
            ),
        ),
        uses(
            "search",
            "Deployment",
            "search-api",
            "api",
            # Loads its index at every start.
            _shape(0.24, 760, _WEB, startup_seconds=120.0, startup_cores=0.3),
        ),
        uses("search", "Deployment", "search-indexer", "indexer", _shape(0.22, 480, steady)),
        uses("search", "CronJob", "search-reindex", "reindex", _shape(0.45, 620, steady)),
        uses("analytics", "Deployment", "event-collector", "collector", _shape(0.16, 270, _WEB)),
        uses("analytics", "DaemonSet", "log-agent", "agent", _shape(0.04, 70, steady)),
        uses(
            "analytics", "StatefulSet", "clickhouse", "clickhouse", _shape(0.9, 6200, _WEB, burst_cores=0.6)
        ),
        uses("analytics", "Deployment", "report-builder", "builder", _shape(0.12, 330, steady)),
        uses("payments", "Deployment", "ledger", "ledger", _shape(0.09, 420, _WEB)),
        uses("payments", "Deployment", "payment-gateway", "gateway", _shape(0.05, 150, _WEB)),
    ]


def _shape(cores: float, mebibytes: int, rhythm: dict[str, float], **more: float) -> Profile:
    return Profile.model_validate({"cpu_cores": cores, "memory_bytes": mebibytes * _MIB, **rhythm, **more})
