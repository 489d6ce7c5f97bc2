"""A task of one's own: the product of two vectors, entry by entry, plus a third."""

from __future__ import annotations

import argparse

import gymnasium as gym

import triton_gym
from triton_gym import Case, Entry, Span, Task

STARTER = """
import torch
import triton
import triton.language as tl

BLOCK = 256


@triton.jit
def fma_kernel(a_ptr, b_ptr, c_ptr, y_ptr, size, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < size
    a = tl.load(a_ptr + at, mask=mask).to(tl.float32)
    b = tl.load(b_ptr + at, mask=mask).to(tl.float32)
    c = tl.load(c_ptr + at, mask=mask).to(tl.float32)
    tl.store(y_ptr + at, (a * b + c).to(y_ptr.dtype.element_ty), mask=mask)


def fma(a, b, c):
    y = torch.empty_like(a)
    fma_kernel[(triton.cdiv(a.numel(), BLOCK),)](a, b, c, y, a.numel(), BLOCK)
    return y
"""


def reference(a, b, c):
    return a * b + c


def inputs(case, generator):
    import torch

    def normal():
        drawn = torch.randn(case["size"], generator=generator, device=generator.device)
        return drawn.to(case.torch_dtype)

    return normal(), normal(), normal()


FMA = Task(
    name="fma",
    title="a · b + c",
    statement="Compute a * b + c for three contiguous vectors of the same size and dtype.",
    entry=Entry("fma", ("a", "b", "c")),
    reference=reference,
    inputs=inputs,
    tiny=(Case("float32", {"size": 1000}), Case("float16", {"size": 77})),
    bench=(Case("float32", {"size": 1 << 24}),),
    spans={"size": Span(low=1, high=1 << 20, tiny=2000)},
    flops=lambda case: 2.0 * case["size"],
    min_bytes=lambda case: 4.0 * case["size"] * case.torch_dtype.itemsize,
    reduction=lambda case: 1,
    starter=STARTER,
    expert=STARTER,
    knobs={"BLOCK": (256, 512, 1024, 2048)},
    tags=("mine",),
)
triton_gym.register(FMA)  # so `triton-gym run random custom_task:TritonTune-fma-v0` works as well


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--smoke", action="store_true", help="one choice of knobs")
    args = parser.parse_args()

    env = gym.make("TritonTune-fma-v0", device=args.device)
    env.reset(seed=0)
    for choice in range(1 if args.smoke else 4):
        _, _, _, _, info = env.step([choice])
        print(f"BLOCK={info['BLOCK']}: {info['status']}, {info['runtime_us']:.1f} µs")
    env.close()


if __name__ == "__main__":
    main()
