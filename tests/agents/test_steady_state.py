"""The agent that says ahead what it will submit, and the steps that find it evaluated already."""

from __future__ import annotations

import dataclasses
import math
from concurrent.futures import Future

import gymnasium as gym
import numpy as np
import pytest

import triton_gym
from triton_gym import agents
from triton_gym.agents.crossing import merged
from triton_gym.agents.mutation import constants_of, neighbours, sites
from triton_gym.agents.steady_state import SteadyState
from triton_gym.env import KernelEnv
from triton_gym.outcome import Outcome, Status
from triton_gym.syntax import parse

NAMED = """\
import torch
import triton
import triton.language as tl


@triton.jit
def k(x, y, n, BLOCK: tl.constexpr):
    n = 4096
    R0_BLOCK: tl.constexpr = 4096
    tl.store(y + tl.arange(0, 64), tl.load(x + tl.arange(0, 64)))


K_BLOCK = 256
K_NUM_WARPS = 4
K_LOOP_STAGES = 1


def softmax(x):
    y = torch.empty_strided((4096, 64), (64, 1), dtype=x.dtype, device=x.device)
    k[(-(x.shape[0] // -K_BLOCK),)](x, y, 4096, BLOCK=K_BLOCK, num_warps=K_NUM_WARPS, num_stages=1)
    return y
"""
BEST = {"K_BLOCK": 1024, "K_NUM_WARPS": 16, "K_LOOP_STAGES": 3}


def numbers(source):
    return {name: node.value for name, node in constants_of(parse(source)).items()}


class Judge:
    """Each number that is not at its best costs by how far it is away; evaluations are counted."""

    deterministic, workers = True, 4

    def __init__(self, stub):
        self.device = stub.device
        self.evaluated, self.submitted = [], []

    def describe(self):
        return str(self.device)

    def evaluate(self, task, source, *, seed=None, **options):
        self.evaluated.append((source, seed))
        found = numbers(source)
        us = 10 + sum(abs(math.log2(found[name] / best)) for name, best in BEST.items())
        return Outcome(status=Status.CORRECT, runtime_us=us, speedup=100 / us, roofline=0.5)

    def submit(self, task, source, *, seed=None, **options):
        self.submitted.append((source, seed))
        done = Future()
        done.set_result(self.evaluate(task, source, seed=seed))
        return done


@pytest.fixture
def judge(stub):
    return Judge(stub)


@pytest.fixture
def environment(judge):
    task = dataclasses.replace(triton_gym.load("softmax"), starter=NAMED)

    def make(**options):
        return KernelEnv(task, evaluator=judge, max_turns=1000, **options)

    return make


def played(env, steps, seed=0, **options):
    """Actions and outcomes of the agent's steps."""
    seen = []

    class Watched(gym.Wrapper):
        def step(self, action):
            result = self.env.step(action)
            seen.append((action, self.env.unwrapped.outcome))
            return result

    env = Watched(env)
    agents.play(SteadyState(env, seed=seed, **options), env, steps, seed=seed)
    return seen


def test_numbers_that_a_module_names_are_all_that_may_vary():
    assert {site.label for site in sites(NAMED)} == {"K_BLOCK", "K_NUM_WARPS", "K_LOOP_STAGES"}
    calling = NAMED + "\n\ndef rows(x):\n    return softmax(x.as_strided((4096, 64), (64, 1)))\n"
    final = calling.replace("K_BLOCK = 256", "K_BLOCK: Final = 256")
    assert {site.label for site in sites(calling)} == {site.label for site in sites(NAMED)}
    assert {site.label for site in sites(final)} == {"K_NUM_WARPS", "K_LOOP_STAGES"}
    unnamed = NAMED.replace("num_warps=K_NUM_WARPS", "num_warps=4")
    assert {"num_warps", "num_stages"} <= {site.label for site in sites(unnamed)}


def test_neighbours_differ_by_one_number_and_the_nearest_come_first():
    found = [numbers(one) for one in neighbours(NAMED)]
    start = numbers(NAMED)
    assert all(sum(one[name] != start[name] for name in one) == 1 for one in found)
    assert found[:3] == [
        start | {"K_BLOCK": 128}, start | {"K_NUM_WARPS": 2}, start | {"K_LOOP_STAGES": 2},
    ]  # fmt: skip


def test_a_merge_has_the_changes_of_both():
    one = NAMED.replace("K_BLOCK = 256", "K_BLOCK = 512")
    other = NAMED.replace("K_BLOCK = 256", "K_BLOCK = 128").replace("WARPS = 4", "WARPS = 8")
    assert merged(NAMED, one, other) == one.replace("WARPS = 4", "WARPS = 8")
    assert merged(NAMED, NAMED, other) == other
    assert merged(NAMED, one, NAMED.replace("num_stages=1", "num_stages=2")) is None
    assert merged(NAMED, one, "def f(:") is None


def test_every_step_finds_its_evaluation_begun(judge, environment):
    seen = played(environment(), 30)
    assert judge.submitted == judge.evaluated  # no step had to evaluate by itself
    assert [action for action, _ in seen] == [source for source, _ in judge.submitted[:30]]
    assert 30 <= len(judge.submitted) <= 38  # eight ahead


def test_announcing_changes_nothing_but_when_it_is_evaluated(judge, environment):
    ahead = played(environment(), 30)
    seeds = dict(judge.evaluated)
    judge.evaluated.clear()
    alone = environment()
    alone.announce = None
    assert played(alone, 30) == ahead
    assert all(seeds[source] == seed for source, seed in judge.evaluated)


def test_edits_are_not_begun(judge, environment):
    whole = played(environment(), 12)
    judge.submitted.clear()
    seen = played(environment(action_mode="edit"), 12)
    assert not judge.submitted
    assert [outcome for _, outcome in seen] == [outcome for _, outcome in whole]


def test_what_no_step_asks_for_is_cancelled(judge, environment, monkeypatch):
    waiting = []

    def submit(task, source, **options):
        waiting.append(Future())
        return waiting[-1]

    monkeypatch.setattr(judge, "submit", submit)
    env = environment()
    env.reset(seed=0)
    env.announce([NAMED, NAMED.replace("256", "512")])
    env.close()
    assert [future.cancelled() for future in waiting] == [True, True]


def test_it_joins_what_helps_and_ends_when_it_knows_all(environment):
    seen = played(environment(), 400)
    best = min(seen, key=lambda one: one[1].runtime_us)
    assert numbers(best[0]) == BEST
    reached = next(i for i, one in enumerate(seen) if one[1].runtime_us == best[1].runtime_us)
    assert reached < 60
    assert len({action for action, _ in seen}) == len(seen)


def test_without_anything_to_change_it_ends(judge, environment):
    bare = "import torch\nimport triton\n\n\ndef softmax(x):\n    return x\n"
    env = environment()
    env.task = dataclasses.replace(env.task, starter=bare)
    judge.evaluate = lambda task, source, **options: Outcome(status=Status.INCORRECT)
    assert len(played(env, 50)) < 5


def test_knobs_are_searched_too(stubbed):
    env = gym.make("TritonTune-softmax-v0")
    agent = SteadyState(env, seed=1)
    agents.play(agent, env, 20, seed=1)
    assert not agent.exhausted
    assert len(agent.upcoming()) == 8
    assert all(np.asarray(one).dtype == np.int64 for one in agent.upcoming())
