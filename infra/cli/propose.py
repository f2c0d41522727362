"""Writes the change that gitops would put into a pull request into a working tree instead."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from functions.gitops.layers import Target
from functions.gitops.planning import WorkloadChange, plan_edits
from functions.gitops.rendering import render
from functions.policy.judging import Judged, judge
from functions.recommender.report import Entry
from functions.recommender.settings import SizingSettings
from infra.cli.scan import proposals
from shared.adapters.prometheus import HttpPrometheus
from shared.contracts.errors import BadSetting
from shared.contracts.events import Outcome, RecommendationCreated, ReportPointer
from shared.contracts.policy import DEFAULT_POLICY

LARGEST = 1 << 20  # bytes; a manifest, or what a generator reads, is smaller
NO_REPORT = ReportPointer(bucket="", key="", version_id=None, pointer="", sha256="")


def propose(repo: Path, path: str, prometheus_url: str, namespaces: list[str]) -> int:
    """Edits the manifests below `path` in the working tree and says what was left alone.

    Returns 0, or 1 if no file was changed.

    Raises:
        BadSetting: the folder is not in the repository, or a variable is wrong.
        Temporary: Prometheus cannot be reached.
    """
    folder = (repo / path).resolve()
    if not folder.is_dir() or not folder.is_relative_to(repo.resolve()):
        raise BadSetting(f"--path: {path} is no folder in {repo}")
    settings = SizingSettings.read({**os.environ, "PROMETHEUS_URL": prometheus_url})
    client = HttpPrometheus(settings.prometheus, settings.prometheus_token.get_secret_value(), timeout=120)
    at = datetime.now(UTC).replace(microsecond=0)
    found = proposals(client, at, namespaces, settings)
    files = _read(repo)
    console = Console(highlight=False, markup=False)
    changes = []
    for entry in found:
        name = entry.workload.subject
        if entry.decision == "skipped":
            console.print(f"{name}: {entry.reason}")
            continue
        judged = _judged(entry, settings, at)
        if judged.outcome is Outcome.DENY:
            console.print(f"{name}: refused by policy: {judged.reason}")
            continue
        target = Target(
            kind=entry.workload.kind, namespace=entry.workload.namespace, name=entry.workload.name
        )
        changes.append(WorkloadChange(id=name, target=target, containers=judged.containers))
    relative = folder.relative_to(repo.resolve()).as_posix()
    edits = plan_edits(files, relative, changes, render)
    for name, rejected in edits.rejected.items():
        console.print(f"{name}: {rejected.message}")
    for name, text in edits.files.items():
        # newline="": the file keeps the line endings that it has.
        with (repo / name).open("w", encoding="utf-8", newline="") as file:
            file.write(text)
        console.print(f"changed {name}")
    console.print(f"{len(edits.accepted)} workloads in {len(edits.files)} files; see git diff")
    return 0 if edits.files else 1


def _judged(entry: Entry, settings: SizingSettings, at: datetime) -> Judged:
    """The default policy's judgement: without MongoDB there is no other."""
    proposal = RecommendationCreated(
        recommendation_id="",
        workload=entry.workload,
        scan_id="",
        scanned_at=at,
        replicas=entry.replicas,
        pods=entry.pods,
        containers=entry.containers,
        confidence=entry.confidence,
        history_seconds=entry.history_seconds,
        monthly_cost_before=entry.monthly_cost_before,
        monthly_cost_after=entry.monthly_cost_after,
        monthly_saving=entry.monthly_saving,
        rates=settings.prices,
        content_hash=entry.content_hash,
        report=NO_REPORT,
    )
    return judge(proposal, [DEFAULT_POLICY])


def _read(repo: Path) -> dict[str, str]:
    """Every text file of the working tree by its path: manifests, and what kustomize's generators read."""
    files = {}
    for folder, folders, names in os.walk(repo):
        folders[:] = [name for name in folders if name != ".git"]
        for name in names:
            file = Path(folder) / name
            if not file.is_file() or file.stat().st_size > LARGEST:
                continue
            try:
                with file.open(encoding="utf-8", newline="") as opened:
                    files[file.relative_to(repo).as_posix()] = opened.read()
            except UnicodeDecodeError:
                continue
    return files
