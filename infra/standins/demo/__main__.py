"""`python -m infra.standins.demo`: writes everything that the stand-ins and Prometheus start from.

DIR/repos/<owner>/<repo>.git   the bare repository that Argo CD deploys from
DIR/scenario.json              cluster, starting objects, Applications, usage (infra/standins/scenario.py)
DIR/policies.json              for `kubefinops migrate`
DIR/cluster.pickle             the cluster that has lived through that usage
DIR/history.om                 for `promtool tsdb create-blocks-from openmetrics`
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
import time
from pathlib import Path
from typing import Any

from infra.standins import scenario
from infra.standins.argocd.render import RenderError, Repositories
from infra.standins.cluster import history
from infra.standins.cluster.cluster import Cluster
from infra.standins.cluster.kinds import ApiError
from infra.standins.cluster.traces import TraceError
from infra.standins.demo import generated, recorded, repository
from infra.standins.demo.layout import App, Demo
from infra.standins.scenario import Scenario, ScenarioError

_CLUSTER_SCOPED = ("Namespace",)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m infra.standins.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder to write into")
    parser.add_argument(
        "--traces", type=Path, help="folder of measured traces; without it usage is generated"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of generated usage")
    parser.add_argument("--now", type=float, help="Unix time at which the history ends (default: the clock)")
    parser.add_argument("--owner", default="acme", help="owner of the repository")
    parser.add_argument("--repo", default="deploy", help="name of the repository")
    parser.add_argument("--cluster", default="local", help="name of the cluster")
    options = parser.parse_args(arguments)
    # Whole seconds: the history's timestamps stay short.
    now = float(int(time.time() if options.now is None else options.now))
    try:
        demo = generated.demo(now) if options.traces is None else recorded.demo(options.traces, now)
        written = _write(demo, options, now)
    except (TraceError, ScenarioError, RenderError, ApiError, repository.RepositoryError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    for line in [*demo.notes, written]:
        print(line)
    return 0


def _write(demo: Demo, options: argparse.Namespace, now: float) -> str:
    out: Path = options.out
    repositories = out / "repos"
    commits = repository.write(repositories / options.owner / f"{options.repo}.git", demo.commits)
    url = f"http://git.local/{options.owner}/{options.repo}.git"
    renderer = Repositories(repositories)
    whole = Scenario(
        cluster=options.cluster,
        now=now,
        seed=options.seed,
        nodes=demo.nodes,
        objects=_running(demo.apps, renderer, url, commits),
        applications=[app.manifest(url) for app in demo.apps],
        usage=demo.usage,
    )
    scenario.dump(whole, out / "scenario.json")
    (out / "policies.json").write_text(json.dumps(demo.policies, indent=1) + "\n", encoding="utf-8")
    cluster = Cluster(whole, lived=False)
    samples = history.write(cluster, out / "history.om")
    (out / "cluster.pickle").write_bytes(pickle.dumps(cluster))
    source = "generated from a seed" if options.traces is None else f"measured, from {options.traces}"
    workloads = len({(use.namespace, use.kind, use.name) for use in demo.usage})
    return f"{out}: {workloads} workloads in {len(demo.apps)} Applications, usage {source}, {samples} samples"


def _running(apps: list[App], renderer: Repositories, url: str, commits: list[str]) -> list[dict[str, Any]]:
    """What the cluster runs: each Application as Argo CD last synced it, in its namespaces."""
    objects: list[dict[str, Any]] = []
    for app in apps:
        source = app.manifest(url)["spec"]["source"]
        for manifest in renderer.render(source, commits[-1 if app.synced else 0]).manifests:
            placed = _placed(manifest, app)
            objects.append(placed)
    namespaces = sorted(
        {each["metadata"]["namespace"] for each in objects if "namespace" in each["metadata"]}
    )
    made = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in namespaces]
    return [*made, *objects]


def _placed(manifest: dict[str, Any], app: App) -> dict[str, Any]:
    """The manifest in the Application's namespace, marked as Argo CD marks what it applies."""
    metadata = dict(manifest["metadata"])
    if manifest["kind"] not in _CLUSTER_SCOPED:
        metadata.setdefault("namespace", app.namespace)
    group = manifest["apiVersion"].rpartition("/")[0]
    where = f"{metadata.get('namespace', '')}/{metadata['name']}"
    tracking = {"argocd.argoproj.io/tracking-id": f"{app.name}:{group}/{manifest['kind']}:{where}"}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **tracking}
    return {**manifest, "metadata": metadata}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
