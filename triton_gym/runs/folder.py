"""The folder of a run on disk.

A line of `steps.jsonl` is written as soon as its step is done, and whole files are replaced in one
move, so a run that is killed at any moment loses at most the step it was in.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from io import BufferedRandom
from pathlib import Path
from typing import Any

from triton_gym.errors import RunError
from triton_gym.runs.records import Config, Step, step_from_json, step_to_json


class RunFolder:
    """The folder of one run, open for writing by this process alone."""

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config
        self._made: list[Path] = []
        """Folders that were made for this run, innermost last."""
        try:
            self._log: BufferedRandom = (path / "steps.jsonl").open("a+b")
        except OSError as error:
            raise RunError(f"Cannot open the run folder {path}: {error}.") from None
        try:
            fcntl.flock(self._log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._log.close()
            raise RunError(f"{path} is in use by another run.") from None
        try:
            self.steps = self._read()
        except BaseException:
            self._log.close()
            raise

    @classmethod
    def create(cls, path: Path, config: Config, machine: Mapping[str, Any]) -> RunFolder:
        """A new folder at `path`, or beside it as `path-2`, `path-3`, … if it exists.

        Raises:
            RunError: the folder cannot be made.
        """
        try:
            json.dumps(dataclasses.asdict(config))
        except TypeError as error:
            raise RunError(f"The options of a run must be plain values: {error}.") from None
        number, free = 1, path
        while True:
            made = [folder for folder in (*reversed(free.parents), free) if not folder.exists()]
            try:
                free.mkdir(parents=True)
                break
            except FileExistsError:
                number += 1
                free = path.with_name(f"{path.name}-{number}")
            except OSError as error:
                _remove(made)
                raise RunError(f"Cannot make the run folder {free}: {error}.") from None
        try:
            write_json(free / "machine.json", machine)
            write_json(free / "config.json", dataclasses.asdict(config))  # last: now it is a run
            found = cls(free, config)
        except RunError:
            _remove(made)
            raise
        found._made = made
        return found

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The folder of a run that was interrupted, or that is to be prolonged.

        Raises:
            RunError: it is not a run folder, is damaged, or is in use.
        """
        return cls(path, read_config(path))

    @property
    def taken(self) -> int:
        """How many steps were taken, without step 0."""
        return max(len(self.steps) - 1, 0)

    def goal(self, steps: int | None) -> int:
        """How many steps to take in all, if `steps` are asked for, or None are.

        Raises:
            RunError: there are more already.
        """
        if steps is not None and steps < self.taken:
            raise RunError(f"{self.path} already has {self.taken} steps; steps={steps} is less.")
        return steps or max(self.config.steps, self.taken)

    def append(self, step: Step) -> None:
        """Add a step; it is on its way to the disk when this returns.

        Raises:
            RunError: the disk does not take it.
        """
        line = json.dumps(step_to_json(step), allow_nan=False)
        try:
            self._log.write(line.encode() + b"\n")
            self._log.flush()
        except OSError as error:
            raise _unwritten(self.path / "steps.jsonl", error) from None
        self.steps.append(step)

    def write(self, name: str, content: str | bytes) -> Path:
        """Write or replace a file of the folder in one move.

        Raises:
            RunError: the disk does not take it.
        """
        try:
            return write_whole(self.path / name, content)
        except OSError as error:
            raise _unwritten(self.path / name, error) from None

    def discard(self) -> None:
        """Take a new folder away again, if no step was recorded: the run was refused."""
        if self._made and not self.steps:
            self.close()
            _remove(self._made)

    def close(self) -> None:
        """Let others open it."""
        try:
            self._log.close()
        except OSError:  # what a full disk did not take was told when it was written
            pass

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _read(self) -> list[Step]:
        """The steps so far. A last line that a kill left unfinished is cut off."""
        self._log.seek(0)
        steps: list[Step] = []
        lines = self._log.read().splitlines(keepends=True)
        for number, line in enumerate(lines):
            try:
                if not line.endswith(b"\n"):
                    raise ValueError("the line is unfinished")
                step = step_from_json(json.loads(line))
                if step.step != number:
                    raise ValueError(f"step {step.step} stands where step {number} belongs")
            except (ValueError, RecursionError) as error:
                if number + 1 == len(lines) and not line.endswith(b"\n"):
                    self._log.truncate(sum(map(len, lines[:number])))
                    break
                raise RunError(
                    f"{self.path / 'steps.jsonl'}, line {number + 1}, is damaged: {error}."
                ) from None
            steps.append(step)
        return steps


def read_config(path: Path) -> Config:
    """The config of a run folder.

    Raises:
        RunError: there is none, or it is damaged.
    """
    file = path / "config.json"
    try:
        config = Config(**json.loads(file.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{path} is not a run folder: it has no config.json.") from None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise RunError(f"{file} cannot be read: {error}.") from None
    wanted = {"agent": str, "env": str, "steps": int, "seed": int, "options": dict}
    wrong = [name for name, kind in wanted.items() if type(getattr(config, name)) is not kind]
    wrong = wrong or [name for name, least in (("steps", 1), ("seed", 0))
                      if getattr(config, name) < least]  # fmt: skip
    if wrong:
        raise RunError(f"{file} is damaged: {wrong[0]} is {getattr(config, wrong[0])!r}.")
    return config


def write_json(path: Path, content: Any) -> None:
    """Write or replace a JSON file in one move.

    Raises:
        RunError: the disk does not take it.
    """
    try:
        write_whole(path, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise _unwritten(path, error) from None


def _unwritten(path: Path, error: OSError) -> RunError:
    return RunError(
        f"Cannot write {path}: {error}. What was recorded before is kept; make room, and go on "
        f"with --resume {path.parent}."
    )


def _remove(folders: Sequence[Path]) -> None:
    """Remove a run's folder, the last of these, and those above that were made for it alone."""
    *above, own = folders or [Path()]
    if folders:
        shutil.rmtree(own, ignore_errors=True)
    for folder in reversed(above):
        try:
            folder.rmdir()
        except OSError:  # another run lies there, or it was never made
            return


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write or replace a file in one move: nobody ever sees half of it."""
    raw = content.encode() if isinstance(content, str) else content
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
