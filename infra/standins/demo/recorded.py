"""The demo from measured traces: manifests that fit the traces, requests and limits from the data.

Where the data has no request or limit, the documented default is:
- Online Boutique (limits derived from the data): the request is half of the limit, as in the upstream
manifests
  (100m of 200m, 64Mi of 128Mi, 220Mi of 450Mi);
- TrainTicket (limits derived from the data): 100m and 300Mi, as in the upstream `deploy.yaml.sample`;
- a workload of any other set that has nothing configured: twice its p95, rounded up to a usual value, and a
memory
  limit of twice that. A resource that alone is not configured stays so.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from infra.standins.cluster import traces
from infra.standins.cluster.traces import Trace
from infra.standins.demo.layout import GIB, App, Commit, Demo, policies
from infra.standins.demo.writing import Resources, deployment, kustomize_base, overlay_patch
from infra.standins.scenario import Node, Recorded, Usage

_MIB = 1024**2
_HOUR = 3600.0
_MOST_CONTAINERS = 30
_LIMITS_TABLE = "nezha-limits-derived.csv"
_USUAL_CPU = (10, 25, 50, 100, 200, 250, 500, 750, 1000, 1500, 2000, 4000, 8000, 16000)  # millicores
_USUAL_MEMORY = (32, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192, 16384, 32768)  # MiB


@dataclass(frozen=True)
class _Group:
    """Workloads of a set that make one Application. None: all that no other group has."""

    app: str
    namespace: str
    workloads: tuple[str, ...] | None = None
    kustomize: bool = False
    breaks_selector_of: str | None = None


@dataclass(frozen=True)
class _Plan:
    """What is known of a set beyond its numbers. `{}` in `image` is the workload."""

    image: str
    groups: tuple[_Group, ...]
    container: str | None = None
    autoscaled: tuple[str, ...] = ()
    just_deployed: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    most: int = _MOST_CONTAINERS


_PLANS = {
    "nezha-online-boutique": _Plan(
        image="gcr.io/google-samples/microservices-demo/{}:v0.3.9",
        container="server",
        groups=(_Group("online-boutique", "online-boutique"),),
        autoscaled=("frontend",),
        just_deployed=("recommendationservice",),
    ),
    "nezha-train-ticket": _Plan(
        image="docker.io/codewisdom/{}:1.0.0",
        groups=(
            _Group(
                "ticket-gateway",
                "train-ticket",
                ("ts-gateway-service",),
                breaks_selector_of="ts-gateway-service",
            ),
            _Group("train-ticket", "train-ticket", kustomize=True),
        ),
        # Too many for the time that a demo may take; these idle like others that stay.
        left_out=(
            "ts-news-service",
            "ts-ui-dashboard",
            "ts-notification-service",
            "ts-verification-code-service",
        ),
    ),
    "kruize-openshift-15min": _Plan(
        image="quay.io/kruize-demo/{}:1.0",
        groups=(
            _Group("benchmark", "benchmark", ("tfb-qrh",)),
            _Group("cert-manager", "cert-manager", ("cert-manager-openshift-routes",)),
            _Group(
                "cost-management",
                "cost-management",
                ("koku-metrics-operator", "koku-metrics-operator-2", "costmanagement-metrics-operator"),
            ),
            _Group("middleware", "middleware"),
        ),
        # nginx-sample-europe used nothing at all; the other two close to nothing, with nothing configured.
        left_out=("nginx-sample-europe", "advisor-frontend", "clowder-plugin"),
    ),
}
_PROTECTED = "cert-manager"


@dataclass(frozen=True)
class _Workload:
    """One workload of a set: its recorded containers, and the namespace and Application it goes to."""

    set_name: str
    name: str
    plan: _Plan
    group: _Group
    containers: dict[str, list[Trace]]

    def container_name(self, recorded: str) -> str:
        return recorded or self.plan.container or self.name


def demo(folder: Path, now: float) -> Demo:
    """The demo of the traces in `folder`, whose last samples become `now` (Unix seconds).

    Raises:
        TraceError: no set is usable, or a file is broken.
    """
    found = traces.find_sets(folder)
    notes = [f"{path.name}: left out, it records no memory" for path in found.cpu_only]
    notes += [f"{path.name}: no trace (other columns)" for path in found.other if path.name != _LIMITS_TABLE]
    limits = _derived_limits(folder / _LIMITS_TABLE)
    workloads: list[_Workload] = []
    for name, path in found.files.items():
        workloads += _workloads(name, traces.read(path))
    kept, count = [], 0
    for workload in workloads:
        count += len(workload.containers)
        if count <= _MOST_CONTAINERS:
            kept.append(workload)
    if len(kept) < len(workloads):
        notes.append(
            f"{len(workloads) - len(kept)} workloads left out: a demo has {_MOST_CONTAINERS} containers"
        )
    resources = {
        (workload.set_name, workload.name, recorded): _resources(workload, recorded, limits)
        for workload in kept
        for recorded in workload.containers
    }
    apps, commits = _repository(kept, resources)
    nodes = [Node(name=f"node-{number}", cpu=16, memory_bytes=64 * GIB) for number in (1, 2, 3)]
    return Demo(commits, apps, nodes, list(_usage(kept, found, now)), policies(_PROTECTED), notes)


def _workloads(set_name: str, found: list[Trace]) -> list[_Workload]:
    namespace = re.sub(r"[^a-z0-9]+", "-", set_name.lower()).strip("-")
    plan = _PLANS.get(set_name) or _Plan("registry.example/{}:1.0", (_Group(namespace, namespace),))
    by_name: dict[str, dict[str, list[Trace]]] = {}
    for trace in found:
        if trace.workload not in plan.left_out and trace.has_memory:
            by_name.setdefault(trace.workload, {}).setdefault(trace.container, []).append(trace)
    return [
        _Workload(set_name, name, plan, _group_of(plan, name), containers)
        for name, containers in by_name.items()
    ]


def _group_of(plan: _Plan, workload: str) -> _Group:
    named = [group for group in plan.groups if group.workloads and workload in group.workloads]
    return named[0] if named else next(group for group in plan.groups if group.workloads is None)


def _usage(workloads: list[_Workload], found: traces.TraceSets, now: float) -> Iterable[Usage]:
    for workload in workloads:
        new = workload.name in workload.plan.just_deployed
        for recorded in workload.containers:
            file = str(found.files[workload.set_name].resolve())
            yield Usage(
                namespace=workload.group.namespace,
                kind="Deployment",
                name=workload.name,
                container=workload.container_name(recorded),
                recorded=Recorded(file=file, workload=workload.name, container=recorded),
                created=now - _HOUR if new else None,
            )


# --- requests and limits


def _derived_limits(path: Path) -> dict[tuple[str, str], tuple[float, float]]:
    """Set and workload -> limits in cores and bytes, from the table beside the traces; the latest counts."""
    if not path.is_file():
        return {}
    found = {}
    with path.open(encoding="utf-8", newline="") as text:
        for row in csv.DictReader(text):
            cpu, memory = row.get("cpu_limit_cores_derived"), row.get("memory_limit_bytes_derived")
            if cpu and memory:
                found[row["set"], row["workload"]] = (float(cpu), float(memory))
    return found


def _resources(
    workload: _Workload, recorded: str, limits: dict[tuple[str, str], tuple[float, float]]
) -> Resources:
    samples = workload.containers[recorded]
    last = samples[-1]
    derived = limits.get((workload.set_name, workload.name))
    if derived is not None:
        cpu, memory = derived
        if workload.set_name == "nezha-train-ticket":
            return Resources(_cpu(0.1), _memory(300 * _MIB), _cpu(cpu), _memory(memory))
        return Resources(_cpu(cpu / 2), _memory(memory / 2), _cpu(cpu), _memory(memory))
    configured = Resources(
        _cpu(last.cpu_request_cores),
        _memory(last.memory_request_bytes),
        _cpu(last.cpu_limit_cores),
        _memory(last.memory_limit_bytes),
    )
    if configured != Resources():
        return configured
    cores = _p95([value for trace in samples for value in trace.cpu_cores])
    used = _p95([value for trace in samples for value in trace.memory_bytes])
    request = _usual(2 * used / _MIB, _USUAL_MEMORY)
    return Resources(f"{_usual(2 * cores * 1000, _USUAL_CPU)}m", f"{request}Mi", None, f"{2 * request}Mi")


def _p95(values: list[float]) -> float:
    known = sorted(value for value in values if not math.isnan(value))
    return known[math.ceil(0.95 * len(known)) - 1]


def _usual(value: float, usual: tuple[int, ...]) -> int:
    return next((each for each in usual if each >= value), usual[-1])


def _cpu(cores: float | None) -> str | None:
    return None if cores is None else f"{round(cores * 1000)}m"


def _memory(amount: float | None) -> str | None:
    """As people write it: in Mi where that is exact, else in M, else in bytes."""
    if amount is None:
        return None
    whole = round(amount)
    for size, unit in ((_MIB, "Mi"), (10**6, "M")):
        if whole % size == 0:
            return f"{whole // size}{unit}"
    return str(whole)


# --- the repository


def _repository(
    workloads: list[_Workload], resources: dict[tuple[str, str, str], Resources]
) -> tuple[list[App], list[Commit]]:
    files: dict[str, str] = {
        "README.md": "# deploy\n\nEvery folder under `apps/` is an Argo CD Application.\n"
    }
    later: dict[str, str] = {}
    apps: list[App] = []
    groups = {workload.group.app: workload.group for workload in workloads}
    for group in groups.values():
        members = [workload for workload in workloads if workload.group.app == group.app]
        root = f"apps/{group.app}"
        written = {member.name: _manifest(member, resources) for member in members}
        if group.kustomize:
            path = f"{root}/overlays/production"
            files |= {f"{root}/base/{name}.yaml": text for name, text in written.items()}
            files[f"{root}/base/kustomization.yaml"] = kustomize_base(sorted(written))
            # Every other one gets its resources from the overlay, the rest from the base.
            patched = {
                member.name: _named(member, resources)
                for index, member in enumerate(members)
                if index % 2 == 0
            }
            files |= {
                f"{path}/{name}": text for name, text in overlay_patch(group.namespace, patched).items()
            }
        else:
            path = root
            files |= {f"{path}/{name}.yaml": text for name, text in written.items()}
        broken = group.breaks_selector_of
        if broken in written:
            # Immutable: Argo CD's sync of this Application fails from here on.
            later[f"{path}/{broken}.yaml"] = written[broken].replace(
                f"app: {broken}", f"app.kubernetes.io/name: {broken}"
            )
        apps.append(App(group.app, group.namespace, path, synced=broken not in written))
    commits = [Commit("Deploy everything from here\n", files)]
    if later:
        commits.append(Commit("Use the recommended labels\n", later))
    return apps, commits


def _manifest(workload: _Workload, resources: dict[tuple[str, str, str], Resources]) -> str:
    return deployment(
        workload.name,
        None if workload.group.kustomize else workload.group.namespace,
        workload.plan.image.format(workload.name),
        _named(workload, resources),
        autoscaled=workload.name in workload.plan.autoscaled,
    )


def _named(workload: _Workload, resources: dict[tuple[str, str, str], Resources]) -> dict[str, Resources]:
    return {
        workload.container_name(recorded): resources[workload.set_name, workload.name, recorded]
        for recorded in workload.containers
    }
