"""flashinfer-bench's and SOL-ExecBench's problems: a definition in JSON, and its workloads.

A definition gives axes (constant, variable, or an expression of others), the shape and dtype of
every input, and the source of a function `run`. Workloads, one JSON a line, give the variable axes
a value and say where each input comes from: drawn at random, a number, a tensor in a file, or a
function of the definition's source. Each workload is a case. (flashinfer-ai/flashinfer-bench,
"Definition" and "Workload" schemas; NVIDIA/SOL-ExecBench, docs/definition.md.)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triton_gym.errors import InvalidTaskError
from triton_gym.suites.suite import Problem, read_json, read_source, task_name
from triton_gym.task import Case, Kind

if TYPE_CHECKING:
    import torch

    from triton_gym.task import Task

_ASKED = (
    "Write a function `run` that returns what the function of that name below does, in the same "
    "dtypes and order, computed with Triton kernels of your own only. Its inputs, by position: "
    "{inputs}. Constant axes: {constants}. It is tried on several values of the others."
)
_UNTOLD = (7, 1024)
"""Values of variable axes where no workload gives any."""
_NO_WORKLOAD = "it has no workload: its variable axes are sizes of ours"
_SMALL = "its workloads are all large: one with small sizes of ours was added to the tests"


def discover(checkout: Path) -> Iterator[Problem]:
    """flashinfer-bench's: `definitions/<kind>/<name>.json`, workloads in a folder beside."""
    for path in sorted(checkout.rglob("definitions/**/*.json")):
        root = next(p for p in path.parents if p.name == "definitions")
        workloads = root.parent / "workloads" / path.relative_to(root).with_suffix(".jsonl")
        yield _problem("flashinfer-bench", path.stem, path, workloads, root.parent)


def discover_sol(checkout: Path) -> Iterator[Problem]:
    """SOL-ExecBench's: a folder each, with `definition.json` and `workload.jsonl`."""
    for path in sorted(checkout.rglob("definition.json")):
        key = path.parent.relative_to(checkout).as_posix()
        yield _problem("sol-execbench", key, path, path.with_name("workload.jsonl"), path.parent)


def _problem(suite: str, key: str, path: Path, workloads: Path, root: Path) -> Problem:
    name = task_name(suite, key)
    return Problem(
        suite=suite,
        key=key,
        name=name,
        path=path,
        loader=partial(_load, path, workloads, root, name, suite),
        text=partial(_reference, path),
    )


def _reference(path: Path) -> str:
    return str(read_json(path).get("reference", ""))


@dataclass(frozen=True, slots=True)
class Definition:
    """A definition and its workloads, as the JSON that they are."""

    text: str
    workloads: tuple[str, ...]
    path: str
    root: str
    """Where files that workloads name lie."""

    kind = Kind.FUNCTION

    @property
    def told(self) -> dict[str, Any]:
        """The definition."""
        return dict(json.loads(self.text))

    def scope(self) -> dict[str, Any]:
        """The names of its source."""
        from triton_gym.suites.execution import executed

        return executed(self.told["reference"], self.path)

    def cases(self) -> list[Case]:
        """One for each workload: its number, and its variable axes as they are."""
        return [
            Case("float32", {"workload": i + 1, **json.loads(line)["axes"]})
            for i, line in enumerate(self.workloads)
        ]

    def init(self, case: Case) -> tuple[Any, ...]:
        """A function has none."""
        return ()

    def inputs(self, case: Case, generator: torch.Generator) -> tuple[Any, ...]:
        """The inputs of a workload."""
        import torch

        from triton_gym.suites.definition_inputs import made, resolved
        from triton_gym.suites.execution import drawing

        told, workload = self.told, json.loads(self.workloads[case["workload"] - 1])
        axes = resolved(told["axes"], case.sizes)
        sources = workload.get("inputs", {})
        device = torch.device(generator.device)
        with drawing(generator.initial_seed(), device):
            custom = self._custom(told, axes, sources, device)
            return tuple(
                custom[name]
                if name in custom
                else made(told, name, sources.get(name, {}), axes, Path(self.root), device)
                for name in told["inputs"]
            )

    def _custom(
        self, told: Mapping[str, Any], axes: Mapping[str, int], sources: Mapping[str, Any],
        device: torch.device,
    ) -> dict[str, Any]:  # fmt: skip
        """Inputs that a function of the definition's source makes."""
        wanted = [name for name, source in sources.items() if source.get("type") == "custom"]
        if not wanted:
            return {}
        numbers = {n: s["value"] for n, s in sources.items() if s.get("type") == "scalar"}
        made = self.scope()[told["custom_inputs_entrypoint"]]({**axes, **numbers}, device)
        return {name: made[name] for name in wanted}

    def reference(self, *arguments: Any) -> Any:
        """`run`."""
        return self.scope()["run"](*arguments)


def _with_small(form: Definition) -> Definition:
    """The same with a workload of sizes of ours, where all are too large for the interpreter.

    Published ones may be, for a cache of pages of which they use a few.
    """
    from triton_gym.suites.definition_inputs import untold_axes
    from triton_gym.suites.shapes import input_elements
    from triton_gym.suites.shrinking import TINY_ELEMENTS

    first = json.loads(form.workloads[0])
    given = {
        name: source for name, source in first.get("inputs", {}).items()
        if source.get("type") in ("scalar", "custom")
    }  # fmt: skip
    ours = json.dumps({"axes": untold_axes(form.told, _UNTOLD[0]), "inputs": given})
    larger = replace(form, workloads=(*form.workloads, ours))
    try:
        *sizes, size = (input_elements(larger, case) for case in larger.cases())
    except Exception:  # what an entry point of its own reads of values or constraints
        return form
    return larger if min(sizes) > max(TINY_ELEMENTS, 2 * size) else form


def _load(path: Path, workloads: Path, root: Path, name: str, suite: str) -> Task:
    from triton_gym.suites.definition_inputs import lacking, untold_axes
    from triton_gym.suites.execution import checked
    from triton_gym.suites.loading import Description, statement_of
    from triton_gym.suites.trying import tried_cases
    from triton_gym.task import Entry

    told, text = read_json(path), read_source(path)
    if lacks := [key for key in ("axes", "inputs", "reference") if key not in told]:
        raise InvalidTaskError(f"{path} is no definition: it has no {lacks[0]!r}.")
    if "run" not in checked(told["reference"], str(path)):
        raise InvalidTaskError(f"The reference of {path} defines no function run.")
    lines = _lines(workloads)
    notes = [_NO_WORKLOAD] if not lines else []
    lines = lines or tuple(json.dumps({"axes": untold_axes(told, value)}) for value in _UNTOLD)
    if lacks_files := lacking(told, map(json.loads, lines), root):
        notes.append(lacks_files)
    form = _with_small(Definition(text, lines, str(path), str(root)))
    if len(form.workloads) > len(lines):
        notes.append(_SMALL)
    inputs = ", ".join(f"{n} {x['shape']} {x['dtype']}" for n, x in told["inputs"].items())
    constants = ", ".join(f"{a} = {x['value']}" for a, x in told["axes"].items() if "value" in x)
    asked = _ASKED.format(inputs=inputs.replace("'", ""), constants=constants or "none")
    described = Description(
        name=name,
        title=str(told.get("name", name)).replace("_", " "),
        statement=statement_of(told["reference"], f"{told.get('description', '')}\n\n{asked}"),
        entry=Entry("run", tuple(told["inputs"])),
        tags=(suite, str(told.get("op_type", "definition"))),
        notes=tuple(notes),
    )
    return tried_cases([form], described, form.cases(), str(path))


def _lines(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    found = [line for line in read_source(path).splitlines() if line.strip()]
    # flashinfer-bench wraps a workload in what else is known of it.
    return tuple(json.dumps(json.loads(line).get("workload", json.loads(line))) for line in found)
