"""Conformance of every registered id, on the simulated device."""

from __future__ import annotations

import functools
import math
import re
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import triton_gym
from triton_gym import InvalidOptionError, knobs, registration
from triton_gym.evaluation.service.protocol import EvaluatorWrapper
from triton_gym.outcome import NUMBERS, Outcome, Status

IDS = sorted(i for i in gym.registry if i.startswith(("TritonKernel-", "TritonTune-")))
IDS.remove("TritonTune-any-v0")  # recorded: tests/tuning looks after it
"""`TritonTune-any-v0` among them: recorded, so tests/tuning looks after it."""
INFO = {
    "status", "message", "compiled", "correct", "runtime_us", "baseline_us", "speedup", "roofline",
    "max_error", "tolerance", "coverage", "registers", "spills", "shared_bytes", "evaluation_s",
    "time_source", "source",
}  # fmt: skip


def make(name, evaluator, **options):
    return gym.make(name, evaluator=evaluator, **options)


def test_every_task_has_both_ids():
    families = registration.families()
    assert len(IDS) == 2 * len(triton_gym.tasks()) + len(families)
    assert len(triton_gym.tasks()) >= 9


def test_a_tag_selects_tasks_and_each_gets_an_environment(evaluator):
    matrices = triton_gym.tasks(tag="matrix")
    assert "matmul" in matrices
    assert "softmax" not in matrices
    with pytest.raises(triton_gym.InvalidOptionError, match="Did you mean 'matrix'"):
        triton_gym.tasks(tag="matrx")
    envs = gym.make_vec("TritonKernel-softmax-v0", tasks=matrices, evaluator=evaluator)
    assert [env.task.name for env in envs.envs] == list(matrices)
    envs.close()


@pytest.mark.sampled
@pytest.mark.parametrize("name", IDS)
def test_gymnasium_check(name, evaluator):
    env = make(name, sparing(name, evaluator))
    with warnings.catch_warnings():
        # Observations have no bounds, and check_env says so.
        warnings.filterwarnings("ignore", message=".*(infinity|Box observation).*")
        check_env(env.unwrapped, skip_render_check=False)


@pytest.mark.sampled
@pytest.mark.parametrize("name", [i for i in IDS if i.startswith("TritonTune")])
def test_stable_baselines_check(name, evaluator):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(make(name, sparing(name, evaluator)).unwrapped)


def sparing(name, evaluator):
    """The checks look at spaces and types in many steps, so all tasks that are tuned but one repeat
    the outcome of their first step."""
    whole = "sum_rows" in name or not name.startswith("TritonTune")
    return evaluator if whole else Repeated(evaluator)


class Repeated(EvaluatorWrapper):
    """Answers every evaluation with the outcome of the first."""

    def __init__(self, evaluator):
        super().__init__(evaluator)
        self._outcome = None

    def evaluate(self, *args, **options):
        self._outcome = self._outcome or super().evaluate(*args, **options)
        return self._outcome


def test_a_step_tells_what_became_of_a_kernel(evaluator):
    env = make("TritonKernel-softmax-v0", evaluator)
    observation, _ = env.reset(seed=0)
    assert "softmax" in observation["task"]
    task = triton_gym.load("softmax")
    assert observation["kernel"] == task.starter
    observation, reward, terminated, truncated, info = env.step(task.expert)
    assert set(info) >= INFO
    assert info["status"] == "correct"
    assert info["source"] == "simulated"
    assert reward == pytest.approx(0.3 + info["speedup"])
    assert not terminated
    assert not truncated
    assert 0 < info["roofline"] <= 1
    assert info["registers"] > 0
    assert observation["kernel"] == task.expert
    assert "correct" in observation["feedback"]
    assert observation in env.observation_space


def test_info_has_the_same_keys_and_types_always(evaluator):
    env = make("TritonKernel-gelu-v0", evaluator)
    env.reset(seed=0)
    task = triton_gym.load("gelu")
    infos = [env.step(action)[4] for action in ("", "import os", "x = 1", task.starter)]
    shapes = [{key: type(value) for key, value in info.items()} for info in infos]
    assert all(shape == shapes[0] for shape in shapes)
    assert all(math.isnan(infos[0][name]) for name in NUMBERS)


def test_the_same_seed_and_actions_give_the_same_everything(evaluator):
    def episode():
        env = make("TritonKernel-layer_norm-v0", evaluator, max_turns=2)
        task = triton_gym.load("layer_norm")
        found = [env.reset(seed=3)]
        found += [env.step(task.starter), env.step(task.expert.replace("1e-5", "1e-2"))]
        return repr(found)

    assert episode() == episode()


def test_an_episode_is_truncated_after_its_turns(evaluator):
    env = make("TritonKernel-softmax-v0", evaluator, max_turns=2)
    env.reset(seed=0)
    assert [env.step("")[3] for _ in range(2)] == [False, True]


def test_edits_change_the_current_kernel(evaluator):
    env = make("TritonKernel-softmax-v0", evaluator, action_mode="edit")
    task = triton_gym.load("softmax")
    env.reset(seed=0, options={"kernel": task.expert})
    name, value = next(iter(knobs.read(task.expert).items()))
    line = next(x for x in task.expert.splitlines() if x.startswith(f"{name} ="))
    edit = f"<<<<<<< SEARCH\n{line}\n=======\n{name} = {task.knobs[name][0]}\n>>>>>>> REPLACE"
    info = env.step(edit)[4]
    assert info["status"] == "correct"
    assert knobs.read(env.unwrapped.kernel)[name] == task.knobs[name][0]
    before = env.unwrapped.kernel
    assert env.step("<<<<<<< SEARCH\nnot there\n=======\n\n>>>>>>> REPLACE")[4]["status"] == (
        "invalid_action"
    )
    assert env.unwrapped.kernel == before
    assert value in task.knobs[name]


def test_tuning_runs_the_chosen_knobs(evaluator):
    env = make("TritonTune-softmax-v0", evaluator)
    env.reset(seed=0)
    choice = np.array([0] * len(env.unwrapped.knobs))
    observation, reward, _, _, info = env.step(choice)
    chosen = {name: values[0] for name, values in env.unwrapped.knobs.items()}
    assert {name: info[name] for name in chosen} == chosen
    assert knobs.read(env.unwrapped.kernel).items() >= chosen.items()
    assert reward > 0
    assert observation.dtype == np.float32


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"action_mode": "diff"}, "edit, kernel"),
        ({"reward": "kevn"}, "Did you mean 'kevin'"),
        ({"baseline": "jit"}, "compile, eager"),
        ({"max_turns": 0}, "1 or more"),
        ({"max_turns": 2.5}, "1 or more; got 2.5"),
        ({"device": "gpu"}, "Allowed: 'auto'"),
        ({"render_mode": "rgb_array"}, "ansi, human"),
        ({"limits": 5}, "triton_gym.Limits"),
        ({"evaluator": 5}, "evaluator must be an Evaluator or one of local"),
        ({"max_episode_step": 5}, "Did you mean 'max_episode_steps'"),
        ({"max_turn": 3}, "Unknown argument 'max_turn'. Did you mean 'max_turns'"),
        ({"store": 3}, "store must be the path of a file; got 3"),
    ],
)
def test_a_wrong_option_says_what_is_allowed(options, told):
    for kind in ("Kernel", "Tune"):
        if "action_mode" not in options or kind == "Kernel":
            with pytest.raises(InvalidOptionError, match=re.escape(told)):
                gym.make(f"Triton{kind}-softmax-v0", **options)
            with pytest.raises(InvalidOptionError, match=re.escape(told)):
                gym.make_vec(f"Triton{kind}-softmax-v0", num_envs=2, **options)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_turns": 0}, "1 or more"), ({"max_turns": 2.5}, "1 or more; got 2.5"),
        ({"max_turn": 3}, "Did you mean 'max_turns'"), ({"num_envs": 1.5}, "1 or more; got 1.5"),
        ({"num_envs": "3"}, "1 or more; got '3'"), ({"num_envs": True}, "1 or more; got True"),
        ({"render_mode": "human"}, "Unknown argument 'render_mode'"),
    ],
)  # fmt: skip
def test_a_wrong_option_of_a_table_says_what_is_allowed(options, told):
    with pytest.raises(InvalidOptionError, match=re.escape(told)):
        gym.make_vec("TritonTune-softmax-v0", **{"num_envs": 2, "device": "recorded", **options})
    for kind in ("Kernel", "Tune") if "num_envs" in options else ():
        with pytest.raises(InvalidOptionError, match=re.escape(told)):
            gym.make_vec(f"Triton{kind}-softmax-v0", device="simulated", **options)


@pytest.mark.parametrize("history", [-1, 1.5, "x", None, True, 1 << 40])
def test_a_history_is_a_number_of_evaluations(history):
    for device in ("recorded", "simulated"):
        with pytest.raises(InvalidOptionError, match="history must be an integer"):
            gym.make("TritonTune-softmax-v0", device=device, history=history)


@pytest.mark.parametrize(
    ("options", "told"), [(3, "must be a dict; got 3"), ("kernel", "must be a dict"), ([1], "a dict"),
                          ({"kernal": ""}, "Did you mean 'kernel'"), ({5: 1}, "Unknown reset option '5'")],
)  # fmt: skip
def test_a_wrong_option_of_a_reset_is_told(stub, options, told):
    for kind in ("Kernel", "Tune"):
        env = gym.make(f"Triton{kind}-softmax-v0", evaluator=stub)
        with pytest.raises(InvalidOptionError, match="reset option" if kind == "Tune" and
                           isinstance(options, dict) else re.escape(told)):  # fmt: skip
            env.reset(seed=0, options=options)


@pytest.mark.parametrize("options", [{"split": "tran"}, {"held_out": True}, {"missing": "nearest"}])
def test_what_chooses_from_a_table_is_refused_where_there_is_none(options):
    for make in (gym.make, functools.partial(gym.make_vec, num_envs=2)):
        with pytest.raises(InvalidOptionError, match="about recorded tables"):
            make("TritonTune-softmax-v0", device="simulated", **options)


def steps_of(env):
    env.reset(seed=0)
    action = "" if isinstance(env.action_space, gym.spaces.Text) else env.action_space.sample()
    return next(n for n in range(1, 99) if env.step(action)[3])


def test_an_episode_is_as_long_as_either_name_says(stub):
    for name in ("TritonKernel-softmax-v0", "TritonTune-softmax-v0"):
        lengths = [
            steps_of(gym.make(name, evaluator=stub, **given))
            for given in (
                {}, {"max_turns": 12}, {"max_episode_steps": 12}, {"max_episode_steps": 3},
                {"max_episode_steps": -1}, {"max_turns": 5, "max_episode_steps": 9},
            )
        ]  # fmt: skip
        assert lengths == [8, 12, 12, 3, 8, 5]
    assert steps_of(gym.wrappers.TimeLimit(gym.make(name, evaluator=stub), 20)) == 20
    envs = gym.make_vec("TritonKernel-softmax-v0", num_envs=2, evaluator=stub, max_episode_steps=2)
    envs.reset(seed=0)
    assert [envs.step(("", ""))[3].all() for _ in range(2)] == [False, True]


@pytest.mark.parametrize(
    "first",
    [[0.9], [True], ["0"], [], [0, 0], [-1], [99], [1 << 70], [None], [np.float64(1)], [np.True_]],
)
def test_a_tuning_action_is_checked_before_it_is_read(first, stub):
    env = gym.make("TritonTune-softmax-v0", evaluator=stub).unwrapped
    env.reset(seed=0)
    others = [0] * (len(env.knobs) - 1)
    for action in ([*first, *others], (*first, *others), np.array([0.0, *others])):
        with pytest.raises(InvalidOptionError, match="one index for each"):
            env.step(action)
    assert not stub.sources
    assert env.step(np.array([1, *others], np.uint8))[4]["status"] == "correct"
    assert env.step([1, *others])[4]["status"] == "correct"


def test_an_equal_action_is_not_evaluated_again_where_outcomes_are_reproducible(stub):
    env = gym.make("TritonTune-softmax-v0", evaluator=stub)
    env.reset(seed=0)
    one, two = (np.full(len(env.unwrapped.knobs), index) for index in (1, 0))
    first, again, other = (env.step(action) for action in (one, one, two))
    assert first[1] == again[1]
    assert first[4]["runtime_us"] == again[4]["runtime_us"] != other[4]["runtime_us"]
    assert len(stub.sources) == 2
    env.reset()
    env.step(one)
    assert len(stub.sources) == 2
    env.reset(seed=1)  # what a seed gives does not depend on what was before it
    env.step(one)
    assert len(stub.sources) == 3


def test_what_a_human_is_shown_can_be_shown(stub, capsys):
    env = gym.make("TritonKernel-softmax-v0", evaluator=stub, render_mode="human")
    env.reset(seed=0, options={"kernel": "x = '\x1b[2J\udcff'\n"})
    assert env.render() is None
    shown = capsys.readouterr().out
    assert "x = '?[2J?'" in shown
    env.step("nonsense(\x1b")
    assert "turn 1" in capsys.readouterr().out


def test_observations_and_messages_hold_nothing_that_breaks_what_reads_them(stub):
    stub.evaluate = lambda task, source, **options: Outcome(
        status=Status.RUNTIME_ERROR, message="é → \x1b[31m \udcff \u202e\r\nline 2"
    )
    env = gym.make("TritonKernel-softmax-v0", evaluator=stub)
    env.reset(seed=0)
    observation, _, _, _, info = env.step("x = 'é\u2028\x0c\x1c'\n")
    assert info["message"] == "é → ?[31m ? ?\nline 2"
    assert observation["kernel"] == "x = 'é?\x0c?'\n"
    assert observation in env.observation_space
    for name in ("task", "kernel", "feedback"):
        space = env.observation_space[name]
        assert set(observation[name]) <= space.character_set
        flat = gym.spaces.flatten(space, observation[name])
        assert gym.spaces.flatten_space(space).contains(flat)
        text = "".join(space.character_list[i] for i in flat[: len(observation[name])])
        assert text == observation[name]
    flattened = gym.wrappers.FlattenObservation(env)
    assert flattened.reset(seed=0)[0] in flattened.observation_space


def vector_observations(envs):
    starter = triton_gym.load("softmax").starter
    observations, _ = envs.reset(seed=5)
    assert list(observations["kernel"]) == [starter] * 2
    observations, rewards, _, _, infos = envs.step((starter, "nonsense("))
    assert list(observations["kernel"]) == [starter, "nonsense("]
    assert [str(s) for s in infos["status"]] == ["correct", "invalid_action"]
    assert rewards[0] > 0 == rewards[1]
    return [str(f) for f in observations["feedback"]], infos["runtime_us"][0]


def test_vector_modes_agree():
    found = []
    for mode in ("sync", "async", "vector_entry_point"):
        envs = gym.make_vec(
            "TritonKernel-softmax-v0", num_envs=2, vectorization_mode=mode, device="simulated"
        )
        try:
            found.append(vector_observations(envs))
        finally:
            envs.close()
    assert found[0] == found[1] == found[2]


def test_a_vector_env_resets_what_is_over():
    envs = gym.make_vec("TritonKernel-softmax-v0", num_envs=2, device="simulated", max_turns=1)
    try:
        envs.reset(seed=0)
        assert envs.step(("", ""))[3].all()
        observations, _, _, truncated, _ = envs.step(("ignored", "ignored"))
        assert not truncated.any()
        assert all("starting kernel" in text for text in observations["feedback"])
    finally:
        envs.close()


def test_a_vector_env_works_on_several_tasks_with_an_evaluator_of_ones_own(evaluator):
    envs = gym.make_vec(
        "TritonKernel-softmax-v0", num_envs=3, tasks=["softmax", "sum_rows"], evaluator=evaluator
    )
    observations, _ = envs.reset(seed=0)
    tasks = [triton_gym.load(name) for name in ("softmax", "sum_rows", "softmax")]
    assert list(observations["kernel"]) == [task.starter for task in tasks]
    infos = envs.step(tuple(task.starter for task in tasks))[4]
    assert [str(status) for status in infos["status"]] == ["correct"] * 3
    envs.close()
    assert evaluator.evaluate(tasks[1], tasks[1].starter).correct  # it was not closed


def test_an_interrupted_step_of_a_vector_env_was_taken_by_none(stub):
    from concurrent.futures import Future

    begun = []

    class Interrupted(Future):
        def result(self, timeout=None):
            raise KeyboardInterrupt

    def submit(task, source, **options):
        future = Interrupted() if len(begun) == 2 else Future()
        if len(begun) < 2:
            future.set_result(stub.evaluate(task, source, **options))
        begun.append(future)
        return future

    stub.submit = submit
    envs = gym.make_vec("TritonKernel-softmax-v0", num_envs=4, evaluator=stub)
    envs.reset(seed=1)
    states = [repr(env.np_random.bit_generator.state) for env in envs.envs]
    actions = tuple(f"{triton_gym.load('softmax').starter}# {i}\n" for i in range(4))
    with pytest.raises(KeyboardInterrupt):
        envs.step(actions)
    assert [future.cancelled() for future in begun] == [False, False, True, True]
    assert [env.outcome for env in envs.envs] == [None] * 4
    assert [repr(env.np_random.bit_generator.state) for env in envs.envs] == states


def test_an_interrupted_step_of_tuning_environments_was_taken_by_none(stub):
    from concurrent.futures import Future

    begun = []

    class Interrupted(Future):
        def result(self, timeout=None):
            raise KeyboardInterrupt

    def submit(task, source, **options):
        future = Interrupted() if len(begun) == 1 else Future()
        if not begun:
            future.set_result(stub.evaluate(task, source, **options))
        begun.append(future)
        return future

    stub.submit = submit
    envs = gym.make_vec("TritonTune-softmax-v0", num_envs=4, evaluator=stub)
    envs.reset(seed=1)
    states = [repr(env.np_random.bit_generator.state) for env in envs.envs]
    actions = np.zeros((4, len(envs.envs[0].knobs)), np.int64)
    actions[:, 0] = [0, 1, 0, 0]  # three are alike, and are evaluated once
    with pytest.raises(KeyboardInterrupt):
        envs.step(actions)
    assert [future.cancelled() for future in begun] == [False, True]
    assert [env.outcome for env in envs.envs] == [None] * 4
    assert [repr(env.np_random.bit_generator.state) for env in envs.envs] == states
    with pytest.raises(InvalidOptionError, match="3 actions"):
        envs.step(actions[:3])


def test_tuning_environments_evaluate_equal_choices_once(stub):
    envs = gym.make_vec("TritonTune-softmax-v0", num_envs=3, evaluator=stub)
    envs.reset(seed=1)
    actions = np.zeros((3, len(envs.envs[0].knobs)), np.int64)
    rewards = envs.step(actions)[1]
    assert len(stub.sources) == 1
    assert len(set(rewards)) == 1
    envs.step(actions)
    assert len(stub.sources) == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"num_envs": 2, "tasks": ["softmax", "gelu", "matmul"]}, "3 tasks"),
        ({"num_envs": 2, "tasks": []}, "0 tasks"),
        ({"num_envs": 1, "tasks": "softmaxx"}, "Unknown task 'softmaxx'"),
        ({"num_envs": 1, "tasks": ["softmaxx"]}, "Did you mean 'softmax'"),
        ({"num_envs": 1, "workers": 3}, "its own workers"),
        ({"num_envs": 1, "store": "outcomes.db"}, "its own store"),
    ],
)
def test_a_vector_env_that_cannot_be_is_refused(options, told, evaluator):
    with pytest.raises(InvalidOptionError, match=told):
        gym.make_vec("TritonKernel-softmax-v0", evaluator=evaluator, **options)
