"""A token in a file that is replaced from time to time, as a ServiceAccount's projected one is each hour."""

from __future__ import annotations

import re
from pathlib import Path

# What a header cannot hold would be quoted by whoever sends it.
PATTERN = r"[\x21-\x7e]+"


def read(path: str) -> str:
    """The token that is in it now. Raises ValueError, whose words have nothing of what is in it."""
    try:
        text = Path(path).read_bytes().decode("latin-1").strip()
    except OSError as error:
        raise ValueError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    if not re.fullmatch(PATTERN, text):
        raise ValueError(f"{path} holds no token, or more than one line")
    return text
