"""The tasks of `TritonKernel-composed-v0`: from a seed to a task of a split and a difficulty."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from functools import lru_cache

from triton_gym.composition.graph import Graph, Kind
from triton_gym.errors import InvalidTaskError, unknown
from triton_gym.task import Task

from .admission import admissible
from .drawing import DIFFICULTIES, draw

SPLITS = ("train", "test")
TEST_SHARE = 0.2
"""Share of all graphs that belong to the test split."""
CATALOGUE = frozenset(
    {
        "elementwise add(vector0) gelu",
        "elementwise gelu",
        "elementwise silu mul(full0)",
        "matmul",
        "matmul add(vector0) gelu",
        "rows add(full0) layer_norm",
        "rows add(full0) layer_norm mul(vector0) add(vector1)",
        "rows add(full0) rms_norm",
        "rows add(full0) rms_norm mul(vector0)",
        "rows layer_norm",
        "rows layer_norm mul(vector0) add(vector1)",
        "rows log_softmax",
        "rows rms_norm",
        "rows rms_norm mul(vector0)",
        "rows softmax",
        "rows sum",
    }
)
"""Graphs that are tasks of the catalogue. They are test tasks: training must not meet them."""
ATTEMPTS = 2000
"""Graphs that are drawn for one task before giving up."""


def split_of(graph: Graph) -> str:
    """The split that a graph belongs to, by what it computes: equal graphs are in the same one."""
    text = graph.canonical()
    if text in CATALOGUE:
        return "test"
    share = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
    return "test" if share < TEST_SHARE else "train"


@dataclass(frozen=True, slots=True)
class Family:
    """Composed: a random operator graph at each reset.

    The same seed gives the same task.
    """

    split: str = "train"
    """`train` or `test`; no graph is in both."""
    difficulty: str = "mixed"
    """`easy` (1 or 2 operators), `medium` (3 or 4), `hard` (5 to 7) or `mixed`."""
    kind: str = "any"
    """`elementwise`, `rows`, `matmul`, or `any` of them."""

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise unknown("split", self.split, SPLITS)
        if self.difficulty not in DIFFICULTIES:
            raise unknown("difficulty", self.difficulty, DIFFICULTIES)
        kinds = (*map(str, Kind), "any")
        if self.kind not in kinds:
            raise unknown("kind", self.kind, kinds)

    def __call__(self, seed: int) -> Task:
        """The task of a seed.

        Raises:
            InvalidTaskError: no graph passed; the options leave too few.
        """
        return _drawn(self, seed)


@lru_cache(maxsize=1024)
def _drawn(family: Family, seed: int) -> Task:
    """Remembered, since a group of episodes resets its environments with one seed."""
    rng = random.Random(seed)
    kind = None if family.kind == "any" else Kind(family.kind)
    for _ in range(ATTEMPTS):
        problem = draw(rng, kind, family.difficulty)
        if split_of(problem.graph) == family.split and admissible(problem):
            return problem.task()
    raise InvalidTaskError(f"{ATTEMPTS} graphs were drawn for {family}, and none was fit.")
