from __future__ import annotations

import numpy as np
import pytest

from infra.backtest.peers import PEERS, Windows, crane, goldilocks, krr, kubecost, vpa

MIB = 2**20
GIB = 2**30


def steady(cpu: float, memory: float, days: int = 14, per_day: int = 24) -> Windows:
    shape = (1, days * per_day)
    return Windows(np.full(shape, cpu), np.full(shape, memory), per_day)


def test_krr_is_the_p95_of_cpu_and_the_peak_of_memory_plus_15_percent() -> None:
    past = steady(1.0, GIB)
    past.cpu[0, -10:] = 9.0  # 3 % of the time
    past.memory[0, 5] = 2 * GIB
    cpu, memory = krr(past)
    assert cpu.tolist() == [1.0]
    assert memory.tolist() == pytest.approx([2.3 * GIB])


def test_krr_forgets_what_is_older_than_14_days() -> None:
    past = steady(1.0, GIB, days=20)
    past.memory[0, :24] = 8 * GIB
    assert krr(past)[1].tolist() == pytest.approx([1.15 * GIB])


def test_each_peers_floor_is_its_own() -> None:
    floors = {
        name: tuple(float(each[0]) for each in rule(steady(0.001, MIB))) for name, rule in PEERS.items()
    }
    assert floors["krr"] == (0.010, 100 * MIB)
    assert floors["vpa"] == (0.025, 250 * MIB)
    assert floors["crane"] == pytest.approx((0.115, 115 * MIB))
    assert floors["kubecost"] == (0.010, 20 * MIB)


def test_vpa_answers_within_a_bucket_of_5_percent_above() -> None:
    cpu, memory = vpa(steady(1.0, 4 * GIB))
    assert 1.15 <= cpu[0] <= 1.15 * 1.06
    assert 1.15 * 4 * GIB <= memory[0] <= 1.15 * 1.06 * 4 * GIB


def test_goldilocks_shows_vpas_target() -> None:
    past = steady(1.0, 4 * GIB)
    past.cpu[0, ::7] = 3.0
    past.memory[0, -24:] = 6 * GIB
    assert [each.tolist() for each in goldilocks(past)] == [each.tolist() for each in vpa(past)]


def test_crane_answers_at_the_end_of_a_bucket_of_a_tenth_of_a_core_and_100_mebibytes() -> None:
    cpu, memory = crane(steady(1.05, 4 * GIB))
    assert cpu.tolist() == pytest.approx([1.15 * 1.1])
    assert memory.tolist() == pytest.approx([1.15 * 4100 * MIB])


def test_cranes_samples_weigh_as_much_as_they_are_however_old() -> None:
    past = steady(0.15, 50 * MIB, days=7, per_day=288)
    # 1 % of the time, days ago: more than a tenth of what was used in all.
    past.cpu[0, 100:120] = 2.55
    past.memory[0, 100:120] = 950 * MIB
    cpu, memory = crane(past)
    assert cpu.tolist() == pytest.approx([1.15 * 2.6])
    assert memory.tolist() == pytest.approx([1.15 * 1000 * MIB])


def test_vpa_follows_a_rise_of_cpu_because_its_weights_halve_every_day() -> None:
    past = steady(0.1, GIB)
    past.cpu[0, -24:] = 1.0
    assert vpa(past)[0][0] > 1.0


def test_kubecost_divides_the_peak_by_its_target_utilisation() -> None:
    cpu, memory = kubecost(steady(0.7, 7 * GIB))
    assert cpu.tolist() == pytest.approx([1.0])
    assert memory.tolist() == pytest.approx([10 * GIB])


def test_what_was_never_measured_has_no_size() -> None:
    nothing = Windows(np.full((1, 336), np.nan), np.full((1, 336), np.nan), 24)
    for rule in PEERS.values():
        assert all(np.isnan(each).all() for each in rule(nothing))
