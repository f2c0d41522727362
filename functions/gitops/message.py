"""The commit's message: its last lines name every recommendation that the branch holds, and what of it.

They move together with the content, in one step, so the head alone tells what a merge has brought live: no
document and no pull request's body could be late.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

TRAILER = "Finops-Recommendation: "


@dataclass(frozen=True)
class Held:
    """What a branch holds of a recommendation: the files with its values, and the containers without any."""

    files: tuple[str, ...]
    not_in_git: tuple[str, ...] = ()


def commit_message(title: str, members: Mapping[str, Held]) -> str:
    """The message of a commit that holds these recommendations."""
    trailers = [
        TRAILER + json.dumps(_said(member, held), ensure_ascii=False)
        for member, held in sorted(members.items())
    ]
    return "\n".join([title, "", *trailers, ""])


def members_in(message: str) -> dict[str, Held]:
    """What `commit_message` was given; nothing of a message that is not ours."""
    members: dict[str, Held] = {}
    for line in message.splitlines():
        if not line.startswith(TRAILER):
            continue
        try:
            said = json.loads(line.removeprefix(TRAILER))
            # Commits of older versions say nothing of containers: they hold all of them.
            members[str(said["id"])] = Held(
                tuple(str(path) for path in said["files"]),
                tuple(str(name) for name in said.get("not_in_git", ())),
            )
        except (ValueError, KeyError, TypeError):
            continue
    return members


def _said(member: str, held: Held) -> dict[str, object]:
    said: dict[str, object] = {"id": member, "files": list(held.files)}
    return said | {"not_in_git": list(held.not_in_git)} if held.not_in_git else said
