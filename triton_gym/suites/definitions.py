"""flashinfer-bench's and SOL-ExecBench's problems: a definition in JSON, and its workloads.

A definition gives axes (constant, variable, or an expression of others), the shape and dtype of
every input, and the source of a function `run`. Workloads, one JSON a line, give the variable axes
a value and say where each input comes from: drawn at random, a number, a tensor in a file, or a
function of the definition's source. Each workload is a case. (flashinfer-ai/flashinfer-bench,
"Definition" and "Workload" schemas; NVIDIA/SOL-ExecBench, docs/definition.md.)
"""

from __future__ import annotations

import ast
import json
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triton_gym.errors import InvalidTaskError
from triton_gym.suites.suite import Problem, task_name
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
    return str(json.loads(path.read_text(encoding="utf-8")).get("reference", ""))


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

        from triton_gym.suites.execution import drawing

        told, workload = self.told, json.loads(self.workloads[case["workload"] - 1])
        axes = resolved(told["axes"], case.sizes)
        sources = workload.get("inputs", {})
        device = torch.device(generator.device)
        with drawing(generator.initial_seed(), device):
            made = self._custom(told, axes, sources, device)
            return tuple(
                made[name]
                if name in made
                else _input(sources.get(name, {}), spec, axes, Path(self.root), device)
                for name, spec in told["inputs"].items()
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


def resolved(axes: Mapping[str, Any], given: Mapping[str, int]) -> dict[str, int]:
    """The size of every axis: constants, given ones, then expressions of these."""
    found = {name: int(axis["value"]) for name, axis in axes.items() if axis["type"] == "const"}
    found |= {name: given[name] for name, axis in axes.items() if axis["type"] == "var"}
    for name, axis in axes.items():
        if name not in found:
            found[name] = _computed(ast.parse(axis["expression"], mode="eval").body, found)
    return found


_OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv, ast.Div: operator.floordiv, ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}  # fmt: skip


def _computed(node: ast.expr, names: Mapping[str, int]) -> int:
    """The value of an expression of whole numbers."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return int(
            _OPERATORS[type(node.op)](_computed(node.left, names), _computed(node.right, names))
        )
    raise ValueError(f"an axis is given by {ast.unparse(node)}, which is no sum or product")


def _input(
    source: Mapping[str, Any], spec: Mapping[str, Any], axes: Mapping[str, int], root: Path,
    device: torch.device,
) -> Any:  # fmt: skip
    import torch

    kind = source.get("type", "random")
    if kind == "scalar":
        return source["value"]
    if kind == "safetensors":
        from safetensors.torch import load_file

        path = root / source["path"]
        if not path.is_file():
            raise InvalidTaskError(f"A workload needs the file {path}, which is not there.")
        return load_file(path)[source["tensor_key"]].to(device)
    if spec["shape"] is None:
        return 1 if "int" in spec["dtype"] else 1.0
    dtype = getattr(torch, spec["dtype"])
    shape = [axes[a] if a in axes else int(a) for a in spec["shape"]]
    if dtype.is_floating_point:
        return torch.randn(shape).to(dtype)
    if dtype == torch.bool:
        return torch.rand(shape) > 0.5
    return torch.randint(0, 2, shape, dtype=dtype)


def _load(path: Path, workloads: Path, root: Path, name: str, suite: str) -> Task:
    from triton_gym.suites.execution import checked
    from triton_gym.suites.loading import Description, statement_of
    from triton_gym.suites.trying import tried_cases
    from triton_gym.task import Entry

    text = path.read_text(encoding="utf-8")
    told = json.loads(text)
    if lacks := [key for key in ("axes", "inputs", "reference") if key not in told]:
        raise InvalidTaskError(f"{path} is no definition: it has no {lacks[0]!r}.")
    if "run" not in checked(told["reference"], str(path)):
        raise InvalidTaskError(f"The reference of {path} defines no function run.")
    lines = _lines(workloads) or tuple(
        json.dumps({"axes": {a: value for a, x in told["axes"].items() if x["type"] == "var"}})
        for value in _UNTOLD
    )
    form = Definition(text, lines, str(path), str(root))
    inputs = ", ".join(f"{n} {x['shape']} {x['dtype']}" for n, x in told["inputs"].items())
    constants = ", ".join(f"{a} = {x['value']}" for a, x in told["axes"].items() if "value" in x)
    asked = _ASKED.format(inputs=inputs.replace("'", ""), constants=constants or "none")
    described = Description(
        name=name,
        title=str(told.get("name", name)).replace("_", " "),
        statement=statement_of(told["reference"], f"{told.get('description', '')}\n\n{asked}"),
        entry=Entry("run", tuple(told["inputs"])),
        tags=(suite, str(told.get("op_type", "definition"))),
    )
    return tried_cases([form], described, form.cases(), str(path))


def _lines(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    found = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    # flashinfer-bench wraps a workload in what else is known of it.
    return tuple(json.dumps(json.loads(line).get("workload", json.loads(line))) for line in found)
