"""Edits YAML by replacing spans of its text: quotes, comments, order and line endings stay as they are.

A round trip through a YAML library reformats what it did not change; so only the exact characters of a
value are replaced, and what is missing is written as new lines at its siblings' indent. Afterwards the text
is parsed again: exactly the wanted paths must have changed, or nothing is edited at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from yaml.nodes import Node, ScalarNode

from functions.gitops.documents import (
    APPEND,
    CannotEdit,
    Inside,
    Pointer,
    at,
    compose,
    content,
    content_of,
)
from functions.gitops.writing import Branch, Edit, Value, Writer


def splice(text: str, wanted: Mapping[Pointer, Value]) -> str:
    """`text` with every wanted value written, and not a character more changed than that takes.

    Raises:
        CannotEdit: the text is no YAML, an anchor, alias, merge key or template is in the way, the shape
            is another, or the result would not differ in exactly the wanted paths.
    """
    if not wanted:
        return text
    edited = _apply(text, _edits(text, wanted))
    _check(text, edited, wanted)
    return edited


def _edits(text: str, wanted: Mapping[Pointer, Value]) -> list[Edit]:
    here: dict[Pointer, Value] = {}
    inside: dict[Pointer, dict[Pointer, Value]] = defaultdict(dict)
    for pointer, value in wanted.items():
        outer, inner = _split(pointer)
        if inner is None:
            here[outer] = value
        else:
            inside[outer][inner] = value
    documents = compose(text)
    edits: list[Edit] = []
    for pointer, values in inside.items():
        edits += _inline_edits(text, documents, pointer, values)
    for index, branch in (_tree(here).below or {}).items():
        document = documents[index] if isinstance(index, int) and index < len(documents) else None
        if document is None:
            raise CannotEdit(f"no document {index}")
        edits += Writer(text).edits(document, branch)
    return edits


def _split(pointer: Pointer) -> tuple[Pointer, Pointer | None]:
    """The pointer up to the first inline stream, and the one inside of it."""
    for place, element in enumerate(pointer):
        if isinstance(element, Inside):
            return pointer[:place], (element.document, *pointer[place + 1 :])
    return pointer, None


def _tree(wanted: Mapping[Pointer, Value]) -> Branch:
    root = Branch(below={})
    for pointer, value in wanted.items():
        branch = root
        for element in pointer:
            assert not isinstance(element, Inside)
            if branch.below is None:
                raise CannotEdit(f"{_shown(pointer)}: a value and something below it")
            branch = branch.below.setdefault(element, Branch(below={}))
        branch.value, branch.below = value, None
    return root


def _apply(text: str, edits: list[Edit]) -> str:
    ordered = sorted(edits, key=lambda edit: (edit.start, edit.end))
    for before, after in pairwise(ordered):
        if after.start < before.end:
            raise CannotEdit("two changes overlap in the text")
    for edit in reversed(ordered):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _inline_edits(
    text: str, documents: Sequence[Node | None], pointer: Pointer, wanted: Mapping[Pointer, Value]
) -> list[Edit]:
    """Edits inside a literal block (`patch: |-`), each moved to where its line stands in the outer text."""
    index, *keys = [element for element in pointer if not isinstance(element, Inside)]
    node = at(documents[index], *keys) if isinstance(index, int) and index < len(documents) else None
    if not isinstance(node, ScalarNode):
        raise CannotEdit(f"{_shown(pointer)}: no inline patch")
    if node.style != "|":
        raise CannotEdit(f"{_shown(pointer)}: an inline patch that is no literal block (|)")
    inner = str(node.value)
    begin = text.index("\n", node.start_mark.index) + 1
    outer_lines = text[begin : node.end_mark.index].splitlines(keepends=True)
    inner_lines = inner.splitlines(keepends=True)
    indent = next((len(line) - len(line.lstrip(" ")) for line in outer_lines if line.strip()), 0)
    indent -= next((len(line) - len(line.lstrip(" ")) for line in inner_lines if line.strip()), 0)
    newline = "\r\n" if "\r\n" in text else "\n"
    starts, offset = [], begin
    for line in outer_lines:
        starts.append(offset)
        offset += len(line)
    starts.append(offset)

    def outside(index: int) -> int:
        before = inner[:index]
        line = before.count("\n")
        column = index - (before.rfind("\n") + 1)
        return starts[line] if column == 0 else starts[line] + indent + column

    edits = []
    for edit in _edits(inner, wanted):
        lines = edit.text.split("\n")
        starts_line = edit.start == 0 or inner[edit.start - 1] == "\n"
        padded = [
            " " * indent + line if line and (place or (starts_line and edit.start == edit.end)) else line
            for place, line in enumerate(lines)
        ]
        edits.append(Edit(outside(edit.start), outside(edit.end), newline.join(padded)))
    return edits


def _check(before: str, after: str, wanted: Mapping[Pointer, Value]) -> None:
    """Raises CannotEdit unless `after` says what `before` says, but for exactly the wanted paths."""
    expected = content(before)
    inside: dict[Pointer, dict[Pointer, Value]] = defaultdict(dict)
    for pointer, value in wanted.items():
        outer, inner = _split(pointer)
        if inner is not None:
            inside[outer][inner] = value
            continue
        if outer[-1] == APPEND:
            expected |= _appended(outer[:-1], value, expected)
            continue
        for place in [place for place in expected if _covers(outer, place) or _covers(place, outer)]:
            del expected[place]
        if value is not None:
            expected |= dict(content_of(value, outer))
    for outer, values in inside.items():
        expected[outer] = splice(expected[outer], values)
    try:
        found = content(after)
    except CannotEdit as error:
        raise CannotEdit(f"the edited text would be {error}") from None
    if found != expected:
        different = {
            place for place in found.keys() | expected.keys() if found.get(place) != expected.get(place)
        }
        shown = ", ".join(sorted(_shown(place) for place in different)[:3])
        raise CannotEdit(f"more than the proposal would change, as by an alias: {shown}")


def _appended(parent: Pointer, value: Value, there: Mapping[Pointer, str]) -> dict[Pointer, str]:
    """What new items at the end of the sequence `parent` say."""
    depth = len(parent)
    first = len({other[depth] for other in there if other[:depth] == parent and len(other) > depth})
    items = value if isinstance(value, list | tuple) else [value]
    return {
        place: said
        for index, item in enumerate(items, first)
        for place, said in content_of(item, (*parent, index))
    }


def _covers(outer: Pointer, inner: Pointer) -> bool:
    return inner[: len(outer)] == outer


def _shown(pointer: Pointer) -> str:
    return "/".join("patch" if isinstance(element, Inside) else str(element) for element in pointer[1:])
