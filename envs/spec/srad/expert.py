"""SRAD in one launch: the image read once from memory, the result written once.

A point needs the coefficients of itself, of its southern and of its eastern neighbour. They are
computed anew instead of stored: thirteen loads a point that nearly all end in the L1 cache, and
some arithmetic, against two more passes over memory.
"""

import torch
import triton
import triton.language as tl

BLOCK_Y = 4
BLOCK_X = 128
NUM_WARPS = 4


@triton.jit
def at(image_ptr, y, x, ny, nx):
    """Values at points; beyond an edge the edge's own."""
    y = tl.minimum(tl.maximum(y, 0), ny - 1)
    x = tl.minimum(tl.maximum(x, 0), nx - 1)
    return tl.load(image_ptr + y * nx + x)


@triton.jit
def coefficient(j, north, south, west, east, q0):
    """The coefficient of a point from itself and its neighbours."""
    inverse = 1.0 / j
    north, south, west, east = north - j, south - j, west - j, east - j
    gradient = (north * north + south * south + west * west + east * east) * inverse * inverse
    laplacian = (north + south + west + east) * inverse
    bend = 1.0 + 0.25 * laplacian
    q = (0.5 * gradient - laplacian * laplacian * 0.0625) / (bend * bend)
    c = 1.0 / (1.0 + (q - q0) / (q0 * (1.0 + q0)))
    return tl.minimum(tl.maximum(c, 0.0), 1.0)


@triton.jit
def srad_kernel(image_ptr, out_ptr, q0, rate, ny, nx, BLOCK_Y: tl.constexpr, BLOCK_X: tl.constexpr):
    """A tile."""
    x = (tl.program_id(0) * BLOCK_X + tl.arange(0, BLOCK_X))[None, :]
    y = (tl.program_id(1) * BLOCK_Y + tl.arange(0, BLOCK_Y))[:, None]
    j = at(image_ptr, y, x, ny, nx)
    north, south = at(image_ptr, y - 1, x, ny, nx), at(image_ptr, y + 1, x, ny, nx)
    west, east = at(image_ptr, y, x - 1, ny, nx), at(image_ptr, y, x + 1, ny, nx)
    south_west, south_east = (
        at(image_ptr, y + 1, x - 1, ny, nx),
        at(image_ptr, y + 1, x + 1, ny, nx),
    )
    north_east = at(image_ptr, y - 1, x + 1, ny, nx)
    c = coefficient(j, north, south, west, east, q0)
    c_south = coefficient(
        south, j, at(image_ptr, y + 2, x, ny, nx), south_west, south_east, q0
    )  # fmt: skip
    c_east = coefficient(
        east, north_east, south_east, j, at(image_ptr, y, x + 2, ny, nx), q0
    )  # fmt: skip
    flow = c_south * (south - j) + c_east * (east - j) + c * (north - j + west - j)
    # At the southern and the eastern edge a point is its own neighbour, and the difference nothing.
    tl.store(out_ptr + y * nx + x, j + 0.25 * rate * flow, mask=(y < ny) & (x < nx))


def srad(image: torch.Tensor, q0: float, rate: float) -> torch.Tensor:
    """A step of an image (ny, nx)."""
    ny, nx = image.shape
    out = torch.empty_like(image)
    grid = (triton.cdiv(nx, BLOCK_X), triton.cdiv(ny, BLOCK_Y))
    srad_kernel[grid](image, out, q0, rate, ny, nx, BLOCK_Y, BLOCK_X, num_warps=NUM_WARPS)
    return out
