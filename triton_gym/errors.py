"""What a caller can do wrong.

A bad kernel is never an exception: it is an `Outcome`. These are raised for mistakes of the
program that uses the library, or when the machine cannot do what was asked::

    TritonGymError
    ├── InvalidTaskError    a Task or Case that contradicts itself
    ├── InvalidOptionError  an argument outside what is allowed
    ├── DeviceError         the device asked for is not there
    ├── EvaluatorError      the evaluation service itself failed (never the kernel)
    │   └── QueueFullError  an evaluator has as many evaluations as it may have
    ├── StoreError          a file of outcomes that cannot be read or written
    ├── RunError            a run folder that cannot be read, resumed or written
    ├── NotOptimizableError a function that no kernel can safely stand in for
    └── KernelFaultError    a kernel that was swapped in took the GPU's context with it

`ConfinementWarning` is no error: it says what this machine cannot hold answers to.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import warnings
from collections.abc import Iterable


class TritonGymError(Exception):
    """Base of every error that the library raises on purpose."""


class InvalidTaskError(TritonGymError, ValueError):
    """A task or a case contradicts itself."""


class InvalidOptionError(TritonGymError, ValueError):
    """An argument is outside what is allowed; the message lists what is."""


class DeviceError(TritonGymError, RuntimeError):
    """The device asked for is not there or cannot be used."""


class EvaluatorError(TritonGymError, RuntimeError):
    """The evaluation service itself failed: a fault of the library or the machine."""


class MachineError(EvaluatorError):
    """The machine failed for now: its disk is full, a worker was killed. Worth another try."""


class QueueFullError(EvaluatorError):
    """An evaluator has as many evaluations as it may have, and was told not to wait."""


class StoreError(TritonGymError, RuntimeError):
    """A file of outcomes cannot be read or written."""


class RunError(TritonGymError, RuntimeError):
    """A run folder cannot be read, resumed or written."""


class NotOptimizableError(TritonGymError, ValueError):
    """A function cannot be optimized; the message names the reason, the function and the line."""


class KernelFaultError(TritonGymError, RuntimeError):
    """A kernel that was swapped in took the GPU's context with it; it is banned."""


class ConfinementWarning(UserWarning):
    """The kernel of this machine lacks something that answers should be confined with."""


def warn(text: str) -> None:
    """Warn from a thread of the library's own, which has no caller that an error could reach.

    Where warnings are errors it goes to the log instead: an exception would end the thread. So it
    does where they cannot be shown; where that cannot be either, nobody is told.
    """
    try:
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    except Exception:  # the warning itself, or whatever `showwarning` and a closed stderr raise
        with contextlib.suppress(Exception):
            logging.getLogger("triton_gym").warning(text)


def unknown(what: str, given: object, allowed: Iterable[str]) -> InvalidOptionError:
    """The error for a name that is not one of `allowed`, with the nearest one suggested."""
    names = sorted(allowed)
    near = difflib.get_close_matches(str(given), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return InvalidOptionError(f"Unknown {what} {given!r}.{hint} Allowed: {', '.join(names)}.")
