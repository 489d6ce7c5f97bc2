"""The layers of confinement: what each holds, and which of them this machine has."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from enum import StrEnum, auto

from triton_gym.errors import ConfinementWarning
from triton_gym.evaluation.confine import landlock, seccomp
from triton_gym.evaluation.confine.privileges import knows_no_new_privileges


class Layer(StrEnum):
    """One thing that a worker is held to; each can be left out to find what it breaks."""

    LIMITS = auto()
    """Memory, processor time, file sizes, open files."""
    CAPABILITIES = auto()
    """Nothing of what makes root more than another user."""
    FILES = auto()
    """Landlock: read what Python, Triton and CUDA need, write the private folder."""
    TCP = auto()
    """Landlock: no TCP."""
    PEERS = auto()
    """Landlock and seccomp: no connection to another process."""
    SIGNALS = auto()
    """Landlock, else seccomp: no signals to other processes."""
    SOCKETS = auto()
    """seccomp: no sockets, but for the one that CUDA's driver listens at."""
    PROCESSES = auto()
    """seccomp: no hold on other processes, no leaving the worker's process group."""
    KERNEL = auto()
    """seccomp: no kernel objects that last, no parts of the kernel with a long record of holes."""
    METADATA = auto()
    """seccomp: no change of owner, mode or times of files, which Landlock does not govern."""


ALL = frozenset(Layer)


@dataclass(frozen=True, slots=True)
class Mechanism:
    """Something of the kernel that layers rest on."""

    name: str
    there: bool
    found: str
    """What is there, e.g. `ABI 7`."""
    cost: str
    """What an answer could do without it, should it pass the screen."""


def mechanisms() -> list[Mechanism]:
    """What this machine has to confine workers with."""
    version = landlock.abi()
    told = f"Landlock ABI {version}" if version else "no Landlock"
    filters = seccomp.available()
    scoped = version >= landlock.ABI_SCOPES
    return [
        Mechanism(
            "no_new_privs", knows_no_new_privileges(), "prctl",
            "an answer can start set-uid programs; Landlock and seccomp are impossible",
        ),
        Mechanism(
            "files confined", version >= landlock.ABI_FILES, told,
            "an answer can read and change this user's files, and open the GPU's device files",
        ),
        Mechanism(
            "network confined", filters or version >= landlock.ABI_TCP,
            "seccomp" + (f" and {told}" if version >= landlock.ABI_TCP else "")
            if filters else told,
            "an answer can use the network",
        ),
        Mechanism(
            "signals confined", filters or scoped, told if scoped else "seccomp, coarser",
            "an answer can end this user's processes",
        ),
        Mechanism(
            "system calls filtered", filters, "seccomp" if filters else "no seccomp filter",
            "an answer can trace this user's processes, leave things behind in the kernel, and "
            "change owners and modes of files",
        ),
    ]  # fmt: skip


def available() -> frozenset[Layer]:
    """The layers that this machine can hold a worker to."""
    version = landlock.abi()
    found = {Layer.LIMITS, Layer.CAPABILITIES}
    if not knows_no_new_privileges():
        return frozenset(found)
    if version >= landlock.ABI_FILES:
        found.add(Layer.FILES)
    if version >= landlock.ABI_TCP:
        found.add(Layer.TCP)
    if version >= landlock.ABI_SCOPES:
        found |= {Layer.PEERS, Layer.SIGNALS}
    if seccomp.available():
        found |= {
            Layer.SOCKETS, Layer.PEERS, Layer.SIGNALS, Layer.PROCESSES, Layer.KERNEL,
            Layer.METADATA,
        }  # fmt: skip
    return frozenset(found)


_warned: set[int] = set()


def warn_of_missing() -> None:
    """Say what this machine cannot hold an answer to: once in a process, and never silently.

    Warns:
        ConfinementWarning: a mechanism is missing.
    """
    if os.getpid() in _warned:
        return
    _warned.add(os.getpid())
    missing = [m for m in mechanisms() if not m.there]
    if missing:
        told = "; ".join(f"{m.name}: {m.cost} ({m.found})" for m in missing)
        warnings.warn(
            f"Answers are confined less than they should be on this machine. {told}. Evaluate "
            "code that you do not trust in a container or a virtual machine of its own.",
            ConfinementWarning,
            stacklevel=3,
        )
