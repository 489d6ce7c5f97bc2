"""What 3 x 3 convolutions of channels-last images share: the convolution, sizes, parts, counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Span

if TYPE_CHECKING:
    import torch

SPANS = {
    "images": Span(low=1, high=6, tiny=2),
    "height": Span(low=1, high=60, tiny=9),
    "breadth": Span(low=1, high=60, tiny=9),
    "channels": Span(low=8, high=128, tiny=16, multiple=8),
    "filters": Span(low=8, high=200, tiny=24, multiple=8),
}
"""Hidden shapes."""
KNOBS = {
    "IMAGES": (1, 2, 4),
    "BLOCK_H": (4, 8, 16),
    "BLOCK_W": (8, 16),
    "BLOCK_N": (64, 128, 256),
    "BLOCK_K": (16, 32, 64),
    "NUM_WARPS": (4, 8),
    "NUM_STAGES": (2, 3, 4, 5),
}
"""Of an implicit product over tiles of pixels."""


def convolved(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(N, H, W, C) with (O, 3, 3, C), zeros around: (N, H, W, O)."""
    import torch

    # Both are channels-last images to PyTorch, which does not copy them.
    images, filters = x.permute(0, 3, 1, 2), weight.permute(0, 3, 1, 2)
    return torch.conv2d(images, filters, padding=1).permute(0, 2, 3, 1)


def bordered(ranges: Any, cast: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A part of the convolution: computed with a border of rows, then cropped."""
    images, rows, cols, filters = ranges
    wide = slice(max(rows.start - 1, 0), min(rows.stop + 1, x.shape[1]))
    found = convolved(cast(x[images, wide]), cast(weight[filters]))
    return found[:, rows.start - wide.start : rows.stop - wide.start, cols]


def sizes(images: int, height: int, breadth: int, channels: int, filters: int) -> dict[str, int]:
    """The named sizes of a case."""
    return {
        "images": images, "height": height, "breadth": breadth,
        "channels": channels, "filters": filters,
    }  # fmt: skip


TINY = (
    Case("float16", sizes(2, 5, 7, 8, 16)),
    Case("bfloat16", sizes(1, 9, 4, 24, 8)),
    Case("float16", sizes(1, 3, 3, 16, 40)),
    # Several tiles along every axis, whatever the tiles.
    Case("bfloat16", sizes(1, 19, 21, 8, 8)),
    Case("float16", sizes(3, 2, 2, 72, 136)),
)
"""Cases for the interpreter."""


def flops(case: Case) -> float:
    """A product and a sum for each weight at each pixel."""
    return 2.0 * pixels(case) * 9 * case["channels"] * case["filters"]


def pixels(case: Case) -> int:
    """Pixels of all images."""
    return case["images"] * case["height"] * case["breadth"]


def min_bytes(case: Case) -> float:
    """Images and weights read, the result written once."""
    channels, filters = case["channels"], case["filters"]
    taps = (3 if case["height"] > 1 else 1) * (3 if case["breadth"] > 1 else 1)
    elements = pixels(case) * (channels + filters) + taps * channels * filters
    return float(case.torch_dtype.itemsize * elements)
