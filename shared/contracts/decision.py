"""What a stage decides of one recommendation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.contracts.events import Payload
from shared.contracts.states import State


@dataclass(frozen=True)
class Decision:
    """What a stage makes of a recommendation: its next state, the payload that tells it, and facts to keep.

    `payload` None is a move that no topic tells. `facts` are fields of the document, by name.
    """

    state: State
    payload: Payload | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
