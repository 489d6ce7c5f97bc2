"""Runs a small kernel once, so that what libraries load on first use is there after a fork."""

from __future__ import annotations

import os
import tempfile

import torch
import triton
import triton.language as tl
from triton.runtime.interpreter import InterpretedFunction

from triton_gym.device import gpu_named
from triton_gym.evaluation.simulate.interpreter.trace import trace
from triton_gym.evaluation.workers.precompile import precompile
from triton_gym.evaluation.workers.scratch import PREFIX


@triton.jit  # type: ignore[untyped-decorator]
def _row_sum(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0)
    lane = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * cols + lane, mask=lane < cols, other=0.0)
    tl.store(y_ptr + row, tl.sum(tl.exp(x), axis=0))


def warm_compiler() -> None:
    """Compile `_row_sum` into a cache that is thrown away."""
    x, y = torch.empty(4, 100), torch.empty(4)
    before = os.environ.get("TRITON_CACHE_DIR")
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        opened = os.open(folder, os.O_DIRECTORY)
        # By that name nothing is made anew of a folder that went with its judge.
        os.environ["TRITON_CACHE_DIR"] = f"/proc/self/fd/{opened}"
        try:
            precompile(lambda: _row_sum[(4,)](x, y, 100, BLOCK=128), gpu_named("h100").name)
        finally:
            os.close(opened)
            del os.environ["TRITON_CACHE_DIR"]
            if before is not None:
                os.environ["TRITON_CACHE_DIR"] = before


def warm_interpreter() -> None:
    """Follow `_row_sum` in Triton's interpreter, and make the language's own functions ready."""
    x, y = torch.zeros(4, 100), torch.zeros(4)
    trace(lambda: _row_sum[(4,)](x, y, 100, BLOCK=128))
    for function in vars(tl.standard).values():
        if isinstance(function, InterpretedFunction):
            function.rewrite()
