"""What agents of a search do: from which starts, and the same again after a kill."""

from __future__ import annotations

import json
import math
from concurrent.futures import Future

import gymnasium as gym
import pytest
import torch

from triton_gym.agents.mutation import constants_of
from triton_gym.evaluation.backends import resolve
from triton_gym.optimization.search import SearchRun
from triton_gym.optimization.spec import Spec
from triton_gym.outcome import Outcome, Status
from triton_gym.syntax import parse

LOOPS = """\
import torch
import triton
import triton.language as tl


@triton.jit
def k(x, y, n, LOOP_STAGES: tl.constexpr):
    tl.store(y + tl.arange(0, 64), tl.load(x + tl.arange(0, 64)))


K_NUM_WARPS = 4
K_LOOP_STAGES = 1


def scaled(x, w):
    y = torch.empty_like(x)
    k[(4096,)](x, y, 4096, LOOP_STAGES=K_LOOP_STAGES, num_warps=K_NUM_WARPS)
    return y
"""
ROWS = LOOPS.replace("n, LOOP", "m, LOOP")
SLOW = LOOPS.replace("n, LOOP", "slow, LOOP")


class Judge:
    """Each start has a speed of its own, and each of its numbers one best value."""

    deterministic = True

    def __init__(self, device, workers):
        self.device, self.workers, self.evaluated = resolve(device), workers, []

    def describe(self):
        return str(self.device)

    def evaluate(self, task, source, **options):
        self.evaluated.append(source)
        found = {name: node.value for name, node in constants_of(parse(source)).items()}
        best = {"K_NUM_WARPS": 16, "K_LOOP_STAGES": 3}
        away = sum(abs(math.log2(found[name] / value)) for name, value in best.items())
        us = (100 if "slow, LOOP" in source else 26 if "n, LOOP" in source else 20) * (1 + away)
        return Outcome(status=Status.CORRECT, speedup=200 / us, runtime_us=us)

    def submit(self, task, source, **options):
        done = Future()
        done.set_result(self.evaluate(task, source, **options))
        return done

    def close(self):
        pass


class KilledError(Exception):
    """Stands for what ends the process."""


@pytest.fixture
def search(traced_of, monkeypatch):
    """Runs a search without a GPU in this process; its judge, and what it said."""

    def run(folder, *sources, killed_at=None):
        folder.mkdir(exist_ok=True)
        traced = traced_of(sources)
        monkeypatch.setattr(SearchRun, "_traced", lambda run: traced)
        spec = Spec(
            name="scaled", function=abs, examples=[(torch.zeros(4, 8), torch.zeros(8))],
            device="simulated", seconds=600.0,
        )  # fmt: skip
        said, judges = [], []

        def say(event, **values):
            said.append({"event": event, **json.loads(json.dumps(values, default=str))})
            if event == "step" and len([1 for one in said if one["event"] == "step"]) == killed_at:
                raise KilledError

        def judge(device, workers):
            judges.append(Judge(device, workers))
            return judges[-1]

        try:
            SearchRun(folder, spec, say, judge=judge, live=False).run()
        finally:  # a process searches once
            for ident in [one for one in gym.registry if one.startswith("TritonKernel-scaled")]:
                del gym.registry[ident]
        return judges[-1], said

    return run


def steps_of(folder):
    """What agents did, by run folder."""
    found = {}
    for file in sorted(folder.glob("*/steps.jsonl")):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        found[file.parent.name] = [(line["action"], line["outcome"]["speedup"]) for line in lines]
    return found


def test_the_two_fastest_starts_are_searched_to_the_end(search, tmp_path):
    judge, said = search(tmp_path / "run", SLOW, LOOPS, ROWS)
    starts = [event["route"] for event in said if event["event"] == "start"]
    assert starts == ["route0", "route1", "route2"]
    found = steps_of(tmp_path / "run")
    assert sorted(found) == ["steady-state", "steady-state-2"]
    assert found["steady-state"][1][0] == ROWS  # the fastest one's numbers, then the next one's
    assert found["steady-state-2"][1][0] == LOOPS
    assert len(judge.evaluated) == len(set(judge.evaluated))  # nothing is evaluated twice
    best = (tmp_path / "run" / "best.py").read_text()
    assert "m, LOOP" in best
    assert "K_NUM_WARPS = 16\nK_LOOP_STAGES = 3" in best
    assert said[-1]["event"] == "finished"


@pytest.mark.parametrize("killed_at", [1, 9, 40])
def test_a_killed_search_ends_as_one_that_was_not(search, tmp_path, killed_at):
    search(tmp_path / "whole", LOOPS, ROWS)
    with pytest.raises(KilledError):
        search(tmp_path / "parts", LOOPS, ROWS, killed_at=killed_at)
    search(tmp_path / "parts", LOOPS, ROWS)
    assert steps_of(tmp_path / "parts") == steps_of(tmp_path / "whole")
    for name in ("best.py", "search.json"):
        parts, whole = ((tmp_path / one / name).read_text() for one in ("parts", "whole"))
        if name == "best.py":
            assert parts == whole
        else:
            assert json.loads(parts)["starts"] == json.loads(whole)["starts"]
