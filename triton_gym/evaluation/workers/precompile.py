"""Compiles what a call launches into Triton's cache, so that the GPU does not wait for ptxas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from triton_gym.device import gpu_named
from triton_gym.evaluation.simulate.host import Recorder, pretend
from triton_gym.evaluation.workers.cache import one_builder


class _CompileOnly(Recorder):
    """Compiles every configuration, loads and launches none."""

    def __init__(self, *, host_code: bool) -> None:
        self._host_code = host_code

    def choose(self, kernel: str, configs: Sequence[str]) -> Iterator[int]:
        yield from range(len(configs))

    def load(self, name: str, binary: bytes, shared: int, device: int) -> tuple[Any, ...]:
        return None, None, 0, 0, 1024

    def launcher(self, source: Any, metadata: Any) -> Callable[..., None]:
        if self._host_code:
            from triton.backends.nvidia.driver import CudaLauncher

            CudaLauncher(source, metadata)  # some versions build host code for every signature
        return lambda *_: None


def precompile(call: Callable[[], Any], gpu: str, *, host_code: bool = False) -> None:
    """Run the host code of a call on CPU tensors while Triton compiles for `gpu`.

    Args:
        call: calls the answer.
        gpu: key in `triton_gym.device.GPUS`.
        host_code: also build what launches a kernel, which needs CUDA's libraries.

    Raises:
        Exception: whatever the answer or the compiler raises.
    """
    with pretend(gpu_named(gpu), _CompileOnly(host_code=host_code)), one_builder():
        call()
