"""The inputs of a definition (`definitions.py`): drawn, given, read from a file, or laid out.

Some integers mean places: offsets of ragged rows, indices of pages, lengths. Workloads hold them in
files, which a git checkout of a suite lacks, and a definition may have no workload. Then they are
laid out as the definition says: by its constraints (`total == offsets[-1].item()`), and where there
are none, by what the names of flashinfer-bench's schema stand for.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triton_gym.errors import InvalidTaskError

if TYPE_CHECKING:
    import torch

_LAST = re.compile(r"(\w+)\s*==\s*(\w+)\[-1\](?:\.item\(\))?\s*$")
_EQUAL = re.compile(r"(\w+)\s*==\s*([\w\s+*/%()-]+)$")
_INDEX = re.compile(r"(^|_)(indices|index|ids|table)($|_)")
_RANGES = {"int8": (-128, 128), "uint8": (0, 256)}
"""Bytes are numbers or parts of them; wider integers may be places, of which 0 and 1 exist."""
_PROBABILITIES = re.compile(r"(^|_)prob(s|abilit)|probability distribution", re.IGNORECASE)
_SHARE = re.compile(r"(^|_)(top_p|min_p|ratio|fraction)$")
_KEPT = re.compile(r"(^|_)top_k$")
"""How many of the likeliest a sampler keeps; of 0 or 1 it would draw nothing."""
_ROWS = 3
"""Ragged rows are so long on average, where no workload tells."""


def resolved(axes: Mapping[str, Any], given: Mapping[str, int]) -> dict[str, int]:
    """The size of every axis: constants, given ones, then expressions of these."""
    found = {name: int(axis["value"]) for name, axis in axes.items() if axis["type"] == "const"}
    found |= {name: given[name] for name, axis in axes.items() if axis["type"] == "var"}
    for name, axis in axes.items():
        if name not in found:
            found[name] = computed(axis["expression"], found)
    return found


def untold_axes(told: Mapping[str, Any], value: int) -> dict[str, int]:
    """Sizes of the variable axes where no workload gives any, as the constraints have them.

    Args:
        told: the definition.
        value: of an axis that nothing else is said of.
    """
    found = {name: value for name, axis in told["axes"].items() if axis["type"] == "var"}
    known = {n: int(a["value"]) for n, a in told["axes"].items() if a["type"] == "const"}
    for total in _totals(told).values():
        if total in found:
            found[total] = _ROWS * value
    for constraint in told.get("constraints") or ():
        equal = _EQUAL.match(constraint)
        if equal and equal[1] in found:
            try:
                found[equal[1]] = computed(equal[2], {**known, **found})
            except (KeyError, SyntaxError, ValueError):  # of something else than axes
                continue
    return found


_OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv, ast.Div: operator.floordiv, ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}  # fmt: skip


def computed(expression: str, names: Mapping[str, int]) -> int:
    """The value of an expression of whole numbers.

    Raises:
        ValueError: it is of something else.
        KeyError: it names an axis that is not known.
    """
    return _computed(ast.parse(expression.strip(), mode="eval").body, names)


def _computed(node: ast.expr, names: Mapping[str, int]) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
        found = _computed(node.operand, names)
        return -found if isinstance(node.op, ast.USub) else found
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return int(
            _OPERATORS[type(node.op)](_computed(node.left, names), _computed(node.right, names))
        )
    raise ValueError(f"an axis is given by {ast.unparse(node)}, which is no sum or product")


def file_of(source: Mapping[str, Any], folder: Path) -> Path | None:
    """The file that a workload names for an input, beside the workload or in a folder above.

    SOL-ExecBench names its files from the checkout's root, flashinfer-bench from the data set's.
    """
    for root in (folder, *folder.parents):
        path: Path = root / source["path"]
        if path.is_file():
            return path
    return None


def made(
    told: Mapping[str, Any], name: str, source: Mapping[str, Any], axes: Mapping[str, int],
    folder: Path, device: torch.device,
) -> Any:  # fmt: skip
    """An input of a workload.

    Args:
        told: the definition.
        name: of the input.
        source: what the workload says of it; empty where it says nothing.
        axes: size of every axis.
        folder: where files that workloads name lie.
        device: where it is made.

    Raises:
        InvalidTaskError: it is in a file that is not there, and nothing says what it means.
    """
    import torch

    spec, kind = told["inputs"][name], source.get("type", "random")
    if kind == "scalar":
        return source["value"]
    if kind == "safetensors" and (path := file_of(source, folder)) is not None:
        from safetensors.torch import load_file

        return load_file(path)[source["tensor_key"]].to(device)
    if spec["shape"] is None:
        return 1 if "int" in spec["dtype"] else 1.0
    dtype = getattr(torch, spec["dtype"])
    shape = [axes[a] if a in axes else int(a) for a in spec["shape"]]
    if not dtype.is_floating_point and dtype != torch.bool:
        place = _place(told, name, shape, axes)
        if place is not None:
            return place.to(dtype).to(device)
        if kind == "safetensors":
            raise InvalidTaskError(
                f"A workload needs the file {folder / source['path']} for its {name!r}, which is "
                "not there."
            )
        low, high = _RANGES.get(spec["dtype"], (0, 2))
        if _KEPT.search(name):
            low, high = 1, 1 + min(50, max(axes.values()))
        return torch.randint(low, high, shape, dtype=dtype)
    if dtype == torch.bool:
        return torch.rand(shape) > 0.5
    return _meant(f"{name} {spec.get('description') or ''}", name, torch.randn(shape)).to(dtype)


def _meant(told: str, name: str, drawn: torch.Tensor) -> torch.Tensor:
    """Normal numbers as what an input's name and description say: samplers take nothing else."""
    if _SHARE.search(name):
        return drawn.sigmoid()
    return drawn.softmax(-1) if drawn.dim() and _PROBABILITIES.search(told) else drawn


def _totals(told: Mapping[str, Any]) -> dict[str, str]:
    """The axis that each input of offsets ends with."""
    found = (_LAST.match(constraint) for constraint in told.get("constraints") or ())
    return {one[2]: one[1] for one in found if one}


def _place(
    told: Mapping[str, Any], name: str, shape: list[int], axes: Mapping[str, int]
) -> torch.Tensor | None:
    """Integers that mean places, on the CPU; None where nothing says so."""
    import torch

    if (total := _totals(told).get(name)) is not None and total in axes:
        return _offsets(shape[0], axes[total])
    if "last_page" in name and "page_size" in axes:
        return torch.randint(1, axes["page_size"] + 1, shape, device="cpu")
    if _INDEX.search(name) and (high := _indexed(told, name, axes)):
        count = 1
        for size in shape:
            count *= size
        if count <= high:  # rows that are written must not be written twice
            return torch.randperm(high, device="cpu")[:count].reshape(shape)
        return torch.randint(0, high, shape, device="cpu")
    if name.endswith(("_lens", "_len")) and (most := _longest(told, name, axes)):
        return torch.randint(1, most + 1, shape, device="cpu")
    return None


def _offsets(count: int, total: int) -> torch.Tensor:
    """`count` rising offsets from 0 to `total`, int64 of shape (count,)."""
    import torch

    # Equal parts, moved by less than half of one: no row is empty where there is enough for all.
    rows = max(1, count - 1)
    cuts = torch.arange(1, rows, device="cpu") * total / rows
    moved = cuts + (torch.rand(rows - 1, device="cpu") - 0.5) * max(0.0, total / rows - 1)
    inner = moved.round().long().clamp(0, total)
    ends = torch.tensor([0], device="cpu"), torch.tensor([total], device="cpu")
    return torch.cat([ends[0], inner, ends[1]])[:count]


def _indexed(told: Mapping[str, Any], name: str, axes: Mapping[str, int]) -> int:
    """How many rows the table has that an input holds indices of; 0 if none is found.

    It is the first input of two or more axes whose leading one is neither the indices' own nor
    the leading one of the result.
    """
    outputs = [spec["shape"] for spec in told.get("outputs", {}).values()]
    own = {*(told["inputs"][name]["shape"]), *(shape[0] for shape in outputs[:1] if shape)}
    for other, spec in told["inputs"].items():
        shape = spec["shape"]
        if other != name and shape and len(shape) > 1 and shape[0] not in own:
            return axes[shape[0]]
    return 0


def _longest(told: Mapping[str, Any], name: str, axes: Mapping[str, int]) -> int:
    """The most that a row's length can be, by the pages of its table; 0 if there is none."""
    (rows, *_) = told["inputs"][name]["shape"]
    for other, spec in told["inputs"].items():
        shape = spec["shape"]
        if _INDEX.search(other) and shape and len(shape) == 2 and shape[0] == rows:
            return axes[shape[1]] * axes.get("page_size", 1)
    return 0


def lacking(told: Mapping[str, Any], workloads: Iterator[Mapping[str, Any]], folder: Path) -> str:
    """A note on the inputs whose files are not in the checkout; empty if all are."""
    names = {
        name: None for workload in workloads for name, source in workload.get("inputs", {}).items()
        if source.get("type") == "safetensors" and file_of(source, folder) is None
    }  # fmt: skip
    if not names:
        return ""
    return (
        f"the files of its workloads that hold {', '.join(names)} are not in the checkout: what "
        "they hold is drawn, and integers that mean places are laid out as the definition says"
    )
