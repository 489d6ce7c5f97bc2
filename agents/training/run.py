"""One training run in its folder: what repeats around a step, whatever the step does."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from triton_gym.errors import RunError

from ..policy.models import Policy
from .checkpoints import Checkpoints, random_state, restore_random
from .folders import claim
from .journal import Journal
from .optimizer import Optimizer
from .settings import RunSettings, as_json
from .world import World

Metrics = dict[str, float]
Watch = Callable[[int, Metrics], None]
"""Is shown each step's number, counted from 1, and its metrics."""


class Run:
    """Counts steps, writes them down, saves, and goes on from what was saved.

    Args:
        settings: of the whole run, to be kept in its folder.
        run: their section `run`.
        policy: that is trained.
        optimizer: that trains it.
        glossary: of the metrics.
        world: the processes that train together.
        watch: see `Watch`.

    Raises:
        RunError: the folder holds another run, is in use, or cannot be written.
    """

    def __init__(
        self,
        settings: Any,
        run: RunSettings,
        policy: Policy,
        optimizer: Optimizer,
        glossary: Mapping[str, str],
        world: World,
        watch: Watch | None,
    ) -> None:
        self.folder = Path(run.out)
        self.done = 0
        self.extra: dict[str, Any] = {}
        """Saved with each checkpoint, and there again after a resumption."""
        self._run = run
        self._policy = policy
        self._optimizer = optimizer
        self._world = world
        self.watch = watch
        self._stopping = False
        self._better: float | None = None
        self._lock = claim(self.folder, as_json(settings), _machine()) if world.main else None
        world.wait()
        self.checkpoints = Checkpoints(self.folder, run.keep)
        try:
            self._resume()
            self.journal = (
                Journal(self.folder, glossary, done=self.done, tensorboard=run.tensorboard)
                if world.main
                else None
            )
        except BaseException:
            if self._lock is not None:
                self._lock.close()
            raise

    def go(self, step: Callable[[int], Metrics], until: int) -> int:
        """Take steps until `until` are done; returns how many are.

        Asked to stop by SIGTERM, it finishes the step, saves, and returns.

        Raises:
            RunError: the last checkpoint could not be written.
        """
        previous = _on_terminate(self._stop)
        try:
            while self.done < until and not self._stopping:
                metrics = step(self.done)
                self.done += 1
                if self.journal:
                    self.journal.write(self.done, metrics)
                    if self.watch:
                        self.watch(self.done, metrics)
                # The processes must agree on whether to stop, and on whether to save.
                self._stopping = any(self._world.gather(self._stopping))
                again = any(self._world.gather(bool(self.checkpoints.problem)))
                better = self._world.gather(self._better is not None)[0]  # as the main one finds
                due = better or self.done % self._run.save_every == 0
                if due or again or self.done == until or self._stopping:
                    self.save()
        finally:
            if previous is not None:
                signal.signal(signal.SIGTERM, previous)
        if self.checkpoints.problem:
            raise RunError(
                f"Step {self.done} could not be saved in {self.checkpoints.folder}: "
                f"{self.checkpoints.problem}. Make room there and run it again: it goes on from "
                f"{self.checkpoints.last() or 'the start'}."
            )
        return self.done

    def rate(self, score: float) -> None:
        """Say how well the policy does after the step under way: the best is saved, and kept."""
        if score > self.extra.get("best", -math.inf):
            self._better = score

    def save(self) -> None:
        """Write a checkpoint of the steps so far."""
        if self._world.main:
            best = self._better is not None
            extra = {**self.extra, "best": self._better} if best else self.extra
            state = {
                "step": self.done,
                "optimizer": self._optimizer.state(),
                "random": random_state(),
                "extra": extra,
            }
            if self.checkpoints.save(self.done, self._policy, state, best=best):
                self.extra = extra
        self._better = None
        self._world.wait()

    def close(self) -> None:
        """Let the folder go."""
        if self.journal:
            self.journal.close()
        if self._lock:
            self._lock.close()

    def _resume(self) -> None:
        last = self.checkpoints.last()
        if last is None:
            return
        state = self.checkpoints.restore(last, self._policy)
        self._optimizer.restore(state["optimizer"])
        restore_random(state["random"])
        self.extra = state["extra"]
        self.done = int(state["step"])

    def _stop(self, *_: object) -> None:
        self._stopping = True


def _machine() -> dict[str, Any]:
    from triton_gym.runs.execution import machine

    return machine("cuda:0" if torch.cuda.is_available() else "cpu")


def _on_terminate(handler: Callable[..., None]) -> Any:
    try:
        return signal.signal(signal.SIGTERM, handler)
    except ValueError:  # not the main thread
        return None
