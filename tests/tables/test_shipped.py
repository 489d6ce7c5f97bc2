"""The tables that ship with the package: whole, described, of one GPU, and small."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import numpy as np
import pytest

from triton_gym import load
from triton_gym.tables import files
from triton_gym.tables.split import chosen
from triton_gym.tables.table import MEASURES

FAMILIES = {"rows", "products", "attention", "scans", "elementwise"}
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "tables-h200.json"


@pytest.fixture(scope="module")
def shipped():
    return {name: files.load(path) for name, path in files.tables().items()}


def test_there_are_tables_of_every_family_and_they_are_small(shipped):
    assert len(shipped) >= 12
    assert {table.card["family"] for table in shipped.values()} == FAMILIES
    assert sum(table.rows for table in shipped.values()) >= 15_000
    assert sum(path.stat().st_size for path in files.tables().values()) < 10_000_000


@pytest.mark.parametrize("name", sorted(files.tables()))
def test_a_card_says_where_a_table_comes_from(shipped, name):
    table = shipped[name]
    card = table.card
    assert (table.task, table.gpu, card["time_source"]) == (name, "h200", "measured")
    assert card["device"] == "NVIDIA H200"
    assert 0 < card["sentinel_spread"] < 0.02
    for run in card["runs"]:
        assert run["device"] == card["device"]
        assert run["driver"]
        assert {"torch", "triton", "triton-gym"} <= set(run["versions"])
        assert run["commit"]
        assert not Path(run["command"].split()[0]).is_absolute()
        assert datetime.datetime.fromisoformat(run["begun"]) < datetime.datetime.fromisoformat(
            run["utc"]
        )
    which = table.measures["run"][table.present]
    assert set(which) == set(range(len(card["runs"])))


@pytest.mark.parametrize("name", sorted(files.tables()))
def test_rows_hold_what_was_measured(shipped, name):
    table = shipped[name]
    for knob, values in table.knobs.items():
        assert set(values) <= set(load(name).knobs[knob])
    low, high = table.measures["runtime_low_us"], table.measures["runtime_high_us"]
    right = table.correct
    assert right.any(1).all(), "a shape of which nothing is correct"
    assert (low <= table.runtime_us)[right].all()
    assert (table.runtime_us <= high)[right].all()
    assert (table.runtime_us > table.floor_us[:, None])[right].all(), "faster than light"
    for seconds in ("compile_s", "verification_s", "benchmark_s"):
        assert np.isfinite(table.measures[seconds][right]).all()
    for measure in MEASURES:
        assert np.isnan(table.measures[measure][~table.present]).all()


@pytest.mark.parametrize("name", sorted(files.tables()))
def test_test_shapes_are_complete_and_apart_from_those_to_learn_on(shipped, name):
    table = shipped[name]
    test, train = chosen(table, "test"), chosen(table, "train")
    assert len(test) == 3
    assert set(test) <= set(chosen(table, "complete"))
    assert not {table.cases[i] for i in test} & {table.cases[i] for i in train}
    assert len(set(table.cases)) == len(table.cases)


def test_the_results_tell_the_tables_that_ship(shipped):
    told = {row["task"]: row for row in json.loads(RESULTS.read_text())["rows"]}
    assert {name: (row["rows"], row["correct"], row["shapes"]) for name, row in told.items()} == {
        name: (table.rows, int(table.correct.sum()), len(table.cases))
        for name, table in shipped.items()
    }
