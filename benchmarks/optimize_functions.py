"""Functions that people have, with examples of their calls: what `optimize.py` optimises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Subject:
    """A function with calls of it."""

    name: str
    function: Callable[..., Any]
    make: Callable[[Callable[..., torch.Tensor], bool], tuple[Any, ...]]
    """Makes the arguments from `normal(*shape, dtype=)`; small ones if so asked."""
    dynamic: Mapping[str, tuple[int, ...]]
    """Axes that vary in its calls."""
    product: bool = False
    """Whether it is a matrix product or attention."""

    def example(self, device: str, *, small: bool = False, seed: int = 0) -> tuple[Any, ...]:
        """The arguments of a call."""
        generator = torch.Generator(device).manual_seed(seed)

        def normal(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
            made = torch.randn(*shape, device=device, generator=generator)
            return made.to(torch.float32 if small and dtype.is_floating_point else dtype)

        return self.make(normal, small)


def rms_norm_residual(x: Any, r: Any, w: Any, eps: float = 1e-6) -> Any:
    h = x + r
    mean = h.float().pow(2).mean(-1, keepdim=True)
    return (h.float() * torch.rsqrt(mean + eps)).to(x.dtype) * w, h


def swiglu(x: Any, gate: Any, up: Any, down: Any) -> Any:
    return (functional.silu(x @ gate) * (x @ up)) @ down


def rotary(q: Any, cos: Any, sin: Any) -> Any:
    first, second = q.chunk(2, dim=-1)
    return q * cos + torch.cat((-second, first), -1) * sin


def cross_entropy(x: Any, target: Any) -> Any:
    return functional.cross_entropy(x.float(), target)


def gelu_linear(x: Any, w: Any, b: Any) -> Any:
    return functional.gelu(functional.linear(x, w, b), approximate="tanh")


def dequantized_product(x: Any, q: Any, scale: Any) -> Any:
    return x @ (q.to(x.dtype) * scale[None, :])


def masked_softmax(x: Any, mask: Any) -> Any:
    return torch.softmax(x.masked_fill(~mask, float("-inf")), -1)


def group_norm_silu(x: Any, w: Any, b: Any) -> Any:
    return functional.silu(functional.group_norm(x, 8, w, b))


def top2_gate(x: Any, w: Any) -> Any:
    values, index = torch.topk(x @ w, 2, -1)
    return torch.softmax(values, -1), index


def stencil(u: Any) -> Any:
    out = u.clone()
    inner = u[1:-1, 1:-1] + u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]
    out[1:-1, 1:-1] = 0.2 * inner
    return out


def biased_attention(q: Any, k: Any, v: Any, bias: Any) -> Any:
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def mlp_block(x: Any, gain: Any, shift: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    h = functional.layer_norm(x, x.shape[-1:], gain, shift)
    return x + functional.linear(functional.gelu(functional.linear(h, w1, b1)), w2, b2)


def _norm(n: Any, s: bool) -> tuple[Any, ...]:
    rows, width = (32, 128) if s else (4096, 4096)
    return n(rows, width), n(rows, width), n(width)


def _swiglu(n: Any, s: bool) -> tuple[Any, ...]:
    rows, width, inner = (32, 64, 128) if s else (2048, 2048, 5632)
    scale = width**-0.5
    return n(rows, width), n(width, inner) * scale, n(width, inner) * scale, n(inner, width) * scale


def _rotary(n: Any, s: bool) -> tuple[Any, ...]:
    heads, length = (2, 32) if s else (32, 4096)
    return n(2, heads, length, 128), n(length, 128), n(length, 128)


def _entropy(n: Any, s: bool) -> tuple[Any, ...]:
    rows, words = (32, 100) if s else (4096, 32000)
    x = n(rows, words)
    return x, torch.arange(rows, device=x.device) * 7 % words


def _linear(n: Any, s: bool) -> tuple[Any, ...]:
    rows, width, inner = (32, 64, 128) if s else (4096, 2048, 8192)
    return n(rows, width), n(inner, width) * width**-0.5, n(inner)


def _quantized(n: Any, s: bool) -> tuple[Any, ...]:
    rows, width, inner = (32, 64, 128) if s else (512, 4096, 4096)
    x = n(rows, width)
    q = (n(width, inner, dtype=torch.float32) * 40).clamp(-127, 127).to(torch.int8)
    return x, q, n(inner).abs() * 0.01


def _masked(n: Any, s: bool) -> tuple[Any, ...]:
    rows, columns = (32, 64) if s else (16384, 2048)
    x = n(rows, columns, dtype=torch.float32)
    mask = n(rows, columns, dtype=torch.float32) > 0
    mask[:, 0] = True
    return x, mask


def _group(n: Any, s: bool) -> tuple[Any, ...]:
    batch, channels, side = (2, 16, 8) if s else (32, 256, 64)
    return n(batch, channels, side, side), n(channels), n(channels)


def _gate(n: Any, s: bool) -> tuple[Any, ...]:
    rows, width = (32, 64) if s else (16384, 2048)
    return n(rows, width, dtype=torch.float32), n(width, 8, dtype=torch.float32)


def _field(n: Any, s: bool) -> tuple[Any, ...]:
    side = 48 if s else 8192
    return (n(side, side, dtype=torch.float32),)


def _attention(n: Any, s: bool) -> tuple[Any, ...]:
    heads, length = (2, 32) if s else (16, 2048)
    given = [n(2, heads, length, 64) for _ in range(3)]
    return (*given, n(1, heads, length, length))


def _mlp(n: Any, s: bool) -> tuple[Any, ...]:
    rows, width = (32, 64) if s else (4096, 2048)
    scale = width**-0.5
    first, second = n(4 * width, width) * scale, n(width, 4 * width) * scale
    return n(rows, width), n(width), n(width), first, n(4 * width), second, n(width)


_ATTENTION = {"q": (2,), "k": (2,), "v": (2,), "bias": (2, 3)}
SUBJECTS = (
    Subject("rms_norm_residual", rms_norm_residual, _norm, {"x": (0,), "r": (0,)}),
    Subject("swiglu", swiglu, _swiglu, {"x": (0,)}, product=True),
    Subject("rotary", rotary, _rotary, {"q": (2,), "cos": (0,), "sin": (0,)}),
    Subject("cross_entropy", cross_entropy, _entropy, {"x": (0,), "target": (0,)}),
    Subject("gelu_linear", gelu_linear, _linear, {"x": (0,)}, product=True),
    Subject("dequantized_product", dequantized_product, _quantized, {"x": (0,)}, product=True),
    Subject("masked_softmax", masked_softmax, _masked, {"x": (0,), "mask": (0,)}),
    Subject("group_norm_silu", group_norm_silu, _group, {"x": (0,)}),
    Subject("top2_gate", top2_gate, _gate, {"x": (0,)}),
    Subject("stencil", stencil, _field, {"u": (0, 1)}),
    Subject("biased_attention", biased_attention, _attention, _ATTENTION, product=True),
    Subject("mlp_block", mlp_block, _mlp, {"x": (0,)}, product=True),
)
