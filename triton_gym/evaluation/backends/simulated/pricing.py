"""What a call costs on the modelled device: its launches, movement and looks."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from triton_gym.device import Gpu
from triton_gym.evaluation.compiling.artifact import Artifact
from triton_gym.evaluation.plan.step import Copy, Fill, Gather, Kernel, Launch, Read, Step
from triton_gym.evaluation.simulate.launches import LaunchTrace
from triton_gym.evaluation.simulate.machine_code.arithmetic import (
    buffers_of,
    float_instructions,
    lays_across,
    meeting_banks,
    repeated_products,
)
from triton_gym.evaluation.simulate.machine_code.binary import read_code
from triton_gym.evaluation.simulate.machine_code.build import Build
from triton_gym.evaluation.simulate.machine_code.layouts import accesses_of
from triton_gym.evaluation.simulate.time_model import model
from triton_gym.evaluation.simulate.time_model.constants import CONSTANTS, Constants
from triton_gym.evaluation.simulate.time_model.moves import moves_us

_code = functools.lru_cache(64)(read_code)


def build_of(index: int, config: str, step: Launch, kernel: Kernel, artifact: Artifact) -> Build:
    """What the machine code of a launch consists of."""
    text, num_warps = artifact.texts.get("ttgir", ""), int(artifact.metadata["num_warps"])
    return Build(
        index=index,
        kernel=kernel.name,
        config=config,
        grid=step.grid,
        num_warps=num_warps,
        num_stages=kernel.num_stages,
        num_ctas=kernel.num_ctas,
        registers=artifact.registers,
        spill_bytes=artifact.spill_bytes,
        shared_bytes=artifact.shared_bytes,
        code=_code(artifact.cubin),
        arithmetic=float_instructions(text, num_warps),
        across=lays_across(text),
        buffers=buffers_of(text),
        meeting=meeting_banks(text),
        repeated=repeated_products(text),
        held=accesses_of(text),
    )


def price(
    builds: Sequence[Build], traces: Sequence[LaunchTrace], steps: Sequence[Step], gpu: Gpu,
    dense: Sequence[Copy] = (), constants: Constants = CONSTANTS,
) -> model.Estimate:  # fmt: skip
    """The modelled time of a call.

    Args:
        builds: of its launches.
        traces: of the same.
        steps: all that it does.
        gpu: the device.
        dense: copies that results need besides.
        constants: the model's.
    """
    moves = [s for s in steps if isinstance(s, (Copy, Fill, Gather))]
    return model.estimate(
        builds, traces, gpu, constants,
        moves=moves_us([*moves, *dense], gpu),
        reads=sum(isinstance(step, Read) for step in steps),
    )  # fmt: skip
