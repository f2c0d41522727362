"""One that cannot be handled now shall not hold up the others, but a host that is down is down for all."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from shared.contracts.errors import KubeFinOpsError, Temporary

log = logging.getLogger(__name__)

MOST_FAILURES = 3
# What is begun last may take as long again: together well below the Service's timeoutSeconds.
MOST_SECONDS = 45.0

Item = TypeVar("Item")


class Isolation:
    """What failed while one event is handled, and the time that it has; `clock` tells seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = clock() + MOST_SECONDS
        self._failures: list[Exception] = []

    @property
    def failed(self) -> bool:
        return bool(self._failures)

    def each(self, items: Iterable[Item], handle: Callable[[Item], object]) -> None:
        """Handles one after the other, in any order, whatever becomes of the one before.

        Ends early after MOST_FAILURES in a row, or when time is up. The same error raised again (by an
        answer that is remembered) is no further failure.
        """
        in_a_row = 0
        order = list(items)
        # Whoever comes after those that fail comes before them another time.
        random.shuffle(order)
        for item in order:
            if self._clock() > self._until:
                said = f"not all was looked at within {MOST_SECONDS:g} s; the rest is when this comes again"
                self._failures.append(Temporary(said))
                return
            try:
                # A bug that one of them meets is no other's either: hence every Exception.
                handle(item)
            except Exception as error:
                if any(error is known for known in self._failures):
                    continue
                log.warning("going on without it: %s", error, exc_info=not isinstance(error, KubeFinOpsError))
                self._failures.append(error)
                in_a_row += 1
                if in_a_row == MOST_FAILURES:
                    return
            else:
                in_a_row = 0

    def raise_first(self) -> None:
        """Raises the first failure, so that the event comes again; nothing happens if there is none."""
        if self._failures:
            raise self._failures[0]
