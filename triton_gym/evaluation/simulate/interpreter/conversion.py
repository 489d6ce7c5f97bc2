"""What `Tensor.to` makes of values, without PyTorch where NumPy rounds as it does."""

from __future__ import annotations

import numpy as np

from triton_gym.evaluation.simulate.interpreter.formats import BFLOAT16, Array

_KNOWN = {
    "bool": np.dtype(np.bool_), "bfloat16": BFLOAT16,
    **{
        name: np.dtype(name)
        for name in (
            "float16", "float32", "float64", "int8", "int16", "int32", "int64",
            "uint8", "uint16", "uint32", "uint64",
        )
    },
}  # fmt: skip
_FLOATS = ("bfloat16", "float16", "float32", "float64")


def converted(raw: Array, source: str, target: str) -> Array:
    """Values in another dtype, rounded as PyTorch rounds them.

    Args:
        raw: bits of the values, C-contiguous.
        source: PyTorch's name of their dtype.
        target: of the dtype wanted.

    Returns:
        Bits of the new values, in the shape of `raw`.
    """
    if source == target:
        return raw
    if source not in _KNOWN or target not in _KNOWN or (
        source in _FLOATS and target not in _FLOATS  # beyond their range processors differ
    ):  # fmt: skip
        return _by_torch(raw, source, target)
    values = raw.view(_KNOWN[source])
    with np.errstate(all="ignore"):
        if target in ("bfloat16", "float16") and source != target:
            values = values.astype(np.float32)  # as PyTorch's own narrow types are made
        found = values.astype(_KNOWN[target])
    return np.asarray(found.view(f"u{found.dtype.itemsize}"))


def _by_torch(raw: Array, source: str, target: str) -> Array:
    import torch

    flat = torch.from_numpy(raw.reshape(-1).view(np.uint8)).view(getattr(torch, source))
    found = flat.to(getattr(torch, target)).view(torch.uint8).numpy()
    return np.asarray(found).view(_raw(found.size // max(raw.size, 1))).reshape(raw.shape)


def _raw(itemsize: int) -> str:
    return "c16" if itemsize == 16 else f"u{max(itemsize, 1)}"
