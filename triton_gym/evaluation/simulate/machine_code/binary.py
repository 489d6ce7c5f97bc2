"""Takes binaries apart: by their bits, or with the tools that come with Triton."""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path

from triton_gym.evaluation.simulate.machine_code.cubin import UnknownCode
from triton_gym.evaluation.simulate.machine_code.disassembly import parse
from triton_gym.evaluation.simulate.machine_code.listing import read_listing
from triton_gym.evaluation.simulate.machine_code.sass import Code, code_of


@cache
def _tool(name: str) -> str:
    import triton

    return str(Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name)


def read_code(binary: bytes) -> Code:
    """What the code of a cubin consists of."""
    try:
        return code_of(read_listing(binary))
    except UnknownCode:
        return disassembled(binary)


def disassembled(binary: bytes) -> Code:
    """The same by `nvdisasm`, which takes a quarter of a second at least."""
    return parse(_told(binary, "nvdisasm", "-c", "-g", "-ndf", "-hex"))


def _told(binary: bytes, tool: str, *options: str) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [_tool(tool), *options, file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout
