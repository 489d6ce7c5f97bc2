"""What a data set is made of."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from triton_gym.errors import InvalidOptionError, unknown

FORMATS = ("parquet", "jsonl")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Settings of `build`. Equal settings on the simulated device give equal data."""

    out: str = "runs/data"
    """Folder of the data set. One that is there and has the same settings is continued."""
    graphs: int = 1000
    """Training tasks to draw."""
    test_graphs: int = 100
    """Held-out tasks to draw; no graph is in both splits."""
    seed: int = 0
    """Of all draws. Task i of a split is that of `reset(seed=seed * 1_000_003 + i)`."""
    difficulty: str = "mixed"
    """Of the environment: `easy`, `medium`, `hard` or `mixed`."""
    kind: str = "any"
    """Of the environment: `elementwise`, `rows`, `matmul` or `any`."""
    device: str = "simulated"
    """Where every example is verified."""
    workers: int = 0
    """Evaluations at the same time; 0 for the number of processors."""
    answers: int = 2
    """Correct answers to each task, in different styles where there are as many."""
    repairs: int = 1
    """Answers with a fault, and what repairs it, of each task."""
    speedups: int = 1
    """Slow answers, and what speeds them up, of each task."""
    revisions: float = 0.5
    """Share of repairs and speedups that are also told as a conversation about whole modules."""
    longest: int = 2000
    """Longest module in characters, for small contexts: about 850 tokens of SmolLM2."""
    least_gain: float = 1.2
    """How much faster the faster of two answers must be."""
    format: str = "parquet"
    """`parquet` (needs pyarrow), or `jsonl`."""
    shard: int = 16
    """Tasks a shard: what a kill loses at most, for each that is under way."""
    seconds: float = 0.0
    """Begin no further shard after this time; 0 for no limit. What is there is a data set."""

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise unknown("format", self.format, FORMATS)
        least = {"graphs": 0, "test_graphs": 0, "workers": 0, "answers": 1, "repairs": 0,
                 "speedups": 0, "revisions": 0, "longest": 500, "least_gain": 1, "shard": 1,
                 "seconds": 0}  # fmt: skip
        for name, low in least.items():
            if getattr(self, name) < low:
                raise InvalidOptionError(
                    f"{name} must be {low} or more; got {getattr(self, name)}."
                )
        if self.revisions > 1:
            raise InvalidOptionError(f"revisions is a share, at most 1; got {self.revisions}.")
        if not self.graphs + self.test_graphs:
            raise InvalidOptionError("graphs and test_graphs are both 0: there is nothing to do.")

    def recipe(self) -> dict[str, object]:
        """The settings that decide what is in a shard."""
        free = {"out", "graphs", "test_graphs", "workers", "seconds"}
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in free}
