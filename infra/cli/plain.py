"""Text for a terminal: names and errors come from elsewhere, and may hold what a terminal obeys."""

from __future__ import annotations

import re
import sys

# Control characters but ends of lines, and what turns the direction of the text after it; and halves of
# surrogate pairs, which JSON can hold and no encoding.
_OBEYED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    r"""With each of these as Python writes it: \x1b."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def say(text: str) -> None:
    """On standard output."""
    print(plain(text))


def tell(text: str) -> None:
    """Beside the verb's words, on standard error."""
    print(f"kubefinops: {plain(text)}", file=sys.stderr)
