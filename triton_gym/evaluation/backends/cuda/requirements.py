"""What GPUs need of a machine, and what of that is here."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from triton_gym.device import gpu_matching
from triton_gym.evaluation.backends.protocol import Requirement

_SHARING = """
import torch
from triton_gym.evaluation.backends.cuda.blocks import Block

if __name__ == "__main__":
    torch.zeros(1, device="cuda")
    Block(0, 2 << 20, torch.device("cuda", 0)).release()
"""


def found() -> Iterator[Requirement]:
    """Driver, GPUs, and whether processes can share GPU memory."""
    cost = "kernels run on the simulated device: times come from a model of an H100"
    driver = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    yield _of("NVIDIA driver", driver, driver.split("\n")[0] or "none", cost)
    import torch

    count = torch.cuda.device_count()
    if not count:
        built = f"torch built for CUDA {torch.version.cuda}" if torch.version.cuda else "CPU torch"
        yield _of("GPU", False, f"none ({built})", cost)
        return
    for index in range(count):
        name = torch.cuda.get_device_name(index)
        yield _of(f"GPU cuda:{index}", True, name)
        if gpu_matching(name) is None:
            yield _of(
                "its datasheet", False, "not in triton_gym.device",
                "rooflines rest on what is measured here",
            )  # fmt: skip
    shared = _succeeds(_SHARING)
    yield _of(
        "shared GPU memory", shared, "works" if shared else "refused, or no cuda-bindings",
        "a judge cannot lend its runner memory: evaluation on the GPU is impossible",
    )  # fmt: skip


def driver_name(which: str) -> str:
    """What the driver calls a GPU, by its number or identifier; empty if it does not say."""
    return _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader", f"--id={which}")


def _of(name: str, there: object, told: str, cost: str = "") -> Requirement:
    return Requirement(name, bool(there), told, "" if there else cost)


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _succeeds(script: str) -> bool:
    """Whether a script runs; from a file, since spawned processes import it again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "check.py")
        path.write_text(script, encoding="utf-8")
        try:
            done = subprocess.run([sys.executable, str(path)], capture_output=True, timeout=120)
        except (OSError, subprocess.SubprocessError):
            return False
        return done.returncode == 0
