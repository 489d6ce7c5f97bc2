"""How much a traced function does: floating-point operations, bytes and its longest sum.

Found by running its graph without values at a case's sizes. PyTorch's own counter knows products,
convolutions and attention, and nothing of the rest; here every operator counts, at what its
elements cost. Bytes are those that the results are made of (`suites.reading`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from triton_gym.suites.reading import Reading
from triton_gym.task import Case

_PER_INPUT = {
    "sum": 1, "mean": 1, "amax": 1, "amin": 1, "max": 1, "min": 1, "argmax": 1, "argmin": 1,
    "prod": 1, "var": 4, "std": 4, "var_mean": 4, "norm": 2, "linalg_vector_norm": 2,
    "logsumexp": 4, "cumsum": 1, "cumprod": 1, "_softmax": 5, "_log_softmax": 5,
    "_safe_softmax": 5, "native_layer_norm": 8, "native_group_norm": 8, "native_batch_norm": 8,
    "_native_batch_norm_legit_no_training": 4, "topk": 1, "sort": 1, "avg_pool2d": 1,
    "max_pool2d_with_indices": 1, "_fused_rms_norm": 5,
}  # fmt: skip
"""Operations an element of the first input, for operators that reduce or normalise. A maximum and a
comparison count as one, as they do on the units that make them."""
_PER_OUTPUT = {
    "gelu": 8, "silu": 5, "sigmoid": 4, "tanh": 4, "softplus": 5, "mish": 8, "elu": 3, "celu": 3,
    "addcmul": 2, "addcdiv": 2, "lerp": 3, "hardtanh": 2, "hardswish": 4, "hardsigmoid": 3,
    "erf": 4, "logit": 4,
}  # fmt: skip
"""Operations an element of the result, for operators that take several; others take one."""
_NONE = frozenset(
    {"clone", "copy_", "_to_copy", "cat", "stack", "index", "index_select", "gather", "embedding",
     "empty", "zeros", "ones", "full", "arange", "empty_like", "zeros_like", "ones_like",
     "full_like", "scalar_tensor", "lift_fresh_copy", "lift_fresh", "where", "masked_fill",
     "fill_", "zero_", "scatter", "scatter_", "index_put", "index_put_", "_unsafe_index",
     "constant_pad_nd", "repeat", "roll", "flip", "tril", "triu", "detach", "alias",
     "nll_loss_forward", "_unsafe_view", "empty_strided", "new_empty", "new_zeros", "new_full",
     "slice_scatter", "select_scatter", "_local_scalar_dense", "constant_pad"}
)  # fmt: skip
"""Operators that move values and compute nothing."""


class _Counting(TorchDispatchMode):
    """Counts operations, and notes the longest sum."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0.0
        self.longest = 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        made = [x for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
        if given and made:
            self._count(func, args, kwargs or {}, given, made, out)
        return out

    def _count(
        self, func: Any, args: Any, kwargs: Any, given: list[torch.Tensor],
        made: list[torch.Tensor], out: Any,
    ) -> None:  # fmt: skip
        name = func._schema.name.partition("::")[2]
        if func.overloadpacket in flop_registry:
            counted = flop_registry[func.overloadpacket](*args, **kwargs, out_val=out)
            self.flops += counted
            results = made[0].numel() or 1
            self.longest = max(self.longest, int(counted // 2 // results))
        elif name.startswith("_scaled_dot_product"):
            self._attend(given)
        elif name in _PER_INPUT:
            first = given[0].numel()
            self.flops += first * _PER_INPUT[name]
            self.longest = max(self.longest, _summed(name, args, given[0], made[0]))
        elif name not in _NONE and not func.is_view and made[0].is_floating_point():
            self.flops += made[0].numel() * _PER_OUTPUT.get(name, 1)

    def _attend(self, given: list[torch.Tensor]) -> None:
        """Two products and a softmax: query (…, heads, rows, depth), key and value alike."""
        query, key, value = given[:3]
        scores = query.numel() // (query.shape[-1] or 1) * key.shape[-2]
        self.flops += scores * (2 * query.shape[-1] + 2 * value.shape[-1] + 5)
        self.longest = max(self.longest, key.shape[-2], query.shape[-1])


def _summed(name: str, args: Any, first: torch.Tensor, result: torch.Tensor) -> int:
    """How many elements a sum of a reduction has."""
    if name in ("cumsum", "cumprod", "_softmax", "_log_softmax", "_safe_softmax"):
        return first.shape[args[1]] if first.dim() else 1
    if name.startswith(("native_", "_native_", "_fused_")):
        return first.numel() // max(1, first.shape[0] if first.dim() else 1)
    return first.numel() // (result.numel() or 1)


@dataclass(frozen=True, slots=True)
class Work:
    """The work of a function's cases."""

    function: Callable[..., Any]
    draw: Callable[[Case, torch.Generator], tuple[Any, ...]]

    def flops(self, case: Case) -> float:
        """Floating-point operations, those of what computes nothing needed included."""
        return _measured(self, case)[0]

    def min_bytes(self, case: Case) -> float:
        """What the results are made of read once, they themselves written once."""
        return _measured(self, case)[1]

    def reduction(self, case: Case) -> int:
        """Elements of the longest sum."""
        return _measured(self, case)[2]


@lru_cache(maxsize=2048)
def _measured(work: Work, case: Case) -> tuple[float, float, int]:
    backend = torch.nn.attention.SDPBackend.MATH
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        given = work.draw(case, torch.Generator())
        with Reading([x for x in given if isinstance(x, torch.Tensor)]) as reading:
            results = _tensors(work.function(*given))
        read = reading.bytes(results) + sum(x.numel() * x.element_size() for x in results)
        with _Counting() as counting, torch.nn.attention.sdpa_kernel(backend):
            work.function(*given)
    flops = counting.flops if math.isfinite(counting.flops) else 0.0
    return float(flops), float(read), int(counting.longest)


def _tensors(value: Any) -> list[torch.Tensor]:
    return [x for x in tree_leaves(value) if isinstance(x, torch.Tensor)]
