# mypy: ignore-errors
"""Matrix products with any strides, which stand where PyTorch's compiler would call a library.

Matrices of 16-bit values whose rows the bulk copy engine (TMA) can address are multiplied by
persistent programs; all others by a kernel that follows pointers.
"""

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor


@triton.jit
def tile_at(index, m, n, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, GROUP_M: tl.constexpr):
    """Row and column of the index-th tile.

    Tiles of GROUP_M tile rows are taken column by column: they share a and b in L2.
    """
    group_size = GROUP_M * tl.cdiv(n, BLOCK_N)
    first = index // group_size * GROUP_M
    height = min(tl.cdiv(m, BLOCK_M) - first, GROUP_M)
    within = index % group_size
    return (first + within % height) * BLOCK_M, within // height * BLOCK_N


@triton.jit
def activated(t, ACT: tl.constexpr):
    """An activation of float32 values, by its name in PyTorch."""
    if ACT == "gelu":
        t = 0.5 * t * (1.0 + tl.erf(t * 0.7071067811865476))
    if ACT == "gelu_16":
        # For 16-bit results: erfc(z) = P(1 / (1 + p z)) exp(-z^2), z = |t| / sqrt(2), to 1.5e-7
        # (Abramowitz and Stegun, 7.1.26)
        u = 1.0 / (1.0 + 0.23164190 * tl.abs(t))
        p = 1.421413741 + u * (-1.453152027 + u * 1.061405429)
        p = u * (0.254829592 + u * (-0.284496736 + u * p))
        half = 0.5 * t * p * tl.exp2(-0.7213475204444817 * t * t)
        t = tl.where(t < 0.0, half, t - half)
    if ACT == "gelu_tanh":
        # t/2 (1 + tanh u) = t sigmoid(2u), u = sqrt(2/pi) (t + 0.044715 t^3)
        t = t * tl.sigmoid(1.5957691216057308 * (t + 0.044715 * t * t * t))
    if ACT == "relu":
        t = tl.where(t < 0.0, 0.0, t)
    if ACT == "silu":
        t = t * tl.sigmoid(t)
    if ACT == "sigmoid":
        t = tl.sigmoid(t)
    return t


@triton.jit
def combined(t, other, OP: tl.constexpr):
    """Values joined with those of another matrix."""
    if OP == "add":
        t += other.to(tl.float32)
    if OP == "mul":
        t *= other.to(tl.float32)
    return t


@triton.jit
def finished(
    acc, bias_ptr, other_desc, row, col, n, alpha, beta,
    BIAS: tl.constexpr, ACT: tl.constexpr, OP: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """What is stored for sums of products from (row, col) on, whose bias is a vector."""
    acc *= alpha
    if BIAS:
        cols = col + tl.arange(0, WIDTH)
        bias = tl.load(bias_ptr + cols, mask=cols < n, other=0.0)
        acc += beta * bias.to(tl.float32)[None, :]
    acc = activated(acc, ACT)
    if OP != "":
        acc = combined(acc, other_desc.load([row, col]), OP)
    return acc


@triton.jit
def copied_product_kernel(
    a_desc, b_desc, c_desc, other_desc, bias_ptr, m, n, k, alpha, beta,
    A_TURNED: tl.constexpr, B_TURNED: tl.constexpr, BIAS: tl.constexpr, ACT: tl.constexpr,
    OP: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
):  # fmt: skip
    """Every num_programs-th tile of the result; the copy engine pads and clips at the edges."""
    tiles = tl.cdiv(m, BLOCK_M) * tl.cdiv(n, BLOCK_N)
    # flatten: one software pipeline over all tiles, which does not drain between two of them
    for index in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=True):
        row, col = tile_at(index, m, n, BLOCK_M, BLOCK_N, GROUP_M)
        acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for step in range(tl.cdiv(k, BLOCK_K)):
            if A_TURNED:
                a = a_desc.load([step * BLOCK_K, row]).T
            else:
                a = a_desc.load([row, step * BLOCK_K])
            if B_TURNED:
                b = b_desc.load([col, step * BLOCK_K]).T
            else:
                b = b_desc.load([step * BLOCK_K, col])
            acc = tl.dot(a, b, acc)
        # Stored in two halves, which leave more shared memory to the pipeline.
        halves = tl.permute(tl.reshape(acc, (BLOCK_M, 2, BLOCK_N // 2)), (0, 2, 1))
        left, right = tl.split(halves)
        left = finished(
            left, bias_ptr, other_desc, row, col, n, alpha, beta, BIAS, ACT, OP, BLOCK_N // 2
        )  # fmt: skip
        c_desc.store([row, col], left.to(c_desc.dtype))
        col += BLOCK_N // 2
        right = finished(
            right, bias_ptr, other_desc, row, col, n, alpha, beta, BIAS, ACT, OP, BLOCK_N // 2
        )  # fmt: skip
        c_desc.store([row, col], right.to(c_desc.dtype))


@triton.jit
def product_kernel(
    a_ptr, b_ptr, bias_ptr, other_ptr, c_ptr, m, n, k,
    a_batch, a_row, a_col, b_batch, b_row, b_col, bias_row, bias_col, other_row, other_col,
    c_batch, c_row, c_col, alpha, beta,
    BIAS: tl.constexpr, ACT: tl.constexpr, OP: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """One (BLOCK_M, BLOCK_N) tile of c = act(alpha · a @ b + beta · bias), joined with other."""
    row, col = tile_at(tl.program_id(0), m, n, BLOCK_M, BLOCK_N, GROUP_M)
    batch = tl.program_id(1).to(tl.int64)
    rows = (row + tl.arange(0, BLOCK_M)).to(tl.int64)[:, None]
    cols = (col + tl.arange(0, BLOCK_N)).to(tl.int64)
    inner = tl.arange(0, BLOCK_K)
    a_ptrs = a_ptr + batch * a_batch + rows * a_row + inner[None, :] * a_col
    b_ptrs = b_ptr + batch * b_batch + inner[:, None] * b_row + cols[None, :] * b_col
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        left = k - start
        a = tl.load(a_ptrs, mask=(rows < m) & (inner[None, :] < left), other=0.0)
        b = tl.load(b_ptrs, mask=(inner[:, None] < left) & (cols < n)[None, :], other=0.0)
        acc = tl.dot(a, b, acc, input_precision=PRECISION)
        a_ptrs += BLOCK_K * a_col
        b_ptrs += BLOCK_K * b_row
    inside = (rows < m) & (cols < n)[None, :]
    acc *= alpha
    if BIAS:
        at = bias_ptr + rows * bias_row + cols[None, :] * bias_col
        acc += beta * tl.load(at, mask=inside, other=0.0).to(tl.float32)
    acc = activated(acc, ACT)
    if OP != "":
        at = other_ptr + rows * other_row + cols[None, :] * other_col
        acc = combined(acc, tl.load(at, mask=inside, other=0.0), OP)
    c_ptrs = c_ptr + batch * c_batch + rows * c_row + cols[None, :] * c_col
    tl.store(c_ptrs, acc.to(c_ptr.dtype.element_ty), mask=inside)


PRODUCT_BLOCK_M = 128
PRODUCT_BLOCK_N = 256
PRODUCT_BLOCK_K = 64
PRODUCT_GROUP_M = 8
PRODUCT_NUM_WARPS = 8
PRODUCT_NUM_STAGES = 3
PRODUCT_PROGRAMS = 132


def block_of(size, most):
    """The smallest block that holds a size, from 16 to `most`."""
    return min(most, max(16, 1 << (size - 1).bit_length()))


def copyable(t):
    """Whether the copy engine can address a matrix: one axis of unit stride, rows of 16 bytes."""
    rows, cols = t.stride()
    apart = rows if cols == 1 else cols
    return (cols == 1 or rows == 1) and apart % 8 == 0 and t.data_ptr() % 16 == 0


def described(t, rows, cols):
    """A descriptor of blocks (rows, cols) of a matrix, or of its transpose if that is what lies
    in memory."""
    if t.stride(1) == 1:
        return TensorDescriptor(t, list(t.shape), list(t.stride()), [rows, cols])
    t = t.t()
    return TensorDescriptor(t, list(t.shape), list(t.stride()), [cols, rows])


def product(a, b, out, bias=None, alpha=1.0, beta=1.0, act="", other=None, op=""):
    """out = act(alpha · a @ b + beta · bias) op other, of matrices (M, K), (K, N) or batches of
    them; op is `add` or `mul`, of a matrix (M, N)."""
    m, k = a.shape[-2:]
    n = b.shape[-1]
    wide = a.dtype == torch.float32
    less = 2 if wide else 1
    block_m = block_of(m, PRODUCT_BLOCK_M // less)
    block_n = block_of(n, PRODUCT_BLOCK_N // less)
    block_k = PRODUCT_BLOCK_K // less
    tiles = -(-m // block_m) * -(-n // block_n)
    if tiles < PRODUCT_PROGRAMS and block_n > 64:  # more programs than that can run at once
        block_n //= 2
        tiles = -(-m // block_m) * -(-n // block_n)
    bias_row = bias_col = 0
    if bias is not None:
        bias_col = bias.stride(-1) if bias.shape[-1] == n > 1 else 0
        bias_row = bias.stride(-2) if bias.dim() > 1 and bias.shape[-2] > 1 else 0
    given = out if bias is None else bias
    beside = out if other is None else other
    if act == "gelu" and out.element_size() == 2:
        act = "gelu_16"
    copied = a.dim() == 2 and a.element_size() == 2 and block_n >= 32 and out.stride(1) == 1
    copied = copied and bias_row == 0 and (bias is None or bias_col == 1)
    copied = copied and beside.stride(-1) == 1 and beside.element_size() == 2
    if copied and copyable(a) and copyable(b) and copyable(out) and copyable(beside):
        joined = None if other is None else described(other, block_m, block_n // 2)
        copied_product_kernel[(min(tiles, PRODUCT_PROGRAMS),)](
            described(a, block_m, block_k), described(b, block_k, block_n),
            described(out, block_m, block_n // 2), joined,
            given, m, n, k, float(alpha), float(beta), a.stride(1) != 1, b.stride(1) != 1,
            bias is not None, act, op,
            block_m, block_n, block_k, PRODUCT_GROUP_M,
            num_warps=PRODUCT_NUM_WARPS, num_stages=PRODUCT_NUM_STAGES,
        )  # fmt: skip
        return out
    block_n = min(block_n, 128)  # of masked loads, more would not fit into registers
    tiles = -(-m // block_m) * -(-n // block_n)
    batches = a.shape[0] if a.dim() == 3 else 1
    a_batch, b_batch, c_batch = (
        (a.stride(0), b.stride(0), out.stride(0)) if batches > 1 else (0, 0, 0)
    )  # fmt: skip
    product_kernel[(tiles, batches)](
        a, b, given, beside, out, m, n, k, a_batch, a.stride(-2), a.stride(-1), b_batch,
        b.stride(-2), b.stride(-1), bias_row, bias_col, beside.stride(-2), beside.stride(-1),
        c_batch, out.stride(-2), out.stride(-1), float(alpha), float(beta), bias is not None, act,
        op, "tf32x3" if wide else "ieee",
        block_m, block_n, block_k, PRODUCT_GROUP_M,
        num_warps=PRODUCT_NUM_WARPS // less, num_stages=PRODUCT_NUM_STAGES,
    )  # fmt: skip
    return out


def activated_product(a, b, bias, act, other, op):
    """act(a @ b + bias) op other of matrices (M, K), (K, N) and (M, N)."""
    out = torch.empty((a.shape[0], b.shape[1]), dtype=a.dtype, device=a.device)
    return product(a, b, out, bias, act=act, other=other, op=op)
