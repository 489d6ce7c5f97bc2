"""The parent of all workers: a process that has imported torch and Triton and forks on request.

It never touches CUDA, because a process that has cannot be forked. It runs no answer itself: it
forks, hands the child its socket, and reaps. Two of them serve a simulated device, since
Triton's interpreter must be chosen before Triton is imported.

Run as `python -m triton_gym.evaluation.nursery <fd> <mode>`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import Any

from triton_gym.errors import EvaluatorError
from triton_gym.evaluation.channel import Channel, ChannelClosed, ChannelTimeout, pair

START_LIMIT_S = 180.0
"""How long the imports of a new nursery may take."""
FORK_LIMIT_S = 20.0


class Nursery:
    """The judge's handle on a nursery process.

    Args:
        mode: what its workers do: `cuda`, `compile` without a GPU, or `interpret`.
    """

    def __init__(self, mode: str) -> None:
        self._channel, theirs = pair()
        environment = {
            **os.environ,
            "TRITON_INTERPRET": "1" if mode == "interpret" else "0",
            # The default changes with Triton 3.10; results must not.
            "TRITON_DEFAULT_FP_FUSION": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [sys.executable, "-m", __spec__.name, str(theirs.fileno()), mode]
        self._process = subprocess.Popen(
            command,
            pass_fds=(theirs.fileno(),),
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        self._ready = False

    def wait_ready(self) -> None:
        """Wait for the imports.

        Raises:
            EvaluatorError: the process died or took too long.
        """
        if not self._ready:
            self._receive(START_LIMIT_S)
            self._ready = True

    def _receive(self, limit_s: float) -> dict[str, Any]:
        try:
            return self._channel.receive(limit_s)
        except (ChannelClosed, ChannelTimeout) as error:
            code = self._process.poll()
            raise EvaluatorError(
                f"The process that starts workers is gone or silent (exit code {code}): {error}"
            ) from error

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def fork(self) -> tuple[int, Channel]:
        """A new worker: its process id, and the channel to it."""
        self.wait_ready()
        ours, theirs = pair()
        try:
            self._channel.send({"op": "fork"}, (theirs.fileno(),))
        except ChannelClosed as error:
            ours.close()
            raise EvaluatorError(f"The process that starts workers is gone: {error}") from error
        finally:
            theirs.close()
        return int(self._receive(FORK_LIMIT_S)["pid"]), ours

    def end(self, pid: int) -> None:
        """Kill a worker with everything it started, and do not wait: CUDA takes its time."""
        self._channel.send({"op": "end", "pid": pid})
        self._receive(FORK_LIMIT_S)

    def reap(self, pid: int) -> int:
        """End a worker with everything it started; returns its wait status."""
        self._channel.send({"op": "reap", "pid": pid})
        return int(self._receive(FORK_LIMIT_S)["status"])

    def close(self) -> None:
        """End the process and all of its workers."""
        self._channel.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _kill(pid: int) -> None:
    """Kill a worker with its session."""
    for end in (os.killpg, os.kill):  # before its setsid a worker has no group of its own
        try:
            end(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def _serve(channel: Channel, mode: str) -> None:
    from triton_gym.evaluation import worker

    worker.prepare(mode)
    try:
        channel.send({"ready": True})
    except ChannelClosed:
        return  # the judge went away while this process was starting
    workers: set[int] = set()
    dying: set[int] = set()
    while True:
        dying = {pid for pid in dying if os.waitpid(pid, os.WNOHANG)[0] == 0}
        try:
            request = channel.receive(0.5 if dying else None)
        except ChannelTimeout:
            continue
        except ChannelClosed:
            break
        if request["op"] in ("end", "reap"):
            pid = int(request["pid"])
            workers.discard(pid)
            _kill(pid)
            if request["op"] == "end":
                dying.add(pid)
                channel.send({})
            else:
                channel.send({"status": os.waitpid(pid, 0)[1]})
            continue
        (fd,) = request["fds"]
        pid = os.fork()
        if pid == 0:
            try:
                channel.close()
                worker.main(Channel(socket.socket(fileno=fd), takes_files=True))
            finally:
                os._exit(0)  # nothing that the answer left behind may run on
        os.close(fd)
        workers.add(pid)
        channel.send({"pid": pid})
    for pid in workers:
        _kill(pid)
    for pid in workers | dying:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    _serve(Channel(socket.socket(fileno=int(sys.argv[1])), takes_files=True), sys.argv[2])
