from __future__ import annotations

import csv
import gzip
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from infra.backtest.estimating import Sizes
from infra.backtest.fleet import Fleet, TraceError, Treatment, read
from infra.backtest.frontier import Frontier, Point, frontier, svg
from infra.backtest.scoring import Rates, Score, score
from infra.backtest.strategies import AS_PROVISIONED, ORACLE, Oracle, all_of, names
from infra.backtest.walking import Held, Pace, Past, walk, walk_on
from infra.cli.backtest import HEADER, Emitted, Outputs, backtest
from shared.contracts.errors import BadSetting

HEAD = "timestamp_s,workload,pod,container,cpu_cores,memory_bytes"


def fleet(cpu: list[list[float]], memory: list[list[float]] | None = None, window: int = 3600) -> Fleet:
    usage = np.array(cpu, dtype=float)
    unset = np.full(len(usage), np.nan)
    return Fleet(
        "fleet",
        tuple((f"w{index}", "app") for index in range(len(usage))),
        usage,
        usage * 1e9 if memory is None else np.array(memory, dtype=float),
        0.0,
        window,
        unset,
        unset,
        unset,
        np.ones(usage.shape, np.uint16),
    )


def noisy(containers: int = 3, days: int = 10) -> Fleet:
    values = np.random.default_rng(3).gamma(2.0, 0.2, size=(containers, days * 24))
    return fleet(values.tolist())


def always(cpu: float, memory: float, limit: float | None = None) -> Sizes:
    return Sizes(np.array([cpu]), np.array([memory]), np.array([memory if limit is None else limit]))


class TestFleet:
    def test_samples_become_windows_with_the_mean_of_cpu_and_the_peak_of_memory(self, tmp_path: Path) -> None:
        rows = [f"{60 * n},w,p,c,{n},{n * 10}" for n in range(10)]
        (tmp_path / "a.csv").write_text("\n".join([HEAD, *rows]) + "\n")
        (found,) = read(tmp_path)
        assert found.window == 300
        assert found.cpu.tolist() == [[2.0, 7.0]]
        assert found.memory.tolist() == [[40.0, 90.0]]

    def test_rows_may_be_in_any_order_and_there_twice(self, tmp_path: Path) -> None:
        rows = [f"{900 * n},w,p,c,{n},{n * 10}" for n in range(5)]
        for name, lines in (("a", rows), ("b", rows[::-1]), ("c", [*rows, *rows, ""])):
            (tmp_path / f"{name}.csv").write_text("\n".join([HEAD, *lines]) + "\n")
        for found in read(tmp_path):
            assert (found.window, found.cpu.tolist()) == (900, [[0.0, 1.0, 2.0, 3.0, 4.0]])

    def test_of_pods_at_once_the_worst_counts_and_of_pods_in_turn_each(self, tmp_path: Path) -> None:
        rows = ["0,w,a,c,1,10", "0,w,b,c,3,5", "300,w,b,c,2,7"]
        with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
            file.write("\n".join([HEAD, *rows]) + "\n")
        (found,) = read(tmp_path)
        assert found.cpu.tolist() == [[3.0, 2.0]]
        assert found.memory.tolist() == [[10.0, 7.0]]
        assert found.pods.tolist() == [[2, 1]]

    def test_rare_samples_make_long_windows_and_gaps_stay_gaps(self, tmp_path: Path) -> None:
        rows = [f"{900 * n},w,p,c,1," for n in (0, 1, 2, 5)]
        (tmp_path / "a.csv").write_text("\n".join([HEAD, *rows]) + "\n")
        (found,) = read(tmp_path)
        assert found.window == 900
        assert np.isfinite(found.cpu).tolist() == [[True, True, True, False, False, True]]
        assert np.isnan(found.memory).all()
        assert found.pods.tolist() == [[1] * 6]  # a gap tells of no pod that was gone

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (f"{HEAD}\n1,w,p,c,one,2\n", r"a\.csv:2: cpu_cores: 'one' is no number"),
            (f"{HEAD}\n1,w\n", r"a\.csv:2: "),
            (f"{HEAD}\n", "no row below its header"),
            (f"{HEAD}\n0,w,p,c,1\n", r"a\.csv:2: 5 fields, where the header has 6"),
            (f"{HEAD}\n1764000000000,w,p,c,1,2\n", r"a\.csv:2: timestamp_s: .* no seconds since 1970"),
            (f"{HEAD}\n7,w,p,c,1,2\n1764000000,w,p,c,1,2\n", "from 7 to 1764000000 it is more than 20 years"),
            (f"{HEAD}\nnoon,w,p,c,1,2\n", "timestamp_s: 'noon' is no number"),
            (f"{HEAD}\n0,w,p,c,-1,2\n", "cpu_cores: -1 is nothing that can be used"),
            (f"{HEAD}\n0,w,p,c,1,inf\n", "memory_bytes: inf is nothing that can be used"),
            ("a,b\n1,2\n", "no .* with the columns timestamp_s"),
        ],
    )
    def test_what_is_no_trace_is_said_with_its_place(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(TraceError, match=message):
            read(tmp_path)

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.csv.gz", b"timestamp_s,", r"a\.csv\.gz: not gzip, or cut short"),
            ("a.csv.gz", gzip.compress(f"{HEAD}\n0,w,p,c,1,2\n".encode(), mtime=0)[:-9], "cut short"),
            ("a.csv", f"{HEAD}\n0,caf\xe9,p,c,1,2\n".encode("latin-1"), "not UTF-8"),
            ("a.csv", b"a;b\n1;2\n", r"these have others: a\.csv"),
        ],
    )
    def test_a_file_that_is_not_what_its_name_says_is_named(
        self, tmp_path: Path, name: str, content: bytes, message: str
    ) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TraceError, match=message):
            read(tmp_path)

    def test_a_folder_with_the_name_of_a_trace_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").mkdir()
        with pytest.raises(TraceError, match=r"a\.csv: is a directory$"):
            read(tmp_path)

    def test_each_trace_has_a_name_of_its_own(self, tmp_path: Path) -> None:
        for name in ("week.1.csv", "week.2.csv", "packed.csv"):
            (tmp_path / name).write_text(f"{HEAD}\n0,w,p,c,1,2\n")
        (tmp_path / "packed.csv.gz").write_bytes(gzip.compress(f"{HEAD}\n0,w,p,c,1,2\n".encode()))
        names = [each.name for each in read(tmp_path)]
        assert names == ["packed.csv", "packed.csv.gz", "week.1", "week.2"]

    def test_a_mark_of_the_encoding_does_no_harm(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes(f"{HEAD}\n0,w,p,c,1,2\n".encode("utf-8-sig"))
        (found,) = read(tmp_path)
        assert found.cpu.tolist() == [[1.0]]


class TestWalking:
    def test_a_hold_that_lacks_minutes_is_judged_after_a_learning_that_is_shorter_by_them(self) -> None:
        nearly = noisy(days=10)
        nearly = replace(nearly, cpu=nearly.cpu[:, 2:], memory=nearly.memory[:, 2:])  # two hours
        holds = [(each.start, each.stop) for each in Pace(4, 2).holds(nearly)]
        assert holds == [(94, 142), (142, 190), (190, 238)]
        lacking = replace(nearly, cpu=nearly.cpu[:, 1:], memory=nearly.memory[:, 1:])
        assert [(each.start, each.stop) for each in Pace(4, 2).holds(lacking)] == [(96, 144), (144, 192)]

    def test_sizes_are_made_after_the_learning_and_then_at_each_hold(self) -> None:
        held = list(walk(noisy(days=10), Oracle(), Pace(4, 2)))
        assert [(one.windows.start, one.windows.stop) for one in held] == [(96, 144), (144, 192), (192, 240)]

    @pytest.mark.parametrize(
        "name", [name for name in all_of(noisy()) if name not in ("oracle", "as provisioned")]
    )
    def test_nobody_but_the_oracle_looks_ahead(self, name: str) -> None:
        seen, changed = noisy(), noisy()
        changed.cpu[:, 96:] *= 50
        changed.memory[:, 96:] *= 50
        sizes = [next(walk(one, all_of(one)[name], Pace(4, 2))).sizes for one in (seen, changed)]
        np.testing.assert_array_equal(sizes[0].cpu_request, sizes[1].cpu_request)
        np.testing.assert_array_equal(sizes[0].memory_request, sizes[1].memory_request)

    def test_digests_are_of_whole_days_that_end_now(self) -> None:
        seen: list[Past] = []

        class Watching:
            name = "watching"

            def __call__(self, past: Past) -> Sizes:
                seen.append(past)
                return Oracle()(past)

        steps = fleet([[float(hour) for hour in range(24 * 6)]])
        list(walk(steps, Watching(), Pace(2.5, 1)))
        assert [past.digests.days for past in seen] == [2, 3, 4]
        assert [past.digests.cpu[0, -1, -1] for past in seen] == [59.0, 83.0, 107.0]

    def test_a_walk_starts_from_what_was_set_where_it_shall_and_goes_on_from_what_was_told_last(self) -> None:
        seen: list[Sizes] = []

        class Telling:
            name = "telling"

            def __call__(self, past: Past) -> Sizes:
                seen.append(past.set_before)
                # The second time nothing.
                return always(0.5 if len(seen) == 1 else np.nan, 5e9 * len(seen))

        was_set = replace(
            noisy(containers=1),
            starts_as_set=True,
            cpu_request=np.array([2.0]),
            memory_request=np.array([7e9]),
        )
        assert len(list(walk(was_set, Telling(), Pace(4, 2)))) == 3
        assert seen[0].cpu_request.tolist() == [2.0]
        assert seen[0].memory_request.tolist() == [7e9]
        assert [each.cpu_request.tolist() for each in seen[1:]] == [[0.5], [0.5]]
        assert [each.memory_request.tolist() for each in seen[1:]] == [[5e9], [1e10]]

    def test_a_walk_starts_from_nothing_else(self) -> None:
        was_set = replace(noisy(containers=1), cpu_request=np.array([2.0]))
        past, _ = next(walk_on(was_set, Pace(4, 2)))
        assert np.isnan(past.set_before.cpu_request).all()

    def test_a_trace_that_is_too_short_names_what_to_change(self) -> None:
        with pytest.raises(TraceError, match=r"10\.0 days, 21 are needed.*--learn-days"):
            next(walk(noisy(days=10), Oracle(), Pace()))

    def test_what_stays_is_as_it_is_provisioned_whoever_sizes(self) -> None:
        usage = replace(
            noisy(),
            cpu_request=np.array([5.0, 6.0, 0.0]),
            memory_request=np.array([50e9, 60e9, 0.0]),
            memory_limit=np.array([51e9, 61e9, np.nan]),
            treatments=(Treatment(cpu_stays="scaled"), Treatment(), Treatment(memory_stays="a JVM")),
        )
        for name, strategy in all_of(usage).items():
            free = list(walk(replace(usage, treatments=()), strategy, Pace(4, 2)))
            for held, other in zip(walk(usage, strategy, Pace(4, 2)), free, strict=True):
                sizes, bare = held.sizes, other.sizes
                assert sizes.cpu_request[0] == 5.0, name
                assert sizes.cpu_request[1:].tolist() == bare.cpu_request[1:].tolist(), name
                assert sizes.memory_request.tolist() == [*bare.memory_request[:2], 0.0], name
                assert sizes.memory_limit[:2].tolist() == bare.memory_limit[:2].tolist(), name
                assert np.isnan(sizes.memory_limit[2]), name

    def test_of_a_guaranteed_pod_ours_set_request_and_limit_alike_and_peers_go_by_their_rule(self) -> None:
        were = np.array([99e9] * 3)
        usage = replace(
            noisy(),
            starts_as_set=True,
            cpu_request=np.array([9.0] * 3),
            memory_request=were,
            memory_limit=were,
            treatments=(Treatment(), Treatment(is_guaranteed=True), Treatment()),
        )
        first, *_ = walk(usage, all_of(usage)["balanced"], Pace(4, 2))
        memory, limit = first.sizes.memory_request, first.sizes.memory_limit
        assert (memory == limit).tolist() == [False, True, False]
        assert memory[1] >= 1.3 * usage.memory[1, :96].max()
        assert first.sizes.cpu_request[1] == pytest.approx(1.15 * usage.cpu[1, :96].max())
        krr = [next(walk(each, all_of(each)["krr"], Pace(4, 2))) for each in (usage, noisy())]
        assert krr[0].sizes.cpu_request.tolist() == krr[1].sizes.cpu_request.tolist()

    def test_only_some_containers_keep_their_own_treatment(self) -> None:
        usage = replace(noisy(), treatments=(Treatment(), Treatment("scaled"), Treatment()))
        some = usage.only(np.array([False, True, True]))
        assert some.containers == (("w1", "app"), ("w2", "app"))
        assert some.treated(lambda each: each.cpu_stays).tolist() == [True, False]
        assert not noisy().treated(lambda each: each.cpu_stays).any()


class TestScoring:
    def test_the_figures_of_a_case_that_can_be_reckoned_by_hand(self) -> None:
        usage = fleet([[1.0, 1.0, 3.0, 1.0]], [[4e9, 4e9, 8e9, 4e9]])
        found = Score(Rates(core_hour=1.0, gib_hour=0.0))
        found.add(usage, Held(slice(0, 4), always(2.0, 6e9, 9e9)), None)
        figures = found.figures()
        assert figures["cpu_slack"] == pytest.approx(1 - 6 / 8)
        assert figures["cpu_time_above"] == 0.25
        assert figures["cpu_volume_above"] == pytest.approx(1 / 6)
        assert figures["weeks_cpu_above_often"] == 1.0
        assert figures["memory_slack"] == pytest.approx(1 - 20 / 24)
        assert figures["weeks_memory_above"] == 1.0
        assert figures["weeks_memory_above_limit"] == 0.0
        assert figures["memory_margin"] == pytest.approx(6 / 8)
        # Two cores an hour, and three in the hour in which three were used.
        assert figures["monthly_cost"] == pytest.approx((2 + 2 + 3 + 2) / 4 * 730)

    def test_changes_count_from_a_millicore_and_a_mebibyte_on_and_large_ones_above_a_tenth(self) -> None:
        usage = fleet([[1.0] * 4])
        found = Score()
        before = always(1.0, 1e9)
        for cpu, memory in ((1.09, 1.2e9), (1.0, 1e9), (1.0009, 1.002e9), (1.001, 1e9)):
            found.add(usage, Held(slice(0, 4), always(cpu, memory)), before)
        assert found.figures()["large_changes"] == pytest.approx(1 / 8)
        assert found.figures()["changes"] == pytest.approx(4 / 8)

    def test_the_oracle_never_runs_out_of_memory_and_has_no_margin(self) -> None:
        found = score([noisy()], lambda _: Oracle(), Pace(4, 2), Rates()).figures()
        assert found["weeks_memory_above"] == 0.0
        assert found["memory_margin"] == 1.0
        # A twentieth of 48 windows is more than two of them.
        assert found["cpu_time_above"] == pytest.approx(3 / 48)

    def test_every_pod_is_paid_for_as_long_as_it_is_there(self) -> None:
        usage = fleet([[1.0, np.nan, np.nan, 3.0]])
        usage.pods[:] = [[2, 1, 0, 3]]
        found = Score(Rates(core_hour=1.0, gib_hour=0.0))
        found.add(usage, Held(slice(0, 4), always(2.0, 1e9)), None)
        assert found.figures()["monthly_cost"] == pytest.approx((2 * 2 + 2 + 3 * 3) / 4 * 730)

    def test_two_are_compared_in_the_weeks_that_both_could_size(self) -> None:
        usage = fleet([[1.0] * 4, [1.0] * 4], [[4e9] * 4, [4e9] * 4])
        nothing = np.array([np.nan, 1.0])
        provisioned, ours = Score(Rates(1.0, 0.0)), Score(Rates(1.0, 0.0))
        for windows in (slice(0, 2), slice(2, 4)):
            many = Sizes(np.array([4.0, 3.0]), np.array([9e9, 9e9]), np.array([3e9, 3e9]))
            provisioned.add(usage, Held(windows, many), None)
            some = Sizes(nothing * 2.0, nothing * 9e9, np.array([np.nan, np.nan]))
            ours.add(usage, Held(windows, some), None)
        assert provisioned.figures()["monthly_cost"] == pytest.approx(7 * 730)
        found = ours.against(provisioned)
        assert found.cost == pytest.approx(2 * 730)
        assert found.cost_before == pytest.approx(3 * 730)
        assert (found.weeks, found.killed, found.killed_before) == (2, 0, 2)

    def test_memory_is_compared_for_as_much_use_where_one_was_judged_in_fewer_weeks(self) -> None:
        usage = fleet([[1.0] * 96] * 2, [[1e9] * 96] * 2)
        usage = replace(usage, cpu_request=np.array([2.0, np.nan]), memory_request=np.array([2e9, np.nan]))
        pace, known = Pace(2, 1), all_of(usage)

        def scored(name: str) -> Score:
            return score([usage], lambda _: known[name], pace, Rates())

        scores = {name: scored(name) for name in known}
        found = frontier([usage], scores, scores[ORACLE], pace, lambda: None)
        assert scores[AS_PROVISIONED].weeks * 2 == scores[ORACLE].weeks
        requested = {each.name: each.requested for each in found.points}
        assert (requested[AS_PROVISIONED], requested[ORACLE]) == (2.0, 1.0)

    def test_what_was_not_measured_is_not_judged(self) -> None:
        usage = fleet([[np.nan] * 4])
        found = Score()
        found.add(usage, Held(slice(0, 4), always(1.0, 1e9)), None)
        assert found.weeks == 0
        assert np.isnan(found.figures()["cpu_time_above"])


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    lines = [
        f"{300 * at},w{number},p,c,{rng.gamma(2, 0.1):.4f},{rng.normal(2e8, 1e7):.0f}"
        for number in range(3)
        for at in range(288 * 3)
    ]
    (tmp_path / "days.csv").write_text("\n".join([HEAD, *lines]) + "\n")
    return tmp_path


class TestCommand:
    def test_every_recommendation_is_written_so_that_anyone_can_judge_it(
        self, traces: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        emitted, plot = traces / "out" / "all.csv", traces / "out" / "f.svg"
        emitted.parent.mkdir()
        outputs = Outputs(emitted, plot)
        assert backtest(traces, ["krr", "balanced"], Pace(1, 1), "json", outputs) == 0
        document = json.loads(capsys.readouterr().out)
        assert list(document["strategies"]) == ["krr", "balanced", "oracle"]
        rows = list(csv.DictReader(io.StringIO(emitted.read_text())))
        assert tuple(rows[0]) == HEADER
        assert len(rows) == 3 * 3 * 2
        assert rows[0]["valid_from"] == "1970-01-02T00:00:00Z"
        assert plot.read_text().startswith("<svg")
        (balanced,) = document["beside_krr"].values()
        above = document["strategies"]["balanced"]["weeks_memory_above"]
        assert balanced["weeks_memory_above"] == pytest.approx(above, abs=1e-5)
        line = [requested for _, requested in document["frontier"]["krr"]]
        assert min(line) <= balanced["krr_requests"] <= max(line)
        # Judged again, from the file alone.
        above = [self._is_above(traces, row) for row in rows if row["strategy"] == "krr"]
        assert document["strategies"]["krr"]["weeks_memory_above"] == pytest.approx(np.mean(above), abs=1e-6)

    def test_cores_are_written_with_all_their_digits(self) -> None:
        # A quantile is often a sample itself: of it rounded, that sample would be above.
        used = fleet([[0.12345649] * 2])
        emitted = Emitted([used])
        emitted.add("krr", used, Held(slice(0, 2), always(0.12345649, 1e9)))
        (row,) = csv.DictReader(io.StringIO(emitted.text))
        assert float(row["cpu_request_cores"]) == 0.12345649
        assert row["memory_request_bytes"] == "1000000000"

    def test_rules_that_say_the_same_are_one_point_of_the_plot(self, traces: Path) -> None:
        plot = traces / "f.svg"
        assert backtest(traces, ["vpa", "goldilocks"], Pace(1, 1), "json", Outputs(plot=plot)) == 0
        assert ">vpa, goldilocks</text>" in plot.read_text()

    def _is_above(self, traces: Path, row: dict[str, str]) -> bool:
        day = int(row["valid_from"][8:10]) - 1
        with (traces / "days.csv").open() as file:
            memory = [
                float(one["memory_bytes"])
                for one in csv.DictReader(file)
                if one["workload"] == row["workload"] and int(one["timestamp_s"]) // 86400 == day
            ]
        return max(memory) > float(row["memory_request_bytes"])

    def test_a_workload_of_several_traces_is_written_with_its_traces_name(
        self, traces: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        whole = (traces / "days.csv").read_text()
        (traces / "more.csv").write_text(whole.replace("w1,", "other,").replace("w2,", "another,"))
        emitted = traces / "all.txt"
        assert backtest(traces, ["krr", "lean"], Pace(1, 1), "table", Outputs(emitted)) == 0
        assert f"{emitted}: 1 workload of several traces as TRACE:WORKLOAD" in capsys.readouterr().out
        rows = list(csv.DictReader(io.StringIO(emitted.read_text())))
        assert {row["workload"] for row in rows} == {"days:w0", "more:w0", "w1", "w2", "other", "another"}
        keys = {tuple(row.values())[:4] for row in rows}
        assert len(keys) == len(rows) == 2 * 6 * 2
        assert backtest(traces, ["krr"], Pace(1, 1), "table", Outputs()) == 0
        assert "TRACE:WORKLOAD" not in capsys.readouterr().out

    def test_a_walk_that_fails_leaves_the_files_of_one_before_as_they_are(
        self, traces: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def failing(past: Past) -> Sizes:
            if past.windows.cpu.shape[1] > 288:
                raise RuntimeError("in the midst of the walk")
            return Sizes(*(np.full(3, size) for size in (1.0, 1e9, 1e9)))

        emitted = traces / "all.txt"
        emitted.write_text("those of before")
        monkeypatch.setattr("infra.cli.backtest.all_of", lambda fleet: {"krr": failing})
        with pytest.raises(RuntimeError, match="in the midst"):
            backtest(traces, ["krr"], Pace(1, 1), "table", Outputs(emitted))
        assert emitted.read_text() == "those of before"
        assert sorted(path.name for path in traces.iterdir()) == ["all.txt", "days.csv"]

    def test_the_table_has_a_row_for_every_strategy(
        self, traces: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert backtest(traces, [], Pace(1, 1), "table", Outputs()) == 0
        printed = capsys.readouterr().out
        for name in names():
            assert f"\n {name} " in printed

    def test_of_what_a_rule_says_nothing_its_figures_are_not_and_that_is_told(
        self, traces: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert backtest(traces, ["krr", "oracle"], Pace(1, 1), "table", Outputs()) == 0
        assert "fewer" not in capsys.readouterr().out
        # One more from the last day on alone: nothing but the oracle knows of it.
        late = "".join(f"{300 * at},late,p,c,0.1,200000000\n" for at in range(288 * 2, 288 * 3))
        trace = traces / "days.csv"
        trace.write_text(trace.read_text() + late)
        assert backtest(traces, ["krr", "oracle"], Pace(1, 1), "table", Outputs()) == 0
        assert "7 times in all" in (printed := capsys.readouterr().out)
        assert "some containers at some times: krr 6; their figures, money too" in printed

    def test_an_unknown_strategy_and_an_impossible_pace_are_named(self, traces: Path) -> None:
        with pytest.raises(BadSetting, match="no 'magic'; there are as provisioned, balanced"):
            backtest(traces, ["magic"], Pace(1, 1), "table", Outputs())
        with pytest.raises(BadSetting, match="--hold-days"):
            backtest(traces, [], Pace(1, 0), "table", Outputs())


def test_names_of_points_that_lie_upon_each_other_stand_in_one_text() -> None:
    """On a small cluster many strategies exceed in the same weeks: their names lay upon each other."""
    points = [
        Point("balanced", 0.0, 1.56), Point("oracle", 0.0, 1.0), Point("vpa", 0.025, 1.23),
        Point("krr", 0.025, 1.15), Point("crane", 0.025, 1.19), Point("as provisioned", 0.21, 1.57),
    ]  # fmt: skip
    lines = {"krr": [points[3], Point("krr", 0.0, 2.8)], "balanced": [points[0]]}
    picture = svg(Frontier(lines=lines, points=points))
    texts = re.findall(r'fill="#111827" stroke="#fff".*?>([^<]+)</text>', picture, re.DOTALL)
    assert texts == ["as provisioned", "vpa, crane, krr", "oracle"]
    assert picture.count("balanced, with other margins") == 1
    assert picture.count("<circle") == len(points)
