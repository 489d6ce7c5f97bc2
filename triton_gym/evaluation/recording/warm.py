"""Records a small kernel once, so that what libraries load on first use is there after a fork."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Sequence

import torch
import triton
import triton.language as tl

from triton_gym.evaluation.plan import codec
from triton_gym.evaluation.plan.messages import (
    Compile,
    Compiled,
    DeviceFacts,
    FromJudge,
    FromRecorder,
    Uncompiled,
    pack,
)
from triton_gym.evaluation.plan.step import (
    Buffer,
    BufferKind,
    Copy,
    Fill,
    Gather,
    Kernel,
    Launch,
    Step,
    Synchronize,
    Upload,
)
from triton_gym.evaluation.plan.window import ARGUMENTS
from triton_gym.evaluation.recording.host import Host
from triton_gym.evaluation.recording.recorder import Recorder

_LATE = ("torch._dynamo", "torch._higher_order_ops.triton_kernel_wrap", "torch._library.triton")
"""What PyTorch imports when an answer defines an operator: a second that every answer would pay."""
_FACTS = DeviceFacts("warm", 90, 132, 80 << 30, 50 << 20, 232448, 233472, 65536, 2048, 1, 1, 1)


@triton.jit  # type: ignore[untyped-decorator]
def _row_sum(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, BLOCK)
    mask = lane < cols
    x = tl.load(x_ptr + row * cols + lane, mask=mask, other=-float("inf")).to(tl.float32)
    x = tl.exp(x - tl.max(x, axis=0))
    tl.store(y_ptr + row, tl.sum(x, axis=0), mask=row >= 0)


def warm() -> None:
    """Record `_row_sum`, for nobody."""
    for name in _LATE:
        importlib.import_module(name)
    recorder = Recorder(_Discard(), _FACTS, "")
    host = Host(recorder, patient=False)
    memory = recorder.lay(ARGUMENTS.start, 1600, BufferKind.ARGUMENT)
    x = recorder.tensor_in(memory, torch.float32, (4, 100), (100, 1), ARGUMENTS.start)
    with host.running(), torch.no_grad():
        for _ in range(2):
            y = torch.empty(4, device=x.device)
            _row_sum[(4,)](x, y, 100, BLOCK=128)
            torch.zeros_like(x).t().contiguous().view(-1)
            torch.arange(3, device="cuda")
            torch.softmax(x * 2, dim=1)  # shapes of arithmetic
    codec.prepare(FromJudge, FromRecorder)
    pack(_FACTS)


class _Discard:
    """An executor that does nothing."""

    def allocate(self, buffer: Buffer) -> None: ...

    def free(self, buffer: Buffer) -> None: ...

    def compile(self, request: Compile) -> None: ...

    def compiled(self, artifact: int, *, texts: bool = False) -> Compiled | Uncompiled:
        raise NotImplementedError

    def launch(self, step: Launch, kernel: Kernel) -> None: ...

    def move(self, step: Copy | Gather | Fill) -> None: ...

    def upload(self, step: Upload, data: bytes) -> None: ...

    def synchronize(self, step: Synchronize) -> None: ...

    def read(self, address: int, nbytes: int, line: int) -> bytes:
        raise NotImplementedError

    @contextlib.contextmanager
    def alternative(self) -> Iterator[Sequence[Step]]:
        yield []

    def again(self, steps: Sequence[Step]) -> None: ...

    def position(self) -> tuple[Sequence[Step], int]:
        return [], 0

    def time(self, alternatives: Sequence[Sequence[Step]], line: int) -> list[float]:
        raise NotImplementedError
