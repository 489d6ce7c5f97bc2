"""The modelled time of PyTorch references, held against the times that they took on an H200."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

import triton_gym
from triton_gym import Case
from triton_gym.device import gpu_named
from triton_gym.evaluation.simulate.time_model.eager.baseline import baseline_us

GPU = gpu_named("h200")


def rms_norm_minus(x):
    return 0.5 - F.rms_norm(x, x.shape[-1:], eps=1e-6)


MEASURED = {
    "rms_norm": (lambda x: F.rms_norm(x, x.shape[-1:], eps=1e-6), (2048, 4096), "float16", 13.7),
    "rms_norm, float32": (
        lambda x: F.rms_norm(x, x.shape[-1:], eps=1e-6), (10000, 1000), "float32", 25.3,
    ),
    "rms_norm and more": (rms_norm_minus, (4096, 2048), "bfloat16", 21.7),
    "variance": (lambda x: 0.5 - x.var(-1, unbiased=False), (4096, 2048), "bfloat16", 25.9),
    "a mean is taken off": (
        lambda x: x - x.mean(-1, keepdim=True), (8192, 1024), "float16", 30.2,
    ),
    "softmax of short rows": (lambda x: x.softmax(-1), (16384, 512), "float32", 19.6),
    "softmax in half precision": (lambda x: x.softmax(-1), (4096, 2048), "float16", 27.0),
    "elementwise": (F.hardswish, (4096, 3000), "float32", 25.3),
    "three elementwise": (
        lambda x: torch.tanh(F.softsign(F.softplus(x))), (8192, 1024), "float32", 100.7,
    ),
}  # fmt: skip
CATALOGUE = {
    "softmax": 56.5, "layer_norm": 56.4, "gelu": 86.8, "sum_rows": 80.1, "cumsum_rows": 206.4,
    "matmul": 173.7, "matmul_bias_gelu": 145.8, "causal_attention": 472.4,
}  # fmt: skip


def modelled(task):
    case = task.bench[0]
    return baseline_us(task, case, GPU, "eager")


@pytest.mark.parametrize("name", MEASURED)
def test_references_take_about_what_they_took(name):
    reference, shape, dtype, us = MEASURED[name]
    task = dataclasses.replace(
        triton_gym.load("softmax"),
        reference=reference,
        bench=(Case(dtype, {"rows": shape[0], "cols": shape[1]}),),
    )
    assert modelled(task) == pytest.approx(us, rel=0.25)


@pytest.mark.parametrize("name", CATALOGUE)
def test_references_of_the_catalogue_too(name):
    assert modelled(triton_gym.load(name)) == pytest.approx(CATALOGUE[name], rel=0.15)
