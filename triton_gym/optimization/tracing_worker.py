"""The process that traces: reads a request from its standard input, answers on its output.

It has no GPU, whatever the machine has: nothing that a user's function does here can disturb the
program that runs beside it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import os
import select
import sys
from collections.abc import Mapping
from typing import Any

import cloudpickle
import torch
import triton

from triton_gym.errors import InvalidTaskError, NotOptimizableError
from triton_gym.evaluation import check
from triton_gym.evaluation.admission import admit
from triton_gym.evaluation.confine.privileges import die_with
from triton_gym.optimization.building import (
    Inputs,
    drawing_of,
    guard_of,
    inputs_of,
    reference_of,
    task_of,
)
from triton_gym.optimization.captures import captures_of
from triton_gym.optimization.detectors import hold_graph, hold_results
from triton_gym.optimization.exporting import Called, Flat, decomposed, exported, taken_apart
from triton_gym.optimization.inspection import Text, hold_text, launches, text_of
from triton_gym.optimization.shipping import DEVICE, Request, signature_of
from triton_gym.optimization.sizes import bounded, sizes_of
from triton_gym.optimization.starts import Graphs, starts_of
from triton_gym.optimization.traced import Guard, Result, TracedFunction
from triton_gym.optimization.tracing_process import TRACING
from triton_gym.task import Task

_NEEDED = (
    "torch._export.non_strict_utils", "torch._export.passes", "torch._dynamo.device_interface",
    "torch._inductor.compile_fx", "torch._inductor.fx_passes.joint_graph",
    "torch._inductor.fx_passes.post_grad", "torch._inductor.fx_passes.pre_grad",
    "torch._inductor.choices", "torch._inductor.codegen.triton",
    "torch._inductor.runtime.triton_heuristics", "torch._inductor.runtime.triton_helpers",
)  # fmt: skip
"""Modules that tracing and `starts.inductor` load, in the order in which they are needed."""
RUN_FLOPS = 2e10
"""Most operations of a case that is run here to compare the graph with its function."""


def traced(request: Request) -> TracedFunction:
    """What a request's function is as a task.

    Raises:
        NotOptimizableError: no kernel can safely stand in for it.
    """
    text = text_of(request.function)
    _hold_launches(request, text)
    function = request.reference or request.function
    hold_text(function)
    signature = signature_of(function)
    if list(signature.parameters) != list(signature_of(request.function).parameters):
        raise NotOptimizableError(
            f"reference= of {text.name} takes other parameters, {signature}: it must be called as "
            "the function is."
        )
    calls = [signature.bind(*args, **kwargs) for args, kwargs in request.examples]
    for call in calls:
        call.apply_defaults()
    arguments = taken_apart(calls[0].arguments, text.name)
    captures = captures_of(function)
    _hold_devices(arguments.tensors, [tensor for _, tensor in captures.tensors], text)
    called = Called(function, arguments, signature, text_of(function).path)
    flat = Flat(called, captures)
    program = exported(flat, _dynamic(request.dynamic, arguments.names), text)
    core = decomposed(program)
    hold_graph(core, text, called.lines)
    inputs = inputs_of(program, flat, captures, text)
    sizes = sizes_of(core, inputs.placeholders)
    guard = guard_of(core, inputs, called, sizes)
    examples = [_sizes(guard, call, text) for call in calls]
    sizes = bounded(sizes, examples, [one.shape for one in guard.tensors])
    guard = dataclasses.replace(guard, ranges=dict(sizes.ranges))
    reference = reference_of(program, inputs, flat, request.name)
    drawing = drawing_of(core, inputs, sizes, examples[0], request.draw)
    task = task_of(request.name, reference, drawing, sizes, examples, _statement(text, drawing), ())
    _hold_tried(task, flat, inputs, text)
    results, tree, contiguous = _results(task, core, sizes)
    if not contiguous and not _laid_out_by_device(core):
        task = dataclasses.replace(task, same_strides=True)
    starts, routes = starts_of(
        Graphs(request, text, flat, program, core, inputs, sizes, tuple(examples))
    )
    first = starts[0].source if starts else ""
    return TracedFunction(
        task=_with_start(task, first),
        guard=guard,
        starts=starts,
        captured=inputs.captured,
        settings=tuple(captures.settings),
        results=results,
        tree=tree,
        digest=_digest(reference.source, guard.describe(), captures.settings),
        routes=routes,
    )


def _hold_launches(request: Request, text: Text) -> None:
    found = launches(request.function)
    if found and request.reference is None and not _has_other_path(request):
        name, line = found[0]
        raise NotOptimizableError(
            f"{text.name} launches the Triton kernel {name} ({text.where(line)}): say with "
            "reference= in PyTorch what it computes, since a kernel is no oracle for kernels."
        )


def _has_other_path(request: Request) -> bool:
    """Whether the function computes on a CPU what it launches a kernel for on a GPU."""
    try:
        with torch.no_grad():
            args, kwargs = request.examples[0]
            request.function(*args, **kwargs)
    except Exception:  # Triton has no driver for tensors on the CPU
        return False
    return True


def _hold_devices(
    given: tuple[torch.Tensor, ...], captured: list[torch.Tensor], text: Text
) -> None:
    found = {getattr(tensor, DEVICE, str(tensor.device)) for tensor in (*given, *captured)}
    if len(found) > 1:
        raise NotOptimizableError(
            f"{text.name} ({text.path}:{text.line}) works on tensors on {', '.join(sorted(found))}"
            ": a kernel runs on one device. Move them there before."
        )


def _dynamic(given: Any, names: tuple[str, ...]) -> dict[str, tuple[int, ...]] | None:
    if given is None:
        return None
    if unknown := set(given) - set(names):
        raise NotOptimizableError(
            f"dynamic= names {sorted(unknown)}; the tensors are {', '.join(names)}."
        )
    return {name: (axes,) if isinstance(axes, int) else tuple(axes) for name, axes in given.items()}


def _sizes(guard: Guard, call: Any, text: Text) -> dict[str, int]:
    """The named sizes of an example.

    Raises:
        NotOptimizableError: it is no call that the first example's graph holds for.
    """
    tensors = tuple(dataclasses.replace(one, device="cpu") for one in guard.tensors)
    here = dataclasses.replace(guard, tensors=tensors)
    failure = here.failure(call.args, call.kwargs)
    if failure is not None:
        raise NotOptimizableError(
            f"The examples of {text.name} are not calls of one kind: {failure}. Trace each kind by "
            "itself."
        )
    return guard.size_values(call.args, call.kwargs)


def _statement(text: Text, drawing: Any) -> str:
    arguments = "; ".join(
        f"{one.name} is {str(one.dtype).removeprefix('torch.')} {_listed(one.shape)}"
        + ("" if one.stride is None and one.order == tuple(range(len(one.shape)))
           else " (not contiguous)")
        for one in drawing.tensors
    )  # fmt: skip
    return (
        f"Compute what this function computes, for every size that may vary: {arguments}. Return "
        "new tensors in the same containers, with the dtypes and the strides of the function's "
        f"own.\n\n```python\n{text.source.strip()}\n```"
    )


def _listed(shape: tuple[int | str, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _hold_tried(task: Task, flat: Flat, inputs: Inputs, text: Text) -> None:
    """Hold that a task's reference can be judged by, and is the function, on a small case.

    Raises:
        NotOptimizableError: it is random, its graph computes something else, it returns what it was
            given, or nothing can be judged by it.
    """
    where = f"{text.name} ({text.path}:{text.line})"
    try:
        admit(task, torch.device("cpu"))
    except InvalidTaskError as error:
        hint = (
            " If sizes hang together that the trace knows nothing of, say with dynamic= which axes "
            "vary."
        )
        raise NotOptimizableError(
            f"{where}: {error}{hint if ' fails on ' in str(error) else ''}"
        ) from error
    case = task.tiny[0]
    if task.flops(case) > RUN_FLOPS:
        return
    count = len(inputs.placeholders)
    given = check.draw_inputs(task, case, 0, torch.device("cpu"))[:count]
    held = [inputs.tensors[name] for name in inputs.parameters if name not in inputs.placeholders]
    own = hold_results(flat, given, {}, held, text)
    arguments = (*given, *(tensor.detach() for tensor in held))
    expected = check.expect(task, case, arguments)
    verdict = check.compare(list(own), expected, str(case))
    if not verdict.ok:
        raise NotOptimizableError(
            f"{where} returns something else than its traced graph does: {verdict.message}"
        )


_BY_DEVICE = frozenset({"bmm", "convolution", "_scaled_dot_product_flash_attention_for_cpu"})
"""Operators whose result, in attention and convolutions, has other strides on other devices."""


def _laid_out_by_device(core: Any) -> bool:
    """Whether strides that were seen on the CPU say little of a GPU."""
    names = (getattr(node.target, "__name__", "").partition(".")[0] for node in core.graph.nodes)
    return any(name in _BY_DEVICE for name in names)


def _results(task: Task, core: Any, sizes: Any) -> tuple[tuple[Result, ...], Any, bool]:
    """Every tensor of the result, the tree around them, and whether all are contiguous."""
    case = task.tiny[0]
    given = check.draw_inputs(task, case, 0, torch.device("cpu"))
    returned = check.returned(task, given, case)
    outputs = [spec.arg.name for spec in core.graph_signature.output_specs]
    nodes = {node.name: node for node in core.graph.nodes}
    results = []
    for name in outputs:
        value = nodes[name].meta["val"]
        results.append(
            Result(
                str(value.dtype).removeprefix("torch."),
                tuple(sizes.text(size) for size in value.shape),
                tuple(sizes.text(step) for step in value.stride()),
            )
        )
    contiguous = all(tensor.is_contiguous() for tensor in returned.tensors)
    return tuple(results), returned.tree, contiguous


def _with_start(task: Task, source: str) -> Task:
    return dataclasses.replace(task, starter=source, expert=source)


def _digest(source: str, described: Mapping[str, Any], settings: Any) -> str:
    parts = (source, repr(described), repr(settings), torch.__version__, triton.__version__)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _request() -> Request:
    given = sys.stdin.buffer.read()
    try:
        request: Request = cloudpickle.loads(given)
    except Exception as error:  # whatever importing the user's modules raises
        raise NotOptimizableError(
            "The function cannot be loaded in the process that traces it: "
            f"{type(error).__name__}: {error}."
        ) from error
    return request


def _import_until_asked() -> None:
    """Import what tracing and PyTorch's compiler load when they are first used."""
    for name in _NEEDED:
        if select.select([0], [], [], 0)[0]:
            return
        # Modules differ between versions of PyTorch; the route that needs one says so.
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def main() -> None:
    """Answer one request."""
    die_with(int(os.environ[TRACING]))  # nobody would read the answer
    _import_until_asked()
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the function prints is no part of the answer
    answer: tuple[str, Any]
    try:
        answer = ("traced", traced(_request()))
    except NotOptimizableError as error:
        answer = ("refused", str(error))
    output.write(cloudpickle.dumps(answer))
    output.close()


if __name__ == "__main__":
    main()
