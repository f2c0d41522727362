"""Reading measured usage, and generating it from a seed."""

from __future__ import annotations

import gzip
import math
import re
from pathlib import Path

import pytest

from infra.standins.cluster import profiles, traces
from infra.standins.scenario import Profile

_HEADER = "timestamp_s,workload,pod,container,cpu_cores,memory_bytes"
_DAY = 86400


def _file(folder: Path, *rows: str, name: str = "shop.csv", header: str = _HEADER) -> Path:
    path = folder / name
    text = "\n".join([header, *rows, ""])
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def test_samples_are_read_by_workload_pod_and_container(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        "60,cart,cart-a,app,0.25,1000",
        "60,cart,cart-a,proxy,0.01,10",
        "120,cart,cart-a,app,0.5,2000",
        name="shop.csv.gz",
    )
    app, proxy = traces.read(path)
    assert (app.workload, app.pod, app.container) == ("cart", "cart-a", "app")
    assert list(app.times) == [60, 120]
    assert list(app.cpu_cores) == [0.25, 0.5]
    assert list(app.memory_bytes) == [1000, 2000]
    assert proxy.container == "proxy"


def test_an_empty_number_was_not_recorded(tmp_path: Path) -> None:
    (trace,) = traces.read(_file(tmp_path, "60,cart,,,0.25,", "120,cart,,,,7"))
    assert math.isnan(trace.memory_bytes[0])
    assert math.isnan(trace.cpu_cores[1])
    assert trace.has_memory


def test_configured_requests_and_limits_are_the_latest_ones(tmp_path: Path) -> None:
    header = f"{_HEADER},cpu_request_cores,cpu_limit_cores,memory_request_bytes,memory_limit_bytes"
    path = _file(tmp_path, "60,a,,,1,2,0.1,,20,40", "120,a,,,1,2,0.3,,20,80", header=header)
    (trace,) = traces.read(path)
    assert (trace.cpu_request_cores, trace.memory_limit_bytes) == (0.3, 80)
    assert trace.cpu_limit_cores is None or math.isnan(trace.cpu_limit_cores)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("120,cart,,,fast,1", "cpu_cores 'fast' is no number"),
        ("120,cart,,,-1,1", "cpu_cores '-1' is no number of at least 0"),
        ("120,cart,,,inf,1", "cpu_cores 'inf' is no number"),
        ("soon,cart,,,1,1", "timestamp_s 'soon' is no number"),
        ("60,cart,,,1,1", "timestamp_s '60' is not after the one before"),
        ("120,cart,,,1", "5 fields, the header has 6"),
        ("120,,,,1,1", "workload is empty"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, row: str, complaint: str) -> None:
    path = _file(tmp_path, "60,cart,,,1,1", row)
    with pytest.raises(traces.TraceError, match=f"{re.escape(str(path))}:3: .*{re.escape(complaint)}"):
        traces.read(path)


def test_a_truncated_archive_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = _file(tmp_path, *(f"{60 * i},cart,,,{i % 7},1" for i in range(1, 500)), name="shop.csv.gz")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(traces.TraceError, match=r"shop\.csv\.gz:\d+: cannot be read"):
        traces.read(path)


def test_a_folder_is_sorted_into_traces_cpu_only_sets_and_other_tables(tmp_path: Path) -> None:
    _file(tmp_path, "60,cart,,,1,1", name="shop.csv.gz")
    _file(tmp_path, "60,load,,,1,", "120,load,,,1,", name="cpu-only.csv")
    _file(tmp_path, "1,x", name="faults.csv", header="timestamp_s,pod")
    found = traces.find_sets(tmp_path)
    assert list(found.files) == ["shop"]
    assert [path.name for path in found.cpu_only] == ["cpu-only.csv"]
    assert [path.name for path in found.other] == ["faults.csv"]


def test_a_folder_without_traces_says_what_was_found(tmp_path: Path) -> None:
    _file(tmp_path, "1,x", name="faults.csv", header="timestamp_s,pod")
    with pytest.raises(traces.TraceError, match=r"no trace file with columns .*faults\.csv"):
        traces.find_sets(tmp_path)


_PROFILE = Profile(
    cpu_cores=0.2,
    memory_bytes=300_000_000,
    daily=0.5,
    weekend=0.4,
    noise=0.1,
    bursts_per_day=4,
    burst_cores=1,
)


def test_the_same_seed_gives_the_same_usage_and_another_seed_another() -> None:
    first = profiles.generate(_PROFILE, end=1e9, seed=7)
    assert profiles.generate(_PROFILE, end=1e9, seed=7) == first
    assert profiles.generate(_PROFILE, end=1e9, seed=8) != first


def test_generated_usage_is_as_long_as_asked_and_ends_at_the_end() -> None:
    trace = profiles.generate(_PROFILE, end=1e9, seed=1)
    assert trace.times[-1] == 1e9
    assert len(trace.times) == 7.5 * 1440


def test_a_later_start_leaves_the_remaining_samples_as_they_were() -> None:
    whole = profiles.generate(_PROFILE, end=1e9, seed=1)
    rest = profiles.generate(_PROFILE, end=1e9, seed=1, start=1e9 - 3600)
    assert list(rest.times) == list(whole.times[-61:])
    assert list(rest.cpu_cores) == list(whole.cpu_cores[-61:])


def test_days_are_busier_than_nights_and_weekdays_than_weekends() -> None:
    sunday_midnight = 1_700_352_000.0  # 2023-11-19 00:00 UTC
    calm = _PROFILE.model_copy(update={"noise": 0.0, "bursts_per_day": 0.0, "days": 7})
    trace = profiles.generate(calm, end=sunday_midnight, seed=1)
    by_time = dict(zip(trace.times, trace.cpu_cores, strict=True))
    friday_afternoon = sunday_midnight - 1 * _DAY - 10 * 3600
    assert by_time[friday_afternoon] > 2 * by_time[friday_afternoon - 12 * 3600]
    assert by_time[friday_afternoon] > 1.5 * by_time[friday_afternoon + _DAY]


def test_memory_does_not_leak() -> None:
    trace = profiles.generate(_PROFILE, end=1e9, seed=1)
    days = [sum(trace.memory_bytes[i * 1440 : (i + 1) * 1440]) / 1440 for i in range(7)]
    assert max(days) < 1.01 * min(days)
