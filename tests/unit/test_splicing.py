"""Splicing changes the wanted characters of a YAML text and no others, or refuses."""

from __future__ import annotations

from textwrap import dedent

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from functions.gitops.documents import APPEND, CannotEdit, Inside, Pointer
from functions.gitops.splicing import splice
from functions.gitops.writing import Value

CPU: Pointer = (0, "resources", "requests", "cpu")
MEMORY: Pointer = (0, "resources", "requests", "memory")
LIMIT: Pointer = (0, "resources", "limits", "memory")


def spliced(text: str, wanted: dict[Pointer, Value]) -> str:
    return splice(dedent(text), wanted)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("cpu: 500m\n", "cpu: 250m\n"),
        ("cpu: '500m' # measured\n", "cpu: '250m' # measured\n"),
        ('cpu:   "500m"\r\n# end', 'cpu:   "250m"\r\n# end'),
        ("{cpu: 500m}\n", "{cpu: 250m}\n"),
        ('{"cpu": "500m", "on": "yes"}', '{"cpu": "250m", "on": "yes"}'),
        ("? cpu\n: 500m\n", "? cpu\n: 250m\n"),
        ("cpu:\n  500m\n", "cpu:\n  250m\n"),
        ("\ufeffcpu: 0.5 # über\n", "\ufeffcpu: 250m # über\n"),
        ("# 🚀 café\ncpu: 1\n...\n", "# 🚀 café\ncpu: 250m\n...\n"),
        ("cpu:\n", "cpu: 250m\n"),
        ("cpu: ~\n", "cpu: 250m\n"),
        ("cpu: null # none\n", "cpu: 250m # none\n"),
        ("on: yes\ncpu: 1e0\nport: 0o17\n", "on: yes\ncpu: 250m\nport: 0o17\n"),
    ],
)
def test_replaces_a_value_and_leaves_its_quotes_comments_and_line_endings(before: str, after: str) -> None:
    assert splice(before, {(0, "cpu"): "250m"}) == after


def test_writes_a_missing_block_at_its_siblings_indent_before_what_follows() -> None:
    before = """\
        spec:
            containers:
            - name: app
              args: ["--x"]  # all of them

              # next one
            - name: side
        # end of file
        """
    after = """\
        spec:
            containers:
            - name: app
              args: ["--x"]  # all of them
              resources:
                requests:
                  cpu: 100m
                  memory: 64Mi
                limits:
                  memory: 128Mi

              # next one
            - name: side
        # end of file
        """
    resources: Pointer = (0, "spec", "containers", 0, "resources")
    wanted: dict[Pointer, Value] = {
        (*resources, "requests", "cpu"): "100m",
        (*resources, "requests", "memory"): "64Mi",
        (*resources, "limits", "memory"): "128Mi",
    }
    assert spliced(before, wanted) == dedent(after)


@pytest.mark.parametrize("empty", [" {}", "", " null", " ~", " { }"])
def test_fills_an_empty_block_and_keeps_the_comment_behind_it(empty: str) -> None:
    before = f"resources:{empty} # none yet\nimage: x\n"
    assert splice(before, {CPU: "100m"}) == ("resources: # none yet\n  requests:\n    cpu: 100m\nimage: x\n")


def test_adds_a_limit_beside_a_request_and_replaces_at_once() -> None:
    before = "resources:\n    requests:\n        cpu: 1\n    limits:\n        cpu: 2\nx: y"
    wanted: dict[Pointer, Value] = {CPU: "500m", MEMORY: "1Gi", LIMIT: "2Gi"}
    assert splice(before, wanted) == (
        "resources:\n    requests:\n        cpu: 500m\n        memory: 1Gi\n"
        "    limits:\n        cpu: 2\n        memory: 2Gi\nx: y"
    )


def test_writes_at_the_end_of_a_file_without_a_last_newline_and_with_windows_line_endings() -> None:
    assert splice("resources:\r\n  requests:\r\n    cpu: 1", {MEMORY: "1Gi"}) == (
        "resources:\r\n  requests:\r\n    cpu: 1\r\n    memory: 1Gi"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("resources: {requests: {cpu: 1}}\n", "resources: {requests: {cpu: 1, memory: 1Gi}}\n"),
        (
            "resources: { requests: { cpu: 1 } } # x\n",
            "resources: { requests: { cpu: 1, memory: 1Gi } } # x\n",
        ),
        ("resources: {requests: {cpu: 1,},}\n", "resources: {requests: {cpu: 1, memory: 1Gi},}\n"),
        ("resources: {requests: {}}\n", "resources: {requests: {memory: 1Gi}}\n"),
        ("{resources: {}, a: b}\n", "{resources: {requests: {memory: 1Gi}}, a: b}\n"),
        (
            '{"resources": {"requests": {"cpu": "1"}}}',
            '{"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}',
        ),
        (
            '{\n  "resources": {\n    "requests": {\n      "cpu": "1"\n    }\n  }\n}\n',
            (
                '{\n  "resources": {\n    "requests": {\n      "cpu": "1",\n'
                '      "memory": "1Gi"\n    }\n  }\n}\n'
            ),
        ),
    ],
)
def test_adds_to_flow_style_and_json(before: str, after: str) -> None:
    assert splice(before, {MEMORY: "1Gi"}) == after


def test_removes_a_value_with_its_line_and_a_block_that_would_be_left_empty() -> None:
    before = "resources:\n  requests:\n    cpu: 1\n  limits:\n    cpu: 2 # hard\n  # tail\nimage: x\n"
    assert splice(before, {(0, "resources", "limits", "cpu"): None}) == (
        "resources:\n  requests:\n    cpu: 1\n  # tail\nimage: x\n"
    )
    both = "limits:\n  cpu: 2\n  memory: 1Gi"
    assert splice(both, {(0, "limits", "memory"): None}) == "limits:\n  cpu: 2\n"
    flow = "limits: {cpu: 2, memory: 1Gi}\n"
    assert splice(flow, {(0, "limits", "cpu"): None}) == "limits: {memory: 1Gi}\n"
    assert splice(flow, {(0, "limits", "memory"): None}) == "limits: {cpu: 2}\n"
    assert splice(flow, {(0, "limits", "other"): None}) == flow


def test_appends_an_item_to_a_list() -> None:
    before = "containers:\n- name: a\n  image: x\nother: 1\n"
    assert splice(
        before, {(0, "containers", APPEND): {"name": "b", "resources": {"limits": {"cpu": "1"}}}}
    ) == (
        "containers:\n- name: a\n  image: x\n- name: b\n  resources:\n    limits:\n      cpu: 1\nother: 1\n"
    )
    assert splice("patches: [{path: a.yaml}]\n", {(0, "patches", APPEND): {"path": "b.yaml"}}) == (
        "patches: [{path: a.yaml}, {path: b.yaml}]\n"
    )
    assert (
        splice("kind: K\n", {(0, "patches"): [{"path": "b.yaml"}]}) == "kind: K\npatches:\n  - path: b.yaml\n"
    )


def test_only_the_document_that_is_meant_changes() -> None:
    before = "---\ncpu: 1\n---\n# second\ncpu: 1\n---\ncpu: 1\n"
    assert splice(before, {(1, "cpu"): "2"}) == "---\ncpu: 1\n---\n# second\ncpu: 2\n---\ncpu: 1\n"


def test_writes_after_a_block_text_and_after_an_alias() -> None:
    before = "a: &x 1\nc:\n  command: |\n    echo $(date)\n\n    done\n\n# next\nd: 1\n"
    assert splice(before, {(0, "c", "cpu"): "1"}) == (
        "a: &x 1\nc:\n  command: |\n    echo $(date)\n\n    done\n\n  cpu: 1\n# next\nd: 1\n"
    )
    assert splice("a: &x 1\nc:\n  env: *x # same\nd: 1\n", {(0, "c", "cpu"): "1"}) == (
        "a: &x 1\nc:\n  env: *x # same\n  cpu: 1\nd: 1\n"
    )


INLINE = """\
patches:
  - target: {kind: Deployment}
    patch: |-
      - op: replace
        path: /spec/replicas
        value: 2

      - op: replace
        path: /cpu
        value: "500m" # half
      - op: add
        path: /spec
        value:
          a: 1
  - path: b.yaml
"""


def test_edits_inside_an_inline_patch_and_nothing_around_it() -> None:
    outer: Pointer = (0, "patches", 0, "patch", Inside(0))
    wanted: dict[Pointer, Value] = {(*outer, 1, "value"): "250m", (*outer, 2, "value", "b", "c"): "3"}
    assert splice(INLINE, wanted) == INLINE.replace('"500m"', '"250m"').replace(
        "          a: 1\n", "          a: 1\n          b:\n            c: 3\n"
    )
    windows = INLINE.replace("\n", "\r\n")
    assert splice(windows, {(*outer, 1, "value"): "250m"}) == windows.replace("500m", "250m")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("resources: &r\n  requests: {cpu: 1}\nother: *r\n", "alias"),
        ("base: &r\n  requests: {cpu: 1}\nresources: *r\n", "alias"),
        ("resources:\n  requests:\n    cpu: &c 1\n", "anchor"),
        ("base: &r {cpu: 1}\nresources:\n  requests:\n    <<: *r\n", "merge key"),
        ("resources:\n  requests:\n    cpu: !!str 1\n", "tag"),
        ('resources:\n  requests:\n    cpu: "{{ .Values.cpu }}"\n', "template"),
        ("resources:\n  requests:\n    cpu: ${CPU}\n", "template"),
        ("resources:\n  {{- toYaml .Values.resources | nindent 2 }}\n", "template"),
        ("resources:\n  requests:\n    cpu: 1\n    cpu: 2\n", "twice"),
        ("resources:\n  requests:\n    cpu: |\n      1\n", "block text"),
        ("resources: yes\n", "mapping"),
        ("resources:\n- requests\n", "no item"),
        ("a: b: c\n", "no YAML"),
        ("resources:\n  requests: {cpu: {a: 1}}\n", "single value"),
    ],
)
def test_refuses_what_it_cannot_change_alone(text: str, why: str) -> None:
    with pytest.raises(CannotEdit, match=why):
        splice(text, {CPU: "250m"})


def test_refuses_an_inline_patch_that_is_folded_or_quoted() -> None:
    with pytest.raises(CannotEdit, match="literal block"):
        splice('patch: "cpu: 1"\n', {(0, "patch", Inside(0), "cpu"): "2"})


QUANTITY = st.from_regex(r"[1-9][0-9]{0,3}(m|Mi|Gi|)", fullmatch=True)
COMMENT = st.sampled_from(["", " # why", "  #"])
QUOTE = st.sampled_from(["", "'", '"'])
NEWLINE = st.sampled_from(["\n", "\r\n"])


@given(
    values=st.lists(st.tuples(QUANTITY, QUOTE, COMMENT), min_size=1, max_size=6),
    chosen=st.data(),
    new=QUANTITY,
    layout=st.tuples(st.integers(1, 6), NEWLINE, st.booleans()),
)
def test_only_the_span_changes(
    values: list[tuple[str, str, str]],
    chosen: st.DataObject,
    new: str,
    layout: tuple[int, str, bool],
) -> None:
    indent, newline, blank = layout
    lines = ["# head", "items:"]
    for index, (value, quote, comment) in enumerate(values):
        lines += [f"{' ' * indent}- name: c{index}", f"{' ' * indent}  cpu: {quote}{value}{quote}{comment}"]
        lines += [""] if blank else []
    text = newline.join(lines)
    index = chosen.draw(st.integers(0, len(values) - 1))
    value, quote, _ = values[index]
    edited = splice(text, {(0, "items", index, "cpu"): new})
    line = next(at for at, found in enumerate(lines) if found.endswith(f"name: c{index}")) + 1
    expected = [*lines]
    expected[line] = expected[line].replace(f"cpu: {quote}{value}{quote}", f"cpu: {quote}{new}{quote}", 1)
    assert edited == newline.join(expected)


# Any manifest, in PyYAML's own spelling: block or flow, whatever strings.
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
LEAVES = st.one_of(st.integers(), st.booleans(), st.none(), TEXTS)
TREES = st.recursive(
    LEAVES,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(TEXTS, below, max_size=3),
    max_leaves=12,
)


@given(around=st.dictionaries(TEXTS, TREES, max_size=4), flow=st.booleans(), width=st.integers(20, 120))
def test_inserting_into_any_manifest_changes_nothing_else(
    around: dict[str, object], flow: bool, width: int
) -> None:
    around.pop("<<", None)
    document = {**around, "resources": {"requests": {"cpu": "1"}}, **{f"{k} z": v for k, v in around.items()}}
    text = yaml.safe_dump(document, default_flow_style=flow, allow_unicode=True, sort_keys=False, width=width)
    edited = splice(text, {MEMORY: "64Mi", CPU: "20m"})
    assert yaml.safe_load(edited) == {
        **document,
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
    }
    kept = edited.splitlines()
    assert sum(line not in kept for line in text.splitlines()) <= (len(text.splitlines()) if flow else 1)
