"""Inline assembly of elementwise operations: the PTX that people write into kernels, on blocks.

Source: PTX ISA 8.5. Straight-line code of the instructions in `_FUNCTIONS`, `cvt`, `mov`, `setp`,
`selp` and `prmt`; anything else is refused as not known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from triton_gym.evaluation.simulate.interpreter.formats import BFLOAT16, Array
from triton_gym.evaluation.simulate.interpreter.parse import UnknownText
from triton_gym.evaluation.simulate.interpreter.scalars import DTYPES

_TYPES: dict[str, Any] = {
    "f16": np.float16, "bf16": BFLOAT16, "f32": np.float32, "f64": np.float64,
    "s8": np.int8, "s16": np.int16, "s32": np.int32, "s64": np.int64, "u8": np.uint8,
    "u16": np.uint16, "u32": np.uint32, "u64": np.uint64, "b8": np.uint8, "b16": np.uint16,
    "b32": np.uint32, "b64": np.uint64,
}  # fmt: skip
_FP8: dict[str, Any] = {"e4m3": ml_dtypes.float8_e4m3fn, "e5m2": ml_dtypes.float8_e5m2}
_FUNCTIONS: dict[str, Callable[..., Array]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "min": np.fmin, "max": np.fmax,
    "ex2": np.exp2, "lg2": np.log2, "sin": np.sin, "cos": np.cos, "tanh": np.tanh,
    "sqrt": np.sqrt, "abs": np.abs, "neg": np.negative, "not": np.invert,
    "rcp": lambda x: x.dtype.type(1) / x, "rsqrt": lambda x: x.dtype.type(1) / np.sqrt(x),
    "div": lambda x, y: x / y if x.dtype.kind == "f" else x // np.where(y == 0, 1, y),
    "fma": lambda x, y, z: x * y + z, "mad": lambda x, y, z: x * y + z,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    "shl": lambda x, y: np.where(y < 8 * x.itemsize, x << y.astype(x.dtype), 0).astype(x.dtype),
    "shr": lambda x, y: x >> np.minimum(y, 8 * x.itemsize - 1).astype(x.dtype),
    "popc": np.bitwise_count,
}  # fmt: skip
_COMPARISONS: dict[str, Callable[[Array, Array], Array]] = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal,
}  # fmt: skip
_IGNORED = {"approx", "ftz", "rn", "rz", "rni", "rzi", "lo", "sat", "full", "satfinite", "relu"}
_REGISTERS = {"h": 16, "r": 32, "f": 32, "l": 64, "d": 64}


def assemble(
    text: str, strings: Sequence[str], inputs: Sequence[str], outputs: Sequence[str], pack: int
) -> Callable[..., tuple[Array, ...]]:
    """A function of blocks that does what some assembly does to each element.

    Args:
        text: the assembly, with `$0`, `$1`, … for operands, results first.
        strings: the other texts of the operation, of which one holds the constraints.
        inputs: MLIR's elements of the arguments.
        outputs: those of the results.
        pack: elements that one execution takes, in registers as wide as the constraints say.

    Raises:
        UnknownText: something in it is not known.
    """
    constraints = next((s for s in strings if "=" in s), "").split(",")
    marks = [c.strip(" =&") for c in constraints]
    widths = [_REGISTERS.get(mark, 0) for mark in marks]
    text = text.encode().decode("unicode_escape") if "\\" in text else text
    body = re.sub(r"//[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)
    body = re.sub(r"(?m)^\s*\{|\}\s*$", " ", body.strip())
    lines = [_parsed(line) for line in re.split(r";|\n\s*\n", body) if line.strip(" {}\n\t")]
    steps = [line for line in lines if line is not None]
    if not all(widths):
        raise UnknownText(f"constraints of inline assembly {constraints}")

    def run(*blocks: Any) -> tuple[Array, ...]:
        shape = np.broadcast_shapes(*(np.shape(b) for b in blocks))
        state: dict[str, Array] = {}
        registers = _packed(blocks, inputs, widths[_count(outputs, widths, pack) :], pack, shape)
        first = len(widths) - len(registers)
        for number, register in enumerate(registers):
            state[f"${first + number}"] = register
        for opcode, operands, guard in steps:
            _execute(opcode, operands, guard, state)
        results = [state.get(f"${number}") for number in range(first)]
        return _unpacked(results, outputs, pack, shape)

    return run


def _count(elements: Sequence[str], widths: Sequence[int], pack: int) -> int:
    """How many registers hold some elements."""
    count, place = 0, 0
    for element in elements:
        bits = pack * 8 * DTYPES[element].itemsize
        while bits > 0:
            bits -= widths[place]
            place, count = place + 1, count + 1
    return count


def _packed(
    blocks: Sequence[Any], elements: Sequence[str], widths: Sequence[int], pack: int,
    shape: tuple[int, ...],
) -> list[Array]:  # fmt: skip
    """Arguments as registers, one element of each array for every execution."""
    registers = []
    place = 0
    for block, element in zip(blocks, elements, strict=True):
        data = np.ascontiguousarray(np.broadcast_to(np.asarray(block, DTYPES[element]), shape))
        raw = data.reshape(-1, pack) if pack > 1 else data.reshape(-1, 1)
        left = raw.view(np.uint8).reshape(raw.shape[0], -1)
        while left.shape[1]:
            size = widths[place] // 8
            piece = np.zeros((left.shape[0], size), np.uint8)
            part = left[:, :size]
            piece[:, : part.shape[1]] = part
            registers.append(piece.view(f"u{size}").reshape(-1))
            left, place = left[:, size:], place + 1
    return registers


def _unpacked(
    registers: Sequence[Array | None], elements: Sequence[str], pack: int, shape: tuple[int, ...]
) -> tuple[Array, ...]:
    found = []
    place = 0
    for element in elements:
        size = pack * DTYPES[element].itemsize
        parts = []
        while size > 0:
            register = registers[place]
            if register is None:
                raise NotImplementedError("Inline assembly leaves a result without a value.")
            raw = np.ascontiguousarray(register).view(np.uint8).reshape(register.size, -1)
            parts.append(raw[:, :size])
            size, place = size - raw.shape[1], place + 1
        whole = np.ascontiguousarray(np.concatenate(parts, axis=1))
        data = whole.view(DTYPES[element]).reshape(shape)
        found.append(data if shape else data[()])
    return tuple(found)


def _parsed(line: str) -> tuple[list[str], list[str], str] | None:
    """Opcode with its modifiers, operands, and guard; None for a declaration."""
    line = " ".join(line.strip(" {}\n\t").split())
    guard = re.match(r"@(!?[%\w]+) ", line)
    if guard:
        line = line[guard.end() :]
    opcode, _, rest = line.partition(" ")
    if opcode.startswith(".reg"):
        return None
    parts = opcode.split(".")
    known = parts[0] in _FUNCTIONS or parts[0] in ("cvt", "mov", "setp", "selp", "prmt", "lop3")
    if not known:
        raise UnknownText(f"the instruction {opcode[:40]} of inline assembly")
    operands = re.findall(r"\{[^}]*\}|[^,\s]+", rest)
    return parts, operands, guard[1] if guard else ""


def _value(name: str, kind: str, state: dict[str, Array]) -> Array:
    """An operand as numbers of a type."""
    dtype = np.dtype(_TYPES.get(kind, np.uint32))
    if name in state:
        raw = state[name]
        if raw.dtype == np.bool_:
            return raw
        low = raw.view(np.uint8).reshape(raw.size, -1)[:, : dtype.itemsize]
        if low.shape[1] < dtype.itemsize:
            low = np.pad(low, ((0, 0), (0, dtype.itemsize - low.shape[1])))
        return np.asarray(np.ascontiguousarray(low).view(dtype).reshape(-1))
    if re.fullmatch(r"0[fF][0-9a-fA-F]{8}", name):
        return np.array([int(name[2:], 16)], np.uint32).view(np.float32).astype(dtype)
    if re.fullmatch(r"0[dD][0-9a-fA-F]{16}", name):
        return np.array([int(name[2:], 16)], np.uint64).view(np.float64).astype(dtype)
    try:
        number = float(name) if dtype.kind not in "iu" else int(name.rstrip("U"), 0)
    except ValueError:
        raise NotImplementedError(
            f"Inline assembly uses {name[:20]}, which has no value."
        ) from None
    if dtype.kind in "iu":
        number = int(number) & ((1 << (8 * dtype.itemsize)) - 1)
        return np.array([number], f"u{dtype.itemsize}").view(dtype)
    return np.array([number], dtype)


def _execute(opcode: list[str], operands: list[str], guard: str, state: dict[str, Array]) -> None:
    name, *modifiers = opcode
    kinds = [m for m in modifiers if m in _TYPES or m in _FP8 or m.rstrip("x2") in _FP8
             or m in ("f16x2", "bf16x2", "pred", "e4m3x2", "e5m2x2")]  # fmt: skip
    target, sources = operands[0], operands[1:]
    if name == "mov":
        found = _move(target, sources[0], kinds[-1] if kinds else "b32", state)
    elif name == "cvt":
        found = _convert(kinds, sources, state, toward_zero="rz" in modifiers or "rzi" in modifiers)
    elif name == "setp":
        values = [_value(s, kinds[-1], state) for s in sources[:2]]
        found = _COMPARISONS[modifiers[0].rstrip("u") or "lt"](*values)
    elif name == "selp":
        yes, no = (_value(s, kinds[-1], state) for s in sources[:2])
        found = np.where(state[sources[2]], yes, no)
    elif name in ("prmt", "lop3"):
        numbers = [_value(s, "b32", state) for s in sources]
        found = _permuted(*numbers[:3]) if name == "prmt" else _logic(*numbers[:4])
    else:
        found = _computed(name, modifiers, kinds, sources, state)
    if found is None:
        return
    if guard:
        holds = state[guard.lstrip("!")]
        before = state.get(target, np.zeros_like(found))
        found = np.where(holds ^ guard.startswith("!"), found, before.view(found.dtype))
    state[target] = np.asarray(found)


def _computed(
    name: str, modifiers: list[str], kinds: list[str], sources: list[str], state: dict[str, Array]
) -> Array:
    kind = kinds[-1] if kinds else "b32"
    if kind.endswith("x2"):
        half = kind[:-2]
        values = [_value(s, "b32", state) for s in sources]
        pairs = [v.view(np.uint16).view(_TYPES[half]).reshape(-1, 2) for v in values]
        paired = np.ascontiguousarray(np.asarray(_FUNCTIONS[name](*pairs), _TYPES[half]))
        return paired.view(np.uint32).reshape(-1)
    shift = name in ("shl", "shr")
    values = [
        _value(s, "u32" if shift and place else kind, state) for place, s in enumerate(sources)
    ]
    if name in ("mul", "mad") and ("wide" in modifiers or "hi" in modifiers):
        wide = np.int64 if kind[0] == "s" else np.uint64
        found = values[0].astype(wide) * values[1].astype(wide)
        if "hi" in modifiers:
            found = (found >> wide(8 * values[0].itemsize)).astype(values[0].dtype)
        return np.asarray(found if len(values) < 3 else found + values[2].astype(found.dtype))
    found = np.asarray(_FUNCTIONS[name](*values))
    if "sat" in modifiers:
        found = np.clip(found, 0, 1)
    return found.astype(values[0].dtype) if name != "popc" else found.astype(np.uint32)


def _move(target: str, source: str, kind: str, state: dict[str, Array]) -> Array | None:
    if target.startswith("{"):
        names = [n.strip() for n in target.strip("{}").split(",")]
        raw = _value(source, kind, state)
        parts = raw.view(np.uint8).reshape(raw.size, len(names), -1)
        for place, name in enumerate(names):
            piece = np.ascontiguousarray(parts[:, place])
            state[name] = piece.view(f"u{piece.shape[1]}").reshape(-1)
        return None
    if source.startswith("{"):
        names = [n.strip() for n in source.strip("{}").split(",")]
        bits = int(kind[1:]) // len(names)
        parts = np.stack([_value(name, f"b{bits}", state) for name in names], axis=1)
        return np.ascontiguousarray(parts).view(f"u{bits * len(names) // 8}").reshape(-1)
    return _value(source, kind, state)


def _convert(
    kinds: list[str], sources: list[str], state: dict[str, Array], *, toward_zero: bool
) -> Array:
    """`cvt`: between numbers, and of two at a time into packed ones and back."""
    to, source = kinds[0], kinds[-1]
    if to.endswith("x2"):
        if source.endswith("x2"):  # e4m3x2 to f16x2
            packed = _value(sources[0], "b16", state).view(np.uint8)
            values = packed.view(_FP8[source[:-2]]).astype(_TYPES.get(to[:-2], np.float16))
            return np.ascontiguousarray(values).view(np.uint32)
        high, low = (_value(s, source, state) for s in sources[:2])
        pair = np.stack(np.broadcast_arrays(low, high), axis=1).astype(np.float32)
        if to[:-2] in _FP8:
            limit = float(ml_dtypes.finfo(_FP8[to[:-2]]).max)
            pair = np.clip(pair, -limit, limit)
            return np.ascontiguousarray(pair.astype(_FP8[to[:-2]])).view(np.uint16).reshape(-1)
        return np.ascontiguousarray(pair.astype(_TYPES[to[:-2]])).view(np.uint32).reshape(-1)
    value = _value(sources[0], source, state)
    kind = np.dtype(_TYPES[to])
    if kind.kind in "iu" and value.dtype.kind not in "iu":
        whole = np.trunc(value) if toward_zero else np.rint(value.astype(np.float64))
        limits = np.iinfo(kind)
        return np.clip(whole, limits.min, limits.max).astype(kind)
    return value.astype(kind)


def _permuted(a: Array, b: Array, selector: Array) -> Array:
    """`prmt`: four bytes chosen of eight."""
    a, b, selector = np.broadcast_arrays(a, b, selector)
    both = np.stack([a, b], axis=1).astype(np.uint32).copy().view(np.uint8).reshape(-1, 8)
    chosen = np.stack([selector >> np.uint32(4 * i) & np.uint32(7) for i in range(4)], axis=1)
    found = np.take_along_axis(both, chosen.astype(np.int64), axis=1)
    return np.ascontiguousarray(found).view(np.uint32).reshape(-1)


def _logic(a: Array, b: Array, c: Array, table: Array) -> Array:
    """`lop3`: any function of three bits, by its table."""
    found = np.zeros(np.broadcast_shapes(a.shape, b.shape, c.shape), np.uint32)
    for row in range(8):
        if int(table[0]) >> row & 1:
            picked = [x if row >> bit & 1 else ~x for x, bit in ((a, 2), (b, 1), (c, 0))]
            found |= picked[0] & picked[1] & picked[2]
    return found
