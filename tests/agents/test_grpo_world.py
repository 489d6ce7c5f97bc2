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


def test_two_processes_step_like_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_grpo_world; "
    )
    code += f"test_grpo_world.updated({str(tmp_path / 'state')!r})"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
                 "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1",
                 "CUDA_VISIBLE_DEVICES": ""},
        )
        for rank in range(2)
    ]  # fmt: skip
    alone, metrics = updated()
    assert [process.wait(200) for process in processes] == [0, 0]
    for rank in range(2):
        found = torch.load(tmp_path / f"state.{rank}")
        for name, value in alone.items():
            torch.testing.assert_close(found["weights"][name], value, atol=1e-5, rtol=1e-4)
        assert found["metrics"]["gradient_norm"] == pytest.approx(
            metrics["gradient_norm"], rel=1e-4
        )
        assert found["metrics"]["entropy"] == pytest.approx(metrics["entropy"], rel=1e-4)
