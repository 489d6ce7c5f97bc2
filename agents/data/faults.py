"""Faults: a correct answer with one mistake, as people and models make them.

A fault is a pattern and what replaces it at one of the places where it matches. Whether the result
fails is for the evaluation to say: some mistakes are harmless at some places.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class _Change:
    pattern: re.Pattern[str]
    replacement: str


def _changes(*pairs: tuple[str, str]) -> tuple[_Change, ...]:
    return tuple(_Change(re.compile(p, re.MULTILINE), replacement) for p, replacement in pairs)


FAULTS: Mapping[str, Sequence[_Change]] = MappingProxyType(
    {
        "missing_mask": _changes((r", mask=\w+(?: < \w+)?", "")),
        "wrong_other": _changes(
            # Of a product both: one factor of 0 is enough.
            (r"other=0\.0\)(\n[^\n]*\n[^\n]*)other=0\.0\)", r"other=1.0)\1other=1.0)"),
            (r'float\("-inf"\)', "0.0"),
        ),
        "missing_where": _changes((r"^ *(\w+) = tl\.where\(\w+, \1, [^\n]*\n", "")),
        "off_by_one": _changes(
            (r"(mask = \w+ < )(n|cols)$", r"\1\2 - 1"),
            (r"range\(0, (cols|k), (\w+)\)", r"range(\2, \1, \2)"),
            (r"range\(tl\.program_id\(0\), (\w+),", r"range(tl.program_id(0) + 1, \1,"),
        ),
        "wrong_axis": _changes((r"axis=0", "axis=1"), (r"axis=1", "axis=0")),
        "wrong_broadcast": _changes((r"\[None, :\]", "[:, None]"), (r"\[:, None\]", "[None, :]")),
        "wrong_stride": _changes(
            (r"(row(?:\[:, None\])? \* )cols", r"\1(cols - 1)"),
            (r"(row\[:, None\] \* )k\b", r"\1cols"),
            (r" (%|//) cols", r" \1 n"),
        ),
        "missing_maximum": _changes(
            (r"tl\.exp\((\w+) - tl\.max\(\1, axis=\d(?:, keep_dims=True)?\)\)", r"tl.exp(\1)"),
            (r"total \* tl\.exp\(largest - larger\) \+", "total +"),
            (r"tl\.exp\((\w+) - larger\)", r"tl.exp(\1)"),
        ),
        "low_precision": _changes(
            (r"dtype=tl\.float32", "dtype=tl.float16"),
            (r"dtype=torch\.float32", "dtype=torch.float16"),
            (r"(tl\.load\(x_ptr[^\n]*\))$", r"\1.to(tl.float16)"),
        ),
        "wrong_grid": _changes(
            (r"triton\.cdiv\(([\w.]+(?:\(\))?), (\d+)\)", r"(\1 // \2)"),
            (r"\[\(rows,\)\]", "[(rows - 1,)]"),
            (r"\[\(rows,\)\]", "[(cols,)]"),
        ),
        "syntax": _changes((r"\)$", ""), (r"\):$", ")"), (r"^( +)return", r"\1 return")),
        "wrong_name": _changes(
            (r"mask=mask", "mask=valid"),
            (r"tl\.sigmoid\(", "tl.nn.sigmoid("),
            (r"tl\.rsqrt\(", "tl.inv_sqrt("),
            (r"tl\.maximum\(", "tl.max("),
            (r"tl\.arange\(", "tl.range("),
            (r"next_power_of_2", "next_power_of_two"),
            (r"tl\.program_id\(0\)", "tl.program_id()"),
            (r"^def (\w+)\(x(?=[,)])", r"def \1_fn(x"),
        ),
        "missing_return": _changes((r"^    return \w+\n(?!\n)", "")),
        "missing_step": _changes(
            (r"^ +(\w+) = (?!tl\.(?:load|where|dot)|values)[^\n]*\b\1\b[^\n]*\n", ""),
        ),
        "missing_argument": _changes((r"(\]\((?:x|tmp), )\w+, ", r"\1")),
        "swapped_arguments": _changes((r"(\]\()(\w+), (\w+),", r"\1\3, \2,")),
        "wrong_dtype": _changes(
            (r"torch\.empty_like\(x\)", "torch.empty_like(x, dtype=torch.float64)"),
            (r"dtype=x\.dtype", "dtype=torch.float64"),
        ),
        "wrong_operator": _changes(
            (r"^( +(\w+) = \2) \+ (?=\w)", r"\1 - "),
            (r"^( +(\w+) = \2) - (?=\w)", r"\1 + "),
            (r"^( +(\w+) = \2) \* (?=\w)", r"\1 + "),
            (r"tl\.maximum\(", "tl.minimum("),
            (r"tl\.minimum\(", "tl.maximum("),
            (r"0\.7071067811865476", "0.5"),
        ),
    }
)  # fmt: skip
"""What can go wrong, by name."""


def possible(source: str) -> tuple[str, ...]:
    """Names of the faults that have a place in a source."""
    return tuple(name for name, changes in FAULTS.items() if _places(source, changes))


def planted(source: str, name: str, rng: random.Random) -> str:
    """The source with a fault at one of its places.

    Raises:
        ValueError: it has none.
    """
    places = _places(source, FAULTS[name])
    if not places:
        raise ValueError(f"The source has no place for the fault {name!r}.")
    change, match = rng.choice(places)
    return source[: match.start()] + match.expand(change.replacement) + source[match.end() :]


def _places(source: str, changes: Sequence[_Change]) -> list[tuple[_Change, re.Match[str]]]:
    return [(change, match) for change in changes for match in change.pattern.finditer(source)]
