"""Reads machine code: the instruction mix of every loop of a kernel."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from triton_gym.evaluation.simulate.machine_code.banks import conflicts
from triton_gym.evaluation.simulate.machine_code.overlap import DRAIN, lateness
from triton_gym.evaluation.simulate.machine_code.schedule import PLAIN, Crossing, Slot, timing

_HGMMA = re.compile(r"HGMMA\.(\d+)x(\d+)x(\d+)|[IQ]GMMA\.(\d+)x(\d+)x(\d+)")
_MMA = re.compile(r"[HIDQ]MMA\.(16|8)(8)(\d+)")

_CLASSES: tuple[tuple[str, str], ...] = (
    ("wgmma", r"[HIQ]GMMA"),
    ("mma", r"[HIDQ]MMA"),
    ("tma_load", r"UTMALDG|UBLKCP"),
    ("tma_store", r"UTMASTG|UTMAREDG"),
    ("copy", r"LDGSTS"),
    ("load", r"LDG(?!DEPBAR)|LD\.|LD$"),
    ("store", r"STG|ST\.E|ST$"),
    ("atomic_shared", r"ATOMS"),
    ("atomic", r"ATOM|RED(?!UX)"),
    ("spill_load", r"LDL"),
    ("spill_store", r"STL"),
    ("matrix_shared", r"LDSM|STSM"),
    ("load_shared", r"LDS"),
    ("store_shared", r"STS"),
    ("barrier", r"BAR"),
    ("fence", r"MEMBAR.*(?:GPU|SYS)"),
    ("wait", r"SYNCS|DEPBAR|LDGDEPBAR|WARPGROUP|WARPSYNC|MEMBAR|FENCE|ERRBAR"),
    ("shuffle", r"SHFL|REDUX|VOTE|MATCH"),
    ("special", r"MUFU"),
    ("convert", r"F2F(?!P)|F2I|I2F|FRND|I2I|F2IP|I2IP"),
    ("double", r"D(?:ADD|MUL|FMA|SETP)"),
    ("float", r"F(?:ADD|MUL|FMA|SWZADD)|H(?:ADD|MUL|FMA)"),
    ("multiply", r"IMAD|XMAD|IDP"),
    ("branch", r"BRA|EXIT|CALL|RET|BSSY|BSYNC|BREAK|NOP|JMP|BRX"),
    ("uniform", r"U[A-Z]|R2UR|S2UR"),
)
"""Instruction classes, the first match counts; everything else is `logic`.

Source: CUDA Binary Utilities, "Instruction Set Reference", Hopper.
"""
_COMPILED = tuple((name, re.compile(pattern)) for name, pattern in _CLASSES)


@dataclass(frozen=True, slots=True)
class Region:
    """A loop, a part of a loop that some iterations skip, or the code outside all loops."""

    kind: str
    """`body`, `loop`, `branch`, or `rare`: what CUDA's own functions do for huge arguments."""
    parent: int
    """Index of the region around it; -1 for the body."""
    start: int
    """Address of its first instruction."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Instructions by class, without those of regions inside it."""
    load_bytes: int = 0
    """Bytes that one warp's global loads move in one pass."""
    store_bytes: int = 0
    """Bytes that one warp's global stores move in one pass."""
    spill_bytes: int = 0
    """Bytes that one warp's local loads and stores move in one pass."""
    shared_bytes: int = 0
    """Bytes that one warp's shared loads and stores move in one pass."""
    mma_flops: int = 0
    """FLOPs that one warp's matrix instructions do in one pass."""
    accesses: tuple[tuple[str, int, int], ...] = ()
    """Global accesses: `load` or `store`, line of the source, bytes that one warp moves."""
    products: tuple[tuple[str, int, int], ...] = ()
    """Matrix instructions: name, line of the source, FLOPs that one warp does."""
    lines: tuple[tuple[int, int], ...] = ()
    """Lines of the source, with how many instructions stand for each."""
    mix: tuple[tuple[int, str, int], ...] = ()
    """Lines of the source with classes of instructions, and how many stand for each."""
    issued: tuple[tuple[str, int, int], ...] = ()
    """The instructions behind `accesses`: `load` or `store`, line of the source, how many."""
    narrow: int = 0
    """Stores of a word or less into shared memory, and asynchronous copies of a single word: so
    blocks are laid there across the order in which threads hold them, if they are."""
    drains: int = 0
    """Waits until no asynchronous product is under way."""
    late: float = 0.0
    """When in a pass it issues asynchronous loads, as a share of the pass."""
    closing: int = 0
    """Line of the last instruction: of a loop, the branch back."""
    cycles: float = 0.0
    """Cycles that one warp takes for a pass, if nothing else is there (`schedule.timing`)."""
    waits: float = 0.0
    """How many global loads in a row it waits for."""
    conflicts: float = 0.0
    """Cycles that shared memory takes longer for one warp's accesses, since lanes meet in banks."""
    splits: int = 0
    """Branches over stores into shared memory, which some lanes of a warp do and others do not."""


@dataclass(frozen=True, slots=True)
class Code:
    """The machine code of a kernel."""

    regions: tuple[Region, ...]
    """The body first; every region after the one that holds it."""
    mma: str = ""
    """The widest matrix instruction, as `HGMMA.64x256x16` or `HMMA.16816`."""
    load_width: int = 0
    """Bytes a thread of the widest global load."""
    store_width: int = 0
    """Bytes a thread of the widest global store."""
    past_l1: tuple[int, ...] = ()
    """Lines of the source whose asynchronous copies L1 does not keep: Triton asks for that where
    they are 16 bytes wide, the only width that may. Source: PTX ISA, `cp.async.cg`."""

    def static(self, name: str) -> int:
        """Instructions of a class anywhere in the code."""
        return sum(region.counts.get(name, 0) for region in self.regions)

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Code:
        """The code that a JSON record describes."""
        regions = tuple(
            Region(
                **{
                    **r,
                    "accesses": tuple((str(k), int(n), int(b)) for k, n, b in r["accesses"]),
                    "products": tuple((str(k), int(n), int(b)) for k, n, b in r["products"]),
                    "lines": tuple((int(n), int(c)) for n, c in r["lines"]),
                    "mix": tuple((int(n), str(g), int(c)) for n, g, c in r["mix"]),
                    "issued": tuple((str(k), int(n), int(c)) for k, n, c in r["issued"]),
                }
            )
            for r in record["regions"]
        )
        past = tuple(int(n) for n in record["past_l1"])
        return cls(**{**record, "regions": regions, "past_l1": past})


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction, as far as anything follows from it here."""

    address: int
    guarded: bool
    """Whether a predicate decides if it is executed."""
    name: str
    """With its modifiers, e.g. `LDG.E.128`; those that no function here asks for may be missing."""
    line: int
    """Of the source."""
    goal: int | None = None
    """Where a branch goes, if that is in the same kernel."""
    slot: Slot = PLAIN
    """What the scheduler was told of it."""
    place: tuple[int, int] | None = None
    """Where in shared memory it loads or stores: a register, and bytes beyond what that holds."""


@cache
def classify(name: str) -> str:
    """The class of an instruction by its full name, e.g. `LDG.E.128` → `load`."""
    for group, pattern in _COMPILED:
        if pattern.match(name):
            return group
    return "logic"


@cache
def width(name: str) -> int:
    """Bytes that a memory instruction moves for one thread."""
    for part in name.split(".")[1:]:
        if part in ("64", "128"):
            return int(part) // 8
        if part in ("U8", "S8"):
            return 1
        if part in ("U16", "S16"):
            return 2
    return 4


def mma_flops(name: str) -> int:
    """FLOPs of a matrix instruction, as the share of one warp."""
    found = _HGMMA.match(name)
    if found:
        m, n, k = (int(x) for x in found.groups() if x)
        return 2 * m * n * k // 4  # four warps do it together
    found = _MMA.match(name)
    if found:
        return 2 * int(found[1]) * 8 * int(found[3])  # 1688, 16816, 16832, 884: m, n 8 and k
    return 0


def code_of(instructions: Sequence[Instruction]) -> Code:
    """The code that instructions make, in the order of their addresses."""
    kept = list(instructions)
    branches = [(each, each.goal) for each in kept if each.goal is not None]
    while kept and kept[-1].name in ("NOP", "BRA"):
        if kept[-1].goal not in (None, kept[-1].address):
            break
        kept.pop()  # padding after the end: a branch to itself
    return _collect(kept, _spans(kept, branches))


def _collect(instructions: list[Instruction], spans: list[tuple[int, int, str]]) -> Code:
    """The instructions of each part of the code, added up."""
    collected: list[dict[str, Any]] = [
        {"counts": Counter(), "load_bytes": 0, "store_bytes": 0, "spill_bytes": 0,
         "shared_bytes": 0, "mma_flops": 0, "accesses": Counter(), "products": Counter(),
         "lines": Counter(), "mix": Counter(), "issued": Counter(), "narrow": 0, "drains": 0,
         "closing": 0, "splits": 0}
        for _ in spans
    ]  # fmt: skip
    widest: dict[str, int] = {"load": 0, "store": 0}
    best_mma, best_flops = "", 0
    past: set[int] = set()
    homes = _homes(instructions, spans)
    parted = _parted(instructions)
    for each, home in zip(instructions, homes, strict=True):
        group = classify(each.name)
        region = collected[home]
        region["counts"][group] += 1
        region["lines"][each.line] += 1
        region["closing"] = each.line
        region["drains"] += each.name == DRAIN
        region["splits"] += each.address in parted
        region["mix"][each.line, group] += 1
        moved = 32 * width(each.name)
        if (group, moved) == ("copy", 128) or (group == "store_shared" and moved <= 128):
            region["narrow"] += 1
        if group in ("load", "copy", "store"):
            key = "store" if group == "store" else "load"
            region[key + "_bytes"] += moved
            region["accesses"][key, each.line] += moved
            region["issued"][key, each.line] += 1
            widest[key] = max(widest[key], moved // 32)
            if (group, moved) == ("copy", 32 * 16):
                past.add(each.line)
        elif group in ("spill_load", "spill_store"):
            region["spill_bytes"] += moved
        elif group in ("load_shared", "store_shared", "matrix_shared"):
            matrices = 4 if ".4" in each.name or "M88.4" in each.name else 1
            region["shared_bytes"] += 128 * matrices if group == "matrix_shared" else moved
        elif group in ("mma", "wgmma"):
            flops = mma_flops(each.name)
            region["mma_flops"] += flops
            region["products"][".".join(each.name.split(".")[:2]), each.line] += flops
            if flops > best_flops:
                best_mma, best_flops = ".".join(each.name.split(".")[:2]), flops
    regions = []
    parents = _parents(spans)
    stretches = _stretches(instructions, homes, parents)
    skipped = _skipped(instructions)
    meetings = conflicts(
        (home, classify(each.name) == "store_shared", width(each.name), each.place)
        for each, home in zip(instructions, homes, strict=True)
        if classify(each.name) == "barrier"
        or (each.place is not None and not each.guarded and each.address not in skipped)
    )
    late = lateness(
        (home, classify(each.name), each.name, each.slot.stall)
        for each, home in zip(instructions, homes, strict=True)
    )
    for i, (start, _, kind) in enumerate(spans):
        collected[i]["counts"] = dict(collected[i]["counts"])
        collected[i]["accesses"] = tuple(
            (key, line, moved) for (key, line), moved in sorted(collected[i]["accesses"].items())
        )
        collected[i]["products"] = tuple(
            (name, line, flops) for (name, line), flops in sorted(collected[i]["products"].items())
        )
        collected[i]["issued"] = tuple(
            (key, line, number) for (key, line), number in sorted(collected[i]["issued"].items())
        )
        collected[i]["lines"] = tuple(sorted(collected[i]["lines"].items()))
        collected[i]["mix"] = tuple(
            (line, group, number) for (line, group), number in sorted(collected[i]["mix"].items())
        )
        cycles, waits = timing(stretches[i], repeats=kind == "loop")
        regions.append(
            Region(
                kind=kind, parent=parents[i], start=start, cycles=cycles, waits=waits,
                conflicts=meetings.get(i, 0.0), late=late.get(i, 0.0),
                **collected[i],
            )
        )  # fmt: skip
    return Code(
        tuple(regions), best_mma, widest["load"], widest["store"], tuple(sorted(past))
    )  # fmt: skip


def _skipped(instructions: Sequence[Instruction]) -> set[int]:
    """Addresses of instructions that a branch over a few of them guards as a predicate would."""
    found: set[int] = set()
    for each in instructions:
        if _skips_few(each):
            found.update(range(each.address + 16, each.goal or 0, 16))
    return found


def _parted(instructions: Sequence[Instruction]) -> set[int]:
    """Addresses of branches over a few instructions that store into shared memory.

    Masks mostly hold for all lanes of a warp, but results of a reduction are some lanes' to store.
    """
    found = set()
    for i, each in enumerate(instructions):
        if _skips_few(each):
            over = instructions[i + 1 : i + ((each.goal or 0) - each.address) // 16]
            if any(classify(other.name) == "store_shared" for other in over):
                found.add(each.address)
    return found


def _skips_few(each: Instruction) -> bool:
    """Whether it is a branch over a few instructions."""
    goal = each.goal
    return each.guarded and goal is not None and 0 < goal - each.address <= _FEW * 16


def _parents(spans: list[tuple[int, int, str]]) -> list[int]:
    """Index of the innermost span around each; -1 for the first."""
    parents = []
    for i, (start, end, _) in enumerate(spans):
        around = [j for j, (s, e, _) in enumerate(spans[:i]) if s <= start and e >= end]
        parents.append(max(around, key=lambda j: (spans[j][0], -spans[j][1]), default=-1))
    return parents


def _stretches(
    instructions: list[Instruction], homes: list[int], parents: list[int]
) -> list[list[tuple[str, Slot] | Crossing]]:
    """For each span its own instructions in order, and where spans inside it are crossed."""
    found: list[list[tuple[str, Slot] | Crossing]] = [[] for _ in parents]
    crossed = [0] * len(parents)
    for each, home in zip(instructions, homes, strict=True):
        if crossed[home]:
            found[home].append(Crossing(crossed[home]))
            crossed[home] = 0
        found[home].append((classify(each.name), each.slot))
        outer = parents[home]
        while outer >= 0 and each.slot.waits:
            crossed[outer] |= each.slot.waits
            outer = parents[outer]
    return found


def _homes(instructions: list[Instruction], spans: list[tuple[int, int, str]]) -> list[int]:
    """Index of the innermost span around each instruction."""
    addresses = [each.address for each in instructions]
    homes = [0] * len(addresses)
    for index, (start, end, _) in enumerate(spans):  # those inside come after those around
        if index and spans[index - 1][:2] == (start, end):
            continue  # of equal ones the first counts
        first, last = bisect_left(addresses, start), bisect_right(addresses, end)
        homes[first:last] = [index] * (last - first)
    return homes


def _rare(
    instructions: list[Instruction], forward: list[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """Address ranges that ordinary arguments skip.

    Sines and cosines of more than 105,615 are reduced with a table of the digits of 2/π. Triton
    itself loads nothing as a constant.
    """
    for each in instructions:
        if "CONSTANT" in each.name:
            around = [(s, e) for s, e in forward if s <= each.address <= e]
            if around:
                yield min(around, key=lambda span: span[1] - span[0])


_FEW = 12
"""Instructions between which a branch is no more than a predicate."""
_OUTER = ("body", "rare", "loop", "branch")
"""Kinds of ranges, from the outside inwards."""


def _spans(
    instructions: list[Instruction], branches: list[tuple[Instruction, int]]
) -> list[tuple[int, int, str]]:
    """Address ranges of the body, the loops, and the parts that are or may be skipped."""
    last = instructions[-1].address if instructions else 0
    loops: dict[int, int] = {}
    forward = []
    ends = [e.address for e in instructions if e.name == "EXIT" and not e.guarded]
    left = {each.address: goal for each, goal in branches if each.guarded}
    for each, goal in branches:
        # What waits for a barrier stands behind the end, and goes back to where it was left.
        aside = not each.guarded and (
            any(goal < end < each.address for end in ends)
            or goal < left.get(goal - 16, 0) <= each.address
        )
        if goal <= each.address <= last and not aside:
            loops[goal] = max(loops.get(goal, 0), each.address)
        elif each.guarded:
            forward.append((each.address + 16, goal - 16))
    # A loop of a few instructions that waits polls a barrier; one of a single one is padding.
    polls = [each.address for each in instructions if classify(each.name) == "wait"]
    kept = {
        s: e
        for s, e in loops.items()
        if e > s and (e - s >= 5 * 16 or not any(s <= at <= e for at in polls))
    }
    spans = [(0, last, "body"), *((s, e, "loop") for s, e in kept.items())]
    spans += [(*span, "rare") for span in _rare(instructions, forward)]
    for start, end in forward:
        inside = any(s <= start and end <= e for s, e in kept.items())
        crossing = any(s < start <= e < end or start < s <= end < e for s, e, _ in spans)
        if inside and not crossing and end - start >= _FEW * 16:
            spans.append((start, end, "branch"))
    # Of equal ranges the outer one comes first: sets have no order of their own.
    return sorted(set(spans), key=lambda span: (span[0], -span[1], _OUTER.index(span[2])))
