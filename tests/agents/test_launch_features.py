"""What a launch comes to, by hand, and for every table that ships."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from triton_gym.agents.launch_features import launch_features, launches
from triton_gym.agents.shape_features import WORST, features, times_over_best
from triton_gym.tables import files


def of(table, case, **knobs):
    found = launches(table, case)
    choice = tuple(values.index(knobs[name]) for name, values in table.knobs.items())
    return {name: float(values[table.places[choice]]) for name, values in found.items()}


def test_a_product_by_hand():
    table = files.table_of("matmul")
    case = next(i for i, one in enumerate(table.cases) if one["m"] == one["k"] == 4096)
    found = of(table, case, BLOCK_M=128, BLOCK_N=256, BLOCK_K=64, GROUP_M=8, NUM_WARPS=8,
               NUM_STAGES=4, PROGRAMS=132)  # fmt: skip
    assert found["turns"] == pytest.approx(math.log2(512 / 132))
    assert found["inner"] == math.log2(4096 / 64)
    assert found["kept"] == math.log2(128 * 256 / 256)
    assert found["shared"] == pytest.approx(4 * (128 + 256) * 64 * 2 / 232_448)
    assert found["resident"] == 0
    assert found["waves"] == 0
    assert found["full"] == 1
    assert found["padding"] == 0
    loads = 512 * (64 * (128 + 256) * 64 + 128 * 256)
    assert found["traffic"] == pytest.approx(math.log2(loads / (3 * 4096**2)))


def test_programs_of_attention_are_blocks_of_queries():
    table = files.table_of("causal_attention")
    case = next(i for i, one in enumerate(table.cases) if one["seq"] == 4096)
    found = of(table, case, BLOCK_M=64, BLOCK_N=128, GROUP_HEADS=8, NUM_WARPS=4, NUM_STAGES=3)
    assert found["programs"] == pytest.approx(math.log2(64 * 4 * 16 / 132))
    assert found["inner"] == pytest.approx(math.log2(32 / 2), abs=0.1)  # a causal mask's half
    assert found["too_much"] == float(3 * 2 * 128 * 128 * 2 + 64 * 128 * 2 > 232_448)


def test_rows_and_flat_blocks_are_launched_by_what_they_divide():
    rows, flat = files.table_of("cumsum_rows"), files.table_of("vector_add")
    case = next(i for i, one in enumerate(rows.cases) if (one["rows"], one["cols"]) == (8192, 4096))
    found = of(rows, case, BLOCK=1024, ROWS=2, NUM_WARPS=4, STAGES=3)
    assert (found["programs"], found["inner"]) == (pytest.approx(math.log2(4096 / 132)), 2)
    case = next(i for i, one in enumerate(flat.cases) if one["n"] == 1 << 26)
    found = of(flat, case, BLOCK=1024, NUM_WARPS=8, PROGRAMS=528)
    assert found["turns"] == pytest.approx(math.log2(65_536 / 528))
    assert found["persistent"] == 1


@pytest.mark.parametrize("name", sorted(files.tables()))
def test_every_table_has_the_same_columns_and_no_time_is_looked_at(name):
    table = files.table_of(name)
    other = dataclasses.replace(table, measures={**table.measures, "runtime_us": 7 * table.measures[
        "runtime_us"] ** 2})  # fmt: skip
    for case in (0, len(table.cases) - 1):
        found = launch_features(table, case)
        assert found.shape == (len(table.choices), 50)
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(found, launch_features(other, case))
        np.testing.assert_array_equal(features(table, case), features(other, case))


@pytest.mark.parametrize("name", ["matmul", "softmax"])  # failures, and rows that are missing
def test_what_is_learned_is_cut_where_it_no_longer_matters(name):
    table = files.table_of(name)
    for case in range(0, len(table.cases), 5):
        found, times = times_over_best(table, case), table.runtime_us[case]
        assert np.isnan(found[~table.present[case]]).all()
        assert (found[table.present[case] & ~table.correct[case]] == WORST).all()
        assert found[np.argmin(times)] == 0
        near = table.correct[case] & (times < 2 * times.min())
        np.testing.assert_allclose(np.exp(found[near]), times[near] / times.min())
        assert np.nanmax(found) <= WORST
