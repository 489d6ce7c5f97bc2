"""Launching on a GPU inside a worker: timing with a cold cache, and what was launched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


def prepare() -> None:
    """Build and load Triton's driver module, once for all workers to come.

    It would be built by every worker otherwise, since their caches are their own. Making the
    driver does not start CUDA, so that the process can still be forked.
    """
    from triton.backends.nvidia.driver import CudaDriver
    from triton.runtime import driver

    driver.set_active(CudaDriver())
    build_quickly()


def build_quickly() -> None:
    """Have the C compiler not optimise from now on.

    Some versions of Triton build what launches a kernel for every signature, so for every answer.
    Optimised that takes three times as long (0.4 s were seen), and saves nothing that is timed.
    """
    from triton.runtime import build

    whole = build._build

    def quickly(
        name: str, src: str, folder: str, libraries: list[str], includes: list[str],
        linked: list[str], flags: list[str], **options: Any,
    ) -> str:  # fmt: skip
        flags = [*flags, "-O0"]  # the last one counts
        path: str = whole(name, src, folder, libraries, includes, linked, flags, **options)
        return path

    build._build = quickly


class Flush:
    """Evicts the L2 cache by reading more than it holds.

    Reading leaves clean lines; after a flush by writing, a kernel would pay for writing them back.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.device = device
        self._buffer = torch.zeros(size // 4, dtype=torch.float32, device=device)
        self._sink = torch.zeros((), dtype=torch.float32, device=device)

    def __call__(self) -> None:
        """Queue the flush on the current stream."""
        torch.sum(self._buffer, dim=0, out=self._sink)


class Series:
    """A series of timed calls on the current stream.

    The device waits first, while the host queues all calls: so the times do not depend on how fast
    the host launches.
    """

    def __init__(self, count: int) -> None:
        self._events = [
            (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            for _ in range(count)
        ]

    def queue(
        self,
        calls: Sequence[tuple[Callable[[], Any], Callable[[Any], object]]],
        flush: Flush | None,
        wait: Callable[[], object],
    ) -> None:
        """Queue the calls; returns before they have run.

        Args:
            calls: what is timed, and what then takes its result, untimed.
            flush: evicts the L2 cache before every call; None for calls back to back, untimed.
            wait: queues what the device waits for.
        """
        stream = torch.cuda.current_stream()
        torch.cuda.synchronize()
        wait()
        for (function, keep), (start, end) in zip(calls, self._events, strict=True):
            if flush is None:
                keep(function())
                continue
            flush()
            start.record(stream)
            result = function()
            end.record(stream)
            keep(result)

    @property
    def times_us(self) -> list[float]:
        """Device time of each call, once all have run."""
        return [start.elapsed_time(end) * 1000 for start, end in self._events]

    @property
    def span_us(self) -> float:
        """From the first call's start to the last call's end."""
        return float(self._events[0][0].elapsed_time(self._events[-1][1])) * 1000


HASTY_MS = 3
"""How long each configuration of an autotuned kernel is timed where speed does not count."""
TUNING_MS = 20
"""The same where it counts: a fifth of Triton's own, and still the median of 200 calls of a short
kernel. No other answer can be timed meanwhile."""
WARMING_SHARE = 4
"""One part in so many of that is for warming up, as in Triton's own."""


class Gpu:
    """The worker's hold on its GPU."""

    def __init__(self, device: torch.device, share: float, flush_bytes: int) -> None:
        torch.cuda.set_device(device)
        torch.cuda.init()
        if share < 1.0:
            torch.cuda.set_per_process_memory_fraction(share, device)
        self._flush = Flush(flush_bytes, device)
        self._kernels: dict[int, Any] = {}
        self.launches = 0
        """Kernels that Triton launched since `forget`."""
        self.hasty = False
        """Whether autotuned kernels are tuned in a hurry."""
        self._warm()
        self._note_launches()
        self._set_benchmark()

    def _warm(self) -> None:
        """Load what PyTorch loads on first use, while the answer is compiled elsewhere."""
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            pair = torch.zeros((2, 64), dtype=dtype, device=self._flush.device)
            pair[0].copy_(pair[1])
            torch._foreach_copy_([pair[0]], [pair[1]])
        self._flush()
        torch.cuda.synchronize()

    def _note_launches(self) -> None:
        """Keep the kernels that Triton launches from now on, by whichever of its two ways."""
        from triton.compiler import CompiledKernel

        launcher = CompiledKernel.run.fget

        def noted(kernel: Any) -> Any:
            self._kernels[id(kernel)] = kernel
            self.launches += 1
            return launcher(kernel)

        CompiledKernel.run = property(noted)

    def _set_benchmark(self) -> None:
        """Have Triton's tuner take less time, least where `hasty` says so: it would take seconds.

        An answer that says itself how it is tuned is tuned so.
        """
        from triton.runtime import driver

        whole = driver.active.get_benchmarker()

        def benchmark(function: Callable[[], Any], **options: Any) -> Any:
            length = HASTY_MS if self.hasty else TUNING_MS
            return whole(function, **{"warmup": length / WARMING_SHARE, "rep": length, **options})

        driver.active.get_benchmarker = lambda: benchmark

    def forget(self) -> None:
        """Let `resources` speak of what is launched from now on."""
        self._kernels.clear()
        self.launches = 0

    def queue(
        self,
        series: Series,
        calls: Sequence[tuple[Callable[[], Any], Callable[[Any], object]]],
        wait: Callable[[], object],
        *,
        flushed: bool,
    ) -> None:
        """Queue calls; see `Series`."""
        series.queue(calls, self._flush if flushed else None, wait)

    def resources(self) -> dict[str, Any]:
        """Registers a thread, spilled bytes a thread and shared bytes a program.

        Of the kernels launched since `forget`, the largest of each; -1 where unknown.
        """
        found = {"registers": -1, "spills": -1, "shared_bytes": -1}
        for kernel in self._kernels.values():
            if getattr(kernel, "n_regs", None) is None:
                continue
            found["registers"] = max(found["registers"], int(kernel.n_regs))
            found["spills"] = max(found["spills"], int(kernel.n_spills) * 4)
            found["shared_bytes"] = max(found["shared_bytes"], int(kernel.metadata.shared))
        return {**found, "launches": self.launches}
