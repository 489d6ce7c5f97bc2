"""Where measurements come from: versions, driver, processors, command."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

VERSIONS = ("torch", "triton", "triton-gym")


def origin() -> dict[str, Any]:
    """What a data card says of the machine and the program."""
    return {
        "command": command(), "commit": os.environ.get("TRITON_GYM_COMMIT", ""),
        "driver": driver(), "cpus": len(os.sched_getaffinity(0)), "versions": versions(),
    }  # fmt: skip


def source_digest(source: str) -> str:
    """Which source was measured: the first 16 digits of its SHA-256."""
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Of the packages that times depend on."""
    return {name: importlib.metadata.version(name) for name in VERSIONS}


def command() -> str:
    """How this program was called; of absolute paths the last part."""
    return shlex.join(Path(a).name if Path(a).is_absolute() else a for a in sys.argv)


def driver() -> str:
    """The version of NVIDIA's driver; empty where there is none."""
    asked = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.split("\n", 1)[0].strip()
