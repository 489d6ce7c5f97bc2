"""The joint of RNN-T, plainly: one program a frame and a label."""

import torch
import triton
import triton.language as tl


@triton.jit
def rnnt_joint_kernel(f_ptr, g_ptr, out_ptr, frames, labels, hidden, BLOCK: tl.constexpr):
    """A frame with a label."""
    batch = tl.program_id(2).to(tl.int64)
    frame = batch * frames + tl.program_id(1)
    label = tl.program_id(0)
    for start in range(0, hidden, BLOCK):
        lane = start + tl.arange(0, BLOCK)
        mask = lane < hidden
        f = tl.load(f_ptr + frame * hidden + lane, mask=mask)
        g = tl.load(g_ptr + (batch * labels + label) * hidden + lane, mask=mask)
        out = tl.maximum(f + g, 0.0).to(out_ptr.dtype.element_ty)
        tl.store(out_ptr + (frame * labels + label) * hidden + lane, out, mask=mask)


def rnnt_joint(f: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """relu(f + g) of all pairs: (B, T, H) and (B, U, H) to (B, T, U, H)."""
    batch, frames, hidden = f.shape
    labels = g.shape[1]
    out = torch.empty((batch, frames, labels, hidden), device=f.device, dtype=f.dtype)
    rnnt_joint_kernel[(labels, frames, batch)](f, g, out, frames, labels, hidden, BLOCK=256)
    return out
