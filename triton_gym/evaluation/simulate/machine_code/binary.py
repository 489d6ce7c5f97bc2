"""Takes binaries apart: by their bits, or with the tools that come with Triton."""

from __future__ import annotations

import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from triton_gym.evaluation.simulate.machine_code.cubin import UnknownCode
from triton_gym.evaluation.simulate.machine_code.listing import read_listing
from triton_gym.evaluation.simulate.machine_code.sass import Code, code_of, parse
from triton_gym.evaluation.simulate.machine_code.usage import Resources, read_usage

_RESOURCES = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+)")


@cache
def _tool(name: str) -> str:
    import triton

    return str(Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name)


def read_resources(binary: bytes) -> Resources:
    """What a thread and a program of a cubin take."""
    try:
        return read_usage(binary)
    except UnknownCode:
        return dumped_resources(binary)


def dumped_resources(binary: bytes) -> Resources:
    """The same by `cuobjdump`."""
    usage = _told(binary, "cuobjdump", "--dump-resource-usage")
    found = _RESOURCES.search(usage)
    if found is None:
        raise RuntimeError(f"cuobjdump printed no resource usage: {usage[:200]!r}")
    # CUDA keeps 1 KiB of a program's shared memory on Hopper; it is listed as static there.
    return Resources(int(found[1]), int(found[2]), int(found[3]))


def read_code(binary: bytes) -> Code:
    """What the code of a cubin consists of."""
    try:
        return code_of(read_listing(binary))
    except UnknownCode:
        return disassembled(binary)


def disassembled(binary: bytes) -> Code:
    """The same by `nvdisasm`, which takes a quarter of a second at least."""
    return parse(_told(binary, "nvdisasm", "-c", "-g", "-ndf"))


def _told(binary: bytes, tool: str, *options: str) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [_tool(tool), *options, file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout
