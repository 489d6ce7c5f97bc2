"""Time of the PyTorch reference on a GPU that is not here: its operators, one by one.

The reference runs on fake tensors at the timed case's size; every operator costs the larger of its
bytes over the achievable bandwidth and its FLOPs over the achievable peak, plus its launch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from triton_gym.device import Gpu
from triton_gym.evaluation.modules import bind
from triton_gym.evaluation.profile import Light
from triton_gym.task import Case, Task

MEMORY_EFFICIENCY = 0.75
"""Share of the datasheet bandwidth that PyTorch's pointwise kernels and sums reach: gelu in half
precision 0.65, a sum of rows 0.70, a copy 0.89 (H200, torch 2.11)."""
ROW_EFFICIENCY = 0.55
"""The same for kernels that need a row more than once: softmax 0.50, layer_norm 0.51."""
SCAN_EFFICIENCY = 0.28
"""The same for cumulative sums: 0.27."""
MATRIX_EFFICIENCY = 0.80
"""Share of the dense peak that cuBLAS reaches on large matrices: 0.80 at 4096³ in bfloat16."""
ATTENTION_EFFICIENCY = 0.60
"""The same for PyTorch's fused attention: 0.59 with a causal mask at 4 × 16 × 4096 × 128."""
LAUNCH_US = 3.0
"""Device time between two dependent kernels that PyTorch launches."""


def fake_arguments(task: Task, case: Case) -> tuple[FakeTensorMode, tuple[Any, ...]]:
    """The arguments of a case without their values, and the mode that they live in."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        arguments = tuple(task.inputs(case, torch.Generator()))
    return mode, arguments


def import_fake_tensors() -> None:
    """Import what fake tensors import on first use, which several threads must not do at once."""
    with FakeTensorMode():
        torch.randn(2, generator=torch.Generator()).add_(1).softmax(0)


def baseline_us(task: Task, case: Case, gpu: Gpu, baseline: str, light: Light) -> float:
    """Modelled time of the reference, in microseconds.

    Args:
        task: whose reference runs.
        case: the shapes and dtype.
        gpu: what it would run on.
        baseline: `eager`, or `compile` for a reference fused into one pass.
        light: speed of light of the case.
    """
    mode, arguments = fake_arguments(task, case)
    clock = _Clock(gpu)
    with mode:
        task = bind(task, case, 0)
    with torch.no_grad(), mode, clock:
        task.reference(*arguments)
    if baseline == "compile":
        fused = max(light.memory_us / MEMORY_EFFICIENCY, light.compute_us / MATRIX_EFFICIENCY)
        return min(clock.us, fused + LAUNCH_US)
    return clock.us


class _Clock(TorchDispatchMode):
    """Adds up the cost of every operator that runs under it."""

    def __init__(self, gpu: Gpu) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._gpu = gpu
        self.us = 0.0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = _tensors((args, kwargs))
        outputs = _tensors(result)
        if not outputs or getattr(func, "is_view", False) or not inputs:
            return result
        moved = sum(_bytes(t) for t in (*inputs, *outputs))
        memory = moved / (self._gpu.memory_gbps * _memory_efficiency(str(func))) / 1e3
        self.us += LAUNCH_US + max(memory, self._compute(func, args, kwargs, outputs))
        return result

    def _compute(self, func: Any, args: Any, kwargs: Any, outputs: list[torch.Tensor]) -> float:
        """Microseconds on the arithmetic units."""
        dtype = str(outputs[0].dtype).removeprefix("torch.")
        attention = "attention" in str(func)
        if attention:
            query, key = args[0], args[1]
            flops = 4.0 * float(query.numel()) * int(key.shape[-2])
            causal = (kwargs or {}).get("is_causal", args[4] if len(args) > 4 else False)
            flops = flops / 2 if causal is True else flops
        elif func._overloadpacket in flop_registry:
            count = flop_registry[func._overloadpacket]
            flops = float(count(*args, **(kwargs or {}), out_val=outputs[0]))
        else:
            elements = max(t.numel() for t in outputs)
            return 4.0 * elements / self._gpu.vector_tflops / 1e6
        share = ATTENTION_EFFICIENCY if attention else MATRIX_EFFICIENCY
        # PyTorch multiplies float32 matrices on the vector units unless told otherwise.
        peak = self._gpu.peak_tflops(dtype, matrix=dtype != "float32")
        return flops / (peak * share) / 1e6


def _memory_efficiency(operator: str) -> float:
    name = operator.removeprefix("aten.").split(".")[0].strip("_")
    if name.startswith("cum") or "logcumsumexp" in name:
        return SCAN_EFFICIENCY
    if "softmax" in name or "norm" in name:
        return ROW_EFFICIENCY
    return MEMORY_EFFICIENCY


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _bytes(tensor: torch.Tensor) -> int:
    """Bytes that a tensor really spans: broadcast axes are read once."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride else 1
    return count * tensor.element_size()
