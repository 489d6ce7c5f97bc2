"""What instructions of compute capability 9.0 are called, by their bits.

Seen in kernels that Triton compiled, beside what `nvdisasm` prints of them. A modifier of these
instructions never changes their class (`sass.classify`), so it is left out, unless `sass` asks for
it: the width of an access, the shape of a matrix product. Those are in `_VARIANTS`, value by value.
"""

from __future__ import annotations

from triton_gym.evaluation.simulate.machine_code.cubin import UnknownCode

BRANCH = 0x947

SHARED = frozenset((0x984, 0x388, 0x988))
"""Loads from and stores to shared memory."""

_OPCODES = {
    "ATOMG": "3a8 3a9 9a3 9a8", "ATOMS": "f8c", "BAR": "b1d", "BREAK": "942", "BREV": "301",
    "BSSY": "945", "BSYNC": "941", "CALL": "944", "CCTL": "98f", "CGAERRBAR": "5ab", "CS2R": "805",
    "DADD": "229 429", "DEPBAR": "91a", "DFMA": "22b 42b 82b c2b e2b", "DMUL": "228 828 c28",
    "DSETP": "22a 42a e2a", "ELECT": "82f", "ERRBAR": "9ab", "EXIT": "94d", "F2F": "304 310",
    "F2FP": "23e", "F2I": "305 311", "FADD": "221 421 e21", "FCHK": "302", "FENCE": "3c6",
    "FFMA": "223 423 823 c23 e23", "FLO": "300", "FMNMX": "209 809", "FMUL": "220 820 c20",
    "FRND": "307 313", "FSEL": "208 808", "FSETP": "20b 80b", "HADD2": "230 430",
    "HFMA2": "231 235 435 835", "HMNMX2": "240 840", "HMUL2": "232 832", "HSETP2": "234 434",
    "I2F": "306 312 d06 d12", "I2FP": "245 c45", "IABS": "213 c13", "IADD3": "210 810 c10",
    "IMAD": "224 225 227 424 824 825 827 c24 c25 e24 e25", "ISETP": "20c 80c c0c", "LDC": "b82",
    "LDGDEPBAR": "9af", "LEA": "211 811 c11", "LOP3": "212 812 c12",
    "MOV": "202 802 c02", "MUFU": "308 908", "NOP": "918", "P2R": "803", "PLOP3": "81c",
    "POPC": "309", "PRMT": "216 416 816", "R2P": "804", "R2UR": "2ca", "REDG": "9a6",
    "REDUX": "3c4", "RET": "950", "S2R": "919", "S2UR": "9c3", "SEL": "207 807 c07", "SGXT": "81a",
    "SHF": "219 819", "SHFL": "589 989 f89", "SYNCS": "5a7 5b2 9a7 9b1", "UFLO": "2bd",
    "UIADD3": "290 297 890 897", "UIMAD": "2a4 2a5 8a4 8a5", "UISETP": "28c 88c", "ULDC": "ab9",
    "ULEA": "291 891", "ULOP3": "292 892", "UMOV": "882 c82", "UPLOP3": "89c", "UPOPC": "2bf",
    "UPRMT": "896", "USEL": "287 887", "USGXT": "89a", "USHF": "899", "UTMACCTL": "9b9",
    "UTMACMDFLUSH": "9b7", "UTMALDG": "5b4", "UTMAREDG": "3b6", "UTMASTG": "3b5", "VHMNMX": "247",
    "VIADD": "236 836 c36", "VIADDMNMX": "446 846 c46 e46", "VIMNMX": "248 848 c48",
    "VIMNMX3": "20f", "VOTEU": "886", "WARPSYNC": "948",
}  # fmt: skip
"""Opcodes in hexadecimal by name; several where operands may be of several kinds."""

NAMES = {
    BRANCH: "BRA",
    **{int(code, 16): name for name, codes in _OPCODES.items() for code in codes.split()},
}
"""Names by opcode, where no modifier matters."""

_WIDTHS = {0: "U8", 1: "S8", 2: "U16", 3: "S16", 4: "32", 5: "64", 6: "128"}
_COPIED = {4: "32", 5: "64", 6: "128"}
_MATRICES = {0: "16.M88", 1: "16.M88.2", 2: "16.M88.4"}


def _access(name: str, first: int, widths: dict[int, str]) -> tuple[int, dict[int, str]]:
    """The bits of a width from bit `first` on, and the names for their values."""
    return 7 << first, {value << first: f"{name}.{width}" for value, width in widths.items()}


def _global(name: str) -> tuple[int, dict[int, str]]:
    """The same where another bit is set: addresses have 64 bits."""
    mask, names = _access(f"{name}.E", 73, _WIDTHS)
    return mask | 1 << 72, {value | 1 << 72: width for value, width in names.items()}


def _loads() -> tuple[int, dict[int, str]]:
    """Global loads, of constants too, which the compiler makes of tables of CUDA's own."""
    mask, names = _global("LDG")
    constant = {
        value | 1 << 79: name.replace("LDG.E", "LDG.E.CONSTANT") for value, name in names.items()
    }
    return mask | 1 << 79, {**names, **constant}


def _matrices(name: str, mask: int) -> tuple[int, dict[int, str]]:
    return mask, {value << 72: f"{name}.{count}" for value, count in _MATRICES.items()}


_WGMMA = (
    1 << 73 | 0x7F << 53,
    {
        (tf32 << 5 | n - 1) << 53: f"HGMMA.64x{8 * n}x{8 if tf32 else 16}"
        for n in range(1, 33)
        for tf32 in (0, 1)
    },
)
_DRAINS = {1 << 80 | n << 72: f"WARPGROUP.DEPBAR.LE.{n}" for n in range(8)}
"""Waits until so many products are under way at most."""
_VARIANTS = {
    0x981: _loads(),
    0x986: _global("STG"),
    0x983: _access("LDL", 73, _WIDTHS),
    0x387: _access("STL", 73, _WIDTHS),
    0x984: _access("LDS", 73, _WIDTHS),
    0x388: _access("STS", 73, _WIDTHS),
    0x988: _access("STS", 73, _WIDTHS),
    0xFAE: _access("LDGSTS.E", 73, _COPIED),
    0x83B: _matrices("LDSM", 3 << 72),
    0x844: _matrices("STSM", 0xB << 72),
    0x992: (7 << 76, {0: "MEMBAR.CTA", 2 << 76: "MEMBAR.GPU", 3 << 76: "MEMBAR.SYS"}),
    0x23C: (1 << 73 | 1 << 75 | 1 << 78, {0: "HMMA.1688", 1 << 75: "HMMA.16816"}),
    0x9C5: (1 << 80 | 7 << 72, {0: "WARPGROUP.ARRIVE", **_DRAINS}),
    0x9F0: _WGMMA,
    0xDF0: _WGMMA,
}
"""By opcode, the bits of the modifiers that matter, and names by their values."""


def variant(code: int, word: int) -> str:
    """The name of an instruction whose modifiers matter, with those.

    Raises:
        UnknownCode: it was not seen.
    """
    mask, names = _VARIANTS.get(code, (0, {}))
    name = names.get(word & mask)
    if name is None:
        raise UnknownCode(f"instruction {word:#034x}")
    return name
