"""The text edits that write wanted values into one YAML document, in the style that it is written in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

from functions.gitops.documents import APPEND, NULLS, CannotEdit, is_empty

# What is written: a scalar's text, a mapping or a list of such; None removes what is there.
Value = str | Mapping[str, object] | Sequence[object] | None

STEP = 2  # spaces, where the text shows no other
TEMPLATE = re.compile(r"\{\{|\$\{|\$\(|<%")
SAFE_PLAIN = re.compile(r"\d+(m|Ki|Mi|Gi)?|[A-Za-z][\w./-]*")
NOT_STRINGS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


@dataclass(frozen=True, order=True)
class Edit:
    """Replace text[start:end]."""

    start: int
    end: int
    text: str


@dataclass
class Branch:
    """The wanted values as a tree: either a value to write here, or what is wanted below."""

    value: Value = None
    below: dict[str | int, Branch] | None = None

    @property
    def removes(self) -> bool:
        return self.below is None and self.value is None

    def plain(self) -> object:
        """As a value to write where nothing is yet, without what would only be removed."""
        if self.below is None:
            return self.value
        if not all(isinstance(key, str) for key in self.below):
            raise CannotEdit("a list that the patch should extend is not there")
        return {key: branch.plain() for key, branch in self.below.items() if not branch.removes}


class Writer:
    """Collects the edits in one document."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._edits: list[Edit] = []

    def edits(self, node: Node, branch: Branch) -> list[Edit]:
        self._write(node, branch, flow=False)
        return self._edits

    def _write(self, node: Node, branch: Branch, *, flow: bool) -> None:
        if branch.below is None:
            self._replace(node, branch.value)
        elif isinstance(node, MappingNode):
            self._write_mapping(node, branch.below, flow=flow or bool(node.flow_style))
        elif isinstance(node, SequenceNode):
            self._write_sequence(node, branch.below, flow=flow or bool(node.flow_style))
        else:
            raise CannotEdit(f"{self._line(node)}: {node.value!r} where a mapping is expected")

    def _write_mapping(self, node: MappingNode, below: Mapping[str | int, Branch], *, flow: bool) -> None:
        pairs = self._pairs(node)
        missing: dict[str, object] = {}
        for key, branch in below.items():
            if not isinstance(key, str):
                raise CannotEdit(f"{self._line(node)}: a mapping where a list is expected")
            if key not in pairs:
                if not branch.removes and (value := branch.plain()) != {}:
                    missing[key] = value
                continue
            name, value_node = pairs[key]
            if _vanishes(value_node, branch):
                self._remove(node, name, value_node, flow=flow)
            elif is_empty(value_node):
                if (value := branch.plain()) != {}:
                    self._fill(name, value_node, value, flow=flow)
            else:
                self._write(value_node, branch, flow=flow)
        if missing:
            self._insert(node, missing, flow=flow)

    def _write_sequence(self, node: SequenceNode, below: Mapping[str | int, Branch], *, flow: bool) -> None:
        for index, branch in below.items():
            if index == APPEND:
                self._append(node, branch.plain(), flow=flow)
            elif isinstance(index, int) and 0 <= index < len(node.value):
                item = node.value[index]
                if item.start_mark.index < node.start_mark.index:
                    raise CannotEdit(f"{self._line(node)}: item {index} is an alias")
                self._write(item, branch, flow=flow)
            else:
                raise CannotEdit(f"{self._line(node)}: no item {index}")

    def _pairs(self, node: MappingNode) -> dict[str, tuple[Node, Node]]:
        pairs: dict[str, tuple[Node, Node]] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                raise CannotEdit(f"{self._line(key)}: a key that is no scalar")
            if key.tag == "tag:yaml.org,2002:merge":
                raise CannotEdit(f"{self._line(key)}: a merge key (<<), whose source others may share")
            if key.value in pairs:
                raise CannotEdit(f"{self._line(key)}: the key {key.value!r} stands twice")
            pairs[key.value] = (key, value)
        return pairs

    def _replace(self, node: Node, value: Value) -> None:
        raw = self._text[node.start_mark.index : node.end_mark.index]
        if not isinstance(node, ScalarNode) or not isinstance(value, str):
            raise CannotEdit(f"{self._line(node)}: {raw[:40]!r} where a single value is expected")
        if raw[:1] in ("&", "!", "*", "|", ">"):
            raise CannotEdit(f"{self._line(node)}: an anchor, tag or block text: {raw[:40]!r}")
        if TEMPLATE.search(raw):
            raise CannotEdit(f"{self._line(node)}: a template: {raw[:40]!r}")
        quote = node.style if node.style in ("'", '"') else ""
        self._edit(node.start_mark.index, node.end_mark.index, f"{quote}{value}{quote}")

    def _fill(self, key: Node, node: Node, value: object, *, flow: bool) -> None:
        """Puts something where the key has null, {} or nothing."""
        start, end = node.start_mark.index, node.end_mark.index
        if start < key.end_mark.index:
            raise CannotEdit(f"{self._line(key)}: an alias")
        raw = self._text[start:end]
        if raw not in NULLS and not re.fullmatch(r"\{\s*\}|\[\s*\]", raw):
            raise CannotEdit(f"{self._line(node)}: an anchor or tag: {raw[:40]!r}")
        if flow or isinstance(value, str):
            quoted = flow and self._text[key.start_mark.index] == '"'
            space = " " if raw == "" and self._text[start - 1 : start] == ":" else ""
            self._edit(start, end, space + _flow(value, quoted=quoted))
            return
        before = len(self._text[:start].rstrip(" "))
        if raw:
            self._edit(before, end, "")
        self._insert_lines(end, _block(value, key.start_mark.column + STEP))

    def _insert(self, node: MappingNode, missing: Mapping[str, object], *, flow: bool) -> None:
        last_key, last_value = node.value[-1]
        end = self._end(last_value, last_key)
        if not flow:
            self._insert_lines(end, _block(missing, node.value[0][0].start_mark.column))
            return
        quoted = self._text[last_key.start_mark.index] == '"'
        written = [
            f"{_key(key, quoted=quoted)}: {_flow(value, quoted=quoted)}" for key, value in missing.items()
        ]
        self._insert_in_flow(node, last_key, end, written)

    def _append(self, node: SequenceNode, value: object, *, flow: bool) -> None:
        items = value if isinstance(value, list | tuple) else [value]
        if not node.value:
            raise CannotEdit(f"{self._line(node)}: an empty list")
        last = node.value[-1]
        if last.start_mark.index < node.start_mark.index:
            raise CannotEdit(f"{self._line(node)}: the last item is an alias")
        end = self._end(last, None)
        if flow:
            quoted = '"' in self._text[last.start_mark.index : last.end_mark.index]
            self._insert_in_flow(node, last, end, [_flow(item, quoted=quoted) for item in items])
        else:
            self._insert_lines(end, _block(items, node.start_mark.column))

    def _insert_in_flow(self, node: CollectionNode, last: Node, end: int, written: list[str]) -> None:
        tail = self._text[end : node.end_mark.index - 1]
        own_line = last.start_mark.line != node.start_mark.line
        gap = self._newline + " " * last.start_mark.column if own_line else " "
        comma = re.match(r"\s*,", tail)
        at = end if comma is None else end + comma.end()
        joined = f",{gap}".join(written)
        self._edit(at, at, f",{gap}{joined}" if comma is None else f"{gap}{joined}")

    def _remove(self, node: MappingNode, key: Node, value: Node, *, flow: bool) -> None:
        start, end = key.start_mark.index, self._end(value, key)
        if flow:
            place = next(index for index, (name, _) in enumerate(node.value) if name is key)
            if place + 1 < len(node.value):
                self._edit(start, node.value[place + 1][0].start_mark.index, "")
            elif place:
                before_key, before_value = node.value[place - 1]
                self._edit(self._end(before_value, before_key), end, "")
            else:
                self._edit(start, end, "")
            return
        first = self._text.rfind("\n", 0, start) + 1
        if self._text[first:start].strip():
            raise CannotEdit(f"{self._line(key)}: {self._text[first:end].strip()!r} shares its line")
        self._edit(first, self._next_line(end), "")

    def _insert_lines(self, end: int, lines: list[str]) -> None:
        at = self._next_line(end)
        written = "".join(line + self._newline for line in lines)
        if at == len(self._text) and not self._text.endswith("\n"):
            written = self._newline + written.removesuffix(self._newline)
        self._edit(at, at, written)

    def _next_line(self, index: int) -> int:
        """The start of the line after `index`; `index` itself where a block text has ended before it."""
        if index and self._text[index - 1] == "\n":
            return index
        found = self._text.find("\n", index)
        return len(self._text) if found < 0 else found + 1

    def _end(self, node: Node, key: Node | None) -> int:
        """Where a value's own text ends: a block collection's end mark is where the next token begins."""
        if key is not None and node.start_mark.index < key.start_mark.index:
            # An alias: its node stands where the anchor is, the alias itself on the key's line.
            found = re.compile(r"[^\r\n,}\]]*").match(self._text, key.end_mark.index)
            return key.end_mark.index if found is None else found.end()
        if isinstance(node, MappingNode) and node.value and not node.flow_style:
            last_key, last_value = node.value[-1]
            return self._end(last_value, last_key)
        if isinstance(node, SequenceNode) and node.value and not node.flow_style:
            last = node.value[-1]
            if last.start_mark.index < node.start_mark.index:
                raise CannotEdit(f"{self._line(node)}: the last item is an alias")
            return self._end(last, None)
        return int(node.end_mark.index)

    def _edit(self, start: int, end: int, text: str) -> None:
        self._edits.append(Edit(start, end, text))

    @staticmethod
    def _line(node: Node) -> str:
        return f"line {node.start_mark.line + 1}"


def _vanishes(node: Node, branch: Branch) -> bool:
    """Whether a value goes, and with it every key that would be left with nothing."""
    if branch.below is None or not isinstance(node, MappingNode) or not node.value:
        return branch.removes
    below = branch.below
    return all(map(_only_removes, below.values())) and all(
        isinstance(key, ScalarNode) and key.value in below and _vanishes(value, below[key.value])
        for key, value in node.value
    )


def _only_removes(branch: Branch) -> bool:
    return branch.removes or (branch.below is not None and all(map(_only_removes, branch.below.values())))


def _block(value: object, indent: int) -> list[str]:
    """A value as lines of block YAML."""
    pad = " " * indent
    lines: list[str] = []
    if isinstance(value, Mapping):
        for key, below in value.items():
            if isinstance(below, Mapping | list | tuple):
                lines.append(f"{pad}{_key(str(key), quoted=False)}:")
                lines += _block(below, indent + STEP)
            else:
                lines.append(f"{pad}{_key(str(key), quoted=False)}: {_scalar(str(below))}")
        return lines
    assert isinstance(value, list | tuple)
    for item in value:
        if isinstance(item, Mapping):
            first, *rest = _block(item, indent + STEP)
            lines += [f"{pad}- {first.lstrip()}", *rest]
        else:
            lines.append(f"{pad}- {_scalar(str(item))}")
    return lines


def _flow(value: object, *, quoted: bool) -> str:
    if isinstance(value, Mapping):
        pairs = (
            f"{_key(str(key), quoted=quoted)}: {_flow(below, quoted=quoted)}" for key, below in value.items()
        )
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(item, quoted=quoted) for item in value) + "]"
    return json.dumps(str(value)) if quoted else _scalar(str(value))


def _pairs_in_flow(value: Mapping[str, object], *, quoted: bool) -> list[str]:
    return [f"{_key(str(key), quoted=quoted)}: {_flow(below, quoted=quoted)}" for key, below in value.items()]


def _key(key: str, *, quoted: bool) -> str:
    return json.dumps(key) if quoted else _scalar(key)


def _scalar(text: str) -> str:
    plain = SAFE_PLAIN.fullmatch(text) and text.lower() not in NOT_STRINGS
    return text if plain else json.dumps(text, ensure_ascii=False)
