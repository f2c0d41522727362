"""The objects that clients wrote, as the API server stores them."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from infra.standins.cluster import validation
from infra.standins.cluster.apply import merge_patched, merged
from infra.standins.cluster.kinds import BY_NAME, Kind, Object, bad_request, not_found
from infra.standins.cluster.names import rfc3339, uid

Key = tuple[str, str, str]  # kind, namespace, name


@dataclass(frozen=True)
class Change:
    """What is to be written, and when (Unix seconds). A dry run answers as if, and writes nothing."""

    kind: Kind
    namespace: str
    name: str
    at: float
    dry_run: bool = False

    @property
    def key(self) -> Key:
        return self.kind.name, self.namespace, self.name


class Objects:
    """Objects by kind, namespace and name, and what each field manager applied last."""

    def __init__(self) -> None:
        self._objects: dict[Key, Object] = {}
        self._applied: dict[tuple[Key, str], Object] = {}
        self._version = 0
        self._made = 0

    def find(self, key: Key) -> Object | None:
        return self._objects.get(key)

    def listed(self, kind: str, namespace: str | None = None) -> list[Object]:
        """By namespace and name; the very objects, not copies."""
        return [
            self._objects[key]
            for key in sorted(self._objects)
            if key[0] == kind and namespace in (None, key[1])
        ]

    def apply(self, change: Change, body: Object, manager: str) -> tuple[Object, bool]:
        """Server-side apply: the object as it is then, and whether it is new.

        Raises:
            ApiError: 400, 404 (namespace) or 422; nothing was changed.
        """
        wanted = validation.addressed(body, change.kind, change.namespace, change.name)
        wanted = {part: value for part, value in wanted.items() if part != "status"}
        new = {"apiVersion": change.kind.api_version, "kind": change.kind.name, "metadata": {}}
        base = self._objects.get(change.key, new)
        written = self._write(change, merged(base, self._applied.get((change.key, manager), {}), wanted))
        if not change.dry_run:
            self._applied[change.key, manager] = copy.deepcopy(wanted)
        return written

    def patch(self, change: Change, patch: Object) -> Object:
        """JSON merge patch (RFC 7386) of an existing object. Raises ApiError as `apply` does."""
        old = self._objects.get(change.key)
        if old is None:
            raise not_found(change.kind, change.name)
        whole = merge_patched(old, patch)
        if not isinstance(whole.get("metadata"), dict):
            raise bad_request("the patched object has no metadata")
        return self._write(change, whole)[0]

    def remove(self, kind: Kind, namespace: str, name: str) -> Object:
        """Removes an object, and with a namespace all that is in it. Raises ApiError 404."""
        key = (kind.name, namespace, name)
        if key not in self._objects:
            raise not_found(kind, name)
        removed = self._objects[key]
        within = [each for each in self._objects if kind.name == "Namespace" and each[1] == name]
        for gone in (key, *within):
            del self._objects[gone]
        self._applied = {key: value for key, value in self._applied.items() if key[0] in self._objects}
        return removed

    def set_status(self, body: Object, status: Object) -> None:
        if body.get("status") != status:
            body["status"] = status
            body["metadata"]["resourceVersion"] = self._next_version()

    def _write(self, change: Change, whole: Object) -> tuple[Object, bool]:
        kind, key = change.kind, change.key
        old = self._objects.get(key)
        new = validation.defaulted(whole, kind)
        metadata = new["metadata"]
        metadata["name"] = change.name
        if kind.namespaced:
            metadata["namespace"] = change.namespace
            if ("Namespace", "", change.namespace) not in self._objects:
                raise not_found(BY_NAME["v1", "Namespace"], change.namespace)
        validation.check(kind, new, old)
        if old is None:
            metadata["uid"] = uid(*key, self._made)
            metadata["creationTimestamp"] = rfc3339(change.at)
            metadata["generation"] = 1
            if kind.name == "Namespace":
                new.setdefault("spec", {})["finalizers"] = ["kubernetes"]
                new["status"] = {"phase": "Active"}
        elif new.get("spec") != old.get("spec"):
            metadata["generation"] = old["metadata"]["generation"] + 1
        if change.dry_run:
            return new, old is None
        if new != old:
            self._made += old is None
            metadata["resourceVersion"] = self._next_version()
            self._objects[key] = new
        return copy.deepcopy(self._objects[key]), old is None

    def _next_version(self) -> str:
        self._version += 1
        return str(self._version)
