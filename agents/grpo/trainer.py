"""The training loop: sample groups, compare their replies, take a step; and start over.

How it departs from the papers: a turn of an episode is a sample of its own, in the context that it
was written in, and is compared with the same turn of the other episodes; groups without variance
are replaced by others; probabilities are corrected for the difference between sampler and trainer.

All randomness comes from the run's seed and the step's number, so that nothing about sampling has
to be saved, and a run that was killed repeats exactly what it would have done.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.outcome import PHASES, Status

from ..policy.models import load_policy
from ..policy.sampling import Sampler, sampler_for
from ..protocol import Environment
from ..training.optimizer import Optimizer, learning_rate
from ..training.run import Run, Watch
from ..training.world import World
from .batch import Returns, instructive, returns_of, samples_of
from .episodes import Clock, Episode, Place, Stage, transcripts
from .examination import held_out
from .judging import SharedEvaluator
from .metrics import GLOSSARY, describe
from .places import draw_places, maker
from .settings import GRPOSettings
from .update import Updater


class Trainer:
    """A GRPO run in its folder.

    Args:
        settings: see there.
        make: makes environments in place of the settings' own, for tests and for tasks of one's
            own; takes an id.
        evaluator: in place of one made for `rollout.device`.
        watch: see `Watch`.

    Raises:
        InvalidOptionError, DeviceError: the settings cannot be carried out here.
        RunError: the run's folder holds another run, or cannot be written.
    """

    def __init__(
        self,
        settings: GRPOSettings,
        *,
        make: Callable[[str], Environment] | None = None,
        evaluator: SharedEvaluator | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.settings = settings
        self.world = World()
        self._mine = self.world.share(settings.rollout.groups, "rollout.groups")
        run, rollout = settings.run, settings.rollout
        self.policy = load_policy(settings.policy, seed=run.seed)
        self.sampler: Sampler = sampler_for(self.policy, settings.sampling)
        self._evaluator = evaluator
        self._owned: SharedEvaluator | None = None
        if make is None and evaluator is None:
            self._evaluator = self._owned = SharedEvaluator.on(
                _evaluation_device(rollout.device, self.world), rollout.workers
            )
        self.stage = self._stage(rollout.options, make, self.sampler, rollout.turns)
        self._make = make
        self._optimizer = Optimizer(self.policy.model.parameters(), settings.optimizer, self.world)
        self._updater = Updater(
            policy=self.policy,
            optimizer=self._optimizer,
            objective=settings.objective,
            world=self.world,
            temperature=settings.sampling.temperature,
            longest=settings.sampling.longest,
            micro_tokens=settings.optimizer.micro_tokens,
            reference=self._frozen(),
        )
        self._run = Run(settings, run, self.policy, self._optimizer, GLOSSARY, self.world, watch)
        self._updater.micro_tokens = self._run.extra.get(
            "micro_tokens", settings.optimizer.micro_tokens
        )
        self.sampler.update()

    @property
    def done(self) -> int:
        """Steps that are done."""
        return self._run.done

    # -- the loop ---------------------------------------------------------------------------------

    def watch(self, watch: Watch) -> None:
        """Show every further step to `watch`."""
        self._run.watch = watch

    def checkpoint(self) -> Path | None:
        """The newest checkpoint, which transformers loads."""
        return self._run.checkpoints.last()

    def train(self, until: int | None = None) -> int:
        """Train up to step `until`, or to the end; returns how many steps are done.

        Asked to stop by SIGTERM, it finishes the step, saves, and returns.

        Raises:
            RunError: the last checkpoint could not be written.
        """
        goal = self.settings.run.steps
        return self._run.go(self._step, goal if until is None else min(until, goal))

    def close(self) -> None:
        """End everything that was started."""
        self.stage.close()
        if self._owned:
            self._owned.close()
        self._run.close()

    def __enter__(self) -> Trainer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _step(self, step: int) -> dict[str, float]:
        started = time.perf_counter()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self.stage.clock = Clock()
        if self._evaluator:
            self._evaluator.forget()
        episodes, groups, found, varied = self._collect(step)
        lr = learning_rate(self.settings.optimizer, step, self.settings.run.steps)
        variant = self.settings.objective.resolved()
        samples = samples_of(groups, found, variant.baseline) if groups else []
        training = time.perf_counter()
        trained: dict[str, float] = {}
        used, taught = map(sum, zip(*self.world.gather((len(groups), len(samples))), strict=True))
        if taught:
            trained = self._updater.update(samples, lr, used / self.settings.rollout.groups)
            self.sampler.update()
            self.world.wait()
        now = time.perf_counter()
        clock = self.stage.clock
        metrics = {
            **self._average(describe(episodes)),
            **trained,
            **self._average(
                {
                    "return": float(found.returns[..., 0].mean()) if groups else 0.0,
                    "groups/varied": varied,
                    "seconds/sampling": clock.sampling,
                    "seconds/waiting": clock.waiting,
                    **self._evaluations(),
                }
            ),
            "groups/used": float(used),
            "samples": float(taught),
            "evaluations": float(sum(self.world.gather(self._made()))),
            "lr": lr,
            "seconds/step": now - started,
            "seconds/training": now - training,
            "share/waiting": clock.waiting / (now - started),
            "tokens/sampled": float(sum(self.world.gather(clock.tokens))),
            "memory_gb": _memory_gb(),
        }
        metrics["tokens/second"] = metrics["tokens/sampled"] / metrics["seconds/step"]
        every = self.settings.held_out.every
        if every and (step + 1) % every == 0:
            examined = self._examine()
            self._run.rate(examined["held_out/reward"])
            metrics.update(examined)
        self._write_transcripts(step, episodes)
        self._run.extra["micro_tokens"] = self._updater.micro_tokens
        return metrics

    def _write_transcripts(self, step: int, episodes: list[Episode]) -> None:
        """A sample now and then, and every conversation with a reply that was called cheating."""
        every = self.settings.run.transcripts_every
        if not self._run.journal or not every:
            return
        if self._due(every, step):
            self._run.journal.transcript(step + 1, transcripts(episodes[:4]))
        accused = [e for e in episodes if e.has(Status.CHEATING)]
        if accused:
            self._run.journal.transcript(step + 1, transcripts(accused), "cheating")

    def _collect(self, step: int) -> tuple[list[Episode], list[list[Episode]], Returns, float]:
        """Sample groups until enough can teach something.

        Returns:
            All episodes; the groups to train on, with their returns; the share that was varied.
        """
        rollout, objective = self.settings.rollout, self.settings.objective
        longest = self.settings.sampling.longest
        everything: list[Episode] = []
        kept: list[list[Episode]] = []
        sampled = 0
        for attempt in range(rollout.attempts):
            seeds = [self.settings.run.seed, step, attempt]
            places = self._places(seeds, len(kept))
            episodes = self.stage.play(places, rollout.replies, [*seeds, self.world.rank])
            everything += episodes
            sampled += len(places)
            groups = [
                episodes[i : i + rollout.replies] for i in range(0, len(episodes), rollout.replies)
            ]
            found = returns_of(
                groups, turns=rollout.turns, gamma=rollout.gamma, longest=longest,
                margin=objective.margin(longest),
            )  # fmt: skip
            teaching = instructive(found, rollout.least_deviation)
            kept += [group for group, good in zip(groups, teaching, strict=True) if good]
            if len(kept) >= len(self._mine):
                break
        found = returns_of(
            kept, turns=rollout.turns, gamma=rollout.gamma, longest=longest,
            margin=objective.margin(longest),
        )  # fmt: skip
        return everything, kept, found, len(kept) / sampled

    def _places(self, seeds: list[int], have: int) -> list[Place]:
        """This process's share of a step's tasks, without those that it has enough of."""
        rollout = self.settings.rollout
        drawn = draw_places(rollout.envs, rollout.groups, seeds)
        return [drawn[i] for i in self._mine][have:]

    def _examine(self) -> dict[str, float]:
        held = self.settings.held_out
        sampling = dataclasses.replace(self.settings.sampling, temperature=held.temperature)
        stage = self._stage(held.options, self._make, sampler_for(self.policy, sampling), 1)
        return held_out(stage, held, self.world)

    # -- its parts --------------------------------------------------------------------------------

    def _stage(
        self,
        options: dict[str, Any],
        make: Callable[[str], Environment] | None,
        sampler: Sampler,
        turns: int,
    ) -> Stage:
        rollout = self.settings.rollout
        # Equal replies all wait for one evaluation; an evaluator of ours limits the others.
        episodes = len(self._mine) * rollout.replies
        return Stage(
            self.policy,
            sampler,
            make
            or maker(
                options,
                evaluator=self._evaluator,
                turns=turns,
                reward=rollout.reward,
                limits=Limits(seconds=rollout.seconds, gpu_seconds=rollout.gpu_seconds),
            ),
            turns=turns,
            longest=self.settings.sampling.longest,
            parts=rollout.parts,
            threads=episodes if self._evaluator else 2 * rollout.workers,
            credit_unchanged=rollout.credit_unchanged,
        )

    def _frozen(self) -> Any:
        """A copy of the policy as it is now, if the objective needs one beside the adapters."""
        if not self.settings.objective.beta or self.settings.policy.lora_rank:
            return None
        return copy.deepcopy(self.policy.model).requires_grad_(False).eval()

    def _evaluations(self) -> dict[str, float]:
        """What this process's evaluations of this step took, where that is known."""
        found = self._evaluator.seconds() if self._evaluator else {}
        return {f"evaluation/{name}": found.get(name, math.nan) for name in ("total", *PHASES)}

    def _made(self) -> int:
        """Evaluations of this process in this step; episodes elsewhere count their own."""
        return self._evaluator.made if self._evaluator else 0

    def _average(self, metrics: dict[str, float]) -> dict[str, float]:
        """Means over the processes, of those that have the number."""
        gathered = self.world.gather(metrics)
        found: dict[str, float] = {}
        for name in dict.fromkeys(n for m in gathered for n in m):
            known = [m[name] for m in gathered if name in m and m[name] == m[name]]
            found[name] = sum(known) / len(known) if known else math.nan
        return found

    def _due(self, every: int, step: int) -> bool:
        return bool(every) and (step % every == 0 or step + 1 == self.settings.run.steps)


def _evaluation_device(name: str, world: World) -> str:
    """Of several processes, each evaluates on its own GPU."""
    if name == "auto" and world.size > 1 and torch.cuda.is_available():
        return f"cuda:{torch.cuda.current_device()}"
    return name


def _memory_gb() -> float:
    return torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0
