"""What a kustomization.yaml refers to: resources, bases, components and patches, with where each stands."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from yaml.nodes import Node, ScalarNode, SequenceNode

from functions.gitops.documents import Inside, Pointer, at, compose, items, scalar

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")


@dataclass(frozen=True)
class Patch:
    """One document of a patch: `node` stands in the file `path` at `pointer`.

    `target` are the selectors (kind, name, ...) where the patch has them, else what the document names.
    """

    path: str
    pointer: Pointer
    node: Node
    target: Mapping[str, str]
    has_selector: bool

    @property
    def is_json(self) -> bool:
        """A list of JSON patch operations (RFC 6902); otherwise a strategic merge patch."""
        return isinstance(self.node, SequenceNode)

    def concerns(self, kind: str, names: set[str]) -> bool:
        """Whether it patches an object of this kind that has, or had below its prefixes, one of the names."""
        if not self.has_selector:
            return self.target.get("kind") == kind and self.target.get("name") in names
        # Selectors are regular expressions, anchored at both ends; an absent one selects everything.
        return _selects(self.target.get("kind"), {kind}) and _selects(self.target.get("name"), names)


@dataclass(frozen=True)
class Kustomization:
    """`files` and `folders` are paths in the repository; `unknown` is whatever is not in it."""

    folder: str
    path: str
    prefix: str
    suffix: str
    namespace: str | None
    files: tuple[str, ...]
    folders: tuple[str, ...]
    components: tuple[str, ...]
    patches: tuple[Patch, ...]
    unknown: tuple[str, ...]
    uses_helm: bool

    def inner_name(self, name: str) -> str | None:
        """The name as it is below this one's prefix and suffix; None if it cannot come from here."""
        if not (name.startswith(self.prefix) and name.endswith(self.suffix)):
            return None
        return name[len(self.prefix) : len(name) - len(self.suffix)]


def file_of(files: Mapping[str, str], folder: str) -> str | None:
    """The kustomization file of a folder; None if it has none."""
    return next((path for name in NAMES if (path := posixpath.join(folder, name)) in files), None)


def joined(folder: str, reference: str) -> str:
    """A reference relative to a folder, as a path in the repository; "" is its root."""
    path = posixpath.normpath(posixpath.join(folder, reference))
    return "" if path == "." else path


def read(files: Mapping[str, str], folder: str) -> Kustomization | None:
    """The kustomization of a folder; None if it has none.

    Raises:
        CannotEdit: it, or a patch of it, is no YAML.
    """
    path = file_of(files, folder)
    if path is None:
        return None
    documents = compose(files[path])
    node = documents[0] if documents else None
    found: dict[str, list[str]] = {"files": [], "folders": [], "unknown": []}
    for key in ("resources", "bases"):
        for item in items(at(node, key)):
            _sort(files, folder, item, found)
    components: dict[str, list[str]] = {"files": [], "folders": [], "unknown": found["unknown"]}
    for item in items(at(node, "components")):
        _sort(files, folder, item, components)
    return Kustomization(
        folder=folder,
        path=path,
        prefix=scalar(node, "namePrefix") or "",
        suffix=scalar(node, "nameSuffix") or "",
        namespace=scalar(node, "namespace"),
        files=tuple(found["files"]),
        folders=tuple(found["folders"]),
        components=tuple(components["folders"]),
        patches=tuple(_patches(files, folder, path, node)),
        unknown=tuple(found["unknown"]),
        uses_helm=any(at(node, key) is not None for key in ("helmCharts", "helmChartInflationGenerator")),
    )


def references(files: Mapping[str, str]) -> dict[str, set[str]]:
    """For every folder that is a base or component: the folders whose kustomization refers to it.

    A kustomization that cannot be read counts as one that refers to nothing.
    """
    referrers: dict[str, set[str]] = {}
    for path in files:
        folder, name = posixpath.split(path)
        if name not in NAMES:
            continue
        try:
            there = read(files, folder)
        except ValueError:
            continue
        if there is not None:
            for below in (*there.folders, *there.components):
                referrers.setdefault(below, set()).add(folder)
    return referrers


def _sort(files: Mapping[str, str], folder: str, item: Node, found: dict[str, list[str]]) -> None:
    if not isinstance(item, ScalarNode):
        return
    path = joined(folder, item.value)
    if path in files:
        found["files"].append(path)
    elif file_of(files, path) is not None:
        found["folders"].append(path)
    else:
        found["unknown"].append(str(item.value))


def _patches(files: Mapping[str, str], folder: str, path: str, node: Node | None) -> Iterator[Patch]:
    for key in ("patchesStrategicMerge", "patches", "patchesJson6902"):
        for index, item in enumerate(items(at(node, key))):
            target = at(item, "target")
            selectors = {
                name: value
                for name in ("group", "version", "kind", "name", "namespace")
                if (value := scalar(target, name)) is not None
            }
            where: Pointer = (0, key, index)
            inline = scalar(item, "patch")
            reference = scalar(item, "path")
            if isinstance(item, ScalarNode):
                # patchesStrategicMerge: a file's name, or the patch itself.
                inline, reference = (item.value, None) if "\n" in item.value else (None, item.value)
            elif inline is not None:
                where = (*where, "patch")
            if inline is not None:
                stream, text = (path, where), inline
            elif reference is not None and joined(folder, reference) in files:
                stream = (joined(folder, reference), ())
                text = files[stream[0]]
            else:
                continue
            for document, patch in enumerate(compose(text)):
                if patch is None:
                    continue
                own = {"kind": scalar(patch, "kind") or "", "name": scalar(patch, "metadata", "name") or ""}
                pointer = (*stream[1], Inside(document)) if inline is not None else (document,)
                yield Patch(stream[0], pointer, patch, selectors or own, target is not None)


def _selects(selector: str | None, values: set[str]) -> bool:
    if not selector:
        return True
    try:
        pattern = re.compile(selector)
    except re.error:
        return False
    return any(pattern.fullmatch(value) for value in values)
