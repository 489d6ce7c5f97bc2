"""What a compiler said, as an answer's author can use it."""

from __future__ import annotations

import re

_PTXAS = re.compile(r"^ptxas\S* \S+, line (\d+); (error|fatal)\s*: (.*)$", re.MULTILINE)
_MLIR = re.compile(r"^(?:\S+:(\d+):(\d+)|<unknown>:0|loc\(.*?\)): error: (.*)$", re.MULTILINE)
MOST = 6
"""Different complaints that are told."""


def diagnostics(text: str) -> str:
    """The complaints of ptxas or of a pass, each once, without files that nobody can look at.

    Args:
        text: what came with the failure, the whole log included.

    Returns:
        The text itself where it holds no complaint of a known form.
    """
    found: dict[str, str] = {}
    for match in _PTXAS.finditer(text):
        found.setdefault(match[3].strip(), f" (line {match[1]} of the PTX)")
    who = "ptxas" if found else "Triton's compiler"
    if not found:
        for match in _MLIR.finditer(text):
            found.setdefault(match[3].strip(), f" (line {match[1]})" if match[1] else "")
    if not found:
        return text
    told = [f"{who}: {what}{where}" for what, where in found.items()]
    rest = len(told) - MOST
    return "\n".join(told[:MOST] + ([f"… and {rest} further complaints"] if rest > 0 else []))
