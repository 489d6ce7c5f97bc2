"""What tasks around matrix products share: sizes, hidden shapes, factors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case, Span

from .draws import Draw

if TYPE_CHECKING:
    import torch

SPANS = {
    "m": Span(low=2, high=1100, tiny=48),
    "n": Span(low=2, high=1100, tiny=48),
    "k": Span(low=1, high=1100, tiny=48),
}
"""Hidden shapes of one product."""
KNOBS = {
    "BLOCK_M": (64, 128),
    "BLOCK_N": (64, 128, 256),
    "BLOCK_K": (32, 64, 128),
    "GROUP_M": (1, 4, 8, 16),
    "NUM_WARPS": (4, 8),
    "NUM_STAGES": (2, 3, 4, 5),
    "PROGRAMS": (132, 264),
}
"""Of a persistent product with tiles of shared memory."""


def sizes(m: int, n: int, k: int) -> dict[str, int]:
    """The named sizes of (m, k) times (k, n)."""
    return {"m": m, "n": n, "k": k}


def factor(case: Case, draw: Draw, *shape: int, scale: float = 1.0) -> torch.Tensor:
    """A normal factor in the case's dtype: every output is a sum of terms of either sign.

    In bfloat16 it is so large that sums leave float16's range, in which nobody is to add.
    """
    large = 128.0 if case.dtype == "bfloat16" else 1.0
    return draw.normal(*shape, scale=scale * large).to(case.torch_dtype)


def product_bytes(case: Case) -> float:
    """Both factors read and the product written once."""
    m, n, k = case["m"], case["n"], case["k"]
    return float(case.torch_dtype.itemsize * (m * k + k * n + m * n))


def product_flops(case: Case) -> float:
    """A multiplication and an addition per element of the m x n x k cube."""
    return 2.0 * case["m"] * case["n"] * case["k"]


def grouped(a: torch.Tensor, b: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """Rows of each group times the group's matrix: (m, k) by (groups, k, n) to (m, n).

    Args:
        a: rows, those of one group one after the other.
        b: a matrix for each group.
        offsets: of the groups' first rows, and the end: (groups + 1,) in int32.
    """
    import torch

    aligned = all(x.shape[-1] * x.element_size() % 16 == 0 for x in (a, b))
    if a.dtype == torch.bfloat16 and aligned:
        return torch.nn.functional.grouped_mm(a, b, offs=offsets[1:])
    # Without reading the offsets: every group's product, of which its rows are kept.
    row = torch.arange(a.shape[0], device=a.device)
    out = a.new_zeros((a.shape[0], b.shape[2]))
    for group in range(b.shape[0]):
        own = (row >= offsets[group]) & (row < offsets[group + 1])
        out = torch.where(own[:, None], a @ b[group], out)
    return out
