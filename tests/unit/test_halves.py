"""Halves of traces, to tune on the one and to judge by the other."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from infra.backtest import halves
from infra.backtest.fleet import read

HEAD = "timestamp_s,workload,pod,container,cpu_cores,memory_bytes"


def test_halves_have_every_second_workload_and_all_of_it(tmp_path: Path) -> None:
    source = tmp_path / "all"
    source.mkdir()
    rows = [f"{3600 * at},w{number},p,c,{number},{at}" for number in range(6) for at in range(48)]
    (source / "weeks.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    with gzip.open(source / "packed.csv.gz", "wt") as file:
        file.write(f"{HEAD}\n0,b,p,c,1,2\n0,a,p,c,3,4\n0,c,q,c,5,6\n")
    (source / "other.csv").write_text("no,trace\n1,2\n")
    assert halves.main([str(source), str(tmp_path / "out")]) == 0
    even, odd = (read(tmp_path / "out" / half) for half in halves.HALVES)
    assert [fleet.name for fleet in even] == ["packed-even", "weeks-even"]
    assert [fleet.containers for fleet in even] == [
        (("a", "c"), ("c", "c")),
        (("w0", "c"), ("w2", "c"), ("w4", "c")),
    ]
    assert [fleet.containers for fleet in odd] == [(("b", "c"),), (("w1", "c"), ("w3", "c"), ("w5", "c"))]
    (whole,) = (fleet for fleet in read(source) if fleet.name == "weeks")
    np.testing.assert_array_equal(whole.memory[1::2], odd[1].memory)


def test_traces_whose_names_begin_alike_are_halved_into_files_of_their_own(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"week.{number}.csv").write_text(f"{HEAD}\n0,a{number},p,c,1,2\n0,b{number},p,c,1,2\n")
    assert halves.main([str(tmp_path), str(tmp_path / "out")]) == 0
    found = {fleet.name: fleet.containers for fleet in read(tmp_path / "out" / "even")}
    assert found == {"week.1-even": (("a1", "c"),), "week.2-even": (("a2", "c"),)}


def test_halves_of_nothing_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert halves.main([str(tmp_path), str(tmp_path)]) == 1
    assert halves.main([]) == 2
    assert capsys.readouterr().err.startswith(f"halves: {tmp_path}: no ")
