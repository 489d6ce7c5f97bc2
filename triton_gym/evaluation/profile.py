"""How good a time is: speed of light, achieved rates, and what bounds a kernel."""

from __future__ import annotations

from dataclasses import dataclass

from triton_gym.device import Gpu
from triton_gym.evaluation.faults import blaming
from triton_gym.evaluation.units import peak_tflops
from triton_gym.task import Case, Task

LAUNCH_US = 5.0
"""About what one kernel launch costs end to end; nothing finishes faster than a fraction of it."""


@dataclass(frozen=True, slots=True)
class Light:
    """Speed of light of a case on a device: no kernel can be faster."""

    memory_us: float
    compute_us: float
    flops: float
    bytes: float

    @property
    def floor_us(self) -> float:
        """The larger of the two times."""
        return max(self.memory_us, self.compute_us)

    def roofline(self, runtime_us: float) -> float:
        """Fraction of the speed of light that a time reaches."""
        return self.floor_us / runtime_us

    def bound(self, runtime_us: float) -> str:
        """What limits a kernel that takes `runtime_us`."""
        if runtime_us < 3 * LAUNCH_US and self.floor_us < 0.5 * runtime_us:
            return "launch"
        return "memory" if self.memory_us >= self.compute_us else "compute"

    def gbps(self, runtime_us: float) -> float:
        """Minimal bytes over the time, in 10⁹ bytes a second."""
        return self.bytes / runtime_us / 1e3

    def tflops(self, runtime_us: float) -> float:
        """FLOPs over the time, in 10¹² a second."""
        return self.flops / runtime_us / 1e6


def speed_of_light(task: Task, case: Case, gpu: Gpu, memory_gbps: float = 0.0) -> Light:
    """Speed of light by the roofline model (Williams et al., CACM 52(4), 2009).

    Args:
        task: gives the case's FLOPs and minimal bytes.
        case: the shapes and dtype.
        gpu: peaks of the device.
        memory_gbps: measured copy bandwidth; the higher of it and the datasheet's counts.
    """
    with blaming(task, "flops() or min_bytes()", case):
        flops, moved = float(task.flops(case)), float(task.min_bytes(case))
    bandwidth = max(gpu.memory_gbps, memory_gbps)
    peak = peak_tflops(task, case, gpu)
    return Light(moved / bandwidth / 1e3, flops / peak / 1e6, flops, moved)
