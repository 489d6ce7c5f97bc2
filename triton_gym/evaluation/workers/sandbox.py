"""What a worker gives up before it sees an answer.

`detach` comes right after the fork, `restrict` with the judge's first request. Nothing here can be
undone by the code that runs later, nor by what it starts: `confine` holds the mechanisms, this
module their order.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triton_gym.errors import InvalidOptionError
from triton_gym.evaluation.confine import landlock, places, privileges, seccomp
from triton_gym.evaluation.confine.landlock import READ, WRITE, Access
from triton_gym.evaluation.confine.layers import ALL, Layer, available
from triton_gym.evaluation.confine.places import Places
from triton_gym.evaluation.confine.refusals import refusals

LONGEST_S = 1e6
"""The longest time limit, in seconds: eleven days."""
_OPEN_FILES = 4096
_YIELDING = 10
"""Niceness of a worker that gives way."""
_NO_QUEUES = (0, 0)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one evaluation may use."""

    seconds: float = 60.0
    """Wall time of an evaluation. What the judge does itself does not count, nor does waiting for
    others that use the GPU."""
    gpu_seconds: float = 20.0
    """Wall time of its tests on a GPU, and of every part of its timing: no other answer is timed
    there meanwhile."""
    host_bytes: int = 8 << 30
    """Memory that a worker may allocate on the host, with all that it starts."""
    device_bytes: int = 0
    """Memory that a worker may allocate on the GPU; 0 for what the judge leaves free."""
    file_bytes: int = 256 << 20
    """Largest file that a worker may write."""
    processes: int = 256
    """Threads and processes of a worker, with all that it starts."""

    def __post_init__(self) -> None:
        for name in ("seconds", "gpu_seconds"):
            given = getattr(self, name)
            if isinstance(given, bool) or not isinstance(given, (int, float)):
                raise InvalidOptionError(f"{name} must be a number; got {given!r:.80}.")
            if not 0 < given <= LONGEST_S:
                raise InvalidOptionError(
                    f"{name} must be more than 0, and at most {LONGEST_S:g}; got {given!r:.80}."
                )
        for name in ("host_bytes", "device_bytes", "file_bytes", "processes"):
            given, least = getattr(self, name), int(name != "device_bytes")
            if isinstance(given, bool) or not isinstance(given, int):
                raise InvalidOptionError(f"{name} must be an integer; got {given!r:.80}.")
            if not least <= given < 1 << 62:
                raise InvalidOptionError(
                    f"{name} must be {least} or more, and less than 2^62; got {given!r:.80}."
                )


class Unconfined(Exception):
    """A worker could not be confined as this machine allows. Never the answer's doing."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """How a fork server's workers are confined; made after its imports, used in every worker."""

    layers: frozenset[Layer]
    """Those that are taken on."""
    places: Places
    """Files of Python, its packages and the machine."""
    abi: int
    """Version of Landlock, 0 for none."""
    filters: bool
    """Whether the kernel filters system calls."""
    granted: tuple[str, ...] = ()
    """Further folders that can be read and written; only for finding out what is needed."""

    @classmethod
    def make(cls, *, layers: frozenset[Layer] = ALL, granted: tuple[str, ...] = ()) -> Sandbox:
        """The sandbox of this process's workers, as far as the machine has the layers."""
        # What was made so far is never collected, and so never copied, in a worker.
        gc.collect()
        gc.freeze()
        return cls(
            layers & available(), places.find(), landlock.abi(), seccomp.available(), granted
        )

    def restrict(self, folder: str, limits: Limits) -> None:
        """Bound what this process can use, and make `folder` its only place to write.

        Raises:
            Unconfined: a layer that the machine has could not be taken on, or holds too much.
        """
        if len(os.listdir("/proc/self/task")) > 1:
            raise Unconfined("a thread runs already, and would stay as it is")
        try:
            _settle(folder)
            if Layer.LIMITS in self.layers:
                _limit(limits)
            privileges.no_new_privileges()
            if Layer.CAPABILITIES in self.layers:
                privileges.drop_capabilities()
            self._enclose(folder)
            self._filter()
            for path in self.places.essential:
                with open(path, "rb"):
                    pass
        except OSError as error:
            raise Unconfined(str(error)) from error
        gc.collect()
        gc.disable()

    def _enclose(self, folder: str) -> None:
        domain = landlock.Domain(
            files=Layer.FILES in self.layers,
            tcp=Layer.TCP in self.layers,
            peers=Layer.PEERS in self.layers and self.abi >= landlock.ABI_SCOPES,
            signals=Layer.SIGNALS in self.layers and self.abi >= landlock.ABI_SCOPES,
        )
        if not (domain.files or domain.tcp or domain.peers or domain.signals):
            return
        own: list[tuple[str, Access]] = [(folder, WRITE), ("/proc/self", READ)]
        if domain.files:
            # A rule is about an inode, and /proc makes another once nobody holds this one.
            os.open("/proc/self", os.O_PATH | os.O_CLOEXEC)
        own += [(path, WRITE | Access.IOCTL_DEV) for path in self.granted]
        landlock.restrict(self.abi, domain, (*self.places.rules, *places.devices(), *own))

    def _filter(self) -> None:
        if not self.filters:
            return
        refused = refusals(
            self.layers, pid=os.getpid(),
            scoped=self.abi >= landlock.ABI_SCOPES,
        )  # fmt: skip
        if refused:
            seccomp.install(seccomp.program(refused))


def enter(
    sandbox: Sandbox, folder: str, limits: dict[str, Any], yields: bool = False
) -> dict[str, Any]:
    """Take on the limits, as the judge's first request asks; what to reply.

    Args:
        sandbox: how this process is confined.
        folder: its only place to write.
        limits: fields of `Limits`.
        yields: whether others have the processors first: the judge, a policy that samples.
    """
    if yields:
        _give_way()
    try:
        sandbox.restrict(folder, Limits(**limits))
    except Unconfined as error:
        return {"unconfined": str(error)}
    return {"layers": sorted(sandbox.layers)}


def _give_way() -> None:
    """Let others have the processors first.

    A worker is a session of its own, which Linux may schedule as a group of its own: among such
    groups it is the group's niceness that counts.
    """
    os.nice(_YIELDING)
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as group:
        group.write(str(_YIELDING))


def detach(keep: int, parent: int) -> None:
    """Leave the parent's session, files and output; die when the parent dies.

    Args:
        keep: the one descriptor that stays open.
        parent: process id of the fork server.
    """
    os.setsid()
    privileges.die_with(parent)
    privileges.die_first()
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.closerange(3, keep)
    os.closerange(keep + 1, max(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _settle(folder: str) -> None:
    """Have everything that writes files write them to `folder`."""
    os.chdir(folder)
    for variable in ("HOME", "TMPDIR", "TRITON_HOME", "XDG_CACHE_HOME"):
        os.environ[variable] = folder
    tempfile.tempdir = folder
    os.environ["TRITON_CACHE_DIR"] = str(Path(folder, "cache"))
    os.environ["CUDA_CACHE_PATH"] = str(Path(folder, "ptx"))


def _limit(limits: Limits) -> None:
    """What the kernel counts for each process; the fork server counts their sum (`family`)."""
    # RLIMIT_AS would count the address space that CUDA merely reserves.
    bound = _data_bytes() + limits.host_bytes
    seconds = (int(limits.seconds) + 5) * 4
    files = min(_OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    for kind, both in (
        (resource.RLIMIT_CORE, (0, 0)),
        (resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes)),
        (resource.RLIMIT_DATA, (bound, bound)),
        (resource.RLIMIT_CPU, (seconds, seconds)),
        (resource.RLIMIT_NOFILE, (files, files)),
        (resource.RLIMIT_MSGQUEUE, _NO_QUEUES),
    ):
        resource.setrlimit(kind, both)


def _data_bytes() -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0
