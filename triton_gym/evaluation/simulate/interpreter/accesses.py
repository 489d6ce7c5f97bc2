"""Accesses of memory as Python: by pointers, and through descriptors."""

from __future__ import annotations

import re

from triton_gym.evaluation.simulate.interpreter.parse import UnknownText
from triton_gym.evaluation.simulate.interpreter.types import Operation
from triton_gym.evaluation.simulate.interpreter.writer import Writer


class Accesses(Writer):
    """Writes them."""

    def _emit_tt_load(self, operation: Operation) -> None:
        kind = operation.results[0][1]
        arguments = [self._value(name) for name in operation.operands] + ["None", "None"]
        method = "load" if kind.shape is not None else "load_one"
        shape = f"{kind.shape!r}, " if kind.shape is not None else ""
        self._give(
            operation,
            f"M.{method}({self._number(operation)}, {', '.join(arguments[:3])}, "
            f"{shape}{kind.element!r})",
        )

    def _emit_tt_store(self, operation: Operation) -> None:
        kind = self._types[operation.operands[1]]
        arguments = [self._value(name) for name in operation.operands] + ["None"]
        method = "store" if kind.shape is not None else "store_one"
        shape = f", {kind.shape!r}" if kind.shape is not None else ""
        self._write(
            f"M.{method}({self._number(operation)}, {', '.join(arguments[:3])}{shape}, "
            f"{kind.element!r})"
        )

    def _emit_tt_atomic_rmw(self, operation: Operation) -> None:
        how = re.split(r"[ ,]+", operation.text)[1]
        kind = operation.results[0][1]
        arguments = [self._value(name) for name in operation.operands] + ["None"]
        self._give(
            operation,
            f"M.atomic({self._number(operation)}, {how!r}, {', '.join(arguments[:3])}, "
            f"{kind.shape!r}, {kind.element!r})",
        )
        if not re.fullmatch(r"[a-z_]+", how):
            raise UnknownText("an atomic operation")

    def _emit_tt_atomic_cas(self, operation: Operation) -> None:
        kind = operation.results[0][1]
        arguments = ", ".join(map(self._value, operation.operands))
        self._give(
            operation,
            f"M.swap({self._number(operation)}, {arguments}, {kind.shape!r}, {kind.element!r})",
        )

    def _emit_tt_make_tensor_descriptor(self, operation: Operation) -> None:
        kind = operation.results[0][1]
        rank = len(kind.shape or ())
        base, *rest = map(self._value, operation.operands)
        shape, strides = ", ".join(rest[:rank]), ", ".join(rest[rank : 2 * rank])
        self._give(
            operation,
            f"M.descriptor({base}, ({shape},), ({strides},), {kind.shape!r}, {kind.pointee!r}, "
            f"{'PAD_NAN' in operation.text})",
        )

    def _place(self, operation: Operation) -> str:
        rank = len(self._types[operation.operands[0]].shape or ())
        return f"({', '.join(map(self._value, operation.operands[1 : 1 + rank]))},)"

    def _emit_tt_descriptor_load(self, operation: Operation) -> None:
        shape = operation.results[0][1].shape
        self._give(
            operation,
            f"M.load_bulk({self._number(operation)}, {self._value(operation.operands[0])}, "
            f"{self._place(operation)}).reshape({shape!r})",
        )

    def _emit_tt_descriptor_store(self, operation: Operation) -> None:
        what, value = self._value(operation.operands[0]), self._full(operation.operands[-1])
        self._write(
            f"M.store_bulk({self._number(operation)}, {what}, {self._place(operation)}, {value})"
        )

    def _emit_tt_descriptor_reduce(self, operation: Operation) -> None:
        how = re.split(r"[ ,]+", operation.text)[1]
        if how not in ("add", "min", "max", "and", "or", "xor"):
            raise UnknownText(f"a reduction {how[:20]!r} through a descriptor")
        what, value = self._value(operation.operands[0]), self._full(operation.operands[-1])
        self._write(
            f"M.reduce_bulk({self._number(operation)}, {how!r}, {what}, {self._place(operation)}, "
            f"{value})"
        )
