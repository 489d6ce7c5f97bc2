"""Actions: from what an agent says to the source of a kernel.

`extract` is the one way from a reply to a source; environments, the `Evaluator`, scoring, training
and adapters all take it. `thoughts` drops what a model thought aloud, `fences` finds code blocks,
`edits` applies SEARCH/REPLACE blocks and the hunks that `diffs` reads. All of it is linear in the
length of the reply, since a reply is hostile and read in the trainer's own process.
"""

from triton_gym.action.edits import edited
from triton_gym.action.reading import (
    LIMIT,
    MODES,
    REPLY_LIMIT,
    InvalidAction,
    extract,
    kernel_from,
)

__all__ = ["LIMIT", "MODES", "REPLY_LIMIT", "InvalidAction", "edited", "extract", "kernel_from"]
