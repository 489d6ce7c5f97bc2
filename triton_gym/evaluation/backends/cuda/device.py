"""A runner's own hold on its GPU: context, stream, gate, cold cache, and the scrubbing."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from triton_gym.evaluation.backends.cuda.device_timing import CYCLES_PER_US, Flush
from triton_gym.evaluation.backends.cuda.driver import check

PRINTF_BYTES = 1 << 16
"""What `device_print` may hold before it is dropped."""
POISON = 0xFFFFFFFF
"""Word that memory is filled with which nobody uses any more: NaN in every floating dtype."""
LONGEST_SPIN_US = 10_000.0
_SCRUB = """
.version 7.0
.target sm_70
.address_size 64
.extern .shared .align 16 .b8 area[];
.visible .entry scrub(.param .u32 words)
.reqntid 1024
{{
  .reg .pred %p;
  .reg .b32 %i, %n, %t, %a;
  .reg .b32 %r<{registers}>;
  ld.param.u32 %n, [words];
  mov.u32 %i, %tid.x;
loop:
  setp.ge.u32 %p, %i, %n;
  @%p bra done;
  shl.b32 %t, %i, 2;
  mov.u32 %a, area;
  add.u32 %a, %a, %t;
  st.volatile.shared.u32 [%a], 0;
  add.u32 %i, %i, 1024;
  bra loop;
done:
  bar.sync 0;
  mov.u32 %a, area;
{loads}
  bar.sync 0;
{stores}
  ret;
}}
"""
_REGISTERS = 58
"""Words that each of 1,024 threads holds at once. With the few that the kernel itself takes these
are 64 registers a thread, which is all that a multiprocessor has."""


def scrubber() -> str:
    """PTX of a kernel that overwrites shared memory and registers of a multiprocessor."""
    numbers = range(_REGISTERS)
    return _SCRUB.format(
        registers=_REGISTERS,
        loads="\n".join(f"  ld.volatile.shared.u32 %r{i}, [%a+{4 * i}];" for i in numbers),
        stores="\n".join(f"  st.volatile.shared.u32 [%a+{4 * i}], %r{i};" for i in numbers),
    )


WORD_BYTES = 64
"""Words that host and device look at lie so far apart: a cache line each."""
LOOKS = 64
"""Looks at a mark, some 0.2 µs each, between two questions whether the stream is done."""


class Device:
    """A GPU, with the one context of this process.

    Args:
        index: of the GPU.
        flush_bytes: what is read to evict its L2 cache.
    """

    def __init__(self, index: int, flush_bytes: int) -> None:
        from cuda.bindings import driver as cu

        self._cu = cu
        check(cu.cuInit(0))
        self.index = index
        handle = check(cu.cuDeviceGet(index))
        # A host that spins sees at once that the device is done.
        check(cu.cuDevicePrimaryCtxSetFlags(handle, cu.CUctx_flags.CU_CTX_SCHED_SPIN))
        self.torch = torch.device("cuda", index)
        torch.cuda.set_device(self.torch)
        torch.cuda.init()
        torch.zeros(1, device=self.torch)  # PyTorch makes the context current
        stream = torch.cuda.Stream(self.torch)
        torch.cuda.set_stream(stream)
        self.stream = int(stream.cuda_stream)
        limits = cu.CUlimit
        check(cu.cuCtxSetLimit(limits.CU_LIMIT_PRINTF_FIFO_SIZE, PRINTF_BYTES))
        check(cu.cuCtxSetLimit(limits.CU_LIMIT_MALLOC_HEAP_SIZE, 1 << 16))
        attribute = cu.CUdevice_attribute
        self.shared_limit = self._attribute(
            attribute.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        )
        self.multiprocessors = self._attribute(attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
        self.threads = self._attribute(attribute.CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR)
        self.flush = Flush(flush_bytes, self.torch)
        self.gate = Gate(self.stream)
        self._scrub = self._scrubber()
        self._warm()

    def synchronize(self) -> None:
        """Wait until all that was queued is done."""
        check(self._cu.cuStreamSynchronize(self.stream))

    def poison(self, address: int, nbytes: int, word: int = POISON) -> None:
        """Queue the filling of memory with what nobody computes."""
        check(self._cu.cuMemsetD32Async(address, word, nbytes // 4, self.stream))

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Queue a copy within the device."""
        check(self._cu.cuMemcpyDtoDAsync(target, source, nbytes, self.stream))

    def read(self, address: int, nbytes: int) -> bytes:
        """Bytes of device memory, once all that was queued is done."""
        found = bytearray(nbytes)
        if nbytes:
            check(self._cu.cuMemcpyDtoHAsync(found, address, nbytes, self.stream))
        self.synchronize()
        return bytes(found)

    def scrub(self) -> None:
        """Overwrite shared memory and registers of all multiprocessors."""
        function, words = self._scrub
        arguments = ((words,), (ctypes.c_uint32,))
        check(
            self._cu.cuLaunchKernel(
                function, self.multiprocessors, 1, 1, 1024, 1, 1, 4 * words, self.stream,
                arguments, 0,
            )
        )  # fmt: skip
        self.synchronize()

    def spin(self, us: float) -> None:
        """Queue about so many microseconds of doing nothing, at most `LONGEST_SPIN_US`."""
        torch.cuda._sleep(int(CYCLES_PER_US * min(max(us, 0.0), LONGEST_SPIN_US)))

    def event(self) -> Any:
        """An event that keeps the time."""
        return check(self._cu.cuEventCreate(0))

    def record(self, event: Any) -> None:
        """Queue an event."""
        check(self._cu.cuEventRecord(event, self.stream))

    def elapsed_us(self, start: Any, end: Any) -> float:
        """Device time between two events that are over."""
        return float(check(self._cu.cuEventElapsedTime(start, end))) * 1e3

    def _attribute(self, which: Any) -> int:
        return int(check(self._cu.cuDeviceGetAttribute(which, self.index)))

    def _scrubber(self) -> tuple[Any, int]:
        cu = self._cu
        module = check(cu.cuModuleLoadData(scrubber().encode() + b"\0"))
        function = check(cu.cuModuleGetFunction(module, b"scrub"))
        largest = cu.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        check(cu.cuFuncSetAttribute(function, largest, self.shared_limit))
        return function, self.shared_limit // 4

    def _warm(self) -> None:
        """Load what PyTorch and the driver load on first use."""
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            pair = torch.zeros((2, 64), dtype=dtype, device=self.torch)
            pair[0].copy_(pair[1])
            pair[0].zero_()
            pair.t().contiguous()
        self.flush()
        self.scrub()
        self.spin(1.0)


class Gate:
    """Keeps a stream waiting until the host has queued all that is timed, and tells when the stream
    comes to that: a GPU that is shared lets others go first.

    Args:
        stream: the stream.
    """

    def __init__(self, stream: int) -> None:
        from cuda.bindings import driver as cu

        self._cu, self._stream = cu, stream
        address = check(cu.cuMemHostAlloc(2 * WORD_BYTES, cu.CU_MEMHOSTALLOC_DEVICEMAP))
        self._word, self._mark = (
            ctypes.c_uint32.from_address(int(address) + offset) for offset in (0, WORD_BYTES)
        )
        self._word.value = self._mark.value = 0
        self._there = int(check(cu.cuMemHostGetDevicePointer(address, 0)))
        self._turn = 0

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Queue the wait. Whatever happens inside, the stream goes on in the end."""
        self._turn += 1
        equal = self._cu.CUstreamWaitValue_flags.CU_STREAM_WAIT_VALUE_GEQ
        check(self._cu.cuStreamWaitValue32(self._stream, self._there, self._turn, equal))
        try:
            yield
        finally:
            self.open()

    def mark(self) -> None:
        """Queue the mark that `passed` waits for. It belongs right before what is timed."""
        # The flag that leaves out the memory barrier is not known to this version of the function.
        plain = self._cu.CUstreamWriteValue_flags.CU_STREAM_WRITE_VALUE_DEFAULT
        there = self._there + WORD_BYTES
        check(self._cu.cuStreamWriteValue32(self._stream, there, self._turn, plain))

    def open(self) -> None:
        """Let the stream go on."""
        self._word.value = self._turn

    def passed(self) -> float:
        """Open it, and wait until the stream has come to the mark.

        Returns:
            Host time, by `time.perf_counter`, at which it certainly had not: that of the last look
            that did not see the mark. What is timed could write to the mark too, if it found it,
            but it runs later: it can hide the mark from a host that is late, and the time is then
            that of the opening.
        """
        opened = unseen = time.perf_counter()
        self._word.value = self._turn
        while True:
            for _ in range(LOOKS):
                now = time.perf_counter()
                if self._mark.value == self._turn:
                    return unseen
                unseen = now
            done = self._cu.cuStreamQuery(self._stream)[0]
            if done != self._cu.CUresult.CUDA_ERROR_NOT_READY:
                return opened
