"""Operations that hold others, as Python: loops, branches, calls, reductions."""

from __future__ import annotations

from triton_gym.evaluation.simulate.interpreter import blocks
from triton_gym.evaluation.simulate.interpreter.parse import UnknownText
from triton_gym.evaluation.simulate.interpreter.types import Block, Operation, callee
from triton_gym.evaluation.simulate.interpreter.writer import Writer


class Regions(Writer):
    """Writes them."""

    def _combination(self, operation: Operation) -> str:
        """The region of a reduction or scan as a function of its own, on blocks."""
        block = operation.regions[0][0]
        name = f"r{self._defined}"
        outer, self._vector = self._vector, True
        arguments = [self._define(n, t) for n, t in block.arguments]
        self._write(f"def {name}({', '.join(arguments)}):")
        self._indent += 1
        for inner in block.operations[:-1]:
            self._emit(inner)
        values = ", ".join(map(self._value, block.operations[-1].operands))
        self._write(f"return ({values},)")
        self._indent -= 1
        self._vector = outer
        return name

    def _emit_tt_reduce(self, operation: Operation) -> None:
        axis = int(operation.attributes["axis"])
        inner = operation.regions[0][0].operations
        number = self._number(operation)
        simple = len(inner) == 2 and inner[0].name in blocks.FOLDED and len(operation.operands) == 1
        if simple:
            value = self._full(operation.operands[0])
            self._give(operation, f"M.fold({number}, {inner[0].name!r}, {value}, {axis})")
            return
        combine = self._combination(operation)
        parts = ", ".join(map(self._full, operation.operands))
        names = [self._define(*result) for result in operation.results]
        self._write(f"{', '.join(names)}, = M.reduce({number}, {combine}, [{parts}], {axis})")

    def _emit_tt_scan(self, operation: Operation) -> None:
        number, combine = self._number(operation), self._combination(operation)
        parts = ", ".join(map(self._full, operation.operands))
        names = [self._define(*result) for result in operation.results]
        reverse = operation.attributes.get("reverse", "false") == "true"
        axis = int(operation.attributes["axis"])
        self._write(
            f"{', '.join(names)}, = M.scan({number}, {combine}, [{parts}], {axis}, {reverse})"
        )

    def _emit_tt_map_elementwise(self, operation: Operation) -> None:
        if operation.attributes.get("pack", "1") != "1":
            raise UnknownText("a map over several elements at a time")
        if any(inner.regions or inner.targets for inner in operation.regions[0][0].operations):
            raise UnknownText("a map with branches")
        combine = self._combination(operation)
        parts = ", ".join(map(self._full, operation.operands))
        names = [self._define(*result) for result in operation.results]
        self._write(f"{', '.join(names)}, = {combine}({parts})")

    def _emit_scf_for(self, operation: Operation) -> None:
        low, high, step, *carried = map(self._value, operation.operands)
        block = operation.regions[0][0]
        names = [self._define(*argument) for argument in block.arguments]
        for name, value in zip(names[1:], carried, strict=True):
            self._write(f"{name} = {value}")
        self._write(f"for {names[0]} in M.loop({self._number(operation)}, {low}, {high}, {step}):")
        self._indent += 1
        self._emit_block(block)
        self._move(block.arguments[1:], self._yielded(block))
        self._indent -= 1
        for result, name in zip(operation.results, names[1:], strict=True):
            self._write(f"{self._define(*result)} = {name}")

    def _yielded(self, block: Block) -> list[str]:
        last = block.operations[-1:]  # MLIR leaves out one that yields nothing
        found = [o for o in last if o.name == "scf.yield"]
        return [self._value(name) for name in found[0].operands] if found else []

    def _emit_scf_while(self, operation: Operation) -> None:
        first, then = (region[0] for region in operation.regions)
        names = [self._define(*argument) for argument in first.arguments]
        for name, value in zip(names, operation.operands, strict=True):
            self._write(f"{name} = {self._value(value)}")
        number = self._number(operation)
        self._write(f"M.begin({number})")
        self._write("while True:")
        self._indent += 1
        self._emit_block(first)
        condition, *values = map(self._value, first.operations[-1].operands)
        self._write(f"if not {condition} or not M.again({number}):")
        self._indent += 1
        results = [self._define(*result) for result in operation.results]
        for result, value in zip(results, values, strict=True):
            self._write(f"{result} = {value}")
        self._write("break")
        self._indent -= 1
        for argument, value in zip(then.arguments, values, strict=True):
            self._write(f"{self._define(*argument)} = {value}")
        self._emit_block(then)
        self._move(first.arguments, self._yielded(then))
        if self._function in self.waiting:
            self._write("yield")
        self._indent -= 1

    def _emit_scf_if(self, operation: Operation) -> None:
        results = [self._define(*result) for result in operation.results]
        self._write(f"if {self._value(operation.operands[0])}:")
        for number, region in enumerate(operation.regions):
            if number:
                self._write("else:")
            self._indent += 1
            self._emit_block(region[0])
            if results:
                for result, value in zip(results, self._yielded(region[0]), strict=True):
                    self._write(f"{result} = {value}")
            self._indent -= 1

    def _emit_scf_index_switch(self, operation: Operation) -> None:
        raise UnknownText("a switch")

    def _emit_tt_return(self, operation: Operation) -> None:
        values = list(map(self._value, operation.operands))
        self._write(f"return {', '.join(values)}" if values else "return")

    def _emit_tt_call(self, operation: Operation) -> None:
        called = callee(operation)
        if called not in self._module.functions:
            raise UnknownText("a call of nothing")
        arguments = ", ".join(["M", *map(self._value, operation.operands)])
        waits = "yield from " if called in self.waiting else ""
        call = f"{waits}{self.name_of(called)}({arguments})"
        names = [self._define(*result) for result in operation.results]
        self._write(f"{', '.join(names)} = {call}" if names else call)

    def _emit_tt_assert(self, operation: Operation) -> None:
        self._write(f"M.check({self._full(operation.operands[0])}, {self._number(operation)})")
