"""Finds a workload's manifest, and the patches that lie over it, below an Application's path."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from yaml.nodes import Node

from functions.gitops.documents import CannotEdit, Pointer, at, compose, items, scalar
from functions.gitops.kustomization import Kustomization, file_of, joined, read, references
from functions.gitops.layers import Layer, Location, NoManifest, NotLocated, Target

MANIFESTS = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class _Found:
    """A manifest with the patches met so far, nearest first, and the names that patches may call it by."""

    layers: tuple[Layer, ...]
    names: frozenset[str]
    says_namespace: bool


class Locator:
    """One Application's path in one state of a repository."""

    def __init__(self, files: Mapping[str, str], application_path: str) -> None:
        self._files = files
        self.folder = joined("", application_path)
        self._problems: list[str] = []

    @cached_property
    def is_kustomization(self) -> bool:
        return file_of(self._files, self.folder) is not None

    def locate(self, target: Target) -> Location:
        """The layers of a workload.

        Raises:
            NotLocated: it is not found, found twice, or made by Helm.
            CannotEdit: a kustomization or a patch is no YAML.
        """
        self._problems = []
        if self.is_kustomization:
            found = self._search(self.folder, target, target.name, (), any_namespace=False)
        elif joined(self.folder, "Chart.yaml") in self._files:
            raise NotLocated(f"{self.folder or '.'} is a Helm chart: its values are not edited, only advised")
        else:
            found = self._search_plain(target)
        if len(found) > 1:
            found = [one for one in found if one.says_namespace] or found
        if len(found) > 1:
            paths = ", ".join(sorted({one.layers[-1].path for one in found}))
            raise NotLocated(f"{target} stands more than once: {paths}")
        if not found:
            why = "".join(f"; {problem}" for problem in self._problems[:2])
            error = NotLocated if self._problems else NoManifest
            raise error(f"no manifest of {target} below {self.folder or '.'}{why}")
        manifest = found[0].layers[-1]
        if (elsewhere := _template_elsewhere(manifest.node)) is not None:
            raise NotLocated(
                f"{manifest.path}: {target} takes its template from {elsewhere} (workloadRef): that manifest"
                " is what to change, and it is not edited for a Rollout, only advised"
            )
        return Location(target, found[0].layers, lambda: self._referrers)

    @cached_property
    def _referrers(self) -> dict[str, set[str]]:
        return references(self._files)

    def _search_plain(self, target: Target) -> list[_Found]:
        """In the folder itself, and only then below it: Argo CD recurses only where it is told to."""
        below = self.folder + "/" if self.folder else ""
        paths = [path for path in self._files if path.startswith(below) and path.endswith(MANIFESTS)]
        direct = [path for path in paths if posixpath.dirname(path) == self.folder]
        deeper = [path for path in paths if posixpath.dirname(path) != self.folder]
        return (
            self._objects(direct, target, target.name, (self.folder,), any_namespace=False)
            or self._objects(deeper, target, target.name, (self.folder,), any_namespace=False)
        )  # fmt: skip

    def _search(
        self, folder: str, target: Target, name: str, chain: tuple[str, ...], *, any_namespace: bool
    ) -> list[_Found]:
        there = read(self._files, folder)
        if there is None or folder in chain:
            raise NotLocated(f"{folder}: no kustomization, or one that refers to itself")
        inner = there.inner_name(name)
        if inner is None:
            return []
        if there.unknown:
            self._problems.append(
                f"{there.path} refers to {there.unknown[0]}, which is not in the repository"
            )
        chain = (*chain, folder)
        any_namespace = any_namespace or there.namespace is not None
        found = self._objects(there.files, target, inner, chain, any_namespace=any_namespace)
        for below in (*there.folders, *there.components):
            found += self._search(below, target, inner, chain, any_namespace=any_namespace)
        found = [_Found(one.layers, one.names | {inner, name}, one.says_namespace) for one in found]
        for component in there.components:
            patching = read(self._files, component)
            if patching is not None:
                found = [_patched(one, patching, target, (*chain, component)) for one in found]
        return [_patched(one, there, target, chain) for one in found]

    def _objects(
        self, paths: Iterable[str], target: Target, name: str, chain: tuple[str, ...], *, any_namespace: bool
    ) -> list[_Found]:
        found = []
        for path in paths:
            for pointer, node in self._named(path, target.kind, name):
                namespace = scalar(node, "metadata", "namespace")
                if any_namespace or namespace in (None, target.namespace):
                    layer = Layer(path, pointer, node, chain)
                    found.append(_Found((layer,), frozenset({name}), namespace == target.namespace))
        return found

    def _named(self, path: str, kind: str, name: str) -> Iterator[tuple[Pointer, Node]]:
        """The objects of this kind and name in a file, those of a List included."""
        try:
            text = self._files[path]
            documents = compose(text) if name in text else ()
        except CannotEdit as error:
            self._problems.append(f"{path}: {error}")
            return
        except ValueError:
            self._problems.append(f"{path}: no UTF-8 text")
            return
        for index, document in enumerate(documents):
            for pointer, node in _listed(index, document):
                if scalar(node, "kind") == kind and scalar(node, "metadata", "name") == name:
                    yield pointer, node


def _listed(index: int, document: Node | None) -> Iterator[tuple[Pointer, Node]]:
    """A document, or what it lists."""
    if (scalar(document, "kind") or "").endswith("List"):
        for place, item in enumerate(items(at(document, "items"))):
            yield (index, "items", place), item
    elif document is not None:
        yield (index,), document


def _template_elsewhere(manifest: Node) -> str | None:
    """The workload whose template an Argo Rollout runs in place of one of its own; None if it has its own."""
    reference = at(manifest, "spec", "workloadRef")
    name = scalar(reference, "name")
    if scalar(manifest, "kind") != "Rollout" or name is None:
        return None
    return f"{scalar(reference, 'kind') or 'Deployment'} {name}"


def _patched(found: _Found, there: Kustomization, target: Target, chain: tuple[str, ...]) -> _Found:
    """With the patches of a kustomization laid over it; the one that is applied last is the nearest."""
    over = tuple(
        Layer(patch.path, patch.pointer, patch.node, chain, patch.is_json)
        for patch in reversed(there.patches)
        if patch.concerns(target.kind, set(found.names))
    )
    layers = (*(layer for layer in over if layer not in found.layers), *found.layers)
    return _Found(layers, found.names, found.says_namespace)
