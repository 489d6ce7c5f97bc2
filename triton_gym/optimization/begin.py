"""The process of a search from its first moment.

    python -m triton_gym.optimization.begin FOLDER

Importing PyTorch takes seconds, in this process and in those that trace the function and try
candidates. So these are started first, and all import at the same time.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

from triton_gym.optimization.bench_process import TrialProcess
from triton_gym.optimization.tracing_process import TracingProcess


def main(folder: Path) -> None:
    """Run the search of a folder."""
    began = time.monotonic()
    # See `spec.BEGIN`.
    given = json.loads((folder / "begin.json").read_text(encoding="utf-8"))
    sys.path[:0] = given["path"]
    tracing, trial = TracingProcess(), TrialProcess(folder)
    if given["live"]:
        trial.start()
    search = importlib.import_module("triton_gym.optimization.search")
    search.main(folder, began, given, tracing, trial)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
