"""MultiKernelBench's problems: KernelBench's form, sorted by category, sizes within the functions.

Those that came from NPUKernelBench have `get_input_groups()` instead, which reads its groups of
inputs from a file of JSON lines beside it. Each group is a case, the size `group` its number.
(Wen et al., "MultiKernelBench: A multi-platform benchmark for kernel generation", 2025.)
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triton_gym.errors import InvalidTaskError
from triton_gym.suites.kernelbench import ASKED, load_module
from triton_gym.suites.module_file import ModuleFile
from triton_gym.suites.suite import Problem, read_source, task_name
from triton_gym.task import Case

if TYPE_CHECKING:
    import torch

    from triton_gym.task import Task


MOST_FAILURES = 64
"""Groups of inputs differ in dtype, and by floats of an `and`, say, nothing can be judged."""


def discover(checkout: Path) -> Iterator[Problem]:
    """The problems of a checkout, by category."""
    for path in sorted(checkout.glob("reference/*/*.py"), key=_order):
        if not path.name.startswith("_"):
            yield Problem(
                suite="multikernelbench",
                key=f"{path.parent.name}/{path.stem}",
                name=task_name("multikernelbench", path.parent.name, path.stem),
                path=path,
                loader=partial(load, path),
                text=partial(read_source, path),
            )


def load(path: str | Path) -> Task:
    """The task of a problem file.

    Raises:
        InvalidTaskError: the file is no problem, or nothing can be judged by its reference.
    """
    path = Path(path)
    name = task_name("multikernelbench", path.parent.name, path.stem)
    tags = ("multikernelbench", path.parent.name)
    if "def get_input_groups" in read_source(path):
        return _load_groups(path, name, tags)
    return load_module(path, name, tags, suite="MultiKernelBench")


def _order(path: Path) -> tuple[str, int, str]:
    number = re.match(r"\d+", path.name)
    return path.parent.name, int(number[0]) if number else 0, path.name


@dataclass(frozen=True, slots=True)
class GroupedFile(ModuleFile):
    """A problem whose inputs come in groups."""

    def names(self, sizes: Mapping[str, int]) -> dict[str, Any]:
        """The file's names; it finds only the chosen group in the file beside it."""
        from triton_gym.suites.execution import executed

        scope = executed(self.source, self.path)
        if "group" in sizes:
            scope["open"] = partial(_opened, sizes["group"])
        return scope

    def drawn(self, scope: Mapping[str, Any], generator: torch.Generator) -> tuple[Any, ...]:
        """The inputs of the chosen group."""
        from triton_gym.suites.execution import drawing

        with drawing(generator.initial_seed(), generator.device):
            return tuple(scope["get_input_groups"]()[0])

    def groups(self) -> int:
        """How many groups there are."""
        return len(_lines(str(Path(self.path).with_suffix(".json"))))


@lru_cache(maxsize=64)
def _lines(path: str) -> tuple[str, ...]:
    text = read_source(Path(path))
    return tuple(line for line in text.splitlines() if line.strip())


def _opened(group: int, path: Any, *arguments: Any, **options: Any) -> Any:
    """`open` for a problem that reads groups of inputs: it finds one."""
    if str(path).endswith(".json"):
        return io.StringIO(_lines(str(path))[group - 1] + "\n")
    return open(path, *arguments, **options)


def _load_groups(path: Path, name: str, tags: tuple[str, ...]) -> Task:
    from triton_gym.suites.execution import checked, told
    from triton_gym.suites.loading import Description, statement_of
    from triton_gym.suites.trying import tried_cases
    from triton_gym.task import Entry, Kind

    form = GroupedFile(read_source(path), str(path))
    checked(form.source, form.path)
    try:
        cases = [Case("float32", {"group": i + 1}) for i in range(form.groups())]
        given = {case: form.parameters_at(case) for case in cases}
        # Groups differ in which inputs are given; a task's entry has all of them each time.
        parameters, _ = Counter(given.values()).most_common(1)[0]
    except Exception as error:
        raise InvalidTaskError(f"{path} gives no inputs: {told(error, str(path))}.") from error
    described = Description(
        name=name,
        title=path.stem.partition("_")[2].replace("_", " ") or path.stem,
        statement=statement_of(form.source, ASKED),
        entry=Entry("ModelNew", parameters, Kind.MODULE),
        tags=tags,
    )
    fitting = [case for case in cases if given[case] == parameters]
    return tried_cases([form], described, fitting, str(path), failures=MOST_FAILURES)
