"""Tables on terminals of all widths."""

from __future__ import annotations

import pytest

from infra.cli.plain import say, tell
from infra.cli.tables import Table, folded, say_folded, table, text_of, wrapped

NAME = "shop/Deployment/checkout-service-primary"


def wide() -> Table:
    made = table(["workload", "container"], ["CPU p95 / max", "CPU limit", "saves USD/month"], ["CPU limit"])
    for cpu in ("1234m / 2345m", "5m / 7m"):
        made.add_row(NAME, "app", cpu, "2 -> 500m", "23.17")
    made.add_row(f"{NAME}-[red]x", "", "", "", "-")
    return made


def test_in_a_file_it_is_as_wide_as_its_content_with_each_row_in_a_line() -> None:
    lines = text_of(wide(), None).splitlines()
    (row,) = [line for line in lines if "1234m / 2345m" in line]
    assert row.split("  ")[0].strip() == NAME
    assert "2 -> 500m" in row
    assert "23.17" in row
    assert f"{NAME}-[red]x" in lines[-1], "a name is no markup"


@pytest.mark.parametrize("width", [66, 70, 80, 90, 100, 110])
def test_on_a_terminal_every_line_fits_and_no_figure_is_folded(width: int) -> None:
    text = text_of(wide(), width)
    assert max(map(len, text.splitlines())) <= width
    assert "1234m / 2345m" in text
    assert "…" not in text
    # A column is there as a whole, or is named as missing.
    assert text.count("2 -> 500m") == (0 if "no room here for CPU limit:" in text else 2)


def test_texts_are_folded_before_a_column_is_left_out() -> None:
    assert "no room" not in text_of(wide(), 75)
    assert NAME not in text_of(wide(), 75)
    assert "no room here for CPU limit:" in text_of(wide(), 60)
    assert "23.17" in text_of(wide(), 60)


def test_where_even_the_least_does_not_fit_no_value_is_lost() -> None:
    text = text_of(wide(), 20)
    for value in ("1234m / 2345m", "5m / 7m", "23.17", "checkout-"):
        assert value in text


def test_an_empty_table_has_its_titles() -> None:
    assert "workload" in text_of(table(["workload"], ["figure"]), 10)


def test_a_name_is_folded_after_its_parts_and_in_one_only_where_it_must() -> None:
    assert folded(NAME, 24) == ["shop/Deployment/", "checkout-service-primary"]
    assert folded("abcdefghij", 4) == ["abcd", "efgh", "ij"]
    assert folded("3 OOM kills, throttled", 12) == ["3 OOM kills,", "throttled"]
    assert folded("", 4) == [""]


def test_a_sentence_is_folded_between_words_on_a_terminal_alone() -> None:
    sentence = "  too little data: shop/StatefulSet/young"
    assert wrapped(sentence, None) == sentence
    assert wrapped(sentence, 30).splitlines() == ["  too little data:", "    shop/StatefulSet/young"]


def test_a_name_does_nothing_to_a_terminal_and_begins_no_line() -> None:
    made = table(["workload"])
    made.add_row("web\x1b]0;owned\x07\nweb-2\t\u202egnp.exe")
    shown = r"web\x1b]0;owned\x07\nweb-2\t\u202egnp.exe"
    assert text_of(made, None).splitlines()[-1].strip() == shown
    assert wrapped("  left: web\x1b[2J\nweb", 80) == r"  left: web\x1b[2J\nweb"


def test_what_is_told_does_nothing_to_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    # The last is half of a pair, which no encoding has.
    tell("status 400: \x1b[31m\x9b\ud800")
    say("web\x08\nweb-2 \u2603")
    captured = capsys.readouterr()
    assert captured.err == "kubefinops: status 400: \\x1b[31m\\x9b\\ud800\n"
    assert captured.out == "web\\x08\nweb-2 \u2603\n"


def test_a_sentence_is_folded_on_a_terminal_and_whole_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = "    off: native sidecars are neither sized nor priced"
    say_folded(sentence)
    assert capsys.readouterr().out == f"{sentence}\n"
    monkeypatch.setattr("infra.cli.tables.terminal", lambda: 40)
    say_folded(sentence)
    assert capsys.readouterr().out == "    off: native sidecars are neither\n      sized nor priced\n"
