"""What kernels call of `triton.language`, by PyTorch's operators on blocks.

(triton-lang.org, "triton.language" reference.) Dtypes are PyTorch's; unsigned ones that it does not
compute with are wider signed ones.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch

from triton_gym.suites.eager_triton.memory import PROGRAM, BlockPointer, Pointer, PointerType

float16, bfloat16, float32, float64 = torch.float16, torch.bfloat16, torch.float32, torch.float64
int1, int8, int16, int32, int64 = torch.bool, torch.int8, torch.int16, torch.int32, torch.int64
uint8, uint16, uint32, uint64 = torch.uint8, torch.int32, torch.int64, torch.int64
float8e5, float8e4nv = torch.float8_e5m2, torch.float8_e4m3fn
dtype, tensor, pointer_type = torch.dtype, torch.Tensor, PointerType
TRITON_MAX_TENSOR_NUMEL = 1 << 20


class _Whole(int):
    """A whole number that is a constant."""

    @property
    def value(self) -> int:
        """Itself."""
        return int(self)


class constexpr:  # noqa: N801 - Triton's name
    """A constant; here the value itself."""

    def __new__(cls, value: Any) -> Any:
        """The value."""
        return _Whole(value) if type(value) is int else value


def _block(value: Any) -> torch.Tensor:
    return value if isinstance(value, torch.Tensor) else torch.as_tensor(value)


def _wide(value: Any) -> torch.Tensor:
    """A block of floating-point numbers of 4 bytes or more."""
    block = _block(value)
    narrow = not block.is_floating_point() or block.itemsize < 4
    return block.to(torch.float32) if narrow else block


def _shape(*given: Any) -> list[int]:
    sizes = given[0] if len(given) == 1 and isinstance(given[0], (tuple, list)) else given
    return [int(size) for size in sizes]


def program_id(axis: int) -> torch.Tensor:
    """Which program this is."""
    return torch.as_tensor(PROGRAM.ids[axis])


def num_programs(axis: int) -> torch.Tensor:
    """How many there are."""
    return torch.tensor(PROGRAM.grid[axis])


def arange(start: Any, end: Any) -> torch.Tensor:
    """Whole numbers."""
    return torch.arange(int(start), int(end))


def zeros(shape: Any, dtype: torch.dtype) -> torch.Tensor:
    """A block of zeros."""
    return torch.zeros(_shape(shape), dtype=dtype)


def full(shape: Any, value: Any, dtype: torch.dtype) -> torch.Tensor:
    """A block of one value."""
    return zeros(shape, dtype) + _block(value).to(dtype)


def zeros_like(value: torch.Tensor) -> torch.Tensor:
    """A block of zeros."""
    return torch.zeros_like(value)


def load(
    pointer: Pointer | BlockPointer, mask: Any = None, other: Any = None,
    boundary_check: Sequence[int] = (), padding_option: str = "", **hints: Any,
) -> torch.Tensor:  # fmt: skip
    """Values of memory."""
    if isinstance(pointer, BlockPointer):
        where, inside = pointer.pointers(_axes(boundary_check))
        return where.load(inside, float("nan") if padding_option == "nan" else 0)
    return pointer.load(None if mask is None else _block(mask), other)


def store(
    pointer: Pointer | BlockPointer, value: Any, mask: Any = None,
    boundary_check: Sequence[int] = (), **hints: Any,
) -> None:  # fmt: skip
    """Write to memory."""
    if isinstance(pointer, BlockPointer):
        where, inside = pointer.pointers(_axes(boundary_check))
        where.store(value, inside)
    else:
        pointer.store(value, None if mask is None else _block(mask))


def _axes(given: Any) -> Sequence[int]:
    return (given,) if isinstance(given, int) else tuple(given)


def make_block_ptr(
    base: Pointer, shape: Any, strides: Any, offsets: Any, block_shape: Any, order: Any = None
) -> BlockPointer:
    """A pointer to a block of an array."""
    return BlockPointer(base, tuple(shape), tuple(strides), tuple(offsets), tuple(block_shape))


def advance(base: BlockPointer, offsets: Any) -> BlockPointer:
    """The block so much further."""
    return base.advanced(offsets)


def atomic_add(pointer: Pointer, val: Any, mask: Any = None, **hints: Any) -> torch.Tensor:
    """Add to memory."""
    return pointer.add(val, mask)


def atomic_max(pointer: Pointer, val: Any, mask: Any = None, **hints: Any) -> torch.Tensor:
    """The larger one stays."""
    return pointer.update(val, mask, torch.maximum)


def atomic_min(pointer: Pointer, val: Any, mask: Any = None, **hints: Any) -> torch.Tensor:
    """The smaller one stays."""
    return pointer.update(val, mask, torch.minimum)


def atomic_xchg(pointer: Pointer, val: Any, mask: Any = None, **hints: Any) -> torch.Tensor:
    """Exchange with memory."""
    return pointer.update(val, mask, lambda old, new: new)


def atomic_cas(pointer: Pointer, cmp: Any, val: Any, **hints: Any) -> torch.Tensor:
    """Exchange where memory equals `cmp`."""
    before = pointer.update(val, None, lambda old, new: new if bool(old == cmp) else old)
    PROGRAM.exchanged(bool((before == cmp).all()))
    return before


def dot(
    input: torch.Tensor, other: torch.Tensor, acc: Any = None, *rest: Any,
    out_dtype: torch.dtype | None = None, **hints: Any,
) -> torch.Tensor:  # fmt: skip
    """The product of two matrices, summed in 4 bytes or more."""
    PROGRAM.count()
    if input.is_floating_point():
        product = torch.matmul(_wide(input), _wide(other))
    else:
        product = torch.matmul(input.to(torch.int32), other.to(torch.int32))
    if acc is not None:
        product = product + acc
    return product if out_dtype is None else product.to(out_dtype)


def _reduced(one: Callable[..., Any], all_: Callable[..., Any]) -> Callable[..., Any]:
    def reduced(
        input: Any, axis: int | None = None, keep_dims: bool = False, **more: Any
    ) -> torch.Tensor:
        found: Any = all_(input) if axis is None else one(input, axis, keepdim=keep_dims)
        return found  # type: ignore[no-any-return]

    return reduced


def sum(input: torch.Tensor, axis: int | None = None, keep_dims: bool = False, **more: Any) -> Any:
    """A sum of 4 bytes or more, in the dtype of a block of floating-point numbers."""
    wide = _wide(input) if input.is_floating_point() else input.long()
    found = wide.sum() if axis is None else wide.sum(axis, keepdim=keep_dims)
    return found.to(input.dtype) if input.is_floating_point() else found


def max(
    input: torch.Tensor, axis: int | None = None, return_indices: bool = False,
    keep_dims: bool = False, **more: Any,
) -> Any:  # fmt: skip
    """The largest, and where it is if that is asked for."""
    if axis is None:
        return input.max()
    values, indices = input.max(axis, keepdim=keep_dims)
    return (values, indices) if return_indices else values


def min(
    input: torch.Tensor, axis: int | None = None, return_indices: bool = False,
    keep_dims: bool = False, **more: Any,
) -> Any:  # fmt: skip
    """The smallest, and where it is if that is asked for."""
    if axis is None:
        return input.min()
    values, indices = input.min(axis, keepdim=keep_dims)
    return (values, indices) if return_indices else values


argmax = _reduced(torch.argmax, torch.argmax)
argmin = _reduced(torch.argmin, torch.argmin)


def xor_sum(input: torch.Tensor, axis: int = 0, **more: Any) -> torch.Tensor:
    """Exclusive or of all."""
    return reduce(input, axis, torch.bitwise_xor)  # type: ignore[no-any-return]


def reduce(input: Any, axis: int, combine: Callable[..., Any], keep_dims: bool = False) -> Any:
    """Values combined by a function, one after the other."""
    several = isinstance(input, tuple)
    parts = [x.unbind(axis) for x in (input if several else (input,))]
    found = [part[0] for part in parts]
    for k in range(1, len(parts[0])):
        found = _listed(combine(*found, *(part[k] for part in parts)))
    if keep_dims:
        found = [x.unsqueeze(axis) for x in found]
    return tuple(found) if several else found[0]


def associative_scan(
    input: Any, axis: int, combine: Callable[..., Any], reverse: bool = False
) -> Any:
    """The same, with every step kept."""
    several = isinstance(input, tuple)
    given = [x.flip(axis) if reverse else x for x in (input if several else (input,))]
    parts = [x.unbind(axis) for x in given]
    steps = [[part[0] for part in parts]]
    for k in range(1, len(parts[0])):
        steps.append(_listed(combine(*steps[-1], *(part[k] for part in parts))))
    found = [torch.stack([step[i] for step in steps], axis) for i in range(len(parts))]
    found = [x.flip(axis) if reverse else x for x in found]
    return tuple(found) if several else found[0]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value]


def cumsum(input: torch.Tensor, axis: int = 0, reverse: bool = False, **more: Any) -> torch.Tensor:
    """Sums of what came before."""
    found = (input.flip(axis) if reverse else input).cumsum(axis)
    return found.flip(axis) if reverse else found


def cumprod(input: torch.Tensor, axis: int = 0, **more: Any) -> torch.Tensor:
    """Products of what came before."""
    return input.cumprod(axis)


def where(condition: Any, x: Any, y: Any) -> torch.Tensor:
    """One or the other."""
    if not isinstance(x, torch.Tensor) and not isinstance(y, torch.Tensor):
        x = torch.tensor(x)
    return torch.where(_block(condition).bool(), x, y)


def maximum(x: Any, y: Any, **more: Any) -> torch.Tensor:
    """The larger of two."""
    x, y = _alike(x, y)
    return torch.maximum(x, y)


def minimum(x: Any, y: Any, **more: Any) -> torch.Tensor:
    """The smaller of two."""
    x, y = _alike(x, y)
    return torch.minimum(x, y)


def _alike(x: Any, y: Any) -> tuple[torch.Tensor, torch.Tensor]:
    common = torch.result_type(x, y)
    return _block(x).to(common), _block(y).to(common)


def clamp(x: torch.Tensor, min: Any, max: Any, **more: Any) -> torch.Tensor:
    """Between two."""
    return minimum(maximum(x, min), max)


def cdiv(x: Any, div: Any) -> Any:
    """A quotient, rounded up."""
    return (x + div - 1) // div


def _unary(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Any], torch.Tensor]:
    def computed(x: Any, **more: Any) -> torch.Tensor:
        given = _block(x)
        found = function(_wide(given))
        return found.to(given.dtype) if given.is_floating_point() else found

    return computed


exp, exp2, log, log2 = (_unary(f) for f in (torch.exp, torch.exp2, torch.log, torch.log2))
sqrt, rsqrt, sin, cos = (_unary(f) for f in (torch.sqrt, torch.rsqrt, torch.sin, torch.cos))
tanh, erf, sigmoid = (_unary(f) for f in (torch.tanh, torch.erf, torch.sigmoid))
floor, ceil = (_unary(f) for f in (torch.floor, torch.ceil))
expm1, log1p, rint, trunc = (
    _unary(f) for f in (torch.expm1, torch.log1p, torch.round, torch.trunc)
)
sqrt_rn, round = sqrt, rint


def abs(x: Any) -> torch.Tensor:
    """Without its sign."""
    return _block(x).abs()


fabs = abs


def isfinite(x: Any) -> torch.Tensor:
    """Whether it is a number that is not infinite."""
    return _block(x).isfinite()


def isnan(x: Any) -> torch.Tensor:
    """Whether it is no number."""
    return _block(x).isnan()


def isinf(x: Any) -> torch.Tensor:
    """Whether it is infinite."""
    return _block(x).isinf()


isfinited = finitef = isfinite


def pow(x: Any, y: Any) -> torch.Tensor:
    """A power."""
    return torch.pow(_wide(x), _block(y))


def llrint(x: Any) -> torch.Tensor:
    """The nearest whole number."""
    return _wide(x).round().long()


def round_to_int(x: Any) -> torch.Tensor:
    """The nearest whole number."""
    return _wide(x).round().int()


def fma(x: Any, y: Any, z: Any) -> torch.Tensor:
    """A product and a sum."""
    return _block(x * y + z)


def div_rn(x: Any, y: Any) -> torch.Tensor:
    """A quotient."""
    return _block(x / y)


fdiv = div_rn


def softmax(x: torch.Tensor, dim: int | None = None, **more: Any) -> torch.Tensor:
    """Along an axis, the first if none is given."""
    return x.softmax(dim or 0)


def trans(input: torch.Tensor, *dims: Any) -> torch.Tensor:
    """The axes in another order, the last two exchanged if none is given."""
    return permute(input, *dims) if dims else input.transpose(-2, -1)


def permute(input: torch.Tensor, *dims: Any) -> torch.Tensor:
    """The axes in another order."""
    return input.permute(_shape(*dims))


def reshape(input: torch.Tensor, *shape: Any, **more: Any) -> torch.Tensor:
    """Another shape."""
    return input.reshape(_shape(*shape))


view = reshape


def ravel(x: torch.Tensor) -> torch.Tensor:
    """One axis."""
    return x.reshape(-1)


def broadcast_to(input: Any, *shape: Any) -> torch.Tensor:
    """Repeated."""
    return _block(input).broadcast_to(_shape(*shape))


def broadcast(input: Any, other: Any) -> Any:
    """Both in one shape."""
    return torch.broadcast_tensors(_block(input), _block(other))


def expand_dims(input: torch.Tensor, axis: Any) -> torch.Tensor:
    """With axes of one element."""
    for one in sorted(_shape(axis) if isinstance(axis, (tuple, list)) else [axis]):
        input = input.unsqueeze(one)
    return input


def cat(input: torch.Tensor, other: torch.Tensor, can_reorder: bool = False) -> torch.Tensor:
    """One after the other."""
    return torch.cat([input, other])


def join(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Along a new last axis."""
    return torch.stack(torch.broadcast_tensors(a, b), -1)


def interleave(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """By turns along the last axis."""
    return join(a, b).flatten(-2)


def split(a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The two of a last axis."""
    return a[..., 0], a[..., 1]


def flip(x: torch.Tensor, dim: int | None = None) -> torch.Tensor:
    """Backwards."""
    return x.flip(-1 if dim is None else dim)


def cast(input: Any, dtype: torch.dtype, bitcast: bool = False, **more: Any) -> Any:
    """Another dtype."""
    if isinstance(input, Pointer):
        return input
    block = _block(input)
    return block.view(dtype) if bitcast else block.to(dtype)


def _same(x: Any, *hints: Any) -> Any:
    return x


multiple_of = max_contiguous = max_constancy = assume = _same


def _nothing(*args: Any, **kwargs: Any) -> None:
    return None


debug_barrier = device_print = static_print = static_assert = device_assert = _nothing

range = builtins.range


def static_range(*bounds: Any, **more: Any) -> builtins.range:
    """Whole numbers."""
    return builtins.range(*(int(bound) for bound in bounds))


_LOW = 0xFFFFFFFF


def umulhi(x: torch.Tensor, y: Any) -> torch.Tensor:
    """The upper 32 bits of a product of 32-bit numbers."""
    a, b = _block(x).long() & _LOW, _block(y).long() & _LOW
    low = (a & 0xFFFF) * b
    return (((a >> 16) * b) + (low >> 16)) >> 16 & _LOW


def philox(seed: Any, c0: Any, c1: Any, c2: Any, c3: Any, n_rounds: int = 10) -> tuple[Any, ...]:
    """Philox 4x32 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011)."""
    key = _block(seed).long()
    k0, k1 = key & _LOW, (key >> 32) & _LOW
    c0, c1, c2, c3 = (_block(c).long() & _LOW for c in (c0, c1, c2, c3))
    for _ in builtins.range(n_rounds):
        a, b = c0, c2
        c0 = umulhi(b, 0xCD9E8D57) ^ c1 ^ k0
        c2 = umulhi(a, 0xD2511F53) ^ c3 ^ k1
        c1, c3 = _low_product(b, 0xCD9E8D57), _low_product(a, 0xD2511F53)
        k0, k1 = (k0 + 0x9E3779B9) & _LOW, (k1 + 0xBB67AE85) & _LOW
    return c0, c1, c2, c3


def _low_product(x: torch.Tensor, y: int) -> torch.Tensor:
    return ((x & 0xFFFF) * y + ((((x >> 16) * y) & 0xFFFF) << 16)) & _LOW


def randint(seed: Any, offset: Any, n_rounds: int = 10) -> torch.Tensor:
    """Numbers of 32 bits."""
    zero = torch.zeros_like(_block(offset))
    found: torch.Tensor = philox(seed, offset, zero, zero, zero, n_rounds)[0]
    return found


def uint_to_uniform_float(x: torch.Tensor) -> torch.Tensor:
    """Numbers of 32 bits as numbers from 0 to 1."""
    signed = torch.where(x >= 1 << 31, x - (1 << 32), x)
    return torch.where(signed < 0, -signed - 1, signed).to(torch.float32) * 4.6566127342e-10


def rand(seed: Any, offset: Any, n_rounds: int = 10) -> torch.Tensor:
    """Uniform numbers from 0 to 1."""
    return uint_to_uniform_float(randint(seed, offset, n_rounds))


def randn(seed: Any, offset: Any, n_rounds: int = 10) -> torch.Tensor:
    """Normal numbers, by Box and Muller."""
    zero = torch.zeros_like(_block(offset))
    one, other, _, _ = philox(seed, offset, zero, zero, zero, n_rounds)
    u, v = uint_to_uniform_float(one).clamp(min=1e-7), uint_to_uniform_float(other)
    return torch.sqrt(-2 * torch.log(u)) * torch.cos(6.283185307179586 * v)


math = libdevice = sys.modules[__name__]
extra = SimpleNamespace(cuda=SimpleNamespace(libdevice=libdevice), libdevice=libdevice)
