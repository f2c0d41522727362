"""Traces of which the truth is known: the same each time, and as they say."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from infra.backtest import generated as module
from infra.backtest.fleet import read
from infra.backtest.generated import KINDS, generated


def test_the_same_seed_makes_the_same_traces_and_another_one_others() -> None:
    first, again, other = generated(5), generated(5), generated(6)
    for kind in KINDS:
        np.testing.assert_array_equal(first[kind].seen.memory, again[kind].seen.memory)
        assert not np.array_equal(first[kind].seen.memory, other[kind].seen.memory)


def test_scrapes_miss_most_spikes_and_see_no_more_than_there_was() -> None:
    spikes = generated(5)["spikes"]
    assert (spikes.seen.memory <= spikes.truth.memory).all()
    missed = (spikes.seen.memory < spikes.truth.memory).sum()
    caught = (spikes.seen.memory > 1.25 * np.median(spikes.seen.memory, axis=1, keepdims=True)).sum()
    assert missed > 2 * caught > 0


def test_what_is_written_is_read_as_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "KINDS", {"growth": KINDS["growth"]})
    assert module.main([str(tmp_path), "4"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/generated-4.csv\n"
    (found,) = read(tmp_path)
    made = generated(4)["growth"].seen
    assert (found.begin, found.containers, found.window) == (made.begin, made.containers, made.window)
    np.testing.assert_allclose(found.cpu, made.cpu, atol=1e-6)
    np.testing.assert_allclose(found.memory, made.memory, atol=1)
    np.testing.assert_allclose(found.memory_limit, made.memory_limit)


@pytest.mark.parametrize("arguments", [[], ["out", "one"], ["out", "1", "2"], ["--help"]])
def test_wrong_arguments_are_answered_with_the_usage(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "KINDS", {})
    monkeypatch.setattr("sys.stderr", told := io.StringIO())
    assert module.main(arguments) == 2
    assert "generated OUT [SEED]" in told.getvalue()
    assert not any(tmp_path.iterdir())
