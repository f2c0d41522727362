"""The commit's message: its last lines name every recommendation that the branch holds, and its files.

They move together with the content, in one step, so the head alone tells what a merge has brought live: no
document and no pull request's body could be late.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

TRAILER = "Finops-Recommendation: "


def commit_message(title: str, members: Mapping[str, tuple[str, ...]]) -> str:
    """The message of a commit that holds these recommendations, each with the files that carry its values."""
    trailers = [
        TRAILER + json.dumps({"id": member, "files": list(files)}, ensure_ascii=False)
        for member, files in sorted(members.items())
    ]
    return "\n".join([title, "", *trailers, ""])


def members_in(message: str) -> dict[str, tuple[str, ...]]:
    """What `commit_message` was given; nothing of a message that is not ours."""
    members: dict[str, tuple[str, ...]] = {}
    for line in message.splitlines():
        if not line.startswith(TRAILER):
            continue
        try:
            said = json.loads(line.removeprefix(TRAILER))
            members[str(said["id"])] = tuple(str(path) for path in said["files"])
        except (ValueError, KeyError, TypeError):
            continue
    return members
