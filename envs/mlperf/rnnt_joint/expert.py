"""The joint of RNN-T at the speed of writing.

A program takes one frame and LABELS labels: the frame stays in registers, the labels come from
L2, and the stores are whole lines that nobody reads again.
"""

import torch
import triton
import triton.language as tl

BLOCK = 512  # hidden units handled at once
LABELS = 8  # labels handled at once
NUM_WARPS = 4


@triton.jit
def rnnt_joint_kernel(
    f_ptr, g_ptr, out_ptr, frames, labels, hidden, LABELS: tl.constexpr, BLOCK: tl.constexpr
):
    """A frame with LABELS labels."""
    batch = tl.program_id(2).to(tl.int64)
    frame = batch * frames + tl.program_id(1)
    label = tl.program_id(0) * LABELS + tl.arange(0, LABELS)[:, None]
    for start in tl.range(0, hidden, BLOCK):
        lane = start + tl.arange(0, BLOCK)[None, :]
        mask = (label < labels) & (lane < hidden)
        f = tl.load(f_ptr + frame * hidden + lane, mask=lane < hidden)
        g = tl.load(
            g_ptr + (batch * labels + label) * hidden + lane, mask=mask,
            eviction_policy="evict_last",
        )  # fmt: skip
        out = tl.maximum(f + g, 0.0).to(out_ptr.dtype.element_ty)
        tl.store(
            out_ptr + (frame * labels + label) * hidden + lane, out, mask=mask,
            eviction_policy="evict_first",
        )  # fmt: skip


def rnnt_joint(f: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """relu(f + g) of all pairs: (B, T, H) and (B, U, H) to (B, T, U, H)."""
    batch, frames, hidden = f.shape
    labels = g.shape[1]
    out = torch.empty((batch, frames, labels, hidden), device=f.device, dtype=f.dtype)
    block = min(BLOCK, triton.next_power_of_2(hidden))
    grid = (triton.cdiv(labels, LABELS), frames, batch)
    rnnt_joint_kernel[grid](
        f, g, out, frames, labels, hidden, LABELS, block, num_warps=NUM_WARPS
    )  # fmt: skip
    return out
