"""Builds a data set: draw tasks, write modules, evaluate all of them, keep what holds.

Tasks are taken in order and written in shards of some tasks each, so that a data set that was
interrupted goes on where it was, and is in the end the same as one that was not.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from triton_gym.errors import InvalidTaskError, RunError
from triton_gym.evaluation.service.evaluator import Evaluator
from triton_gym.evaluation.service.protocol import EvaluatorLike
from triton_gym.outcome import Outcome
from triton_gym.runs.folder import write_whole

from .config import DataConfig
from .examples import Row, rows
from .plan import Plan, planned
from .storage import Folder
from .tally import Tally, statistics

ENVIRONMENT = "TritonKernel-composed-v0"
AHEAD = 8
"""Evaluations that are asked for ahead of the oldest that is waited for, a worker: a slow one must
not leave the others idle."""
SEEDS = 1_000_003
"""Distance between the seeds of data sets with neighbouring `seed`."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a data set is."""

    split: str
    done: int
    """Tasks of the split that are finished."""
    total: int
    """Tasks of the split to finish."""
    examples: int
    """Examples of the split in this call, duplicates included."""
    evaluations: int
    """Evaluations in this call."""
    seconds: float
    """Time of this call."""


def build(config: DataConfig, progress: Callable[[Progress], None] | None = None) -> dict[str, Any]:
    """Build a data set, or continue one.

    Args:
        config: what it is made of, and where it goes.
        progress: called after every task.

    Returns:
        The statistics that are also written to `stats.json`.

    Raises:
        InvalidOptionError: see `DataConfig`; or pyarrow is not installed.
        RunError: the folder holds other data, or cannot be written.
        EvaluatorError: the evaluation service itself failed.
    """
    folder = Folder(config)
    builder = _Builder(config, folder, progress)
    with Evaluator(config.device, workers=config.workers or None) as evaluator:
        for split in ("test", "train"):
            builder.run(split, evaluator)
    return builder.finish()


class _Builder:
    def __init__(
        self, config: DataConfig, folder: Folder, progress: Callable[[Progress], None] | None
    ) -> None:
        self._config = config
        self._folder = folder
        self._tell = progress or (lambda _: None)
        self._began = time.monotonic()
        self._evaluations = 0
        self._finished: dict[str, list[tuple[int, int]]] = {"test": [], "train": []}

    def run(self, split: str, evaluator: EvaluatorLike) -> None:
        """Write the shards of a split that are not there yet."""
        options = json.dumps(self._options(split))
        origin = {**_origin(evaluator.describe()), "options": options}
        wanted = self._shards(split)
        missing = [s for s in wanted if not self._tally(split, *s).exists()]
        self._finished[split] = [s for s in wanted if s not in missing]
        known = sum(end - start for start, end in self._finished[split])
        examples, done = 0, known
        collected: list[Row] = []
        tally = Tally()
        for plan, outcomes, (start, end) in self._evaluated(split, missing, evaluator):
            found = [] if outcomes is None else list(rows(plan, outcomes, self._config, origin))
            collected += found
            tally.add(plan, outcomes, self._config.least_gain)
            examples += len(found)
            done += 1
            if plan.index + 1 == end:
                self._write(split, start, end, collected, tally)
                collected, tally = [], Tally()
            seconds = time.monotonic() - self._began
            total = self._total(split)
            self._tell(Progress(split, done, total, examples, self._evaluations, seconds))

    def _options(self, split: str) -> dict[str, Any]:
        """The environment's options; with them and a row's seed, `reset` draws its task again."""
        config = self._config
        return {"split": split, "difficulty": config.difficulty, "kind": config.kind}

    def _total(self, split: str) -> int:
        return self._config.graphs if split == "train" else self._config.test_graphs

    def _shards(self, split: str) -> list[tuple[int, int]]:
        total, size = self._total(split), self._config.shard
        return [(start, min(start + size, total)) for start in range(0, total, size)]

    def _tally(self, split: str, start: int, end: int) -> Any:
        """The counts of a shard, written after it: a shard with counts is finished."""
        return self._folder.shard(split, start, end).with_suffix(".tally.json")

    def _write(self, split: str, start: int, end: int, found: list[Row], tally: Tally) -> None:
        self._folder.write(self._folder.shard(split, start, end), found)
        _write_json(self._tally(split, start, end), tally.to_json())
        self._finished[split].append((start, end))

    def _evaluated(
        self, split: str, shards: list[tuple[int, int]], evaluator: EvaluatorLike
    ) -> Iterator[tuple[Plan, Mapping[str, Outcome] | None, tuple[int, int]]]:
        """Plans in order with the outcomes of their sources; later ones are under way meanwhile.

        None for outcomes of a task that turns out to be at fault itself.
        """
        waiting: deque[tuple[Plan, dict[str, Future[Outcome]], tuple[int, int]]] = deque()
        ahead = AHEAD * evaluator.workers
        under_way = 0
        for plan, shard in self._plans(split, shards):
            seed = plan.seed if evaluator.deterministic else None
            futures = {s: evaluator.submit(plan.task, s, seed=seed) for s in plan.sources()}
            self._evaluations += len(futures)
            under_way += len(futures)
            waiting.append((plan, futures, shard))
            while under_way > ahead:
                under_way -= len(waiting[0][1])
                yield _results(*waiting.popleft())
        while waiting:
            yield _results(*waiting.popleft())

    def _plans(
        self, split: str, shards: list[tuple[int, int]]
    ) -> Iterator[tuple[Plan, tuple[int, int]]]:
        config = self._config
        env = gym.make(ENVIRONMENT, **self._options(split), device="simulated")
        for start, end in shards:
            if config.seconds and time.monotonic() - self._began > config.seconds:
                return
            for index in range(start, end):
                seed = config.seed * SEEDS + index
                env.reset(seed=seed)
                task = getattr(env.unwrapped, "task")  # noqa: B009
                yield planned(task, config, split, index, seed), (start, end)

    def finish(self) -> dict[str, Any]:
        """Join the shards without duplicates, and count."""
        stats: dict[str, Any] = {}
        for split, shards in self._finished.items():
            stats[split] = self._join(split, sorted(shards))
        stats["complete"] = all(
            len(self._finished[split]) == len(self._shards(split)) for split in self._finished
        )
        stats["evaluations"] = self._evaluations
        stats["seconds"] = round(time.monotonic() - self._began, 1)
        _write_json(self._folder.path / "stats.json", stats)
        return stats

    def _join(self, split: str, shards: list[tuple[int, int]]) -> dict[str, Any]:
        seen: set[str] = set()
        kept: list[Row] = []
        read = 0
        total = Tally()
        for start, end in shards:
            for row in self._folder.read(self._folder.shard(split, start, end)):
                read += 1
                if row["key"] not in seen:
                    seen.add(row["key"])
                    kept.append(row)
            counts = json.loads(self._tally(split, start, end).read_text(encoding="utf-8"))
            total.join(Tally.from_json(counts))
        self._folder.write(self._folder.final(split), kept)
        return statistics(sum(end - start for start, end in shards), read, kept, total)


def _results(
    plan: Plan, futures: dict[str, Future[Outcome]], shard: tuple[int, int]
) -> tuple[Plan, Mapping[str, Outcome] | None, tuple[int, int]]:
    try:
        return plan, {source: future.result() for source, future in futures.items()}, shard
    except InvalidTaskError:
        return plan, None, shard


def _origin(device: str) -> dict[str, str]:
    """What an example's numbers come from."""
    versions = {
        name: importlib.metadata.version(name) for name in ("triton-gym", "torch", "triton")
    }
    versions["python"] = platform.python_version()
    return {"environment": ENVIRONMENT, "device": device, "versions": json.dumps(versions)}


def _write_json(path: Any, content: Any) -> None:
    try:
        write_whole(path, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error}.") from None
