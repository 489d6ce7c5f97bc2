"""KernelBench's problems as tasks, from the user's own checkout. Nothing of them is kept here.

A problem is a Python file with a class `Model`, `get_inputs()` and `get_init_inputs()`; an answer
defines `ModelNew` (Ouyang et al., "KernelBench: Can LLMs write efficient GPU kernels?", 2025). It
has one shape, given by constants at the top of the file::

    task = kernelbench.load("KernelBench/level1/23_Softmax.py")
    triton_gym.register(task)                       # TritonKernel-level1_23_softmax-v0

A file is executed when it is loaded, as it is by KernelBench. What our evaluation does otherwise:
inputs are fresh for every launch; results are held against the reference in float64; answers are
also tried on smaller shapes, since the simulated device cannot interpret a problem at its own size.
Smaller shapes are found by setting the file's constants, with which the reference must still run.
"""

from __future__ import annotations

import ast
import inspect
import logging
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triton_gym import syntax
from triton_gym.errors import InvalidTaskError
from triton_gym.registration import register
from triton_gym.task import Case, Entry, Kind, Task

if TYPE_CHECKING:
    import torch

TINY_ELEMENTS = 1 << 15
"""Most elements of inputs, parameters and results that the interpreter is given."""
TESTED_ELEMENTS = 1 << 28
"""The same for tests on a GPU, whose oracle takes 8 bytes for each. Larger problems are tested on a
smaller shape, and at their own against the reference in its own dtype, in every timed launch."""
VARIANTS = 3
"""Further shapes for the interpreter, with one constant halved or doubled."""
_KEPT = (16, 8, 4, 3, 2, 1)
"""Constants up to one of these stay when others shrink: kernel sizes, strides, groups."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem's source; its methods are what a task is made of."""

    source: str
    title: str

    def names(self, sizes: Mapping[str, int]) -> dict[str, Any]:
        """The file's names after it ran, with its constants set to `sizes`."""
        scope: dict[str, Any] = {"__name__": "kernelbench_problem"}
        exec(compile(self.source, f"<{self.title}>", "exec"), scope)
        for name, size in sizes.items():
            stem, _, place = name.partition(".")
            if place:
                items = list(scope[stem])
                items[int(place)] = size
                scope[stem] = type(scope[stem])(items)
            else:
                scope[stem] = size
        return scope

    def sizes(self) -> dict[str, int]:
        """The file's constants: integers, and those in tuples and lists as `name.0`, `name.1`."""
        scope, found = self.names({}), {}
        for node in syntax.parse(self.source).body:
            if not isinstance(node, (ast.Assign, ast.AnnAssign)):
                continue
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in (t for top in targets for t in ast.walk(top)):
                if isinstance(target, ast.Name):
                    found.update(_integers(target.id, scope.get(target.id)))
        return found

    def inputs(self, case: Case, generator: torch.Generator) -> tuple[Any, ...]:
        """`get_inputs()` with its random numbers drawn on the generator's device."""
        import torch

        from triton_gym.evaluation.modules import RANDOM

        device = generator.device
        devices = [device.index or 0] if device.type == "cuda" else []
        with RANDOM, torch.random.fork_rng(devices=devices):
            torch.manual_seed(generator.initial_seed())
            with torch.device(device):
                drawn = self.names(case.sizes)["get_inputs"]()
        return tuple(_as_input(value, case.torch_dtype, device) for value in drawn)

    def init(self, case: Case) -> tuple[Any, ...]:
        """`get_init_inputs()`."""
        return tuple(self.names(case.sizes)["get_init_inputs"]())

    def model(self, *init: Any) -> Any:
        """`Model(*init)`."""
        return self.names({})["Model"](*init)

    def min_bytes(self, case: Case) -> float:
        """What the results are made of read once, they themselves written once."""
        return float(_measured(self, case).bytes)

    def reduction(self, case: Case) -> int:
        """The longest axis of an input, or what a row of a parameter multiplies."""
        return _measured(self, case).longest


@dataclass(frozen=True, slots=True)
class Extent:
    """How large a problem is at some sizes."""

    elements: int
    """Of inputs, parameters and results."""
    bytes: int
    """That have to be read and written."""
    longest: int


@dataclass(frozen=True, slots=True)
class Registered:
    """What became of a checkout's problems."""

    ids: tuple[str, ...]
    refused: Mapping[str, str]
    """File and reason of those that cannot be tasks."""


def load(
    path: str | Path, *, dtype: str = "float32", flops: float = 0.0, starter: str = ""
) -> Task:
    """The task of a problem file.

    Args:
        path: of the file, in the user's checkout.
        dtype: of the floating-point inputs and parameters.
        flops: floating point operations at its size, where they are known: answers that are faster
            than the device could do them are cheating. 0 leaves the bound by memory.
        starter: what an episode starts from.

    Raises:
        InvalidTaskError: the file is no problem, its reference is random, or no smaller shape runs.
    """
    path = Path(path)
    problem = Problem(path.read_text(), path.name)
    name = re.sub(r"\W+", "_", f"{path.parent.name}_{path.stem}").strip("_").lower()
    name = name if name.isidentifier() else f"problem_{name}"
    try:
        scope, sizes = problem.names({}), problem.sizes()
        parameters = _forward(scope)
        count = len(_drawn(problem, sizes, dtype))
    except Exception as error:
        raise InvalidTaskError(
            f"{path} is no problem of KernelBench: {type(error).__name__}: {error}"
        ) from error
    bench = Case(dtype, sizes)
    tiny = _small(problem, bench, TINY_ELEMENTS)
    tested = _small(problem, bench, TESTED_ELEMENTS)
    if tiny is None or tested is None:
        raise InvalidTaskError(
            f"{path} cannot be made smaller: with none of the shapes tried does its reference run "
            f"and have at most {TINY_ELEMENTS} elements. Its constants: {sizes}."
        )
    task = Task(
        name=name,
        title=path.stem.partition("_")[2].replace("_", " ").strip() or path.stem,
        statement=_statement(problem),
        entry=Entry("ModelNew", parameters[:count], Kind.MODULE),
        reference=problem.model,
        init=problem.init,
        inputs=problem.inputs,
        tiny=(tiny, *_variants(problem, tiny)),
        bench=(bench,),
        spans={},
        drawn=partial(_draw, (tiny, *_variants(problem, tiny)), tested),
        flops=partial(_flops, bench, flops),
        min_bytes=problem.min_bytes,
        reduction=problem.reduction,
        starter=starter,
        expert=starter,
        tags=("kernelbench", path.parent.name),
    )
    _try(task, path)
    return task


def files(checkout: str | Path, levels: Sequence[int] = (1, 2, 3)) -> Iterator[Path]:
    """The problem files of a checkout, in KernelBench's order."""
    for level in levels:
        folder = Path(checkout, "KernelBench", f"level{level}")
        if not folder.is_dir():
            raise InvalidTaskError(
                f"{folder} is not there: is {checkout} a checkout of KernelBench?"
            )
        yield from sorted(folder.glob("*.py"), key=lambda p: (_number(p), p.name))


def register_all(
    checkout: str | Path, levels: Sequence[int] = (1, 2), *, dtype: str = "float32",
    done: Callable[[Path], None] = lambda path: None,
) -> Registered:  # fmt: skip
    """Register every problem of some levels as an environment.

    Args:
        checkout: folder of a checkout of KernelBench.
        levels: which.
        dtype: see `load`.
        done: called after each file.
    """
    ids, refused = [], {}
    for path in files(checkout, levels):
        try:
            ids.append(register(load(path, dtype=dtype)))
        except InvalidTaskError as error:
            refused[str(path)] = str(error)
        done(path)
    return Registered(tuple(ids), refused)


def _number(path: Path) -> int:
    found = re.match(r"\d+", path.name)
    return int(found[0]) if found else 0


def _integers(name: str, value: Any) -> dict[str, int]:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return {name: value}
    if isinstance(value, (tuple, list)):
        return {
            f"{name}.{i}": item for i, item in enumerate(value)
            if isinstance(item, int) and not isinstance(item, bool) and item >= 1
        }  # fmt: skip
    return {}


def _as_input(value: Any, dtype: torch.dtype, device: torch.device) -> Any:
    import torch

    if not isinstance(value, torch.Tensor):
        return value
    value = value.to(device)
    return (value.to(dtype) if value.is_floating_point() else value).contiguous()


def _forward(scope: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the positional parameters of `Model.forward`."""
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = inspect.signature(scope["Model"].forward).parameters.values()
    return tuple(p.name for p in found if p.kind in plain)[1:]


def _drawn(problem: Problem, sizes: Mapping[str, int], dtype: str) -> tuple[Any, ...]:
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        return problem.inputs(Case(dtype, sizes), torch.Generator())


@lru_cache(maxsize=4096)
def _measured(problem: Problem, case: Case) -> Extent:
    """Runs the problem without values; raises what the reference raises."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from triton_gym.evaluation.modules import build
    from triton_gym.suites.reading import Reading

    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        inputs = problem.inputs(case, torch.Generator())
        module = build(problem.model, problem.init(case), 0, case.dtype)
        given = [x for x in inputs if isinstance(x, torch.Tensor)]
        weights = list(module.parameters())
        with Reading([*given, *weights]) as reading:
            result = module(*inputs)
        results = result if isinstance(result, (tuple, list)) else (result,)
    rows = [w.numel() // w.shape[0] for w in weights if w.dim() > 1]
    return Extent(
        sum(t.numel() for t in [*given, *weights, *results]),
        reading.bytes(results) + sum(t.numel() * t.element_size() for t in results),
        max([1, *rows, *(size for x in given for size in x.shape)]),
    )


def _fits(problem: Problem, case: Case, limit: int) -> bool:
    noise = logging.getLogger("torch._subclasses.fake_tensor")
    level = noise.level
    noise.setLevel(logging.CRITICAL)
    try:
        return 0 < _measured(problem, case).elements <= limit
    except Exception:  # whatever a reference raises at sizes that it is not made for
        return False
    finally:
        noise.setLevel(level)


def _small(problem: Problem, bench: Case, limit: int) -> Case | None:
    """The case itself, or the largest found that has at most `limit` elements."""
    if _fits(problem, bench, limit):
        return bench
    most = max(bench.sizes.values(), default=1)
    for kept in _KEPT:
        for power in range(1, math.ceil(math.log2(most)) + 1):
            sizes = {
                name: size if size <= kept else max(kept, size >> power)
                for name, size in bench.sizes.items()
            }
            if _fits(problem, Case(bench.dtype, sizes), limit):
                return Case(bench.dtype, sizes)
    return None


def _variants(problem: Problem, tiny: Case) -> tuple[Case, ...]:
    """Cases that differ from a tiny one in one constant."""
    found: list[Case] = []
    for name, size in tiny.sizes.items():
        for other in (size * 2, size // 2):
            if other < 2 or size < _KEPT[1] or len(found) == VARIANTS:
                continue
            case = Case(tiny.dtype, {**tiny.sizes, name: other})
            if _fits(problem, case, TINY_ELEMENTS) and _differs(problem, case, tiny):
                found.append(case)
                break
    return tuple(found)


def _differs(problem: Problem, case: Case, other: Case) -> bool:
    return _measured(problem, case) != _measured(problem, other)


def _draw(tiny: tuple[Case, ...], tested: Case, rng: random.Random, small: bool) -> Case:
    return rng.choice(tiny) if small else tested


def _flops(bench: Case, flops: float, case: Case) -> float:
    return flops if case == bench else 0.0


def _try(task: Task, path: Path) -> None:
    """Run the reference on the smallest case as the judge will."""
    import torch

    from triton_gym.evaluation import check
    from triton_gym.evaluation.modules import bind, pack

    case = task.tiny[0]
    try:
        pack(task.init(case))
        inputs = check.draw_inputs(task, case, 1, torch.device("cpu"))
        bound = bind(task, case, 1)
        first, second = check.reference(bound, inputs), check.reference(bound, inputs)
        exact = check.oracle(bound, inputs)
    except InvalidTaskError:
        raise
    except Exception as error:
        raise InvalidTaskError(
            f"The reference of {path} fails on {case}: {type(error).__name__}: {error}"
        ) from error
    if not all(torch.equal(a, b) for a, b in zip(first, second, strict=True)):
        raise InvalidTaskError(f"The reference of {path} is random: equal inputs differ in result.")
    if not all(bool(torch.isfinite(o).all()) for o in exact if o.is_floating_point()):
        raise InvalidTaskError(f"The reference of {path} is not finite on {case}.")


def _statement(problem: Problem) -> str:
    return (
        "Write a class `ModelNew(torch.nn.Module)` that does what the class `Model` below does, "
        "with the same constructor and the same `forward`, and whose `forward` computes with "
        "Triton kernels of your own only. It may build the same layers to hold their parameters; "
        "parameters and buffers of the same name and shape get the values of `Model`'s. It is also "
        "tried on smaller shapes than the constants below say, so take sizes from the inputs and "
        "the constructor's arguments. Compute in float32 where the inputs are; products of float32 "
        'matrices must not be rounded to TF32 (pass `input_precision="ieee"` to tl.dot).'
        f"\n\n```python\n{problem.source.strip()}\n```"
    )
