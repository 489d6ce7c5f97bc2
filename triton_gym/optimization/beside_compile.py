"""What a candidate comes to beside the program that `torch.compile` makes of the function.

A user who can have that program for a line of code has no use for a slower kernel. So a candidate
that is shown to take longer on the device than it is not swapped in, however slow eager is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from triton_gym.optimization.decision import ALPHA, Decision, evalue
from triton_gym.optimization.pairs import Pair, Ratio

MARGIN = 0.005
"""Device time that a candidate may take more, as a share: what clocks cannot tell is no loss."""
LEAST = 15
"""Pairs at least: ten lost ones in a row are needed to show that it is slower."""


@dataclass(frozen=True, slots=True)
class Beside:
    """A candidate's pairs against `torch.compile`."""

    device: Ratio
    """Device time of `torch.compile` over the candidate's."""
    wall: Ratio
    """The same of a caller's time."""
    faster: bool
    """Whether the candidate has shown that it is faster, see `decision`."""
    slower: bool
    """Whether it was shown to be slower on the device."""

    @classmethod
    def of(cls, pairs: Sequence[Pair], decision: Decision) -> Beside:
        """What pairs came to, the compiled program's call first in each.

        A candidate is slower if the chance of so many lost pairs is below 5 % for one that is not,
        by the same test as for a swap.
        """
        lost = sum(
            one.now.device_us < (1 - MARGIN) * one.candidate.device_us for one in pairs
        )  # fmt: skip
        return cls(
            Ratio.of([one.now.device_us / one.candidate.device_us for one in pairs]),
            Ratio.of([one.now.wall_us / one.candidate.wall_us for one in pairs]),
            decision.faster,
            float(evalue(len(pairs), lost)) >= 1 / ALPHA,
        )

    def told(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "device": [self.device.median, self.device.low, self.device.high],
            "wall": [self.wall.median, self.wall.low, self.wall.high],
            "faster": self.faster, "slower": self.slower,
        }  # fmt: skip


class Compiled:
    """The function as `torch.compile` makes it by default, made when it is first asked for.

    Args:
        function: the original.
        examples: calls of it, as (args, kwargs): it is compiled for these.
        compiler: `torch.compile`; None if there is none to be held against.
    """

    def __init__(
        self, function: Callable[..., Any],
        examples: Sequence[tuple[tuple[Any, ...], dict[str, Any]]],
        compiler: Callable[..., Any] | None,
    ) -> None:  # fmt: skip
        self._function, self._examples, self._compiler = function, examples, compiler
        self._made: Callable[..., Any] | None = None
        self.why = "" if compiler else "nothing is compiled on this device"
        """Why there is no program."""

    def give_up(self, why: str) -> None:
        """Compile nothing."""
        self._compiler, self._made, self.why = None, None, why

    def program(self) -> Callable[..., Any] | None:
        """The compiled function; None where there is none."""
        if self._made is None and self._compiler is not None:
            try:
                made = self._compiler(self._function)
                for args, kwargs in self._examples:
                    made(*args, **kwargs)
            except Exception as error:  # whatever it raises on functions that it does not know
                first = (str(error).strip().splitlines() or [""])[0]
                self.give_up(f"torch.compile raised {type(error).__name__}: {first[:200]}")
            else:
                self._made = made
        return self._made
