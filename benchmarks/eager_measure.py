"""Measure PyTorch's operators on a GPU, as judges time references: what the model of them is held to.

    python benchmarks/eager_measure.py --seconds 90 --out benchmarks/results/operators-h200.json
    python benchmarks/eager_measure.py --compile --seconds 240 --out benchmarks/results/operators-h200.json

Nothing was known of these times when the model was written. A run goes on with what the file does
not hold; an operator that fails is a row with its error. Inputs are drawn anew for each call, the
L2 cache is cold before it, and calls are queued before the device begins.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import record
import torch
from eager_times import written

from triton_gym.evaluation import check
from triton_gym.evaluation.backends.cuda.device_timing import (
    SHORTEST_US,
    Flush,
    Series,
    queue_ahead,
)

CALLS = 6
"""Calls that are queued at once…"""
ROUNDS = 3
"""…and how often."""
SETS = 2
"""Sets of inputs, in turn."""
FLUSHED = 256 << 20
"""Bytes that are read to empty L2."""

# Family; expressions, `;` between several results; dtype; arguments with their shapes.
OPERATORS: tuple[tuple[str, str, tuple[str, ...], dict[str, list[Any]]], ...] = (
    ("elementwise", "x + y", ("float32", "bfloat16"), {"x": [6000, 2500], "y": [6000, 2500]}),
    ("elementwise", "x * 2 + 1", ("float32", "float16"), {"x": [1 << 18]}),
    ("elementwise", "torch.exp(x)", ("float32", "bfloat16", "float64"), {"x": [3000, 5000]}),
    ("elementwise", "F.gelu(x, approximate='tanh')", ("float32", "float16"), {"x": [8192, 3072]}),
    ("elementwise", "F.mish(x)", ("float32", "float16"), {"x": [8192, 3072]}),
    ("elementwise", "torch.where(m, x, y)", ("float32", "float16"),
     {"m": ["bool", 5000, 4000], "x": [5000, 4000], "y": [5000, 4000]}),
    ("elementwise", "x.masked_fill(m, 0.0)", ("float32", "bfloat16"),
     {"x": [5000, 4000], "m": ["bool", 5000, 4000]}),
    ("elementwise", "x.clamp(-1, 1)", ("float32",), {"x": [64, 64]}),
    ("broadcast", "x + b", ("float32", "float16"), {"x": [7000, 4096], "b": [4096]}),
    ("broadcast", "x * c", ("float32", "float16"), {"x": [7000, 4096], "c": [7000, 1]}),
    ("broadcast", "a + b", ("float32", "float16"), {"a": [4000, 1], "b": [1, 6000]}),
    ("broadcast", "x * s + t", ("float32", "bfloat16"),
     {"x": [32, 128, 64, 64], "s": [1, 128, 1, 1], "t": [1, 128, 1, 1]}),
    ("broadcast", "x[:, ::2] + x[:, 1::2]", ("float32", "float16"), {"x": [6000, 5000]}),
    ("conversions", "x.float()", ("float16", "bfloat16", "float64"), {"x": [7000, 3000]}),
    ("conversions", "x.half()", ("float32", "bfloat16"), {"x": [7000, 3000]}),
    ("conversions", "x + y", ("float32",), {"x": [7000, 3000], "y": ["bfloat16", 7000, 3000]}),
    ("conversions", "i + 1", ("float32",), {"i": ["int64", 5000, 3000]}),
    ("reductions", "x.sum()", ("float32", "float16"), {"x": [5000, 5000]}),
    ("reductions", "x.mean(-1)", ("float32", "bfloat16"), {"x": [20000, 768]}),
    ("reductions", "x.amax(-1)", ("float32", "float16"), {"x": [300, 100000]}),
    ("reductions", "x.sum(0)", ("float32", "float16"), {"x": [6000, 3000]}),
    ("reductions", "x.sum(1)", ("float32",), {"x": [64, 500, 600]}),
    ("reductions", "x.mean((2, 3))", ("float32", "float16"), {"x": [32, 512, 28, 28]}),
    ("reductions", "x.argmax(-1)", ("float32", "bfloat16"), {"x": [10000, 1500]}),
    ("reductions", "x.max(-1)", ("float32",), {"x": [10000, 1500]}),
    ("reductions", "x.var(-1)", ("float32", "float16"), {"x": [5000, 3000]}),
    ("reductions", "x.std(0)", ("float32",), {"x": [3000, 5000]}),
    ("reductions", "torch.linalg.vector_norm(x, dim=-1)", ("float32",), {"x": [9000, 2000]}),
    ("softmax", "torch.softmax(x, -1)", ("float32", "float16"), {"x": [30000, 300]}),
    ("softmax", "torch.softmax(x, -1)", ("float32", "bfloat16"), {"x": [1000, 20000]}),
    ("softmax", "torch.log_softmax(x, -1)", ("float32", "float16"), {"x": [5000, 2000]}),
    ("softmax", "torch.softmax(x, 1)", ("float32",), {"x": [64, 200, 900]}),
    ("norms", "F.layer_norm(x, (x.shape[-1],), w, b)", ("float32", "bfloat16"),
     {"x": [12000, 768], "w": [768], "b": [768]}),
    ("norms", "F.layer_norm(x, (x.shape[-1],))", ("float32", "float16"), {"x": [2000, 10000]}),
    ("norms", "F.rms_norm(x, (x.shape[-1],), w)", ("float32", "bfloat16"),
     {"x": [6000, 5120], "w": [5120]}),
    ("norms", "F.group_norm(x, 16, w, b)", ("float32", "float16"),
     {"x": [32, 128, 56, 56], "w": [128], "b": [128]}),
    ("norms", "F.batch_norm(x, m, v, w, b)", ("float32", "float16"),
     {"x": [32, 128, 56, 56], "m": [128], "v": [128], "w": [128], "b": [128]}),
    ("norms", "F.instance_norm(x)", ("float32",), {"x": [16, 64, 128, 128]}),
    ("norms", "F.normalize(x, dim=-1)", ("float32",), {"x": [9000, 1200]}),
    ("cross entropy", "F.cross_entropy(x, i, reduction='none')", ("float32", "float16"),
     {"x": [3000, 20000], "i": ["int64:20000", 3000]}),
    ("cross entropy", "F.cross_entropy(x, i)", ("float32",),
     {"x": [6000, 1000], "i": ["int64:1000", 6000]}),
    ("copies", "x.t().contiguous()", ("float32", "bfloat16"), {"x": [3000, 5000]}),
    ("copies", "x.transpose(1, 2).contiguous()", ("float32", "float16"), {"x": [16, 1000, 16, 80]}),
    ("copies", "x.permute(0, 2, 3, 1).contiguous()", ("float32", "float16"),
     {"x": [32, 96, 48, 48]}),
    ("copies", "torch.cat([x, y], 0)", ("float32", "float16"), {"x": [3000, 2000], "y": [4000, 2000]}),
    ("copies", "torch.cat([x, y], 1)", ("float32", "float16"), {"x": [5000, 700], "y": [5000, 1300]}),
    ("copies", "torch.stack([x, y, z], 1)", ("float32",),
     {"x": [5000, 1000], "y": [5000, 1000], "z": [5000, 1000]}),
    ("copies", "F.pad(x, (3, 3))", ("float32", "float16"), {"x": [4000, 3000]}),
    ("copies", "x.repeat(1, 3)", ("float32",), {"x": [3000, 1500]}),
    ("copies", "x.flip(-1)", ("float32",), {"x": [4000, 3000]}),
    ("copies", "torch.tril(x)", ("float32", "float16"), {"x": [5000, 5000]}),
    ("lookups", "F.embedding(i, x)", ("float32", "bfloat16"),
     {"x": [60000, 768], "i": ["int64:60000", 20000]}),
    ("lookups", "x[i]", ("float32",), {"x": [1 << 24], "i": ["int64:16777216", 3000000]}),
    ("lookups", "x.gather(1, i)", ("float32", "float16"),
     {"x": [5000, 2000], "i": ["int64:2000", 5000, 500]}),
    ("lookups", "torch.zeros_like(x).scatter_(1, i, x)", ("float32",),
     {"x": [4000, 2000], "i": ["int64:2000", 4000, 2000]}),
    ("lookups", "torch.zeros_like(x).index_add_(0, i, x)", ("float32", "float16"),
     {"x": [40000, 128], "i": ["int64:40000", 40000]}),
    ("lookups", "x.new_zeros(512).scatter_add_(0, i, x)", ("float32",),
     {"x": [2000000], "i": ["int64:512", 2000000]}),
    ("order", "x.cumsum(-1)", ("float32", "float16"), {"x": [6000, 3000]}),
    ("order", "x.cumsum(0)", ("float32",), {"x": [3000, 6000]}),
    ("order", "x.cumprod(-1)", ("float32",), {"x": [500, 20000]}),
    ("order", "x.sort(-1)", ("float32", "float16"), {"x": [6000, 1000]}),
    ("order", "x.sort(-1)", ("float32",), {"x": [4000, 100]}),
    ("order", "x.sort(-1)", ("float32",), {"x": [300, 12000]}),
    ("order", "x.sort()", ("float32",), {"x": [3000000]}),
    ("order", "x.topk(32, -1)", ("float32", "bfloat16"), {"x": [3000, 5000]}),
    ("order", "x.topk(4, -1)", ("float32",), {"x": [30000, 64]}),
    ("order", "x.median(-1)", ("float32",), {"x": [3000, 1000]}),
    ("products", "a @ b", ("float16", "float32"), {"a": [3000, 5000], "b": [5000, 2000]}),
    ("products", "a @ b", ("bfloat16",), {"a": [64, 8192], "b": [8192, 8192]}),
    ("products", "a @ b", ("bfloat16", "float32"), {"a": [256, 256], "b": [256, 256]}),
    ("products", "torch.bmm(a, b)", ("float16", "float32"), {"a": [96, 512, 64], "b": [96, 64, 512]}),
    ("products", "F.linear(x, w, b)", ("bfloat16",), {"x": [16, 700, 1024], "w": [4096, 1024], "b": [4096]}),
    ("products", "a @ v", ("float32",), {"a": [9000, 3000], "v": [3000]}),
    ("convolutions", "F.conv2d(x, w, padding=1)", ("float16", "float32"),
     {"x": [32, 64, 64, 64], "w": [128, 64, 3, 3]}),
    ("convolutions", "F.conv2d(x, w, b)", ("float32",),
     {"x": [16, 256, 32, 32], "w": [512, 256, 1, 1], "b": [512]}),
    ("convolutions", "F.conv2d(x, w, padding=2, groups=96)", ("float32", "float16"),
     {"x": [16, 96, 64, 64], "w": [96, 1, 5, 5]}),
    ("convolutions", "F.conv1d(x, w)", ("float32",), {"x": [16, 128, 8192], "w": [128, 128, 3]}),
    ("convolutions", "F.conv3d(x, w)", ("float32",), {"x": [4, 16, 32, 64, 64], "w": [32, 16, 3, 3, 3]}),
    ("convolutions", "F.conv_transpose2d(x, w, stride=2)", ("float32",),
     {"x": [16, 64, 64, 64], "w": [64, 32, 3, 3]}),
    ("poolings", "F.max_pool2d(x, 2)", ("float32", "float16"), {"x": [32, 64, 112, 112]}),
    ("poolings", "F.avg_pool2d(x, 3, 1, 1)", ("float32",), {"x": [16, 64, 128, 128]}),
    ("poolings", "F.adaptive_avg_pool2d(x, 1)", ("float32",), {"x": [64, 512, 14, 14]}),
    ("poolings", "F.interpolate(x, scale_factor=2.0)", ("float32",), {"x": [16, 64, 64, 64]}),
    ("attention", "F.scaled_dot_product_attention(q, k, v)", ("bfloat16", "float32"),
     {"q": [4, 12, 1024, 64], "k": [4, 12, 1024, 64], "v": [4, 12, 1024, 64]}),
    ("attention", "F.scaled_dot_product_attention(q, k, v, is_causal=True)", ("float16",),
     {"q": [2, 16, 2048, 96], "k": [2, 16, 2048, 96], "v": [2, 16, 2048, 96]}),
    ("attention", "F.scaled_dot_product_attention(q, k, v, m)", ("bfloat16",),
     {"q": [4, 12, 1024, 128], "k": [4, 12, 1024, 128], "v": [4, 12, 1024, 128],
      "m": ["bool", 1024, 1024]}),
    ("attention", "torch.softmax(q @ k.mT * 0.125, -1) @ v", ("float16", "float32"),
     {"q": [4, 12, 1024, 64], "k": [4, 12, 1024, 64], "v": [4, 12, 1024, 64]}),
    ("small", "torch.relu(x)", ("float32",), {"x": [1000]}),
    ("small", "((x + 1) * 2 - x).tanh().sum()", ("float32",), {"x": [100, 100]}),
    ("small", "torch.softmax(x @ w, -1)", ("float32",), {"x": [128, 128], "w": [128, 128]}),
)  # fmt: skip


def references() -> Iterator[dict[str, Any]]:
    """Every operator with every dtype, written out."""
    for number, (family, text, dtypes, arguments) in enumerate(OPERATORS):
        for dtype in dtypes:
            yield {
                "family": f"{family} alone", "name": f"operator_{number}_{dtype}", "dtype": dtype,
                "reference": f"def reference({', '.join(arguments)}):\n    return {text}\n",
                "arguments": arguments,
            }  # fmt: skip


def times_us(row: dict[str, Any], flush: Flush, *, compiled: bool) -> list[float]:
    """Device times of a reference."""
    task = written(row)
    sets = [check.draw_inputs(task, task.bench[0], seed, flush.device) for seed in range(SETS)]
    function = torch.compile(task.reference, dynamic=False) if compiled else task.reference
    calls = [functools.partial(function, *sets[k % SETS]) for k in range(CALLS)]
    found: list[float] = []
    with torch.no_grad():
        for call in calls:
            call()  # what it loads, it has loaded
        torch.cuda.synchronize()
        queueing = SHORTEST_US * CALLS
        for _ in range(ROUNDS):
            series = Series(CALLS)
            queue = functools.partial(
                series.queue, [(call, lambda _: None) for call in calls], flush
            )
            queueing = queue_ahead(queue, 1.5 * queueing)
            found += series.times_us
    return found


def main() -> None:
    """Measure what the file does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--compile", action="store_true", help="of torch.compile, too")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    known = {}
    if args.out.exists():
        known = {row["name"]: row for row in json.loads(args.out.read_text())["rows"]}
    rows = [{**row, **known.get(row["name"], {})} for row in references()]
    flush = Flush(FLUSHED, torch.device(args.device))
    end = time.monotonic() + args.seconds
    for kind in ("eager_us", "compile_us") if args.compile else ("eager_us",):
        for row in rows:
            if kind in row or f"{kind[:-3]}_error" in row or time.monotonic() > end:
                continue
            try:
                times = times_us(row, flush, compiled=kind == "compile_us")
                row[kind] = round(statistics.median(times), 2)
                row[f"{kind[:-3]}_spread"] = [round(min(times), 2), round(max(times), 2)]
            except Exception as error:  # one operator must not end the table
                row[f"{kind[:-3]}_error"] = f"{type(error).__name__}: {error}"[:300]
            torch.cuda.empty_cache()
            torch._dynamo.reset()
            print(f"{row.get(kind, math.nan):10.2f} {kind} {row['name']}", flush=True)
        record.write(args.out, rows, device=args.device)
    print(sum("eager_us" in row for row in rows), "of", len(rows), "operators measured")


if __name__ == "__main__":
    main()
