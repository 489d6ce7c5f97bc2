"""What Triton's own IR tells of a kernel that its machine code does not.

Compilers unroll loops and say nowhere how often; the IR before machine code has each loop once:
what a line of it computes, over what the machine code of the loop holds of it, tells. It also has
the blocks that are laid across in shared memory.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from functools import lru_cache

from triton_gym.evaluation.simulate.interpreter.locations import Locations
from triton_gym.evaluation.simulate.machine_code.layouts import layout_of

_OPERATION = re.compile(r"^\s*(%[\w#]+(?::\d+)?)? ?(?:= )?\"?([a-z_]+\.[a-z_0-9]+)\"?(.*)$")
_TYPE = re.compile(r": (?:tensor<([0-9x]+)x)?(\w+)(?:, [^>]*)?>?\s*$")
_OPERANDS = re.compile(r"%[\w#]+")
_ADDS, _MULTIPLIES = ("arith.addf", "arith.subf"), ("arith.mulf",)
_UNCLEAR = (
    "arith.divf", "arith.remf", "math.", "tt.reduce", "tt.scan", "tt.extern_elementwise",
    "tt.elementwise_inline_asm", "tt.dot", "ttng.warp_group_dot", "arith.truncf", "arith.extf",
    "tt.fp_to_fp", "arith.maximumf", "arith.minimumf", "tt.histogram",
)  # fmt: skip
"""Operations that become float instructions, nobody says how many."""


_LAYOUT = re.compile(r"^(#\w+) = #ttg\.(?:blocked|slice)<\{.*?order = \[(\d+)", re.MULTILINE)
_TRANSPOSED = re.compile(r"^(#\w+) = #ttg\.\w*shared<\{.*transposed = true", re.MULTILINE)
_SWIZZLED = re.compile(r"^(#\w+) = #ttg\.nvmma_shared<\{swizzlingByteWidth = (\d+)", re.MULTILINE)
_BITS = re.compile(r"^[a-z]+(\d+)")
"""Bits of a type by its name, as of `f8E4M3FN`."""
_LAID = re.compile(
    r"ttg\.(?:local_alloc|local_store|async_copy_global_to_local) [^:]*:[^\n]*?"
    r"tensor<(\d+x\d+)x(?:!tt\.ptr<)?(\w+)>?, (#\w+)>[^\n]*-> [^\n]*?<\d+x[^,\n]*, (#\w+),"
)

_BUFFERS = re.compile(r"ttg\.local_alloc : \(\) -> !ttg\.memdesc<(\d+)x\d+x\d+x")


@lru_cache(256)
def lays_across(text: str) -> bool:
    """Whether a kernel lays a block in shared memory across the order in which threads hold it.

    As it must for products whose second factor has rows where the units want columns, in dtypes
    that they cannot turn themselves.

    Args:
        text: the kernel in Triton's `ttgir`.
    """
    return bool(_laid_across(text))


def _laid_across(text: str) -> list[tuple[str, str, str, str]]:
    """Shape and dtype of the blocks that are, how they are held, and how they are laid."""
    fastest, turned = dict(_LAYOUT.findall(text)), set(_TRANSPOSED.findall(text))
    return [
        (shape, dtype, held, laid)
        for shape, dtype, held, laid in _LAID.findall(text)
        if fastest.get(held) == "1" and laid in turned
    ]


@lru_cache(256)
def meeting_banks(text: str) -> float:
    """Lanes that meet in one bank where elements are laid across; 0 if there are none.

    Rows of up to 128 bytes lie one after the other in shared memory, the 16-byte parts of each
    exchanged by its number. Lanes whose elements lie in one word do not meet.
    Source: Triton's `TritonGPUAttrDefs.td`, `NVMMASharedEncodingAttr`.

    Args:
        text: the kernel in Triton's `ttgir`.
    """
    swizzles = {name: int(width) for name, width in _SWIZZLED.findall(text)}
    found = []
    for shape, dtype, held, laid in _laid_across(text):
        sizes = [int(n) for n in shape.split("x")]
        layout = layout_of(held, sizes, text)
        size, width = _BITS.search(dtype), swizzles.get(laid, 0)
        if size is None or not width or layout is None or len(sizes) != 2:
            continue
        places = [(0, 0)]
        for along, across in layout.lanes:
            places += [(k + along, n + across) for k, n in places]
        itemsize = max(int(size[1]) // 8, 1)
        words = {_word(k * itemsize, n, width, sizes[1]) for k, n in places}
        found.append(max(Counter(word % 32 for word in words).values()))
    return sum(found) / len(found) if found else 0.0


def _word(along: int, row: int, width: int, rows: int) -> int:
    """The word of shared memory in which an element lies.

    Args:
        along: bytes from the row's beginning.
        row: number of its row.
        width: bytes of a row that lie together.
        rows: of the block; what is beyond the width of a row lies behind all of them.
    """
    part, place = along // width, along % width
    exchanged = place // 16 ^ row // (128 // width) % (width // 16)
    return (part * rows * width + row * width + exchanged * 16 + place % 16) // 4


def buffers_of(text: str) -> int:
    """Buffers that a loop's loads go to by turns, the fewest of any block; 0 if there are none.

    Args:
        text: the kernel in Triton's `ttgir`.
    """
    return min((int(n) for n in _BUFFERS.findall(text) if int(n) > 1), default=0)


_UNITS = re.compile(
    r"^(#\w+) = #ttg\.nvidia_mma<\{.*?warpsPerCTA = \[(\d+), (\d+)\].*?"
    r"instrShape = \[(\d+), (\d+)",
    re.MULTILINE,
)
_PRODUCT = re.compile(r" (?:tt\.dot|ttng\.warp_group_dot) .*-> tensor<(\d+)x(\d+)x\w+, (#\w+)>")


@lru_cache(64)
def repeated_products(text: str) -> tuple[tuple[int, float], ...]:
    """How often warps compute the products of a line, where that is more than once.

    A tile smaller than what a program's warps cover together is computed again by those that have
    no part of it. Source: Triton's `TritonGPUAttrDefs.td`, `NvidiaMmaEncodingAttr`.

    Args:
        text: the kernel in Triton's `ttgir`, with locations.
    """
    units = {name: tuple(map(int, sizes)) for name, *sizes in _UNITS.findall(text)}
    places = Locations(text)
    found: dict[int, float] = {}
    for row in text.splitlines():
        if "_dot " not in row and ".dot " not in row:
            continue
        body, line = places.strip(row)
        product = _PRODUCT.search(body)
        if product is None or product[3] not in units:
            continue
        down, across, rows, columns = units[product[3]]
        times = max(down * rows / int(product[1]), 1.0) * max(
            across * columns / int(product[2]), 1.0
        )
        if times > 1:
            found[line] = max(found.get(line, 1.0), times)
    return tuple(sorted(found.items()))


@lru_cache(64)
def float_instructions(text: str, num_warps: int) -> tuple[tuple[int, float], ...]:
    """Additions and multiplications in float32 by line, for each thread, fused where they can be.

    Lines on which anything else computes in floats are left out.

    Args:
        text: the kernel in Triton's `ttgir`, with locations.
        num_warps: of a program.
    """
    places = Locations(text)
    counts: dict[int, float] = defaultdict(float)
    products: dict[str, tuple[int, float]] = {}
    unclear: set[int] = set()
    for row in text.splitlines():
        if row.startswith("#") or not (found := _OPERATION.match(row)):
            continue
        body, line = places.strip(row)
        name, kind = found[1], found[2]
        if kind.startswith(_UNCLEAR):
            unclear.add(line)
            continue
        if kind not in (*_ADDS, *_MULTIPLIES):
            continue
        typed = _TYPE.search(body)
        if typed is None or typed[2] != "f32":
            unclear.add(line)
            continue
        size = math.prod(map(int, typed[1].split("x"))) if typed[1] else 1
        each = max(size / (32 * num_warps), 1.0)
        counts[line] += each
        operands = _OPERANDS.findall(body.partition("=")[2])
        if kind in _MULTIPLIES:
            products[name or ""] = (line, each)
        elif fused := next((o for o in operands if o in products), None):
            where, saved = products.pop(fused)  # a multiplication and an addition at once
            counts[where] -= saved
    return tuple(sorted((n, c) for n, c in counts.items() if n and c > 0 and n not in unclear))
