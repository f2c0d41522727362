"""What comes too slowly, or is too much, is given up: nobody waits for ever, nor runs out of memory."""

from __future__ import annotations

import gzip
import time
from datetime import UTC, datetime
from itertools import chain, repeat

import pytest

from shared.adapters import prometheus as prometheus_client
from shared.adapters.prometheus import HttpPrometheus
from shared.contracts.prometheus import Build, QueryTooLarge, QueryTooSlow
from tests.trickling import OK, TRICKLES, sending

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("what", TRICKLES)
def test_whatever_of_an_answer_trickles_it_is_given_up_in_time(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus_client, "ANSWER_SECONDS", 0.1)
    with sending(TRICKLES[what]) as address:
        one = HttpPrometheus(address, timeout=0.2)
        began = time.monotonic()
        with pytest.raises(QueryTooSlow, match=r"no (whole )?answer within 0.2 s.* \(query: up\)"):
            one.query("up", NOW)
        assert one.build(timeout=0.2) == Build()
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("compressed", [False, True])
def test_an_answer_that_would_fill_the_memory_is_too_large(
    compressed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus_client, "MOST_BYTES", 4 << 20)
    blanks = b" " * (1 << 20)
    if compressed:
        bomb = gzip.compress(blanks * 64)
        assert len(bomb) < len(blanks)
        parts = [OK, b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb), bomb]
    else:
        parts = [OK, b"\r\n"]
    with sending(lambda: chain(parts, repeat(blanks))) as address:
        one = HttpPrometheus(address)
        with pytest.raises(QueryTooLarge) as raised:
            one.query("up", NOW)
        assert one.build() == Build()
    assert str(raised.value).endswith("an answer of more than 4 MiB (query: up)")
