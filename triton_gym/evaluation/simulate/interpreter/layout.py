"""Where elements of blocks come from and go to within a program, and whole products, as Python."""

from __future__ import annotations

import re

import numpy as np

from triton_gym.evaluation.simulate.interpreter.parse import UnknownText
from triton_gym.evaluation.simulate.interpreter.types import Operation
from triton_gym.evaluation.simulate.interpreter.writer import Writer

_AXES = {"x": 0, "y": 1, "z": 2}


class Layout(Writer):
    """Writes operations on whole blocks."""

    def _emit_tt_get_program_id(self, operation: Operation) -> None:
        self._give(operation, f"M.program[{_axis(operation)}]")

    def _emit_tt_get_num_programs(self, operation: Operation) -> None:
        self._give(operation, f"M.grid[{_axis(operation)}]")

    def _emit_tt_make_range(self, operation: Operation) -> None:
        start, end = (int(operation.attributes[name]) for name in ("start", "end"))
        if operation.results[0][1].size != end - start:
            raise UnknownText("a range of another length")
        self._give(operation, self._constant(np.arange(start, end, dtype=np.int32)))

    def _emit_tt_splat(self, operation: Operation) -> None:
        kind = operation.results[0][1]
        value = self._value(operation.operands[0])
        self._give(operation, f"splat({value}, {kind.element!r}, {len(kind.shape or ())})")

    def _emit_tt_unsplat(self, operation: Operation) -> None:
        self._give(operation, f"single({self._value(operation.operands[0])}.reshape(-1)[0])")

    def _emit_tt_broadcast(self, operation: Operation) -> None:
        self._give(operation, self._value(operation.operands[0]))

    def _emit_tt_expand_dims(self, operation: Operation) -> None:
        index = [":"] * len(operation.results[0][1].shape or ())
        index[int(operation.attributes["axis"])] = "None"
        self._give(operation, f"{self._value(operation.operands[0])}[{', '.join(index)}]")

    def _emit_tt_trans(self, operation: Operation) -> None:
        order = tuple(
            int(n) for n in re.findall(r"\d+", operation.attributes["order"].split(":")[1])
        )
        self._give(operation, f"{self._value(operation.operands[0])}.transpose({order})")

    def _emit_tt_reshape(self, operation: Operation) -> None:
        shape = operation.results[0][1].shape
        self._give(operation, f"{self._full(operation.operands[0])}.reshape({shape!r})")

    def _emit_tt_join(self, operation: Operation) -> None:
        parts = ", ".join(map(self._full, operation.operands))
        self._give(operation, f"np.stack([{parts}], -1)")

    def _emit_tt_cat(self, operation: Operation) -> None:
        parts = ", ".join(map(self._full, operation.operands))
        self._give(operation, f"np.concatenate([{parts}])")

    def _emit_tt_split(self, operation: Operation) -> None:
        whole = self._full(operation.operands[0])
        names = [self._define(*result) for result in operation.results]
        self._write(f"{names[0]} = {whole}[..., 0]; {names[1]} = {whole}[..., 1]")

    def _emit_tt_gather(self, operation: Operation) -> None:
        source, index = map(self._full, operation.operands)
        axis = int(re.findall(r"axis = (\d+)|\[(\d+)\]", operation.text)[0][0] or 0)
        number = self._number(operation)
        self._give(operation, f"M.gather({number}, {source}, {index}, {axis})")

    def _emit_tt_histogram(self, operation: Operation) -> None:
        count = operation.results[0][1].size
        parts = ", ".join(map(self._full, operation.operands))
        self._give(operation, f"M.histogram({count}, {parts})")

    def _emit_tt_dot(self, operation: Operation) -> None:
        precision = operation.attributes.get("inputPrecision", "")
        found = re.search(r"inputPrecision = (\w+)", operation.text)
        precision = found[1] if found else precision or "ieee"
        a, b, c = map(self._full, operation.operands[:3])
        self._give(operation, f"M.dot({self._number(operation)}, {a}, {b}, {c}, {precision!r})")


def _axis(operation: Operation) -> int:
    return _AXES[operation.text.split()[1]]
