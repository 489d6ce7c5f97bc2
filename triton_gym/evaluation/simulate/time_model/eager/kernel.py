"""A kernel that PyTorch launches, and how long it takes."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from triton_gym.device import Gpu, gpu_named
from triton_gym.evaluation.simulate.time_model.constants import Constants
from triton_gym.evaluation.simulate.time_model.eager.rates import Rates
from triton_gym.evaluation.simulate.time_model.eager.tensors import Operand

_MEASURED = gpu_named("h200")


class Fusion(enum.Enum):
    """What `torch.compile` does with a kernel."""

    POINTWISE = enum.auto()
    """It goes into one kernel with its neighbours."""
    REDUCTION = enum.auto()
    """The same, but what follows has to read its input once more."""
    WHOLE = enum.auto()
    """It reduces everything to few numbers: what follows waits for all of it."""
    NONE = enum.auto()
    """It is called as it is."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel, with what it moves and does."""

    name: str
    reads: tuple[Operand, ...] = ()
    writes: tuple[Operand, ...] = ()
    work: tuple[tuple[str, float], ...] = ()
    """Name of a constant of `Rates` in picoseconds, and how often it counts."""
    waits: tuple[tuple[str, float], ...] = ()
    """The same in microseconds: steps one after the other that nothing overlaps."""
    products: tuple[tuple[str, float], ...] = ()
    """Name of a share of the peak in `Rates`, and microseconds that products take at the peak."""
    memory: str = "memory"
    """The constant that says which share of the bandwidth it reaches."""
    fusion: Fusion = Fusion.POINTWISE
    row: float = 0.0
    """Bytes that it reduces to one result, if it reduces rows."""


class Cache:
    """Which memory L2 still holds. It forgets what was touched longest ago, so that a tensor is
    found there whole if all that was touched since then fits, and not at all if not."""

    def __init__(self, gpu: Gpu, rates: Rates) -> None:
        self._size = gpu.l2_bytes * rates.cache_kept
        self._touched: dict[int, float] = {}
        self._moved = 0.0

    def missed(self, operands: Iterable[Operand]) -> float:
        """Bytes that device memory gives or takes."""
        total: float = 0.0
        for storage, moved in distinct(operands).items():
            since = self._moved - self._touched.get(storage, -math.inf) + moved
            total += moved * min(max(2 * since / self._size - 1.0, 0.0), 1.0)
        return total

    def touch(self, operands: Iterable[Operand]) -> None:
        """Remember what a kernel moved."""
        for storage, moved in distinct(operands).items():
            self._moved += moved
            self._touched[storage] = self._moved


def distinct(operands: Iterable[Operand]) -> dict[int, float]:
    """Bytes of each memory: what operands share counts once."""
    found: dict[int, float] = {}
    for o in operands:
        found[o.storage] = min(found.get(o.storage, 0.0) + o.bytes, o.size)
    return found


def kernel_us(kernel: Kernel, gpu: Gpu, rates: Rates, cache: Cache) -> float:
    """How long a kernel runs, without its launch."""
    faster = (_MEASURED.multiprocessors * _MEASURED.clock_ghz) / (
        gpu.multiprocessors * gpu.clock_ghz
    )
    operands = (*kernel.reads, *kernel.writes)
    moved = cache.missed(operands)
    cache.touch(operands)
    memory = moved / (gpu.memory_gbps * getattr(rates, kernel.memory)) / 1e3
    asked = sum(o.asked for o in operands) / rates.cache_gbps / 1e3 * faster
    work = sum(getattr(rates, name) * n for name, n in kernel.work) / 1e6 * faster
    waits = sum(getattr(rates, name) * n for name, n in kernel.waits)
    products = sum(us / getattr(rates, name) for name, us in kernel.products)
    parts = (max(memory, asked), work, products)
    joined = sum(p**rates.sharpness for p in parts) ** (1 / rates.sharpness)
    return float(joined + waits + rates.wait_us)


def sequence_us(kernels: Sequence[Kernel], gpu: Gpu, rates: Rates, constants: Constants) -> float:
    """How long kernels take that are launched one after the other, the first from a cold cache.

    A launch costs what it costs an answer.
    """
    if not kernels:
        return 0.0
    cache = Cache(gpu, rates)
    run = sum(kernel_us(kernel, gpu, rates, cache) for kernel in allocated(kernels))
    return run + constants.launch_us + (len(kernels) - 1) * constants.next_launch_us


def allocated(kernels: Sequence[Kernel]) -> list[Kernel]:
    """The same kernels in the memory that PyTorch's allocator gives them.

    A result takes that of the last tensor of its size which is not used any more.
    """
    last = {o.storage: i for i, k in enumerate(kernels) for o in (*k.reads, *k.writes)}
    place: dict[int, int] = {}
    free: list[tuple[float, int]] = []
    given: set[int] = set()
    found = []
    for number, kernel in enumerate(kernels):
        given |= {o.storage for o in kernel.reads if o.storage not in place}
        for o in kernel.writes:
            if o.storage not in place and o.storage not in given:
                fitting = [i for i, (size, _) in enumerate(free) if size == o.bytes]
                place[o.storage] = free.pop(fitting[-1])[1] if fitting else o.storage
        operands = (*kernel.reads, *kernel.writes)
        ended = {o.storage: o.bytes for o in operands if last[o.storage] == number}
        free += [(size, place[s]) for s, size in ended.items() if s in place]
        reads, writes = (
            tuple(dataclasses.replace(o, storage=place.get(o.storage, o.storage)) for o in some)
            for some in (kernel.reads, kernel.writes)
        )
        found.append(dataclasses.replace(kernel, reads=reads, writes=writes))
    return found
