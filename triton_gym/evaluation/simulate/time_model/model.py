"""How long a call takes: an analytical model of a Hopper GPU, launch by launch.

The programs of a launch share their multiprocessors as customers share the stations of a closed
queueing network: each waits for its own chain of loads and instructions, and queues for the units
and for the memory. Programs with matrix products run loads and products side by side and in step
with each other. Beside all that, device memory and L2 need bytes over bandwidth. What follows
from a data sheet or a paper stands where it is used; the rest is in `constants`.

Sources: Volkov, "Understanding Latency Hiding on GPUs" (2016); the roofline model (Williams et
al., CACM 52(4), 2009). The model is meant to rank kernels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from triton_gym.device import Gpu
from triton_gym.evaluation.simulate.launches import LaunchTrace
from triton_gym.evaluation.simulate.machine_code.build import Build
from triton_gym.evaluation.simulate.time_model.confidence import doubts_of, interval
from triton_gym.evaluation.simulate.time_model.constants import (
    CONSTANTS,
    FIRST_READ_US,
    NEXT_READ_US,
    Constants,
)
from triton_gym.evaluation.simulate.time_model.waves import Launch, launch_time


@dataclass(frozen=True, slots=True)
class Estimate:
    """The modelled time of one call."""

    us: float
    """Microseconds."""
    bound: str
    """`memory`, `compute` or `launch`."""
    low_us: float
    """Lower end of the 90% interval: nine of ten measured times are to lie between the ends…"""
    high_us: float
    """…and this is the upper one. See `confidence`."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Microseconds that each resource alone would need, all launches together: `launch`,
    `dram`, `l2`, `pipes` (the busiest unit of the multiprocessors), `latency` (the programs'
    own chains of loads and instructions); `copies`, if PyTorch copies or fills memory for it;
    `reads`, if host code looks at values."""
    rests_on: Mapping[str, float] = field(default_factory=dict)
    """Shares of the time by what the model knows more or less about: `confidence.WEIGHTS`."""
    registers: int = 0
    """Registers a thread of the heaviest kernel."""
    spills: int = 0
    """Spilled bytes a thread of the heaviest kernel."""
    shared_bytes: int = 0
    """Shared memory a program of the heaviest kernel."""
    notes: tuple[str, ...] = ()
    """What the model could not see."""
    configs: tuple[tuple[int, str], ...] = ()
    """Each launch's index with the configuration that counts."""
    coverage: float = 1.0
    """Share of the time that is not spent in PyTorch's copies and fills."""

    def describe(self) -> str:
        """One sentence of feedback."""
        shares = ", ".join(f"{name} {us:.1f}" for name, us in self.parts.items())
        notes = "".join(f" Note: {note}." for note in self.notes)
        return (
            f"Simulated: {self.us:.1f} us (90% interval {self.low_us:.1f} to {self.high_us:.1f}), "
            f"bound by {self.bound} (each alone, in us: {shares})." + notes
        )


def estimate(
    builds: Sequence[Build],
    traces: Sequence[LaunchTrace],
    gpu: Gpu,
    constants: Constants = CONSTANTS,
    *,
    moves: Sequence[float] = (),
    reads: int = 0,
) -> Estimate:
    """The time of one call: its launches one after the other, and what PyTorch moves beside them.

    Of an autotuned launch the fastest configuration counts, as it would be chosen.

    Args:
        builds: what `build` returned.
        traces: what `trace` returned for the same call.
        gpu: the device, the one that `builds` are for.
        constants: the model's constants.
        moves: microseconds of PyTorch's kernels that copy or set memory.
        reads: how often host code looks at values, and waits for the device.
    """
    known = {(t.index, t.config): t for t in traces}
    best: dict[int, tuple[Launch, Build]] = {}
    notes = [f"{t.kernel}: {t.note}" for t in traces if t.note]
    for built in builds:
        followed = known.get((built.index, built.config))
        if followed is None:
            notes.append(f"{built.kernel}: launch {built.index} was not traced")
            continue
        found = launch_time(built, followed, gpu, constants)
        if built.index not in best or found.us < best[built.index][0].us:
            best[built.index] = (found, built)
    launches = [best[index][0] for index in sorted(best)]
    chosen = [built for _, built in best.values()]
    overhead = constants.launch_us + constants.next_launch_us * max(len(launches) - 1, 0)
    parts = {
        "launch": overhead,
        "dram": sum(x.dram_us for x in launches),
        "l2": sum(x.l2_us for x in launches),
        "pipes": sum(x.pipes_us for x in launches),
        "latency": sum(x.latency_us for x in launches),
    }
    copying = sum(constants.next_launch_us + us for us in moves)
    if copying:
        parts["copies"] = copying
    waiting = FIRST_READ_US + NEXT_READ_US * (reads - 1) if reads else 0.0
    if waiting:
        parts["reads"] = waiting
    work = sum(x.us for x in launches) + copying + waiting
    rests_on = _rests_on(launches, overhead, copying, waiting)
    low_us, high_us = interval(overhead + work, rests_on, unknown=bool(notes))
    return Estimate(
        us=overhead + work,
        low_us=low_us,
        high_us=high_us,
        bound=_bound(parts),
        rests_on=rests_on,
        parts=parts,
        registers=max((b.registers for b in chosen), default=0),
        spills=max((b.spill_bytes for b in chosen), default=0),
        shared_bytes=max((b.shared_bytes for b in chosen), default=0),
        notes=tuple(dict.fromkeys(notes)),
        configs=tuple((index, best[index][1].config) for index in sorted(best)),
        coverage=1.0 - copying / (overhead + work),
    )


def _rests_on(
    launches: Sequence[Launch], overhead: float, copying: float, waiting: float
) -> Mapping[str, float]:
    """Shares of a call's time by what is known more or less well of it."""
    total = sum(x.us for x in launches) + overhead + copying + waiting
    found = {"overhead": overhead / total, "copies": copying / total, "reads": waiting / total}
    for launch in launches:
        for name, share in doubts_of(launch.doubts).items():
            found[name] = found.get(name, 0.0) + share * launch.us / total
    return found


def _bound(parts: Mapping[str, float]) -> str:
    """Which kind of resource a call waits for most. Where host code looks at values it is the host,
    as with launches."""
    host = parts["launch"] + parts.get("reads", 0.0)
    memory = max(parts["dram"] + parts.get("copies", 0.0), parts["l2"])
    if host >= max(memory, parts["pipes"], parts["latency"]):
        return "launch"
    return "memory" if memory >= parts["pipes"] else "compute"
