"""The modelled time of PyTorch references, held against the times that they took on an H200."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch
import torch.nn.functional as F

import triton_gym
from triton_gym import Case
from triton_gym.device import gpu_named
from triton_gym.evaluation.simulate.time_model.constants import CONSTANTS
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
OPERATORS = {
    "a transposed copy": (lambda x: x.t().contiguous(), (4096, 8192), "float32", 242.5),
    "halves of each row": (
        lambda x: F.silu(x[:, :4096]) * x[:, 4096:], (4096, 8192), "bfloat16", 98.3,
    ),
    "sums across rows": (lambda x: x.sum(0), (32768, 512), "float32", 56.5),
    "argmax": (lambda x: x.argmax(-1), (2048, 16384), "float16", 51.7),
    "logsumexp": (lambda x: x.logsumexp(-1), (512, 65536), "float32", 252.8),
    "a scan of rows": (lambda x: x.cumsum(-1), (8192, 2048), "float32", 106.0),
    "a scan across rows": (lambda x: x.cumsum(0), (2048, 8192), "float32", 777.8),
    "cummax": (lambda x: x.cummax(-1).values, (4096, 4096), "float32", 300.4),
    "sorted rows": (lambda x: x.sort(-1).values, (16384, 256), "float32", 396.4),
    "sorted long rows": (lambda x: x.sort(-1).values, (1024, 4096), "float32", 158.7),
    "the largest eight": (lambda x: x.topk(8, -1).values, (8192, 1024), "float32", 277.9),
    "windows": (
        lambda x: F.avg_pool2d(x.view(16, 1, 1024, 1024), 5, 1, 2), (16384, 1024), "float32", 329.9,
    ),
    "many small kernels": (
        lambda x: functools.reduce(lambda t, _: (t * t + 1).sqrt(), range(8), x),
        (1024, 1024), "float32", 76.2,
    ),
}  # fmt: skip
"""Kinds that nothing but how PyTorch's kernels are made explains."""
CATALOGUE = {
    "softmax": 56.5, "layer_norm": 56.4, "gelu": 86.8, "sum_rows": 80.1, "cumsum_rows": 206.4,
    "matmul": 173.7, "matmul_bias_gelu": 145.8, "causal_attention": 472.4, "group_norm": 88.3,
    "transpose": 462.6, "conv2d": 93.8, "bert_masked_attention": 159.7, "llama_swiglu": 628.8,
    "unet3d_instance_norm": 3543.1, "dlrm_embedding_bag": 73.7, "rnnt_joint": 166.8,
    "mixtral_moe": 5488.6, "int8_matmul": 1878.3, "llama_cross_entropy": 7027.2,
}  # fmt: skip
COMPILED = {
    "softmax": 46.6, "silu_mul": 99.1, "transpose": 138.2, "dropout": 133.2, "conv2d": 93.6,
    "llama_residual_rms_norm": 73.1, "llama_rope": 44.0, "mixtral_moe": 3337.0,
}  # fmt: skip
"""By `torch.compile`, measured on the same GPU."""


def problem(reference, shape, dtype):
    return dataclasses.replace(
        triton_gym.load("softmax"),
        reference=reference,
        bench=(Case(dtype, {"rows": shape[0], "cols": shape[1]}),),
    )


def modelled(task, baseline="eager"):
    return baseline_us(task, task.bench[0], GPU, baseline)


@pytest.mark.parametrize("name", MEASURED | OPERATORS)
def test_references_take_about_what_they_took(name):
    reference, shape, dtype, us = (MEASURED | OPERATORS)[name]
    assert modelled(problem(reference, shape, dtype)) == pytest.approx(us, rel=0.25)


@pytest.mark.parametrize("name", CATALOGUE)
def test_references_of_the_catalogue_too(name):
    assert modelled(triton_gym.load(name)) == pytest.approx(CATALOGUE[name], rel=0.15)


@pytest.mark.parametrize("name", COMPILED)
def test_what_is_compiled_takes_about_what_it_took(name):
    assert modelled(triton_gym.load(name), "compile") == pytest.approx(COMPILED[name], rel=0.15)


def test_a_launch_costs_what_it_costs_an_answer():
    one, three = (
        modelled(problem(lambda x, n=n: functools.reduce(lambda t, _: t + 1, range(n), x),
                         (64, 64), "float32"))
        for n in (1, 3)
    )  # fmt: skip
    assert CONSTANTS.launch_us < one < CONSTANTS.launch_us + 1.0
    assert three - one == pytest.approx(2 * CONSTANTS.next_launch_us, abs=1.5)


def test_an_operator_with_unknown_arguments_costs_what_it_moves():
    def odd(x):
        return torch.ops.aten.topk.default(x, 3, 0, True, False)[0] + torch.special.i0e(x)[:3]

    assert 5.0 < modelled(problem(odd, (2048, 2048), "float32")) < 2000.0
