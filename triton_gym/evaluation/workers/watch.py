"""Sees to it that an answer's own kernels do the work: watches what else it has PyTorch do.

Syntax cannot tell a sum of two sizes from a sum of two tensors; PyTorch's dispatcher can. While an
answer runs, tested or timed, every operator that it reaches passes here. Allocations and views are
free, copies (as `contiguous` makes) are counted, a few values may be read on the host, as launch
parameters are; everything else is foreign. It is not carried out: without a GPU a product of large
matrices would take all of the answer's time.

Triton itself uses PyTorch, in its interpreter and its autotuner. What it does is not the answer's,
unless it only calls back: grids, hooks, heuristics and allocators are the answer's own code.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from triton_gym.evaluation.workers.failure import Failure, line_at
from triton_gym.outcome import Status

FILLS = frozenset(
    {
        "zeros", "zeros_like", "new_zeros", "zero_", "ones", "ones_like", "new_ones", "full",
        "full_like", "new_full", "fill_", "arange",
    }
)  # fmt: skip
"""Operators that write what depends on no argument of the answer."""
FREE = FILLS | frozenset(
    {
        "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "alias",
        "lift_fresh", "set_", "device", "is_pinned", "sym_size", "sym_stride", "sym_numel",
        "sym_storage_offset", "scalar_tensor", "lift", "is_same_size", "empty_permuted",
        "promote_types", "result_type", "can_cast",
    }
)  # fmt: skip
"""Operators that are allowed: those, and what allocates or describes."""
READ = "_local_scalar_dense"
"""What `item`, `int(x)` and `if x:` come to."""
READS = 8
"""Values that one call may read on the host: enough for parameters of a launch, far too few to
compute a result from. On a GPU every read waits for the device, which the answer pays for."""
COPIES = frozenset({"clone", "copy_", "_to_copy", "contiguous"})
"""Operators that move values without computing any."""


class Watch(TorchDispatchMode):
    """Refuses operators that compute, and notes those that move values.

    Use as a context manager.

    Args:
        path: where the answer's source lies.
        case: what the answer is called on, by name.
        following: whether what is copied and filled is kept.

    Raises:
        Failure: PyTorch was to compute. On leaving, too, if the answer took no notice.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # skipping would import the whole of torch.compile, for a second

    def __init__(self, path: str, case: str, *, following: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._path, self._case = path, case
        self._following = following
        self._refused: Failure | None = None
        self.copied_bytes = 0
        self.copies: list[tuple[torch.Tensor, torch.Tensor]] = []
        """Source and target of each copy."""
        self._fills: dict[tuple[int, int], int] = {}
        self._reads = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = func._schema.name.partition("::")[2]
        if name == READ and self._reads < READS:
            self._reads += 1
        elif not (name in FREE or name in COPIES or func.is_view or self._is_tritons()):
            self._refused = self._refusal(name)
            raise self._refused
        result = func(*args, **(kwargs or {}))
        if name in COPIES:
            if isinstance(result, torch.Tensor) and not self._is_tritons():
                self.copied_bytes += 2 * result.nbytes
                if self._following:
                    self.copies.append((args[1] if name == "copy_" else args[0], result))
        elif name in FILLS and self._following and not self._is_tritons():
            self._fills[result.data_ptr(), result.nbytes] = result.nbytes
        return result

    def moved(self) -> tuple[list[int], list[int]]:
        """Bytes that each copy read and wrote, and that each fill wrote.

        What is done again with the same memory counts once: a hook runs for every configuration.
        Nor does Triton's interpreter move anything when it copies memory onto itself.
        """
        copies = {
            (source.data_ptr(), tuple(source.shape), source.stride(), target.dtype): (
                min(source.nbytes, source.untyped_storage().nbytes()) + target.nbytes
            )
            for source, target in self.copies
            if source.data_ptr() != target.data_ptr()
        }
        return list(copies.values()), list(self._fills.values())

    def __enter__(self) -> Any:
        self._reads = 0
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        if self._refused and kind is None:
            raise self._refused

    def _refusal(self, name: str) -> Failure:
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and frame.f_code.co_filename != self._path:
            frame = frame.f_back
        line = line_at(self._path, frame.f_lineno) if frame else ""
        return Failure(
            Status.CHEATING,
            f"PyTorch was to compute ({name}) on {self._case}{line}: the answer's own Triton "
            "kernels must do all of the work.",
        )

    def _is_tritons(self) -> bool:
        """Whether Triton itself called the operator, and not the answer or on its behalf.

        Grids and hooks may be callables that have no frame of their own (`functools.partial`): then
        the code that launches is the nearest, and that computes nothing for itself.
        """
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            file = frame.f_code.co_filename
            if file in _TRITONS_OWN:
                return True
            if file == self._path or file in _CALLING:
                return False
            frame = frame.f_back
        return False


def load_dispatch() -> None:
    """Import what is imported on first use, before workers are forked."""
    with Watch("", ""):
        torch.empty(1)
        with _disable_current_modes():
            torch.empty(1)


def _triton_files(*names: str) -> frozenset[str]:
    folder = Path(find_spec("triton").origin).parent  # type: ignore[union-attr, arg-type]
    return frozenset(str(folder / name) for name in names)


_CALLING = _triton_files(
    "runtime/jit.py", "runtime/autotuner.py", "runtime/interpreter.py", "compiler/compiler.py"
) | {str(Path(__file__).with_name("answer.py"))}
"""Files of Triton that launch, and call back for it; and the one that makes results dense."""
_TRITONS_OWN = _triton_files("testing.py") | frozenset(
    str(path)
    for path in Path(__file__).parent.with_name("simulate").rglob("*.py")
    if path.stem not in ("host", "shortcuts")
)
"""Files that time configurations, and those that carry out a kernel's instructions where no GPU
does; `host` passes on host code, and `shortcuts` what the language calls."""
