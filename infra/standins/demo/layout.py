"""A demo before it is written down: commits, Applications, and where usage comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from infra.standins.scenario import Node, Usage

BRANCH = "main"
GIB = 1024**3


@dataclass(frozen=True)
class Commit:
    """What a commit writes: text by path. Files that it does not name stay as they are."""

    message: str
    files: dict[str, str]


@dataclass(frozen=True)
class App:
    """One Argo CD Application. Without `synced` Argo CD could not sync the last commit: the cluster still
    runs what the first commit says.
    """

    name: str
    namespace: str
    path: str
    synced: bool = True

    def manifest(self, repo_url: str) -> dict[str, Any]:
        """As `kubectl get application -o json` shows it."""
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": {"name": self.name, "namespace": "argocd"},
            "spec": {
                "project": "default",
                "source": {"repoURL": repo_url, "path": self.path, "targetRevision": BRANCH},
                "destination": {"server": "https://kubernetes.default.svc", "namespace": self.namespace},
                "syncPolicy": {
                    "automated": {"prune": True, "selfHeal": True},
                    # Argo CD's own five retries would take minutes to say that a sync has failed.
                    "retry": {"limit": 1, "backoff": {"duration": "1s", "factor": 2, "maxDuration": "5s"}},
                },
            },
        }


@dataclass(frozen=True)
class Demo:
    """`policies` is what `kubefinops migrate` reads; `notes` tells a person what was left out and why."""

    commits: list[Commit]
    apps: list[App]
    nodes: list[Node]
    usage: list[Usage]
    policies: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)


def policies(*protected: str) -> list[dict[str, Any]]:
    """The policies of a careful team: `protected` are the namespaces where nothing is changed by a
    machine.
    """
    return [
        {
            "name": "rightsizing",
            "version": 1,
            "rules": {
                "pause": False,
                "max_step_down_percent": 80,
                "max_step_up_percent": 200,
                "cpu_floor": "10m",
                "memory_floor": "32Mi",
                "cpu_ceiling": "16",
                "memory_ceiling": "64Gi",
                "minimum_history_hours": 20,
                "minimum_monthly_saving": {"amount": "0.50", "currency": "USD"},
                "approval_above_monthly_saving": {"amount": "50.00", "currency": "USD"},
            },
        },
        {
            "name": "hands-off",
            "version": 1,
            "rules": {"protected_namespaces": ["kube-*", *protected]},
        },
    ]
