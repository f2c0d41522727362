"""A value is written in the unit that its manifest's author chose, where that is exact."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.gitops.quantities import spelled
from shared.contracts.quantities import parse_cpu, parse_memory

CPU, MEMORY = ("requests", "cpu"), ("requests", "memory")
MIB = 2**20
UNITS = ["", "k", "M", "G", "Ki", "Mi", "Gi"]


@pytest.mark.parametrize(
    ("old", "value", "new"),
    [
        ("4000m", 2000, "2000m"),
        (4, 2000, "2"),
        ("1", 230, "230m"),
        (0.5, 250, "0.25"),
        ("1.5", 20000, "20"),
        (None, 2000, "2"),
        ("nonsense", 2000, "2"),
    ],
)
def test_cpu(old: object, value: int, new: str) -> None:
    assert spelled(CPU, value, old) == new


@pytest.mark.parametrize(
    ("old", "value", "new"),
    [
        ("2048Mi", 1024 * MIB, "1024Mi"),
        ("2Gi", 1024 * MIB, "1Gi"),
        ("2Gi", 230 * MIB, "230Mi"),
        ("524288Ki", 230 * MIB, "235520Ki"),
        (1073741824, 512 * MIB, "536870912"),
        ("500M", 230 * MIB, "230Mi"),
        ("1000m", 230 * MIB, "230Mi"),
        ("1.5Gi", 1024 * MIB, "1Gi"),
        (None, 1024 * MIB, "1Gi"),
    ],
)
def test_memory(old: object, value: int, new: str) -> None:
    assert spelled(MEMORY, value, old) == new


@given(st.integers(1, 10**6), st.sampled_from(["", "m"]), st.integers(1, 10**6))
def test_however_it_is_spelled_it_is_the_same_cpu(old: int, unit: str, value: int) -> None:
    assert parse_cpu(spelled(CPU, value, f"{old}{unit}")) == value
    assert parse_cpu(spelled(CPU, value, f"{old / 10:.1f}{unit}")) == value


@given(st.integers(1, 10**6), st.sampled_from(UNITS), st.integers(1, 10**12))
def test_however_it_is_spelled_it_is_the_same_memory(old: int, unit: str, value: int) -> None:
    assert parse_memory(spelled(MEMORY, value, f"{old}{unit}")) == value
