"""Recorded tables: what they hold, as files, as splits, and for other tools."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math

import gymnasium as gym
import numpy as np
import pytest
from typer.testing import CliRunner

from triton_gym import InvalidOptionError
from triton_gym.cli import app
from triton_gym.tables import files, kernel_tuner, parquet
from triton_gym.tables.split import chosen
from triton_gym.tables.table import ABSENT


def test_a_row_is_the_outcome_that_it_was(made_up):
    table = made_up()
    case, place = map(int, np.argwhere(table.correct)[0])
    outcome = table.outcome(case, place)
    us = table.measures["runtime_us"][case, place]
    assert (outcome.status, outcome.runtime_us, str(outcome.time_source)) == (
        "correct", us, "recorded",
    )  # fmt: skip
    assert outcome.speedup == pytest.approx(table.baseline_us[case] / us)
    assert outcome.roofline == pytest.approx(table.floor_us[case] / us)
    case, place = map(int, np.argwhere(table.present & ~table.correct)[0])
    failed = table.outcome(case, place)
    assert failed.status == "compile_error"
    assert math.isnan(failed.runtime_us)


def test_what_was_not_tried_is_named_with_the_space(made_up):
    table = made_up(missing=0.3)
    case, place = map(int, np.argwhere(~table.present)[0])
    with pytest.raises(
        InvalidOptionError, match=r"not in the table of softmax on rows=256 .*BLOCK"
    ):
        table.place(case, table.choices[place])
    with pytest.raises(InvalidOptionError, match="not in the table"):
        table.place(0, (9, 9, 9))


def test_a_file_holds_the_table(made_up, tmp_path):
    table = made_up(missing=0.2)
    files.save(table, tmp_path / "softmax.npz")
    again = files.load(tmp_path / "softmax.npz")
    assert again.knobs == table.knobs
    assert again.cases == table.cases
    assert again.card == table.card
    np.testing.assert_array_equal(again.status, table.status)
    np.testing.assert_allclose(again.measures["runtime_us"], table.measures["runtime_us"], 1e-6)
    assert files.table_of("softmax", tmp_path).rows == table.rows
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]


@pytest.mark.parametrize("damage", ["empty", "text", "other", "format"])
def test_a_damaged_file_is_refused_by_name(made_up, tmp_path, damage):
    path = tmp_path / "softmax.npz"
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("no table")
    elif damage == "other":
        np.savez(path, a=np.zeros(2))
    else:
        about = np.frombuffer(json.dumps({"format": 99}).encode(), np.uint8)
        np.savez(path, about=about)
    with pytest.raises(InvalidOptionError, match=r"softmax\.npz"):
        files.load(path)


def test_a_table_that_does_not_fit_together_is_refused(made_up):
    table = made_up()
    with pytest.raises(InvalidOptionError, match="baseline_us"):
        dataclasses.replace(table, baseline_us=np.zeros(1))
    with pytest.raises(InvalidOptionError, match="outside its knobs"):
        dataclasses.replace(table, choices=table.choices + 5)


@pytest.mark.parametrize("split", ["inside", "largest"])
def test_what_is_held_out_is_not_trained_on(made_up, split):
    table = made_up(cases=12)
    train, test = chosen(table, split), chosen(table, split, held_out=True)
    assert sorted((*train, *test)) == list(range(12))
    assert train
    assert test
    if split == "largest":
        volume = [math.prod(case.sizes.values()) for case in table.cases]
        assert max(volume[i] for i in train) <= min(volume[i] for i in test)
        assert len(test) == 4


def test_the_card_names_the_cases_to_test_on(made_up):
    table = made_up()
    table = dataclasses.replace(table, card={"test_cases": [str(table.cases[2])]})
    assert chosen(table, "test") == (2,)
    assert 2 not in chosen(table, "train")
    with pytest.raises(InvalidOptionError, match="largest"):
        chosen(table, "biggest")


def test_by_default_no_action_lies_outside_of_a_table(made_up, tmp_path):
    table = made_up(cases=4)
    status = table.status.copy()
    status[2:, ::3] = ABSENT
    table = dataclasses.replace(table, status=status)
    assert chosen(table, "complete") == (0, 1)
    files.save(table, tmp_path / "softmax.npz")
    device = f"recorded:{tmp_path}"
    for name in ("TritonTune-softmax-v0", "TritonTune-any-v0"):
        with contextlib.closing(gym.make(name, device=device, max_turns=8)) as env:
            env.action_space.seed(0)
            for seed in range(4):
                env.reset(seed=seed)
                for _ in range(8):
                    env.step(env.action_space.sample())
    gaps = made_up(missing=0.3)
    assert chosen(gaps, "complete") == tuple(range(len(gaps.cases)))


def test_kernel_tuners_cache_file_goes_there_and_back(made_up, tmp_path):
    table = made_up()
    held = kernel_tuner.cache_file(table, 1)
    assert list(held)[-1] == "cache"
    assert held["tune_params_keys"] == list(table.knobs)
    for row in held["cache"].values():
        assert {"compile_time", "verification_time", "benchmark_time"} <= set(row)
        assert isinstance(row["time"], float) or row["time"] == "CompilationFailedConfig"
    assert kernel_tuner.write_cache(table, 1, tmp_path / "cache.json") == []
    again = kernel_tuner.read_cache(tmp_path / "cache.json")
    for place, choice in enumerate(table.choices):
        values = table.named(choice)
        found = tuple(again.knobs[name].index(value) for name, value in values.items())
        there = again.place(0, found)
        assert again.correct[0, there] == table.correct[1, place]
        if table.correct[1, place]:
            assert again.runtime_us[0, there] == pytest.approx(table.runtime_us[1, place])


def test_t4_results_go_there_and_back_with_the_hubs_spellings(made_up):
    table = made_up()
    held = kernel_tuner.t4_results(table, 0)
    again = kernel_tuner.read_t4(held)
    assert sorted(again.runtime_us[0][np.isfinite(again.runtime_us[0])]) == pytest.approx(
        sorted(table.runtime_us[0][np.isfinite(table.runtime_us[0])])
    )
    for result in held["results"]:
        result["times"]["compilation"] = result["times"].pop("compilation_time")
        for measured in result["measurements"]:
            measured["unit"] = "miliseconds"
    hub = kernel_tuner.read_t4(held)
    np.testing.assert_array_equal(hub.runtime_us, again.runtime_us)
    np.testing.assert_array_equal(hub.measures["compile_s"], again.measures["compile_s"])


def test_gaps_are_excluded_by_restrictions(made_up):
    table = made_up(missing=0.4)
    (condition,) = kernel_tuner.restrictions(table, 0)
    for place, choice in enumerate(table.choices):
        assert eval(condition, {}, table.named(choice)) == table.present[0, place]


def test_what_is_no_file_of_theirs_is_refused(tmp_path):
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(InvalidOptionError, match="not a cache file"):
        kernel_tuner.read_cache({})
    with pytest.raises(InvalidOptionError, match="not T4"):
        kernel_tuner.read_t4({"results": [{}]})
    with pytest.raises(InvalidOptionError, match="cannot be read"):
        kernel_tuner.read_cache(tmp_path / "none.json")


def test_parquet_goes_there_and_back_with_its_card(made_up, tmp_path):
    pytest.importorskip("pyarrow")
    table = made_up(missing=0.2)
    card = {**table.card, "family": "rows", "test_cases": [str(table.cases[1])]}
    table = dataclasses.replace(table, card=card)
    parquet.write_parquet(table, tmp_path / "softmax.parquet")
    again = parquet.read_parquet(tmp_path / "softmax.parquet")
    assert (again.task, again.gpu, again.cases, again.knobs) == (
        table.task, table.gpu, table.cases, dict(table.knobs)
    )  # fmt: skip
    assert again.card == table.card
    for case in range(len(table.cases)):
        for choice, place in table.places.items():
            there = again.places[choice]
            assert again.status[case, there] == table.status[case, place]
            assert again.runtime_us[case, there] == table.runtime_us[case, place]
    text = parquet.data_card({"softmax": table})
    assert f"{table.rows:,} measurements" in text
    with pytest.raises(InvalidOptionError, match="no table"):
        parquet.read_parquet(tmp_path / "none.parquet")


@pytest.mark.parametrize("kind", ["parquet", "kernel-tuner", "t4"])
def test_the_command_exports_shipped_tables(tmp_path, kind):
    done = CliRunner().invoke(app, ["export", "softmax", "--format", kind, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    written = sorted(path.name for path in tmp_path.iterdir())
    if kind == "parquet":
        assert written == ["README.md", "softmax.parquet"]
    else:
        shapes = len(files.table_of("softmax").card["test_cases"])
        assert len([name for name in written if "restrictions" not in name]) == shapes
