"""A mixture of experts: tokens in the order of their experts, a grouped product, sums of pairs.

A first launch finds each expert's tokens with a running count, a second brings their rows together,
so that the third, a persistent product of all experts, reads whole tiles of both factors by the
copy engine (TMA). It leaves two rows for each token, which the last launch adds up.
"""

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

BLOCK_M = 128
BLOCK_N = 256
BLOCK_K = 64
GROUP_M = 8
SPAN = 1024  # tokens that are looked through at once
NUM_WARPS = 8
NUM_STAGES = 3
PROGRAMS = 132  # resident at a time: one on each multiprocessor of an H100 or H200


@triton.jit
def choices(logits_ptr, token, tokens, experts):
    """The two best experts of tokens, and the share of the best: the softmax of both logits."""
    best = tl.full(token.shape, float("-inf"), dtype=tl.float32)
    second = tl.full(token.shape, float("-inf"), dtype=tl.float32)
    best_at = tl.zeros(token.shape, dtype=tl.int32)
    second_at = tl.zeros(token.shape, dtype=tl.int32)
    for e in range(experts):
        logit = tl.load(
            logits_ptr + token * experts + e, mask=token < tokens, other=float("-inf")
        )  # fmt: skip
        is_best, is_second = logit > best, logit > second
        second_at = tl.where(is_best, best_at, tl.where(is_second, e, second_at))
        second = tl.where(is_best, best, tl.where(is_second, logit, second))
        best_at = tl.where(is_best, e, best_at)
        best = tl.where(is_best, logit, best)
    return best_at, second_at, 1.0 / (1.0 + tl.exp(second - best))


@triton.jit
def route_kernel(
    logits_ptr, offsets_ptr, slots_ptr, shares_ptr, tokens, experts, SPAN: tl.constexpr
):  # fmt: skip
    """Where an expert's rows begin, and for each of them slot and share in the result.

    A slot is twice the token, and one more where the expert is its second choice.
    """
    expert = tl.program_id(0)
    before = tl.zeros((SPAN,), dtype=tl.int32)
    for start in range(0, tokens, SPAN):
        token = start + tl.arange(0, SPAN)
        first, second, _ = choices(logits_ptr, token, tokens, experts)
        lower = (first < expert).to(tl.int32) + (second < expert).to(tl.int32)
        before += tl.where(token < tokens, lower, 0)
    place = tl.sum(before, axis=0)
    tl.store(offsets_ptr + expert, place)
    for start in range(0, tokens, SPAN):
        token = start + tl.arange(0, SPAN)
        first, second, share = choices(logits_ptr, token, tokens, experts)
        own = ((first == expert) | (second == expert)) & (token < tokens)
        at = place + tl.cumsum(own.to(tl.int32), 0) - 1
        tl.store(slots_ptr + at, token * 2 + (second == expert).to(tl.int32), mask=own)
        tl.store(shares_ptr + at, tl.where(second == expert, 1.0 - share, share), mask=own)
        place += tl.sum(own.to(tl.int32), axis=0)
    tl.store(offsets_ptr + expert + 1, place, mask=expert == experts - 1)


@triton.jit
def gather_kernel(x_ptr, slots_ptr, sorted_ptr, dim, BLOCK: tl.constexpr):
    """A token's row to its place in the order of experts."""
    row = tl.program_id(1).to(tl.int64)
    token = tl.load(slots_ptr + row).to(tl.int64) // 2
    col = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + token * dim + col, mask=col < dim)
    tl.store(sorted_ptr + row * dim + col, x, mask=col < dim)


@triton.jit
def product_kernel(
    x_desc, w_desc, offsets_ptr, slots_ptr, shares_ptr, rows_ptr, dim, hidden, experts,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """Every num_programs-th tile of all experts' products."""
    tile_cols = tl.cdiv(hidden, BLOCK_N)
    steps = tl.cdiv(dim, BLOCK_K)
    tile = tl.program_id(0)  # this program's next one, counted from the expert's first
    for expert in range(experts):
        first = tl.load(offsets_ptr + expert)
        last = tl.load(offsets_ptr + expert + 1)
        tile_rows = tl.cdiv(last - first, BLOCK_M)
        tiles = tile_rows * tile_cols
        for index in tl.range(tile, tiles, tl.num_programs(0)):
            # Column by column within GROUP_M tile rows, so that programs that run at the same
            # time share rows and weights in L2.
            top = index // (GROUP_M * tile_cols) * GROUP_M
            height = min(tile_rows - top, GROUP_M)
            within = index % (GROUP_M * tile_cols)
            row = first + (top + within % height) * BLOCK_M
            col = within // height * BLOCK_N
            acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
            for step in range(steps):
                x = x_desc.load([row, step * BLOCK_K])
                w = w_desc.load([expert, step * BLOCK_K, col]).reshape(BLOCK_K, BLOCK_N)
                acc = tl.dot(x, w, acc)
            # Rows of the next expert, which a last tile reaches into, are not stored.
            rows = row + tl.arange(0, BLOCK_M)
            cols = col + tl.arange(0, BLOCK_N)
            slot = tl.load(slots_ptr + rows, mask=rows < last, other=0).to(tl.int64)
            share = tl.load(shares_ptr + rows, mask=rows < last, other=0.0)
            tl.store(
                rows_ptr + slot[:, None] * hidden + cols[None, :],
                (acc * share[:, None]).to(rows_ptr.dtype.element_ty),
                mask=(rows[:, None] < last) & (cols[None, :] < hidden),
            )
        # The first tile of this program's that lies beyond the expert, seen from the next one.
        left = tl.maximum(tiles - tile, 0)
        tile += tl.cdiv(left, tl.num_programs(0)) * tl.num_programs(0) - tiles


@triton.jit
def add_kernel(rows_ptr, out_ptr, hidden, BLOCK: tl.constexpr):
    """The sum of a token's two rows."""
    token = tl.program_id(1).to(tl.int64)
    col = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = col < hidden
    first = tl.load(rows_ptr + token * 2 * hidden + col, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(rows_ptr + (token * 2 + 1) * hidden + col, mask=mask, other=0.0)
    out = (first + second.to(tl.float32)).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + token * hidden + col, out, mask=mask)


def mixtral_moe(x: torch.Tensor, logits: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """Two of the experts (E, D, H) for each token of (T, D)."""
    tokens, dim = x.shape
    experts, _, hidden = w.shape
    offsets = torch.empty(experts + 1, device=x.device, dtype=torch.int32)
    slots = torch.empty(tokens * 2, device=x.device, dtype=torch.int32)
    shares = torch.empty(tokens * 2, device=x.device, dtype=torch.float32)
    in_order = torch.empty((tokens * 2, dim), device=x.device, dtype=x.dtype)
    rows = torch.empty((tokens * 2, hidden), device=x.device, dtype=x.dtype)
    out = torch.empty((tokens, hidden), device=x.device, dtype=x.dtype)
    route_kernel[(experts,)](logits, offsets, slots, shares, tokens, experts, SPAN)
    gather_kernel[(triton.cdiv(dim, 2048), tokens * 2)](x, slots, in_order, dim, 2048)
    product_kernel[(PROGRAMS,)](
        TensorDescriptor.from_tensor(in_order, [BLOCK_M, BLOCK_K]),
        TensorDescriptor.from_tensor(w, [1, BLOCK_K, BLOCK_N]),
        offsets, slots, shares, rows, dim, hidden, experts,
        BLOCK_M, BLOCK_N, BLOCK_K, GROUP_M, num_warps=NUM_WARPS, num_stages=NUM_STAGES,
    )  # fmt: skip
    add_kernel[(triton.cdiv(hidden, 2048), tokens)](rows, out, hidden, 2048)
    return out
