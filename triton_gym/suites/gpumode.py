"""GPU MODE's reference kernels: a folder each, with `task.yml`, `reference.py` and `task.py`.

`generate_input(..., seed)` makes one argument, most often a tuple, and `ref_kernel` takes it; an
answer defines `custom_kernel`. The sizes are the `tests` and `benchmarks` of `task.yml`. Our
comparison takes the place of the problem's own. The problems' licence restricts their use: they are
read from the user's checkout and nowhere else (gpu-mode/reference-kernels).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from triton_gym.errors import InvalidTaskError
from triton_gym.suites.suite import Problem, read_source, task_name
from triton_gym.task import Case, Kind

if TYPE_CHECKING:
    import torch

    from triton_gym.task import Task

_ASKED = (
    "Write a function `custom_kernel(data)` that returns what `ref_kernel(data)` below does, "
    "computed with Triton kernels of your own only. Where `data` holds a tensor for the result, "
    "leave it as it is and return one of your own."
)


def discover(checkout: Path) -> Iterator[Problem]:
    """The problems of a checkout."""
    for path in sorted(checkout.glob("problems/**/task.yml")):
        folder = path.parent
        if (folder / "reference.py").is_file():
            key = folder.relative_to(checkout / "problems").as_posix()
            yield Problem(
                suite="gpumode",
                key=key,
                name=task_name("gpumode", key),
                path=path,
                loader=partial(_load, path, key),
                text=partial(read_source, folder / "reference.py"),
            )


@dataclass(frozen=True, slots=True)
class Folder:
    """A problem's folder, and the arguments of `generate_input` for each of its cases."""

    path: str
    files: tuple[tuple[str, str], ...]
    """Names of its modules and where they lie."""
    specifications: tuple[str, ...]
    """JSON, without the seed."""

    kind = Kind.FUNCTION

    def cases(self) -> list[Case]:
        """One for each specification: its number, and what of it are sizes."""
        return [
            Case("float32", {"specification": i + 1, **_sizes(json.loads(text))})
            for i, text in enumerate(self.specifications)
        ]

    def init(self, case: Case) -> tuple[Any, ...]:
        """A function has none."""
        return ()

    def inputs(self, case: Case, generator: torch.Generator) -> tuple[Any, ...]:
        """What `generate_input` makes."""
        from triton_gym.suites.execution import drawing

        given = json.loads(self.specifications[case["specification"] - 1])
        seed = generator.initial_seed()
        function = _module(self).generate_input
        with drawing(seed, generator.device):
            return (function(**given, seed=seed % (1 << 31)),)

    def reference(self, data: Any) -> Any:
        """`ref_kernel`."""
        return _module(self).ref_kernel(data)


@lru_cache(maxsize=256)
def _module(folder: Folder) -> Any:
    """The module `reference` of a folder, among siblings whose names other problems use too."""
    before = {name: sys.modules.pop(name, None) for name, _ in folder.files}
    try:
        for name, path in folder.files:
            module = ModuleType(name)
            module.__file__ = path
            sys.modules[name] = module
            source = read_source(Path(path))
            exec(compile(source, path, "exec"), module.__dict__)
        return module
    except ModuleNotFoundError as error:
        raise InvalidTaskError(
            f"{folder.path} needs the package {error.name}, which is not installed."
        ) from error
    finally:
        for name, module_before in before.items():
            sys.modules.pop(name, None)
            if module_before is not None:
                sys.modules[name] = module_before


def _load(path: Path, key: str) -> Task:
    from triton_gym.suites.execution import told
    from triton_gym.suites.loading import Description, statement_of
    from triton_gym.suites.trying import tried_cases
    from triton_gym.task import Entry

    try:
        import yaml
    except ImportError as error:
        raise InvalidTaskError(
            f"{path} needs the package pyyaml (`pip install pyyaml`)."
        ) from error
    described = yaml.safe_load(read_source(path))
    found = [*(described.get("tests") or []), *(described.get("benchmarks") or [])]
    texts = dict.fromkeys(json.dumps(_unseeded(one), sort_keys=True) for one in found)
    form = Folder(str(path), _files(path, described), tuple(texts))
    try:
        _module(form)
    except InvalidTaskError:
        raise
    except Exception as error:
        raise InvalidTaskError(f"{path}: its files do not run: {told(error)}.") from error
    source = read_source(path.parent / "reference.py")
    description = Description(
        name=task_name("gpumode", key),
        title=path.parent.name.removesuffix("_py").replace("_", " "),
        statement=statement_of(source, f"{described.get('description', '')}\n{_ASKED}"),
        entry=Entry("custom_kernel", ("data",)),
        tags=("gpumode", key.partition("/")[0]),
    )
    return tried_cases([form], description, form.cases(), str(path))


def _files(path: Path, described: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Modules that the reference may import, itself last."""
    found = {
        one["name"].removesuffix(".py"): str((path.parent / one["source"]).resolve())
        for one in described.get("files") or []
        if one["name"].endswith(".py") and not one["source"].startswith("@")
    }
    order = ("utils", "task", *(n for n in found if n not in ("utils", "task", "reference")))
    names = [*(n for n in order if n in found and n != "eval"), "reference"]
    return tuple((n, found.get(n, str(path.with_name("reference.py")))) for n in names)


def _unseeded(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name != "seed"}


def _sizes(given: dict[str, Any]) -> dict[str, int]:
    return {
        name: value for name, value in given.items()
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0
    }  # fmt: skip
