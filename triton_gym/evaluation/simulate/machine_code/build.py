"""One compiled launch: what its machine code consists of, and what it takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from triton_gym.evaluation.simulate.machine_code.layouts import Held
from triton_gym.evaluation.simulate.machine_code.sass import Code


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
    arithmetic: tuple[tuple[int, float], ...] = ()
    """Float instructions that one execution of a line takes a thread (`float_instructions`)."""
    across: bool = False
    """Whether a block is laid across in shared memory (`lays_across`)."""
    buffers: int = 0
    """Buffers that a loop's loads go to by turns (`buffers_of`)."""
    meeting: float = 0.0
    """Lanes that meet in a bank then, if they hold words (`meeting_banks`); 0 if not."""
    repeated: tuple[tuple[int, float], ...] = ()
    """How often warps compute the products of a line, if more than once (`repeated_products`)."""
    held: tuple[Held, ...] = ()
    """Its accesses through pointers, with the layouts of their blocks (`accesses_of`)."""

    @property
    def in_flight(self) -> bool:
        """Whether a loop leaves a product under way when its next pass begins.

        Then the matrix units need not wait for what comes between two products.
        """
        return any(
            region.kind == "loop" and region.counts.get("wgmma") and not region.drains
            for region in self.code.regions
        )

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
        values["arithmetic"] = tuple((int(n), float(c)) for n, c in values["arithmetic"])
        values["repeated"] = tuple((int(n), float(c)) for n, c in values["repeated"])
        values["held"] = tuple(Held.read(held) for held in values["held"])
        return cls(**values)
