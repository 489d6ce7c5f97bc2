"""The process of a search from its first moment.

    python -m triton_gym.optimization.begin FOLDER

Importing PyTorch takes seconds, in this process and in those that trace the function, try
candidates and judge. So these are started first, and all import at the same time.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from triton_gym.optimization.bench_process import TrialProcess
from triton_gym.optimization.judges import judge_of, workers_of
from triton_gym.optimization.tracing_process import TracingProcess


def main(folder: Path) -> None:
    """Run the search of a folder."""
    began = time.monotonic()
    # See `spec.BEGIN`.
    given = json.loads((folder / "begin.json").read_text(encoding="utf-8"))
    sys.path[:0] = given["path"]
    _yield_processors()  # the program that is served comes before this and all that it starts
    trial = TrialProcess(folder)
    if given["live"]:
        trial.start()
    _yield_processors()  # what is timed comes before what judges and compiles
    tracing = TracingProcess()
    early = ThreadPoolExecutor(1)
    judge = early.submit(judge_of, given["device"], workers_of(shared=given["shared"]))
    search = importlib.import_module("triton_gym.optimization.search")
    search.main(folder, began, judge.result, tracing, trial)


def _yield_processors() -> None:
    if hasattr(os, "nice"):
        os.nice(5)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
