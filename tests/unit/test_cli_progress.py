"""What long work says of itself where nobody looks at a terminal."""

from __future__ import annotations

import pytest

from infra.cli.progress import LINE_SECONDS, Lines


def test_off_a_terminal_long_work_says_a_line_now_and_then_and_short_work_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    now = 100.0
    lines = Lines("asking Prometheus", 3, "queries", lambda: now)
    lines.advance()
    assert capfd.readouterr() == ("", "")
    now += LINE_SECONDS
    lines.advance()
    lines.advance()
    assert capfd.readouterr() == ("", "asking Prometheus: 2 of about 3 queries, 15 s\n")
    now += 2 * LINE_SECONDS
    lines.advance()
    assert capfd.readouterr() == ("", "asking Prometheus: 4 of about 4 queries, 45 s\n")
