"""A made-up cluster's weeks in a Prometheus: as many Deployments as wanted, whose pods share a few usages."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from infra.emulator.servers.prometheus import program
from tests.bench.tsdb import multiply

SCRAPE_SECONDS = 60
PODS = 3
USAGES = 30
A_NAMESPACE = 100  # Deployments
_CONSTANT = {"one": 1, "zero": 0, "pods": PODS, "cores": 1, "bytes": 2**31}
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def write(folder: Path, deployments: int, days: int, end: int, block_hours: int) -> Path:
    """Blocks with the series that a scan, and krr, read of such a cluster, up to `end` (Unix seconds)."""
    history, blocks = folder / "history.om", folder / "blocks"
    with history.open("w", encoding="utf-8") as file:
        for name, values in _usages(days * 86400 // SCRAPE_SECONDS, end):
            file.write(f"# TYPE {name} gauge\n")
            begin = end - (len(values) - 1) * SCRAPE_SECONDS
            file.writelines(
                f"{name} {value:.6f} {begin + at * SCRAPE_SECONDS}\n" for at, value in enumerate(values)
            )
        file.write("# EOF\n")
    command = [str(program("promtool")), "tsdb", "create-blocks-from", "openmetrics", "--quiet"]
    command += [f"--max-block-duration={block_hours}h", str(history), str(blocks)]
    subprocess.run(command, check=True)
    history.unlink()
    series: dict[str, list[dict[str, str]]] = {}
    for base, labels in _series(deployments):
        series.setdefault(base, []).append(labels)
    for block in blocks.iterdir():
        if (block / "index").exists():
            multiply(block, series)
    return blocks


def _usages(samples: int, end: int) -> Iterator[tuple[str, np.ndarray]]:
    """Days with a broad peak at an hour of their own, noise, and a size of their own."""
    random_ = np.random.default_rng(1)
    hours = (end - np.arange(samples)[::-1] * SCRAPE_SECONDS) / 3600
    for number in range(USAGES):
        day = np.cos((hours - number) / 24 * 2 * np.pi)
        cores = 0.02 * 2 ** random_.uniform(0, 6) * (1 + 0.5 * day) * random_.gamma(2, 0.5, samples)
        yield f"cpu{number}", np.cumsum(cores * SCRAPE_SECONDS)
        size = 2 ** random_.uniform(26, 31)
        yield f"memory{number}", np.round(size * (1 + 0.1 * day + 0.05 * random_.standard_normal(samples)))
    for name, value in _CONSTANT.items():
        yield name, np.full(samples, float(value))


def _series(deployments: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Whose samples a series has, and its labels."""
    random_ = random.Random(2)

    def some(length: int) -> str:
        return "".join(random_.choices(_LETTERS, k=length))

    told = {"job": "kube-state-metrics", "instance": "10.0.0.1:8080"}
    for number in range(deployments):
        name = f"service-{number:05}"
        here = {"namespace": f"team-{number % max(1, deployments // A_NAMESPACE):03}"}
        owner = {"owner_kind": "Deployment", "owner_name": name, "owner_is_controller": "true"}
        replica_set = f"{name}-{some(10)}"
        yield "one", _of("kube_replicaset_owner", here, told, owner, {"replicaset": replica_set})
        yield "pods", _of("kube_deployment_spec_replicas", here, told, {"deployment": name})
        for ordinal in range(PODS):
            pod = {**here, "pod": f"{replica_set}-{some(5)}"}
            owner = {"owner_kind": "ReplicaSet", "owner_name": replica_set, "owner_is_controller": "true"}
            yield "one", _of("kube_pod_owner", pod, told, owner)
            yield "one", _of("kube_pod_status_phase", pod, told, {"phase": "Running"})
            usage, node = random_.randrange(USAGES), f"node-{ordinal}"
            app = {**pod, "container": "app"}
            scraped = {"job": "kubelet", "node": node, "id": f"/kubepods/pod{some(32)}", "name": some(64)}
            yield f"cpu{usage}", _of("container_cpu_usage_seconds_total", app, scraped, {"cpu": "total"})
            yield f"memory{usage}", _of("container_memory_working_set_bytes", app, scraped)
            yield "one", _of("kube_pod_container_info", app, told, {"image": "example.com/app:1"})
            yield "zero", _of("kube_pod_container_status_restarts_total", app, told)
            requests, limits = (f"kube_pod_container_resource_{kind}" for kind in ("requests", "limits"))
            yield "cores", _of(requests, app, told, {"resource": "cpu", "unit": "core"})
            yield "bytes", _of(requests, app, told, {"resource": "memory", "unit": "byte"})
            yield "bytes", _of(limits, app, told, {"resource": "memory", "unit": "byte"})


def _of(metric: str, *labels: dict[str, str]) -> dict[str, str]:
    found = {"__name__": metric}
    for each in labels:
        found |= each
    return found
