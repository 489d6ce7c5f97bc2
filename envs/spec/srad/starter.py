"""SRAD in two launches, plainly: the coefficients, then the step."""

import torch
import triton
import triton.language as tl


@triton.jit
def differences(image_ptr, y, x, ny, nx, mask):
    """A point and its differences to north, south, west and east."""
    row = y * nx
    j = tl.load(image_ptr + row + x, mask=mask, other=1.0)
    north = tl.load(image_ptr + tl.maximum(y - 1, 0) * nx + x, mask=mask, other=1.0) - j
    south = tl.load(image_ptr + tl.minimum(y + 1, ny - 1) * nx + x, mask=mask, other=1.0) - j
    west = tl.load(image_ptr + row + tl.maximum(x - 1, 0), mask=mask, other=1.0) - j
    east = tl.load(image_ptr + row + tl.minimum(x + 1, nx - 1), mask=mask, other=1.0) - j
    return j, north, south, west, east


@triton.jit
def coefficient_kernel(image_ptr, c_ptr, q0, ny, nx, BLOCK: tl.constexpr):
    """Coefficients of a block of a row."""
    x = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    y = tl.program_id(1)
    mask = x < nx
    j, north, south, west, east = differences(image_ptr, y, x, ny, nx, mask)
    gradient = (north * north + south * south + west * west + east * east) / (j * j)
    laplacian = (north + south + west + east) / j
    bend = 1.0 + 0.25 * laplacian
    q = (0.5 * gradient - laplacian * laplacian / 16.0) / (bend * bend)
    c = 1.0 / (1.0 + (q - q0) / (q0 * (1.0 + q0)))
    tl.store(c_ptr + y * nx + x, tl.minimum(tl.maximum(c, 0.0), 1.0), mask=mask)


@triton.jit
def step_kernel(image_ptr, c_ptr, out_ptr, rate, ny, nx, BLOCK: tl.constexpr):
    """The step of a block of a row."""
    x = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    y = tl.program_id(1)
    mask = x < nx
    j, north, south, west, east = differences(image_ptr, y, x, ny, nx, mask)
    c = tl.load(c_ptr + y * nx + x, mask=mask, other=0.0)
    c_south = tl.load(c_ptr + tl.minimum(y + 1, ny - 1) * nx + x, mask=mask, other=0.0)
    c_east = tl.load(c_ptr + y * nx + tl.minimum(x + 1, nx - 1), mask=mask, other=0.0)
    flow = c_south * south + c * north + c_east * east + c * west
    tl.store(out_ptr + y * nx + x, j + 0.25 * rate * flow, mask=mask)


def srad(image: torch.Tensor, q0: float, rate: float) -> torch.Tensor:
    """A step of an image (ny, nx)."""
    ny, nx = image.shape
    c, out = torch.empty_like(image), torch.empty_like(image)
    grid = (triton.cdiv(nx, 128), ny)
    coefficient_kernel[grid](image, c, q0, ny, nx, BLOCK=128)
    step_kernel[grid](image, c, out, rate, ny, nx, BLOCK=128)
    return out
