"""YAML as nodes with marks: where each value stands in the text, and what a text says path by path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

NULLS = frozenset({"", "~", "null", "Null", "NULL"})


class CannotEdit(ValueError):
    """The text is no YAML that can be edited; says why."""


@dataclass(frozen=True)
class Inside:
    """An element of a pointer: the scalar there is a YAML stream itself (an inline patch); its document."""

    document: int


# A document's index, then keys and indices: (0, "spec", "containers", 0, "resources").
Pointer = tuple[str | int | Inside, ...]
# Last in a pointer: at the end of a sequence there; what is written is the item, or a list of them.
APPEND = -1


@lru_cache(maxsize=16)
def compose(text: str) -> tuple[Node | None, ...]:
    """The documents of a stream; None where one is empty.

    Raises:
        CannotEdit: it does not parse: most often a template (Helm, Jinja) rather than YAML.
    """
    try:
        return tuple(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" at line {mark.line + 1}"
        problem = getattr(error, "problem", None) or type(error).__name__
        template = ": it looks like a template" if "{{" in text else ""
        raise CannotEdit(f"no YAML{where} ({problem}){template}") from None


def child(node: Node | None, key: str | int) -> Node | None:
    """The value of a key, or the item at an index; None where there is none."""
    if isinstance(node, MappingNode) and isinstance(key, str):
        return next(
            (value for name, value in node.value if isinstance(name, ScalarNode) and name.value == key), None
        )
    if isinstance(node, SequenceNode) and isinstance(key, int) and 0 <= key < len(node.value):
        found: Node = node.value[key]
        return found
    return None


def at(node: Node | None, *keys: str | int) -> Node | None:
    """The node that a path of keys and indices leads to."""
    for key in keys:
        node = child(node, key)
    return node


def scalar(node: Node | None, *keys: str | int) -> str | None:
    """The text of the scalar at a path; None where there is none, or a null."""
    found = at(node, *keys)
    if not isinstance(found, ScalarNode) or is_null(found):
        return None
    return str(found.value)


def items(node: Node | None) -> list[Node]:
    """The items of a sequence; empty for anything else."""
    return list(node.value) if isinstance(node, SequenceNode) else []


def is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def is_empty(node: Node) -> bool:
    """A null, or a collection of nothing."""
    return is_null(node) or (isinstance(node, CollectionNode) and not node.value)


def leaves(node: Node | None, prefix: Pointer = ()) -> Iterator[tuple[Pointer, str]]:
    """Pointer and text of every scalar and every empty collection, aliases followed.

    Raises:
        CannotEdit: a collection holds itself, or keys of a mapping are no scalars.
    """
    if len(prefix) > 100:
        raise CannotEdit("a collection that holds itself")
    if isinstance(node, MappingNode) and node.value:
        for index, (key, value) in enumerate(node.value):
            name = key.value if isinstance(key, ScalarNode) else index
            if not isinstance(name, str | int):
                raise CannotEdit("a key that is no scalar")
            yield from leaves(value, (*prefix, name))
    elif isinstance(node, SequenceNode) and node.value:
        for index, value in enumerate(node.value):
            yield from leaves(value, (*prefix, index))
    elif isinstance(node, ScalarNode):
        yield prefix, "" if is_null(node) else str(node.value)
    elif node is not None:
        yield prefix, "{}" if isinstance(node, MappingNode) else "[]"


def content(text: str) -> dict[Pointer, str]:
    """Everything that a stream says, by pointer. Raises CannotEdit."""
    return {
        pointer: value
        for index, node in enumerate(compose(text))
        for pointer, value in leaves(node, (index,))
    }


def content_of(value: object, prefix: Pointer) -> Iterator[tuple[Pointer, str]]:
    """The same for a value that is about to be written."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from content_of(below, (*prefix, str(key)))
    elif isinstance(value, list | tuple):
        for index, below in enumerate(value):
            yield from content_of(below, (*prefix, index))
    else:
        yield prefix, str(value)
