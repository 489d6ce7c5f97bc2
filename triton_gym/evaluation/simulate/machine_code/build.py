"""Builds what a call launches with Triton's real compiler, for a GPU that is not here.

Triton itself specialises, compiles and launches; only its driver is replaced, by one that
notes the launches instead of making them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from triton_gym.device import Gpu
from triton_gym.evaluation.simulate.host import Numbering, pretend
from triton_gym.evaluation.simulate.machine_code.binary import read_code, read_resources
from triton_gym.evaluation.simulate.machine_code.ptxas import limited
from triton_gym.evaluation.simulate.machine_code.sass import Code
from triton_gym.evaluation.simulate.machine_code.usage import Resources

SECONDS_PER_KERNEL = 20.0
"""How long ptxas may take for one kernel."""
DISASSEMBLERS = 2
"""Binaries that are taken apart at the same time: alternatives of autotuned kernels."""


class BuildError(RuntimeError):
    """A kernel does not compile for the GPU, or needs more than it has."""


@dataclass(frozen=True, slots=True)
class Build:
    """One launch of a compiled kernel, or one alternative of an autotuned one."""

    index: int
    """Which launch of the call this is. Alternatives of one launch share it."""
    kernel: str
    config: str
    """The autotuner's configuration; empty if the kernel is not autotuned."""
    grid: tuple[int, int, int]
    num_warps: int
    num_stages: int
    num_ctas: int
    registers: int
    """Registers a thread."""
    spill_bytes: int
    """Bytes of local memory a thread; what Triton reports, four times `n_spills`."""
    shared_bytes: int
    """Shared memory of a program, static and dynamic."""
    code: Code
    """What the machine code consists of."""

    @property
    def programs(self) -> int:
        """Programs of the grid."""
        return self.grid[0] * self.grid[1] * self.grid[2]

    def record(self) -> dict[str, Any]:
        """The build as plain JSON values."""
        return asdict(self)

    @classmethod
    def read(cls, record: dict[str, Any]) -> Build:
        """The build that `record` describes."""
        values = dict(record)
        values["grid"] = tuple(values["grid"])
        values["code"] = Code.read(values["code"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Compiled:
    """The launches of a call, whose machine code is still to be taken apart."""

    launches: tuple[tuple[Callable[..., Build], bytes], ...]
    """What makes a build of its `code`, and the binary that holds it."""

    def builds(self) -> tuple[Build, ...]:
        """Every launch with what its code consists of. Takes longer than compiling it."""
        binaries = list(dict.fromkeys(binary for _, binary in self.launches))
        with ThreadPoolExecutor(DISASSEMBLERS) as pool:
            codes = dict(zip(binaries, pool.map(read_code, binaries), strict=True))
        return tuple(build(code=codes[binary]) for build, binary in self.launches)


class _Builder(Numbering):
    """Stands in for the GPU: notes launches, and what they take."""

    def __init__(self) -> None:
        super().__init__()
        self.launches: list[tuple[Callable[..., Build], bytes]] = []
        self._resources: dict[bytes, Resources] = {}

    def load(self, name: str, binary: bytes, shared: int, device: int) -> tuple[Any, ...]:
        if binary not in self._resources:
            self._resources[binary] = read_resources(binary)
        found = self._resources[binary]
        return None, binary, found.registers, found.stack_bytes // 4, 1024

    def launcher(self, source: Any, metadata: Any) -> Callable[..., None]:
        def launch(x: int, y: int, z: int, stream: int, binary: bytes, *_: Any) -> None:
            resources = self._resources[binary]
            index, config = self.number()
            if x * y * z < 1:
                return
            self.launches.append(
                (
                    functools.partial(
                        Build,
                        index=index,
                        kernel=metadata.name,
                        config=config,
                        grid=(int(x), int(y), int(z)),
                        num_warps=metadata.num_warps,
                        num_stages=metadata.num_stages,
                        num_ctas=metadata.num_ctas,
                        registers=resources.registers,
                        spill_bytes=resources.stack_bytes,
                        shared_bytes=max(metadata.shared, resources.shared_bytes),
                    ),
                    binary,
                )
            )

        return launch


def build(call: Callable[[], Any], gpu: Gpu) -> tuple[Build, ...]:
    """Compile every kernel that an answer launches, and take it apart; see `compile_launches`."""
    return compile_launches(call, gpu).builds()


def compile_launches(
    call: Callable[[], Any], gpu: Gpu, *, seconds_per_kernel: float = SECONDS_PER_KERNEL
) -> Compiled:
    """Run the host code of an answer and compile every kernel that it launches.

    Args:
        call: calls the answer with CPU tensors of the real shapes; no kernel runs.
        gpu: the device to build for.
        seconds_per_kernel: limit of ptxas for one kernel.

    Raises:
        BuildError: a kernel does not compile, or does not fit on the device.
    """
    from triton.errors import TritonError
    from triton.runtime.errors import OutOfResources

    from triton_gym.evaluation.simulate.machine_code.filecache import direct_cache

    builder = _Builder()
    try:
        with pretend(gpu, builder), limited(seconds_per_kernel), direct_cache():
            call()
    except OutOfResources as error:
        raise BuildError(
            f"out of resources on {gpu.name}: {error.name} required {error.required}, limit "
            f"{error.limit}. Reduce the block sizes or num_stages."
        ) from error
    except TritonError as error:
        raise BuildError(_shortened(str(error))) from error
    return Compiled(tuple(builder.launches))


def _shortened(text: str, limit: int = 1800) -> str:
    """The end of a long message: a compile error quotes the kernel and ends with the cause."""
    return text if len(text) <= limit else "… " + text[-limit:]
