"""Kernel Tuner 1.5: it replays a recorded table from our cache file, and its schema takes our T4."""

from __future__ import annotations

import json
import math

import gymnasium as gym
import jsonschema
import kernel_tuner
import pytest
from kernel_tuner.file_utils import get_t4_results, output_file_schema

import triton_gym
from triton_gym import agents
from triton_gym.agents.kernel_tuner import searched
from triton_gym.benchmark.running import Run, Settings, traces_of
from triton_gym.tables import kernel_tuner as exchange
from triton_gym.tables.files import table_of
from triton_gym.tables.table import STATUSES

# It says so where no parameter has the name of a CUDA block's dimension.
pytestmark = pytest.mark.filterwarnings("ignore:None of the tunable parameters:UserWarning")


@pytest.fixture(scope="module")
def table():
    return table_of("causal_attention")  # some of its configurations fail


def replayed(table, case, path, **options):
    restrictions = exchange.write_cache(table, case, path)
    held = json.loads(path.read_text())
    results, environment = kernel_tuner.tune_kernel(
        held["kernel_name"], "", held["problem_size"], [], held["tune_params"],
        restrictions=restrictions or None, cache=str(path), simulation_mode=True, lang="Python",
        quiet=True, objective="time", objective_higher_is_better=False, **options,
    )  # fmt: skip
    return results, environment


def test_all_of_a_table_is_replayed_with_its_times_and_failures(table, tmp_path):
    results, environment = replayed(table, 0, tmp_path / "c.json", strategy="brute_force")
    assert len(results) == int(table.present[0].sum())
    for result in results:
        choice = [values.index(result[name]) for name, values in table.knobs.items()]
        place = table.place(0, choice)
        us = table.runtime_us[0, place]
        if math.isfinite(us):
            assert result["time"] == pytest.approx(us / 1e3)
        else:
            status = STATUSES[int(table.status[0, place])]
            assert type(result["__error__"]).__name__ == exchange.FAILURES[status]
    assert environment["best_config"]["time"] == pytest.approx(table.best_us[0] / 1e3)
    assert environment["simulated_time"] > 0


def test_a_table_with_gaps_is_replayed_within_its_restrictions(table, tmp_path):
    import dataclasses

    status = table.status.copy()
    status[1, ::3] = -1
    gaps = dataclasses.replace(table, status=status)
    results, _ = replayed(gaps, 1, tmp_path / "c.json", strategy="brute_force")
    assert len(results) == int(gaps.present[1].sum())


def test_its_schema_takes_our_t4_and_we_read_what_it_writes(table, tmp_path):
    _, schema = output_file_schema("results")
    ours = exchange.t4_results(table, 0)
    jsonschema.validate(ours, schema if isinstance(schema, dict) else json.loads(schema))
    results, _ = replayed(table, 0, tmp_path / "c.json", strategy="brute_force")
    theirs = get_t4_results(results, exchange.cache_file(table, 0)["tune_params"])
    again = exchange.read_t4(theirs, "causal_attention")
    assert again.best_us[0] == pytest.approx(table.best_us[0])
    assert int(again.correct.sum()) == int(table.correct[0].sum())


@pytest.mark.parametrize("strategy", ["genetic_algorithm", "simulated_annealing", "greedy_ils"])
def test_a_strategy_is_an_agent_of_the_benchmark(table, strategy):
    first = searched(table, 0, strategy, 20, seed=1)
    assert 5 <= len(first) <= 20
    assert len(set(first)) == len(first)
    assert first == searched(table, 0, strategy, 20, seed=1)
    settings = Settings(device="recorded", budget=20, split="test", reward="best")
    ((_, trace, _),) = traces_of(
        [Run(f"kernel-tuner:{strategy}", "causal_attention", 0, 1)], settings
    )
    assert trace == [table.runtime_us[0, table.place(0, choice)] for choice in first]


def test_a_strategy_that_it_lacks_is_named():
    env = gym.make("TritonTune-causal_attention-v0", device="recorded")
    with pytest.raises(triton_gym.InvalidOptionError, match="genetic_algorithm"):
        agents.load("kernel-tuner:best")(env, seed=0)
