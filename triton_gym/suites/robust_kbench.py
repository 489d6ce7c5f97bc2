"""robust-kbench's problems: functions with sizes as keyword arguments, whose values JSON gives.

A folder holds `func_forward.py` with `forward_fn`, `Model(..., fn=forward_fn)` and
`get_inputs(batch_size=16, ...)`, and `config_forward.json` with the values to use. It may hold
`func_backward.py` as well; its task is the gradient of `forward_fn` for a given one of its result.
(Lange et al., "Towards robust agentic CUDA kernel benchmarking, verification, and optimization",
2025.)
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triton_gym.errors import InvalidTaskError
from triton_gym.suites.kernelbench import ASKED
from triton_gym.suites.module_file import converted
from triton_gym.suites.suite import Problem, read_json, read_source, task_name
from triton_gym.task import Case, Kind

if TYPE_CHECKING:
    import torch

    from triton_gym.task import Task

_BACKWARD = (
    "Write a function `backward` that takes the gradient of the result of `forward_fn` below and "
    "then `forward_fn`'s arguments, and returns the gradients of its floating-point tensors in "
    "their order, as a tuple, or alone if there is one. It computes with Triton kernels of your "
    "own only, and is also tried on smaller shapes than the timed one."
)


def discover(checkout: Path) -> Iterator[Problem]:
    """The problems of a checkout, forward and backward."""
    for path in sorted(checkout.glob("tasks/**/func_*.py"), key=_order):
        way = path.stem.removeprefix("func_")
        if way in ("forward", "backward"):
            folder = path.parent.relative_to(checkout / "tasks").as_posix()
            yield Problem(
                suite="robust-kbench",
                key=f"{folder}/{way}",
                name=task_name("robust_kbench", folder, way),
                path=path,
                loader=partial(_load, path, f"{folder}/{way}"),
                text=partial(read_source, path),
            )


def _order(path: Path) -> list[tuple[int, str]]:
    return [(int(n or 0), text) for text, n in re.findall(r"([^\d]+)(\d*)", path.as_posix())]


@dataclass(frozen=True, slots=True)
class ConfiguredFile:
    """A file and the values of its keyword arguments that are no sizes."""

    source: str
    path: str
    others: tuple[tuple[str, str], ...]
    """Name and JSON of arguments that are not integers."""

    kind = Kind.MODULE

    def names(self) -> dict[str, Any]:
        """The file's names."""
        from triton_gym.suites.execution import executed

        return executed(self.source, self.path)

    def arguments(self, function: Callable[..., Any], sizes: Mapping[str, int]) -> dict[str, Any]:
        """Those of a function's keyword arguments that are given a value."""
        given = {**{name: json.loads(text) for name, text in self.others}, **sizes}
        return {name: given[name] for name in _keywords(function) if name in given}

    def init(self, case: Case) -> tuple[Any, ...]:
        """The constructor's arguments in order, defaults included."""
        model = self.names()["Model"]
        given = self.arguments(model.__init__, case.sizes)
        parameters = inspect.signature(model.__init__).parameters
        return tuple(
            given.get(name, parameters[name].default) for name in _keywords(model.__init__)
        )

    def inputs(self, case: Case, generator: torch.Generator) -> tuple[Any, ...]:
        """`get_inputs(...)` with the case's sizes."""
        found = self._drawn(self.names(), case, generator)
        return tuple(converted(value, case.dtype, generator.device) for value in found)

    def _drawn(self, scope: dict[str, Any], case: Case, generator: torch.Generator) -> list[Any]:
        from triton_gym.suites.execution import drawing

        function = scope["get_inputs"]
        with drawing(generator.initial_seed(), generator.device):
            return list(function(**self.arguments(function, case.sizes)))

    def reference(self, *init: Any) -> Any:
        """`Model(*init)`."""
        return self.names()["Model"](*init)


@dataclass(frozen=True, slots=True)
class Backward(ConfiguredFile):
    """The gradient of a file's `forward_fn`."""

    kind = Kind.FUNCTION

    def init(self, case: Case) -> tuple[Any, ...]:
        """A function has none."""
        return ()

    def inputs(self, case: Case, generator: torch.Generator) -> tuple[Any, ...]:
        """A gradient, then what `Model` calls `forward_fn` with."""
        import torch

        from triton_gym.suites.execution import drawing

        scope, seen = self.names(), []

        def seeing(*arguments: Any) -> Any:
            seen.append(arguments)
            return scope["forward_fn"](*arguments)

        given = self._drawn(scope, case, generator)
        device = generator.device
        with drawing(generator.initial_seed() ^ 1, device), torch.no_grad():
            model = scope["Model"](*ConfiguredFile.init(self, case)).to(device)
            result = model(*given, fn=seeing)
            gradient = torch.randn(result.shape, dtype=result.dtype)
        return tuple(converted(value, case.dtype, device) for value in (gradient, *seen[0]))

    def reference(self, *arguments: Any) -> Any:
        """Gradients by autograd."""
        import torch

        gradient, *rest = arguments
        with torch.enable_grad():
            given = [
                x.detach().requires_grad_() if _differentiable(x) else x for x in rest
            ]  # fmt: skip
            result = self.names()["forward_fn"](*given)
            wanted = [x for x in given if _differentiable(x)]
            found = torch.autograd.grad(result, wanted, gradient, allow_unused=True)
        gradients = tuple(g for g in found if g is not None)
        return gradients[0] if len(gradients) == 1 else gradients


def _differentiable(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _keywords(function: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def _load(path: Path, key: str) -> Task:
    from triton_gym.suites.execution import checked, told
    from triton_gym.suites.loading import Description, statement_of, task_of
    from triton_gym.suites.shrinking import shrink
    from triton_gym.task import Entry

    source = read_source(path)
    scope = checked(source, str(path))
    if lacks := [n for n in ("forward_fn", "Model", "get_inputs") if n not in scope]:
        raise InvalidTaskError(f"{path} is no problem of robust-kbench: it defines no {lacks[0]}.")
    backward = key.endswith("backward")
    try:
        values = _values(path, scope)
        others = tuple((k, json.dumps(v)) for k, v in values.items() if not _is_size(v))
        form = (Backward if backward else ConfiguredFile)(source, str(path), others)
        bench = Case("float32", {k: v for k, v in values.items() if _is_size(v)})
        small = shrink(form, bench)
    except Exception as error:
        raise InvalidTaskError(f"{path} gives no inputs: {told(error, str(path))}.") from error
    if small is None:
        raise InvalidTaskError(f"The reference of {path} runs at none of the sizes tried: {bench}.")
    if backward:
        entry = Entry("backward", ("gradient", *_keywords(scope["forward_fn"])), Kind.FUNCTION)
        entry = Entry("backward", _first(entry.parameters, form, small.cases[0]), Kind.FUNCTION)
    else:
        names = _keywords(scope["Model"].forward)
        entry = Entry("ModelNew", _first(tuple(names), form, small.cases[0]), Kind.MODULE)
    described = Description(
        name=task_name("robust_kbench", key),
        title=key.replace("_", " "),
        statement=statement_of(source, _BACKWARD if backward else ASKED),
        entry=entry,
        tags=("robust-kbench", "backward" if backward else "forward"),
    )
    return task_of(form, described, (bench,), small, str(path))


def _first(names: tuple[str, ...], form: ConfiguredFile, case: Case) -> tuple[str, ...]:
    """As many names as there are inputs."""
    import torch

    return names[: len(form.inputs(case, torch.Generator().manual_seed(0)))]


def _values(path: Path, scope: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments by name: what the configuration gives, else their defaults."""
    found: dict[str, Any] = {}
    for function in (scope["Model"].__init__, scope["get_inputs"]):
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.default is not inspect.Parameter.empty:
                found[name] = parameter.default
    config = path.with_name(path.name.replace("func_", "config_")).with_suffix(".json")
    if config.is_file():
        told = read_json(config)
        for part in ("shared", "init", "input"):
            found |= (told.get(f"single_{part}_configs") or [{}])[0]
    return found


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
