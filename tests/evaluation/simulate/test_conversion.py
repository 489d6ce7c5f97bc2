"""What interpreters compute without PyTorch is what PyTorch computes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from triton_gym.evaluation.simulate.interpreter.conversion import converted
from triton_gym.evaluation.simulate.interpreter.error_function import erf, erfc

FLOATS = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
WHOLE = ("bool", "uint8", "int8", "int16", "int32", "int64")


def drawn(dtype):
    """Values of every size that a dtype has, ties of narrower ones among them."""
    if dtype not in FLOATS:
        kind = getattr(torch, dtype)
        low, high = (0, 2) if dtype == "bool" else (torch.iinfo(kind).min, torch.iinfo(kind).max)
        return torch.tensor([low, high - 1, 0, 1, high // 3, low // 7], dtype=torch.int64).to(kind)
    generator = torch.Generator().manual_seed(1)
    wide = torch.randn(4096, generator=generator, dtype=torch.float64)
    wide *= 10.0 ** torch.randint(-8, 9, (4096,), generator=generator)
    ties = 1 + torch.arange(-64, 64, dtype=torch.float64) / 2**12
    special = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan, 65519.9, 65520.0])
    return torch.cat([wide, ties, special.double()]).to(getattr(torch, dtype))


@pytest.mark.parametrize("target", FLOATS + WHOLE)
@pytest.mark.parametrize("source", FLOATS + WHOLE)
def test_values_are_rounded_as_by_pytorch(source, target):
    values = drawn(source)
    if source in FLOATS and target in WHOLE:  # beyond what the whole numbers hold nothing is told
        values = values[values.double().abs() < 100]
    raw = values[: len(values) // 2 * 2].view(torch.uint8).numpy()
    raw = raw.view(f"u{values.itemsize}").reshape(2, -1)
    found = converted(raw, source, target)
    assert found.shape == raw.shape
    bits = torch.from_numpy(np.ascontiguousarray(found).reshape(-1).view(np.uint8))
    got = bits.view(getattr(torch, target)).double()
    wanted = values[: raw.size].to(getattr(torch, target)).double()
    assert torch.equal(got.nan_to_num(nan=7e77), wanted.nan_to_num(nan=7e77))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_error_function_is_good_to_its_last_digit(dtype):
    values = np.concatenate([np.linspace(-7, 7, 5001), [0.0, 1e-30, 30.0, np.inf, -np.inf]])
    values = values.astype(dtype)
    for found, exact in ((erf(values), math.erf), (erfc(values), math.erfc)):
        assert found.dtype == dtype
        wanted = np.array([exact(float(value)) for value in values])
        tiny = np.finfo(dtype).tiny
        assert np.all(np.abs(found - wanted) <= 8 * np.finfo(dtype).eps * np.abs(wanted) + tiny)
    assert np.isnan(erf(np.array([np.nan], dtype))).all()
