"""Names of a user's function, kept apart from those of what its answer is put together of."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence


def kept_apart(
    parts: Sequence[str], body: str, entry: str, parameters: Sequence[str]
) -> tuple[list[str], str]:
    """Parts of an answer and the body of its host function, with other names where they collide.

    A user's function may be called `product` or `maximum`, and so may one of its arguments.

    Args:
        parts: definitions before the host function.
        body: of the host function, which calls them.
        entry: name of the host function.
        parameters: of the host function.
    """
    made, changed = list(parts), body
    taken = set(re.findall(r"\w+", "\n".join([*parts, body, entry, *parameters])))
    defined = {name for part in parts for name in _defined(part)}
    for name in sorted(defined & {entry, *parameters}):
        other = f"{name}_"
        while other in taken:
            other += "_"
        taken.add(other)
        # Not an attribute's, and not a keyword of a call.
        anywhere = re.compile(rf"(?<![.\w]){name}\b(?!\s*=[^=])")
        made = [anywhere.sub(other, part) for part in made]
        # In the body an argument of that name stays what it is: it is neither called nor launched.
        changed = re.sub(rf"(?<![.\w]){name}(?=[(\[])", other, changed)
    return made, changed


def _defined(part: str) -> set[str]:
    return {node.name for node in ast.parse(part).body if isinstance(node, ast.FunctionDef)}
