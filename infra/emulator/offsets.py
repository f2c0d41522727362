"""How far a partition may be committed when its records are finished in any order."""

from __future__ import annotations


class OffsetTracker:
    """Offsets of one partition between being received and being finished.

    What may be committed is the lowest offset still unfinished: a record is delivered again rather than lost.
    Counted over received records, not over numbers, since a compacted topic has gaps.
    """

    def __init__(self) -> None:
        self._unfinished: dict[int, None] = {}  # in order of receipt, which is the order of offsets
        self._first: int | None = None
        self._after_last: int | None = None

    def received(self, offset: int) -> None:
        if self._first is None:
            self._first = offset
        self._unfinished[offset] = None
        self._after_last = offset + 1

    def finished(self, offset: int) -> None:
        """Mark a received offset; one that was already marked changes nothing."""
        self._unfinished.pop(offset, None)

    @property
    def committable(self) -> int | None:
        """The offset from which a successor must go on; None as long as that is where this one began."""
        reached = next(iter(self._unfinished), self._after_last)
        return None if reached == self._first else reached
