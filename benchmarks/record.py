"""Writes a benchmark's results with everything that is needed to read them later."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")


def header() -> dict[str, Any]:
    """GPU, driver, versions, commit, date and command."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command(),
        "commit": os.environ.get("TRITON_GYM_COMMIT") or _output("git", "rev-parse", "HEAD"),
        "gpu": _output(
            "nvidia-smi",
            "--query-gpu=name,driver_version,memory.total",
            "--format=csv,noheader",
            *(("--id=" + visible,) if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) else ()),
        ),
        "python": platform.python_version(),
        "cpus": len(os.sched_getaffinity(0)),
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("torch", "triton", "gymnasium", "numpy", "triton-gym")
        },
    }


def command() -> str:
    """How this program was called; of absolute paths the last part."""
    return shlex.join(Path(a).name if Path(a).is_absolute() else a for a in sys.argv)


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def write(path: Path, rows: Any, **more: Any) -> None:
    """Write the results as JSON, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    text = json.dumps({**header(), **more, "rows": rows}, indent=1)
    temporary.write_text(text + "\n")
    temporary.replace(path)
