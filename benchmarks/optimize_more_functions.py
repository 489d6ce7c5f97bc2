"""More functions that people have: modules, gathers, scans, losses, several results, integers."""

from __future__ import annotations

from typing import Any

import torch
from optimize_functions import Subject
from torch import nn
from torch.nn import functional


class CausalAttention(nn.Module):
    """Attention of several heads over what came before, with its projections."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        q, k, v = self.project(x).chunk(3, dim=-1)
        q, k, v = (
            one.view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for one in (q, k, v)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class Embedding(nn.Module):
    """Rows of a table by token, with those of their position added, normalised."""

    def __init__(self, words: int, length: int, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.places = nn.Parameter(torch.randn(length, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.norm(self.words(tokens) + self.places[: tokens.shape[-1]])


def distillation(student: Any, teacher: Any, temperature: float = 2.0) -> Any:
    p = torch.softmax(teacher.float() / temperature, -1)
    q = torch.log_softmax(student.float() / temperature, -1)
    return functional.kl_div(q, p, reduction="batchmean") * temperature**2


def quantized_rows(x: Any) -> Any:
    scale = x.float().abs().amax(-1, keepdim=True).clamp(min=1e-6) / 127
    return (x.float() / scale).round().clamp(-127, 127).to(torch.int8), scale.squeeze(-1)


def norm_relu_add(x: Any, residual: Any, mean: Any, variance: Any, w: Any, b: Any) -> Any:
    return torch.relu(functional.batch_norm(x, mean, variance, w, b) + residual)


def running_mean(x: Any) -> Any:
    count = torch.arange(1, x.shape[-1] + 1, device=x.device, dtype=torch.float32)
    return (x.float().cumsum(-1) / count).to(x.dtype)


def distances(x: Any, y: Any) -> Any:
    return (x[:, None, :] - y[None, :, :]).square().sum(-1).clamp(min=0).sqrt()


def focal_loss(logits: Any, labels: Any, gamma: float = 2.0) -> Any:
    p = torch.sigmoid(logits)
    likely = torch.where(labels, p, 1 - p)
    return (-((1 - likely) ** gamma) * likely.clamp(min=1e-6).log()).mean(-1)


def causal_convolution(x: Any, w: Any, b: Any) -> Any:
    padded = functional.pad(x, (3, 0))
    length = x.shape[-1]
    total = sum(padded[..., i : i + length] * w[:, i, None] for i in range(4))
    return functional.silu(total + b[:, None])


def masked_mean(x: Any, mask: Any) -> Any:
    weight = mask.to(x.dtype)[..., None]
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


def adam(p: Any, g: Any, m: Any, v: Any, rate: float = 1e-3) -> Any:
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g * g
    return p - rate * m / (v.sqrt() + 1e-8), m, v


def segment_sums(x: Any, index: Any) -> Any:
    return x.new_zeros(64, x.shape[-1]).index_add(0, index, x)


def complex_rotary(x: Any, angle: Any) -> Any:
    turn = torch.polar(torch.ones_like(angle), angle)
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype)


def gated_heads(inputs: dict[str, Any], heads: list[Any]) -> Any:
    mixed = inputs["x"] * torch.sigmoid(inputs["gate"])
    return {"sum": mixed + heads[0] + heads[1], "largest": mixed.amax(-1)}


def _square(n: Any, rows: int, width: int, count: int) -> tuple[Any, ...]:
    return tuple(n(rows, width) for _ in range(count))


def _tokens(n: Any, s: bool) -> tuple[Any, ...]:
    batch, length = (2, 16) if s else (16, 1024)
    words = 100 if s else 32000
    x = n(batch, length, dtype=torch.float32)
    return ((x * 1e4).to(torch.int64) % words,)


def _images(n: Any, s: bool) -> tuple[Any, ...]:
    batch, channels, side = (2, 8, 8) if s else (32, 128, 56)
    shape = (batch, channels, side, side)
    return n(*shape), n(*shape), n(channels), n(channels).abs() + 0.5, n(channels), n(channels)


def _points(n: Any, s: bool) -> tuple[Any, ...]:
    count = 24 if s else 2048
    return n(count, 16, dtype=torch.float32), n(count, 16, dtype=torch.float32)


def _labels(n: Any, s: bool) -> tuple[Any, ...]:
    rows, width = (24, 80) if s else (8192, 1024)
    return n(rows, width, dtype=torch.float32), n(rows, width, dtype=torch.float32) > 1


def _signal(n: Any, s: bool) -> tuple[Any, ...]:
    channels, length = (8, 40) if s else (2048, 2048)
    return n(2, channels, length), n(channels, 4), n(channels)


def _sentences(n: Any, s: bool) -> tuple[Any, ...]:
    batch, length, width = (4, 12, 32) if s else (256, 256, 768)
    return n(batch, length, width), n(batch, length, dtype=torch.float32) > -1


def _segments(n: Any, s: bool) -> tuple[Any, ...]:
    rows, width = (64, 32) if s else (65536, 128)
    x = n(rows, width, dtype=torch.float32)
    return x, (n(rows, dtype=torch.float32).abs() * 1e4).to(torch.int64) % 64


def _angles(n: Any, s: bool) -> tuple[Any, ...]:
    length, width = (16, 32) if s else (4096, 128)
    return n(2, 4, length, width), n(length, width // 2, dtype=torch.float32)


def _tree(n: Any, s: bool) -> tuple[Any, ...]:
    rows, width = (24, 64) if s else (8192, 4096)
    x, gate, first, second = _square(n, rows, width, 4)
    return {"x": x, "gate": gate}, [first, second]


def _module(small: Any, large: Any, s: bool) -> Any:
    torch.manual_seed(0)
    return small() if s else large().to(torch.bfloat16)


def _rows(*names: str) -> dict[str, tuple[int, ...]]:
    """The first axis of each varies."""
    return dict.fromkeys(names, (0,))


def _words(n: Any, s: bool) -> tuple[Any, ...]:
    return _square(n, *((24, 100) if s else (4096, 32000)), 2)


def _row(n: Any, s: bool) -> tuple[Any, ...]:
    return _square(n, *((24, 96) if s else (8192, 4096)), 1)


def _states(n: Any, s: bool) -> tuple[Any, ...]:
    return _square(n, *((24, 96) if s else (4096, 4096)), 4)


_TREE = _rows("inputs['x']", "inputs['gate']", "heads[0]", "heads[1]")
MORE = (
    Subject("distillation", distillation, _words, _rows("student", "teacher")),
    Subject("quantized_rows", quantized_rows, _row, _rows("x")),
    Subject("norm_relu_add", norm_relu_add, _images, _rows("x", "residual")),
    Subject("running_mean", running_mean, _row, _rows("x")),
    Subject("distances", distances, _points, _rows("x", "y")),
    Subject("focal_loss", focal_loss, _labels, _rows("logits", "labels")),
    Subject("causal_convolution", causal_convolution, _signal, {"x": (2,)}),
    Subject("masked_mean", masked_mean, _sentences, _rows("x", "mask")),
    Subject("adam", adam, _states, _rows("p", "g", "m", "v")),
    Subject("segment_sums", segment_sums, _segments, _rows("x", "index")),
    Subject("complex_rotary", complex_rotary, _angles, {"x": (2,), "angle": (0,)}),
    Subject("gated_heads", gated_heads, _tree, _TREE),
)


def modules(small: bool) -> tuple[Subject, ...]:
    """Modules; their parameters are captured."""
    attention: Any = _module(
        lambda: CausalAttention(64, 4), lambda: CausalAttention(1024, 16), small
    )
    embedding: Any = _module(
        lambda: Embedding(100, 64, 32), lambda: Embedding(32000, 2048, 1024), small
    )
    return (
        Subject("causal_attention", attention, _sequence, {"x": (1,)}, product=True),
        Subject("embedding", embedding, _tokens, {"tokens": (0, 1)}),
    )


def _sequence(n: Any, s: bool) -> tuple[Any, ...]:
    return (n(2, 20, 64),) if s else (n(4, 1024, 1024),)
