"""A policy over configurations that is learned on many shapes, for shapes that it has not seen.

A network reads a configuration on a shape (knobs, sizes, and what follows from both) and says by
how much its time is above the shape's median (its logarithm, m) and where it lies among others (an
embedding z). After the evaluations H of an episode, with e_i what an evaluated one took beyond m_i
and beyond the mean of these, the policy is

    π(c | H) ∝ exp(-(m_c + Σ_i k_ci e_i / (λ + Σ_i k_ci) - κ / (λ + Σ_i k_ci)) / τ),
    k_ci = exp(-|z_c - z_i|²),

over the configurations that were not tried: what is near something that was worse than expected
loses, and what is far from everything that was tried gains κ. All of it is trained:

1. by regression of m, and at the same time the expected reward of the first guess, whose gradient
   is computed exactly, since a table tells every action's reward (Sutton et al., NeurIPS 2000, the
   policy gradient theorem, with the sum over actions carried out), with an entropy bonus;
2. by REINFORCE (Williams, Machine Learning 8, 1992) on episodes of `TURNS` evaluations on the
   train shapes. The reward of an evaluation is by how much it raises the best fraction of the
   optimum; the baseline is the mean over episodes of the same shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from triton_gym.tables.table import Table

from .launch_features import launch_features
from .protocol import Environment
from .shape_features import features, relative_times
from .transfer import Transfer, recorded_tables

TURNS = 6
"""Evaluations of an episode of training."""
EPISODES = 4
"""On each shape, in a step of the second stage."""
FIRST_STEPS, SECOND_STEPS = 200, 20
"""Steps of either stage."""
WIDTH, EMBEDDING = 48, 8
ENTROPY = 0.02
"""Weight of the entropy in the first stage, whose rewards are from 0 to 1."""
AT_ONCE = 32
"""Most shapes of a step."""
NETWORKS = 3
"""Of which the mean counts."""


class Network(torch.nn.Module):
    """What is learned.

    Args:
        rows: (N, F) features of the train shapes. What lies beyond theirs counts as theirs: a
            network says nothing sensible there.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    def __init__(self, rows: torch.Tensor) -> None:
        super().__init__()
        mean = rows.mean(0)
        self.register_buffer("mean", mean)
        self.register_buffer("scale", rows.std(0).clamp_min(1e-3))
        self.register_buffer("low", rows.min(0).values)
        self.register_buffer("high", rows.max(0).values)
        self.body = torch.nn.Sequential(
            torch.nn.Linear(rows.shape[1], WIDTH), torch.nn.GELU(),
            torch.nn.Linear(WIDTH, WIDTH), torch.nn.GELU(),
        )  # fmt: skip
        self.head = torch.nn.Linear(WIDTH, 1 + EMBEDDING)
        self.log_tau = torch.nn.Parameter(torch.tensor(math.log(0.05)))
        self.log_lambda = torch.nn.Parameter(torch.tensor(0.0))
        self.log_kappa = torch.nn.Parameter(torch.tensor(math.log(0.02)))

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """m (..., C) and z (..., C, E) of features (..., C, F)."""
        inside = inputs.clamp(self.low, self.high)
        found = self.head(self.body((inside - self.mean) / self.scale))
        return found[..., 0], found[..., 1:]

    def logits(
        self, m: torch.Tensor, z: torch.Tensor, tried: torch.Tensor, costs: torch.Tensor
    ) -> torch.Tensor:
        """(..., C): of the policy, with those that were tried too.

        Args:
            m: (..., C).
            z: (..., C, E).
            tried: (..., H) places of the evaluated ones.
            costs: (..., H) logarithms of their times, to any base level.
        """
        lam, kappa = self.log_lambda.exp(), self.log_kappa.exp()
        if tried.shape[-1]:
            places = tried[..., None].expand(*tried.shape, z.shape[-1])
            near = torch.cdist(z, z.gather(-2, places)).square().neg().exp()  # (..., C, H)
            error = costs - m.gather(-1, tried)
            error = error - error.mean(-1, keepdim=True)
            weight = lam + near.sum(-1)
            m = m + (near @ error[..., None])[..., 0] / weight - kappa / weight
        return -m / self.log_tau.exp()


@dataclass(frozen=True, slots=True)
class Shapes:
    """Train shapes as tensors, padded to the most configurations."""

    inputs: torch.Tensor
    """(S, C, F)"""
    costs: torch.Tensor
    """(S, C): log of the time over the shape's median."""
    rewards: torch.Tensor
    """(S, C): optimum over time, 0 for a failure."""
    known: torch.Tensor
    """(S, C): what was measured."""

    def some(self, generator: torch.Generator) -> Shapes:
        """All shapes, or `AT_ONCE` of them."""
        if len(self.costs) <= AT_ONCE:
            return self
        at = torch.randperm(len(self.costs), generator=generator)[:AT_ONCE]
        return Shapes(self.inputs[at], self.costs[at], self.rewards[at], self.known[at])


def shapes_of(tables: list[Table], *, shared: bool) -> Shapes:
    """The shapes of tables with what was measured on each."""
    inputs, costs, rewards = [], [], []
    for table in tables:
        for case in range(len(table.cases)):
            found = relative_times(table, case)
            at = np.flatnonzero(~np.isnan(found))
            inputs.append((launch_features if shared else features)(table, case)[at])
            costs.append(found[at])
            rewards.append(table.best_us[case] / table.runtime_us[case][at])
    most = max(map(len, costs))

    def padded(parts: list[Any]) -> torch.Tensor:
        full = np.zeros((len(parts), most, *parts[0].shape[1:]), np.float32)
        for row, part in zip(full, parts, strict=True):
            row[: len(part)] = part
        return torch.from_numpy(full)

    known = padded([np.ones(len(one)) for one in costs]) > 0
    return Shapes(padded(inputs), padded(costs), padded(rewards), known)


def train(shapes: Shapes, seed: int) -> Network:
    """A network that was trained on shapes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(shapes.inputs[shapes.known])
    _first_stage(network, shapes, generator)
    _second_stage(network, shapes, generator)
    return network.eval()


def _first_stage(network: Network, shapes: Shapes, generator: torch.Generator) -> None:
    """Regression, and the exact policy gradient of the first guess."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=FIRST_STEPS)
    drawn = torch.rand(shapes.costs.shape, generator=generator)
    seen = replace(shapes, known=shapes.known & (drawn < 0.9))  # each network has another sample
    for _ in range(FIRST_STEPS):
        batch = seen.some(generator)
        kept = batch.known
        m, z = network(batch.inputs)
        wrong = torch.nn.functional.huber_loss(m[kept], batch.costs[kept], delta=0.3)
        nothing = torch.zeros(len(m), 0, dtype=torch.int64)
        logits = network.logits(m, z, nothing, nothing.float())
        log_pi = logits.masked_fill(~kept, -math.inf).log_softmax(-1)
        pi = log_pi.exp()
        entropy = -(pi * log_pi.masked_fill(~kept, 0.0)).sum(-1)
        reward = (pi * batch.rewards).sum(-1)
        loss = wrong - 0.3 * (reward + ENTROPY * entropy).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _second_stage(network: Network, shapes: Shapes, generator: torch.Generator) -> None:
    """REINFORCE on episodes."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
    for _ in range(SECOND_STEPS):
        batch = shapes.some(generator)
        count = len(batch.costs)
        m, z = network(batch.inputs)
        m, z = m.repeat(EPISODES, 1), z.repeat(EPISODES, 1, 1)  # (E·S, C)
        costs, rewards = batch.costs.repeat(EPISODES, 1), batch.rewards.repeat(EPISODES, 1)
        open_ = batch.known.repeat(EPISODES, 1)
        tried = torch.zeros(len(m), 0, dtype=torch.int64)
        best = torch.zeros(len(m))
        gained, said = [], []
        for _ in range(min(TURNS, int(batch.known.sum(-1).min()))):
            logits = network.logits(m, z, tried, costs.gather(-1, tried))
            log_pi = logits.masked_fill(~open_, -math.inf).log_softmax(-1)
            chosen = torch.multinomial(log_pi.detach().exp(), 1, generator=generator)
            said.append(log_pi.gather(-1, chosen)[:, 0])
            now = torch.maximum(best, rewards.gather(-1, chosen)[:, 0])
            gained.append(now - best)
            best = now
            tried = torch.cat([tried, chosen], -1)
            open_ = open_.scatter(-1, chosen, False)
        togo = torch.stack(gained).flip(0).cumsum(0).flip(0).view(-1, EPISODES, count)
        advantage = (togo - togo.mean(1, keepdim=True)).view(len(gained), -1)
        loss = -(advantage * torch.stack(said)).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()


class AmortisedPolicy(Transfer):
    """The policy; it tries what is most likely, without chance.

    Args:
        env: `TritonTune` on a recorded table.
        seed: of nothing: what is learned has one of its own.
        learned: what `pretrain` returned.
    """

    @classmethod
    def pretrain(cls, env: Environment, *, seed: int) -> Any:
        """The networks, and whether they read what all tasks share."""
        tables = recorded_tables(env)
        shared = len(tables) > 1
        shapes = shapes_of(tables, shared=shared)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # they are tiny
        try:
            return shared, [train(shapes, NETWORKS * seed + n) for n in range(NETWORKS)]
        finally:
            torch.set_num_threads(threads)

    def __init__(self, env: Environment, *, seed: int, learned: Any = None) -> None:
        super().__init__(env, seed=seed, learned=learned)
        self._tried: list[int] = []
        self._costs: list[float] = []
        self._read: list[tuple[Network, torch.Tensor, torch.Tensor]] = []

    def scored(self, table: Table, case: int) -> Any:
        """See `Transfer`."""
        shared, networks = self._learned
        held = [table.places[choice] for choice in self._choices]
        found = (launch_features if shared else features)(table, case)[held]
        inputs = torch.from_numpy(found.astype(np.float32))
        with torch.no_grad():
            self._read = [(network, *network(inputs)) for network in networks]
        return self.corrected()

    def learn(
        self, action: Any, observation: Any, reward: float, terminated: bool, truncated: bool,
        info: dict[str, Any],
    ) -> None:  # fmt: skip
        """Note the logarithm of the time; a failure counts as twice the worst that was seen."""
        if info["correct"]:
            self._costs.append(math.log(float(info["runtime_us"])))
        elif self._costs:
            self._costs.append(max(self._costs) + math.log(2.0))
        else:
            return
        self._tried.append(self._at)

    def corrected(self) -> Any:
        """See `Transfer`: what the policy finds unlikely, after what was found."""
        tried, costs = torch.tensor(self._tried, dtype=torch.int64), torch.tensor(self._costs)
        with torch.no_grad():
            said = [
                network.logits(m, z, tried, costs).log_softmax(-1) for network, m, z in self._read
            ]
            return -torch.stack(said).mean(0).numpy()
