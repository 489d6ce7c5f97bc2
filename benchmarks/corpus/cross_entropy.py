"""Cross entropy over large vocabularies: one pass, two, split, with its gradient, fused products."""

import torch

from .entry import Family, Kernel, integers, normal, problem, rows_of


def losses(logits, label):
    """log sum exp of every row, minus the logit of its label."""
    picked = torch.gather(logits, 1, label[:, None])[:, 0]
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return torch.logsumexp(wide, dim=-1) - picked


def losses_gradient(logits, label):
    """softmax of every row, minus one at its label."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    found = torch.softmax(wide, dim=-1)
    spot = torch.arange(logits.shape[1], device=logits.device)[None, :] == label[:, None]
    return (found - spot.to(found.dtype)).to(logits.dtype)


def smoothed_losses(logits, label):
    """The same as `losses`, a tenth of the label's weight spread over all."""
    base = torch.logsumexp(logits, dim=-1)
    picked = torch.gather(logits, 1, label[:, None])[:, 0]
    return base - 0.9 * picked - 0.1 * logits.mean(-1)


def logits_problem(name, reference, bench, dtype="float32", result=0.0):
    """A task on (rows, vocabulary) and a label a row."""
    size = 4 if dtype == "float32" else 2
    return problem(
        name, "logits label", reference,
        lambda case, g: (normal(g, case["rows"], case["words"], scale=3.0).to(case.torch_dtype),
                         integers(g, 0, case["words"], case["rows"])),
        tiny=({"rows": 5, "words": 700}, {"rows": 3, "words": 2500}), bench=bench, dtype=dtype,
        dtypes={"label": "int64"}, moved=lambda case: size * (1 + result) * case["rows"] * case["words"],
        reduction=lambda case: case["words"], part=rows_of(reference),
    )  # fmt: skip


LOSSES = logits_problem("losses", losses, {"rows": 4096, "words": 32000})
HALF = logits_problem("losses_half", losses, {"rows": 2048, "words": 128256}, "bfloat16")
GRADIENT = logits_problem(
    "losses_gradient", losses_gradient, {"rows": 2048, "words": 32000}, "bfloat16", 1.0
)
SMOOTHED = logits_problem("smoothed_losses", smoothed_losses, {"rows": 2048, "words": 32000})

ONLINE = """
@triton.jit
def kernel(logits, label, out, words):
    row = tl.program_id(0).to(tl.int64)
    largest = -1e30
    total = 0.0
    for start in range(0, words, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        v = tl.load(logits + row * words + i, mask=i < words, other=-1e30).to(tl.float32)
        more = tl.maximum(largest, tl.max(v, axis=0))
        total = total * tl.exp(largest - more) + tl.sum(tl.exp(v - more), axis=0)
        largest = more
    picked = tl.load(logits + row * words + tl.load(label + row)).to(tl.float32)
    tl.store(out + row, largest + tl.log(total) - picked)

def NAME(logits, label):
    out = torch.empty((logits.shape[0],), dtype=torch.float32, device=logits.device)
    kernel[(logits.shape[0],)](logits, label, out, logits.shape[1], num_warps=WARPS)
    return out
"""
SIZES = {"BLOCK": (4096, 512, 1024, 2048, 16384), "WARPS": (8, 2, 4, 16)}

KERNELS = (
    Kernel("losses_online", LOSSES, ONLINE.replace("NAME", "losses"), SIZES, 7),
    Kernel("losses_two_passes", LOSSES, """
@triton.jit
def kernel(logits, label, out, words):
    row = tl.program_id(0).to(tl.int64)
    top = tl.full((_BLOCK,), -1e30, tl.float32)
    for start in range(0, words, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        top = tl.maximum(top, tl.load(logits + row * words + i, mask=i < words, other=-1e30))
    largest = tl.max(top, axis=0)
    total = tl.zeros((_BLOCK,), tl.float32)
    for start in range(0, words, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        v = tl.load(logits + row * words + i, mask=i < words, other=-1e30)
        total += tl.exp(v - largest)
    picked = tl.load(logits + row * words + tl.load(label + row))
    tl.store(out + row, largest + tl.log(tl.sum(total, axis=0)) - picked)

def losses(logits, label):
    out = logits.new_empty((logits.shape[0],))
    kernel[(logits.shape[0],)](logits, label, out, logits.shape[1], num_warps=WARPS)
    return out
""", SIZES, 6),
    Kernel("losses_lanes", LOSSES, """
@triton.jit
def kernel(logits, label, out, words):
    row = tl.program_id(0).to(tl.int64)
    largest = tl.full((_BLOCK,), -1e30, tl.float32)
    total = tl.zeros((_BLOCK,), tl.float32)
    for start in tl.range(0, words, _BLOCK, num_stages=_STAGES):
        i = start + tl.arange(0, _BLOCK)
        v = tl.load(logits + row * words + i, mask=i < words, other=-1e30)
        more = tl.maximum(largest, v)
        total = total * tl.exp(largest - more) + tl.exp(v - more)
        largest = more
    top = tl.max(largest, axis=0)
    total = tl.sum(total * tl.exp(largest - top), axis=0)
    picked = tl.load(logits + row * words + tl.load(label + row))
    tl.store(out + row, top + tl.log(total) - picked)

def losses(logits, label):
    out = logits.new_empty((logits.shape[0],))
    kernel[(logits.shape[0],)](logits, label, out, logits.shape[1], num_warps=WARPS)
    return out
""", {"BLOCK": (2048, 1024, 4096), "WARPS": (8, 4), "STAGES": (1, 3)}, 5),
    Kernel("losses_split", HALF, """
@triton.jit
def parts(logits, some, words, PARTS: tl.constexpr):
    row, piece = tl.program_id(0).to(tl.int64), tl.program_id(1)
    i = piece * _BLOCK + tl.arange(0, _BLOCK)
    v = tl.load(logits + row * words + i, mask=i < words, other=-1e30).to(tl.float32)
    top = tl.max(v, axis=0)
    tl.store(some + (row * PARTS + piece) * 2, top)
    tl.store(some + (row * PARTS + piece) * 2 + 1, tl.sum(tl.exp(v - top), axis=0))

@triton.jit
def join(logits, label, some, out, words, PARTS: tl.constexpr, SIZE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    j = tl.arange(0, SIZE)
    top = tl.load(some + (row * PARTS + j) * 2, mask=j < PARTS, other=-1e30)
    total = tl.load(some + (row * PARTS + j) * 2 + 1, mask=j < PARTS, other=0.0)
    largest = tl.max(top, axis=0)
    total = tl.sum(total * tl.exp(top - largest), axis=0)
    picked = tl.load(logits + row * words + tl.load(label + row)).to(tl.float32)
    tl.store(out + row, largest + tl.log(total) - picked)

def losses_half(logits, label):
    rows, words = logits.shape
    count = triton.cdiv(words, BLOCK)
    some = torch.empty((rows, count, 2), dtype=torch.float32, device=logits.device)
    out = torch.empty((rows,), dtype=torch.float32, device=logits.device)
    parts[(rows, count)](logits, some, words, count, num_warps=WARPS)
    join[(rows,)](logits, label, some, out, words, count, triton.next_power_of_2(count), num_warps=1)
    return out
""", {"BLOCK": (8192, 2048, 4096, 16384), "WARPS": (8, 4, 16)}, 6),
    Kernel("losses_half_online", HALF, ONLINE.replace("NAME", "losses_half"), SIZES, 6),
    Kernel("gradient_two_passes", GRADIENT, """
@triton.jit
def kernel(logits, label, out, words):
    row = tl.program_id(0).to(tl.int64)
    largest = -1e30
    total = 0.0
    for start in range(0, words, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        v = tl.load(logits + row * words + i, mask=i < words, other=-1e30).to(tl.float32)
        more = tl.maximum(largest, tl.max(v, axis=0))
        total = total * tl.exp(largest - more) + tl.sum(tl.exp(v - more), axis=0)
        largest = more
    spot = tl.load(label + row)
    for start in range(0, words, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        v = tl.load(logits + row * words + i, mask=i < words, other=-1e30).to(tl.float32)
        g = tl.exp(v - largest) / total - tl.where(i == spot, 1.0, 0.0)
        tl.store(out + row * words + i, g.to(tl.bfloat16), mask=i < words)

def losses_gradient(logits, label):
    out = torch.empty_like(logits)
    kernel[(logits.shape[0],)](logits, label, out, logits.shape[1], num_warps=WARPS)
    return out
""", SIZES, 7),
    Kernel("gradient_held", GRADIENT, """
@triton.jit
def kernel(logits, label, out, words, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    v = tl.load(logits + row * words + i, mask=i < words, other=-1e30).to(tl.float32)
    e = tl.exp(v - tl.max(v, axis=0))
    g = e / tl.sum(e, axis=0) - tl.where(i == tl.load(label + row), 1.0, 0.0)
    tl.store(out + row * words + i, g.to(tl.bfloat16), mask=i < words)

def losses_gradient(logits, label):
    out = torch.empty_like(logits)
    kernel[(logits.shape[0],)](
        logits, label, out, logits.shape[1], triton.next_power_of_2(logits.shape[1]), num_warps=WARPS)
    return out
""", {"WARPS": (32, 16)}, 2),
    Kernel("smoothed_online", SMOOTHED, """
@triton.jit
def kernel(logits, label, out, words):
    row = tl.program_id(0).to(tl.int64)
    largest = -1e30
    total = 0.0
    plain = 0.0
    for start in range(0, words, _BLOCK):
        i = start + tl.arange(0, _BLOCK)
        v = tl.load(logits + row * words + i, mask=i < words, other=-1e30)
        more = tl.maximum(largest, tl.max(v, axis=0))
        total = total * tl.exp(largest - more) + tl.sum(tl.exp(v - more), axis=0)
        plain += tl.sum(tl.where(i < words, v, 0.0), axis=0)
        largest = more
    picked = tl.load(logits + row * words + tl.load(label + row))
    tl.store(out + row, largest + tl.log(total) - 0.9 * picked - 0.1 * plain / words)

def smoothed_losses(logits, label):
    out = logits.new_empty((logits.shape[0],))
    kernel[(logits.shape[0],)](logits, label, out, logits.shape[1], num_warps=WARPS)
    return out
""", SIZES, 6),
)  # fmt: skip

FAMILY = Family("cross entropy", False, KERNELS)
