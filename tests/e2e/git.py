"""The demo's repository as Git and kustomize see it: what its branches deploy, and what changed in them."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.emulator.stack import OWNER, REPOSITORY, Stack
from shared.contracts.events import Resources
from shared.contracts.quantities import parse_cpu, parse_memory

KUBECTL = Path(sys.executable).with_name("kubectl")
# A quantity with its name: what a change may replace, in a block as in flow style, quoted or not.
QUANTITY = re.compile(r"""\b(cpu|memory)(["']?:\s*["']?)[0-9][0-9.]*[A-Za-z]*""")
INSERTED = re.compile(r"\s*(?:(?:resources|requests|limits):|(?:cpu|memory): [0-9][0-9.]*[A-Za-z]*)")

Subject = tuple[str, str, str]  # namespace, kind, name


@dataclass(frozen=True)
class Git:
    """The bare repository, and the Applications: folder and namespace by name."""

    directory: Path
    applications: dict[str, tuple[str, str]]

    @classmethod
    def of(cls, stack: Stack) -> Git:
        scenario = json.loads((stack.demo / "scenario.json").read_text())
        return cls(
            stack.demo / "repos" / OWNER / f"{REPOSITORY}.git",
            {
                one["metadata"]["name"]: (
                    one["spec"]["source"]["path"],
                    one["spec"]["destination"]["namespace"],
                )
                for one in scenario["applications"]
            },
        )

    def head(self) -> str:
        return self._run("rev-parse", "main").decode().strip()

    def authors(self, before: str, after: str) -> set[str]:
        """Who made the commits that are no merges."""
        return set(
            self._run("log", "--no-merges", "--format=%an", f"{before}..{after}").decode().split("\n")[:-1]
        )

    def changed_lines(self, before: str, after: str) -> list[tuple[list[str], list[str]]]:
        """The lines that each hunk takes away, and those that it puts there."""
        return hunks(self._run("diff", "-U0", before, after).decode())

    def check_out(self, commit: str, folder: Path) -> None:
        with tarfile.open(fileobj=io.BytesIO(self._run("archive", commit))) as archive:
            archive.extractall(folder, filter="data")

    def deployed(self, tree: Path) -> dict[Subject, dict[str, Any]]:
        """Every object that the Applications deploy from a tree, rendered."""
        return {
            (one["metadata"].get("namespace", namespace), one["kind"], one["metadata"]["name"]): one
            for path, namespace in self.applications.values()
            for one in rendered(tree / path)
        }

    def _run(self, *arguments: str) -> bytes:
        command = ["git", "--git-dir", str(self.directory), *arguments]
        return subprocess.run(command, capture_output=True, check=True).stdout


def hunks(diff: str) -> list[tuple[list[str], list[str]]]:
    """The lines taken away and put there by each hunk of a diff without context."""
    found: list[tuple[list[str], list[str]]] = []
    for line in diff.splitlines():
        if line.startswith("@@"):
            found.append(([], []))
        elif line[:1] in ("-", "+") and line[:4] not in ("--- ", "+++ "):
            found[-1][line[0] == "+"].append(line[1:])
    return found


def only_quantities(taken: list[str], put: list[str]) -> bool:
    """Whether a hunk replaces quantities alone, or inserts what holds them: no comment, order or quote."""

    def blank(lines: list[str]) -> list[str]:
        return [QUANTITY.sub(r"\1\2", line) for line in lines]

    rest = blank(put)
    for line in blank(taken):
        if line not in rest:
            return False
        rest.remove(line)
    return len(rest) == len(put) - len(taken) and all(
        INSERTED.fullmatch(line) for line in put if QUANTITY.sub(r"\1\2", line) in rest
    )


def rendered(folder: Path) -> Iterator[dict[str, Any]]:
    """The objects in a folder: built by kustomize where it is one, else as they stand."""
    if (folder / "kustomization.yaml").exists():
        built = subprocess.run(
            [KUBECTL, "kustomize", folder], capture_output=True, check=True
        ).stdout.decode()
        texts = [built]
    else:
        texts = [file.read_text() for file in sorted(folder.glob("*.yaml"))]
    for text in texts:
        for one in yaml.safe_load_all(text):
            if one:
                yield from one["items"] if one["kind"] == "List" else [one]


def containers(deployed: dict[str, Any]) -> list[dict[str, Any]]:
    """The containers of a workload's pods, init containers among them; none where there are no pods."""
    spec = deployed.get("spec") or {}
    if deployed["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    pod = spec.get("template", {}).get("spec", {}) if isinstance(spec, dict) else {}
    return [*pod.get("containers", ()), *pod.get("initContainers", ())]


def values(container: dict[str, Any]) -> Resources:
    """Requests and limits in millicores and bytes."""
    resources = container.get("resources") or {}
    found: dict[str, int | None] = {}
    for block, name in (("requests", "request"), ("limits", "limit")):
        given = resources.get(block) or {}
        found[f"cpu_{name}_m"] = parse_cpu(str(given["cpu"])) if "cpu" in given else None
        found[f"memory_{name}_bytes"] = parse_memory(str(given["memory"])) if "memory" in given else None
    return Resources.model_validate(found)


def without_quantities(deployed: dict[str, Any]) -> dict[str, Any]:
    """The object but for the requests and limits of CPU and memory in its pods."""
    bare: dict[str, Any] = json.loads(json.dumps(deployed))
    for container in containers(bare):
        resources = container.pop("resources", None) or {}
        kept = {
            block: rest
            for block, given in resources.items()
            if (rest := {name: text for name, text in given.items() if name not in ("cpu", "memory")})
        }
        if kept:
            container["resources"] = kept
    return bare
