"""What annotations of a pod template say of its JVMs, where neither images nor metrics tell it.

`kubefinops.io/jvm` is `true`, or the names of the containers that run one. `kubefinops.io/jvm-max-heap` is
the largest heap as a quantity, or such by container: `512Mi`, or `app=512Mi,worker=1Gi`. What cannot be made
sense of says no heap, and never that there is no JVM: memory then stays, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from shared.contracts.quantities import MIB, parse_memory

JVM = "kubefinops.io/jvm"
MAX_HEAP = "kubefinops.io/jvm-max-heap"
# The names that kube-state-metrics gives to their labels.
LABELS = {name: f"annotation_{re.sub('[^a-zA-Z0-9_]', '_', name)}" for name in (JVM, MAX_HEAP)}

# What a heap can be of all that Kubernetes takes for a quantity: not 512m, which is half a byte, nor 1e999.
_HEAP = re.compile(r"\d{1,15}(\.\d{1,9})?(Ki|Mi|Gi|Ti|k|M|G|T)?")
# An annotation may be long, and hold anything; a reason is read by people, on a page of the Git host too.
_SHOWN = 40


@dataclass(frozen=True)
class Said:
    """That a container runs a JVM: its largest heap in bytes if one is told, and what was not understood."""

    heap_max_bytes: int | None = None
    wrong: str | None = None


def said(
    annotations: Mapping[str, str], containers: Collection[str], known: Collection[str]
) -> dict[str, Said]:
    """By container, of those that are said to run one.

    `containers` are those of the pod that may run a JVM, `known` those of which images or metrics tell it: a
    heap without a container's name is theirs, or else anyone's.
    """
    marked, wrong = _marked(annotations.get(JVM, ""), containers)
    heaps, misread = _heaps(annotations.get(MAX_HEAP, ""), containers)
    wrong += misread
    jvms = marked | (heaps.keys() - {""})
    if "" in heaps:
        jvms |= (marked | set(known)) or set(containers)
    if wrong:
        jvms = (jvms | set(known)) or set(containers)
    text = "; ".join(wrong) or None
    return {name: Said(heaps.get(name, heaps.get("")), text) for name in jvms}


def _marked(text: str, containers: Collection[str]) -> tuple[set[str], list[str]]:
    names = {name.strip() for name in text.split(",")}
    if names <= {"", "false"}:
        return set(), []
    if names == {"true"}:
        return set(containers), []
    if not names <= set(containers):
        return set(), [f"annotation {JVM}: {_shown(text)} is neither true nor names of its containers"]
    return names, []


def _heaps(text: str, containers: Collection[str]) -> tuple[dict[str, int], list[str]]:
    """Bytes by container, those of any under the empty name, and in words what is wrong."""
    found, wrong = {}, []
    for item in filter(None, (item.strip() for item in text.split(","))):
        name, _, amount = item.rpartition("=")
        size = parse_memory(amount) if _HEAP.fullmatch(amount) else 0
        if size < MIB:
            wrong.append(f"annotation {MAX_HEAP}: {_shown(item)} is no size of a heap, such as 512Mi")
        elif name and name not in containers:
            wrong.append(f"annotation {MAX_HEAP}: {_shown(item)} names no container of the pod")
        else:
            found[name] = int(size)
    return found, wrong


def _shown(text: str) -> str:
    plain = re.sub(r"[^\w.,=/+ -]", "?", text[:_SHOWN], flags=re.ASCII)
    return f"'{plain}...'" if len(text) > _SHOWN else f"'{plain}'"
