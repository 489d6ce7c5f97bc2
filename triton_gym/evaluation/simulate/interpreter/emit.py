"""Turns a kernel's TTIR into Python, operation by operation.

Nothing of the text gets into the Python but numbers: values are renamed, and strings, names of
types and of operations are looked up in tables of our own.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from triton_gym.evaluation.simulate.interpreter import blocks, scalars
from triton_gym.evaluation.simulate.interpreter.parse import UnknownText
from triton_gym.evaluation.simulate.interpreter.scalars import BITS, DTYPES, is_float
from triton_gym.evaluation.simulate.interpreter.templates import BLOCKS, COMPARED, ORDERED, SINGLES
from triton_gym.evaluation.simulate.interpreter.types import (
    Block,
    Function,
    Module,
    Operation,
    Type,
)

_FREE = {
    "scf.yield", "tt.return", "tt.reduce.return", "tt.scan.return", "scf.condition", "cf.br",
    "cf.cond_br", "tt.map_elementwise.return",
}  # fmt: skip
_IGNORED = {"llvm.intr.assume", "tt.print", "ttg.local_barrier", "nvvm.cluster.arrive"}
_SYNCHRONISES = {"gpu.barrier", "ttg.barrier", "tt.barrier", "nvvm.barrier0"}
_WAITS = {"tt.atomic_rmw", "tt.atomic_cas", "tt.load"}
_CONVERTED = {
    "arith.extsi": "sext", "arith.extui": "zext", "arith.trunci": "trunc",
    "arith.sitofp": "signed", "arith.uitofp": "unsigned", "arith.fptosi": "signed",
    "arith.fptoui": "unsigned", "arith.extf": "float", "arith.truncf": "float",
    "tt.fp_to_fp": "float", "arith.index_cast": "sext", "arith.index_castui": "zext",
}  # fmt: skip
_EFFECTS = {
    "tt.store", "tt.descriptor_store", "tt.descriptor_reduce", "tt.atomic_rmw", "tt.atomic_cas",
    "tt.call", "tt.assert", "tt.gather",
}  # fmt: skip
_AXES = {"x": 0, "y": 1, "z": 2}


class Program:
    """A kernel that can be run, one program at a time.

    Args:
        module: the kernel.
        sketched: whether only that is computed which decides what is accessed, and how often.
    """

    def __init__(self, module: Module, *, sketched: bool = False) -> None:
        self.module = module
        emitter = _Emitter(module, deciding(module) if sketched else None)
        self.source = emitter.emit()
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


class _Emitter:
    def __init__(self, module: Module, needed: set[str] | None) -> None:
        self._module = module
        self._needed = needed
        self._lines: list[str] = []
        self._indent = 0
        self._names: dict[str, str] = {}
        self._types: dict[str, Type] = {}
        self._defined = 0
        self._vector = False
        self.scope: dict[str, Any] = {}
        self.operations: list[Operation] = []
        self.counted: list[Block] = []
        self.waiting = self._find_waiting()
        self._function = ""

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
                if any(o.name == "tt.call" and _callee(o) in found for o in f.operations())
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

    def _write(self, text: str) -> None:
        self._lines.append("    " * self._indent + text)

    def _define(self, name: str, kind: Type) -> str:
        self._defined += 1  # regions beside each other use the same names
        self._names[name] = f"v{self._defined}"
        self._types[name] = kind
        return self._names[name]

    def _value(self, name: str) -> str:
        if self._needed is not None and name not in self._needed:
            return "None"
        if name not in self._names:
            raise UnknownText(f"a value {name[:40]!r} that is not defined")
        return self._names[name]

    def _constant(self, value: Any) -> str:
        name = f"c{len(self.scope)}"
        self.scope[name] = value
        return name

    def _number(self, operation: Operation) -> int:
        self.operations.append(operation)
        return len(self.operations) - 1

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

    def _move(self, targets: list[tuple[str, Type]], values: list[str]) -> None:
        """Hand values on to names that were defined before, all at once."""
        if len(targets) != len(values):
            raise UnknownText("another number of values than is handed on")
        if targets:
            names = ", ".join(self._names[name] for name, _ in targets)
            self._write(f"{names} = {', '.join(values)}")

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
        elif operation.name in _CONVERTED:
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

    def _give(self, operation: Operation, expression: str) -> None:
        name, kind = operation.results[0]
        self._write(f"{self._define(name, kind)} = {expression}")

    def _block(self, kind: Type) -> bool:
        """Whether a value is an array here: within a reduction single values are."""
        return self._vector or kind.shape is not None

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
        how = _CONVERTED[operation.name]
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

    def _full(self, name: str) -> str:
        if self._needed is not None and name not in self._needed:
            return "None"
        shape = self._types[name].shape
        return f"full({self._value(name)}, {shape!r})" if shape is not None else self._value(name)

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

    # -- memory

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

    # -- whole blocks

    def _emit_tt_dot(self, operation: Operation) -> None:
        precision = operation.attributes.get("inputPrecision", "")
        found = re.search(r"inputPrecision = (\w+)", operation.text)
        precision = found[1] if found else precision or "ieee"
        a, b, c = map(self._full, operation.operands[:3])
        self._give(operation, f"M.dot({self._number(operation)}, {a}, {b}, {c}, {precision!r})")

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

    # -- control

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
        callee = _callee(operation)
        if callee not in self._module.functions:
            raise UnknownText("a call of nothing")
        arguments = ", ".join(["M", *map(self._value, operation.operands)])
        waits = "yield from " if callee in self.waiting else ""
        call = f"{waits}{self.name_of(callee)}({arguments})"
        names = [self._define(*result) for result in operation.results]
        self._write(f"{', '.join(names)} = {call}" if names else call)

    def _emit_tt_assert(self, operation: Operation) -> None:
        self._write(f"M.check({self._full(operation.operands[0])}, {self._number(operation)})")


def deciding(module: Module) -> set[str]:
    """Values that decide what a kernel accesses, how often, and which way it goes.

    Values of stores and products are none of them, unless an address or a condition is made of
    them.
    """
    needed: set[str] = set()
    operations = [o for f in module.functions.values() for o in f.operations()]
    for operation in operations:
        for place, name in enumerate(operation.operands):
            if _decides(operation, place):
                needed.add(name)
    while True:
        before = len(needed)
        for function in module.functions.values():
            _spread(function, needed)
        if len(needed) == before:
            return needed


def _decides(operation: Operation, place: int) -> bool:
    """Whether an operand decides, for itself."""
    name, last = operation.name, len(operation.operands) - 1
    if name in ("tt.store", "tt.load"):
        return place in (0, 2) if name == "tt.store" else place < 2
    if name in ("tt.atomic_rmw", "tt.atomic_cas", "tt.call", "tt.return", "tt.assert", "tt.gather"):
        return True
    if name in ("tt.descriptor_store", "tt.descriptor_reduce"):
        return place < last
    if name == "tt.descriptor_load":
        return True
    if name == "scf.for":
        return place < 3
    return name in ("scf.if", "scf.condition", "cf.cond_br", "cf.br") and (
        place == 0 or name == "cf.br"
    )


def _spread(function: Function, needed: set[str]) -> None:
    """Add what needed values are made of, once over."""
    labels = {block.name: block for block in function.blocks}
    for operation in reversed(list(function.operations())):
        results = [name for name, _ in operation.results]
        for _, values in operation.targets:
            needed.update(values)
        for label, _ in operation.targets:
            needed.update(name for name, _ in labels[label].arguments)
        if operation.name == "scf.for":
            block = operation.regions[0][0]
            yields = block.operations[-1].operands if block.operations else []
            carried = zip(operation.operands[3:], block.arguments[1:], results, strict=False)
            for place, (init, (argument, _), result) in enumerate(carried):
                if result in needed or argument in needed:
                    needed.update((init, argument, result, yields[place]))
        elif operation.name == "scf.if":
            for place, result in enumerate(results):
                if result in needed:
                    needed.update(r[0].operations[-1].operands[place] for r in operation.regions)
        elif operation.name == "scf.while":
            needed.update(operation.operands)
            for region in operation.regions:
                needed.update(name for name, _ in region[0].arguments)
                needed.update(region[0].operations[-1].operands)
            needed.update(results)
        elif any(result in needed for result in results):
            needed.update(operation.operands)
            for region in operation.regions:
                needed.update(n for b in region for o in b.operations for n in o.operands)


def _callee(operation: Operation) -> str:
    found = re.search(r"@([\w.$]+)|@\"(\d+)\"", operation.text)
    if not found:
        return ""
    return found[1] or operation.strings[int(found[2])]


def _axis(operation: Operation) -> int:
    return _AXES[operation.text.split()[1]]


@functools.lru_cache(256)
def program_of(text: str) -> Program:
    """The kernel that a text describes, ready to run; see `Program`.

    Raises:
        UnknownText: it has something that is not known.
    """
    from triton_gym.evaluation.simulate.interpreter.parse import parse

    try:
        return Program(parse(text))
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, StopIteration) as error:
        raise UnknownText(f"{type(error).__name__}: {error}") from None
