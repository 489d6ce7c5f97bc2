"""RLlib's PPO over a tuning environment."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")


def test_ppo_takes_a_step_on_the_simulated_device_and_its_judge_is_killed(killed):
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
        with killed(pause_s=1.0):
            result = algorithm.train()
    finally:
        algorithm.stop()
    assert result["env_runners"]["num_env_steps_sampled"] >= 8
    assert result["env_runners"]["episode_return_mean"] > 0


def test_ppo_learns_on_a_recorded_table(tmp_path):
    """The last returns are better than the first ones by more than these differ."""
    import importlib.util

    from ray.rllib.algorithms.ppo import PPOConfig

    from triton_gym.integrations.rllib import register
    from triton_gym.tables import files

    made_up = Path(__file__).parents[1] / "tables" / "made_up.py"
    spec = importlib.util.spec_from_file_location("made_up", made_up)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    files.save(module.made_up(), tmp_path / "softmax.npz")
    config = (
        PPOConfig()
        .environment(
            register("softmax", device=f"recorded:{tmp_path}", reward="roofline", max_turns=4)
        )
        .env_runners(num_env_runners=0)
        .training(train_batch_size=256, minibatch_size=64, num_epochs=8, lr=3e-3, gamma=0.0)
        .rl_module(model_config={"fcnet_hiddens": [32]})
        .debugging(seed=0)
    )
    algorithm = config.build_algo()
    try:
        returns = [algorithm.train()["env_runners"]["episode_return_mean"] for _ in range(12)]
    finally:
        algorithm.stop()
    assert sum(returns[-3:]) / 3 > 1.2 * sum(returns[:3]) / 3, returns


def test_two_runners_step_at_once_and_a_wrong_choice_is_a_clear_error():
    from triton_gym import InvalidOptionError
    from triton_gym.integrations.rllib import make, register

    name = register("softmax", device="recorded")
    one, two = (make(name, device="recorded") for _ in range(2))
    one.reset(seed=0)
    two.reset(seed=1)
    action = one.action_space.sample()
    one.step(action)
    two.step(action)
    one.close()  # its runner is gone
    assert two.step(action)[4]["status"]
    with pytest.raises(InvalidOptionError, match="not one index for each knob"):
        two.step([10**6] * len(action))


def test_an_unknown_task_is_refused_at_once():
    from triton_gym import InvalidOptionError
    from triton_gym.integrations.rllib import register

    with pytest.raises(InvalidOptionError, match="softmax"):
        register("softmx")


def test_the_example(run_example):
    printed = run_example("rllib_ppo", "--device", "simulated", "--iterations", "1", "--batch", "4")
    assert "mean return" in printed
