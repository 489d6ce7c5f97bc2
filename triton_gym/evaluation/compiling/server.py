"""The process that compiles one answer's kernels: ours, confined, forked, used once.

It reads IR that a hostile process wrote, so it is confined like one, and nothing of it outlives the
answer. It never runs answer code. What it reports is checked by the judge against the machine code
itself (`compiler.py`).
"""

from __future__ import annotations

import json
import os
from typing import Any

from triton_gym.evaluation.compiling.artifact import Target
from triton_gym.evaluation.compiling.lower import lower
from triton_gym.evaluation.compiling.options import InvalidOption
from triton_gym.evaluation.exchange.channel import Channel, ChannelClosed
from triton_gym.evaluation.workers.sandbox import Sandbox, enter

MESSAGE_LIMIT = 3000
"""Longest message of a failure in characters; its end says the most."""
_WARM = """
module {
  tt.func public @warm(%x: !tt.ptr<f32> {tt.divisibility = 16 : i32}) {
    %range = tt.make_range {end = 128 : i32, start = 0 : i32} : tensor<128xi32>
    %base = tt.splat %x : !tt.ptr<f32> -> tensor<128x!tt.ptr<f32>>
    %at = tt.addptr %base, %range : tensor<128x!tt.ptr<f32>>, tensor<128xi32>
    %value = tt.load %at : tensor<128x!tt.ptr<f32>>
    %exp = math.exp %value : tensor<128xf32>
    tt.store %at, %exp : tensor<128x!tt.ptr<f32>>
    tt.return
  }
}
"""


def prepare() -> None:
    """Load all that compiling loads on first use, before the fork server forks."""
    for lines in (False, True):
        lower(_WARM, {}, Target(90, lines), seconds=60.0)


def main(channel: Channel, sandbox: Sandbox) -> None:
    """Serve the judge until it hangs up."""
    log = os.memfd_create("compiler", os.MFD_CLOEXEC)
    os.dup2(log, 2)  # Triton's passes say only there what they did not like
    while True:
        try:
            request = channel.receive()
        except ChannelClosed:
            return
        if request.pop("op") == "enter":
            channel.send(enter(sandbox, **request))
        else:
            channel.send(_compile(log, **request))


def _compile(
    log: int, ttir: str, options: dict[str, Any], architecture: int, lines: bool, seconds: float,
    dialect: str, fds: list[int],
) -> dict[str, Any]:  # fmt: skip
    """Compile a kernel, and write metadata, texts and machine code into the file that came along.

    Returns:
        How many bytes each of them has; or the kind of failure, and what was wrong.
    """
    os.ftruncate(log, 0)
    try:
        made = lower(ttir, options, Target(architecture, lines), seconds, dialect)
        parts = [json.dumps(made.metadata).encode(), json.dumps(made.texts).encode(), made.cubin]
        with open(fds[0], "wb") as file:
            file.writelines(parts)
        return {"sizes": [len(part) for part in parts]}
    except InvalidOption as error:
        return {"failure": "option", "message": str(error)}
    except Exception as error:  # Triton raises a dozen kinds
        said = os.pread(log, MESSAGE_LIMIT, max(0, os.fstat(log).st_size - MESSAGE_LIMIT))
        text = f"{type(error).__name__}: {error}\n{said.decode(errors='replace')}".strip()
        return {"failure": type(error).__name__, "message": text[-MESSAGE_LIMIT:]}
