"""Shapes and dtypes of a task's arguments without drawing any values."""

from __future__ import annotations

import torch


class MetaGenerator(torch.Generator):
    """A generator that says it is on the `meta` device, for `Task.inputs`."""

    @property
    def device(self) -> torch.device:
        """Where inputs are drawn."""
        return torch.device("meta")
