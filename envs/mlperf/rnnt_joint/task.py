"""The joint of an RNN transducer: every frame with every label, so writing is all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task

from ...answers import answers
from ...draws import Draw

if TYPE_CHECKING:
    import torch


def reference(f: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """relu(f[b, t] + g[b, u]): (B, T, H) and (B, U, H) to (B, T, U, H).

    Source: Graves, "Sequence Transduction with Recurrent Neural Networks", arXiv 1211.3711, with
    the sum and relu of MLPerf's RNN-T.
    """
    import torch

    return torch.relu(f[:, :, None] + g[:, None])


def part(ranges: Any, cast: Any, f: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Some frames and labels."""
    batch, t, u, _ = ranges
    return reference(cast(f[batch, t]), cast(g[batch, u]))


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Frames and labels of either sign, so that half of the sums are cut off."""
    draw = Draw(generator)
    f = draw.normal(case["batch"], case["frames"], case["hidden"])
    g = draw.normal(case["batch"], case["labels"], case["hidden"], scale=1.5)
    return f.to(case.torch_dtype), g.to(case.torch_dtype)


def sizes(batch: int, frames: int, labels: int, hidden: int) -> dict[str, int]:
    """The named sizes of a case."""
    return {"batch": batch, "frames": frames, "labels": labels, "hidden": hidden}


def flops(case: Case) -> float:
    """A sum and a maximum an element of the result."""
    return 2.0 * case["batch"] * case["frames"] * case["labels"] * case["hidden"]


def min_bytes(case: Case) -> float:
    """Both arguments read and the result written once."""
    batch, t, u = case["batch"], case["frames"], case["labels"]
    return float(case.torch_dtype.itemsize * batch * case["hidden"] * (t + u + t * u))


TASK = Task(
    name="rnnt_joint",
    title="Joint of RNN-T",
    statement=(
        "Compute out[b, t, u] = relu(f[b, t] + g[b, u]) for all pairs of a frame t and a label u. "
        "f is [batch, frames, hidden] and g is [batch, labels, hidden], both contiguous and of one "
        "dtype, float32, float16 or bfloat16; return out of shape [batch, frames, labels, hidden] "
        "in that dtype, contiguous. All sizes may be any positive integer."
    ),
    entry=Entry("rnnt_joint", ("f", "g")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float32", sizes(2, 3, 5, 33)),
        Case("float16", sizes(1, 7, 2, 64)),
        Case("bfloat16", sizes(3, 2, 9, 17)),
        Case("float32", sizes(1, 2, 3, 1100)),
        Case("bfloat16", sizes(1, 2, 131, 16)),
    ),
    bench=(Case("float16", sizes(8, 200, 50, 512)),),
    untimed=(Case("float32", sizes(8, 200, 50, 512)),),
    spans={
        "batch": Span(low=1, high=8, tiny=2),
        "frames": Span(low=1, high=60, tiny=5),
        "labels": Span(low=2, high=60, tiny=6),
        "hidden": Span(low=2, high=600, tiny=40),
    },
    flops=flops,
    min_bytes=min_bytes,
    reduction=lambda case: 1,
    knobs={
        "BLOCK": (256, 512, 1024),
        "LABELS": (4, 8, 16, 32),
        "NUM_WARPS": (2, 4, 8),
    },
    tags=("mlperf", "elementwise"),
    **answers(__file__),
)
