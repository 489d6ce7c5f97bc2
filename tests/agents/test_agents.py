"""Agents by name, and what each does in its environments."""

from __future__ import annotations

import importlib.util
import sys

import gymnasium as gym
import pytest

import triton_gym
from triton_gym import agents

SEARCHES = ["random", "evolution", "steady-state"]
LEARNERS = ["ppo", "a2c", "dqn"]
needs_sb3 = pytest.mark.skipif(
    importlib.util.find_spec("stable_baselines3") is None, reason="needs the extra sb3"
)


def played(name, env_id, steps, seed=0, **options):
    """Actions, rewards and infos of an agent's steps."""
    seen = []

    class Watched(gym.Wrapper):
        def step(self, action):
            result = self.env.step(action)
            seen.append((action, result[1], result[4]))
            return result

    env = Watched(gym.make(env_id, **options))
    agents.play(agents.load(name)(env, seed=seed), env, steps, seed=seed)
    return seen


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("mode", ["kernel", "edit"])
def test_searches_submit_what_the_environment_takes(name, mode, stubbed):
    seen = played(name, "TritonKernel-softmax-v0", 20, action_mode=mode)
    statuses = [info["status"] for _, _, info in seen]
    assert len(seen) == 20
    assert "invalid_action" not in statuses
    assert len(set(stubbed.sources)) > 10


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("kind", ["TritonKernel", "TritonTune"])
def test_the_same_seed_does_the_same_and_another_something_else(name, kind, stubbed):
    def actions(seed):
        seen = played(name, f"{kind}-softmax-v0", 30, seed)
        return [str(action) for action, _, _ in seen]

    assert actions(3) == actions(3)
    assert actions(3) != actions(4)


def test_modes_explore_the_same_kernels(stubbed):
    played("evolution", "TritonKernel-softmax-v0", 12, action_mode="kernel")
    whole, stubbed.sources = stubbed.sources, []
    played("evolution", "TritonKernel-softmax-v0", 12, action_mode="edit")
    assert stubbed.sources == whole


@pytest.mark.parametrize("env_id", ["TritonKernel-softmax-v0", "TritonTune-softmax-v0"])
def test_evolution_beats_random_search(env_id, stubbed):
    def late(name):
        return sum(reward for _, reward, _ in played(name, env_id, 60)[-20:])

    assert late("evolution") > late("random")


def test_evolution_submits_nothing_twice(stubbed):
    seen = played("evolution", "TritonKernel-matmul-v0", 50)
    assert len({action for action, _, _ in seen}) == 50


def test_evolution_starts_with_the_kernel_it_is_given(stubbed):
    seen = played("evolution", "TritonKernel-softmax-v0", 1)
    assert seen[0][0] == triton_gym.load("softmax").starter


def test_evolution_goes_on_when_nothing_is_correct(stubbed, monkeypatch):
    failed = triton_gym.Outcome(status=triton_gym.Status.INCORRECT)
    monkeypatch.setattr(stubbed, "evaluate", lambda *args, **options: failed)
    assert len(played("evolution", "TritonKernel-softmax-v0", 15)) == 15


@needs_sb3
@pytest.mark.parametrize("name", LEARNERS)
def test_learners_take_exactly_the_steps_and_repeat_themselves(name, stubbed):
    def actions():
        return [list(action) for action, _, _ in played(name, "TritonTune-softmax-v0", 37)]

    first = actions()
    assert len(first) == 37
    assert first == actions()


@needs_sb3
def test_a_learner_learns(stubbed):
    seen = [reward for _, reward, _ in played("ppo", "TritonTune-softmax-v0", 400)]
    assert sum(seen[-80:]) > sum(seen[:80])


@needs_sb3
@pytest.mark.parametrize("name", LEARNERS)
def test_learners_say_which_ids_they_take(name, stubbed):
    with pytest.raises(triton_gym.InvalidOptionError, match="TritonTune-softmax-v0"):
        agents.load(name)(gym.make("TritonKernel-softmax-v0"), seed=0)


def test_a_missing_library_is_named(stubbed, monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(triton_gym.InvalidOptionError, match=r"triton-gym\[sb3\]"):
        agents.load("ppo")(gym.make("TritonTune-softmax-v0"), seed=0)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("evolutoin", "Did you mean 'evolution'"),
        ("no_such_module:Agent", "no module 'no_such_module'"),
        ("json:Agent", "has no 'Agent'"),
        ("json:JSONDecoder", "no method `act"),
    ],
)
def test_unknown_agents(name, told):
    with pytest.raises(triton_gym.InvalidOptionError, match=told):
        agents.load(name)


def test_a_missing_import_of_an_agent_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "broken_agent.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        agents.load("broken_agent:Agent")


def test_searches_refuse_foreign_environments():
    with pytest.raises(triton_gym.InvalidOptionError, match="TritonKernel and TritonTune"):
        agents.load("random")(gym.make("CartPole-v1"), seed=0)
