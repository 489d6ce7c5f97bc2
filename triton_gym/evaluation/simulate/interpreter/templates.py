"""What single operations of TTIR are in Python, for blocks and for single values."""

from __future__ import annotations

BLOCKS: dict[str, str] = {
    "arith.addi": "{0} + {1}", "arith.subi": "{0} - {1}", "arith.muli": "{0} * {1}",
    "arith.andi": "{0} & {1}", "arith.ori": "{0} | {1}", "arith.xori": "{0} ^ {1}",
    "arith.shli": "shift_left({0}, {1})", "arith.shrsi": "shift_right({0}, {1})",
    "arith.shrui": "unsigned(shift_right, {0}, {1})",
    "arith.divsi": "divide({0}, {1})", "arith.remsi": "modulo({0}, {1})",
    "arith.divui": "unsigned(divide, {0}, {1})", "arith.remui": "unsigned(modulo, {0}, {1})",
    "arith.minsi": "np.minimum({0}, {1})", "arith.maxsi": "np.maximum({0}, {1})",
    "arith.minui": "unsigned(np.minimum, {0}, {1})",
    "arith.maxui": "unsigned(np.maximum, {0}, {1})",
    "arith.addf": "{0} + {1}", "arith.subf": "{0} - {1}", "arith.mulf": "{0} * {1}",
    "arith.divf": "{0} / {1}", "arith.remf": "np.fmod({0}, {1})", "arith.negf": "-{0}",
    "arith.minnumf": "np.fmin({0}, {1})", "arith.maxnumf": "np.fmax({0}, {1})",
    "arith.minimumf": "np.minimum({0}, {1})", "arith.maximumf": "np.maximum({0}, {1})",
    "arith.select": "choose({0}, {1}, {2})",
    "math.exp": "np.exp({0})", "math.exp2": "np.exp2({0})", "math.log": "np.log({0})",
    "math.log2": "np.log2({0})", "math.sin": "np.sin({0})", "math.cos": "np.cos({0})",
    "math.sqrt": "np.sqrt({0})", "math.rsqrt": "rsqrt({0})", "math.erf": "erf({0})",
    "math.tanh": "np.tanh({0})", "math.log1p": "np.log1p({0})", "math.expm1": "np.expm1({0})",
    "math.floor": "np.floor({0})", "math.ceil": "np.ceil({0})", "math.absf": "np.abs({0})",
    "math.absi": "np.abs({0})", "math.fma": "{0} * {1} + {2}", "math.trunc": "np.trunc({0})",
    "math.round": "np.round({0})", "math.roundeven": "np.rint({0})",
    "math.ctpop": "bits_set({0})",
    "tt.precise_sqrt": "np.sqrt({0})", "tt.precise_divf": "{0} / {1}",
    "tt.mulhiui": "multiply_high({0}, {1})",
}  # fmt: skip
"""Operations on blocks of one type, and on single floats."""
SINGLES: dict[str, str] = {
    "arith.addi": "w{b}({0} + {1})", "arith.subi": "w{b}({0} - {1})",
    "arith.muli": "w{b}({0} * {1})", "arith.andi": "{0} & {1}", "arith.ori": "{0} | {1}",
    "arith.xori": "{0} ^ {1}", "arith.shli": "w{b}({0} << min({1} & {m}, {b}))",
    "arith.shrsi": "{0} >> min({1} & {m}, {b})",
    "arith.shrui": "w{b}(({0} & {m}) >> min({1} & {m}, {b}))",
    "arith.divsi": "w{b}(quotient({0}, {1}))", "arith.remsi": "remainder({0}, {1})",
    "arith.divui": "w{b}(quotient({0} & {m}, {1} & {m}))",
    "arith.remui": "w{b}(remainder({0} & {m}, {1} & {m}))",
    "arith.minsi": "min({0}, {1})", "arith.maxsi": "max({0}, {1})",
    "arith.minui": "w{b}(min({0} & {m}, {1} & {m}))",
    "arith.maxui": "w{b}(max({0} & {m}, {1} & {m}))",
    "arith.ceildivsi": "w{b}(-(-{0} // {1}) if {1} else -1)",
    "arith.select": "({1} if {0} else {2})", "math.absi": "w{b}(abs({0}))",
    "tt.mulhiui": "w{b}((({0} & {m}) * ({1} & {m})) >> {b})",
    "math.ctpop": "({0} & {m}).bit_count()",
}  # fmt: skip
"""Operations on single integers of `b` bits, of which `m` is the mask."""
ORDERED = {
    "oeq": "{0} == {1}", "ogt": "{0} > {1}", "oge": "{0} >= {1}", "olt": "{0} < {1}",
    "ole": "{0} <= {1}", "one": "({0} < {1}) | ({0} > {1})",
    "ord": "({0} == {0}) & ({1} == {1})", "ueq": "np.logical_not(({0} < {1}) | ({0} > {1}))",
    "ugt": "np.logical_not({0} <= {1})", "uge": "np.logical_not({0} < {1})",
    "ult": "np.logical_not({0} >= {1})", "ule": "np.logical_not({0} > {1})",
    "une": "{0} != {1}", "uno": "({0} != {0}) | ({1} != {1})",
}  # fmt: skip
"""Comparisons of floats."""
COMPARED = {
    "eq": "==", "ne": "!=", "slt": "<", "sle": "<=", "sgt": ">", "sge": ">=",
    "ult": "<", "ule": "<=", "ugt": ">", "uge": ">=",
}  # fmt: skip
"""Comparisons of integers."""
FLOAT = frozenset(n for n in BLOCKS if n.endswith("f")) | {"arith.select", "math.fma"}
SPECIAL = frozenset(n for n in BLOCKS if n.startswith("math.") and n not in FLOAT) | {
    "arith.divf", "tt.precise_sqrt", "tt.precise_divf",
}  # fmt: skip
"""Operations by the class under which a trace counts them; all others count as integer."""
CONVERTED = {
    "arith.extsi": "sext", "arith.extui": "zext", "arith.trunci": "trunc",
    "arith.sitofp": "signed", "arith.uitofp": "unsigned", "arith.fptosi": "signed",
    "arith.fptoui": "unsigned", "arith.extf": "float", "arith.truncf": "float",
    "tt.fp_to_fp": "float", "arith.index_cast": "sext", "arith.index_castui": "zext",
}  # fmt: skip
"""Conversions, and how they take a value."""
