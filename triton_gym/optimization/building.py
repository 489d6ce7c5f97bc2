"""From a traced graph to a task: its reference, arguments, cases and guard."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from triton_gym.errors import NotOptimizableError
from triton_gym.optimization.captured import CapturedTensor
from triton_gym.optimization.captures import Captures
from triton_gym.optimization.drawing import Drawing, TensorDraw
from triton_gym.optimization.exporting import Called, Flat, result_text
from triton_gym.optimization.graph_text import GraphFunction, graph_text
from triton_gym.optimization.guard import ConstantGuard, Guard, TensorGuard
from triton_gym.optimization.inspection import Text
from triton_gym.optimization.likeness import Likeness
from triton_gym.optimization.shipping import DEVICE, LIKENESS
from triton_gym.optimization.sizes import CaseDrawer, Sizes
from triton_gym.optimization.work import Work
from triton_gym.task import Case, Entry, Task

CONSTANT_ELEMENTS = 4096
"""Most elements of a tensor that a function makes of numbers written in it."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The placeholders of a graph, sorted by what they are."""

    parameters: Mapping[str, str]
    """The answer's parameter for each placeholder that is an argument or captured."""
    tensors: Mapping[str, torch.Tensor]
    """An example of each, by placeholder."""
    captured: tuple[CapturedTensor, ...]
    constants: Mapping[str, torch.Tensor]
    """Tensors that the function makes of numbers, by placeholder."""
    placeholders: Mapping[str, str]
    """Expression over the function's parameters for each placeholder that is an argument."""


def inputs_of(program: ExportedProgram, flat: Flat, captures: Captures, text: Text) -> Inputs:
    """What each placeholder of a graph is.

    Raises:
        NotOptimizableError: the function holds a tensor that no path leads to.
    """
    arguments = flat.called.arguments
    placeholders: dict[str, str] = {}
    parameters: dict[str, str] = {}
    tensors: dict[str, torch.Tensor] = {}
    constants: dict[str, torch.Tensor] = {}
    captured: list[CapturedTensor] = []
    held: dict[str, torch.Tensor] = {}
    used = {node.name for node in program.graph.nodes if node.op == "placeholder" and node.users}
    state = {**dict(flat.named_parameters(remove_duplicate=False)),
             **dict(flat.named_buffers(remove_duplicate=False))}  # fmt: skip
    names = _Names()
    order = iter(range(len(arguments.tensors)))
    for spec in program.graph_signature.input_specs:
        placeholder = spec.arg.name
        if spec.kind is InputKind.USER_INPUT:
            number = next(order)
            placeholders[placeholder] = arguments.names[number]
            parameters[placeholder] = names.fresh(arguments.names[number])
            tensors[placeholder] = arguments.tensors[number]
        elif placeholder in used:
            target = str(spec.target)
            found: Any = state.get(target, program.constants.get(target))
            held[placeholder] = found
    for placeholder, value in held.items():
        path = captures.path_of(value)
        if path is None:
            if value.numel() > CONSTANT_ELEMENTS or hasattr(value, DEVICE):
                raise NotOptimizableError(
                    f"{text.name} ({text.path}:{text.line}) uses a tensor of shape "
                    f"{tuple(value.shape)} that is found neither in its closure, its globals nor "
                    "its module: pass it as an argument."
                )
            constants[placeholder] = value
            continue
        name = names.fresh(str(path).removeprefix("self."))
        captured.append(CapturedTensor(name, path))
        parameters[placeholder] = name
        tensors[placeholder] = value
    return Inputs(parameters, tensors, tuple(captured), constants, placeholders)


class _Names:
    """Names of an answer's parameters, each once."""

    def __init__(self) -> None:
        self._taken: set[str] = {"device", "torch", "triton", "tl"}

    def fresh(self, wanted: str) -> str:
        """An identifier like the expression wanted."""
        name = "".join(letter if letter.isalnum() else "_" for letter in wanted)
        name = "_".join(filter(None, name.split("_"))) or "x"
        if name[0].isdigit():
            name = f"x{name}"
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


def reference_of(
    program: ExportedProgram, inputs: Inputs, flat: Flat, name: str
) -> GraphFunction:  # fmt: skip
    """The graph as a function of the answer's parameters, in their order."""
    ordered = dict(
        sorted(inputs.parameters.items(), key=lambda item: item[0] not in inputs.placeholders)
    )
    result = result_text(flat.called.tree)
    text = graph_text(program.graph.nodes, name, ordered, inputs.constants, result)
    return GraphFunction(text, name)


def guard_of(program: ExportedProgram, inputs: Inputs, called: Called, sizes: Sizes) -> Guard:
    """The calls that the graph holds for."""
    tensors = []
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in inputs.placeholders:
            example = inputs.tensors[node.name]
            tensors.append(_tensor_guard(inputs.placeholders[node.name], example, node, sizes))
    constants = tuple(ConstantGuard(*one) for one in called.arguments.constants)
    return Guard(
        signature=called.signature, tensors=tuple(tensors), constants=constants,
        containers=called.arguments.containers, sizes=dict(sizes.where), ranges=dict(sizes.ranges),
        conditions=sizes.conditions,
    )  # fmt: skip


def _tensor_guard(argument: str, example: torch.Tensor, node: Any, sizes: Sizes) -> TensorGuard:
    value = node.meta["val"]
    order = order_of(example)
    return TensorGuard(
        argument=argument,
        dtype=str(example.dtype).removeprefix("torch."),
        device=getattr(example, DEVICE, str(example.device)),
        shape=tuple(sizes.text(size) for size in value.shape),
        order=order,
        stride=() if order is not None else tuple(sizes.text(step) for step in value.stride()),
    )


def order_of(tensor: torch.Tensor) -> tuple[int, ...] | None:
    """The axes from the outermost to the innermost if memory has no gaps so, else None."""
    if tensor.is_contiguous():
        return tuple(range(tensor.dim()))
    order = tuple(sorted(range(tensor.dim()), key=lambda axis: (-tensor.stride()[axis], axis)))
    return order if tensor.permute(order).is_contiguous() else None


def drawing_of(
    program: ExportedProgram, inputs: Inputs, sizes: Sizes, example: Mapping[str, int], draw: Any
) -> Drawing:
    """How the arguments are drawn, in the order of the answer's parameters."""
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    ordered = sorted(inputs.parameters, key=lambda name: name not in inputs.placeholders)
    return Drawing(
        tuple(
            _tensor_draw(inputs.parameters[name], inputs.tensors[name], nodes[name], sizes, example)
            for name in ordered
        ),
        draw,
    )


def _tensor_draw(
    name: str, tensor: torch.Tensor, node: Any, sizes: Sizes, example: Mapping[str, int]
) -> TensorDraw:
    value = node.meta["val"]
    likeness: Likeness = getattr(tensor, LIKENESS, None) or Likeness.of(tensor.detach())
    order = order_of(tensor)
    if not tensor.dtype.is_floating_point and likeness.quantiles:
        likeness = dataclasses.replace(likeness, bound=_bound(likeness, example))
    return TensorDraw(
        name=name,
        shape=tuple(sizes.text(size) for size in value.shape),
        stride=None if order is not None else tuple(sizes.text(s) for s in value.stride()),
        order=order or tuple(range(tensor.dim())),
        dtype=tensor.dtype,
        likeness=likeness,
    )


def _bound(likeness: Likeness, example: Mapping[str, int]) -> str:
    """The size that indices most likely stay below: the next larger one. They are drawn smaller
    where it is smaller, and never larger than in the example."""
    low, high = likeness.quantiles[:2]
    near = [(size, name) for name, size in example.items() if high < size]
    return min(near)[1] if low >= 0 and near else ""


def task_of(
    name: str, reference: GraphFunction, drawing: Drawing, sizes: Sizes,
    examples: Sequence[Mapping[str, int]], statement: str, notes: tuple[str, ...],
) -> Task:  # fmt: skip
    """The task of a traced function; its answers are functions of its name."""
    case = _case(drawing, examples[0])
    bench = tuple(case.resized(example) for example in examples)
    work = Work(reference, drawing)
    drawer = CaseDrawer(
        case=case, ranges={name: (low, high or low) for name, (low, high) in sizes.ranges.items()},
        conditions=sizes.conditions,
        shapes=tuple(one.shape for one in drawing.tensors), fallback=tuple(map(dict, examples)),
    )  # fmt: skip
    return Task(
        name=name,
        title=f"{name}, a function of the user's",
        statement=statement,
        entry=Entry(name, tuple(one.name for one in drawing.tensors)),
        reference=reference,
        inputs=drawing,
        tiny=_tiny(drawer),
        bench=tuple(dict.fromkeys(bench)),
        spans={},
        drawn=drawer,
        flops=work.flops,
        min_bytes=work.min_bytes,
        reduction=work.reduction,
        starter="",
        expert="",
        tags=("user",),
        notes=notes,
    )


def _case(drawing: Drawing, sizes: Mapping[str, int]) -> Case:
    """The case of an example: its dtype is that of the first floating-point argument."""
    tensors = drawing.tensors
    first = next((one for one in tensors if one.dtype.is_floating_point), tensors[0])
    names = {one.name: str(one.dtype).removeprefix("torch.") for one in tensors}
    dtype = names[first.name]
    return Case(dtype, sizes, {key: value for key, value in names.items() if value != dtype})


def _tiny(drawer: CaseDrawer) -> tuple[Case, ...]:
    """A few small cases."""
    import random

    rng = random.Random(0)
    return tuple(dict.fromkeys(drawer(rng, True) for _ in range(3)))
