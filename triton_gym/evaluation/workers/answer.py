"""An answer, imported. This runs on hostile ground."""

from __future__ import annotations

import importlib.util
import linecache
import sys
from types import ModuleType

from triton_gym import syntax


def import_answer(path: str, source: str) -> ModuleType:
    """The answer as a module: what runs is the text that was screened, and Triton reads the same.

    Nothing is read from the file. Another worker of the same evaluation may have written to it, or
    compiled code beside it, and whoever reads it honours a line that declares an encoding.

    Args:
        path: what the module calls its file.
        source: that text.
    """
    spec = importlib.util.spec_from_file_location("answer", path)
    if spec is None:
        raise ImportError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["answer"] = module
    # Without a time of change: it is never looked for on the disk.
    linecache.cache[path] = (len(source), None, syntax.lines(source), path)
    exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
    return module
