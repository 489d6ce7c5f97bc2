"""RLlib's PPO over a tuning environment."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")


def test_ppo_takes_a_step_on_the_simulated_device():
    from ray.rllib.algorithms.ppo import PPOConfig

    from triton_gym.integrations.rllib import register

    config = (
        PPOConfig()
        .environment(register("softmax", device="simulated", max_turns=4))
        .env_runners(num_env_runners=0)
        .training(train_batch_size=8, minibatch_size=4, num_epochs=1)
        .rl_module(model_config={"fcnet_hiddens": [16]})
    )
    algorithm = config.build_algo()
    try:
        result = algorithm.train()
    finally:
        algorithm.stop()
    assert result["env_runners"]["num_env_steps_sampled"] >= 8
    assert result["env_runners"]["episode_return_mean"] > 0


def test_an_unknown_task_is_refused_at_once():
    from triton_gym import InvalidOptionError
    from triton_gym.integrations.rllib import register

    with pytest.raises(InvalidOptionError, match="softmax"):
        register("softmx")


def test_the_example(run_example):
    printed = run_example("rllib_ppo", "--device", "simulated", "--iterations", "1", "--batch", "4")
    assert "mean return" in printed
