"""Two processes that train together take the step that one with all the samples takes."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from triton_gym.agents.grpo.batch import Sample
from triton_gym.agents.grpo.settings import ObjectiveSettings
from triton_gym.agents.grpo.update import Updater
from triton_gym.agents.policy.models import load_policy
from triton_gym.agents.policy.settings import PolicySettings
from triton_gym.agents.training.journal import read_lines
from triton_gym.agents.training.optimizer import Optimizer
from triton_gym.agents.training.settings import OptimizerSettings
from triton_gym.agents.training.world import World

pytestmark = pytest.mark.filterwarnings("ignore")


def samples():
    rng = random.Random(0)
    return [
        Sample(
            tuple(rng.randrange(6, 90) for _ in range(rng.randrange(2, 9))),
            reply := tuple(rng.randrange(6, 90) for _ in range(rng.randrange(1, 12))),
            (-4.5,) * len(reply),
            rng.uniform(-1, 1),
        )
        for _ in range(7)
    ]


def updated(path=None):
    """Weights and metrics after one update on this process's share of the samples."""
    world = World()
    policy = load_policy(PolicySettings(model="tiny-random", device="cpu"), seed=0)
    settings = OptimizerSettings(lr=1e-2, eps=1e-2)  # no signs of tiny gradients
    updater = Updater(
        policy=policy, optimizer=Optimizer(policy.model.parameters(), settings, world),
        objective=ObjectiveSettings(variant="dapo"), world=world, temperature=1.0, longest=12,
        micro_tokens=40,
    )  # fmt: skip
    metrics = updater.update(samples()[world.rank :: world.size], 1e-2)
    weights = {k: v.clone() for k, v in policy.model.state_dict().items()}
    if path:
        torch.save({"weights": weights, "metrics": metrics}, f"{path}.{world.rank}")
        assert world.gather(world.rank) == list(range(world.size))
        world.wait()
    return weights, metrics


def together(call):
    """Two processes that know of each other and call a function of this file."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
    code += f"import test_grpo_world; test_grpo_world.{call}"
    return [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
                 "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1",
                 "CUDA_VISIBLE_DEVICES": ""},
        )
        for rank in range(2)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def alone():
    """See `updated`, of one process."""
    return updated()


@pytest.fixture(scope="module")
def pair(tmp_path_factory, alone):
    """The folder that two processes have written to: both tests look at what one pair did."""
    folder = tmp_path_factory.mktemp("pair")
    assert [process.wait(200) for process in together(f"both({str(folder)!r})")] == [0, 0]
    return folder


def test_two_processes_step_like_one(pair, alone):
    alone, metrics = alone
    for rank in range(2):
        found = torch.load(pair / f"state.{rank}")
        for name, value in alone.items():
            torch.testing.assert_close(found["weights"][name], value, atol=1e-5, rtol=1e-4)
        assert found["metrics"]["gradient_norm"] == pytest.approx(
            metrics["gradient_norm"], rel=1e-4
        )
        assert found["metrics"]["entropy"] == pytest.approx(metrics["entropy"], rel=1e-4)


def run(folder):
    """A short run that is examined, and keeps its best policy."""
    from test_grpo import train

    train(folder, "rollout.replies=12", "held_out.every=2", "held_out.envs=Knobs",
          "held_out.tasks=2", "held_out.tries=4", "held_out.temperature=1.0", "run.steps=6",
          "run.save_every=50", "run.keep=1")  # fmt: skip


def both(folder):
    """An update, then a run."""
    updated(f"{folder}/state")
    run(f"{folder}/run")


def test_two_processes_agree_on_what_is_best(pair):
    """Only one writes, but both must know when."""
    lines = read_lines(pair / "run" / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 7))
    rewards = {line["step"]: line["held_out/reward"] for line in lines if "held_out/reward" in line}
    assert set(rewards) == {2, 4, 6}
    best = max(rewards, key=lambda step: (rewards[step], -step))
    assert (pair / "run" / "checkpoints" / "best").resolve().name == f"step-{best:06d}"
