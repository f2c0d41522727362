"""Fitting on small traces, with small grids."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from functions.recommender.fitted import Constants
from infra.backtest import fitting

HEAD = "timestamp_s,workload,pod,container,cpu_cores,memory_bytes"


def traces(folder: Path, seed: int, days: int = 42) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    lines = [
        f"{3600 * at},w{number},p,c,{rng.gamma(2, 0.1):.4f},{rng.gamma(9, 3e7):.0f}"
        for number in range(6)
        for at in range(24 * days)
    ]
    (folder / "weeks.csv").write_text("\n".join([HEAD, *lines]) + "\n")
    return folder


@pytest.fixture
def small_grids(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, values in {
        "HALF_LIVES": (2.0, 5.0),
        "QUANTILES": (0.90, 0.95, 0.98),
        "PADS": (0.01, 0.03),
        "ABOVE_PEAKS": (0.0, 0.005),
        "SCALES": (1.2, 2.0, 4.0),
        "EXPONENTS": (0.25,),
        "LEASTS": (1.05, 1.2),
        "MOSTS": (1.5, 3.0),
        "SLOPES": (1.0,),
        "RAISES": (1.0, 1.2),
    }.items():
        monkeypatch.setattr(fitting, name, values)


@pytest.mark.usefixtures("small_grids")
def test_the_same_traces_give_the_same_constants_and_are_named_with_them(tmp_path: Path) -> None:
    folders = [str(traces(tmp_path / name, seed)) for seed, name in enumerate(("one", "two"))]
    written = [tmp_path / f"{number}.json" for number in range(2)]
    for path in written:
        assert fitting.main([*folders, str(path)]) == 0
    assert written[0].read_text() == written[1].read_text()
    document = json.loads(written[0].read_text())
    assert document["traces"] == [{"weeks": 6}, {"weeks": 6}]
    fitted = {name: Constants(**values) for name, values in document["strategies"].items()}
    assert list(fitted) == ["balanced", "cautious", "lean"]
    assert fitted["lean"].cpu_quantile <= fitted["balanced"].cpu_quantile <= fitted["cautious"].cpu_quantile
    margins = [fitting._requests(document["strategies"][name]) for name in ("lean", "balanced", "cautious")]
    assert (np.diff(margins, axis=0) >= 0).all()


@pytest.mark.usefixtures("small_grids")
def test_what_is_too_short_tells_how_far_young_containers_are_raised(tmp_path: Path) -> None:
    """Of one that keeps its peaks the least margin will do, of one that grows tenfold the greatest."""
    weeks = str(traces(tmp_path / "weeks", 1))
    fitted = []
    for name, at_noon in (("flat", 1), ("rising", 10)):
        (folder := tmp_path / name).mkdir()
        lines = [
            f"{600 * at},w{number},p,c,0.1,{1e8 * (1 if at < 150 else at_noon)}"
            for number in range(6)
            for at in range(6 * 36)
        ]
        (folder / "days.csv").write_text("\n".join([HEAD, *lines]) + "\n")
        assert fitting.main([weeks, str(folder), str(tmp_path / "out.json")]) == 0
        document = json.loads((tmp_path / "out.json").read_text())
        assert document["traces"] == [{"weeks": 6}, {"days": 6}]
        fitted.append(document["strategies"]["balanced"]["memory_young_margin"])
    assert fitted == [fitting.YOUNG_MARGINS[0], fitting.YOUNG_MARGINS[-1]]


@pytest.mark.parametrize(
    ("names", "status", "said"),
    [
        ([], 2, "fitting SET"),
        (["nowhere"], 1, "nowhere: no *.csv"),
        (["short"], 1, "short: no trace is of 21"),
    ],
)
def test_what_cannot_be_fitted_on_is_said(
    names: list[str], status: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    traces(tmp_path / "short", 1, days=10)
    assert fitting.main([str(tmp_path / each) for each in names]) == status
    assert said in capsys.readouterr().err
