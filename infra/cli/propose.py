"""Writes the change that gitops would put into a pull request into a working tree instead."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import UTC, datetime
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING

from functions.gitops.documents import CannotEdit
from functions.gitops.kustomization import file_of
from functions.gitops.layers import NoManifest, NotLocated, Target
from functions.gitops.locating import MANIFESTS, Locator
from functions.gitops.planning import Edits, Rejected, WorkloadChange, plan_edits
from functions.gitops.rendering import renderer
from functions.policy.judging import Judged, judge
from infra.cli.looking import look, sizing_settings
from infra.cli.plain import say
from infra.cli.writing import write
from shared.adapters.kustomize import build
from shared.contracts.errors import BadSetting
from shared.contracts.events import FailureReason, Outcome, RecommendationCreated, ReportPointer
from shared.contracts.policy import Policy
from shared.contracts.pricing import saving_of
from shared.contracts.wording import LABELS, NOT_IN_GIT, change, clamps, counted, some

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from functions.recommender.report import Entry
    from functions.recommender.settings import SizingSettings
    from shared.contracts.money import Money

LARGEST = 1 << 20  # bytes; a manifest, or what a generator reads, is smaller
NO_REPORT = ReportPointer(bucket="", key="", version_id=None, pointer="", sha256="")
KIND = re.compile(r"^kind:\s*\w", re.MULTILINE)


def propose(
    repo: Path,
    path: str,
    prometheus_url: str,
    namespaces: list[str],
    *,
    policies: Path | None,
    labels: list[str],
    strategy: str | None = None,
    provider: str | None = None,
    prices: Path | None = None,
) -> int:
    """Edits the manifests below `path` in the working tree, and says why each value is what it is.

    Judges by the policies in the file `policies`; without one by the default policy. Of the workloads that
    Prometheus tells of, those without a manifest below `path` are only counted.

    Returns 0, or 1 if no file has a proposed value: none was changed, and none was changed before.

    Raises:
        BadSetting: the folder, a variable or the policies' file is wrong, or Prometheus has several clusters.
        NothingFound: Prometheus tells of no workload, or of no use of any.
        Temporary: Prometheus cannot be reached.
        CannotWrite: a file cannot be; it is as it was, and those before it have their values.
    """
    files = _read(repo)
    folder = _folder(repo, path, files)
    settings = sizing_settings(prometheus_url, labels, strategy, provider=provider, prices=prices)
    judges = _policies(policies)
    if file_of(files, folder) is None and f"{folder}/Chart.yaml".removeprefix("/") in files:
        say(f"{folder or '.'} is a Helm chart: its values are not edited; `kubefinops scan` says what to set")
        return 1
    at = datetime.now(UTC).replace(microsecond=0)
    found = look(settings, namespaces, at)
    files = _read(repo)  # somebody may have worked on it in the meantime
    locator = Locator(files, folder)
    here = [entry for entry in found if _is_here(locator, _target(entry))]
    changes: dict[str, tuple[Entry, Judged]] = {}
    for entry in here:
        name = entry.workload.subject
        if entry.decision == "skipped":
            say(f"{name}: left as it is: {entry.reason}")
            continue
        judged = judge(_proposal(entry, settings, at), judges)
        if judged.outcome is Outcome.DENY:
            say(f"{name}: refused by policy: {judged.reason}")
            continue
        changes[name] = (entry, judged)
    edits = plan_edits(
        files,
        folder,
        [
            WorkloadChange(id=name, target=_target(entry), containers=judged.containers)
            for name, (entry, judged) in changes.items()
        ],
        renderer(build),
    )
    for name, rejected in edits.rejected.items():
        say(f"{name}: {_why_not(rejected)}")
    _write(repo, edits.files)
    for name, not_in_git in edits.not_in_git.items():
        entry, judged = changes[name]
        changes[name] = (entry, _without(judged, not_in_git, _proposal(entry, settings, at)))
    for name, paths in edits.accepted.items():
        say("\n".join(_told(*changes[name], paths, edits.not_in_git.get(name, ()))))
    if len(here) < len(found):
        others = counted(len(found) - len(here), "other workload")
        verb = "has" if len(found) - len(here) == 1 else "have"
        say(f"{others} that Prometheus tells of {verb} no manifest below {folder or '.'}")
    if not edits.files:
        return _nothing_changed(edits)
    saving: Money = reduce(add, (changes[name][1].monthly_saving for name in edits.accepted))
    say(
        f"changed {counted(len(edits.accepted), 'workload')} in {counted(len(edits.files), 'file')},"
        f" which saves {saving} a month; see git diff"
    )
    return 0


def _write(repo: Path, files: Mapping[str, str]) -> None:
    """Each is the old one or the new one, whatever happens: what is not committed is nowhere else."""
    for name, text in files.items():
        write(text, repo / name)


def _why_not(rejected: Rejected) -> str:
    """What is Git to gitops is the working tree here: it may not be committed, let alone deployed."""
    if rejected.reason is FailureReason.ALREADY_IN_GIT:
        return "the working tree has the proposed values already"
    if rejected.reason is FailureReason.MANAGED_ELSEWHERE:
        return f"not changed: {rejected.message}; Git is the working tree here, with what is not deployed yet"
    return f"not changed: {rejected.message}"


def _nothing_changed(edits: Edits) -> int:
    """Says so; 0 where the proposed values are there already, else 1."""
    if any(rejected.reason is FailureReason.ALREADY_IN_GIT for rejected in edits.rejected.values()):
        say("nothing left to change; git diff shows what is not committed yet")
        return 0
    say("nothing changed")
    return 1


def _folder(repo: Path, path: str, files: Mapping[str, str]) -> str:
    """The folder relative to the repository; empty for its root. Raises BadSetting."""
    root = repo.resolve()
    there = (root / path).resolve()
    if not there.is_relative_to(root):
        raise BadSetting(f"--path: {path} lies outside of the repository {repo}; it is relative to that")
    if there.is_file():
        around = there.parent.relative_to(root).as_posix()
        raise BadSetting(f"--path: {path} is a file; give the folder that is deployed, such as {around}")
    if not there.is_dir():
        with_manifests = {
            Path(name).parent.as_posix()
            for name, text in files.items()
            if name.endswith(MANIFESTS) and KIND.search(text)
        }
        raise BadSetting(
            f"--path: there is no folder {path} in {repo};"
            f" folders with manifests: {some(with_manifests) or 'none'}"
        )
    relative = there.relative_to(root).as_posix()
    return "" if relative == "." else relative


def _policies(path: Path | None) -> list[Policy]:
    """The active policies in a file, of each name the last version, as MongoDB would hold them."""
    if path is None:
        return []
    # Only here: it imports the clients of all the servers, which are not needed otherwise.
    from shared.runtime.migrating import read_policies  # noqa: PLC0415

    return list({policy.name: policy for policy in read_policies(path) if policy.active}.values())


def _is_here(locator: Locator, target: Target) -> bool:
    try:
        locator.locate(target)
    except NoManifest:
        return False
    except (NotLocated, CannotEdit, UnicodeError):
        return True  # what is in the way is told when the edits are planned
    return True


def _target(entry: Entry) -> Target:
    workload = entry.workload
    return Target(kind=workload.kind, namespace=workload.namespace, name=workload.name)


def _without(judged: Judged, not_in_git: tuple[str, ...], proposal: RecommendationCreated) -> Judged:
    """The same for the containers that can be edited alone, with their money."""
    containers = tuple(one for one in judged.containers if one.name not in not_in_git)
    return replace(judged, containers=containers, monthly_saving=saving_of(containers, proposal))


def _told(entry: Entry, judged: Judged, paths: tuple[str, ...], not_in_git: tuple[str, ...]) -> Iterator[str]:
    """What becomes of a workload: each value, what policy made of it, and what it saves."""
    yield f"{entry.workload.subject} ({', '.join(paths)}): saves {judged.monthly_saving} a month"
    engines = {engine.name: engine for engine in entry.containers}
    for container in judged.containers:
        changed = [
            f"{LABELS[field]} {change(container, field)}"
            for field in LABELS
            if getattr(container.current, field) != getattr(container.proposed, field)
        ]
        yield f"  {container.name}: {', '.join(changed) or 'stays'}"
        for field, value, by in clamps(engines[container.name], container, judged.verdicts):
            for verdict in by:
                words = verdict.message.rpartition(": ")[2]
                policy = f"policy {verdict.policy} v{verdict.version}"
                yield f"    {LABELS[field]} clamped to {value} by {policy}: {words}"
    for name in not_in_git:
        yield f"  {name}: {NOT_IN_GIT}"
    for verdict in judged.verdicts:
        if verdict.outcome is Outcome.REQUIRE_APPROVAL:
            policy = f"policy {verdict.policy} v{verdict.version}"
            yield f"  needs a person's review by {policy}: {verdict.message}"


def _proposal(entry: Entry, settings: SizingSettings, at: datetime) -> RecommendationCreated:
    return RecommendationCreated(
        recommendation_id="",
        workload=entry.workload,
        scan_id="",
        scanned_at=at,
        replicas=entry.replicas,
        pods=entry.pods,
        containers=entry.containers,
        held_at_least=entry.held_at_least,
        confidence=entry.confidence,
        history_seconds=entry.history_seconds,
        monthly_cost_before=entry.monthly_cost_before,
        monthly_cost_after=entry.monthly_cost_after,
        monthly_saving=entry.monthly_saving,
        rates=entry.rates or settings.price_list.base,
        content_hash=entry.content_hash,
        report=NO_REPORT,
    )


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
