"""The judge's handle on a fork server: the process that forks workers (`fork_server.py`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

from triton_gym.errors import EvaluatorError
from triton_gym.evaluation.confine import family
from triton_gym.evaluation.confine.environment import narrowed
from triton_gym.evaluation.confine.layers import ALL, Layer
from triton_gym.evaluation.exchange.channel import Channel, ChannelClosed, ChannelTimeout, pair
from triton_gym.evaluation.workers.sandbox import Limits

START_LIMIT_S = 180.0
"""How long the imports of a new fork server may take."""
REPLY_LIMIT_S = 60.0
"""How long any other reply may take: milliseconds, unless the machine is starved."""
CLOSE_LIMIT_S = 5.0


class ForkServerLost(EvaluatorError):
    """A fork server died or fell silent, and its workers are gone with it."""


class ForkServerExhausted(EvaluatorError):
    """The machine has no room for another process now."""


class ForkServerClient:
    """A fork server process. Not safe for use from several threads at once.

    Args:
        mode: what its workers do: `cuda`, `compile` without a GPU, `interpret`, `lower`, which is
            compiling for others, or `record`, which is running host code without any device.
        layers: what they are held to, where the machine can.
        granted: folders that they can write to besides their own. Both are for finding out what
            breaks a layer on a machine (benchmarks/confinement.py); nothing that users set.
    """

    def __init__(
        self, mode: str, layers: frozenset[Layer] = ALL, granted: tuple[str, ...] = ()
    ) -> None:
        self._channel, theirs = pair()
        environment = {
            **narrowed(os.environ),
            # One hardware queue a worker: a context starts, and ends, in half the time.
            "CUDA_DEVICE_MAX_CONNECTIONS": "1",
            "TMPDIR": tempfile.gettempdir(),  # in a judge its own folder, which goes with it
            "TRITON_INTERPRET": "0",
            # The default changes with Triton 3.10; results must not.
            "TRITON_DEFAULT_FP_FUSION": "1",
            "TRITON_DISABLE_LINE_INFO": "0",  # compilers decide by what they compile for
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        # Compilers and disassemblers page 50 MB in; forks share fewer pages.
        environment.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
        orders = {"mode": mode, "layers": sorted(layers), "granted": granted}
        command = [
            sys.executable, "-m", "triton_gym.evaluation.workers.fork_server", str(theirs.fileno()),
            json.dumps(orders),
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command,
            pass_fds=(theirs.fileno(),),
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        self._ready = False
        self._workers: set[int] = set()

    def wait_ready(self) -> None:
        """Wait for the imports.

        Raises:
            ForkServerLost: the process died or took too long.
        """
        if not self._ready:
            self._receive(START_LIMIT_S)
            self._ready = True

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def fork(self, limits: Limits) -> tuple[int, Channel]:
        """A new worker: its process id, and the channel to it.

        Raises:
            ForkServerLost: the process died or is silent.
            ForkServerExhausted: the system gave it no further process.
        """
        self.wait_ready()
        ours, theirs = pair()
        try:
            reply = self._ask(
                {
                    "op": "fork", "processes": limits.processes, "host_bytes": limits.host_bytes,
                },
                (theirs.fileno(),),
            )  # fmt: skip
            if "error" in reply:
                raise ForkServerExhausted(f"No process can be started: {reply['error']}")
        except EvaluatorError:
            ours.close()
            raise
        finally:
            theirs.close()
        pid = int(reply["pid"])
        self._workers.add(pid)
        return pid, ours

    def end(self, pid: int) -> None:
        """Kill a worker with everything it started, and do not wait: CUDA takes its time."""
        self._ask({"op": "end", "pid": pid})
        self._workers.discard(pid)

    def status(self, pid: int) -> tuple[int | None, str]:
        """The wait status of a worker, None while it runs, and why the server ended it if so."""
        reply = self._ask({"op": "status", "pid": pid})
        return reply["status"], str(reply["reason"])

    def close(self) -> None:
        """End the process and all of its workers."""
        self._channel.close()
        try:
            self._process.wait(CLOSE_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._workers:
            family.kill_orphans(self._workers, CLOSE_LIMIT_S)

    def _ask(self, request: dict[str, Any], fds: tuple[int, ...] = ()) -> dict[str, Any]:
        try:
            self._channel.send(request, fds)
        except ChannelClosed as error:
            raise self._lost(error) from error
        return self._receive(REPLY_LIMIT_S)

    def _receive(self, limit_s: float) -> dict[str, Any]:
        try:
            return self._channel.receive(limit_s)
        except ChannelTimeout as error:
            self._process.kill()  # or a late reply would be taken for the next one
            raise self._lost(f"no reply within {limit_s:g} s") from error
        except ChannelClosed as error:
            raise self._lost(error) from error

    def _lost(self, reason: object) -> ForkServerLost:
        code = self._process.poll()
        return ForkServerLost(
            f"The process that starts workers is gone or silent (exit code {code}): {reason}"
        )
