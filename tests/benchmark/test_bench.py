"""`triton-gym bench`: runs, their journal, the report."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from triton_gym import InvalidOptionError
from triton_gym.benchmark.report import page
from triton_gym.benchmark.running import (
    Run,
    Settings,
    other_families,
    planned,
    run_all,
    traces_of,
)
from triton_gym.benchmark.summary import summarise
from triton_gym.cli import app
from triton_gym.errors import RunError
from triton_gym.tables import files

AGENTS = ["random", "grid", "evolution", "annealing"]


def made_up_tables():
    where = Path(__file__).parents[1] / "tables" / "made_up.py"
    spec = importlib.util.spec_from_file_location("made_up", where)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made():
    return made_up_tables().made_up(cases=2)


@pytest.fixture
def settings(made, tmp_path):
    files.save(made, tmp_path / "tables" / "softmax.npz")
    return Settings(device=f"recorded:{tmp_path / 'tables'}", budget=12, split="all", reward="best")


def test_every_agent_spends_its_budget_on_what_is_new(settings, made, tmp_path):
    runs = planned(AGENTS, {"softmax": 2}, seeds=2)
    journal = run_all(runs, settings, tmp_path / "out")
    assert set(journal.traces) == {run.key for run in runs}
    assert all(len(trace) == 12 for trace in journal.traces.values())
    summary = summarise(journal.traces, {"softmax": made}, 12)
    assert set(summary["agents"]) == set(AGENTS)
    for told in summary["agents"].values():
        assert told["seeds"] == 2
        assert 0 < told["fractions"]["1"] <= told["fractions"]["8"] <= 1
    assert summary["agents"]["evolution"]["fractions"]["8"] > 0.5
    json.dumps(summary)


@pytest.mark.parametrize(
    ("agent", "reached"),
    [("gp", 0.9), ("average", 0.6), ("nearest", 0.9), ("trees", 0.9), ("amortised", 0.9)],
)
def test_agents_with_a_model_find_a_smooth_optimum_early(settings, tmp_path, agent, reached):
    """The optimum moves with the shape; the others' mean knows less of it than who looks at it."""
    table = made_up_tables().made_up(cases=6)
    files.save(table, tmp_path / "tables" / "softmax.npz")
    settings = dataclasses.replace(settings, split="leave-one-out", budget=10)
    run = Run(agent, "softmax", 3, 0)
    ((_, trace, places),) = traces_of([run], settings)
    assert len(trace) == len(set(places)) == 10
    assert table.best_us[3] / min(trace) > reached
    assert traces_of([run], settings) == [(run, trace, places)]


def test_a_family_is_learned_from_the_others_by_what_all_tasks_share(settings, tmp_path):
    folder, made = tmp_path / "tables", made_up_tables().made_up
    shapes = {"softmax": "rows", "layer_norm": "rows", "gelu": "elementwise"}
    for seed, (task, family) in enumerate(shapes.items()):
        table = made(task=task, cases=3, seed=seed)
        card = {**table.card, "family": family, "test_cases": [str(table.cases[1])]}
        files.save(dataclasses.replace(table, card=card), folder / f"{task}.npz")
    assert other_families("gelu", settings.device) == ["layer_norm", "softmax"]
    assert other_families("softmax", settings.device) == ["gelu"]
    settings = dataclasses.replace(settings, split="family", budget=6)
    for agent in ("trees", "amortised"):
        ((_, trace, _),) = traces_of([Run(agent, "gelu", 0, 0)], settings)
        assert len(trace) == 6
    with pytest.raises(InvalidOptionError, match="one task"):
        traces_of([Run("average", "gelu", 0, 0)], settings)


def test_an_algorithm_of_sb3_learns_on_other_shapes_and_tries_nothing_twice(
    settings, tmp_path, monkeypatch
):
    pytest.importorskip("sb3_contrib")
    from triton_gym.agents import sb3_pretrained

    monkeypatch.setattr(sb3_pretrained, "STEPS", 300)
    files.save(made_up_tables().made_up(cases=3, missing=0.2), tmp_path / "tables" / "softmax.npz")
    settings = dataclasses.replace(settings, split="leave-one-out", budget=12)
    for agent in ("pretrained-ppo", "pretrained-dqn", "pretrained-maskable-ppo"):
        ((_, trace, _),) = traces_of([Run(agent, "softmax", 1, 0)], settings)
        assert len(trace) == 12


def test_an_agent_that_learns_first_sees_no_time_of_the_shape_it_is_tried_on(settings, made):
    seen = []

    class Spy:
        def __init__(self, env, seed, learned=None):
            self.env = env

        @classmethod
        def pretrain(cls, env, *, seed):
            seen.append(set(env.unwrapped.table.cases))
            return ()

        def act(self, observation, info):
            return self.env.action_space.sample()

    settings = dataclasses.replace(settings, split="leave-one-out", budget=2)
    spied = importlib.util.module_from_spec(importlib.util.spec_from_loader("spied", None))
    spied.Spy = Spy
    sys.modules["spied"] = spied
    traces_of([Run("spied:Spy", "softmax", case, 0) for case in range(2)], settings)
    assert seen == [{made.cases[1]}, {made.cases[0]}]


def test_runs_that_are_there_are_not_made_again(settings, tmp_path):
    runs = planned(["random"], {"softmax": 2}, seeds=3)
    told = []
    run_all(runs[:4], settings, tmp_path / "out")
    with (tmp_path / "out" / "runs.jsonl").open("a") as file:
        file.write('{"run": {"ag')  # what was being written when it was stopped
    before = (tmp_path / "out" / "runs.jsonl").read_text().count('"trace"')
    run_all(runs, settings, tmp_path / "out", progress=lambda done, whole: told.append(done))
    assert before == 4
    assert told == [4, 5, 6]
    run_all(runs, settings, tmp_path / "out", progress=lambda done, whole: told.append(done))
    assert told == [4, 5, 6, 6]  # what came after the torn line is there too
    again = run_all(runs, settings, tmp_path / "other")
    first = run_all(runs, settings, tmp_path / "out")
    assert {k: t for k, t in first.traces.items() if k in again.traces} == again.traces


def test_a_folder_with_other_settings_is_refused(settings, tmp_path):
    run_all([], settings, tmp_path / "out")
    with pytest.raises(RunError, match="other settings"):
        run_all([], dataclasses.replace(settings, budget=3), tmp_path / "out")
    with pytest.raises(InvalidOptionError, match="agent"):
        planned([], {"softmax": 1}, 1)


def test_the_command_writes_a_report(settings, tmp_path):
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app,
        ["bench", "random,evolution", "softmax", "--device", settings.device, "--seeds", "2",
         "--budget", "6", "--split", "all", "--out", str(out)],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    text = (out / "report.html").read_text()
    assert "Best kernels" in text
    assert "seed 0: " in text  # an episode
    assert "evolution" in text
    assert "http" not in text.replace("http-equiv", "")  # it needs nothing else
    assert json.loads((out / "summary.json").read_text())["budget"] == 6


def test_a_report_of_one_seed_or_of_nothing_says_so(settings, made, tmp_path):
    runs = planned(["random"], {"softmax": 1}, seeds=1)
    journal = run_all(runs, settings, tmp_path / "out")
    summary = summarise(journal.traces, {"softmax": made}, 12)
    assert "One seed" in page(summary, "t", {})
    empty = {"agents": {}, "shapes": [], "random": [], "budget": 1, "better": {}}
    assert "nothing to show" in page(empty, "<t>", {})
    assert "&lt;t&gt;" in page(empty, "<t>", {})
