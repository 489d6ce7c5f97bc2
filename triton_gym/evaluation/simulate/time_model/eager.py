"""Time of the PyTorch reference on a GPU that is not here: its operators, one by one.

The reference runs on fake tensors at the timed case's size; every operator costs the larger of its
bytes over the achievable bandwidth and its FLOPs over the achievable peak, plus its launch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from triton_gym.device import Gpu
from triton_gym.evaluation.check import fake_arguments
from triton_gym.evaluation.faults import blaming
from triton_gym.evaluation.modules import bind
from triton_gym.evaluation.profile import Light
from triton_gym.task import Case, Task

# Shares of the datasheet bandwidth that PyTorch's kernels reach, with elements of four bytes and of
# two. Fitted to 67 references timed on an H200 (torch 2.11): 7 % off in the mean, 14 % where the
# reference itself was left out of the fit.
POINTWISE = (0.90, 0.82)
"""Elementwise operators whose operands lie alike, and copies."""
GELU = (0.87, 0.67)
"""The same where computing takes longer than reading."""
BROADCAST = (0.55, 0.40)
"""Elementwise operators with an operand that is repeated: they are not vectorised."""
REDUCTION = (0.73, 0.73)
"""Sums, means, extrema and norms of rows."""
VARIANCE = (0.17, 0.17)
"""Variances and standard deviations, which PyTorch computes by Welford's method."""
SHORT_SOFTMAX = (0.85, 0.85)
"""Softmax of rows that one warp holds…"""
SHORT_ROW = 1024
"""…in elements."""
LONG_SOFTMAX = (0.53, 0.30)
"""Softmax of longer rows."""
RMS_NORM = (0.75, 0.67)
"""One kernel on a GPU, whatever it is on a CPU."""
NORM = (0.50, 0.47)
"""Layer, group and batch norms."""
SCAN = (0.28, 0.28)
"""Cumulative sums."""
OTHER = (0.75, 0.75)
"""What is not known better."""
MATRIX_EFFICIENCY = 0.80
"""Share of the dense peak that cuBLAS reaches on large matrices: 0.80 at 4096³ in bfloat16."""
ATTENTION_EFFICIENCY = 0.60
"""The same for PyTorch's fused attention: 0.59 with a causal mask at 4 × 16 × 4096 × 128."""
_PRODUCTS = ("_int_mm", "_grouped_mm")
"""Products of (m, k) with (…, k, n): every row with one matrix."""
LAUNCH_US = 3.0
"""Device time between two dependent kernels that PyTorch launches."""


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
    blame = blaming(task, "reference, run without values to model its time,", case)
    with blame, torch.no_grad(), mode, clock, _Fusing(clock):
        task.reference(*arguments)
    if baseline == "compile":
        fused = max(light.memory_us / OTHER[0], light.compute_us / MATRIX_EFFICIENCY)
        return min(clock.us, fused + LAUNCH_US)
    return clock.us


_FUSED = (torch.rms_norm, torch.nn.functional.rms_norm)


class _Fusing(TorchFunctionMode):
    """`_FUSED` are one kernel on a GPU, and several operators for the CPU's tensors here."""

    def __init__(self, clock: _Clock) -> None:
        super().__init__()
        self._clock = clock

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:  # fmt: skip
        before = self._clock.us
        result = func(*args, **(kwargs or {}))
        if func in _FUSED:
            self._clock.us = before + self._clock.fused_us(tensors_of((args, kwargs)), result)
        return result


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
        inputs = tensors_of((args, kwargs))
        outputs = tensors_of(result)
        if not outputs or getattr(func, "is_view", False) or not inputs:
            return result
        moved = sum(spanned_bytes(t) for t in (*inputs, *outputs))
        memory = self._memory(moved, _efficiency(func, args, inputs, outputs[0]))
        self.us += LAUNCH_US + max(memory, self._compute(func, args, kwargs, outputs))
        return result

    def _memory(self, moved: int, share: float) -> float:
        """Microseconds for bytes."""
        return moved / (self._gpu.memory_gbps * share) / 1e3

    def fused_us(self, inputs: list[torch.Tensor], result: torch.Tensor) -> float:
        """Microseconds of one kernel that reads the inputs and writes the result."""
        share = RMS_NORM[inputs[0].element_size() < 4]
        return LAUNCH_US + self._memory(sum(map(spanned_bytes, [*inputs, result])), share)

    def _compute(self, func: Any, args: Any, kwargs: Any, outputs: list[torch.Tensor]) -> float:
        """Microseconds on the arithmetic units."""
        dtype = str(outputs[0].dtype).removeprefix("torch.")
        dtype = "int8" if dtype == "int32" else dtype  # what integer products are made of
        attention = "attention" in str(func)
        if attention:
            query, key = args[0], args[1]
            flops = 4.0 * float(query.numel()) * int(key.shape[-2])
            causal = (kwargs or {}).get("is_causal", args[4] if len(args) > 4 else False)
            flops = flops / 2 if causal is True else flops
        elif func._overloadpacket.__name__ in _PRODUCTS:  # PyTorch does not count these
            flops = 2.0 * float(args[0].numel()) * int(args[1].shape[-1])
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


def _efficiency(func: Any, args: Any, inputs: list[torch.Tensor], out: torch.Tensor) -> float:
    """Share of the bandwidth that an operator reaches."""
    name = func._overloadpacket.__name__.strip("_")
    if func._overloadpacket in flop_registry:
        kind = OTHER
    elif name.startswith("cum") or name == "logcumsumexp":
        kind = SCAN
    elif name in ("softmax", "log_softmax"):
        kind = SHORT_SOFTMAX if args[0].shape[args[1]] <= SHORT_ROW else LONG_SOFTMAX
    elif "norm" in name and name not in ("norm", "linalg_vector_norm"):
        kind = NORM
    elif name.startswith(("var", "std")):
        kind = VARIANCE
    elif torch.Tag.pointwise in func.tags or all(t.shape == out.shape for t in inputs):
        repeated = any(_repeated(t, out) for t in inputs)
        kind = GELU if name == "gelu" else BROADCAST if repeated else POINTWISE
    elif name in ("index", "gather", "embedding") or out.numel() >= max(t.numel() for t in inputs):
        kind = OTHER
    else:
        kind = REDUCTION
    return kind[max(tensor.element_size() for tensor in inputs) < 4]


def _repeated(tensor: torch.Tensor, out: torch.Tensor) -> bool:
    return 1 < tensor.numel() < out.numel() or 0 in tensor.stride()


def tensors_of(tree: Any) -> list[torch.Tensor]:
    """The tensors among arguments or results, in order."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def spanned_bytes(tensor: torch.Tensor) -> int:
    """Bytes that a tensor really spans: broadcast axes are read once."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride else 1
    return count * tensor.element_size()
