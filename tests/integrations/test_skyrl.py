"""SkyRL-gym: the environment made by its own `make`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import skyrl_gym

from triton_gym import InvalidOptionError
from triton_gym.integrations.skyrl import register, rows

DEVICE = {"device": "simulated"}


def make(task="softmax", **extras):
    register()
    return skyrl_gym.make(register(), env_config=DEVICE, extras={"task": task, **extras})


def test_an_episode_of_two_turns(answers):
    env = make(max_turns=2, seed=3)
    messages, about = env.init([])
    assert about == {"task": "softmax"}
    assert [m["role"] for m in messages] == ["system", "user"]
    step = env.step(answers["zeros"])
    assert (step["reward"], step["done"]) == (0.0, False)
    assert step["observations"][0]["role"] == "user"
    step = env.step(answers["expert"])
    assert step["reward"] > 0.3
    assert step["done"]
    assert env.get_metrics()["correct"] == 1.0
    env.close()


@pytest.mark.parametrize("kind", ["empty", "prose", "huge"])
def test_a_reply_without_a_kernel_has_no_reward(answers, kind):
    env = make()
    env.init([])
    step = env.step(answers[kind])
    assert (step["reward"], step["done"]) == (0.0, True)


def test_two_episodes_at_once_are_apart_and_one_may_be_left(answers):
    one, two = make(max_turns=2), make("sum_rows", max_turns=2)
    one.init([])
    two.init([])
    one.step(answers["zeros"])
    one.close()  # its client is gone
    assert two.step(answers["empty"])["metadata"]["turn"] == 1
    assert "sum_rows" in two.step(answers["expert"])["metadata"]["message"]


def test_two_sessions_at_once_one_of_which_is_closed_in_the_middle(answers):
    """SkyRL's generator steps its environments in threads."""
    one, two = make(seed=1), make(seed=2)
    one.init([])
    two.init([])
    with ThreadPoolExecutor(2) as threads:
        left, stayed = (threads.submit(env.step, answers["expert"]) for env in (one, two))
        one.close()
        assert stayed.result()["reward"] > 0.3
        assert left.result()["metadata"]["status"] == "correct"


def test_an_episode_goes_on_when_its_judge_is_killed(dying, answers):
    env = skyrl_gym.make(
        register(), env_config={"evaluator": dying}, extras={"task": "softmax", "max_turns": 2}
    )
    env.init([])
    assert env.step(answers["expert"])["metadata"]["status"] == "correct"
    assert not env.step(answers["zeros"])["metadata"]["correct"]


def test_a_name_that_nobody_registered_is_named():
    with pytest.raises(Exception, match="triton_kernels"):
        skyrl_gym.make("triton_kernels", env_config=DEVICE, extras={"task": "softmax"})
    with pytest.raises(InvalidOptionError, match="softmax"):
        make("softmx")


def test_a_row_without_a_task_is_refused():
    with pytest.raises(InvalidOptionError, match="extra_info"):
        skyrl_gym.make(register(), env_config=DEVICE, extras={})


def test_rows_are_the_data_set():
    (row, again) = rows(["softmax"], each=2)
    assert row["env_class"] == register()
    assert row["extra_info"] == {"task": "softmax", "seed": 0}
    assert again["extra_info"]["seed"] == 1
    assert "softmax" in row["prompt"][-1]["content"]


def test_the_example(run_example):
    assert "correct" in run_example("skyrl_episode", "--device", "simulated")
