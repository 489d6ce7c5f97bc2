"""Bytes that a launch moves between L1, L2 and device memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from triton_gym.device import Gpu
from triton_gym.evaluation.simulate.launches import LaunchTrace, Site, Tensor
from triton_gym.evaluation.simulate.time_model.slices import SLICES, busiest_slice
from triton_gym.evaluation.simulate.tracing.footprint import LINE, SECTOR

_L1_BYTES = 256 << 10
"""L1 and shared memory of one multiprocessor together. Source: "H100 Architecture"."""
_L2_SHARE = 0.6
"""Share of L2 that data survives in until it is read again: its two halves each keep a copy of
what is read through the other. Source: "H100 Architecture"; the value is an estimate."""
_MERGED = 16
"""Programs whose requests may be merged on their way to L2: as many as a GPC of Hopper has
multiprocessors. Source: "H100 Architecture"."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of a whole launch."""

    l2_bytes: float
    """Between the multiprocessors and L2, by accesses that use most of the lines they touch."""
    scattered: float
    """Requests of the others: L2 serves 64 bytes at a time, however few are asked for."""
    dram_bytes: float
    """Between L2 and device memory."""
    written_bytes: float
    """Those of them that are written."""
    load_bytes: float
    """Loads of one program that miss L1."""
    miss: float
    """Share of loads that wait for device memory: programs that read the same at the same time all
    wait for it."""
    beyond: float
    """Share of a program's loads that L1 does not serve."""
    shared: float
    """Distinct lines that some neighbouring programs load over all that they load."""
    meeting: float
    """Share of the launch's atomic operations that go to the slice of L2 that most go to."""


def _shared_among(curve: Sequence[tuple[int, float]], programs: float) -> float:
    """Distinct lines of so many neighbouring programs over the sum of theirs.

    Args:
        curve: `Site.sharing` or `Tensor.sharing`.
        programs: how many.
    """
    if not curve or programs <= 1:
        return 1.0
    below = curve[0]
    for point in curve:
        if point[0] >= programs:
            span = point[0] - below[0]
            share = (programs - below[0]) / span if span else 1.0
            # Distinct lines grow linearly between two known numbers of programs.
            low, high = below[0] * below[1], point[0] * point[1]
            return (low + (high - low) * share) / programs
        below = point
    first, last = curve[max(len(curve) - 3, 0)], curve[-1]
    # Beyond what was traced the distinct lines keep growing as they last did.
    slope = (last[0] * last[1] - first[0] * first[1]) / max(last[0] - first[0], 1)
    return (last[0] * last[1] + slope * (programs - last[0])) / programs


def _apart(site: Site) -> float:
    """Share of an access that touches a single sector of a line at a time."""
    if site.bulk or not site.lines:
        return 0.0
    return min(max(2.0 - site.sectors / site.lines, 0.0), 1.0)


def l1_bytes(resident: int, shared_bytes: int) -> int:
    """What shared memory leaves of a multiprocessor's L1."""
    return max(_L1_BYTES - resident * (shared_bytes + 1024), 16 << 10)


def traffic(
    trace: LaunchTrace, gpu: Gpu, *, resident: int, shared_bytes: int, past_l1: Sequence[int] = ()
) -> Traffic:
    """What a launch moves.

    Args:
        trace: the launch.
        gpu: the device.
        resident: programs on one multiprocessor at a time.
        shared_bytes: shared memory of a program, which L1 goes without.
        past_l1: lines of the source whose loads L1 does not keep (`Code.past_l1`).
    """
    programs = trace.programs
    wave = min(programs, gpu.multiprocessors * resident)
    l1 = l1_bytes(resident, shared_bytes)
    l2_bytes = scattered = loaded = unserved = asking = asked = distinct = read = 0.0
    stored: dict[int, float] = {}
    fetched: dict[int, float] = {}
    first: dict[int, float] = {}
    again: dict[int, float] = {}
    for site in trace.sites:
        moved = site.sectors * SECTOR
        apart = _apart(site)
        if site.kind != "load":
            l2_bytes += moved * programs * (1 - apart)
            # Where a part of a sector is stored, L2 reads the rest and writes the whole.
            partly = 1 - min(site.bytes / moved, 1.0) if moved else 0.0
            scattered += site.sectors * apart * programs * (1 + partly)
            lines = site.lines * LINE * _shared_among(site.sharing, wave) if site.sharing else moved
            amount = min(moved, max(lines, site.bytes)) * programs
            stored[site.owner] = stored.get(site.owner, 0.0) + amount
            continue
        tensor = trace.tensors[site.owner] if site.owner >= 0 else _UNKNOWN
        asking += site.count
        unserved += site.count
        kept = not site.bulk and site.line not in past_l1
        if kept and resident * tensor.distance <= l1:
            new = _new_sectors(site, tensor)
            moved *= new
            unserved -= site.count * (1 - new)
        l2_bytes += moved * programs * (1 - apart)
        scattered += moved / SECTOR * apart * programs
        loaded += moved
        # A line that was fetched for one sector serves the others while it stays in L2.
        lines = min(site.lines * LINE, max(site.sectors * SECTOR, site.lines * SECTOR))
        asked += lines
        distinct += lines * _shared_among(site.sharing, min(wave, _MERGED))
        misses = lines * programs * _shared_among(site.sharing, wave)
        fetched[site.owner] = fetched.get(site.owner, 0.0) + misses
        again[site.owner] = again.get(site.owner, 0.0) + misses * (1 - tensor.distinct)
        if tensor.sharing:
            misses = min(misses, lines * programs * _shared_among(tensor.sharing, wave))
        first[site.owner] = first.get(site.owner, 0.0) + misses * tensor.distinct
    room = _L2_SHARE * gpu.l2_bytes
    # What L2 holds as a whole is written back once, however often it is stored to.
    written = sum(
        min(amount, trace.tensors[owner].bytes)
        if owner >= 0 and trace.tensors[owner].bytes <= room
        else amount
        for owner, amount in stored.items()
    )
    once = {o: min(_size(trace, o, m), m) for o, m in first.items()}
    working = sum(once.values()) + written
    later = min(1.0, room / working) if working else 1.0
    for owner in fetched:
        tensor = trace.tensors[owner] if owner >= 0 else _UNKNOWN
        # Read again by the same program: all that is resident has gone through L2 meanwhile.
        between = tensor.distance * wave
        soon = min(1.0, room / between) if between else 1.0
        read += once[owner] + (first[owner] - once[owner]) * (1 - later)
        read += again[owner] * (1 - soon)
    return Traffic(
        l2_bytes=l2_bytes,
        scattered=scattered,
        dram_bytes=read + written,
        written_bytes=written,
        load_bytes=loaded,
        miss=min(1.0, read / sum(fetched.values())) if read else 0.0,
        beyond=unserved / asking if asking else 1.0,
        shared=distinct / asked if asked else 1.0,
        meeting=_met(trace),
    )


def local_share(gpu: Gpu, per_unit: float, shared_bytes: float) -> float:
    """Share of the local memory in use that neither L1 nor L2 holds: device memory serves it.

    Args:
        gpu: the device.
        per_unit: bytes of local memory in use on each multiprocessor.
        shared_bytes: shared memory in use there, which L1 goes without.
    """
    near = max(_L1_BYTES - shared_bytes, 16 << 10)
    room = near * gpu.multiprocessors + _L2_SHARE * gpu.l2_bytes
    return max(1 - room / (per_unit * gpu.multiprocessors), 0.0) if per_unit else 0.0


def _new_sectors(site: Site, tensor: Tensor) -> float:
    """Share of an access's sectors that L1 has not: it fetches sectors, not lines."""
    lines = site.lines * tensor.distinct
    used = min(max(site.bytes / SECTOR, lines), lines * LINE / SECTOR)
    return min(max(used / site.sectors, tensor.distinct), 1.0) if site.sectors else tensor.distinct


def _met(trace: LaunchTrace) -> float:
    """Share of the atomic operations that the busiest slice of L2 does.

    Few programs were seen, which need not have met: no line has less than its part of the tensor.
    """
    atomics = [site for site in trace.sites if site.kind == "atomic"]
    everything = sum(site.bytes for site in atomics)
    if not everything:
        return 0.0
    evenly = 0.0
    for site in atomics:
        size = trace.tensors[site.owner].bytes if site.owner >= 0 else 0
        evenly = max(evenly, site.bytes / everything * min(LINE / size, 1.0) if size else 0.0)
    share = max(trace.contended, evenly)
    return busiest_slice(1 / share) if share else 1 / SLICES


_UNKNOWN = Tensor(bytes=0, distinct=1.0, distance=0.0)


def _size(trace: LaunchTrace, owner: int, misses: float) -> float:
    """Bytes of a tensor; what is read of it if that is not known."""
    return trace.tensors[owner].bytes if owner >= 0 else misses
