"""The process that traces, as its owner holds it. Imports nothing large, so it can start early."""

from __future__ import annotations

import os
import subprocess
import sys

TRACING = "TRITON_GYM_TRACING"
"""Environment variable of the process that traces. Where it is set, decorators of this library
return their function as it is: importing the user's module must not start another search."""


class TracingProcess:
    """Answers one request in a process of its own, which has no GPU.

    Started early, it imports what it will need until the request comes.
    """

    def __init__(self) -> None:
        environment = {
            **os.environ,
            TRACING: str(os.getpid()),
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(_threads())),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "triton_gym.optimization.tracing_worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
        )  # fmt: skip

    def answered(self, request: bytes, seconds: float) -> tuple[bytes, int, bytes]:
        """What it answers, its exit status, and what it printed. It has ended then.

        Raises:
            subprocess.TimeoutExpired: it took too long.
        """
        try:
            answer, printed = self._process.communicate(request, timeout=seconds)
        finally:
            self.close()
        return answer, self._process.returncode, printed

    def close(self) -> None:
        """End it, if it has not ended."""
        if self._process.poll() is None:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except OSError:
                    pass  # what was not written was for a process that is gone
        self._process.wait()


def _threads() -> int:
    """Of the process that traces: small cases of a wide product take a core for half a minute."""
    return max(1, min(4, len(os.sched_getaffinity(0)) // 4))
