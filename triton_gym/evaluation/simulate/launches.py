"""Records of what the launches of a call do, as a trace finds it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Site:
    """One memory access of the kernel's source, per program."""

    line: int
    """Line of the answer."""
    kind: str
    """`load`, `store` or `atomic`."""
    owner: int
    """Which of the launch's tensors it goes to, an index into `LaunchTrace.tensors`."""
    bulk: bool
    """Whether it goes through a tensor descriptor (TMA)."""
    itemsize: int
    """Bytes of an element."""
    count: float
    """How often a program executes it."""
    burst: float
    """Length of the loop around it; 1 outside of loops."""
    lanes: int
    """Elements of one execution, masked ones too."""
    bytes: float
    """Bytes of the active lanes."""
    sectors: float
    """32-byte sectors of the warps' requests."""
    lines: float
    """Distinct 128-byte lines of each access, summed."""
    sharing: tuple[tuple[int, float], ...]
    """For 1, 2, 4, … consecutive programs, their distinct lines over the sum of theirs; empty for
    stores that use what they touch."""
    axes: tuple[tuple[int, tuple[int, ...] | None], ...] = ()
    """Of the block: how long each axis is, and bytes from its first element to those at 1, 2, 4, 8,
    …; None if the others do not follow from these."""
    starts: tuple[int, ...] = ()
    """Where in a line of memory the block begins, in bytes: some of the places seen."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that a launch was given, and how a program reads it."""

    bytes: int
    """Its size, or that of the storage that it is a view of."""
    distinct: float
    """Distinct lines that a program loads over all that it loads: below 1 if it reads again."""
    distance: float
    """Bytes that a program moves, on average, before it reads a line again."""
    sharing: tuple[tuple[int, float], ...] = ()
    """As `Site.sharing`, of all that several loads read of it; empty if only one does."""


@dataclass(frozen=True, slots=True)
class Dot:
    """Matrix products of one shape, per program."""

    line: int
    """Line of the answer."""
    m: int
    n: int
    k: int
    dtype: str
    """Triton's name of the operands' type: `bf16`, `fp16`, `fp32`, `int8`, …"""
    precision: str
    """`TF32`, `IEEE`, … for fp32 operands."""
    count: float

    @property
    def flops(self) -> float:
        """FLOPs per program."""
        return 2.0 * self.m * self.n * self.k * self.count


@dataclass(frozen=True, slots=True)
class LaunchTrace:
    """What the average program of one launch does."""

    index: int
    """Which launch of the call this is; equals `Build.index`."""
    kernel: str
    config: str
    """The autotuner's configuration; empty if the kernel is not autotuned."""
    grid: tuple[int, int, int]
    sampled: int
    """Programs that were followed."""
    note: str
    """Empty, or why the trace is incomplete."""
    tensors: tuple[Tensor, ...]
    """The tensors that the launch was given, in the order of its arguments."""
    sites: tuple[Site, ...]
    dots: tuple[Dot, ...]
    passes: tuple[tuple[int, float], ...]
    """Lines of the answer, and how often each was executed."""
    rounds: float
    """Groups of loads that can only start when an earlier group has arrived."""
    gathered: float
    """Cycles in which shared memory serves gathers within a program, bank conflicts included."""
    contended: float
    """Share of the launch's atomic operations that go to the cache line that most go to."""
    imbalance: float
    """Work of the heaviest program over the mean."""
    heaviest: float
    """Share of the programs that do at least half of that."""

    @property
    def programs(self) -> int:
        """Programs of the grid."""
        return self.grid[0] * self.grid[1] * self.grid[2]

    def record(self) -> dict[str, Any]:
        """The trace as plain JSON values."""
        return asdict(self)

    @classmethod
    def read(cls, record: dict[str, Any]) -> LaunchTrace:
        """The trace that `record` describes."""
        values = dict(record)
        values["grid"] = tuple(values["grid"])
        values["tensors"] = tuple(
            Tensor(**{**t, "sharing": tuple((int(n), float(r)) for n, r in t.get("sharing", ()))})
            for t in values["tensors"]
        )
        values["dots"] = tuple(Dot(**d) for d in values["dots"])
        values["passes"] = tuple((int(n), float(c)) for n, c in values["passes"])
        values["sites"] = tuple(
            Site(
                **{
                    **s,
                    "sharing": tuple((int(n), float(r)) for n, r in s["sharing"]),
                    "axes": tuple((int(n), far and tuple(far)) for n, far in s["axes"]),
                    "starts": tuple(s["starts"]),
                }
            )
            for s in values["sites"]
        )
        return cls(**values)
