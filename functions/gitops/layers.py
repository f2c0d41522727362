"""The layers that say what a container asks for, and into which of them a new value goes.

Plain YAML has one layer, the manifest. Kustomize has more: patches of the overlay, then of its components and
bases, then the manifest; the nearest that sets a value is the one that counts. A base that another
kustomization uses too is not edited: its other users would change along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from yaml.nodes import Node, SequenceNode

from functions.gitops.documents import APPEND, Pointer, at, is_null, items, scalar
from functions.gitops.writing import Value

POD_SPEC: dict[str, tuple[str, ...]] = {
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
    "Pod": ("spec",),
}
TEMPLATED = ("spec", "template", "spec")  # Deployment, StatefulSet, DaemonSet, Job, ReplicaSet, Rollout
LISTS = ("containers", "initContainers")

# A value of a container: ("requests", "cpu").
Field = tuple[str, str]


class NotLocated(ValueError):
    """The manifest cannot be found, or not be changed for this workload alone; says why."""


class NoManifest(NotLocated):
    """No file below the folder speaks of the workload: it is deployed from elsewhere."""


@dataclass(frozen=True)
class Target:
    """The workload as it runs."""

    kind: str
    namespace: str
    name: str

    @property
    def pod_spec(self) -> tuple[str, ...]:
        return POD_SPEC.get(self.kind, TEMPLATED)

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class Layer:
    """One object, or one patch of it, that says something of the workload.

    `pointer` is where it begins in the file `path`; `chain` are the folders from the Application's own down
    to this one's. `is_json` is a list of JSON patch operations (RFC 6902).
    """

    path: str
    pointer: Pointer
    node: Node = field(repr=False, compare=False)
    chain: tuple[str, ...]
    is_json: bool = False


@dataclass(frozen=True)
class Place:
    """A path in a file."""

    path: str
    pointer: Pointer


class Location:
    """The layers of one workload, nearest first; the last is its manifest."""

    def __init__(
        self, target: Target, layers: Sequence[Layer], referrers: Callable[[], Mapping[str, set[str]]]
    ) -> None:
        self.target = target
        self.layers = layers
        self._referrers = referrers

    @property
    def manifest(self) -> Layer:
        return self.layers[-1]

    def places(self, container: str, values: Mapping[Field, str | None]) -> dict[Place, Value]:
        """Where each value of a container is written, and what: None removes it.

        Raises:
            NotLocated: the container is not there, or its values stand where others share them.
        """
        where = self._in_manifest(container)
        writes: dict[Place, Value] = {}
        homeless: dict[Field, str] = {}
        # A value that a shared layer sets must be overridden in a nearer one.
        nearer = len(self.layers)
        for wanted, value in values.items():
            place = self._setter(where, container, wanted)
            if place is None:
                if value is not None:
                    homeless[wanted] = value
                continue
            index, pointer = place
            layer = self.layers[index]
            if not self._is_shared(layer):
                writes[Place(layer.path, pointer)] = value
            elif value is None:
                raise NotLocated(f"{layer.path} sets {'.'.join(wanted)} and serves others too")
            else:
                homeless[wanted] = value
                nearer = min(nearer, index)
        if homeless:
            writes |= self._settle(where, container, homeless, self.layers[:nearer])
        return writes

    def _in_manifest(self, container: str) -> tuple[str, int]:
        """The list that holds the container in the manifest, and its index there."""
        for name in LISTS:
            index = _index(at(self.manifest.node, *self.target.pod_spec, name), container)
            if index is not None:
                return name, index
        raise NotLocated(f"{self.manifest.path}: {self.target} has no container {container!r}")

    def _setter(self, where: tuple[str, int], container: str, wanted: Field) -> tuple[int, Pointer] | None:
        """The nearest layer that sets a value, by index, and where in it."""
        for index, layer in enumerate(self.layers):
            for pointer, root, keys in self._spots(layer, where, container, wanted):
                found = at(root, *keys)
                if found is not None and not is_null(found):
                    return index, (*pointer, *keys)
        return None

    def _spots(
        self, layer: Layer, where: tuple[str, int], container: str, wanted: Field
    ) -> Iterator[tuple[Pointer, Node, tuple[str | int, ...]]]:
        """Where a layer that speaks of the container has, or would have, a value.

        Each is a pointer, the node there, and the keys from it on. The last JSON operation counts.
        """
        if layer.is_json:
            whole = (*self.target.pod_spec, where[0], str(where[1]), "resources", *wanted)
            for index, operation in reversed(list(enumerate(items(layer.node)))):
                tokens = tuple((scalar(operation, "path") or "").strip("/").split("/"))
                value = at(operation, "value")
                if value is not None and whole[: len(tokens)] == tokens:
                    yield (*layer.pointer, index, "value"), value, whole[len(tokens) :]
            return
        for name in LISTS:
            path = (*self.target.pod_spec, name)
            place = _index(at(layer.node, *path), container)
            found = None if place is None else at(layer.node, *path, place)
            if found is not None and place is not None:
                yield (*layer.pointer, *path, place), found, ("resources", *wanted)

    def _settle(
        self,
        where: tuple[str, int],
        container: str,
        values: Mapping[Field, str],
        layers: Sequence[Layer],
    ) -> dict[Place, Value]:
        """Where values go that nothing sets yet, or that stand in a shared base: into one layer, together."""
        own = [layer for layer in layers if not self._is_shared(layer)]
        speaking = [
            layer for layer in own if all(any(self._spots(layer, where, container, one)) for one in values)
        ]
        with_resources = [layer for layer in speaking if self._has_resources(layer, where, container)]
        for layer in (*with_resources, *reversed(speaking)):
            writes: dict[Place, Value] = {}
            for wanted, value in values.items():
                pointer, _, keys = next(self._spots(layer, where, container, wanted))
                writes[Place(layer.path, (*pointer, *keys))] = value
            return writes
        patch = next((layer for layer in own if not layer.is_json), None)
        if patch is None:
            raise NotLocated(
                f"{self.manifest.path} serves other kustomizations too, and {self.layers[0].chain[0] or '.'} "
                f"has no strategic merge patch of {self.target} that could hold its own resources"
            )
        resources: dict[str, dict[str, str]] = {}
        for (kind, name), value in values.items():
            resources.setdefault(kind, {})[name] = value
        path = (*self.target.pod_spec, where[0])
        there = isinstance(at(patch.node, *path), SequenceNode)
        pointer = (*patch.pointer, *path, APPEND) if there else (*patch.pointer, *path)
        return {Place(patch.path, pointer): [{"name": container, "resources": resources}]}

    def _has_resources(self, layer: Layer, where: tuple[str, int], container: str) -> bool:
        spots = self._spots(layer, where, container, ("requests", "cpu"))
        return any("resources" not in keys or at(root, "resources") is not None for _, root, keys in spots)

    def _is_shared(self, layer: Layer) -> bool:
        return any(self._referrers().get(folder, set()) - set(layer.chain) for folder in layer.chain[1:])


def _index(node: Node | None, container: str) -> int | None:
    """The container's index in a list of containers."""
    names = [scalar(item, "name") for item in items(node)]
    return names.index(container) if container in names else None
