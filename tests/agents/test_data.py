"""Data sets: every answer correct, every fault a failure, every edit a repair, every kill harmless."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import Future

import gymnasium as gym
import pytest

from triton_gym import InvalidOptionError, InvalidTaskError, RunError
from triton_gym.action import edited, kernel_from
from triton_gym.agents.data import (
    DataConfig,
    build,
    building,
    examples,
    faults,
    prompt_and_reply,
    read_rows,
    storage,
)
from triton_gym.agents.data.plan import subject_of
from triton_gym.agents.data.writers import STYLES, applicable, fast_shape, write
from triton_gym.agents.edits import edit_between
from triton_gym.agents.sameness import normalised
from triton_gym.composition.graph import Graph, Kind, Layout, Operand, Step
from triton_gym.envs.composed.problem import Problem
from triton_gym.evaluation.backends import resolve
from triton_gym.outcome import Outcome, Status

OPERANDS = (Operand("y", Layout.FULL), Operand("b", Layout.VECTOR), Operand("c", Layout.COLUMN))
GRAPHS = {
    Kind.ELEMENTWISE: Problem(
        Graph(Kind.ELEMENTWISE, (Step("mul", "y", "sigmoid"), Step("add", "b"), Step("gelu"),
                                 Step("sub", "x"), Step("mul", "c")), OPERANDS),
        "float32", (4096, 1024),
    ),
    Kind.ROWS: Problem(
        Graph(Kind.ROWS, (Step("add", "b"), Step("log_softmax"), Step("mul", "c"),
                          Step("add", "x")), OPERANDS[1:]),
        "float16", (4096, 1024),
    ),
    Kind.MATMUL: Problem(
        Graph(Kind.MATMUL, (Step("add", "b"), Step("silu"), Step("mul", "c"), Step("add", "y")),
              OPERANDS),
        "bfloat16", (1024, 1024, 512),
    ),
}  # fmt: skip
"""A graph of each kind in which all styles can be written, with operands of all layouts."""


@pytest.mark.parametrize("kind", Kind)
def test_every_style_is_correct(kind, evaluator):
    task = GRAPHS[kind].task()
    subject = subject_of(task)
    assert set(applicable(subject)) == set(STYLES[kind])
    rng = random.Random(0)
    sources = {s: write(subject, s, fast_shape(rng, subject), rng) for s in STYLES[kind]}
    assert len(set(sources.values())) == len(sources)
    futures = {s: evaluator.submit(task, source, seed=1) for s, source in sources.items()}
    for style, future in futures.items():
        assert future.result().correct, f"{style}: {future.result().message}"


def test_all_wordings_say_the_same():
    task = GRAPHS[Kind.ROWS].task()
    subject = subject_of(task)
    shape = fast_shape(random.Random(0), subject)
    sources = {write(subject, "blockwise", shape, random.Random(i)) for i in range(20)}
    assert len(sources) > 4
    assert len({normalised(source) for source in sources}) == 1


def test_examples_that_differ_in_a_number_are_no_duplicates():
    one, two = "def f(x):\n    return x + 1\n", "def f(x):\n    return x + 2\n"
    assert examples.key("answer", "", one) != examples.key("answer", "", two)
    renamed = 'def g(z):\n    """Adds."""\n    return z + 1  # one\n'
    assert examples.key("answer", "", one) == examples.key("answer", "", renamed)


def sources_of_all_styles():
    for kind, problem in GRAPHS.items():
        subject = subject_of(problem.task())
        for style in STYLES[kind]:
            yield kind, write(subject, style, fast_shape(random.Random(1), subject))


def test_every_fault_has_a_place_and_an_edit_that_repairs_it():
    planted = set()
    for _, source in sources_of_all_styles():
        for name in faults.possible(source):
            faulty = faults.planted(source, name, random.Random(2))
            assert faulty != source
            edit = edit_between(faulty, source)
            assert edited(faulty, edit) == source
            planted.add(name)
    assert planted == set(faults.FAULTS)


MISTAKES = {
    "missing_where": ("blockwise", Status.INCORRECT),
    "missing_maximum": ("whole_rows", None),
    "wrong_axis": ("several_rows", None),
    "off_by_one": ("strided_rows", Status.INCORRECT),
    "missing_return": ("whole_rows", None),
    "wrong_grid": ("strided_rows", None),
    "syntax": ("whole_rows", Status.INVALID_ACTION),
}


def test_planted_faults_fail(evaluator):
    """Those whose harm does not depend on the place; `build` evaluates every one."""
    graph = Graph(Kind.ROWS, (Step("shift", value=1.0), Step("softmax")))
    task = Problem(graph, "float32", (4096, 1024)).task()
    subject = subject_of(task)
    rng = random.Random(1)
    failed = {}
    for name, (style, status) in MISTAKES.items():
        source = write(subject, style, fast_shape(rng, subject))
        if name not in faults.possible(source):
            continue
        failed[name] = status, evaluator.submit(task, faults.planted(source, name, rng), seed=2)
    assert len(failed) >= 6
    for name, (status, future) in failed.items():
        outcome = future.result()
        assert outcome.status in examples.FAILURES, f"{name}: {outcome.message}"
        assert status in (None, outcome.status), f"{name}: {outcome.status}"


def test_what_is_built_holds(tmp_path, monkeypatch, evaluator):
    there = contextlib.nullcontext(evaluator)
    monkeypatch.setattr(building, "Evaluator", lambda device, workers: there)
    config = DataConfig(out=str(tmp_path), graphs=1, test_graphs=1, answers=1, revisions=1.0)
    stats = build(config)
    rows = read_rows(tmp_path / "train.parquet") + read_rows(tmp_path / "test.parquet")
    assert stats["complete"]
    assert len(rows) == stats["train"]["examples"] + stats["test"]["examples"] >= 8
    assert not {r["graph"] for r in rows if r["split"] == "train"} & {
        r["graph"] for r in rows if r["split"] == "test"
    }
    kinds = {row["kind"] for row in rows}
    assert kinds == {
        "answer", "repair_edit", "repair_module", "speedup_edit", "speedup_module"
    }  # fmt: skip
    for row in rows:
        roles = [message["role"] for message in row["messages"]]
        assert roles in (["system", "user", "assistant"],
                         ["system", "user", "assistant", "user", "assistant"])  # fmt: skip
        prompt, reply = prompt_and_reply(row)
        assert prompt == row["messages"][:-1]
        if row["kind"].endswith("_edit"):
            assert edited(row["before"], reply) == row["module"]
        else:
            assert kernel_from(reply) == row["module"]
        env = gym.make(row["environment"], **json.loads(row["options"]), device="simulated")
        env.reset(seed=row["seed"])
        task = env.unwrapped.task
        assert row["entry"] == task.entry.name
        assert task.reference.text.strip() in row["messages"][1]["content"]
        assert row["speedup"] > 0
        if row["kind"].startswith("speedup"):
            assert row["before_runtime_us"] >= config.least_gain * row["runtime_us"]
        if row["kind"].startswith("repair"):
            assert row["before_status"] in set(map(str, examples.FAILURES))


class Instant:
    """An evaluator without processes: made-up outcomes, the same for the same source."""

    delay = 0.0

    def __init__(self, device, workers):
        self.workers = workers or 1
        self.device, self.deterministic = resolve(device), True

    def describe(self):
        return str(self.device)

    def submit(self, task, source, seed):
        time.sleep(self.delay)
        future = Future()
        size = len(source)
        bad = size % 5 == 0
        us = 10.0 + size
        future.set_result(
            Outcome(status=Status.INCORRECT if bad else Status.CORRECT, message="made up",
                    runtime_us=us, baseline_us=100.0, speedup=100.0 / us)
        )  # fmt: skip
        return future

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass


@pytest.fixture
def instant(monkeypatch):
    monkeypatch.setattr(building, "Evaluator", Instant)


KILLED = """
import sys
sys.path.insert(0, {folder!r})
import test_data
from triton_gym.agents.data import DataConfig, build, building
test_data.Instant.delay = 0.01
building.Evaluator = test_data.Instant
build(DataConfig(out={out!r}, **{settings!r}))
"""
SETTINGS = {"graphs": 40, "test_graphs": 6, "shard": 4, "workers": 2}


def test_a_killed_build_goes_on_to_the_same_data(tmp_path, instant):
    folder = str(__import__("pathlib").Path(__file__).parent)
    out = tmp_path / "killed"
    code = KILLED.format(folder=folder, out=str(out), settings=SETTINGS)
    process = subprocess.Popen([sys.executable, "-c", code])
    finished = out / "shards" / "train-000008-000012.tally.json"
    deadline = time.monotonic() + 60
    while not finished.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = len(list((out / "shards").glob("*.tally.json")))
    assert 0 < kept < 12
    assert not (out / "train.parquet").exists()

    done = []
    stats = build(DataConfig(out=str(out), **SETTINGS), done.append)
    assert stats["complete"]
    assert len(done) < 46 - 8
    build(DataConfig(out=str(tmp_path / "whole"), **{**SETTINGS, "workers": 5}))
    for name in ("train.parquet", "test.parquet"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_data_set_can_be_prolonged(tmp_path, instant):
    build(DataConfig(out=str(tmp_path / "one"), graphs=6, test_graphs=1, shard=4))
    build(DataConfig(out=str(tmp_path / "one"), graphs=11, test_graphs=1, shard=4))
    build(DataConfig(out=str(tmp_path / "two"), graphs=11, test_graphs=1, shard=4))
    one, two = (tmp_path / name / "train.parquet" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_a_time_limit_leaves_a_data_set(tmp_path, instant, monkeypatch):
    monkeypatch.setattr(Instant, "delay", 0.02)
    config = DataConfig(out=str(tmp_path), graphs=500, test_graphs=0, shard=2, seconds=3.0)
    stats = build(config)
    assert not stats["complete"]
    assert 0 < stats["train"]["tasks"] < 500
    assert len(read_rows(tmp_path / "train.parquet")) == stats["train"]["examples"]


def test_a_task_at_fault_is_left_out(tmp_path, instant, monkeypatch):
    def broken(self, task, source, seed):
        future = Instant.right(self, task, source, seed)
        if seed == 2:
            future = Future()
            future.set_exception(InvalidTaskError("The oracle is not finite."))
        return future

    monkeypatch.setattr(Instant, "right", Instant.submit, raising=False)
    monkeypatch.setattr(Instant, "submit", broken)
    stats = build(DataConfig(out=str(tmp_path), graphs=4, test_graphs=0))
    assert stats["train"]["verified"]["task"] == 0.75
    assert {row["seed"] for row in read_rows(tmp_path / "train.parquet")} == {0, 1, 3}


def test_another_recipe_needs_another_folder(tmp_path, instant):
    build(DataConfig(out=str(tmp_path), graphs=1, test_graphs=0, format="jsonl"))
    assert json.loads((tmp_path / "train.jsonl").read_text().splitlines()[0])["messages"]
    with pytest.raises(RunError, match="seed=0, not 1"):
        build(DataConfig(out=str(tmp_path), graphs=1, test_graphs=0, format="jsonl", seed=1))


def test_a_full_disk_is_told_and_loses_nothing(tmp_path, instant, monkeypatch):
    config = DataConfig(out=str(tmp_path / "full"), graphs=8, test_graphs=0, shard=4)
    real = storage.write_whole

    def full(path, content):
        if "train-000004" in path.name:
            raise OSError(28, "No space left on device")
        return real(path, content)

    monkeypatch.setattr(storage, "write_whole", full)
    with pytest.raises(RunError, match=r"No space left.*the same command continues"):
        build(config)
    monkeypatch.setattr(storage, "write_whole", real)
    build(config)
    build(DataConfig(out=str(tmp_path / "other"), graphs=8, test_graphs=0, shard=4))
    full_bytes, other_bytes = (
        (tmp_path / name / "train.parquet").read_bytes() for name in ("full", "other")
    )
    assert full_bytes == other_bytes


def test_parquet_without_pyarrow_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidOptionError, match=r"triton-gym\[parquet\].*format='jsonl'"):
        build(DataConfig(out=str(tmp_path)))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"graphs": -1}, "graphs must be 0 or more"),
        ({"format": "parquett"}, "Did you mean 'parquet'"),
        ({"revisions": 2.0}, "at most 1"),
        ({"graphs": 0, "test_graphs": 0}, "nothing to do"),
    ],
)
def test_a_wrong_setting_says_what_is_allowed(given, told):
    with pytest.raises(InvalidOptionError, match=told):
        DataConfig(**given)
