"""From a graph to a task: shapes, inputs, counts and the words."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from triton_gym.composition.graph import Graph, Kind, Layout
from triton_gym.composition.plain import Subject, plain, tiles
from triton_gym.composition.reference import Reference, english
from triton_gym.errors import InvalidTaskError
from triton_gym.task import Case, Entry, Span, Task, Unit

if TYPE_CHECKING:
    import torch

NAME_LIMIT = 32
"""Longest function name in characters; longer ones keep their first words."""
LEVEL = 100.0
"""Level of rows where a softmax must subtract its maximum: exp overflows float32 at 88."""
_SHIFTED = frozenset({"softmax", "log_softmax", "logsumexp"})
_LINEAR = frozenset({"shift", "add", "sub", "neg"})


@dataclass(frozen=True, slots=True)
class Problem:
    """A graph with a dtype and a size to be timed at."""

    graph: Graph
    dtype: str
    bench: tuple[int, ...]
    """(rows, cols), or (rows, cols, k) of a matrix product."""

    def __post_init__(self) -> None:
        idle = {o.name for o in self.graph.operands} - {step.operand for step in self.graph.steps}
        if idle:  # who does not read it would be faster than the speed of light
            raise InvalidTaskError(f"No step of {self.graph.name()} joins {sorted(idle)}.")

    @property
    def name(self) -> str:
        """Name of the function to write."""
        name = self.graph.name()
        return name if len(name) <= NAME_LIMIT else name[:NAME_LIMIT].rpartition("_")[0]

    @property
    def level(self) -> float:
        """How far the rows of `x` are from zero.

        Large where a softmax sees `x` itself up to shifts, and float32 can tell its values apart.
        """
        for step in self.graph.steps:
            if step.row:
                far = step.operator in _SHIFTED and self.dtype == "float32"
                return LEVEL if far else 1.0
            if step.operator not in _LINEAR or step.inner:
                break
        return 1.0

    def inputs(self, case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        """Normal values; the rows of `x` differ in level and spread, so that statistics of them do.

        `w` is scaled by 1/sqrt k, which keeps the product as large as `x`.
        """
        import torch

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(
                shape, generator=generator, device=generator.device, dtype=torch.float32
            )

        def uniform(low: float, high: float) -> torch.Tensor:
            drawn = torch.rand(
                (rows, 1), generator=generator, device=generator.device, dtype=torch.float32
            )
            return low + (high - low) * drawn

        rows, cols = case["rows"], case["cols"]
        if self.graph.kind is Kind.MATMUL:
            k = case["k"]
            found = [normal(rows, k) * uniform(0.5, 1.5), normal(k, cols) * k**-0.5]
        else:
            found = [normal(rows, cols) * uniform(0.5, 2.0) + uniform(-self.level, self.level)]
        shapes = {Layout.FULL: (rows, cols), Layout.VECTOR: (cols,), Layout.COLUMN: (rows,)}
        found += [normal(*shapes[operand.layout]) for operand in self.graph.operands]
        return tuple(x.to(case.torch_dtype) for x in found)

    def flops(self, case: Case) -> float:
        """Those of the operators, or of the matrix product alone."""
        return self.graph.flops(case["rows"], case["cols"], case.sizes.get("k", 1))

    def min_bytes(self, case: Case) -> float:
        """Every parameter read once, the result written once."""
        rows, cols = case["rows"], case["cols"]
        elements = self.graph.read(rows, cols) + (rows if self.graph.reduced else rows * cols)
        if self.graph.kind is Kind.MATMUL:
            elements += (rows + cols) * case["k"]
        else:
            elements += rows * cols
        return float(case.torch_dtype.itemsize * elements)

    def reduction(self, case: Case) -> int:
        """Terms of the longest sum, or what allows for a chain of elementwise operations.

        Errors of a sum of n terms grow like the root of n, those of a chain like its length in the
        worst case: Triton's exp and division err by 2 units in the last place each.
        """
        terms = case.sizes.get("k", case["cols"] if self.graph.kind is Kind.ROWS else 1)
        return max(terms, self.graph.operations**2)

    def task(self) -> Task:
        """The task."""
        subject = Subject(self.graph, self.name, self.dtype)
        matmul = self.graph.kind is Kind.MATMUL
        return Task(
            name=f"composed_{self._digest().hex()[:8]}",
            title=f"Composed {self.graph.kind}: {self.name}",
            statement=self._statement(),
            entry=Entry(self.name, self.graph.parameters),
            reference=Reference(self.graph, self.name),
            inputs=self.inputs,
            tiny=tuple(self._case(sizes) for sizes in (_TINY_MATMUL if matmul else _TINY)),
            bench=(self._case(self.bench),),
            spans=_SPANS_MATMUL if matmul else _SPANS,
            flops=self.flops,
            min_bytes=self.min_bytes,
            reduction=self.reduction,
            starter=plain(subject, block=256),
            expert=tiles(subject, tile=(128, 128, 32), warps=8)
            if matmul
            else plain(subject, block=1024),
            unit=Unit.MATRIX if matmul else Unit.VECTOR,
            tags=("composed", str(self.graph.kind)),
        )

    def _case(self, sizes: tuple[int, ...]) -> Case:
        return Case(self.dtype, dict(zip(("rows", "cols", "k"), sizes, strict=False)))

    def _statement(self) -> str:
        """In words, as code, or both: who learns from these tasks meets others that are worded as
        their authors liked."""
        shapes = {Layout.FULL: "[rows, cols]", Layout.VECTOR: "[cols]", Layout.COLUMN: "[rows]"}
        matmul = self.graph.kind is Kind.MATMUL
        given = {"x": "[rows, k]", "w": "[k, cols]"} if matmul else {"x": "[rows, cols]"}
        given |= {operand.name: shapes[operand.layout] for operand in self.graph.operands}
        result = "[rows]" if self.graph.reduced else "[rows, cols]"
        words, code = english(self.graph), Reference(self.graph, self.name).text.rstrip()
        listed = ", ".join(f"{name} {shape}" for name, shape in given.items())
        form = self._digest()[0] % 4
        if form == 0:
            described = ", ".join(f"{name} is {shape}" for name, shape in given.items())
            return (
                f"{words[0].upper()}{words[1:]}. {described}, row-major and contiguous, in "
                f"{self.dtype}; return {result} of the same dtype, contiguous. Compute in float32. "
                "cols is at most 8192."
            )
        if form == 1:
            return (
                f"Compute what this function computes in PyTorch, given {listed}, all contiguous "
                f"{self.dtype}; compute in float32. cols is at most 8192.\n\n{code}"
            )
        return (
            f"Given {listed}, all contiguous {self.dtype}: {words}. Return {result} in "
            f"{self.dtype}; compute in float32. cols is at most 8192. In PyTorch:\n\n{code}"
        )

    def _digest(self) -> bytes:
        return hashlib.sha256(repr(self).encode()).digest()


_TINY = ((3, 7001), (5, 130))  # longer rows than are timed
_TINY_MATMUL = ((33, 40, 24), (70, 19, 70))
_SPANS = {
    "rows": Span(low=1, high=1024, tiny=6),
    "cols": Span(low=8, high=8192, tiny=400),
}
_SPANS_MATMUL = {
    "rows": Span(low=2, high=600, tiny=72),
    "cols": Span(low=8, high=600, tiny=72),
    "k": Span(low=8, high=600, tiny=72),
}
