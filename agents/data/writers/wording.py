"""Names and documentation: the same answer as different people would write it."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

from triton_gym.composition.plain import Subject
from triton_gym.composition.reference import english

VOCABULARIES: tuple[Mapping[str, str], ...] = (
    {},
    {"i": "offsets", "col": "offsets", "t": "value", "BLOCK": "BLOCK_SIZE", "BM": "BLOCK_M",
     "BN": "BLOCK_N", "BK": "BLOCK_K"},
    {"i": "offs", "col": "offs", "t": "acc", "out": "result", "block": "size"},
)  # fmt: skip
"""Names in place of those that the writers use. None is a parameter of any graph."""
_DOCUMENTED = 0.15
"""Share of answers with a docstring."""
_RENAMED_KERNEL = 0.5
"""Share of answers whose kernel is not named after the function."""


def worded(source: str, subject: Subject, rng: random.Random) -> str:
    """The source with other names and perhaps a docstring."""
    names = rng.choices(VOCABULARIES, (3, 1, 1))[0]
    source = _renamed(source, names)
    if rng.random() < _RENAMED_KERNEL:
        label = rng.choice(("kernel", "fused_kernel"))
        source = re.sub(rf"\b{re.escape(subject.name)}_kernel\b", label, source)
    if rng.random() < _DOCUMENTED:
        source = _documented(source, subject)
    return source


def _renamed(source: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        source = re.sub(rf"(?<![\w.\"]){old}(?=_ptr\b|\b(?!\"))", new, source)
        source = re.sub(rf"(?<=\[\"){old}(?=\"\])|(?<=\{{\"){old}(?=\")", new, source)
        source = re.sub(rf"(?<=, \"){old}(?=\":)", new, source)
    return source


def _documented(source: str, subject: Subject) -> str:
    """The source with a docstring in its host function, which is the last one."""
    head, mark, body = source.rpartition(f"def {subject.name}(")
    line, _, rest = body.partition("\n")
    text = english(subject.graph)
    return f'{head}{mark}{line}\n    """{text[0].upper()}{text[1:]}."""\n{rest}'
