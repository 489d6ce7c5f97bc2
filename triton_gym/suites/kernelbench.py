"""KernelBench's problems as tasks, from the user's own checkout. Nothing of them is kept here.

A problem is a Python file with a class `Model`, `get_inputs()` and `get_init_inputs()`; an answer
defines `ModelNew` (Ouyang et al., "KernelBench: Can LLMs write efficient GPU kernels?", 2025). It
has one shape, given by numbers in the file::

    task = kernelbench.load("KernelBench/level1/23_Softmax.py")
    triton_gym.register(task)                       # TritonKernel-level1_23_softmax-v0

A file is executed when it is loaded, as it is by KernelBench. What our evaluation does otherwise:
inputs are fresh for every launch; results are held against the reference in float64; answers are
also tried on smaller shapes, since the simulated device cannot interpret a problem at its own size.
Smaller shapes are found by setting the file's numbers, with which the reference must still run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from triton_gym.errors import InvalidTaskError
from triton_gym.suites.module_file import ModuleFile
from triton_gym.suites.suite import Problem, read_source, task_name

if TYPE_CHECKING:
    from triton_gym.task import Case, Task

LEVELS = (1, 2, 3, 4)
ASKED = (
    "Write a class `ModelNew(torch.nn.Module)` that does what the class `Model` below does, "
    "with the same constructor and the same `forward`, and whose `forward` computes with "
    "Triton kernels of your own only. It may build the same layers to hold their parameters; "
    "parameters and buffers of the same name and shape get the values of `Model`'s. It is also "
    "tried on smaller shapes than the numbers below say, so take sizes from the inputs and "
    "the constructor's arguments. Compute in float32 where the inputs are; products of float32 "
    'matrices must not be rounded to TF32 (pass `input_precision="ieee"` to tl.dot).'
)
"""What a problem asks for, before its source."""


@dataclass(frozen=True, slots=True)
class Registered:
    """What became of a checkout's problems."""

    ids: tuple[str, ...]
    refused: dict[str, str]
    """File and reason of those that cannot be tasks."""


def discover(checkout: Path) -> Iterator[Problem]:
    """The problems of a checkout, in KernelBench's order."""
    for level in LEVELS:
        if not _folder(checkout, level).is_dir():
            continue
        for path in files(checkout, (level,)):
            yield Problem(
                suite="kernelbench",
                key=f"level{level}/{path.stem}",
                name=_name(path),
                path=path,
                loader=partial(load, path),
                text=partial(read_source, path),
            )


def load(
    path: str | Path, *, dtype: str = "float32", flops: float = 0.0, starter: str = ""
) -> Task:
    """The task of a problem file.

    Args:
        path: of the file, in the user's checkout.
        dtype: what float32 inputs and parameters become; others keep the file's dtype.
        flops: floating point operations at its size, where they are known: answers that are faster
            than the device could do them are cheating. 0 leaves the bound by memory.
        starter: what an episode starts from.

    Raises:
        InvalidTaskError: the file is no problem, or nothing can be judged by its reference.
    """
    path = Path(path)
    return load_module(
        path, _name(path), ("kernelbench", path.parent.name), dtype=dtype, flops=flops,
        starter=starter,
    )  # fmt: skip


def load_module(
    path: Path, name: str, tags: tuple[str, ...], *, suite: str = "KernelBench",
    dtype: str = "float32", flops: float = 0.0, starter: str = "",
) -> Task:  # fmt: skip
    """The task of a file in KernelBench's form, of whatever suite; see `load`."""
    from triton_gym.suites.execution import checked, told
    from triton_gym.suites.loading import Description, statement_of, task_of
    from triton_gym.suites.shrinking import shrink
    from triton_gym.task import Case, Entry, Kind

    form = ModuleFile(read_source(path), str(path))
    scope = checked(form.source, form.path)
    if lacks := [n for n in ("Model", "get_inputs", "get_init_inputs") if n not in scope]:
        raise InvalidTaskError(f"{path} is no problem of {suite}: it defines no {lacks[0]}.")
    try:
        bench = Case(dtype, form.sizes())
        parameters = form.parameters()
        small = shrink(form, bench)
    except (Exception, SystemExit) as error:
        raise InvalidTaskError(f"{path} gives no inputs: {told(error, str(path))}.") from error
    if small is None:
        raise InvalidTaskError(_why(form, bench))
    described = Description(
        name=name,
        title=path.stem.partition("_")[2].replace("_", " ").strip() or path.stem,
        statement=statement_of(form.source, ASKED),
        entry=Entry("ModelNew", parameters, Kind.MODULE),
        tags=tags,
        starter=starter,
        flops=flops,
    )
    return task_of(form, described, (bench,), small, str(path))


def files(checkout: str | Path, levels: Sequence[int] = (1, 2, 3)) -> Iterator[Path]:
    """The problem files of a checkout, in KernelBench's order."""
    for level in levels:
        folder = _folder(Path(checkout), level)
        if not folder.is_dir():
            raise InvalidTaskError(
                f"{folder} is not there: is {checkout} a checkout of KernelBench?"
            )
        yield from sorted(folder.glob("*.py"), key=lambda p: (_number(p), p.name))


def register_all(
    checkout: str | Path, levels: Sequence[int] = (1, 2), *, dtype: str = "float32",
    done: Callable[[Path], None] = lambda path: None,
) -> Registered:  # fmt: skip
    """Load and register every problem of some levels.

    Args:
        checkout: folder of a checkout of KernelBench.
        levels: which.
        dtype: see `load`.
        done: called after each file.
    """
    from triton_gym.registration import register

    ids, refused = [], {}
    for path in files(checkout, levels):
        try:
            ids.append(register(load(path, dtype=dtype)))
        except InvalidTaskError as error:
            refused[str(path)] = str(error)
        done(path)
    return Registered(tuple(ids), refused)


def _why(form: ModuleFile, bench: Case) -> str:
    """Why a reference runs at none of the sizes tried: what it raises there, or at its own."""
    from triton_gym.suites.execution import told
    from triton_gym.suites.shapes import counted, followed_elements
    from triton_gym.suites.shrinking import halved, run

    try:
        if not counted(run(form, halved(bench, 1)[0] if bench.sizes else bench)):
            return (
                f"The reference of {form.path} returns neither a number nor a tensor with elements."
            )
        followed_elements(form, bench, "meta")
    except (Exception, SystemExit) as error:
        return f"The reference of {form.path} fails: {told(error, form.path)}."
    return f"The reference of {form.path} runs at none of the sizes tried; its own: {bench}."


def _folder(checkout: Path, level: int) -> Path:
    return checkout / "KernelBench" / f"level{level}"


def _name(path: Path) -> str:
    return task_name(path.parent.name, path.stem)


def _number(path: Path) -> int:
    found = re.match(r"\d+", path.name)
    return int(found[0]) if found else 0
