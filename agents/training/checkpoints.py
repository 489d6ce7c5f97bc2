"""Checkpoints: folders that transformers loads, with what it takes to go on training.

A checkpoint is written beside its place and moved there in one rename, so a kill leaves the last
one whole. When the disk is full the training goes on, and the writing is tried again after the
next step; only a run that cannot write its end is an error. Where a run is examined, `best` is a
link to the one that did best.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from triton_gym.errors import RunError

from ..policy.models import Policy, reload_weights

_STATE = "trainer.pt"
_BEST = "best"


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, run: Path, keep: int) -> None:
        self.folder = run / "checkpoints"
        self._keep = keep
        self.problem = ""
        """Why the last one could not be written; empty if it could."""

    def last(self) -> Path | None:
        """The newest, if there is one."""
        found = sorted(p for p in self.folder.glob("step-*") if (p / _STATE).is_file())
        return found[-1] if found else None

    def save(self, step: int, policy: Policy, state: dict[str, Any], *, best: bool = False) -> bool:
        """Write the state after `step` steps; False, with `problem` set, if that failed.

        Args:
            step: how many are done.
            policy: its weights.
            state: the rest.
            best: whether it is the best so far, which is kept until there is a better one.
        """
        self.problem = ""
        partial: Path | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(dir=self.folder, prefix=".partial-"))
            policy.save(partial)
            torch.save(state, partial / _STATE)
            partial.chmod(0o755)
            target = self.folder / f"step-{step:06d}"
            shutil.rmtree(target, ignore_errors=True)
            os.replace(partial, target)
            if best:
                link = self.folder / f".{_BEST}"
                link.unlink(missing_ok=True)
                link.symlink_to(target.name)
                os.replace(link, self.folder / _BEST)
        except (OSError, RuntimeError) as error:  # torch and safetensors wrap a full disk
            self.problem = f"{type(error).__name__}: {error}"
            return False
        finally:
            if partial is not None:
                shutil.rmtree(partial, ignore_errors=True)
        kept = (self.folder / _BEST).resolve()
        for old in sorted(self.folder.glob("step-*"))[: -self._keep]:
            if old.resolve() != kept:
                shutil.rmtree(old, ignore_errors=True)
        return True

    def restore(self, folder: Path, policy: Policy) -> dict[str, Any]:
        """Put a checkpoint's weights into the policy, and return the rest.

        Raises:
            RunError: it is damaged, or of another model.
        """
        reload_weights(policy, folder)
        try:
            state: dict[str, Any] = torch.load(folder / _STATE, map_location="cpu")
        except (OSError, RuntimeError, EOFError, ValueError) as error:
            raise RunError(f"{folder / _STATE} cannot be read: {error}") from None
        return state


def random_state() -> dict[str, Any]:
    """Of torch's own generators; everything else draws from seeds and step numbers."""
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random(state: dict[str, Any]) -> None:
    """The reverse of `random_state`."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
