"""Which pull request a recommendation belongs to: one for each Argo CD Application, on its own branch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from functions.gitops.layers import NotLocated, Target
from shared.contracts.argocd import Application
from shared.contracts.git_host import repository_of
from shared.contracts.identity import Workload
from shared.contracts.policy import Policy

DEFAULT_BRANCH = ("", "HEAD")


@dataclass(frozen=True)
class Group:
    """An Application and the folder that it deploys; `base` None is the repository's default branch.

    `application` is its qualified name: `name`, or `namespace/name` where that is not Argo CD's default.
    """

    cluster: str
    application: str
    repository: str
    path: str
    base: str | None

    @property
    def name(self) -> str:
        return f"{self.cluster}/{self.application}"

    @property
    def branch(self) -> str:
        """The same for every run, and a name that Git allows.

        `namespace_name`, for a branch cannot lie below another; no Application's name has an underscore.
        """
        application = "_".join(_part(part) for part in self.application.split("/"))
        return f"finops/{_part(self.cluster)}/{application}"


def owners(applications: Iterable[Application]) -> dict[Target, Application]:
    """The one Application that manages each object; an object that several claim is left out."""
    found: dict[Target, Application | None] = {}
    for application in applications:
        for one in {Target(one.kind, one.namespace, one.name) for one in application.resources}:
            found[one] = None if one in found else application
    return {target: application for target, application in found.items() if application is not None}


def group_of(cluster: str, application: Application) -> Group:
    """The group of an Application's workloads.

    Raises:
        NotLocated: it does not deploy a folder of a repository.
    """
    source = next((source for source in application.sources if source.path), None)
    if source is None:
        raise NotLocated(f"Application {application.name} deploys a Helm chart, no folder of Git")
    try:
        repository = repository_of(source.repo_url)
    except ValueError as error:
        raise NotLocated(f"Application {application.name}: {error}") from None
    revision = source.target_revision.removeprefix("refs/heads/")
    base = None if revision in DEFAULT_BRANCH else revision
    return Group(cluster, application.qualified_name, repository, source.path, base)


def target_of(workload: Workload) -> Target:
    return Target(workload.kind, workload.namespace, workload.name)


def ignored_by(application: Application, workload: Workload) -> str | None:
    """Why a change of the workload's resources would merge but never go live; None if it would.

    Argo CD leaves fields of `ignoreDifferences` alone in a sync where RespectIgnoreDifferences is set.
    """
    if "RespectIgnoreDifferences=true" not in application.sync_options:
        return None
    for rule in application.ignore_differences:
        if not _concerns(rule, workload):
            continue
        paths = [str(path) for path in rule.get("jsonPointers") or ()]
        expressions = [str(path) for path in rule.get("jqPathExpressions") or ()]
        if any(_covers_resources(path) for path in paths) or any(".resources" in one for one in expressions):
            shown = ", ".join((*paths, *expressions))
            return f"Application {application.name} ignores differences in {shown} and respects that in syncs"
    return None


def is_paused(policies: Iterable[Policy], workload: Workload) -> bool:
    """Whether a policy that is active stops changes of the workload."""
    return any(
        policy.rules.pause
        and any(fnmatchcase(workload.cluster, glob) for glob in policy.clusters)
        and any(fnmatchcase(workload.namespace, glob) for glob in policy.namespaces)
        for policy in policies
    )


def _part(text: str) -> str:
    return re.sub(r"\.{2,}|^\.|\.lock$|\.$", "-", re.sub(r"[^A-Za-z0-9._-]+", "-", text))


def _concerns(rule: Mapping[str, Any], workload: Workload) -> bool:
    return (
        rule.get("kind") in (workload.kind, "*")
        and rule.get("name") in (None, "", workload.name)
        and rule.get("namespace") in (None, "", workload.namespace)
    )


def _covers_resources(pointer: str) -> bool:
    """Whether a JSON pointer leads to, above or below the resources of some container."""
    parts = [part for part in pointer.split("/") if part]
    whole = ["spec", "template", "spec", "containers", None, "resources"]
    return all(want is None or part == want for part, want in zip(parts, whole, strict=False))
