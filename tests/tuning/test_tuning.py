"""`TritonTune`: actions, observation, rewards and infos, on tables and on a device."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import triton_gym  # noqa: F401
from triton_gym import InvalidOptionError
from triton_gym.tables import files


@pytest.fixture(scope="module")
def folder(made_up, tmp_path_factory):
    where = tmp_path_factory.mktemp("tables")
    files.save(made_up(), where / "softmax.npz")
    files.save(made_up("layer_norm", knobs={"BLOCK": (64, 128), "WARPS": (2, 4)}, seed=1),
               where / "layer_norm.npz")  # fmt: skip
    return where


@pytest.fixture
def make(folder):
    def made(name="softmax", **options):
        return gym.make(f"TritonTune-{name}-v0", device=f"recorded:{folder}", **options)

    return made


@pytest.mark.parametrize("mode", ["configuration", "index", "step"])
@pytest.mark.parametrize("name", ["softmax", "any"])
def test_gymnasium_finds_nothing_wrong(make, mode, name):
    check_env(make(name, action_mode=mode).unwrapped, skip_render_check=True)


def test_a_step_is_the_tables_row(make, folder):
    table = files.load(folder / "softmax.npz")
    env = make().unwrapped
    env.reset(seed=0, options={"case": 2})
    place = int(np.flatnonzero(table.correct[2])[7])
    _, reward, _, _, info = env.step(table.choices[place])
    us = table.measures["runtime_us"][2, place]
    assert info["runtime_us"] == us
    assert info["time_source"] == "recorded"
    assert info["index"] == place
    assert reward == pytest.approx(0.3 + info["speedup"] / max(1, info["roofline"]))
    assert {name: info[name] for name in table.knobs} == table.named(table.choices[place])


def test_every_number_of_the_observation_has_a_name_and_stands_there(make, folder):
    table = files.load(folder / "softmax.npz")
    env = make(history=2).unwrapped
    seen, _ = env.reset(seed=0, options={"case": 3})
    named = dict(zip(env.layout.names, seen, strict=True))
    assert len(set(env.layout.names)) == len(seen)
    assert named["log2_rows"] == math.log2(table.cases[3]["rows"])
    assert named["dtype_bytes"] == 4
    assert named["turn"] == 0
    first, second = (table.choices[i] for i in np.flatnonzero(table.correct[3])[:2])
    env.step(first)
    seen = env.step(second)[0]
    named = dict(zip(env.layout.names, seen, strict=True))
    times = [table.runtime_us[3, table.places[tuple(c)]] for c in (first, second)]
    score = [math.log(table.floor_us[3] / us) for us in times]
    assert named["history_0_score"] == pytest.approx(score[0], abs=1e-5)
    assert named["history_1_score"] == named["last"] == pytest.approx(score[1], abs=1e-5)
    assert named["best"] == pytest.approx(max(score), abs=1e-5)
    assert named["history_1_BLOCK"] == named["knob_BLOCK"] == pytest.approx(second[0] / 3)


def test_nothing_tells_the_optimum(make, made_up, tmp_path):
    """Tables that differ in times nobody asked for look alike."""
    import dataclasses

    table = made_up(failing=0)
    times = table.measures["runtime_us"].copy()
    times[:, 20:] /= 3
    other = dataclasses.replace(table, measures={**table.measures, "runtime_us": times})
    seen = []
    for number, one in enumerate((table, other)):
        files.save(one, tmp_path / str(number) / "softmax.npz")
        env = gym.make("TritonTune-softmax-v0", device=f"recorded:{tmp_path / str(number)}")
        seen.append([env.reset(seed=1)[0], env.step(table.choices[3])[0]])
    np.testing.assert_array_equal(seen[0], seen[1])


@pytest.mark.parametrize(
    "action", [[0.9, 0, 0], [True, False, False], ["1", "0", "0"], [0, 0], [9, 0, 0], [-1, 0, 0], 3]
)
def test_actions_are_checked_before_they_are_read(make, action):
    env = make()
    env.reset(seed=0)
    with pytest.raises(InvalidOptionError, match="action"):
        env.step(np.array(action))


def test_a_configuration_that_was_not_tried_says_so_or_is_the_nearest(made_up, tmp_path):
    table = made_up(missing=0.5)
    files.save(table, tmp_path / "softmax.npz")
    device = f"recorded:{tmp_path}"
    gap = next(choice for choice, there in zip(table.choices, table.present[0], strict=True)
               if not there)  # fmt: skip
    env = gym.make("TritonTune-softmax-v0", device=device)
    env.reset(seed=0, options={"case": 0})
    with pytest.raises(InvalidOptionError, match="not in the table"):
        env.step(gap)
    env = gym.make("TritonTune-softmax-v0", device=device, missing="nearest")
    env.reset(seed=0, options={"case": 0})
    info = env.step(gap)[4]
    assert table.present[0, info["index"]]


@pytest.mark.parametrize("reward", ["best", "improvement", "regret"])
def test_rewards_by_their_definition(make, folder, reward):
    table = files.load(folder / "softmax.npz")
    env = make(reward=reward, max_turns=20, action_mode="index").unwrapped
    env.reset(seed=3, options={"case": 1})
    rewards, times = [], []
    for number in range(20):
        rewards.append(env.step(number)[1])
        times.append(table.runtime_us[1, number])
    best = np.minimum.accumulate(times)
    with np.errstate(divide="ignore"):
        against = np.log(table.best_us[1] / np.array(times))
    reached = np.minimum(1, table.floor_us[1] / best)
    expected = {
        "best": reached,
        "improvement": np.diff(reached, prepend=0.0),
        "regret": np.maximum(-math.log(10), against),
    }[reward]
    np.testing.assert_allclose(rewards, expected)
    if reward == "improvement":
        assert sum(rewards) == pytest.approx(reached[-1])


def test_unique_evaluations_and_what_they_would_have_taken(make):
    env = make(action_mode="index", max_turns=9)
    env.reset(seed=0)
    infos = [env.step(number)[4] for number in (0, 1, 1, 0, 2)]
    assert [info["evaluations"] for info in infos] == [1, 2, 2, 2, 3]
    assert [info["repeated"] for info in infos] == [False, False, True, True, False]
    assert infos[-1]["simulated_s"] == pytest.approx(0.9)


def test_steps_move_one_knob_and_masks_say_where(make):
    env = make(action_mode="step", max_turns=50).unwrapped
    env.reset(seed=0, options={"knobs": {"BLOCK": 64, "WARPS": 8, "STAGES": 2}})
    assert env.action_masks().tolist() == [False, True, True, False, True, True]
    assert env.step(1)[4]["BLOCK"] == 128
    assert env.step(2)[4]["WARPS"] == 4


def test_any_draws_task_and_shape_and_pads_what_they_lack(make):
    env = make("any", max_turns=2).unwrapped
    drawn = {env.reset(seed=seed)[1]["task"] for seed in range(12)}
    assert drawn == {"softmax", "layer_norm"}
    env.reset(seed=0, options={"task": "layer_norm"})
    masks = env.action_masks()
    assert masks.sum() == 2 + 2 + 1  # the padded knob has one value
    info = env.step(np.array([1, 1, 2]))[4]
    assert (info["task"], info["BLOCK"], info["WARPS"]) == ("layer_norm", 128, 4)


@pytest.mark.parametrize("mode", ["configuration", "index"])
@pytest.mark.parametrize("reward", ["kevin", "best", "improvement", "regret"])
@pytest.mark.filterwarnings("error")
def test_the_vector_environment_says_what_the_single_ones_say(make, folder, mode, reward):
    given = {"reward": reward, "max_turns": 3, "action_mode": mode}
    vector = gym.make_vec(
        "TritonTune-softmax-v0", num_envs=5, device=f"recorded:{folder}", **given
    )  # fmt: skip
    seen, _ = vector.reset(seed=0)
    rng = np.random.default_rng(0)
    envs = [make(**given).unwrapped for _ in range(5)]
    for _ in range(2):  # episodes
        for env, case in zip(envs, vector.unwrapped._case, strict=True):
            env.reset(seed=0, options={"case": int(case)})
        for _ in range(3):
            if mode == "index":
                actions = rng.integers(36, size=5)
            else:
                actions = np.stack([rng.integers([4, 3, 3]) for _ in range(5)])
            seen, rewards, _, over, infos = vector.step(actions)
            for index, env in enumerate(envs):
                one, reward, _, truncated, info = env.step(actions[index])
                np.testing.assert_allclose(seen[index], one, atol=1e-6)
                assert rewards[index] == pytest.approx(reward)
                assert over[index] == truncated
                for name in ("status", "correct", "evaluations", "repeated", "index", "turn"):
                    assert infos[name][index] == info[name]
                assert infos["simulated_s"][index] == pytest.approx(info["simulated_s"])
                np.testing.assert_equal(infos["speedup"][index], float(info["speedup"]))
        wrong = np.full_like(actions, 99)  # what resets is not read
        seen, rewards, _, over, infos = vector.step(wrong)
        assert not over.any()
        assert (rewards == 0).all()
        assert (seen[:, vector.unwrapped._layout.turn] == 0).all()
        assert (infos["evaluations"] <= 3).all()


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.uint64])
def test_actions_may_be_of_any_integers(folder, kind):
    found = []
    for one in (np.int64, kind):
        vector = gym.make_vec("TritonTune-softmax-v0", num_envs=2, device=f"recorded:{folder}")
        vector.reset(seed=0)
        found.append(vector.step(np.array([[0, 1, 2], [3, 2, 1]], one))[4]["index"])
    assert (found[0] == found[1]).all()


def test_a_vector_environment_names_the_action_that_is_wrong(folder):
    vector = gym.make_vec("TritonTune-softmax-v0", num_envs=2, device=f"recorded:{folder}")
    vector.reset(seed=0)
    with pytest.raises(InvalidOptionError, match="whole numbers"):
        vector.step(np.zeros((2, 3)))
    with pytest.raises(InvalidOptionError, match="not in the table"):
        vector.step(np.array([[0, 0, 0], [7, 0, 0]]))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"action_mode": "mixed"}, "configuration"), ({"reward": "regert"}, "regret|kevin"),
     ({"split": "big"}, "largest"), ({"max_turns": 0}, "max_turns"), ({"missing": "x"}, "nearest"),
     ({"store": "a.db"}, "evaluates nothing")],
)  # fmt: skip
def test_options_are_checked_when_it_is_made(make, options, said):
    with pytest.raises(InvalidOptionError, match=said):
        make(**options)


def test_a_task_without_a_table_is_named(folder):
    with pytest.raises(InvalidOptionError, match="matmul"):
        gym.make("TritonTune-matmul-v0", device=f"recorded:{folder}")
    with pytest.raises(InvalidOptionError, match="TritonTune"):
        gym.make("TritonKernel-softmax-v0", device="recorded")


def test_on_a_device_the_same_names_and_keys(evaluator, make):
    env = gym.make("TritonTune-softmax-v0", evaluator=evaluator, max_turns=2)
    env.reset(seed=0)
    seen, reward, _, _, info = env.step(env.action_space.sample())
    assert seen in env.observation_space
    assert info["status"] == "correct"
    assert reward > 0.3
    recorded = make()
    recorded.reset(seed=0)
    theirs = recorded.step(np.array([0, 0, 0]))[4]
    own = {"BLOCK", "ROWS", "NUM_WARPS", "PROGRAMS", "STAGES", "WARPS"}
    assert set(info) - own == set(theirs) - own
    with pytest.raises(InvalidOptionError, match="optimum"):
        gym.make("TritonTune-softmax-v0", evaluator=evaluator, reward="regret")


def test_the_shipped_tables_are_complete_on_their_test_shapes_and_can_be_stepped():
    for name in files.tables():
        table = files.table_of(name)
        named = set(table.card["test_cases"])
        for index, case in enumerate(table.cases):
            if str(case) in named:
                assert table.complete(index)
                assert len(table.choices) == np.prod([len(v) for v in table.knobs.values()])
        assert table.card["time_source"] == "measured"
        env = gym.make(f"TritonTune-{name}-v0", device="recorded", reward="regret")
        env.reset(seed=0)
        _, reward, *_, info = env.step(env.action_space.sample())
        assert reward <= 0
        assert info["task"] == name


def test_a_reward_is_the_same_in_every_episode(made_up, tmp_path):
    files.save(made_up(), tmp_path / "softmax.npz")
    env = gym.make("TritonTune-softmax-v0", device=f"recorded:{tmp_path}")
    action = np.zeros(3, np.int64)
    seen: dict[int, set[float]] = {}
    for episode in range(12):
        env.reset(seed=episode)
        reward = env.step(action)[1]
        seen.setdefault(env.unwrapped.case_index, set()).add(reward)
    assert len(seen) > 2
    assert all(len(rewards) == 1 for rewards in seen.values())
    assert len(set().union(*seen.values())) > 1


def test_an_action_of_another_shape_is_refused_also_where_it_was_asked_before(make):
    env = make()
    env.reset(seed=0)
    action = np.array([1, 0, 0])
    env.step(action)
    for wrong in (action[None], action.astype(float), action.astype(bool), [1.0, 0, 0], "100"):
        with pytest.raises(InvalidOptionError, match="action"):
            env.step(wrong)
    assert env.step([1, 0, 0])[4]["repeated"]


def test_what_an_agent_does_with_its_observation_changes_no_other(make):
    env = make(history=2)
    first, _ = env.reset(seed=0)
    seen = env.step(np.array([1, 0, 0]))[0]
    kept = seen.copy()
    first[:] = 7.0
    env.step(np.array([0, 0, 1]))[0][:] = 9.0
    np.testing.assert_array_equal(seen, kept)
    assert seen.flags.writeable
    assert env.observation_space.contains(env.step(np.array([1, 0, 0]))[0])
