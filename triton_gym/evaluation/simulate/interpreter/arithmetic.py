"""Operations on values, element by element, as Python."""

from __future__ import annotations

import re

import numpy as np

from triton_gym.evaluation.simulate.interpreter import blocks, scalars
from triton_gym.evaluation.simulate.interpreter.parse import UnknownText
from triton_gym.evaluation.simulate.interpreter.scalars import BITS, DTYPES, is_float
from triton_gym.evaluation.simulate.interpreter.templates import (
    BLOCKS,
    COMPARED,
    CONVERTED,
    ORDERED,
    SINGLES,
)
from triton_gym.evaluation.simulate.interpreter.types import Operation
from triton_gym.evaluation.simulate.interpreter.writer import Writer


class Arithmetic(Writer):
    """Writes them."""

    def _elementwise(self, operation: Operation) -> None:
        values = [self._value(name) for name in operation.operands]
        kind = operation.results[0][1]
        element = self._types[operation.operands[-1]].element
        if self._block(kind) or is_float(element):
            template = BLOCKS.get(operation.name)
            if operation.name == "arith.select" and not self._block(kind):
                template = SINGLES[operation.name]
        else:
            template = SINGLES.get(operation.name)
        if template is None:
            raise UnknownText(f"operation {operation.name[:60]} on {element}")
        bits = BITS.get(element, 0)
        self._give(operation, template.format(*values, b=bits, m=(1 << bits) - 1))

    def _convert(self, operation: Operation) -> None:
        source = self._types[operation.operands[0]].element
        target = operation.results[0][1].element
        how = CONVERTED[operation.name]
        if how == "float" and "rtz" in operation.text:
            how = "rtz"
        value = self._value(operation.operands[0])
        self._give(operation, f"cast({value}, {source!r}, {target!r}, {how!r})")

    def _emit_arith_bitcast(self, operation: Operation) -> None:
        source = self._types[operation.operands[0]].element
        target = operation.results[0][1].element
        value = self._value(operation.operands[0])
        self._give(operation, f"bitcast({value}, {source!r}, {target!r})")

    def _emit_tt_bitcast(self, operation: Operation) -> None:
        if operation.results[0][1].element == "ptr":
            self._give(operation, self._value(operation.operands[0]))
        else:
            self._emit_arith_bitcast(operation)

    def _emit_tt_ptr_to_int(self, operation: Operation) -> None:
        value = self._value(operation.operands[0])
        block = self._block(operation.results[0][1])
        self._give(operation, f"{value}.view(np.int64)" if block else f"w64({value})")

    def _emit_tt_int_to_ptr(self, operation: Operation) -> None:
        value = self._value(operation.operands[0])
        self._write("M.forge()")
        if self._block(operation.results[0][1]):
            self._give(operation, f"{value}.astype(np.int64).view(np.uint64)")
        else:
            self._give(operation, f"{value} & {(1 << 64) - 1}")

    def _emit_arith_constant(self, operation: Operation) -> None:
        kind = operation.results[0][1]
        text = operation.text.partition("arith.constant ")[2]
        text = text.split("{", 1)[1].split("}", 1)[1].strip() if text.startswith("{") else text
        text = re.sub(r" : .*$", "", text).strip()
        if kind.shape is None:
            value = scalars.literal(text, kind.element)
        else:
            inner = text.removeprefix("dense<").removesuffix(">")
            if inner.startswith("["):
                listed = [scalars.literal(p, kind.element) for p in re.findall(r"[-\w.+]+", inner)]
                value = np.array(listed, DTYPES[kind.element]).reshape(kind.shape)
            else:
                value = np.full(
                    (1,) * len(kind.shape), scalars.literal(inner, kind.element),
                    DTYPES[kind.element],
                )  # fmt: skip
        self._give(operation, self._constant(value))

    def _emit_ub_poison(self, operation: Operation) -> None:
        kind = operation.results[0][1]
        zero = np.zeros((1,) * len(kind.shape or ()), DTYPES[kind.element])
        self._give(operation, self._constant(zero if kind.shape is not None else zero[()].item()))

    def _emit_tt_addptr(self, operation: Operation) -> None:
        pointer, offset = map(self._value, operation.operands)
        kind = operation.results[0][1]
        size = 1 if kind.pointee == "i1" else DTYPES[kind.pointee].itemsize
        if self._block(kind):
            scaled = f"({offset}.astype(np.int64) * {size}).view(np.uint64)"
            self._give(operation, f"{pointer} + {scaled}")
        else:
            self._give(operation, f"({pointer} + {offset} * {size}) & {(1 << 64) - 1}")

    def _emit_arith_cmpi(self, operation: Operation) -> None:
        how = operation.text.split()[1].rstrip(",")
        left, right = map(self._value, operation.operands)
        kind = self._types[operation.operands[0]]
        if how not in COMPARED:
            raise UnknownText("a comparison")
        if how[0] == "u" and kind.element not in ("i1", "ptr"):
            if self._block(kind):
                left, right = f"unsigned_value({left})", f"unsigned_value({right})"
            else:
                mask = (1 << BITS[kind.element]) - 1
                left, right = f"({left} & {mask})", f"({right} & {mask})"
        self._give(operation, f"{left} {COMPARED[how]} {right}")

    def _emit_arith_cmpf(self, operation: Operation) -> None:
        how = operation.text.split()[1].rstrip(",")
        if how not in ORDERED:
            raise UnknownText("a comparison")
        self._give(operation, ORDERED[how].format(*map(self._value, operation.operands)))

    def _emit_tt_clampf(self, operation: Operation) -> None:
        value, low, high = map(self._value, operation.operands)
        least, most = "np.fmin", "np.fmax"
        if "all" in operation.text.partition("propagateNan")[2]:
            least, most = "np.minimum", "np.maximum"
        self._give(operation, f"{least}({most}({value}, {low}), {high})")

    def _emit_tt_extern_elementwise(self, operation: Operation) -> None:
        found = re.search(r'symbol = "(\d+)"', operation.text)
        symbol = operation.strings[int(found[1])] if found else ""
        if not re.fullmatch(r"\w+", symbol) or blocks.library(symbol) is None:
            raise UnknownText(f"libdevice's function {symbol[:40]!r}")
        values = ", ".join(map(self._value, operation.operands))
        element = operation.results[0][1].element
        self._give(operation, f"apply_library({symbol!r}, {element!r}, {values})")

    def _emit_tt_elementwise_inline_asm(self, operation: Operation) -> None:
        from triton_gym.evaluation.simulate.interpreter.ptx import assemble

        inputs = [self._types[name].element for name in operation.operands]
        outputs = [kind.element for _, kind in operation.results]
        pack = int(operation.attributes.get("packed_element", "1"))
        function = assemble(operation.strings[0], operation.strings[1:], inputs, outputs, pack)
        names = [self._define(*result) for result in operation.results]
        values = ", ".join(
            f"full({self._value(n)}, {operation.results[0][1].shape!r})"
            if operation.results[0][1].shape is not None else self._value(n)
            for n in operation.operands
        )  # fmt: skip
        self._write(f"{', '.join(names)}, = {self._constant(function)}({values})")
