"""Renders what Argo CD would apply: a kustomization by building it, plain YAML by reading it.

Every file comes from the given mapping, and a reference that leaves it is refused before it is built.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import yaml

from functions.gitops.kustomization import file_of, joined, read
from functions.gitops.layers import NotLocated
from shared.contracts.errors import Refused

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Object = dict[str, Any]
# Files, a folder of them, and the manifests that are asked about -> the objects.
Render = Callable[[Mapping[str, str], str, Iterable[str]], list[Object]]
# Files and the folder of a kustomization -> YAML; raises Refused if it does not build, Temporary if too slow.
Build = Callable[[Mapping[str, str], str], str]


def renderer(build: Build) -> Render:
    """A Render that has kustomizations built by `build`."""

    def render(files: Mapping[str, str], folder: str, manifests: Iterable[str]) -> list[Object]:
        """The objects of a folder; of one without kustomization only those in the files `manifests`.

        Raises:
            NotLocated: it does not render, or refers to what is not in the repository.
            Temporary: rendering took too long.
        """
        if file_of(files, folder) is None:
            return [found for path in sorted(set(manifests)) for found in _objects(files[path], path)]
        try:
            return _objects(build(_closure(files, folder), folder), folder)
        except Refused as refused:
            raise NotLocated(str(refused)) from None

    return render


def _objects(text: str, where: str) -> list[Object]:
    try:
        documents = list(yaml.load_all(text, Loader=_LOADER))
    except (yaml.YAMLError, ValueError) as error:
        raise NotLocated(f"{where}: {type(error).__name__}: {str(error)[:200]}") from None
    objects: list[Object] = []
    for document in documents:
        if not isinstance(document, dict):
            continue
        listed = document.get("items") if str(document.get("kind", "")).endswith("List") else None
        objects += [item for item in listed if isinstance(item, dict)] if listed else [document]
    return objects


def _closure(files: Mapping[str, str], folder: str) -> dict[str, str]:
    """Every file that the kustomization of a folder refers to, those of its bases included.

    Raises:
        NotLocated: something else than a file or folder of the repository is referred to.
    """
    needed: dict[str, str] = {}
    seen: set[str] = set()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        there = read(files, here)
        if there is None:
            continue
        if there.unknown:
            raise NotLocated(f"{there.path} refers to {there.unknown[0]}, which is not in the repository")
        if there.uses_helm:
            raise NotLocated(f"{there.path} inflates a Helm chart, which is not rendered")
        needed[there.path] = files[there.path]
        for word in _words(yaml.load(files[there.path], Loader=_LOADER)):  # noqa: S506 - the safe one, in C
            path = joined(here, word)
            if path in files:
                needed[path] = _text(files, path)
            elif file_of(files, path) is not None:
                waiting.append(path)
    return needed


def _words(value: object) -> Iterator[str]:
    """Every string that may name a file: `app.yaml`, or `key=app.properties` of a generator."""
    if isinstance(value, str):
        if value and "\n" not in value and not posixpath.isabs(value):
            yield value
            yield value.partition("=")[2] or value
    elif isinstance(value, dict):
        for below in value.values():
            yield from _words(below)
    elif isinstance(value, list):
        for below in value:
            yield from _words(below)


def _text(files: Mapping[str, str], path: str) -> str:
    try:
        return files[path]
    except ValueError:
        raise NotLocated(f"{path} is no UTF-8 text") from None
