"""HotSpot, plainly: one program a block of a row."""

import torch
import triton
import triton.language as tl


@triton.jit
def hotspot_kernel(t_ptr, power_ptr, out_ptr, step, gx, gy, gz, ny, nx, BLOCK: tl.constexpr):
    """A block of a row."""
    x = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    y = tl.program_id(1)
    mask = x < nx
    row = y.to(tl.int64) * nx
    t = tl.load(t_ptr + row + x, mask=mask, other=0.0)
    north = tl.load(t_ptr + tl.maximum(y - 1, 0).to(tl.int64) * nx + x, mask=mask, other=0.0)
    south = tl.load(t_ptr + tl.minimum(y + 1, ny - 1).to(tl.int64) * nx + x, mask=mask, other=0.0)
    west = tl.load(t_ptr + row + tl.maximum(x - 1, 0), mask=mask, other=0.0)
    east = tl.load(t_ptr + row + tl.minimum(x + 1, nx - 1), mask=mask, other=0.0)
    power = tl.load(power_ptr + row + x, mask=mask, other=0.0)
    flow = power + gy * (north + south - 2 * t) + gx * (east + west - 2 * t) + gz * (80.0 - t)
    tl.store(out_ptr + row + x, t + step * flow, mask=mask)


def hotspot(
    temperature: torch.Tensor, power: torch.Tensor, step: float, gx: float, gy: float, gz: float
) -> torch.Tensor:
    """A step of (ny, nx) temperatures."""
    ny, nx = temperature.shape
    out = torch.empty_like(temperature)
    hotspot_kernel[(triton.cdiv(nx, 128), ny)](
        temperature, power, out, step, gx, gy, gz, ny, nx, BLOCK=128
    )
    return out
