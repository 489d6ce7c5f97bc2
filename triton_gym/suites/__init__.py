"""Suites of problems from elsewhere, read from the user's own copy of them.

    suite = triton_gym.suites.load("kernelbench", "../KernelBench")
    suite.ids[0]                        # TritonKernel-level1_1_square_matrix_multiplication-v0
    suite.register()                    # gym.make(id) loads the problem
    train, test = suite.split(0.2)      # near-duplicates stay together

With the environment variable `TRITON_GYM_SUITES="kernelbench=../KernelBench"` (several are
separated by commas) the ids are registered whenever triton_gym is imported: for the command line,
and in processes that a trainer starts.

Listing reads folders and loads no torch; a problem's file is executed when its task is asked for,
as it is by the suite's own tools. No suite's code or text is part of this library.
"""

from __future__ import annotations

import importlib
import os
import warnings
from pathlib import Path

from triton_gym.errors import InvalidOptionError, TritonGymError, unknown
from triton_gym.suites.suite import Problem, Suite, distinct, one_line

SUITES = {
    "kernelbench": "triton_gym.suites.kernelbench",
    "multikernelbench": "triton_gym.suites.multikernelbench",
    "robust-kbench": "triton_gym.suites.robust_kbench",
    "tritonbench-t": "triton_gym.suites.tritonbench",
    "tritonbench-g": "triton_gym.suites.tritonbench_g",
    "backendbench": "triton_gym.suites.backendbench",
    "flashinfer-bench": "triton_gym.suites.definitions",
    "gpumode": "triton_gym.suites.gpumode",
    "sol-execbench": "triton_gym.suites.definitions:discover_sol",
}
"""Name of each suite and the module that knows its form: `discover(path)`, or the function
named behind a colon, yields its problems."""

VARIABLE = "TRITON_GYM_SUITES"

__all__ = ["SUITES", "Problem", "Suite", "load"]


def load(name: str, path: str | Path) -> Suite:
    """The problems of a suite, none of them loaded yet.

    Args:
        name: one of `SUITES`.
        path: the user's checkout of the suite.

    Raises:
        InvalidOptionError: there is no such suite or folder, or the folder holds no problem of it.
    """
    if name not in SUITES:
        raise unknown("suite", str(name), list(SUITES))
    try:
        # A problem's file may change the working folder.
        folder = Path(path).expanduser().absolute()
        if not folder.is_dir():
            raise InvalidOptionError(f"{folder} is no folder; give the checkout of {name}.")
        _warn_of_unreadable(folder)
        module, _, function = SUITES[name].partition(":")
        discover = getattr(importlib.import_module(module), function or "discover")
        problems = tuple(distinct(discover(folder), folder))
    except InvalidOptionError:
        raise
    except (TypeError, RuntimeError) as error:
        raise InvalidOptionError(f"{path!r} is no path of a folder: {one_line(error)}.") from error
    except (OSError, ValueError) as error:  # what lists the problems is damaged, or the path is
        raise InvalidOptionError(
            f"The checkout of {name} at {path} cannot be listed: {one_line(error)}"
        ) from error
    if not problems:
        raise InvalidOptionError(f"{folder} holds no problem of {name}: is it a checkout of it?")
    return Suite(name, folder, problems)


def _warn_of_unreadable(folder: Path) -> None:
    """Tell of folders whose problems cannot be listed, which `glob` passes over."""

    def told(error: OSError) -> None:
        warnings.warn(f"{error.filename} cannot be read: {error.strerror}.", stacklevel=4)

    for _, below, _ in os.walk(folder, onerror=told):
        below[:] = [name for name in below if not name.startswith(".")]


def register_from_environment() -> None:
    """Register the suites that `TRITON_GYM_SUITES` names; one that is not there is warned of."""
    for pair in filter(None, os.environ.get(VARIABLE, "").split(",")):
        name, _, path = pair.partition("=")
        try:
            load(name.strip(), path.strip()).register()
        except TritonGymError as error:
            warnings.warn(f"{VARIABLE}: {error}", stacklevel=2)
