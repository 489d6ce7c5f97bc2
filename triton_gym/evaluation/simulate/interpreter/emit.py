"""Turns a kernel's TTIR into Python, operation by operation.

Nothing of the text gets into the Python but numbers: values are renamed, and strings, names of
types and of operations are looked up in tables of our own. `writer.py` is what all parts share;
`arithmetic.py`, `layout.py`, `accesses.py` and `regions.py` write the operations of their kinds.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from triton_gym.evaluation.simulate.interpreter import blocks, scalars
from triton_gym.evaluation.simulate.interpreter.accesses import Accesses
from triton_gym.evaluation.simulate.interpreter.arithmetic import Arithmetic
from triton_gym.evaluation.simulate.interpreter.deciding import deciding
from triton_gym.evaluation.simulate.interpreter.layout import Layout
from triton_gym.evaluation.simulate.interpreter.parse import UnknownText, parse
from triton_gym.evaluation.simulate.interpreter.regions import Regions
from triton_gym.evaluation.simulate.interpreter.templates import BLOCKS, CONVERTED, SINGLES
from triton_gym.evaluation.simulate.interpreter.types import (
    Block,
    Function,
    Module,
    Operation,
    callee,
    inside,
)

_FREE = {
    "scf.yield", "tt.return", "tt.reduce.return", "tt.scan.return", "scf.condition", "cf.br",
    "cf.cond_br", "tt.map_elementwise.return",
}  # fmt: skip
_IGNORED = {"llvm.intr.assume", "tt.print", "ttg.local_barrier", "nvvm.cluster.arrive"}
_SYNCHRONISES = {"gpu.barrier", "ttg.barrier", "tt.barrier", "nvvm.barrier0"}
_WAITS = {"tt.atomic_rmw", "tt.atomic_cas", "tt.load"}
_EFFECTS = {
    "tt.store", "tt.descriptor_store", "tt.descriptor_reduce", "tt.atomic_rmw", "tt.atomic_cas",
    "tt.call", "tt.assert", "tt.gather",
}  # fmt: skip


class Program:
    """A kernel that can be run, one program at a time.

    Args:
        module: the kernel.
        sketched: whether only that is computed which decides what is accessed, and how often.

    Raises:
        UnknownText: it has something that is not known.
    """

    def __init__(self, module: Module, *, sketched: bool = False) -> None:
        self.module = module
        try:
            emitter = _Emitter(module, deciding(module) if sketched else None)
            self.source = emitter.emit()
        except (KeyError, IndexError, ValueError, TypeError, AttributeError, StopIteration) as err:
            raise UnknownText(f"{type(err).__name__}: {err}") from None
        scope: dict[str, Any] = {"np": np, **emitter.scope}
        for space in (blocks, scalars):
            scope.update({k: v for k, v in vars(space).items() if callable(v)})
        exec(compile(self.source, "<ttir>", "exec"), scope)
        self.run: Callable[..., Any] = scope[emitter.name_of(module.kernel.name)]
        """Runs a program given a `Machine` and the arguments; where `waits`, as a generator."""
        self.waits = module.kernel.name in emitter.waiting
        """Whether programs may wait for one another, and so must run side by side."""
        self.operations = emitter.operations
        """Operations that a machine is told of, by number."""
        self.blocks = emitter.counted
        """Blocks whose executions are counted, by number."""

    @functools.cached_property
    def sketch(self) -> Program:
        """The same without what decides nothing of what is accessed, and how often."""
        return Program(self.module, sketched=True)

    @functools.cached_property
    def idle_loops(self) -> frozenset[int]:
        """Numbers of the loops that store nothing, and whose results decide nothing."""
        decides = deciding(self.module)
        return frozenset(
            number for number, operation in enumerate(self.operations)
            if operation.name == "scf.for"
            and not any(name in decides for name, _ in operation.results)
            and not any(inner.name in _EFFECTS for inner in inside(operation))
        )  # fmt: skip


class _Emitter(Arithmetic, Layout, Accesses, Regions):
    def __init__(self, module: Module, needed: set[str] | None) -> None:
        super().__init__(module, needed)
        self.counted: list[Block] = []
        self.waiting = self._find_waiting()

    def _find_waiting(self) -> set[str]:
        """Functions with a loop that may wait for what another program does."""
        found: set[str] = set()
        for function in self._module.functions.values():
            for operation in function.operations():
                if operation.name == "scf.while" and any(
                    inner.name in _WAITS
                    for region in operation.regions
                    for block in region
                    for inner in block.operations
                ):
                    found.add(function.name)
        while True:
            more = {
                f.name
                for f in self._module.functions.values()
                if any(o.name == "tt.call" and callee(o) in found for o in f.operations())
            }
            if more <= found:
                return found
            found |= more

    def emit(self) -> str:
        for function in self._module.functions.values():
            self._emit_function(function)
        return "\n".join(self._lines) + "\n"

    def name_of(self, function: str) -> str:
        return f"f{list(self._module.functions).index(function)}"

    def _emit_function(self, function: Function) -> None:
        self._function = function.name
        names = [self._define(name, kind) for name, kind in function.arguments]
        self._write(f"def {self.name_of(function.name)}({', '.join(['M', *names])}):")
        self._indent += 1
        if function.name in self.waiting:
            self._write("if False: yield")
        if len(function.blocks) == 1:
            self._emit_block(function.blocks[0])
        else:
            self._emit_graph(function.blocks)
        self._indent -= 1

    def _emit_graph(self, blocks: list[Block]) -> None:
        """Blocks that branch to one another, as a loop over what comes next."""
        places = {block.name: number for number, block in enumerate(blocks)}
        for block in blocks[1:]:
            for name, kind in block.arguments:
                self._define(name, kind)
        self._write("at = 0")
        self._write("while True:")
        self._indent += 1
        for number, block in enumerate(blocks):
            self._write(f"{'el' if number else ''}if at == {number}:")
            self._indent += 1
            self._emit_block(block)
            last = block.operations[-1]
            for way, (label, values) in enumerate(last.targets):
                if label not in places:
                    raise UnknownText("a branch to nowhere")
                if last.name == "cf.cond_br":
                    self._write(f"if {self._value(last.operands[0])}:" if not way else "else:")
                    self._indent += 1
                target = blocks[places[label]]
                self._move(target.arguments, [self._value(v) for v in values])
                self._write(f"at = {places[label]}")
                if last.name == "cf.cond_br":
                    self._indent -= 1
            self._indent -= 1
        self._indent -= 1

    def _emit_block(self, block: Block) -> None:
        if not self._vector:
            self.counted.append(block)
            self._write(f"M.enter({len(self.counted) - 1})")
        for operation in block.operations:
            self._emit(operation)

    def _emit(self, operation: Operation) -> None:
        if self._needed is not None and not self._vector and self._sketch(operation):
            return
        method = getattr(self, "_emit_" + operation.name.replace(".", "_"), None)
        if method is not None:
            method(operation)
        elif operation.name in _IGNORED or (operation.name in _FREE and operation.name != ""):
            return
        elif operation.name in _SYNCHRONISES:
            self._write("M.barrier()")
        elif operation.name in CONVERTED:
            self._convert(operation)
        elif operation.name in BLOCKS or operation.name in SINGLES:
            self._elementwise(operation)
        else:
            raise UnknownText(f"operation {operation.name[:60]}")
        if "tt.divisibility" in operation.attributes or "tt.contiguity" in operation.attributes:
            name, kind = operation.results[0]
            self._write(f"M.hint({self._number(operation)}, {self._names[name]}, {kind.shape!r})")

    def _sketch(self, operation: Operation) -> bool:
        """Whether an operation is left out, or only told of: nothing depends on its results."""
        needed = self._needed or set()
        if operation.regions and operation.name.startswith("scf."):
            return False
        if any(name in needed for name, _ in operation.results):
            return False
        for result in operation.results:
            self._define(*result)
        name = operation.name
        if name == "tt.load":
            values = [self._value(n) for n in operation.operands[:2]] + ["None"]
            kind = operation.results[0][1]
            self._write(
                f"M.seen({self._number(operation)}, {values[0]}, {values[1]}, {kind.shape!r}, "
                f"{kind.element!r})"
            )
        elif name == "tt.descriptor_load":
            what = self._value(operation.operands[0])
            self._write(f"M.seen_bulk({self._number(operation)}, {what}, {self._place(operation)})")
        elif name in ("tt.dot", "tt.dot_scaled"):
            kinds = [self._types[n] for n in operation.operands[:2]]
            precision = re.search(r"inputPrecision = (\w+)", operation.text)
            self._write(
                f"M.seen_dot({self._number(operation)}, {kinds[0].shape!r}, {kinds[1].shape!r}, "
                f"{kinds[0].element!r}, {precision[1] if precision else 'ieee'!r})"
            )
        elif name in ("tt.reduce", "tt.scan", "tt.histogram"):
            size = self._types[operation.operands[0]].size
            self._write(f"M.seen_reduction({self._number(operation)}, {size})")
        else:
            return not (
                name in _EFFECTS or name in _SYNCHRONISES or name in _FREE or not operation.results
            )
        return True


@functools.lru_cache(256)
def program_of(text: str) -> Program:
    """The kernel that a text describes, ready to run; see `Program`.

    Raises:
        UnknownText: it has something that is not known.
    """
    return Program(parse(text))
