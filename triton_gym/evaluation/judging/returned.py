"""What a recorded call returned, held against the form of the reference's result."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from triton_gym.evaluation import trees
from triton_gym.evaluation.plan import value as plan
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.workers.session import Ended
from triton_gym.outcome import Status


@dataclass(frozen=True, slots=True)
class Form:
    """What a call must return.

    Attributes:
        tree: of the reference's result.
        same_strides: whether results must be strided like the reference's.
        entry: name of the answer's entry point, for messages.
        case: name of the case, for messages.
    """

    tree: trees.Tree
    same_strides: bool
    entry: str
    case: str


Part = View | plan.HostTensor | torch.Tensor
"""A tensor of a result: on the device, among the plan's blobs, or made of a number."""


def parts_of(result: plan.Value, form: Form) -> list[Part]:
    """The tensors in what an answer returned, in the order of the reference's.

    Raises:
        Ended: it is something else, or one has another shape, dtype, device, or strides.
    """
    found: list[Part] = []
    _match(result, form.tree, "", found, form)
    for part, leaf, name in zip(
        found, trees.leaves(form.tree), trees.names(form.tree), strict=True
    ):
        if isinstance(part, torch.Tensor):
            continue
        where = f" at {name}" if name else ""
        if isinstance(part, plan.HostTensor):
            if leaf.shape or part.shape:
                raise _wrong(form, f"a tensor on the CPU{where}; expected one on the device")
        elif (part.shape, part.dtype) != (leaf.shape, leaf.dtype):
            raise _wrong(
                form,
                f"shape {part.shape}, dtype {part.dtype}{where}; expected shape {leaf.shape}, "
                f"dtype {leaf.dtype}",
            )
        elif form.same_strides and not strided_like(part, leaf):
            raise _wrong(
                form,
                f"strides {part.strides}{where}; expected those of the reference's result, "
                f"{leaf.stride}, for shape {leaf.shape}",
            )
    return found


def lies_well(view: View, leaf: trees.Leaf) -> bool:
    """Whether a result lies in memory as one may expect; if not, it is written once more."""
    return view.contiguous or strided_like(view, leaf)


def strided_like(view: View, leaf: trees.Leaf) -> bool:
    """Whether strides agree, but for axes of one element, whose stride says nothing."""
    steps = zip(leaf.shape, view.strides, leaf.stride, strict=True)
    return not view.numel or all(own == other for size, own, other in steps if size > 1)


def _match(value: plan.Value, tree: trees.Tree, name: str, found: list[Part], form: Form) -> None:
    what = f"the value at {name} as" if name else ""
    if isinstance(tree, trees.Leaf):
        if isinstance(value, plan.DeviceTensor):
            found.append(value.view)
        elif isinstance(value, plan.HostTensor):
            found.append(value)
        else:
            raise _wrong(form, f"{what} {_told(value)}; expected a torch.Tensor")
    elif isinstance(tree, trees.Number):
        if not isinstance(value, plan.Plain) or value.kind != tree.kind:
            raise _wrong(form, f"{what} {_told(value)}; expected a Python {tree.kind}")
        try:
            found.append(trees.number_tensor(value.number))
        except trees.TreeError:
            told = "an integer of more than 64 bits"
            raise _wrong(form, f"{what} {told}; expected a Python int") from None
    elif isinstance(tree, trees.Constant):
        wanted = (
            plan.Plain(plan.PlainKind.DTYPE, trees.name_of(tree.value))
            if isinstance(tree.value, torch.dtype)
            else plan.Plain.of(tree.value)
        )
        if value != wanted:
            raise _wrong(form, f"{what} {_told(value)}; expected {tree.value!r}")
    elif tree.kind == "dict":
        by_key = _by_key(value)
        if by_key is None or set(by_key) != set(tree.keys):
            raise _wrong(form, f"{what} {_told(value)}; expected a dict with keys {tree.keys}")
        for key, item in zip(tree.keys, tree.items, strict=True):
            _match(by_key[key], item, f"{name}[{key!r}]", found, form)
    else:
        if not isinstance(value, plan.Sequence) or len(value.items) != len(tree.items):
            raise _wrong(
                form, f"{what} {_told(value)}; expected a {tree.kind} of {len(tree.items)}"
            )
        for index, (one, item) in enumerate(zip(value.items, tree.items, strict=True)):
            _match(one, item, f"{name}[{index}]", found, form)


def _by_key(value: plan.Value) -> dict[str | int, plan.Value] | None:
    """The values of a dict by their keys; None if it is none."""
    if not isinstance(value, plan.Table):
        return None
    return dict(zip([key.key for key in value.keys], value.items, strict=True))


def _told(value: plan.Value) -> str:
    if isinstance(value, plan.DeviceTensor):
        return "a torch.Tensor"
    if isinstance(value, plan.HostTensor):
        return "a tensor on the CPU"
    if isinstance(value, plan.Sequence):
        return f"a {value.kind} of {len(value.items)}"
    if isinstance(value, plan.Table):
        keys = [key.key for key in value.keys]
        return f"a dict with keys {tuple(keys[:20])}{', …' if len(keys) > 20 else ''}"
    if value.kind is plan.PlainKind.NONE:
        return "None"
    if value.kind is plan.PlainKind.TEXT:
        return f"{value.text[:80]!r}"
    return f"a {value.kind}" if value.kind is not plan.PlainKind.OTHER else f"a {value.text}"


def _wrong(form: Form, what: str) -> Ended:
    return Ended(Status.INCORRECT, f"{form.entry} returned {what.strip()} for {form.case}.")
