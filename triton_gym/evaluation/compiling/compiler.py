"""Compiles an answer's kernels for the judge, each once, and keeps what it made."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Executor
from types import TracebackType
from typing import Any

from triton_gym.errors import EvaluatorError
from triton_gym.evaluation.compiling.artifact import (
    Artifact,
    InvalidMetadata,
    Target,
    artifact_id,
    checked_metadata,
)
from triton_gym.evaluation.compiling.binary import read_binary
from triton_gym.evaluation.compiling.lower import DIALECTS
from triton_gym.evaluation.compiling.options import InvalidOption, allowed_options
from triton_gym.evaluation.simulate.machine_code.elf import MOST_BYTES, InvalidBinary
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.evaluation.workers.scratch import Scratch
from triton_gym.evaluation.workers.session import Ended, Session
from triton_gym.evaluation.workers.worker_pool import WorkerPool
from triton_gym.outcome import Status

SECONDS_PER_KERNEL = 20.0
"""How long ptxas may take for one kernel."""
KEPT_BYTES = 256 << 20
"""Machine code and texts that are kept between evaluations."""
MOST_TTIR_BYTES = 2 << 20
"""Longest IR of one kernel."""
MOST_TEXT_BYTES = 32 << 20


class CompileFailure(Exception):
    """A kernel does not compile: the class of Triton's own error, and what it says."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        """Name of the class that Triton raised, as `PTXASError`; `option` for an option that is
        not allowed; `crash` and `timeout` for the compiler's end."""


class ArtifactCache:
    """Artifacts of the last evaluations. For use from several threads."""

    def __init__(self, capacity: int = KEPT_BYTES) -> None:
        self._capacity, self._held = capacity, 0
        self._kept: OrderedDict[str, Artifact] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Artifact | None:
        """The artifact of an id."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, artifact: Artifact) -> None:
        """Keep an artifact, and let go of those that were not asked for longest."""
        with self._lock:
            if artifact.id not in self._kept:
                self._held += _size(artifact)
            self._kept[artifact.id] = artifact
            while self._held > self._capacity and len(self._kept) > 1:
                self._held -= _size(self._kept.popitem(last=False)[1])


def _size(artifact: Artifact) -> int:
    return len(artifact.cubin) + sum(map(len, artifact.texts.values()))


TRIES = 6
"""How often a compiling process may be killed on one kernel before the kernel is to blame."""
_KILLED = "killed"
_CRASHED = "Triton's compiler crashed on this kernel."


class Compiler:
    """Compiles the kernels of one evaluation. For use from several threads; a context manager.

    Args:
        pool: where compiling processes come from of mode `lower`.
        target: the device.
        cache: what other evaluations compiled.
        limits: of a compiling process.
        yields: whether it lets others have the processors first.
    """

    def __init__(
        self, pool: WorkerPool, target: Target, cache: ArtifactCache, limits: Limits, *,
        yields: bool = False,
    ) -> None:  # fmt: skip
        self._yields = yields
        self.target = target
        self._pool, self._cache, self._limits = pool, cache, limits
        self._lock = threading.Lock()
        self._idle: list[tuple[Session, Scratch]] = []
        self._busy: set[Session] = set()
        self._closed = False
        self._once: dict[str, threading.Lock] = {}
        self._made: dict[str, Artifact | CompileFailure] = {}

    def __enter__(self) -> Compiler:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the compiling processes, those too that somebody waits for."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = list(self._busy)
        for session, scratch in idle:
            _end(session, scratch)
        for session in busy:
            session.close()

    def begin(self, threads: Executor, count: int) -> None:
        """Start so many processes before there is anything to compile."""
        for _ in range(count):
            threads.submit(self._begin)

    def _begin(self) -> None:
        with contextlib.suppress(EvaluatorError):  # whoever compiles will see it
            self._give_back(*self._start())

    def artifact(self, key: str) -> Artifact | None:
        """An artifact that this evaluation was given out, by its id."""
        with self._lock:
            found = self._made.get(key)
        return found if isinstance(found, Artifact) else None

    def compile(self, ttir: str, options: Mapping[str, Any], dialect: str = "ttir") -> Artifact:
        """Machine code for a kernel.

        Args:
            ttir: the kernel in Triton's IR, from a process that is not trusted, as are
            options: fields of Triton's `CUDAOptions`.
            dialect: see `lower.DIALECTS`.

        Raises:
            CompileFailure: it does not compile. Asked again, it fails again without being tried.
        """
        try:
            allowed_options(options)
            if dialect not in DIALECTS:
                raise InvalidOption(f"Kernels come as {' or '.join(DIALECTS)}.")
        except InvalidOption as error:
            raise CompileFailure("option", str(error)) from None
        if len(ttir) > MOST_TTIR_BYTES:
            raise CompileFailure(
                "option",
                f"The kernel's IR has {len(ttir)} characters; {MOST_TTIR_BYTES} are allowed. "
                "Look for a loop that is unrolled at compile time.",
            )
        key = artifact_id(f"{dialect}:{ttir}", options, self.target, _triton_version())
        with self._lock:
            once = self._once.setdefault(key, threading.Lock())
        with once:
            if key not in self._made:
                made = self._cache.get(key) or self._build(key, ttir, dict(options), dialect)
                with self._lock:
                    self._made[key] = made
                if isinstance(made, Artifact):
                    self._cache.put(made)
            found = self._made[key]
        if isinstance(found, CompileFailure):
            raise CompileFailure(found.kind, str(found))
        return found

    def _build(
        self, key: str, ttir: str, options: dict[str, Any], dialect: str
    ) -> Artifact | CompileFailure:
        """A process may be killed by anybody: a kernel is blamed for that only if it happens every
        time."""
        for _ in range(TRIES):
            made = self._tried(key, ttir, options, dialect)
            if self._closed or not isinstance(made, CompileFailure) or made.kind != _KILLED:
                break
        return made

    def _tried(
        self, key: str, ttir: str, options: dict[str, Any], dialect: str
    ) -> Artifact | CompileFailure:
        session, scratch = self._take()
        self._busy.add(session)
        output = os.memfd_create("artifact", os.MFD_CLOEXEC)
        try:
            reply = session.ask(
                "lower", (output,), ttir=ttir, options=options, seconds=SECONDS_PER_KERNEL,
                architecture=self.target.architecture, lines=self.target.lines,
                dialect=dialect,
            )  # fmt: skip
            if "failure" in reply:
                made: Artifact | CompileFailure = CompileFailure(
                    str(reply["failure"]), str(reply.get("message", ""))
                )
            else:
                made = _read(key, reply.get("sizes"), output, self.target)
        except Ended as end:
            _end(session, scratch)
            if end.status is Status.TIMEOUT:
                return CompileFailure("timeout", _SLOW)
            return CompileFailure(_KILLED if end.again else "crash", _CRASHED)
        except BaseException:
            _end(session, scratch)
            raise
        finally:
            self._busy.discard(session)
            os.close(output)
        self._give_back(session, scratch)
        return made

    def _take(self) -> tuple[Session, Scratch]:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._start()

    def _start(self) -> tuple[Session, Scratch]:
        scratch = Scratch("")
        session = Session(self._pool, self._limits, scratch, yields=self._yields)
        try:
            session.__enter__()
        except BaseException:
            scratch.__exit__()
            raise
        return session, scratch

    def _give_back(self, session: Session, scratch: Scratch) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append((session, scratch))
                return
        _end(session, scratch)


_SLOW = (
    "The kernel took too long to compile, as it does when a tile is far too large for the "
    "registers. Reduce the block sizes or raise num_warps."
)


def _end(session: Session, scratch: Scratch) -> None:
    session.close()
    scratch.__exit__()


def _read(key: str, sizes: Any, file: int, target: Target) -> Artifact | CompileFailure:
    """The artifact that a compiling process wrote, if it is one."""
    try:
        if (
            not isinstance(sizes, list)
            or len(sizes) != 3
            or not all(type(n) is int and 0 <= n <= MOST_BYTES for n in sizes)
            or sizes[1] > MOST_TEXT_BYTES
        ):
            raise InvalidMetadata("The sizes are none.")
        starts = (0, sizes[0], sizes[0] + sizes[1])
        metadata, texts, cubin = (
            os.pread(file, n, at) for n, at in zip(sizes, starts, strict=True)
        )
        binary = read_binary(cubin, target.architecture)
        told = json.loads(texts)
        if not isinstance(told, dict) or not all(isinstance(t, str) for t in told.values()):
            raise InvalidMetadata("The texts are none.")
        return Artifact(key, cubin, binary, checked_metadata(json.loads(metadata), binary), told)
    except (InvalidBinary, InvalidMetadata, ValueError, RecursionError) as error:
        return CompileFailure("binary", f"The kernel's machine code is not allowed: {error}.")


@functools.cache
def _triton_version() -> str:
    from importlib.metadata import version

    return version("triton")
